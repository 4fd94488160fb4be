//! `Start` and `Exec`: programs that begin.

use super::Reply;
use super::create::on_host;
use crate::calls::Ticket;
use crate::lanes::Lane;
use crate::messages::events::{TaskExecAdded, TaskExecStarted, TaskStart};
use crate::messages::task::{ExecRequest, PidResponse, ProcessRequest};
use crate::process::{Ended, Name, Process, Restore, Stage, Waiting};
use crate::shim::Shim;
use crate::stdio::{self, Context, Opened, Owner, Paths};
use crate::wire::status::{Answer, Code, Failure};
use hostrun_runtime as library;
use hostrun_runtime::{Checkpoint, Container, ContainerId, Running, Runtime, Signal, document};
use oci_spec::runtime;
use std::os::fd::{AsFd as _, OwnedFd};

/// A process whose program runs.
struct Begun {
    pid: u32,
    pidfd: Option<OwnedFd>,
    console: Option<OwnedFd>,
    opened: Opened,
}

impl Begun {
    fn of(mut running: Running, opened: Opened) -> Begun {
        Begun {
            pid: u32::try_from(running.pid()).unwrap_or(0),
            pidfd: running.pidfd().and_then(|fd| fd.try_clone_to_owned().ok()),
            console: running.take_console(),
            opened,
        }
    }
}

impl Shim {
    /// `Exec`: a process is announced. It is made when it is started.
    pub(super) fn exec(&mut self, request: ExecRequest) -> Answer<Reply> {
        let ExecRequest { id, exec_id, .. } = request;
        if exec_id.is_empty() || exec_id.len() > 255 || exec_id.contains(['/', '\0']) {
            return Err(Failure::invalid(format!("exec id {exec_id:?}")));
        }
        let spec = request.spec.unwrap_or_default();
        let (mut process, unknown) = document::process(&spec.value, "the process of Exec")
            .map_err(|error| Failure::of("", &error))?;
        for key in unknown {
            self.journal
                .warn(format!("exec {exec_id}: nobody reads {key}"));
        }
        process.set_terminal(Some(request.terminal));
        let task = self.task_mut(&id)?;
        if task.execs.contains_key(&exec_id) {
            let twice = format!("id {exec_id}: already exists");
            return Err(Failure::new(Code::AlreadyExists, twice));
        }
        match task.init.stage {
            Stage::Created | Stage::Starting | Stage::Running => {}
            Stage::Creating => return Err(Failure::not_now("container is being created")),
            Stage::Stopped => return Err(Failure::not_now("cannot exec in a stopped container")),
            Stage::Deleting => return Err(Failure::not_now("cannot exec in a deleted container")),
        }
        let paths = Paths {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let mut announced = Process::new(Stage::Created, paths);
        announced.waiting = Some(Waiting::Exec(Box::new(process)));
        task.execs.insert(exec_id.clone(), announced);
        self.publisher.put(&TaskExecAdded {
            container_id: id,
            exec_id,
        });
        Ok(Reply::empty())
    }

    /// `Start`.
    pub(super) fn start(&mut self, ticket: Ticket, request: ProcessRequest) -> Answer<Reply> {
        let name = Name::from(request);
        let (runtime, container) = self.made(&name.id)?;
        let namespace = self.settings.namespace.clone();
        let process = self.process_mut(&name)?;
        let waiting = match process.stage {
            Stage::Created => process.waiting.take(),
            _ => None,
        };
        let Some(waiting) = waiting else {
            let state = if process.stage == Stage::Running {
                "running"
            } else {
                "stopped"
            };
            let why = format!("cannot start a {state} process");
            return Err(Failure::not_now(why));
        };
        process.stage = Stage::Starting;
        let paths = process.paths.clone();
        let lane = if name.is_init() {
            Lane::Container(name.id.clone())
        } else {
            Lane::Exec(name.id.clone(), name.exec.clone())
        };
        self.give(
            lane,
            Box::new(move || {
                let begun = match waiting {
                    Waiting::Created(created) => created
                        .start()
                        .map(|running| Begun::of(running, Opened::default()))
                        .map_err(|error| Failure::of("OCI runtime start failed: ", &error)),
                    Waiting::Restore(asked) => restore(&runtime, &container, *asked),
                    Waiting::Exec(process) => {
                        execute(&runtime, &container, *process, &paths, &namespace)
                    }
                };
                Box::new(move |shim| {
                    let answer = shim.begun(&name, begun);
                    shim.answer(ticket, answer);
                    shim.tell_early(&name);
                })
            }),
        );
        Ok(Reply::Later)
    }

    /// A program runs, or does not.
    fn begun(&mut self, name: &Name, begun: Answer<Begun>) -> Answer<PidResponse> {
        let begun = match begun {
            Ok(begun) => begun,
            Err(failure) => {
                self.not_begun(name);
                return Err(failure);
            }
        };
        let process = self.process_mut(name)?;
        process.stage = Stage::Running;
        if name.is_init() && process.pid != 0 {
            // Known since it was made.
            self.publisher.put(&TaskStart {
                container_id: name.id.clone(),
                pid: begun.pid,
            });
            return Ok(PidResponse { pid: begun.pid });
        }
        if !name.is_init() {
            process.hold(begun.opened.streams);
        }
        if name.is_init() {
            let (runtime, container) = self.made(&name.id)?;
            let watch = runtime.container(&container).and_then(|it| it.watch()).ok();
            let memory = self.arm(&name.id, watch);
            self.task_mut(&name.id)?.memory = memory;
            self.publisher.put(&TaskStart {
                container_id: name.id.clone(),
                pid: begun.pid,
            });
        } else {
            self.publisher.put(&TaskExecStarted {
                container_id: name.id.clone(),
                exec_id: name.exec.clone(),
                pid: begun.pid,
            });
        }
        self.adopt(name, begun.pid, begun.pidfd);
        self.serve_terminal(name, begun.console, begun.opened.plumbing);
        Ok(PidResponse { pid: begun.pid })
    }

    /// What was to begin will not. A first process is on its way out; one that was executed never was.
    fn not_begun(&mut self, name: &Name) {
        let Ok(process) = self.process_mut(name) else {
            return;
        };
        process.stage = Stage::Created;
        if let Some(pidfd) = &process.pidfd {
            // That it is dead already is as good.
            Signal::KILL.send_to(pidfd.as_fd()).unwrap_or_default();
        }
        if !name.is_init() {
            process.stage = Stage::Stopped;
            process.ended = Some(Ended::with(None));
            let answer = process.wait().unwrap_or_default();
            for waiter in std::mem::take(&mut process.waiters) {
                self.answer(waiter, Ok(answer));
            }
            self.release(&name.id, false);
        }
    }

    /// The end of what ended before its start was told.
    fn tell_early(&mut self, name: &Name) {
        let early = self.process_mut(name).ok().and_then(|it| it.early.take());
        if let Some(ended) = early {
            self.conclude(name, ended);
        }
    }
}

/// Makes a container of its images.
fn restore(runtime: &Runtime, id: &ContainerId, asked: Restore) -> Answer<Begun> {
    let mut checkpoint = Checkpoint::new(&asked.images);
    checkpoint.work_path = asked.work;
    let restored = runtime.restore(id, asked.request, &checkpoint);
    let running = restored.map_err(|error| Failure::of("OCI runtime restore failed: ", &error))?;
    let opened = Opened {
        plumbing: asked.plumbing,
        ..Opened::default()
    };
    Ok(Begun::of(running, opened))
}

/// Makes a further process in a container.
fn execute(
    runtime: &Runtime,
    id: &ContainerId,
    process: runtime::Process,
    paths: &Paths,
    namespace: &str,
) -> Answer<Begun> {
    let failed =
        |error: library::Error| Failure::of("OCI runtime exec failed: exec failed: ", &error);
    let container: Container = runtime.container(id).map_err(failed)?;
    let spec = container.spec().map_err(failed)?;
    let owner = Owner {
        uid: on_host(&spec, process.user().uid()),
        gid: None,
    };
    let context = Context {
        id: id.as_str(),
        namespace,
        owner,
    };
    let mut opened = stdio::open(paths, context)?;
    let request = library::ExecRequest::new(process)
        .with_config(spec)
        .with_stdio(std::mem::take(&mut opened.stdio));
    let running = container.exec(request).map_err(failed)?;
    Ok(Begun::of(running, opened))
}
