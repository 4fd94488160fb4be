//! `Kill`: takes no lock and waits for nobody. A signal goes to a pidfd that is at hand, from the thread
//! that hears the call; a container that is paused, or at which somebody works without end, dies as well.

use super::Reply;
use crate::calls::Ticket;
use crate::lanes::Lane;
use crate::messages::Empty;
use crate::messages::task::KillRequest;
use crate::process::{Name, Process, Stage};
use crate::shim::Shim;
use crate::wire::status::{Answer, Failure};
use hostrun_runtime::{ErrorKind, Signal};
use std::os::fd::AsFd;

impl Shim {
    /// `Kill`.
    pub(super) fn kill(&mut self, ticket: Ticket, request: KillRequest) -> Answer<Reply> {
        let signal = Signal::of_number(request.signal)
            .map_err(|error| Failure::invalid(error.to_string()))?;
        let name = Name {
            id: request.id,
            exec: request.exec_id,
        };
        let process = self.process(&name)?;
        check(process)?;
        let task = self.task(&name.id)?;
        // Nobody else would end the others.
        let all = name.is_init() && (request.all || signal == Signal::KILL && task.shares_pids);
        if !all {
            send(process, signal)?;
            return Ok(Reply::empty());
        }
        let (runtime, container) = self.made(&name.id)?;
        self.give(
            Lane::Kill(name.id.clone()),
            Box::new(move || {
                let killed = runtime
                    .container(&container)
                    .and_then(|container| container.kill(signal, true));
                Box::new(move |shim| {
                    let answer = match killed {
                        Err(error) if error.kind() == ErrorKind::WrongState => Err(finished()),
                        Err(error) => Err(Failure::of("", &error)),
                        Ok(()) => Ok(Empty {}),
                    };
                    shim.answer(ticket, answer);
                })
            }),
        );
        Ok(Reply::Later)
    }
}

fn finished() -> Failure {
    Failure::not_found("process already finished")
}

/// Is there anybody to hear it?
fn check(process: &Process) -> Answer<()> {
    match process.stage {
        Stage::Stopped | Stage::Deleting => Err(finished()),
        _ if process.ended.is_some() || process.early.is_some() => Err(finished()),
        _ if process.pid == 0 => Err(Failure::not_now("process not created")),
        _ => Ok(()),
    }
}

fn send(process: &Process, signal: Signal) -> Answer<()> {
    let pidfd = process.pidfd.as_ref().ok_or_else(finished)?;
    match signal.send_to(pidfd.as_fd()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(finished()),
        Err(error) => Err(Failure::of("", &error)),
        Ok(()) => Ok(()),
    }
}
