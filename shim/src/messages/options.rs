//! What containerd passes on from its configuration and its callers.

use prost::Message;

/// `containerd.runc.v1.Options`: sent for every runtime by `ctr`, and by CRI where the runtime's type is
/// runc's.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuncOptions {
    #[prost(bool, tag = "1")]
    pub(crate) no_pivot_root: bool,
    #[prost(bool, tag = "2")]
    pub(crate) no_new_keyring: bool,
    #[prost(string, tag = "3")]
    pub(crate) shim_cgroup: String,
    #[prost(uint32, tag = "4")]
    pub(crate) io_uid: u32,
    #[prost(uint32, tag = "5")]
    pub(crate) io_gid: u32,
    #[prost(string, tag = "6")]
    pub(crate) binary_name: String,
    #[prost(string, tag = "7")]
    pub(crate) root: String,
    #[prost(bool, tag = "9")]
    pub(crate) systemd_cgroup: bool,
    #[prost(string, tag = "10")]
    pub(crate) criu_image_path: String,
    #[prost(string, tag = "11")]
    pub(crate) criu_work_path: String,
    #[prost(string, tag = "12")]
    pub(crate) task_api_address: String,
    #[prost(uint32, tag = "13")]
    pub(crate) task_api_version: u32,
}

impl RuncOptions {
    pub(crate) const NAME: &str = "containerd.runc.v1.Options";
}

/// `runtimeoptions.v1.Options`: what CRI sends for a runtime of any other type.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RuntimeOptions {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    /// A file to read, where there is no body.
    #[prost(string, tag = "2")]
    pub(crate) config_path: String,
    /// TOML.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) config_body: Vec<u8>,
}

impl RuntimeOptions {
    pub(crate) const NAMES: [&str; 2] = [
        "runtimeoptions.v1.Options",
        // containerd 1.x
        "cri.runtimeoptions.v1.Options",
    ];
}

/// `containerd.runc.v1.CheckpointOptions`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckpointOptions {
    /// The container ends with it.
    #[prost(bool, tag = "1")]
    pub(crate) exit: bool,
    #[prost(bool, tag = "2")]
    pub(crate) open_tcp: bool,
    #[prost(bool, tag = "3")]
    pub(crate) external_unix_sockets: bool,
    #[prost(bool, tag = "4")]
    pub(crate) terminal: bool,
    #[prost(bool, tag = "5")]
    pub(crate) file_locks: bool,
    #[prost(string, repeated, tag = "6")]
    pub(crate) empty_namespaces: Vec<String>,
    #[prost(string, tag = "7")]
    pub(crate) cgroups_mode: String,
    #[prost(string, tag = "8")]
    pub(crate) image_path: String,
    #[prost(string, tag = "9")]
    pub(crate) work_path: String,
}

impl CheckpointOptions {
    pub(crate) const NAME: &str = "containerd.runc.v1.CheckpointOptions";
}
