//! A further process in a running container: the same line with everything joined.

use crate::attend::attend;
use crate::cgroup::Cgroup;
use crate::clone::{Child, clone_in};
use crate::container::Container;
use crate::error::Result;
use crate::failure::{Names, explain};
use crate::orders::{Tables, seccomp};
use crate::plan::namespaces::Kind;
use crate::plan::{ExecPlan, Plan};
use crate::prepare::Line;
use crate::request::ExecRequest;
use crate::running::Running;
use crate::state::Record;
use crate::timings::Timings;
use hostrun_inside::Fd;
use hostrun_inside::orders::{Join, Orders, SecondClone};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

impl Container {
    /// Runs a process in the container, with the container's seccomp filter.
    ///
    /// The joined process can be seen from inside until it becomes its program: an embedder whose
    /// binary a container could write to should be sealed first ([`crate::seal`]).
    ///
    /// # Errors
    /// `WrongState` where it does not run; `ExecNotFound` or `ExecDenied` where the program does
    /// not.
    pub fn exec(&self, request: ExecRequest) -> Result<Running> {
        let mut timings = Timings::start();
        let (record, pidfd) = self.alive("exec in container")?;
        let host = &self.runtime.host;
        let mut plan = Plan::for_exec(&self.spec()?, &request.process, host.facts()?)?;
        timings.mark("plan");
        let cgroup = self.joinable_cgroup(&record)?;
        let root = self.root()?;
        if plan.process.needs_home {
            let home = crate::users::home_of(root.as_fd(), plan.process.uid);
            plan.process
                .envp
                .push(CString::new(format!("HOME={home}")).unwrap_or_default());
        }
        let mut line = Line::new(request.stdio, request.preserved_fds, Vec::new())?;
        timings.mark("prepare");
        let child = self.clone_into(&plan, &line, pidfd.as_fd(), cgroup.as_fd())?;
        line.child = None;
        timings.mark("clone");
        let names = Names::new(&plan.process, None, root.as_fd());
        let ready = attend(child, &line.parent, false, |failure| {
            explain(failure, &names)
        })?;
        timings.mark("join and exec");
        Ok(Running::new(ready, timings))
    }

    fn joinable_cgroup(&self, record: &Record) -> Result<Cgroup> {
        let Some(cgroup) = self.cgroup(Some(record))? else {
            return Err(self.wrong_state("exec in container", "its cgroup is gone"));
        };
        // A process cloned into a frozen cgroup would stop before its first instruction.
        if cgroup.is_frozen()? {
            return Err(self.wrong_state("exec in container", "cannot exec in a paused container"));
        }
        Ok(cgroup)
    }

    fn clone_into(
        &self,
        plan: &ExecPlan,
        line: &Line,
        init: BorrowedFd<'_>,
        cgroup: BorrowedFd<'_>,
    ) -> Result<Child> {
        let host = &self.runtime.host;
        let init = Fd(init.as_raw_fd());
        let proc = Fd(host.proc()?.as_raw_fd());
        let tables = Tables::new(&plan.process, line, host, &[init, proc]);
        let keyring = CString::new(format!("_ses.{}", self.id())).unwrap_or_default();
        let joins = [Join {
            fd: init,
            flags: plan.join_flags(),
        }];
        // Born in the container only when it is inside everything else of it: before, others there
        // could reach the host's files through it.
        let second = SecondClone {
            flags: 0,
            become_root: false,
        };
        let orders = Orders {
            host_proc: Some(proc),
            oom_score_adj: plan.process.oom_score_adj.as_deref(),
            joins: &joins,
            second_clone: plan.owns(Kind::Pid).then_some(second),
            keyring: Some(&keyring),
            seccomp: plan.seccomp.as_ref().map(seccomp),
            ..tables.orders(&plan.process, line)
        };
        clone_in(0, cgroup, &orders)
    }
}
