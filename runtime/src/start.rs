//! The straight line of a start. `create` parks the payload before `execve(2)`, `run` does not;
//! nothing else tells them apart.

use crate::agent::{self, Agent, AgentState};
use crate::attend::{Ready, attend};
use crate::cgroup::Cgroup;
use crate::clone::{Child, clone};
use crate::error::Result;
use crate::failure::{Names, explain};
use crate::grant::Grant;
use crate::id::ContainerId;
use crate::plan::Plan;
use crate::prepare::{Order, Prepared, prepare, state_dir};
use crate::request::Request;
use crate::running::{Created, Running};
use crate::runtime::Runtime;
use crate::state::{self, Record, Status};
use crate::supply::Supply;
use crate::timings::Timings;
use oci_spec::runtime::Spec;
use std::os::fd::AsFd;
use std::path::Path;

impl Runtime {
    /// Makes a container whose program waits to be started.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidSpec`, `Unsupported` or whatever the kernel answered. Nothing is
    /// left behind.
    pub fn create(&self, id: &ContainerId, request: Request) -> Result<Created> {
        let (ready, timings) = self.line(id, request, true)?;
        Ok(Created::new(
            self.container(id)?,
            Running::new(ready, timings),
        ))
    }

    /// Makes a container and runs its program at once.
    ///
    /// # Errors
    /// As [`Runtime::create`], and `ExecNotFound` or `ExecDenied` where the program does not run.
    pub fn run(&self, id: &ContainerId, request: Request) -> Result<Running> {
        let (ready, timings) = self.line(id, request, false)?;
        Ok(Running::new(ready, timings))
    }

    /// What was asked > what is meant > what is needed > the clone > its report > a record.
    fn line(&self, id: &ContainerId, request: Request, park: bool) -> Result<(Ready, Timings)> {
        let mut timings = Timings::start();
        let facts = self.host.facts(&request.spec, None)?;
        let plan = Plan::from_spec(id, &request.spec, &request.bundle, facts)?;
        timings.mark("plan");
        let order = Order {
            host: &self.host,
            root: &self.root,
            id,
            root_mount: request.root,
            stdio: request.stdio,
            preserved_fds: request.preserved_fds,
            new_keyring: request.new_keyring,
            notify: request.notify,
            without_pivot: request.without_pivot,
            park,
            rootless: self.rootless,
        };
        let mut prepared = prepare(order, plan)?;
        let agent = agent_of(&prepared, &request.spec, &request.bundle, park)?;
        timings.mark("prepare");
        let child = clone(&prepared, &self.host)?;
        // Our copy would keep the child's end open when the child is gone.
        prepared.line.child = None;
        timings.mark("clone");
        let grant = Grant::of(&prepared.plan, &self.host);
        if let Some(grant) = grant.filter(|_| !child.clones) {
            grant.give(&child, &prepared.line.parent)?;
        }
        // Written while the child builds, on the other processor; in place only when it is built:
        // nobody may join what is still outside its root.
        let pid = child.pid;
        let record = self.write_record(
            &prepared,
            &child,
            &request.bundle,
            &request.spec,
            request.config,
        )?;
        timings.mark("record");
        let names = Names::of(&prepared.plan, prepared.trees.root.as_fd());
        let supply = Supply::new(&prepared, &self.host);
        let serve = |child: &Child, asked| supply.serve(child.pid, asked);
        let ready = attend(
            child,
            &prepared.line.parent,
            park,
            agent,
            grant.as_ref(),
            serve,
            |failure| explain(failure, &names),
        )?;
        timings.mark("build and exec");
        drop(names);
        if ready.child.pid != pid {
            self.rewrite_record(&prepared, &ready.child, record)?;
        }
        prepared.commit()?;
        Ok((ready, timings))
    }

    fn write_record(
        &self,
        prepared: &Prepared,
        child: &Child,
        bundle: &Path,
        spec: &Spec,
        config: Option<Vec<u8>>,
    ) -> Result<Record> {
        let config = match config {
            Some(bytes) => bytes,
            None => crate::bundle::to_bytes(spec)?,
        };
        prepared.state.write(state_dir::CONFIG, &config)?;
        let record = Record {
            version: Record::VERSION,
            id: prepared.id.to_string(),
            pid: child.pid,
            start_time: self.host.start_time(child.pid).unwrap_or(0),
            bundle: bundle.to_owned(),
            rootfs: prepared.plan.root.path.clone(),
            created: state::now(),
            cgroup: prepared
                .place
                .cgroup()
                .map_or_else(String::new, Cgroup::name),
            annotations: spec.annotations().clone().unwrap_or_default(),
            shares_keyring: prepared.keyring.is_none(),
        };
        prepared
            .state
            .write(state_dir::NEW_STATE, &record.to_bytes()?)?;
        Ok(record)
    }

    /// The process that was cloned first has made another, which is the container's.
    fn rewrite_record(&self, prepared: &Prepared, child: &Child, record: Record) -> Result<()> {
        let start_time = self.host.start_time(child.pid).unwrap_or(0);
        let record = Record {
            pid: child.pid,
            start_time,
            ..record
        };
        prepared.state.unlink(state_dir::NEW_STATE)?;
        prepared
            .state
            .write(state_dir::NEW_STATE, &record.to_bytes()?)
    }
}

/// The agent that answers for the filter. Where the filter waits for the start, so does the agent.
fn agent_of(prepared: &Prepared, spec: &Spec, bundle: &Path, park: bool) -> Result<Option<Agent>> {
    let listener = prepared.plan.listener.as_ref();
    if park {
        return agent::look_for(listener).map(|()| None);
    }
    let annotations = spec.annotations().as_ref();
    let state = AgentState::new(&prepared.id, Status::Creating, 0, bundle, annotations);
    Agent::connect(listener, state)
}

impl Prepared {
    /// From here on only `delete` undoes what was made.
    fn commit(mut self) -> Result<()> {
        self.state.publish()?;
        self.state.keep();
        self.place.commit();
        Ok(())
    }
}
