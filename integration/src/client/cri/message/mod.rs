//! What the kubelet says: messages of `runtime.v1`, of CRI's `api.proto`, with the fields the tests use.

mod container;
mod pod;

use prost::Message;

pub use container::{
    Capabilities, ContainerConfig, ContainerLinux, ContainerName, Create, Device, Mount, Resources,
    Security, Update, Variable,
};
pub use pod::{Namespaces, PodConfig, PodLinux, PodName, PodSecurity, Profile, RunPod};

/// Whose namespace: `NamespaceMode`.
pub mod of {
    /// One for all containers of the pod.
    pub const POD: i32 = 0;
    /// One for each container.
    pub const CONTAINER: i32 = 1;
    /// The machine's.
    pub const NODE: i32 = 2;
    /// That of another container.
    pub const TARGET: i32 = 3;
}

/// A request or an answer that is nothing but a name.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Id {
    /// Of a pod or a container.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// `StopContainerRequest`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Stop {
    /// Of the container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Seconds from SIGTERM to SIGKILL.
    #[prost(int64, tag = "2")]
    pub timeout: i64,
}

/// `ExecSyncRequest`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Exec {
    /// Of the container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Words.
    #[prost(string, repeated, tag = "2")]
    pub command: Vec<String>,
    /// Seconds; 0 is for ever.
    #[prost(int64, tag = "3")]
    pub timeout: i64,
}

/// `AttachRequest`; `ExecRequest` has its command between.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Attach {
    /// Of the container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Whether this stream is wanted.
    #[prost(bool, tag = "2")]
    pub stdin: bool,
    /// Whether there is a terminal.
    #[prost(bool, tag = "3")]
    pub terminal: bool,
    /// Whether this stream is wanted.
    #[prost(bool, tag = "4")]
    pub stdout: bool,
    /// Whether this stream is wanted.
    #[prost(bool, tag = "5")]
    pub stderr: bool,
}

/// `ExecRequest`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExecStream {
    /// Of the container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Words.
    #[prost(string, repeated, tag = "2")]
    pub command: Vec<String>,
    /// Whether there is a terminal.
    #[prost(bool, tag = "3")]
    pub terminal: bool,
    /// Whether this stream is wanted.
    #[prost(bool, tag = "4")]
    pub stdin: bool,
    /// Whether this stream is wanted.
    #[prost(bool, tag = "5")]
    pub stdout: bool,
    /// Whether this stream is wanted.
    #[prost(bool, tag = "6")]
    pub stderr: bool,
}

/// `Int64Value`
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Number {
    /// The number.
    #[prost(int64, tag = "1")]
    pub value: i64,
}

/// `ImageSpec`, and `ImageStatusRequest` around it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ImageName {
    /// A name.
    #[prost(string, tag = "1")]
    pub image: String,
}

/// `ImageStatusRequest`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AboutImage {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageName>,
}
