//! From what is prepared to `Orders`, and the one clone.

use crate::error::{At, Result};
use crate::host::Host;
use crate::plan::mounts::{MountPlan, RootPlan, SourcePlan};
use crate::plan::namespaces::{Choice, Kind};
use crate::plan::process::ProcessPlan;
use crate::prepare::{Line, Prepared, Trees};
use crate::sys;
use hostrun_inside::Fd;
use hostrun_inside::orders::{
    Console, Device, Identity, Join, Link, Make, Mount, Orders, Root, Seccomp, SecondClone, Source,
    Sysctl,
};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A process that was cloned and follows its orders; killed and reaped when dropped, until it is
/// [released](Child::release).
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pidfd: Option<OwnedFd>,
}

impl Child {
    pub(crate) fn new(pid: i32, pidfd: OwnedFd) -> Child {
        Child {
            pid,
            pidfd: Some(pidfd),
        }
    }

    /// From now on it lives by itself.
    pub(crate) fn release(mut self) -> Option<OwnedFd> {
        self.pidfd.take()
    }

    /// Waits until it is dead; the signal that killed it, if one did.
    pub(crate) fn reap(&mut self) -> Option<i32> {
        let pidfd = self.pidfd.take()?;
        loop {
            match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other.ok().flatten()?.terminating_signal(),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(pidfd) = &self.pidfd else { return };
        // It may be dead already, which is as good.
        pidfd_send_signal(pidfd, Signal::KILL).unwrap_or_default();
        self.reap();
    }
}

/// Clones the first process of a container.
pub(crate) fn clone(prepared: &Prepared, host: &Host) -> Result<Child> {
    let Prepared {
        plan, trees, line, ..
    } = prepared;
    let tables = Tables::new(&plan.process, line);
    let options = options(&plan.root);
    let mounts: Vec<Mount<'_>> = mounts(&plan.root, trees, &options);
    let devices = devices(prepared);
    let links: Vec<Link<'_>> = plan
        .links
        .iter()
        .map(|link| Link {
            directory: c"dev",
            name: link.name,
            target: link.target,
            replace: link.replace,
        })
        .collect();
    let sysctls: Vec<Sysctl<'_>> = plan
        .sysctls
        .iter()
        .map(|sysctl| Sysctl {
            path: &sysctl.path,
            value: &sysctl.value,
        })
        .collect();
    let masked: Vec<&CStr> = plan.root.masked.iter().map(CString::as_c_str).collect();
    let readonly_paths: Vec<&CStr> = plan
        .root
        .readonly_paths
        .iter()
        .map(CString::as_c_str)
        .collect();
    let new_user = plan.namespaces.creates(Kind::User);
    let flags = plan.namespaces.clone_flags();
    let joined_user = matches!(plan.namespaces.choice(Kind::User), Choice::Join(_));
    // A joined user namespace can own new namespaces only if a process inside it makes them.
    let second = (joined_user && flags != 0).then_some(SecondClone {
        flags: u64::from(flags.cast_unsigned()),
    });
    let proc = host.proc().ok().map(|proc| Fd(proc.as_raw_fd()));
    let orders = Orders {
        host_proc: proc,
        second_clone: second,
        // The parent does for a new user namespace what takes privileges over the host.
        oom_score_adj: plan.process.oom_score_adj.as_deref().filter(|_| !new_user),
        rlimits: if new_user { &[] } else { &plan.process.rlimits },
        time_offsets: plan.namespaces.time_offsets.as_deref(),
        user_namespace: new_user,
        keyring: Some(&prepared.keyring),
        root: Some(Root {
            tree: raw(&trees.root),
            detach: libc::MS_SLAVE | libc::MS_REC,
            propagation: plan.root.propagation,
            readonly: plan.root.readonly,
            mounts: &mounts,
            devices: &devices,
            links: &links,
            masked: &masked,
            readonly_paths: &readonly_paths,
        }),
        loopback: plan.namespaces.creates(Kind::Network),
        hostname: plan.hostname.as_deref(),
        domainname: plan.domainname.as_deref(),
        sysctls: &sysctls,
        seccomp: plan.seccomp.as_ref().map(|filter| Seccomp {
            program: filter.program(),
            flags: filter.flags(),
        }),
        park: prepared.listener.as_ref().map(raw),
        ..tables.orders(&plan.process, line, true)
    };
    let first_flags = if second.is_some() { 0 } else { flags };
    clone_in(
        line.pid_namespace.as_ref(),
        host,
        first_flags,
        prepared.leaf.as_fd(),
        &orders,
    )
}

/// The pointers and lists that every process needs, new container or not.
pub(crate) struct Tables<'a> {
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    candidates: Vec<&'a CStr>,
    joins: Vec<Join>,
}

impl<'a> Tables<'a> {
    pub(crate) fn new(process: &'a ProcessPlan, line: &Line) -> Tables<'a> {
        let pointers = |list: &'a [CString]| -> Vec<*const c_char> {
            list.iter()
                .map(|text| text.as_ptr())
                .chain([std::ptr::null()])
                .collect()
        };
        Tables {
            argv: pointers(&process.argv),
            envp: pointers(&process.envp),
            candidates: process.candidates.iter().map(CString::as_c_str).collect(),
            joins: line
                .joins
                .iter()
                .map(|(kind, fd)| Join {
                    fd: raw(fd),
                    flags: kind.flag(),
                })
                .collect(),
        }
    }

    /// Orders for a process and nothing around it.
    pub(crate) fn orders(
        &'a self,
        process: &'a ProcessPlan,
        line: &Line,
        bind_console: bool,
    ) -> Orders<'a> {
        Orders {
            parent: line.child.as_ref().map_or(Fd(-1), raw),
            host_proc: None,
            oom_score_adj: None,
            joins: &self.joins,
            second_clone: None,
            time_offsets: None,
            user_namespace: false,
            keyring: None,
            root: None,
            console: process.terminal.map(|size| Console {
                size,
                uid: process.uid,
                bind: bind_console,
            }),
            loopback: false,
            hostname: None,
            domainname: None,
            sysctls: &[],
            rlimits: &process.rlimits,
            stdio: line.stdio.numbers(),
            preserved_fds: line.preserved_fds,
            identity: Identity {
                uid: process.uid,
                gid: process.gid,
                groups: Some(&process.groups),
                umask: process.umask,
            },
            capabilities: process.capabilities,
            cwd: &process.cwd,
            no_new_privileges: process.no_new_privileges,
            seccomp: None,
            park: None,
            candidates: &self.candidates,
            argv: &self.argv,
            envp: &self.envp,
        }
    }
}

/// Clones, born in another pid namespace where one is joined.
pub(crate) fn clone_in(
    pid_namespace: Option<&OwnedFd>,
    host: &Host,
    flags: i32,
    cgroup: BorrowedFd<'_>,
    orders: &Orders<'_>,
) -> Result<Child> {
    let clone = || {
        let (pid, pidfd) =
            sys::clone_room(flags, cgroup, orders).at("clone", "the container's first process")?;
        Ok(Child::new(pid, pidfd))
    };
    let Some(namespace) = pid_namespace else {
        return clone();
    };
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let own = rustix::fs::openat(
        host.proc()?,
        "thread-self/ns/pid",
        flags,
        rustix::fs::Mode::empty(),
    )
    .at("open", "our own pid namespace")?;
    sys::enter_pid_namespace(namespace.as_fd()).at("enter", "the pid namespace")?;
    let child = clone();
    // Back before anything else: the embedder's later children are no business of the container's.
    sys::enter_pid_namespace(own.as_fd()).at("leave", "the pid namespace")?;
    child
}

fn raw(fd: &OwnedFd) -> Fd {
    Fd(fd.as_raw_fd())
}

/// Options of new file systems, as the room reads them.
type Options<'a> = Vec<Vec<(&'a CStr, &'a CStr)>>;

fn options(root: &RootPlan) -> Options<'_> {
    root.mounts
        .iter()
        .map(|mount| {
            mount
                .options()
                .iter()
                .map(|(key, value)| (key.as_c_str(), value.as_c_str()))
                .collect()
        })
        .collect()
}

fn mounts<'a>(root: &'a RootPlan, trees: &'a Trees, options: &'a Options<'a>) -> Vec<Mount<'a>> {
    // Sysctls are written through the first procfs.
    let procfs = root.mounts.iter().position(is_procfs);
    let with_trees = root
        .mounts
        .iter()
        .zip(&trees.mounts)
        .zip(options)
        .enumerate();
    with_trees
        .map(|(index, ((mount, tree), options))| Mount {
            source: match (&mount.source, tree) {
                (_, Some(tree)) => Source::Tree(raw(&tree.fd)),
                (
                    SourcePlan::New {
                        fstype,
                        device,
                        inherit_mode,
                        ..
                    },
                    None,
                ) => Source::Filesystem {
                    fstype,
                    source: device,
                    options,
                    inherit_mode: *inherit_mode,
                },
                // Every other source has a tree; this one would be refused by the kernel.
                _ => Source::Tree(Fd(-1)),
            },
            target: &mount.target,
            strict_target: mount.strict_target,
            make: match tree {
                Some(tree) if !tree.is_directory => Make::File,
                _ => Make::Directory,
            },
            attributes: mount.own.set | mount.tree.set,
            late_readonly: mount.late_readonly,
            keep: procfs == Some(index),
            propagation: mount.propagation,
            held: Cell::new(-1),
        })
        .collect()
}

fn is_procfs(mount: &MountPlan) -> bool {
    matches!(&mount.source, SourcePlan::New { fstype, .. } if fstype.as_c_str() == c"proc")
}

fn devices(prepared: &Prepared) -> Vec<Device<'_>> {
    let with_trees = prepared.plan.devices.iter().zip(&prepared.trees.devices);
    with_trees
        .map(|(device, tree)| Device {
            directory: &device.directory,
            name: &device.name,
            mode: device.mode,
            number: device.number,
            uid: device.uid,
            gid: device.gid,
            bind: tree.as_ref().map(raw),
        })
        .collect()
}
