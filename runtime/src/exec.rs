//! A further process in a running container: the same line with everything joined.

use crate::attend::attend;
use crate::clone::{Tables, clone_in};
use crate::container::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::failure::{Names, explain};
use crate::plan::namespaces::Kind;
use crate::plan::{ExecPlan, Plan};
use crate::prepare::Line;
use crate::request::ExecRequest;
use crate::running::Running;
use crate::timings::Timings;
use hostrun_inside::Fd;
use hostrun_inside::orders::{Join, Orders, Seccomp};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

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
        let Some(cgroup) = self.cgroup(Some(&record))? else {
            return Err(self.wrong_state("exec in container", "its cgroup is gone"));
        };
        if cgroup.is_frozen()? {
            return Err(self.wrong_state("exec in container", "cannot exec in a paused container"));
        }
        let root = self.root()?;
        if plan.process.needs_home {
            let home = crate::users::home_of(root.as_fd(), plan.process.uid);
            plan.process
                .envp
                .push(CString::new(format!("HOME={home}")).unwrap_or_default());
        }
        let pid_namespace = plan
            .owns(Kind::Pid)
            .then(|| pidfd.try_clone())
            .transpose()
            .map_err(|error| {
                Error::new(ErrorKind::System, "exec in container", self.id().as_str())
                    .caused_by(error)
            })?;
        let mut line = Line::new(
            request.stdio,
            request.preserved_fds,
            Vec::new(),
            pid_namespace,
        )?;
        timings.mark("prepare");
        let child = {
            let tables = Tables::new(&plan.process, &line);
            let joins = [Join {
                fd: Fd(pidfd.as_raw_fd()),
                flags: plan.join_flags(),
            }];
            let keyring = CString::new(format!("_ses.{}", self.id())).unwrap_or_default();
            let orders = orders(&tables, &plan, &line, &joins, &keyring);
            clone_in(
                line.pid_namespace.as_ref(),
                host,
                0,
                cgroup.as_fd(),
                &orders,
            )?
        };
        line.child = None;
        timings.mark("clone");
        let path = |text: &CString| PathBuf::from(OsStr::from_bytes(text.to_bytes()));
        let names = Names {
            plan: None,
            root: Some(root.as_fd()),
            program: plan
                .process
                .argv
                .first()
                .map_or_else(String::new, |program| {
                    program.to_string_lossy().into_owned()
                }),
            candidates: plan.process.candidates.iter().map(path).collect(),
            cwd: format!("/{}", plan.process.cwd.to_string_lossy()),
        };
        let ready = attend(child, &line.parent, false, |failure| {
            explain(failure, &names)
        })?;
        timings.mark("join and exec");
        Ok(Running::new(ready, timings))
    }
}

fn orders<'a>(
    tables: &'a Tables<'a>,
    plan: &'a ExecPlan,
    line: &Line,
    joins: &'a [Join],
    keyring: &'a CString,
) -> Orders<'a> {
    Orders {
        joins,
        keyring: Some(keyring),
        seccomp: plan.seccomp.as_ref().map(|filter| Seccomp {
            program: filter.program(),
            flags: filter.flags(),
        }),
        ..tables.orders(&plan.process, line, false)
    }
}
