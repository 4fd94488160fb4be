//! From what is prepared to [`Orders`]: flat plain data that the child can follow without us.

mod mounts;
mod treatment;

use crate::host::{Caller, Host};
use crate::plan::devices::{DevicePlan, LinkPlan};
use crate::plan::namespaces::Kind;
use crate::plan::process::ProcessPlan;
use crate::plan::sysctls::SysctlPlan;
use crate::prepare::{Line, NodeFd, Parking, Prepared, Stop, Tree};
use crate::warm::Page;
use hostrun_inside::Fd;
use hostrun_inside::orders::{
    self, Console, Device, Identity, Join, Link, Mount, Node, Orders, Root, Seccomp, Sysctl,
};
use mounts::mounts;
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, OwnedFd};
use treatment::{Rules, labels, treatment};

/// The pointers and lists that every process needs, whether its container is new or not.
pub(crate) struct Tables<'a> {
    argv: Vec<Cell<*const c_char>>,
    envp: Vec<Cell<*const c_char>>,
    candidates: Vec<Cell<*const c_char>>,
    joins: Vec<Join>,
    kept: Vec<Fd>,
    ignored_signals: u64,
    rules: Rules<'a>,
}

impl<'a> Tables<'a> {
    /// `others` are descriptors the child uses besides those of the line.
    pub(crate) fn new(
        process: &'a ProcessPlan,
        line: &Line,
        host: &Host,
        others: &[Fd],
    ) -> Tables<'a> {
        let pointers = |list: &'a [CString]| list.iter().map(|text| Cell::new(text.as_ptr()));
        let end = || [Cell::new(std::ptr::null())];
        let join = |(kind, fd): &(Kind, OwnedFd)| Join {
            fd: raw(fd),
            flags: kind.flag(),
        };
        Tables {
            argv: pointers(&process.argv).chain(end()).collect(),
            envp: pointers(&process.envp).chain(end()).collect(),
            candidates: pointers(&process.candidates).collect(),
            joins: line.joins.iter().map(join).collect(),
            kept: kept(line, others),
            ignored_signals: host.ignored_signals(),
            rules: Rules::of(process),
        }
    }

    /// Orders for a process and nothing around it.
    pub(crate) fn orders(
        &'a self,
        process: &'a ProcessPlan,
        line: &Line,
        host: &Host,
    ) -> Orders<'a> {
        Orders {
            parent: line.child.as_ref().map_or(Fd(-1), raw),
            peer: raw(&line.parent),
            kept: &self.kept,
            ignored_signals: self.ignored_signals,
            host_proc: None,
            oom_score_adj: None,
            joins: &self.joins,
            mounts_from: None,
            second_clone: None,
            enter: None,
            time_offsets: None,
            user_namespace: false,
            ordinary_parent: host.caller().is_ordinary(),
            keyring: None,
            root: None,
            console: process.terminal.map(|size| Console {
                size,
                uid: process.uid,
                bind: false,
            }),
            loopback: false,
            net_devices: false,
            class_of_service: false,
            hostname: None,
            domainname: None,
            sysctls: &[],
            rlimits: &process.rlimits,
            stdio: line.stdio.numbers(),
            preserved_fds: line.preserved_fds,
            treatment: treatment(&process.treatment),
            landlock: self.rules.landlock(process),
            labels: labels(process),
            identity: Identity {
                uid: process.uid,
                gid: process.gid,
                groups: (!process.keep_groups).then_some(&process.groups),
                parent_sets_groups: host.caller().may(Caller::SETGID),
                umask: process.umask,
            },
            capabilities: process.capabilities,
            cwd: &process.cwd,
            no_new_privileges: process.no_new_privileges,
            seccomp: None,
            hooks: orders::Hooks::default(),
            park: None,
            program: orders::Program {
                candidates: &self.candidates,
                argv: &self.argv,
                envp: &self.envp,
            },
        }
    }
}

/// In ascending order and each once, above what the payload keeps anyway.
fn kept(line: &Line, others: &[Fd]) -> Vec<Fd> {
    let own = line
        .child
        .iter()
        .chain(line.joins.iter().map(|(_, fd)| fd))
        .map(raw);
    let mut kept: Vec<Fd> = own
        .chain(line.stdio.numbers())
        .chain(others.iter().copied())
        .collect();
    kept.retain(|fd| fd.0 > 2);
    kept.sort_unstable_by_key(|fd| fd.0);
    kept.dedup();
    kept
}

/// Descriptors that the child of a new container uses.
pub(crate) fn used(prepared: &Prepared, host: &Host) -> Vec<Fd> {
    let nodes = &prepared.trees.nodes;
    // Places of the host the child knows by their paths.
    let others = prepared
        .trees
        .mounts
        .iter()
        .filter_map(|tree| match tree {
            Some(Tree::Detached { fd, .. }) => Some(fd),
            _ => None,
        })
        .chain(nodes.each.iter().flatten().map(NodeFd::fd))
        .chain(&nodes.made_in)
        .chain([&prepared.trees.root])
        .chain(&prepared.trees.mounts_of_caller)
        .chain(prepared.park.as_ref().map(|park| &park.listener))
        .chain(prepared.mounts_from.as_deref())
        .map(raw);
    others.chain(procfs(prepared, host)).collect()
}

/// The host's procfs, for those only who write there: it leads to everything.
fn procfs(prepared: &Prepared, host: &Host) -> Option<Fd> {
    let plan = &prepared.plan;
    let writes = plan.process.oom_score_adj.is_some() || plan.namespaces.time_offsets.is_some();
    let proc = host.proc().ok().filter(|_| writes)?;
    Some(Fd(proc.as_raw_fd()))
}

/// The lists of a new container.
pub(crate) struct Lists<'a> {
    options: Vec<Vec<(&'a CStr, &'a CStr)>>,
    devices: Vec<Device<'a>>,
    links: Vec<Link<'a>>,
    sysctls: Vec<Sysctl<'a>>,
    masked: Vec<&'a CStr>,
    readonly_paths: Vec<&'a CStr>,
    revealing: Vec<&'a CStr>,
}

impl<'a> Lists<'a> {
    pub(crate) fn new(prepared: &'a Prepared) -> Lists<'a> {
        let Prepared { plan, trees, .. } = prepared;
        let pair = |(key, value): &'a (CString, CString)| (key.as_c_str(), value.as_c_str());
        let devices = plan.devices.iter().zip(&trees.nodes.each);
        Lists {
            options: plan
                .root
                .mounts
                .iter()
                .map(|mount| mount.options().iter().map(pair).collect())
                .collect(),
            devices: devices
                .map(|(device, node)| self::device(device, node.as_ref()))
                .collect(),
            revealing: trees.revealing.iter().map(CString::as_c_str).collect(),
            links: plan.links.iter().map(link).collect(),
            sysctls: plan.sysctls.iter().map(sysctl).collect(),
            masked: plan.root.masked.iter().map(CString::as_c_str).collect(),
            readonly_paths: plan
                .root
                .readonly_paths
                .iter()
                .map(CString::as_c_str)
                .collect(),
        }
    }

    /// The mounts, with their scratch for the room.
    pub(crate) fn mounts(&'a self, prepared: &'a Prepared) -> Vec<Mount<'a>> {
        mounts(prepared, &self.options)
    }

    /// Orders for a new container.
    pub(crate) fn orders(
        &'a self,
        prepared: &'a Prepared,
        tables: &'a Tables<'a>,
        mounts: &'a [Mount<'a>],
        host: &Host,
    ) -> Orders<'a> {
        let Prepared {
            plan, trees, line, ..
        } = prepared;
        let new_user = plan.namespaces.creates(Kind::User);
        let maps = plan.namespaces.maps.as_ref();
        let deny_setgroups = maps.is_some_and(|maps| maps.deny_setgroups);
        let process = tables.orders(&plan.process, line, host);
        // The parent does for a new user namespace what takes privileges over the host.
        let oom_score_adj = plan.process.oom_score_adj.as_deref().filter(|_| !new_user);
        Orders {
            host_proc: procfs(prepared, host),
            oom_score_adj,
            time_offsets: plan.namespaces.time_offsets.as_deref(),
            user_namespace: new_user,
            keyring: prepared.keyring.as_deref(),
            identity: Identity {
                groups: process.identity.groups.filter(|_| !deny_setgroups),
                ..process.identity
            },
            root: Some(Root {
                tree: raw(&trees.root),
                host_path: trees.root_path.as_deref(),
                place: prepared.mount_point.as_deref(),
                detach: libc::MS_SLAVE | libc::MS_REC,
                without_pivot: prepared.without_pivot,
                return_to: trees.mounts_of_caller.as_ref().map(raw),
                revealing: &self.revealing,
                propagation: plan.root.propagation,
                readonly: plan.root.readonly,
                mounts,
                devices: &self.devices,
                made_nodes: trees.nodes.made_in.as_ref().map(raw),
                links: &self.links,
                masked: &self.masked,
                readonly_paths: &self.readonly_paths,
            }),
            console: process.console.map(|console| Console {
                bind: true,
                ..console
            }),
            // One that was made before has it up.
            loopback: plan.namespaces.creates(Kind::Network) && !prepared.has_network(),
            net_devices: !plan.net_devices.is_empty(),
            class_of_service: prepared.rdt.is_some(),
            hostname: plan.hostname.as_deref(),
            domainname: plan.domainname.as_deref(),
            sysctls: &self.sysctls,
            seccomp: plan.seccomp.as_ref().map(seccomp),
            mounts_from: prepared.mounts_from.as_deref().map(raw),
            park: prepared.park.as_ref().map(Parking::orders),
            ..process
        }
    }
}

impl Parking {
    fn orders(&self) -> orders::Park<'_> {
        orders::Park {
            listener: raw(&self.listener),
            keeps_line: self.stop != Stop::Plain,
            page: self.page.as_ref().map(Page::program),
            told: self.page.as_ref().is_some_and(Page::is_told),
            surplus: self.page.as_ref().map_or(&[], Page::surplus),
            behind_filter: self.behind_filter,
        }
    }
}

/// The filter, borrowed from the plan.
pub(crate) fn seccomp(filter: &hostrun_seccomp_profiles::Filter) -> Seccomp<'_> {
    Seccomp {
        program: filter.program(),
        flags: filter.flags(),
    }
}

fn raw(fd: &OwnedFd) -> Fd {
    Fd(fd.as_raw_fd())
}

fn device<'a>(plan: &'a DevicePlan, node: Option<&NodeFd>) -> Device<'a> {
    Device {
        directory: &plan.directory,
        name: &plan.name,
        mode: plan.mode,
        number: plan.number,
        uid: plan.uid,
        gid: plan.gid,
        node: match (node, plan.bind) {
            (Some(NodeFd::Bound(tree)), _) => Node::Tree(raw(tree)),
            (Some(NodeFd::Made(node)), _) => Node::Made(raw(node)),
            (None, true) => Node::Host(&plan.host_path),
            (None, false) => Node::Make,
        },
        lenient: plan.lenient,
        host_path: &plan.host_path,
    }
}

fn link(plan: &'static LinkPlan) -> Link<'static> {
    Link {
        directory: c"dev",
        name: plan.name,
        target: plan.target,
        replace: plan.replace,
    }
}

fn sysctl(plan: &SysctlPlan) -> Sysctl<'_> {
    Sysctl {
        path: &plan.path,
        value: &plan.value,
    }
}
