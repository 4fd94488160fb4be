//! The messages that containerd and a shim exchange, as its `.proto` files number their fields.
//!
//! Decoding skips what it does not know; lengths are checked against what is there, and no message here
//! holds one of its own kind, so nothing nests deeper than these types do.

pub(crate) mod boot;
pub(crate) mod events;
pub(crate) mod metrics;
pub(crate) mod options;
pub(crate) mod rpc;
pub(crate) mod task;

use prost::Message;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

impl Any {
    /// A message under its name.
    pub(crate) fn of(name: &str, message: &impl Message) -> Any {
        Any {
            type_url: name.to_owned(),
            value: message.encode_to_vec(),
        }
    }

    /// The name of what it holds: what follows the last slash of its URL.
    pub(crate) fn name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }
}

/// `google.protobuf.Empty`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Empty {}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: since.subsec_nanos().cast_signed(),
        }
    }
}

/// `containerd.types.Mount`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Mount {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, tag = "2")]
    pub(crate) source: String,
    /// Relative to the root; empty for the root itself.
    #[prost(string, tag = "3")]
    pub(crate) target: String,
    #[prost(string, repeated, tag = "4")]
    pub(crate) options: Vec<String>,
}
