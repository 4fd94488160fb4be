//! The straight line of a start. `create` parks the payload before `execve(2)`, `run` does not;
//! nothing else tells them apart.

use crate::agent::{self, Agent, AgentState};
use crate::attend::{Event, Ready, attend};
use crate::bundle;
use crate::cgroup::Cgroup;
use crate::clone::{Child, clone};
use crate::error::{Error, Result};
use crate::failure::{Names, explain};
use crate::filters;
use crate::grant::Grant;
use crate::held::Held;
use crate::hooks::{self, Baggage};
use crate::id::ContainerId;
use crate::outline::Outline;
use crate::plan::Plan;
use crate::prepare::state_dir::{self, StateDir};
use crate::prepare::{Order, Prepared, Stop, prepare};
use crate::remains::Remains;
use crate::request::Request;
use crate::running::{Created, Running};
use crate::runtime::Runtime;
use crate::state::{self, Record, Status};
use crate::supply::Supply;
use crate::timings::Timings;
use crate::warm::Refill as _;
use oci_spec::runtime::Spec;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

impl Runtime {
    /// Makes a container whose program waits to be started.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidSpec`, `Unsupported` or whatever the kernel answered. Nothing is
    /// left behind.
    pub fn create(&self, id: &ContainerId, request: Request) -> Result<Created> {
        let stop = if request.keeps_line {
            Stop::KeepsLine
        } else {
            Stop::Plain
        };
        let mut timings = Timings::start();
        let stand = self.stand(id, request, Some(stop), &mut timings)?;
        let (ready, kept, record) = stand.commit()?;
        let held = (stop == Stop::KeepsLine).then(|| Held::of(kept, record));
        let running = Running::new(ready, timings);
        Ok(Created::new(self.container(id)?, running, held))
    }

    /// Makes a container and runs its program at once.
    ///
    /// # Errors
    /// As [`Runtime::create`], and `ExecNotFound` or `ExecDenied` where the program does not run.
    pub fn run(&self, id: &ContainerId, request: Request) -> Result<Running> {
        let mut timings = Timings::start();
        let stand = self.stand(id, request, None, &mut timings)?;
        let (ready, kept, record) = stand.commit()?;
        let remains = Remains::of(kept, record);
        if let Err(error) = hooks::at_poststart(&remains.hooks, &remains.record) {
            drop(ready);
            let deleted = self.container(id)?.delete(true)?;
            return Err(error.besides(deleted.warnings()));
        }
        Ok(Running::new(ready, timings).of(self, id).leaving(remains))
    }

    /// The line; networks that went into it are replaced when it has been walked.
    pub(crate) fn stand(
        &self,
        id: &ContainerId,
        request: Request,
        park: Option<Stop>,
        timings: &mut Timings,
    ) -> Result<Stand> {
        let stand = self.walk(id, request, park, timings);
        if let Some(networks) = &self.networks {
            networks.bell().ring();
        }
        stand
    }

    /// What was asked > what is meant > what is needed > the clone > its report > a record.
    fn walk(
        &self,
        id: &ContainerId,
        request: Request,
        park: Option<Stop>,
        timings: &mut Timings,
    ) -> Result<Stand> {
        let plan = self.plan(id, &request)?;
        timings.mark("plan");
        let annotations = request.spec.annotations().clone().unwrap_or_default();
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
            baggage: Baggage::of(&plan, id, &request.bundle, &annotations)?,
            config: match request.config {
                Some(bytes) => bytes,
                None => bundle::to_bytes(&request.spec)?,
            },
            park,
            behind_filter: waits_behind_filter(park, &plan, &request.spec),
            networks: self.networks.as_deref(),
            template: self.template.as_ref(),
            rootless: self.rootless,
        };
        let mut prepared = prepare(order, plan)?;
        let agent = agent_of(&prepared, &request.spec, &request.bundle, park.is_some())?;
        timings.mark("prepare");
        let child = clone(&prepared, &self.host)?;
        // Our copy would keep the child's end open when the child is gone.
        prepared.line.child = None;
        prepared.place.settle()?;
        timings.mark("clone");
        let grant = Grant::of(&prepared.plan, &self.host);
        if let Some(grant) = grant.filter(|_| !child.clones) {
            grant.give(&child, &prepared.line.parent)?;
        }
        // Written while the child builds, on the other processor; in place only when it is built:
        // nobody may join what is still outside its root.
        let mut record = self.write_record(&prepared, &child, request.bundle, annotations)?;
        timings.mark("record");
        let ready = match self.build(child, &prepared, &mut record, agent, park.is_some()) {
            Ok(ready) => ready,
            Err(error) => return Err(abandon(prepared, &record, error)),
        };
        timings.mark("build and exec");
        Ok(Stand {
            ready,
            prepared,
            record,
        })
    }

    /// What is meant by a request.
    ///
    /// # Errors
    /// Every refusal, with its JSON path.
    pub(crate) fn plan(&self, id: &ContainerId, request: &Request) -> Result<Plan> {
        let Request { spec, bundle, .. } = request;
        let (filter, wanted) = filters::look_up(&self.root, spec);
        let plan = Plan::from_spec(id, spec, bundle, self.facts(spec)?, filter)?;
        filters::keep(wanted, plan.seccomp.as_ref());
        Ok(plan)
    }

    /// Attends to the child until it stands; the hooks of the host run on the way.
    fn build(
        &self,
        child: Child,
        prepared: &Prepared,
        record: &mut Record,
        agent: Option<Agent>,
        park: bool,
    ) -> Result<Ready> {
        let plan = &prepared.plan;
        let names = Names::of(plan, prepared.trees.root.as_fd());
        let explain = |failure| explain(failure, &names);
        let supply = Supply::new(prepared, &self.host);
        let serve = |child: &Child, asked| supply.serve(child.pid, asked);
        attend(
            child,
            &prepared.line.parent,
            park,
            agent,
            serve,
            explain,
            |event, child| match event {
                Event::Replaced => {
                    self.renew_record(prepared, child, record)?;
                    let grant = Grant::of(plan, &self.host);
                    grant.map_or(Ok(()), |grant| grant.give(child, &prepared.line.parent))
                }
                Event::Hooks => hooks::at_create(&plan.hooks, record),
            },
        )
    }

    fn write_record(
        &self,
        prepared: &Prepared,
        child: &Child,
        bundle: PathBuf,
        annotations: HashMap<String, String>,
    ) -> Result<Record> {
        let record = Record {
            version: Record::VERSION,
            id: prepared.id.to_string(),
            pid: child.pid,
            start_time: self.host.start_time(child.pid).unwrap_or(0),
            creator: std::process::id(),
            bundle,
            rootfs: prepared.plan.root.path.clone(),
            created: state::now(),
            cgroup: prepared
                .place
                .cgroup()
                .map_or_else(String::new, Cgroup::name),
            unit: prepared.place.unit(),
            rdt: prepared.rdt.as_ref().map(|class| class.made().clone()),
            annotations,
            shares_keyring: prepared.keyring.is_none(),
            keyring: prepared.is_unnamed().then(|| prepared.id.to_string()),
            parked: prepared.is_unnamed(),
            outline: Some(Outline::of(&prepared.plan)),
        };
        prepared
            .state
            .write(state_dir::NEW_STATE, &record.to_bytes()?)?;
        Ok(record)
    }

    /// The process that was cloned first has made another, which is the container's.
    fn renew_record(&self, prepared: &Prepared, child: &Child, record: &mut Record) -> Result<()> {
        record.pid = child.pid;
        record.start_time = self.host.start_time(child.pid).unwrap_or(0);
        prepared.state.replace_new(&record.to_bytes()?)
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

/// Takes down what was made of a container; its life then ends as any other, runtime "Lifecycle".
fn abandon(mut prepared: Prepared, record: &Record, error: Error) -> Error {
    let hooks = std::mem::take(&mut prepared.plan.hooks);
    drop(prepared);
    error.besides(&hooks::at_poststop(&hooks, record))
}

/// A container that stands, of which nothing is kept yet: dropped, it is undone.
#[derive(Debug)]
pub(crate) struct Stand {
    pub(crate) ready: Ready,
    pub(crate) prepared: Prepared,
    pub(crate) record: Record,
}

impl Stand {
    /// From here on only `delete` undoes what was made.
    fn commit(self) -> Result<(Ready, Kept, Record)> {
        let Stand {
            ready,
            prepared,
            record,
        } = self;
        Ok((ready, prepared.commit()?, record))
    }
}

/// What is at hand of a container when it is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) plan: Plan,
    /// Our end of the pair.
    pub(crate) line: OwnedFd,
    /// Its root.
    pub(crate) root: OwnedFd,
    /// Its state.
    pub(crate) dir: StateDir,
    pub(crate) cgroup: Option<Cgroup>,
}

/// What a process behind its filter still does before it is its program.
const AFTER_PARKING: [&str; 15] = [
    "accept4",
    "close",
    "dup3",
    "execve",
    "exit_group",
    "faccessat2",
    "munmap",
    "newfstatat",
    "openat2",
    "ppoll",
    "read",
    "recvfrom",
    "recvmsg",
    "sendmsg",
    "sendto",
];

/// Is the filter installed before the wait? That takes a third of a millisecond off the start. Not for
/// an agent, who hears of the filter when it is installed, nor before hooks, which run without it.
fn waits_behind_filter(park: Option<Stop>, plan: &Plan, spec: &Spec) -> bool {
    let over_line = park.is_some_and(|stop| stop != Stop::Plain);
    over_line && plan.listener.is_none() && plan.hooks.is_empty() && leaves_enough(spec)
}

/// May it do that behind the filter of the config?
fn leaves_enough(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let profile = linux.and_then(|linux| linux.seccomp().as_ref());
    profile.is_some_and(|profile| hostrun_seccomp_profiles::allows(profile, &AFTER_PARKING))
}

impl Prepared {
    /// Is its program yet to be told?
    fn is_unnamed(&self) -> bool {
        let park = self.park.as_ref();
        park.is_some_and(|park| park.stop == Stop::Unnamed)
    }

    /// From here on only `delete` undoes what was made.
    fn commit(mut self) -> Result<Kept> {
        self.state.publish()?;
        self.state.keep();
        let cgroup = self.place.cgroup().cloned();
        self.place.commit();
        if let Some(class) = self.rdt {
            class.commit();
        }
        Ok(Kept {
            plan: self.plan,
            line: self.line.parent,
            root: self.trees.root,
            dir: self.state,
            cgroup,
        })
    }
}
