//! What the kubelet is told: answers of `runtime.v1`, with the fields the tests read.

use std::collections::HashMap;

use prost::Message;

use super::message::{ContainerName, PodName};

/// `VersionResponse`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Version {
    /// `containerd`.
    #[prost(string, tag = "2")]
    pub runtime: String,
    /// Of CRI.
    #[prost(string, tag = "4")]
    pub api: String,
}

/// `StatusResponse`
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// Whether it is ready.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Conditions>,
}

/// `RuntimeStatus`
#[derive(Clone, PartialEq, Message)]
pub struct Conditions {
    /// Each of them.
    #[prost(message, repeated, tag = "1")]
    pub conditions: Vec<Condition>,
}

/// `RuntimeCondition`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Condition {
    /// `RuntimeReady`, `NetworkReady`.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// Whether it is so.
    #[prost(bool, tag = "2")]
    pub holds: bool,
    /// Why not.
    #[prost(string, tag = "4")]
    pub message: String,
}

/// `ImageStatusResponse`
#[derive(Clone, PartialEq, Message)]
pub struct AboutImage {
    /// None where there is no such image.
    #[prost(message, optional, tag = "1")]
    pub image: Option<Image>,
}

/// `Image`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Image {
    /// Its digest.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its names.
    #[prost(string, repeated, tag = "2")]
    pub names: Vec<String>,
}

/// `PodSandboxStatusResponse`
#[derive(Clone, PartialEq, Message)]
pub struct AboutPod {
    /// The pod.
    #[prost(message, optional, tag = "1")]
    pub status: Option<PodStatus>,
}

/// `PodSandboxStatus`
#[derive(Clone, PartialEq, Message)]
pub struct PodStatus {
    /// The pod's.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its name.
    #[prost(message, optional, tag = "2")]
    pub name: Option<PodName>,
    /// 0 ready, 1 not.
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// None where it is the machine's.
    #[prost(message, optional, tag = "5")]
    pub network: Option<Network>,
    /// As they were given.
    #[prost(map = "string, string", tag = "8")]
    pub annotations: HashMap<String, String>,
    /// Of its runtime.
    #[prost(string, tag = "9")]
    pub handler: String,
}

/// `PodSandboxNetworkStatus`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Network {
    /// The pod's own.
    #[prost(string, tag = "1")]
    pub address: String,
}

/// `ListPodSandboxResponse`
#[derive(Clone, PartialEq, Message)]
pub struct Pods {
    /// Each of them, in short.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<PodItem>,
}

/// `PodSandbox`
#[derive(Clone, PartialEq, Message)]
pub struct PodItem {
    /// The pod's.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its name.
    #[prost(message, optional, tag = "2")]
    pub name: Option<PodName>,
    /// 0 ready, 1 not.
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// Of its runtime.
    #[prost(string, tag = "7")]
    pub handler: String,
}

/// `ListContainersResponse`
#[derive(Clone, PartialEq, Message)]
pub struct Containers {
    /// Each of them, in short.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<ContainerItem>,
}

/// `Container`
#[derive(Clone, PartialEq, Message)]
pub struct ContainerItem {
    /// The container's.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its pod's.
    #[prost(string, tag = "2")]
    pub pod: String,
    /// Its name.
    #[prost(message, optional, tag = "3")]
    pub name: Option<ContainerName>,
    /// A number of [`state`].
    #[prost(int32, tag = "6")]
    pub state: i32,
}

/// `ContainerStatusResponse`
#[derive(Clone, PartialEq, Message)]
pub struct AboutContainer {
    /// The container.
    #[prost(message, optional, tag = "1")]
    pub status: Option<ContainerStatus>,
}

/// Of a container: `ContainerState`.
pub mod state {
    /// Its program waits.
    pub const CREATED: i32 = 0;
    /// Its program runs.
    pub const RUNNING: i32 = 1;
    /// Its program has ended.
    pub const EXITED: i32 = 2;
    /// Its shim is gone.
    pub const UNKNOWN: i32 = 3;
}

/// `ContainerStatus`
#[derive(Clone, PartialEq, Message)]
pub struct ContainerStatus {
    /// The container's.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its name.
    #[prost(message, optional, tag = "2")]
    pub name: Option<ContainerName>,
    /// A number of [`state`].
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// Nanoseconds.
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// Nanoseconds.
    #[prost(int64, tag = "5")]
    pub started_at: i64,
    /// Nanoseconds.
    #[prost(int64, tag = "6")]
    pub finished_at: i64,
    /// 128 and the number for a signal.
    #[prost(int32, tag = "7")]
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`.
    #[prost(string, tag = "10")]
    pub reason: String,
    /// For people.
    #[prost(string, tag = "11")]
    pub message: String,
}

/// `ExecSyncResponse`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Executed {
    /// What it wrote.
    #[prost(bytes = "vec", tag = "1")]
    pub stdout: Vec<u8>,
    /// What it wrote.
    #[prost(bytes = "vec", tag = "2")]
    pub stderr: Vec<u8>,
    /// How it ended.
    #[prost(int32, tag = "3")]
    pub exit_code: i32,
}

/// `ContainerStatsResponse`
#[derive(Clone, PartialEq, Message)]
pub struct AboutUse {
    /// What it takes.
    #[prost(message, optional, tag = "1")]
    pub stats: Option<Stats>,
}

/// `ContainerStats`
#[derive(Clone, PartialEq, Message)]
pub struct Stats {
    /// Whose.
    #[prost(message, optional, tag = "1")]
    pub whose: Option<super::message::Id>,
    /// Of processors.
    #[prost(message, optional, tag = "2")]
    pub cpu: Option<Processors>,
    /// Of memory.
    #[prost(message, optional, tag = "3")]
    pub memory: Option<Memory>,
}

/// `CpuUsage`
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Processors {
    /// Nanoseconds since it was made.
    #[prost(message, optional, tag = "2")]
    pub used: Option<super::message::Number>,
}

/// `MemoryUsage`
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Memory {
    /// Bytes that cannot easily be had back.
    #[prost(message, optional, tag = "2")]
    pub working_set: Option<super::message::Number>,
}

/// An answer without anything in it.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}
