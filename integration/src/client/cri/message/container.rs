//! What a container shall be.

use std::collections::HashMap;

use prost::Message;

use super::{ImageName, Namespaces, Number, PodConfig, Profile};

/// `CreateContainerRequest`
#[derive(Clone, PartialEq, Message)]
pub struct Create {
    /// Its pod.
    #[prost(string, tag = "1")]
    pub pod: String,
    /// What it shall be.
    #[prost(message, optional, tag = "2")]
    pub config: Option<ContainerConfig>,
    /// What its pod is.
    #[prost(message, optional, tag = "3")]
    pub pod_config: Option<PodConfig>,
}

/// `ContainerMetadata`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerName {
    /// In its pod.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How often it was made before.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
}

/// `KeyValue`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Variable {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// What it is.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `Mount`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Mount {
    /// In the container.
    #[prost(string, tag = "1")]
    pub container: String,
    /// On the machine.
    #[prost(string, tag = "2")]
    pub host: String,
    /// Whether it is.
    #[prost(bool, tag = "3")]
    pub readonly: bool,
    /// 0 private, 1 from the machine, 2 both ways.
    #[prost(int32, tag = "5")]
    pub propagation: i32,
}

/// `Device`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Device {
    /// In the container.
    #[prost(string, tag = "1")]
    pub container: String,
    /// On the machine.
    #[prost(string, tag = "2")]
    pub host: String,
    /// Some of `rwm`.
    #[prost(string, tag = "3")]
    pub permissions: String,
}

/// `ContainerConfig`
#[derive(Clone, PartialEq, Message)]
pub struct ContainerConfig {
    /// Its name.
    #[prost(message, optional, tag = "1")]
    pub name: Option<ContainerName>,
    /// Of its files.
    #[prost(message, optional, tag = "2")]
    pub image: Option<ImageName>,
    /// Instead of the image's.
    #[prost(string, repeated, tag = "3")]
    pub command: Vec<String>,
    /// Where it starts.
    #[prost(string, tag = "5")]
    pub directory: String,
    /// Beside the image's.
    #[prost(message, repeated, tag = "6")]
    pub variables: Vec<Variable>,
    /// Volumes.
    #[prost(message, repeated, tag = "7")]
    pub mounts: Vec<Mount>,
    /// Of the machine's.
    #[prost(message, repeated, tag = "8")]
    pub devices: Vec<Device>,
    /// In the pod's folder of logs.
    #[prost(string, tag = "11")]
    pub log: String,
    /// Whether it has any.
    #[prost(bool, tag = "12")]
    pub stdin: bool,
    /// Whether that ends with the first who attaches.
    #[prost(bool, tag = "13")]
    pub stdin_once: bool,
    /// Whether it has one.
    #[prost(bool, tag = "14")]
    pub terminal: bool,
    /// The rest.
    #[prost(message, optional, tag = "15")]
    pub linux: Option<ContainerLinux>,
}

/// `LinuxContainerConfig`
#[derive(Clone, PartialEq, Message)]
pub struct ContainerLinux {
    /// What it may take.
    #[prost(message, optional, tag = "1")]
    pub resources: Option<Resources>,
    /// What it may do.
    #[prost(message, optional, tag = "2")]
    pub security: Option<Security>,
}

/// `UpdateContainerResourcesRequest`
#[derive(Clone, PartialEq, Message)]
pub struct Update {
    /// Of the container.
    #[prost(string, tag = "1")]
    pub id: String,
    /// What it may take from now on.
    #[prost(message, optional, tag = "2")]
    pub resources: Option<Resources>,
}

/// `LinuxContainerResources`
#[derive(Clone, PartialEq, Message)]
pub struct Resources {
    /// Microseconds.
    #[prost(int64, tag = "1")]
    pub cpu_period: i64,
    /// Microseconds in a period.
    #[prost(int64, tag = "2")]
    pub cpu_quota: i64,
    /// Of cgroup v1.
    #[prost(int64, tag = "3")]
    pub cpu_shares: i64,
    /// Bytes.
    #[prost(int64, tag = "4")]
    pub memory: i64,
    /// Who is killed first.
    #[prost(int64, tag = "5")]
    pub oom_score_adj: i64,
    /// Files of cgroup v2.
    #[prost(map = "string, string", tag = "9")]
    pub unified: HashMap<String, String>,
}

/// `Capability`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Capabilities {
    /// Beside the usual ones.
    #[prost(string, repeated, tag = "1")]
    pub add: Vec<String>,
    /// Without these; `ALL` is all.
    #[prost(string, repeated, tag = "2")]
    pub drop: Vec<String>,
}

/// `LinuxContainerSecurityContext`
#[derive(Clone, PartialEq, Message)]
pub struct Security {
    /// Beside the usual ones, and without.
    #[prost(message, optional, tag = "1")]
    pub capabilities: Option<Capabilities>,
    /// All that root may.
    #[prost(bool, tag = "2")]
    pub privileged: bool,
    /// Whose they are.
    #[prost(message, optional, tag = "3")]
    pub namespaces: Option<Namespaces>,
    /// Its user.
    #[prost(message, optional, tag = "5")]
    pub user: Option<Number>,
    /// Its user, by name.
    #[prost(string, tag = "6")]
    pub user_name: String,
    /// Whether its root is.
    #[prost(bool, tag = "7")]
    pub readonly: bool,
    /// Beside those of the image.
    #[prost(int64, repeated, tag = "8")]
    pub groups: Vec<i64>,
    /// Whether no program can get more.
    #[prost(bool, tag = "11")]
    pub no_new_privileges: bool,
    /// Its group.
    #[prost(message, optional, tag = "12")]
    pub group: Option<Number>,
    /// Covered.
    #[prost(string, repeated, tag = "13")]
    pub masked: Vec<String>,
    /// Read-only.
    #[prost(string, repeated, tag = "14")]
    pub read_only_paths: Vec<String>,
    /// Its filter.
    #[prost(message, optional, tag = "15")]
    pub seccomp: Option<Profile>,
}
