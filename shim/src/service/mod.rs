//! The calls: which there are, and how they are answered.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod end;
pub(crate) mod kill;
pub(crate) mod look;
pub(crate) mod start;
pub(crate) mod terminal;

use crate::calls::Ticket;
use crate::messages::Empty;
use crate::messages::rpc::Request;
use crate::process::{Name, Process};
use crate::shim::Shim;
use crate::task::{Creator, Task};
use crate::timers::Alarm;
use crate::wire::frame::{self, Kind, Read};
use crate::wire::status::{Answer, Code, Failure};
use prost::Message;
use std::time::Duration;

/// What a handler says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Now(Vec<u8>),
    /// The answer comes when something is done.
    Later,
}

impl Reply {
    /// This message, at once.
    pub(crate) fn with(message: &impl Message) -> Reply {
        Reply::Now(message.encode_to_vec())
    }

    /// Nothing but that it went well.
    pub(crate) fn empty() -> Reply {
        Reply::with(&Empty {})
    }
}

/// Longest that a caller who sets no limit waits.
const USUAL: Duration = Duration::from_mins(2);

/// The same where memory is written to disk.
const LONG: Duration = Duration::from_mins(15);

/// Reads a call's message.
pub(crate) fn decode<M: Message + Default>(payload: &[u8]) -> Answer<M> {
    M::decode(payload).map_err(|error| Failure::invalid(format!("malformed request: {error}")))
}

impl Shim {
    /// A frame of a client's.
    pub(crate) fn take(&mut self, token: u64, read: Read) {
        let refuse = |shim: &mut Shim, stream, failure: Failure| {
            shim.send(token, &frame::response(stream, Err(&failure)));
        };
        match read {
            Read::TooLong { stream } => {
                let why = format!("message is longer than {} bytes", frame::LONGEST);
                refuse(self, stream, Failure::new(Code::ResourceExhausted, why));
            }
            Read::Frame {
                stream,
                kind: Kind::Request,
                payload,
            } => match Request::decode(&*payload) {
                Ok(request) => {
                    let connection = token;
                    self.call(Ticket { connection, stream }, &request);
                }
                Err(error) => {
                    let why = format!("malformed frame: {error}");
                    refuse(self, stream, Failure::invalid(why));
                }
            },
            Read::Frame { stream, .. } => {
                refuse(self, stream, Failure::invalid("no such stream"));
            }
        }
    }

    fn call(&mut self, ticket: Ticket, request: &Request) {
        if self.calls.waits(ticket) || !self.calls.open(ticket) {
            let busy = Failure::new(Code::ResourceExhausted, "too many calls, or one twice");
            self.send(
                ticket.connection,
                &frame::response(ticket.stream, Err(&busy)),
            );
            return;
        }
        let (service, method) = (&request.service, &request.method);
        self.journal.debug(format_args!("call {service}/{method}"));
        match self.dispatch(ticket, request) {
            Ok(Reply::Now(payload)) => self.finish(ticket, Ok(payload)),
            Ok(Reply::Later) => self.limit(ticket, request),
            Err(failure) => self.finish(ticket, Err(failure)),
        }
    }

    fn dispatch(&mut self, ticket: Ticket, request: &Request) -> Answer<Reply> {
        let payload = &*request.payload;
        match &*request.service {
            "containerd.task.v2.Task" | "containerd.task.v3.Task" => {
                self.call_task(ticket, &request.method, payload)
            }
            other => Err(Failure::new(
                Code::Unimplemented,
                format!("service {other}"),
            )),
        }
    }

    fn call_task(&mut self, ticket: Ticket, method: &str, payload: &[u8]) -> Answer<Reply> {
        match method {
            "State" => self.state(&decode(payload)?),
            "Create" => self.create(ticket, decode(payload)?),
            "Start" => self.start(ticket, decode(payload)?),
            "Delete" => self.delete(ticket, decode(payload)?),
            "Pids" => self.pids(ticket, &decode(payload)?),
            "Pause" => self.pause(ticket, decode(payload)?),
            "Resume" => self.resume(ticket, decode(payload)?),
            "Checkpoint" => self.checkpoint(ticket, decode(payload)?),
            "Kill" => self.kill(ticket, decode(payload)?),
            "Exec" => self.exec(decode(payload)?),
            "ResizePty" => self.resize(&decode(payload)?),
            "CloseIO" => self.close_io(&decode(payload)?),
            "Update" => self.update(ticket, decode(payload)?),
            "Wait" => self.wait(ticket, decode(payload)?),
            "Stats" => self.stats(ticket, &decode(payload)?),
            "Connect" => Ok(self.connect(&decode(payload)?)),
            "Shutdown" => Ok(self.shutdown(&decode(payload)?)),
            other => Err(Failure::new(Code::Unimplemented, format!("method {other}"))),
        }
    }

    /// Ends the wait for an answer some day, if the caller has not said when.
    fn limit(&mut self, ticket: Ticket, request: &Request) {
        if !self.calls.waits(ticket) {
            return;
        }
        let asked = u64::try_from(request.timeout_nano).unwrap_or(0);
        let asked = Some(Duration::from_nanos(asked)).filter(|time| !time.is_zero());
        let ours = match &*request.method {
            // A container may live as long as it likes.
            "Wait" | "WaitSandbox" => None,
            "Checkpoint" => Some(LONG),
            _ => Some(USUAL),
        };
        let limit = match (asked, ours) {
            (Some(asked), Some(ours)) => Some(asked.min(ours)),
            (asked, ours) => asked.or(ours),
        };
        if let Some(limit) = limit {
            let alarm = self.timers.set(limit, Alarm::Deadline(ticket));
            self.calls.limit(ticket, alarm);
        }
    }

    /// A call's time is over.
    pub(crate) fn expire(&mut self, ticket: Ticket) {
        for task in self.tasks.values_mut() {
            if task.creator == Creator::Waits(ticket) {
                task.creator = Creator::HasGivenUp;
            }
            for process in task.processes_mut() {
                process.waiters.retain(|waiter| *waiter != ticket);
            }
        }
        let late = Failure::new(Code::DeadlineExceeded, "context deadline exceeded");
        self.finish(ticket, Err(late));
    }

    /// Answers a call, unless its caller has gone or waits no more.
    pub(crate) fn finish(&mut self, ticket: Ticket, answer: Answer<Vec<u8>>) {
        if !self.calls.waits(ticket) {
            return;
        }
        if let Some(alarm) = self.calls.close(ticket) {
            self.timers.unset(alarm);
        }
        let frame = match answer {
            Ok(payload) => frame::response(ticket.stream, Ok(payload)),
            Err(failure) => {
                self.journal.debug(&failure.message);
                frame::response(ticket.stream, Err(&failure))
            }
        };
        self.send(ticket.connection, &frame);
    }

    /// The same with a message.
    pub(crate) fn answer<M: Message>(&mut self, ticket: Ticket, answer: Answer<M>) {
        self.finish(ticket, answer.map(|message| message.encode_to_vec()));
    }

    /// A container that is there.
    pub(crate) fn task(&self, id: &str) -> Answer<&Task> {
        self.tasks.get(id).ok_or_else(|| no_task(id))
    }

    /// The same, to be changed.
    pub(crate) fn task_mut(&mut self, id: &str) -> Answer<&mut Task> {
        self.tasks.get_mut(id).ok_or_else(|| no_task(id))
    }

    /// A process that is there.
    pub(crate) fn process(&self, name: &Name) -> Answer<&Process> {
        let process = self.task(&name.id)?.process(&name.exec);
        process.ok_or_else(|| no_process(name))
    }

    /// The same, to be changed.
    pub(crate) fn process_mut(&mut self, name: &Name) -> Answer<&mut Process> {
        let process = self.task_mut(&name.id)?.process_mut(&name.exec);
        process.ok_or_else(|| no_process(name))
    }
}

fn no_task(id: &str) -> Failure {
    Failure::not_found(format!("container not created: task {id} not found"))
}

fn no_process(name: &Name) -> Failure {
    Failure::not_found(format!("process does not exist {}: not found", name.exec))
}
