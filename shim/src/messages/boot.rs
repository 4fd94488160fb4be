//! How containerd 2.3 and later starts a shim, `runtime/bootstrap/v1/bootstrap.proto`, and what it asks of
//! a binary, `types/introspection.proto`.

use super::Any;
use prost::Message;
use std::collections::BTreeMap;

/// What comes over standard input.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BootstrapParams {
    #[prost(string, tag = "1")]
    pub(crate) instance_id: String,
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    /// 0 is informative, less is more.
    #[prost(int32, tag = "3")]
    pub(crate) log_level: i32,
    #[prost(string, tag = "5")]
    pub(crate) ttrpc_address: String,
    #[prost(string, tag = "6")]
    pub(crate) grpc_address: String,
    #[prost(message, repeated, tag = "8")]
    pub(crate) extensions: Vec<Extension>,
}

/// The field of the same message that came last, read by itself: whatever else stands under its number one
/// day, the rest stays readable.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct SocketDir {
    /// Where sockets belong, if not to the usual place.
    #[prost(string, tag = "9")]
    pub(crate) socket_dir: String,
}

/// Settings of one kind.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Extension {
    #[prost(message, optional, tag = "1")]
    pub(crate) value: Option<Any>,
}

/// What goes to standard output.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BootstrapResult {
    #[prost(int32, tag = "1")]
    pub(crate) version: i32,
    #[prost(string, tag = "2")]
    pub(crate) address: String,
    #[prost(string, tag = "3")]
    pub(crate) protocol: String,
}

/// What `-info` prints.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeInfo {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) version: Option<RuntimeVersion>,
    #[prost(message, optional, tag = "3")]
    pub(crate) options: Option<Any>,
    /// The features document of the OCI spec, as JSON.
    #[prost(message, optional, tag = "4")]
    pub(crate) features: Option<Any>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Of this program.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeVersion {
    #[prost(string, tag = "1")]
    pub(crate) version: String,
    #[prost(string, tag = "2")]
    pub(crate) revision: String,
}
