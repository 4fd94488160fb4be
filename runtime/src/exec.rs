//! A further process in a running container: the same line with everything joined.

use crate::affinity::Bound;
use crate::agent::{Agent, AgentState};
use crate::attend::{Asked, attend};
use crate::cgroup::{Cgroup, CgroupPath, CgroupRoot};
use crate::clone::{Child, clone_in};
use crate::container::Container;
use crate::error::{At, Error, ErrorKind, Result};
use crate::failure::{Names, explain};
use crate::filters;
use crate::host::Host;
use crate::orders::{Tables, seccomp};
use crate::plan::birth::Birth;
use crate::plan::namespaces::Kind;
use crate::plan::{ExecPlan, Plan};
use crate::prepare::{Line, keyring_of};
use crate::request::ExecRequest;
use crate::resctrl::Group;
use crate::running::Running;
use crate::state::{Record, Status};
use crate::sys;
use crate::timings::Timings;
use hostrun_inside::orders::{Identity, Join, Orders, SecondClone};
use hostrun_inside::{Fd, byte};
use rustix::net::{SendFlags, send};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

impl Container {
    /// Runs a process in the container, with the container's seccomp filter.
    ///
    /// The joined process can be seen from inside until it becomes its program: an embedder whose
    /// binary a container could write to should be sealed first ([`crate::seal`]).
    ///
    /// # Errors
    /// `WrongState` where it does not run; `ExecNotFound` or `ExecDenied` where the program does
    /// not.
    pub fn exec(&self, mut request: ExecRequest) -> Result<Running> {
        let mut timings = Timings::start();
        let (record, pidfd) = self.alive("exec in container")?;
        let host = &self.runtime.host;
        let mut plan = self.exec_plan(&mut request, &record)?;
        timings.mark("plan");
        let cgroup = self.joinable_cgroup(&record, &request)?;
        let root = self.root_of(&record)?;
        // A mount namespace that is joined leads there; the caller's own does not.
        let enter = (!plan.owns(Kind::Mount)).then(|| root.as_fd());
        if enter.is_some() {
            prove_alive(&pidfd)?;
        }
        add_home(&mut plan, &root);
        let state = AgentState::new(
            self.id(),
            Status::Running,
            record.pid,
            &record.bundle,
            Some(&record.annotations),
        );
        let agent = Agent::connect(plan.listener.as_ref(), state)?;
        let mut line = Line::new(request.stdio, request.preserved_fds, Vec::new())?;
        timings.mark("prepare");
        let class = Group::of(&record);
        let clone = |cgroup: Option<&Cgroup>| {
            let cgroup = cgroup.map(AsFd::as_fd);
            let outside = Outside {
                cgroup,
                enter,
                class: class.is_some(),
            };
            let keyring = (!record.shares_keyring).then(|| {
                let named = record.keyring.as_deref();
                keyring_of(named.unwrap_or(self.id().as_str()))
            });
            self.clone_into(&plan, &line, pidfd.as_fd(), outside, keyring.as_deref())
        };
        let child = match clone(cgroup.as_ref()) {
            // It hands controllers down by now, so it holds no processes; its first one has moved.
            Err(_) if request.cgroup.is_none() && moved(cgroup.as_ref(), &record, host)? => {
                clone(self.cgroup_of(record.pid)?.as_ref())?
            }
            Err(error) => return Err(not_joined(error, cgroup.as_ref())),
            Ok(child) => child,
        };
        line.child = None;
        timings.mark("clone");
        let names = Names::new(&plan.process, None, root.as_fd());
        let explain = |failure| explain(failure, &names);
        let ready = attend(
            child,
            &line.parent,
            false,
            agent,
            |child, asked| serve(child, &asked, class.as_ref(), &line.parent),
            explain,
            |_, _| Ok(()),
        )?;
        timings.mark("join and exec");
        Ok(Running::new(ready, timings))
    }

    fn exec_plan(&self, request: &mut ExecRequest, record: &Record) -> Result<ExecPlan> {
        let spec = match request.config.take() {
            Some(spec) => spec,
            None => self.spec()?,
        };
        let facts = self.runtime.host.facts(&spec, Some(&request.process))?;
        let (filter, wanted) = filters::look_up(&self.runtime.root, &spec);
        let mut plan = Plan::for_exec(&spec, &request.process, facts, filter)?;
        filters::keep(wanted, plan.seccomp.as_ref());
        if plan.owns(Kind::User) && self.denies_groups(record) {
            plan.deny_groups()?;
        }
        // In a frozen cgroup its first process would hold us still for as long.
        plan.waits = request.ignore_paused;
        Ok(plan)
    }

    /// Does its user namespace deny `setgroups(2)`?
    fn denies_groups(&self, record: &Record) -> bool {
        let text = self.runtime.host.read(&format!("{}/setgroups", record.pid));
        text.is_ok_and(|text| text.trim() == "deny")
    }

    /// `None` where the container has no cgroup of its own.
    fn joinable_cgroup(&self, record: &Record, request: &ExecRequest) -> Result<Option<Cgroup>> {
        const OPERATION: &str = "exec in container";
        let below = request.cgroup.as_deref();
        if record.cgroup.is_empty() {
            return match below {
                None => Ok(None),
                Some(_) => Err(self.wrong_state(OPERATION, "it has no cgroup of its own")),
            };
        }
        let cgroup = match below {
            None => self
                .cgroup(Some(record))?
                .ok_or_else(|| self.wrong_state(OPERATION, "its cgroup is gone"))?,
            Some(below) => self.cgroup_below(record, below)?,
        };
        // A process cloned into a frozen cgroup would stop before its first instruction.
        if !request.ignore_paused && cgroup.is_frozen()? {
            return Err(self.wrong_state(OPERATION, "cannot exec in a paused container"));
        }
        Ok(Some(cgroup))
    }

    fn cgroup_below(&self, record: &Record, below: &str) -> Result<Cgroup> {
        let own = CgroupPath::parse(record.cgroup.as_bytes())?;
        let path = own.join(below).map_err(|error| {
            Error::new(
                ErrorKind::InvalidSpec,
                "exec in container",
                self.id().as_str(),
            )
            .because(format!(
                "bad sub cgroup path: {below} is not a sub cgroup path: {error}"
            ))
        })?;
        Cgroup::open(&CgroupRoot::find()?, &path)?.ok_or_else(|| {
            let gone = Error::from_errno(libc::ENOENT, "open", format!("cgroup {path}"));
            not_in(gone, &path)
        })
    }

    /// The cgroup a process is in.
    fn cgroup_of(&self, pid: i32) -> Result<Option<Cgroup>> {
        let text = self.runtime.host.read(&format!("{pid}/cgroup"))?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"));
        let path = path.unwrap_or_default().trim_matches('/');
        let path = CgroupPath::parse(path.as_bytes())?;
        Ok(Cgroup::open(&CgroupRoot::find()?, &path)?)
    }

    fn clone_into(
        &self,
        plan: &ExecPlan,
        line: &Line,
        init: BorrowedFd<'_>,
        outside: Outside<'_>,
        keyring: Option<&CStr>,
    ) -> Result<Child> {
        let host = &self.runtime.host;
        let init = Fd(init.as_raw_fd());
        let proc = Fd(host.proc()?.as_raw_fd());
        let enter = outside.enter.map(|root| Fd(root.as_raw_fd()));
        let used: Vec<Fd> = [init, proc].into_iter().chain(enter).collect();
        let tables = Tables::new(&plan.process, line, host, &used);
        let joins = [Join {
            fd: init,
            flags: plan.join_flags(),
        }];
        // Born in the container only when it is inside everything else of it: before, others there
        // could reach the host's files through it.
        let second = SecondClone {
            flags: 0,
            become_root: false,
            // Who enters a user namespace changes what may look into his memory, and a time
            // namespace takes nobody who shares his. Who is to be born with no more than a neighbour
            // has must have hidden before, which he cannot in the memory of his maker: that may be
            // looked into by whoever has as much as he.
            borrows: !(plan.owns(Kind::User)
                || plan.owns(Kind::Time)
                || plan.waits
                || plan.birth.is_late()),
            // Its class is asked of us, who may stand still until then.
            late: plan.birth.is_late() && !outside.class,
            behind_filter: plan.birth == Birth::BehindFilter,
        };
        let process = tables.orders(&plan.process, line, host);
        let groups = process.identity.groups.filter(|_| !plan.deny_groups);
        let orders = Orders {
            identity: Identity {
                groups,
                ..process.identity
            },
            host_proc: Some(proc),
            oom_score_adj: plan.process.oom_score_adj.as_deref(),
            joins: &joins,
            enter,
            second_clone: plan.owns(Kind::Pid).then_some(second),
            keyring,
            class_of_service: outside.class,
            seccomp: plan.seccomp.as_ref().map(seccomp),
            ..process
        };
        // It is born in the cgroup, so where it begins is where its maker runs.
        let initial = plan
            .process
            .treatment
            .affinity
            .and_then(|affinity| affinity.initial);
        let _bound = initial.as_ref().map(Bound::to).transpose()?;
        clone_in(0, outside.cgroup, &orders)
    }
}

/// From the container's own user database.
fn add_home(plan: &mut ExecPlan, root: &OwnedFd) {
    if plan.process.needs_home {
        let home = crate::users::home_of(root.as_fd(), plan.process.uid);
        let home = CString::new(format!("HOME={home}")).unwrap_or_default();
        plan.process.envp.push(home);
    }
}

/// Is the container's first process no longer in the cgroup that was made for it?
fn moved(cgroup: Option<&Cgroup>, record: &Record, host: &Host) -> Result<bool> {
    let Some(cgroup) = cgroup else {
        return Ok(false);
    };
    let text = host.read(&format!("{}/cgroup", record.pid))?;
    let now = text.lines().find_map(|line| line.strip_prefix("0::"));
    Ok(now.is_some_and(|now| now.trim_end() != cgroup.path().to_string()))
}

fn not_joined(error: Error, cgroup: Option<&Cgroup>) -> Error {
    match cgroup {
        Some(cgroup) if error.operation() == "clone" => not_in(error, cgroup.path()),
        _ => error,
    }
}

/// The words of other runtimes, which write `cgroup.procs` where we clone.
fn not_in(error: Error, path: &CgroupPath) -> Error {
    let kind = error.kind();
    let pid = std::process::id();
    let subject = format!("of a child of {pid} to cgroups: {path}/cgroup.procs");
    let operation = "error adding pid";
    match error.errno() {
        Some(errno) => Error::from_errno(errno, operation, subject).with_kind(kind),
        None => Error::new(kind, operation, subject).caused_by(error),
    }
}

/// What was opened below `/proc/PID` was this process's only if that is still there: its pid may
/// have gone to another meanwhile.
fn prove_alive(pidfd: &OwnedFd) -> Result<()> {
    sys::pidfd_send_signal(pidfd.as_fd(), 0).at("exec in container", "its first process")
}

/// What of the container is not inside it.
#[derive(Clone, Copy)]
struct Outside<'a> {
    cgroup: Option<BorrowedFd<'a>>,
    /// Its root, where it has no mount namespace.
    enter: Option<BorrowedFd<'a>>,
    /// It has a class of service of the processor.
    class: bool,
}

/// Nothing is mounted for a process in a container that stands; it can only ask for its class of
/// service.
fn serve(child: &Child, asked: &Asked, class: Option<&Group>, socket: &OwnedFd) -> Result<()> {
    let Some(class) = class.filter(|_| asked.kind == byte::CLASS) else {
        return Err(Error::new(ErrorKind::System, "understand", "the process"));
    };
    class.join(child.pid)?;
    send(socket, &[byte::CLASS], SendFlags::NOSIGNAL)
        .map(drop)
        .at("answer", "the process")
}
