//! `Delete`: what is left of a process, or of a container with its first.

use super::Reply;
use crate::calls::Ticket;
use crate::lanes::Lane;
use crate::messages::events::TaskDelete;
use crate::messages::task::{DeleteResponse, ProcessRequest};
use crate::process::{Name, Stage};
use crate::rootfs;
use crate::shim::Shim;
use crate::timers::Alarm;
use crate::wire::status::{Answer, Failure};
use hostrun_runtime::{ErrorKind, Signal};
use std::os::fd::AsFd as _;
use std::time::Duration;

/// How long output that goes through our hands may take to be taken, as with Go's shim.
const OUTPUT: Duration = Duration::from_secs(10);

impl Shim {
    /// `Delete`.
    pub(super) fn delete(&mut self, ticket: Ticket, request: ProcessRequest) -> Answer<Reply> {
        let name = Name::from(request);
        let process = self.process_mut(&name)?;
        match process.stage {
            Stage::Created | Stage::Stopped if process.leaving.is_none() => {}
            Stage::Created | Stage::Stopped | Stage::Deleting => {
                return Err(Failure::not_now("process is being deleted"));
            }
            Stage::Creating => return Err(Failure::not_now("container is being created")),
            Stage::Starting | Stage::Running => {
                return Err(Failure::not_now("cannot delete a running process"));
            }
        }
        if process.stage == Stage::Stopped && process.streams.is_under_way() {
            let alarm = self.timers.set(OUTPUT, Alarm::Delete(name.clone()));
            self.process_mut(&name)?.leaving = Some((ticket, alarm));
            self.look_for_output(&name);
            return Ok(Reply::Later);
        }
        self.remove(ticket, &name)
    }

    /// Output was taken, or it has had its time: the deletion that waits for it goes on.
    pub(crate) fn let_go(&mut self, name: &Name) {
        let leaving = self.process_mut(name).ok().and_then(|it| it.leaving.take());
        let Some((ticket, alarm)) = leaving else {
            return;
        };
        self.timers.unset(alarm);
        match self.remove(ticket, name) {
            Ok(Reply::Now(payload)) => self.finish(ticket, Ok(payload)),
            Ok(Reply::Later) => {}
            Err(failure) => self.finish(ticket, Err(failure)),
        }
    }

    fn remove(&mut self, ticket: Ticket, name: &Name) -> Answer<Reply> {
        if name.is_init() {
            return self.remove_container(ticket, name);
        }
        let deleted = self.process(name)?.deleted();
        self.close_streams(name);
        self.task_mut(&name.id)?.execs.remove(&name.exec);
        Ok(Reply::with(&deleted))
    }

    pub(super) fn remove_container(&mut self, ticket: Ticket, name: &Name) -> Answer<Reply> {
        let (runtime, container) = self.made(&name.id)?;
        let task = self.task_mut(&name.id)?;
        let was = task.init.stage;
        task.init.stage = Stage::Deleting;
        let rootfs = task.rootfs.clone();
        // What was never started is parked, and ends by our hand.
        if let Some(pidfd) = &task.init.pidfd {
            Signal::KILL.send_to(pidfd.as_fd()).unwrap_or_default();
        }
        // A created container holds its line and its root open.
        let waiting = task.init.waiting.take();
        let name = name.clone();
        self.give(
            Lane::Container(name.id.clone()),
            Box::new(move || {
                drop(waiting);
                let deleted = runtime
                    .container(&container)
                    .and_then(|container| container.delete(was == Stage::Created));
                let deleted = match deleted {
                    // Somebody else was faster, or it was never made of its checkpoint.
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
                    Err(error) => Err(Failure::of("OCI runtime delete failed: ", &error)),
                    Ok(deleted) => Ok(deleted.warnings().iter().map(ToString::to_string).collect()),
                };
                if let (Some(rootfs), Ok(_)) = (rootfs, &deleted) {
                    rootfs::dismantle(&rootfs);
                }
                Box::new(move |shim| {
                    let answer = shim.removed(&name, was, deleted);
                    shim.answer(ticket, answer);
                })
            }),
        );
        Ok(Reply::Later)
    }

    fn removed(
        &mut self,
        name: &Name,
        was: Stage,
        deleted: Answer<Vec<String>>,
    ) -> Answer<DeleteResponse> {
        // Its end comes first, if it was never seen.
        self.ended(name);
        match deleted {
            Ok(warnings) => warnings
                .iter()
                .for_each(|warning| self.journal.warn(warning)),
            Err(failure) => {
                let init = &mut self.task_mut(&name.id)?.init;
                init.stage = if init.ended.is_some() {
                    Stage::Stopped
                } else {
                    was
                };
                return Err(failure);
            }
        }
        self.release(&name.id, true);
        let deleted = self.process(name)?.deleted();
        self.publisher.put(&TaskDelete {
            container_id: name.id.clone(),
            pid: deleted.pid,
            exit_status: deleted.exit_status,
            exited_at: deleted.exited_at,
        });
        self.forget(&name.id);
        Ok(deleted)
    }

    /// Nothing is known of the container any more. Whoever still waits for a process of it hears so.
    fn forget(&mut self, id: &str) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let execs: Vec<String> = task.execs.keys().cloned().collect();
        for exec in execs.into_iter().chain([String::new()]) {
            let id = id.to_owned();
            self.close_streams(&Name { id, exec });
        }
        let Some(mut task) = self.tasks.remove(id) else {
            return;
        };
        self.children.retain(|_, name| name.id != id);
        if let Some((watch, token)) = task.memory.take()
            && let Some(fd) = watch.memory()
        {
            self.poll.remove(fd, token);
        }
        for process in task.processes_mut() {
            if let (Some(fd), Some(token)) = (process.pidfd.take(), process.token.take()) {
                self.poll.remove(&fd, token);
            }
            for waiter in std::mem::take(&mut process.waiters) {
                self.finish(waiter, Err(Failure::not_found("process is deleted")));
            }
        }
    }
}
