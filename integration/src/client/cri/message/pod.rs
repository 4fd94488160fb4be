//! What a pod shall be.

use std::collections::HashMap;

use prost::Message;

/// `RunPodSandboxRequest`
#[derive(Clone, PartialEq, Message)]
pub struct RunPod {
    /// What it shall be.
    #[prost(message, optional, tag = "1")]
    pub config: Option<PodConfig>,
    /// The name of a runtime's configuration, as a class of Kubernetes has it.
    #[prost(string, tag = "2")]
    pub handler: String,
}

/// `PodSandboxMetadata`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodName {
    /// Of the pod.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Nobody else has it.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// Of Kubernetes.
    #[prost(string, tag = "3")]
    pub namespace: String,
    /// How often it was made before.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
}

/// `PodSandboxConfig`
#[derive(Clone, PartialEq, Message)]
pub struct PodConfig {
    /// Its name.
    #[prost(message, optional, tag = "1")]
    pub name: Option<PodName>,
    /// Of its namespace of names; it has none where the network is the machine's.
    #[prost(string, tag = "2")]
    pub hostname: String,
    /// Where its containers' logs are.
    #[prost(string, tag = "3")]
    pub logs: String,
    /// For whoever lists.
    #[prost(map = "string, string", tag = "6")]
    pub labels: HashMap<String, String>,
    /// For whoever reads.
    #[prost(map = "string, string", tag = "7")]
    pub annotations: HashMap<String, String>,
    /// The rest.
    #[prost(message, optional, tag = "8")]
    pub linux: Option<PodLinux>,
}

/// `LinuxPodSandboxConfig`
#[derive(Clone, PartialEq, Message)]
pub struct PodLinux {
    /// The cgroup all its cgroups are in.
    #[prost(string, tag = "1")]
    pub cgroup: String,
    /// What it may.
    #[prost(message, optional, tag = "2")]
    pub security: Option<PodSecurity>,
    /// For its namespaces.
    #[prost(map = "string, string", tag = "3")]
    pub sysctls: HashMap<String, String>,
}

/// `LinuxSandboxSecurityContext`
#[derive(Clone, PartialEq, Message)]
pub struct PodSecurity {
    /// Whose they are.
    #[prost(message, optional, tag = "1")]
    pub namespaces: Option<Namespaces>,
    /// Whether one of its containers is.
    #[prost(bool, tag = "6")]
    pub privileged: bool,
    /// Of its own process.
    #[prost(message, optional, tag = "9")]
    pub seccomp: Option<Profile>,
}

/// `NamespaceOption`
#[derive(Clone, PartialEq, Message)]
pub struct Namespaces {
    /// A number of [`super::of`].
    #[prost(int32, tag = "1")]
    pub network: i32,
    /// A number of [`super::of`].
    #[prost(int32, tag = "2")]
    pub pid: i32,
    /// A number of [`super::of`].
    #[prost(int32, tag = "3")]
    pub ipc: i32,
    /// The container for [`super::of::TARGET`].
    #[prost(string, tag = "4")]
    pub target: String,
}

/// `SecurityProfile`
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Profile {
    /// 0 the runtime's own, 1 none, 2 that of a file.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// The file.
    #[prost(string, tag = "2")]
    pub file: String,
}
