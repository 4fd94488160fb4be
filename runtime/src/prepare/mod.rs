//! From `Plan` to all that a clone needs: the only part that makes things, every one of them
//! undone when dropped.

pub(crate) mod idmaps;
mod mount_table;
mod nodes;
mod place;
mod ready;
mod scope;
pub(crate) mod state_dir;
mod surplus;
mod trees;

use crate::error::{At, Error, ErrorKind, Result};
use crate::hooks::Baggage;
use crate::host::Host;
use crate::id::ContainerId;
use crate::plan::Plan;
use crate::plan::namespaces::Kind;
use crate::request::{Stdio, Stream};
use crate::resctrl::{self, Group};
use crate::warm::{MountTemplate, Networks};
use hostrun_inside::Fd;
pub(crate) use idmaps::with_maps;
pub(crate) use nodes::NodeFd;
pub(crate) use place::Place;
pub(crate) use ready::{Parking, Stop};
use rustix::fs::{Mode, OFlags, fstat, fstatfs, open, openat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use state_dir::StateDir;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio as Inherited;
use std::sync::Arc;
pub(crate) use trees::{Tree, Trees, clone_propagation};

/// All that a clone needs.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) id: ContainerId,
    pub(crate) plan: Plan,
    pub(crate) state: StateDir,
    pub(crate) place: Place,
    pub(crate) trees: Trees,
    pub(crate) line: Line,
    pub(crate) without_pivot: bool,
    pub(crate) park: Option<Parking>,
    /// The mount namespace that is copied instead of the caller's.
    pub(crate) mounts_from: Option<Arc<OwnedFd>>,
    /// Name of the session keyring, where it gets one of its own.
    pub(crate) keyring: Option<CString>,
    /// Where hooks look for the root, if there are any that do.
    pub(crate) mount_point: Option<CString>,
    pub(crate) baggage: Baggage,
    /// The class of service its processes go to.
    pub(crate) rdt: Option<Group>,
}

/// What the start of a process needs, whether its container is new or not.
#[derive(Debug)]
pub(crate) struct Line {
    /// Our end of the pair.
    pub(crate) parent: OwnedFd,
    /// The child's, until it has a copy of its own.
    pub(crate) child: Option<OwnedFd>,
    pub(crate) stdio: Streams,
    /// Namespaces the child joins.
    pub(crate) joins: Vec<(Kind, OwnedFd)>,
    pub(crate) preserved_fds: u32,
}

/// Standard streams, those that are not the caller's own held open.
#[derive(Debug)]
pub(crate) struct Streams([Option<OwnedFd>; 3]);

impl Streams {
    /// Resolves what was asked for.
    pub(crate) fn of(stdio: Stdio) -> Result<Streams> {
        streams(stdio)
    }

    /// Gives them to another program.
    pub(crate) fn give(self, command: &mut std::process::Command) {
        let [stdin, stdout, stderr] = self.0;
        let stream = |own: Option<OwnedFd>| own.map_or_else(Inherited::inherit, Inherited::from);
        command
            .stdin(stream(stdin))
            .stdout(stream(stdout))
            .stderr(stream(stderr));
    }

    /// For a process that is there already.
    pub(crate) fn borrowed(&self) -> [BorrowedFd<'_>; 3] {
        fn or<'a>(own: Option<&'a OwnedFd>, callers: BorrowedFd<'a>) -> BorrowedFd<'a> {
            own.map_or(callers, AsFd::as_fd)
        }
        let [stdin, stdout, stderr] = &self.0;
        [
            or(stdin.as_ref(), rustix::stdio::stdin()),
            or(stdout.as_ref(), rustix::stdio::stdout()),
            or(stderr.as_ref(), rustix::stdio::stderr()),
        ]
    }

    pub(crate) fn numbers(&self) -> [Fd; 3] {
        let [stdin, stdout, stderr] = &self.0;
        let number =
            |own: &Option<OwnedFd>, default| Fd(own.as_ref().map_or(default, AsRawFd::as_raw_fd));
        [number(stdin, 0), number(stdout, 1), number(stderr, 2)]
    }
}

/// What is made for whom.
pub(crate) struct Order<'a> {
    pub(crate) host: &'a Host,
    pub(crate) root: &'a Arc<OwnedFd>,
    pub(crate) id: &'a ContainerId,
    /// The root, where the caller brought one.
    pub(crate) root_mount: Option<OwnedFd>,
    pub(crate) stdio: Stdio,
    pub(crate) preserved_fds: u32,
    pub(crate) new_keyring: bool,
    /// Make a directory for a notify socket.
    pub(crate) notify: bool,
    pub(crate) without_pivot: bool,
    /// For the hooks inside.
    pub(crate) baggage: Baggage,
    /// The config, kept for later verbs.
    pub(crate) config: Vec<u8>,
    /// Stop before `execve(2)` until started.
    pub(crate) park: Option<Stop>,
    /// The filter lets through all that is done after the wait.
    pub(crate) behind_filter: bool,
    /// Network namespaces that were made before.
    pub(crate) networks: Option<&'a Networks>,
    /// A mount namespace that is cheaper to copy than the caller's.
    pub(crate) template: Option<&'a MountTemplate>,
    /// Go without a cgroup where none is to be had; `None` for whoever is not root of the machine.
    pub(crate) rootless: Option<bool>,
}

/// Makes it all.
pub(crate) fn prepare(order: Order<'_>, mut plan: Plan) -> Result<Prepared> {
    // First, because it makes the id ours.
    let state = StateDir::create(order.root, order.id)?;
    // Before the cgroup: if we are killed, whoever deletes the rest finds its path in there.
    state.write(state_dir::CONFIG, &order.config)?;
    if order.notify {
        state.make_notify_dir()?;
    }
    let mount_point = mount_point(&order, &plan);
    let place = Place::make(&plan, order.host, order.rootless)?;
    let rdt = class_of_service(&plan)?;
    let trees = Trees::open(
        &plan,
        order.root_mount,
        order.without_pivot,
        place.cgroup(),
        order.host,
    )?;
    if plan.process.needs_home {
        plan.process.envp.push(home(&trees, &plan));
    }
    let mut joins = joins(&plan, order.host)?;
    joins.extend(ready::network(order.networks, &plan));
    let pivots = !order.without_pivot;
    let template = order.template.filter(|_| pivots);
    let mounts_from = ready::mounts(template, order.host, &plan, &trees);
    let park = order
        .park
        .map(|stop| Parking::make(stop, &state, &plan, order.host, order.behind_filter));
    let park = park.transpose()?;
    let keyring = order.new_keyring.then(|| keyring_of(order.id.as_str()));
    if plan.process.oom_score_adj.is_some() || plan.namespaces.creates(Kind::Time) {
        order.host.proc()?;
    }
    let line = Line::new(order.stdio, order.preserved_fds, joins)?;
    Ok(Prepared {
        id: order.id.clone(),
        plan,
        state,
        place,
        trees,
        line,
        without_pivot: order.without_pivot,
        park,
        mounts_from,
        keyring,
        mount_point,
        baggage: order.baggage,
        rdt,
    })
}

/// Makes or finds the class of service, if one is asked for.
pub(crate) fn class_of_service(plan: &Plan) -> Result<Option<Group>> {
    let rdt = plan.rdt.as_ref();
    rdt.map(|rdt| Group::make(resctrl::Root::open()?, rdt))
        .transpose()
}

/// The name of a container's session keyring.
pub(crate) fn keyring_of(id: &str) -> CString {
    CString::new(format!("_ses.{id}")).unwrap_or_default()
}

/// Hooks that run before the root is the root expect it at its path. A root that the caller brought
/// has none: they stand in it and find it there.
fn mount_point(order: &Order<'_>, plan: &Plan) -> Option<CString> {
    let wanted = order.root_mount.is_none() && plan.hooks.run_before_pivot();
    let path = plan.root.path.as_os_str().as_bytes();
    wanted.then(|| CString::new(path).ok()).flatten()
}

impl Line {
    pub(crate) fn new(
        stdio: Stdio,
        preserved_fds: u32,
        joins: Vec<(Kind, OwnedFd)>,
    ) -> Result<Line> {
        let (parent, child) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .at("create", "the pair of sockets to the container")?;
        Ok(Line {
            parent,
            child: Some(child),
            stdio: streams(stdio)?,
            joins,
            preserved_fds,
        })
    }
}

fn streams(stdio: Stdio) -> Result<Streams> {
    let resolve = |stream| match stream {
        Stream::Inherit => Ok(None),
        Stream::Fd(fd) => Ok(Some(fd)),
        Stream::Null => null().map(Some),
    };
    Ok(Streams([
        resolve(stdio.stdin)?,
        resolve(stdio.stdout)?,
        resolve(stdio.stderr)?,
    ]))
}

fn null() -> Result<OwnedFd> {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).at("open", "/dev/null")
}

/// `HOME` from the container's own user database; the root where it has none.
fn home(trees: &Trees, plan: &Plan) -> CString {
    let home = crate::users::home_of(trees.root.as_fd(), plan.process.uid);
    CString::new(format!("HOME={home}")).unwrap_or_else(|_zero| CString::from(c"HOME=/"))
}

/// Opens the namespaces to join. Those that turn out to be our own are not joined; then nothing
/// may be set in them either, for it would be set on the host.
fn joins(plan: &Plan, host: &Host) -> Result<Vec<(Kind, OwnedFd)>> {
    let mut joins = Vec::new();
    for (kind, path) in plan.namespaces.joins() {
        let fd = open_namespace(path)?;
        if is_our_own(kind, &fd, host)? {
            if plan.sets_something_in(kind) || kind == Kind::Mount {
                return Err(Error::new(
                    ErrorKind::InvalidSpec,
                    "join namespace",
                    path.display().to_string(),
                )
                .because("it is the caller's own, and the config would change it"));
            }
        } else {
            joins.push((kind, fd));
        }
    }
    Ok(joins)
}

fn is_our_own(kind: Kind, namespace: &OwnedFd, host: &Host) -> Result<bool> {
    let path = format!("thread-self/ns/{}", kind.file_name());
    let own = openat(
        host.proc()?,
        &path,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at("open /proc file", &path)?;
    let identity = |fd: &OwnedFd| {
        fstat(fd)
            .map(|stat| (stat.st_dev, stat.st_ino))
            .at("check namespace", &path)
    };
    Ok(identity(&own)? == identity(namespace)?)
}

fn open_namespace(path: &Path) -> Result<OwnedFd> {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    let fd = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at("open namespace", path.display())?;
    let magic = fstatfs(&fd).at("check namespace", path.display())?.f_type;
    if u64::try_from(magic).ok() == Some(NSFS_MAGIC) {
        return Ok(fd);
    }
    Err(Error::new(
        ErrorKind::InvalidSpec,
        "open namespace",
        path.display().to_string(),
    )
    .because("it is no namespace"))
}
