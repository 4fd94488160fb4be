//! The runtime of one state root.

use crate::bundle::open_dir;
use crate::container::Container;
use crate::error::{At, Error, ErrorKind, Result};
use crate::host::Host;
use crate::id::ContainerId;
use crate::plan::Facts;
use crate::warm::{MountTemplate, Networks};
use oci_spec::runtime::Spec;
use rustix::fs::{Dir, Mode, OFlags, fstat, mkdir, openat};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// Makes and finds containers below one directory of state. Cheap to open; safe to share between
/// threads; changes nothing of the process it lives in.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub(crate) root: Arc<OwnedFd>,
    pub(crate) host: Arc<Host>,
    pub(crate) rootless: Option<bool>,
    pub(crate) systemd: bool,
    pub(crate) networks: Option<Arc<Networks>>,
    pub(crate) template: Option<MountTemplate>,
}

impl Runtime {
    /// Where state is kept when nobody says otherwise.
    pub const DEFAULT_ROOT: &'static str = "/run/hostrun";

    /// Opens the directory, making it (mode 0700: nobody else may look in) where it is missing.
    ///
    /// # Errors
    /// `Denied` or what else the file system answers.
    pub fn open(root: &Path) -> Result<Runtime> {
        if let Ok(dir) = open_dir(root) {
            return Runtime::of(dir, root);
        }
        let parents = root
            .ancestors()
            .skip(1)
            .filter(|dir| !dir.as_os_str().is_empty());
        let mut parents: Vec<&Path> = parents.collect();
        parents.reverse();
        for parent in parents {
            make(parent, Mode::from_raw_mode(0o755))?;
        }
        make(root, Mode::RWXU)?;
        Runtime::of(open_dir(root)?, root)
    }

    /// Whoever could write here could name the processes that `kill` and `exec` reach.
    fn of(dir: OwnedFd, root: &Path) -> Result<Runtime> {
        let stat = fstat(&dir).at("check", root.display())?;
        let owned = stat.st_uid == rustix::process::geteuid().as_raw();
        let why = if owned {
            "others can write to it"
        } else {
            "it belongs to another user"
        };
        if !owned || stat.st_mode & 0o022 != 0 {
            return Err(Error::new(
                ErrorKind::Denied,
                "use state root",
                root.display().to_string(),
            )
            .because(why)
            .with_hint("it must belong to the caller, with mode 0700 or 0755"));
        }
        Ok(Runtime {
            root: Arc::new(dir),
            host: Arc::default(),
            rootless: None,
            systemd: false,
            networks: None,
            template: None,
        })
    }

    /// Makes containers in transient scopes of systemd's: `linux.cgroupsPath` is then
    /// `slice:prefix:name`, and annotations `org.systemd.property.NAME` are properties of the unit. An
    /// ordinary user's are made by the manager of its session. Containers that exist stay what they are.
    #[must_use]
    pub fn with_systemd_cgroup(mut self) -> Runtime {
        self.systemd = true;
        self
    }

    /// Takes new network namespaces from this pool, as long as there are any in it.
    #[must_use]
    pub fn with_networks(mut self, networks: Arc<Networks>) -> Runtime {
        self.networks = Some(networks);
        self
    }

    /// Makes mount namespaces from this template, where the container's mounts allow it.
    #[must_use]
    pub fn with_mount_template(mut self, template: MountTemplate) -> Runtime {
        self.template = Some(template);
        self
    }

    /// What the plan of a new container depends on.
    pub(crate) fn facts(&self, spec: &Spec) -> Result<Facts> {
        Ok(Facts {
            systemd: self.systemd,
            ..self.host.facts(spec, None)?
        })
    }

    /// Whether containers go without a cgroup where none is to be had and no limit needs one. Unless
    /// said, that is so for every caller but root outside of all user namespaces.
    #[must_use]
    pub fn with_rootless(mut self, rootless: bool) -> Runtime {
        self.rootless = Some(rootless);
        self
    }

    /// A container that exists.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn container(&self, id: &ContainerId) -> Result<Container> {
        Container::open(self, id)
    }

    /// All containers, in order of their ids.
    ///
    /// # Errors
    /// What the file system answers.
    pub fn containers(&self) -> Result<Vec<Container>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(&*self.root, ".", flags, Mode::empty()).at("open", "the state root")?;
        let mut ids = Vec::new();
        for entry in Dir::new(dir).at("read", "the state root")? {
            let entry = entry.at("read", "the state root")?;
            if let Some(id) = entry
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| ContainerId::new(name).ok())
            {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        // One that is deleted meanwhile is not there.
        Ok(ids
            .iter()
            .filter_map(|id| self.container(id).ok())
            .collect())
    }
}

fn make(dir: &Path, mode: Mode) -> Result<()> {
    match mkdir(dir, mode) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        other => other.at("create", dir.display()),
    }
}
