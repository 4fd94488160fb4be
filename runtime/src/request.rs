//! What an embedder hands over to have a container made.

use crate::bundle::Bundle;
use oci_spec::runtime::{Process, Spec};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// One standard stream of a payload.
#[derive(Debug, Default)]
pub enum Stream {
    /// The caller's own.
    #[default]
    Inherit,
    /// `/dev/null` of the host.
    Null,
    /// This descriptor; the caller's copy is closed with the request.
    Fd(OwnedFd),
}

/// The three standard streams. Ignored where the process has a terminal.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Descriptor 0.
    pub stdin: Stream,
    /// Descriptor 1.
    pub stdout: Stream,
    /// Descriptor 2.
    pub stderr: Stream,
}

/// A container to be made.
#[derive(Debug)]
pub struct Request {
    pub(crate) spec: Spec,
    pub(crate) bundle: PathBuf,
    /// The config as it was written, kept for later verbs; made from the spec where there is none.
    pub(crate) config: Option<Vec<u8>>,
    pub(crate) root: Option<OwnedFd>,
    pub(crate) stdio: Stdio,
    pub(crate) preserved_fds: u32,
    pub(crate) new_keyring: bool,
    pub(crate) notify: bool,
    pub(crate) without_pivot: bool,
    pub(crate) keeps_line: bool,
}

impl Request {
    /// From a bundle on disk.
    pub fn from_bundle(bundle: Bundle) -> Request {
        let (dir, spec, bytes) = bundle.into_parts();
        Request {
            config: Some(bytes),
            ..Request::new(spec, &dir)
        }
    }

    /// From a spec in memory. Relative paths of the spec are relative to `bundle`, an absolute
    /// directory.
    pub fn new(spec: Spec, bundle: &Path) -> Request {
        Request {
            spec,
            bundle: bundle.to_owned(),
            config: None,
            root: None,
            stdio: Stdio::default(),
            preserved_fds: 0,
            new_keyring: true,
            notify: false,
            without_pivot: false,
            keeps_line: false,
        }
    }

    /// The spec as its author wrote it, in bytes: kept for later verbs instead of what we would make of it.
    #[must_use]
    pub fn with_config(mut self, bytes: Vec<u8>) -> Request {
        self.config = Some(bytes);
        self
    }

    /// Changes the root by `chroot(2)`, for hosts whose own root is an initial ramdisk, which
    /// `pivot_root(2)` refuses. The host's mounts stay below the container's root.
    #[must_use]
    pub fn without_pivot(mut self) -> Request {
        self.without_pivot = true;
        self
    }

    /// Keeps the socket to a container that is only created: [`Created::start`](crate::Created::start)
    /// is one message then, and reads nothing from the disk. Whoever else finds the container can start
    /// it as well, and it outlives the caller as without.
    #[must_use]
    pub fn with_line(mut self) -> Request {
        self.keeps_line = true;
        self
    }

    /// Uses this detached mount (`fsmount(2)`, `open_tree(2)`) as the root instead of `root.path`.
    #[must_use]
    pub fn with_root_mount(mut self, root: OwnedFd) -> Request {
        self.root = Some(root);
        self
    }

    /// Standard streams other than the caller's own.
    #[must_use]
    pub fn with_stdio(mut self, stdio: Stdio) -> Request {
        self.stdio = stdio;
        self
    }

    /// Descriptors 3 to 2 + `count` of the caller stay open in the payload; those that are not
    /// open are passed over.
    #[must_use]
    pub fn with_preserved_fds(mut self, count: u32) -> Request {
        self.preserved_fds = count;
        self
    }

    /// Leaves the caller's session keyring, `session-keyring(7)`, to the container instead of a new
    /// one; to processes executed in it later, too.
    #[must_use]
    pub fn without_new_keyring(mut self) -> Request {
        self.new_keyring = false;
        self
    }

    /// Makes a directory `notify` in the container's state directory and deletes it with the
    /// container: a place for a socket that a mount of the spec can show to the payload,
    /// `sd_notify(3)`.
    #[must_use]
    pub fn with_notify_dir(mut self) -> Request {
        self.notify = true;
        self
    }

    /// The spec, to be changed for this start. Later verbs go by the config as it was written.
    pub fn spec_mut(&mut self) -> &mut Spec {
        &mut self.spec
    }
}

/// A process to be started in a running container.
#[derive(Debug)]
pub struct ExecRequest {
    pub(crate) process: Process,
    pub(crate) cgroup: Option<String>,
    pub(crate) stdio: Stdio,
    pub(crate) preserved_fds: u32,
    pub(crate) ignore_paused: bool,
    pub(crate) config: Option<Spec>,
}

impl ExecRequest {
    /// A process as the spec describes one.
    pub fn new(process: Process) -> ExecRequest {
        ExecRequest {
            process,
            cgroup: None,
            stdio: Stdio::default(),
            preserved_fds: 0,
            ignore_paused: false,
            config: None,
        }
    }

    /// The container's config, as [`Container::spec`](crate::Container::spec) gave it a moment ago:
    /// saves reading it once more.
    #[must_use]
    pub fn with_config(mut self, config: Spec) -> ExecRequest {
        self.config = Some(config);
        self
    }

    /// Standard streams other than the caller's own.
    #[must_use]
    pub fn with_stdio(mut self, stdio: Stdio) -> ExecRequest {
        self.stdio = stdio;
        self
    }

    /// Descriptors 3 to 2 + `count` of the caller stay open in the process; those that are not open
    /// are passed over.
    #[must_use]
    pub fn with_preserved_fds(mut self, count: u32) -> ExecRequest {
        self.preserved_fds = count;
        self
    }

    /// Joins a paused container, too: the process stands still, and the call waits, until it is
    /// resumed.
    #[must_use]
    pub fn even_if_paused(mut self) -> ExecRequest {
        self.ignore_paused = true;
        self
    }

    /// A cgroup below the container's own, which must exist, by its path from there; `/` is the
    /// container's own. Otherwise the process goes to the container's own cgroup or, where the kernel
    /// lets nothing in there any more, to that of its first process.
    #[must_use]
    pub fn with_cgroup(mut self, below: impl Into<String>) -> ExecRequest {
        self.cgroup = Some(below.into());
        self
    }
}
