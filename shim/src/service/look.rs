//! Calls that change nothing: state, processes, statistics.

use super::Reply;
use crate::calls::Ticket;
use crate::lanes::Lane;
use crate::messages::Any;
use crate::messages::metrics::Metrics;
use crate::messages::task::{
    ConnectResponse, IdRequest, PidsResponse, ProcessDetails, ProcessInfo, ProcessRequest,
    ShutdownRequest, StatsResponse,
};
use crate::process::{Name, Stage};
use crate::shim::Shim;
use crate::wire::status::{Answer, Failure};
use hostrun_runtime::{Container, Error};

impl From<ProcessRequest> for Name {
    fn from(request: ProcessRequest) -> Name {
        Name {
            id: request.id,
            exec: request.exec_id,
        }
    }
}

impl Shim {
    /// `State`.
    pub(super) fn state(&self, request: &ProcessRequest) -> Answer<Reply> {
        let name = Name::from(request.clone());
        let task = self.task(&name.id)?;
        let process = self.process(&name)?;
        let state = process.state(&name, &task.bundle, task.paused && name.is_init());
        Ok(Reply::with(&state))
    }

    /// `Wait`: for an end, which may be long ago.
    pub(super) fn wait(&mut self, ticket: Ticket, request: ProcessRequest) -> Answer<Reply> {
        let process = self.process_mut(&request.into())?;
        if let Some(ended) = process.wait() {
            return Ok(Reply::with(&ended));
        }
        process.waiters.push(ticket);
        Ok(Reply::Later)
    }

    /// `Connect`.
    pub(super) fn connect(&self, request: &IdRequest) -> Reply {
        let pid = self.task(&request.id).map_or(0, |task| task.init.pid);
        Reply::with(&ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// `Shutdown`: only the last container takes the shim with it.
    pub(super) fn shutdown(&mut self, _request: &ShutdownRequest) -> Reply {
        // Even one that is to be at once waits for that: what lives here is somebody's.
        if self.tasks.is_empty() {
            self.stop();
        }
        Reply::empty()
    }

    /// `Pids`.
    pub(super) fn pids(&mut self, ticket: Ticket, request: &IdRequest) -> Answer<Reply> {
        let look = |container: &Container| container.pids();
        self.look(ticket, &request.id, look, |shim, id, mut pids| {
            // containerd 2.x that was started anew takes a shim without processes for one whose container
            // was never made, and forgets its exit code. What has ended keeps its number until Delete.
            let init = shim.task(id).map(|task| &task.init).ok();
            let init = init.filter(|init| pids.is_empty() && init.ended.is_some());
            pids.extend(init.and_then(|init| i32::try_from(init.pid).ok()));
            let process = |pid: i32| {
                let pid = u32::try_from(pid).ok()?;
                let exec = shim.children.get(&pid).filter(|name| name.id == id);
                let exec = exec.filter(|name| !name.is_init());
                let info = exec.map(|name| {
                    let exec_id = name.exec.clone();
                    Any::of(ProcessDetails::NAME, &ProcessDetails { exec_id })
                });
                Some(ProcessInfo { pid, info })
            };
            PidsResponse {
                processes: pids.into_iter().filter_map(process).collect(),
            }
        })
    }

    /// `Stats`.
    pub(super) fn stats(&mut self, ticket: Ticket, request: &IdRequest) -> Answer<Reply> {
        let look = |container: &Container| container.stats();
        self.look(ticket, &request.id, look, |_shim, _id, stats| {
            StatsResponse {
                stats: Some(Any::of(Metrics::NAME, &Metrics::from(&stats))),
            }
        })
    }

    fn look<T: Send + 'static, M: prost::Message>(
        &mut self,
        ticket: Ticket,
        id: &str,
        look: impl FnOnce(&Container) -> Result<T, Error> + Send + 'static,
        tell: impl FnOnce(&Shim, &str, T) -> M + Send + 'static,
    ) -> Answer<Reply> {
        let (runtime, container) = self.made(id)?;
        let lane = Lane::Look(id.to_owned());
        let id = id.to_owned();
        self.give(
            lane,
            Box::new(move || {
                let seen = runtime.container(&container).and_then(|it| look(&it));
                let seen = seen.map_err(|error| Failure::of("", &error));
                Box::new(move |shim| {
                    let answer = seen.map(|seen| tell(shim, &id, seen));
                    shim.answer(ticket, answer);
                })
            }),
        );
        Ok(Reply::Later)
    }

    /// Where a container that stands is found by the library.
    pub(super) fn made(
        &self,
        id: &str,
    ) -> Answer<(hostrun_runtime::Runtime, hostrun_runtime::ContainerId)> {
        let task = self.task(id)?;
        let runtime = task.runtime.clone();
        let runtime = runtime.filter(|_| task.init.stage != Stage::Creating);
        let runtime = runtime.ok_or_else(|| Failure::not_now("container is being created"))?;
        Ok((runtime, task.container.clone()))
    }
}
