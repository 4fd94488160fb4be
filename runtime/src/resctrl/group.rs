//! The class of one container, and the group below it that is monitored.

use super::{Root, Schemata};
use crate::cgroup::dir;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::rdt::{Class, RdtPlan};
use crate::state::Record;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, OwnedFd};

/// What of it is the container's: written to its record, for those who join it and for its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// Name of the class; empty for the machine's default one.
    pub(crate) class: String,
    /// It is the container's own, and ends with it. One that was asked for by name stays: others may
    /// be in it, whom the kernel would turn out.
    pub(crate) own: bool,
    /// Name of the monitoring group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) monitor: Option<String>,
}

/// A class that a container's processes go to; what was made for it alone is undone when dropped
/// before [`Group::commit`].
#[derive(Debug)]
pub(crate) struct Group {
    root: Root,
    class: OwnedFd,
    monitor: Option<OwnedFd>,
    made: Made,
    /// It did not exist before.
    new: bool,
    kept: bool,
}

impl Group {
    /// Makes or finds the class, gives it its schemata or compares them.
    ///
    /// # Errors
    /// `NotFound` for a class that is asked for by name alone and is not there, `InvalidSpec` where it
    /// has other schemata, or what the kernel answers, with its own note of why.
    pub(crate) fn make(root: Root, plan: &RdtPlan) -> Result<Group> {
        let mut group = Group::enter(root, plan)?;
        if let Err(error) = group.configure(&plan.schemata) {
            if group.new {
                // Not even the kernel wanted it so: the next who asks must not find it half made.
                dir::remove(group.root.as_fd(), &group.made.class).unwrap_or_default();
            }
            return Err(error);
        }
        if let Some(name) = &plan.monitor {
            group.watch(name)?;
        }
        Ok(group)
    }

    /// The directory of the class, made where it may be.
    pub(super) fn enter(root: Root, plan: &RdtPlan) -> Result<Group> {
        let (name, own) = match &plan.class {
            Class::Default => (String::new(), false),
            Class::Shared(name) => (name.clone(), false),
            Class::Own(name) => (name.clone(), true),
        };
        let may_make = own || !name.is_empty() && !plan.schemata.is_empty();
        let made = if may_make {
            dir::make(root.as_fd(), &name)
        } else {
            Err(Errno::EXIST)
        };
        let new = match made {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(root.failed(errno, "create class of service", &name)),
        };
        let class = match open(&root, &name) {
            Err(Errno::NOENT) => {
                return Err(
                    Error::new(ErrorKind::NotFound, "use class of service", name).because(
                        "clos dir not accessible (must be pre-created when schemata, \
                         l3CacheSchema and memBwSchema are empty): no such file or directory",
                    ),
                );
            }
            other => other.map_err(|errno| root.failed(errno, "use class of service", &name))?,
        };
        Ok(Group {
            root,
            class,
            monitor: None,
            made: Made {
                class: name,
                own,
                monitor: None,
            },
            new,
            kept: false,
        })
    }

    /// That of a container with this record; `None` where it has none.
    pub(crate) fn of(record: &Record) -> Option<Group> {
        let made = record.rdt.as_ref()?;
        Group::find(Root::find()?, made)
    }

    /// That of a container that exists; `None` where it has none, or somebody has removed it.
    pub(super) fn find(root: Root, made: &Made) -> Option<Group> {
        let class = open(&root, &made.class).ok()?;
        let monitor = made.monitor.as_ref();
        let monitor = monitor.and_then(|name| below(&class, name).ok());
        Some(Group {
            root,
            class,
            monitor,
            made: made.clone(),
            new: false,
            kept: true,
        })
    }

    /// Writes to a class of the container's own, and to one that is new; compares one that others
    /// are in already.
    pub(super) fn configure(&self, schemata: &Schemata) -> Result<()> {
        if schemata.is_empty() {
            return Ok(());
        }
        if self.new || self.made.own {
            return self.write(schemata);
        }
        let existing = dir::read(self.class.as_fd(), "schemata")
            .map_err(|errno| self.failed(errno, "read schemata of"))?;
        schemata.compare(&existing).map_err(|why| {
            Error::new(
                ErrorKind::InvalidSpec,
                "use class of service",
                self.subject(),
            )
            .because(format!("its schemata do not match the config's: {why}"))
        })
    }

    /// Writes schemata.
    pub(crate) fn write(&self, schemata: &Schemata) -> Result<()> {
        for text in schemata.writes() {
            dir::write(self.class.as_fd(), "schemata", &text)
                .map_err(|errno| self.failed(errno, "write schemata of"))?;
        }
        Ok(())
    }

    fn watch(&mut self, name: &str) -> Result<()> {
        let path = format!("mon_groups/{name}");
        match dir::make(self.class.as_fd(), &path) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.failed(errno, "create monitoring group of")),
        }
        // From here on it is ours to remove.
        self.made.monitor = Some(name.to_owned());
        let monitor = below(&self.class, name);
        self.monitor =
            Some(monitor.map_err(|errno| self.failed(errno, "open monitoring group of"))?);
        Ok(())
    }

    /// Moves a thread, and so all that it will ever clone, into the class and the group.
    pub(crate) fn join(&self, tid: i32) -> Result<()> {
        for dir in [Some(&self.class), self.monitor.as_ref()]
            .into_iter()
            .flatten()
        {
            dir::write(dir.as_fd(), "tasks", &tid.to_string())
                .map_err(|errno| self.failed(errno, "join class of service"))?;
        }
        Ok(())
    }

    /// Where its statistics are: in the group that holds the container's processes alone, if any.
    pub(super) fn monitored(&self) -> &OwnedFd {
        self.monitor.as_ref().unwrap_or(&self.class)
    }

    pub(super) fn class(&self) -> &OwnedFd {
        &self.class
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// For the record.
    pub(crate) fn made(&self) -> &Made {
        &self.made
    }

    /// Keeps it.
    pub(crate) fn commit(mut self) {
        self.kept = true;
    }

    /// Removes what is the container's alone. Processes that are left go to the class above.
    pub(crate) fn remove(root: &Root, made: &Made) -> Result<()> {
        let failed = |errno| root.failed(errno, "remove class of service", &made.class);
        let absent = |error| matches!(error, Errno::NOENT);
        if let Some(name) = &made.monitor
            && let Ok(class) = open(root, &made.class)
        {
            dir::remove(class.as_fd(), format!("mon_groups/{name}")).map_err(failed)?;
        }
        if !made.own || made.class.is_empty() {
            return Ok(());
        }
        match dir::remove(root.as_fd(), &made.class) {
            Err(errno) if !absent(errno) => Err(failed(errno)),
            _ => Ok(()),
        }
    }

    fn failed(&self, errno: Errno, operation: &str) -> Error {
        self.root.failed(errno, operation, self.subject())
    }

    fn subject(&self) -> &str {
        match self.made.class.as_str() {
            "" => "/",
            name => name,
        }
    }
}

impl Made {
    /// Removes it as [`Group::remove`] does, where the machine still has such classes.
    pub(crate) fn remove(&self) -> Result<()> {
        Root::find().map_or(Ok(()), |root| Group::remove(&root, self))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let undone = Made {
            // One that is new may have got others meanwhile, unless its name is our id.
            own: self.made.own && self.new,
            ..self.made.clone()
        };
        // Nothing can be done about a failure here; `delete --force` tries again.
        Group::remove(&self.root, &undone).unwrap_or_default();
    }
}

fn open(root: &Root, class: &str) -> std::result::Result<OwnedFd, Errno> {
    let name = if class.is_empty() { "." } else { class };
    dir::open(root.as_fd(), name)
}

fn below(class: &OwnedFd, monitor: &str) -> std::result::Result<OwnedFd, Errno> {
    dir::open(class.as_fd(), &format!("mon_groups/{monitor}"))
}
