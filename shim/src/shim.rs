//! The one thread that owns all state: it waits, hears, answers, and gives away what takes time.

use crate::calls::{Calls, Ticket};
use crate::crew::{Crew, Job};
use crate::journal::Journal;
use crate::lanes::{Lane, Lanes};
use crate::poll::{Poll, Source};
use crate::process::Name;
use crate::publisher::{ANSWER, Heard, Next, Publisher};
use crate::service::create::Place;
use crate::signals::Signals;
use crate::stdio::logger::Logger;
use crate::stdio::pump::Pump;
use crate::task::Task;
use crate::timers::{Alarm, Handle, Timers};
use crate::wire::connection::Connection;
use rustix::event::epoll::EventFlags;
use rustix::net::{SocketFlags, accept_with};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// More connections than containerd ever has.
const MOST_CLIENTS: usize = 64;

/// What is read at once.
const BUFFER: usize = 16 << 10;

/// How long events may take to be taken when all else is over: a daemon that is started anew is back by
/// then, and one that is gone for good is not waited for.
const LAST_WORDS: Duration = Duration::from_mins(1);

/// How long a shim without containers and without anybody connected to it lives.
const IDLE: Duration = Duration::from_mins(10);

/// What a shim was started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) namespace: String,
    pub(crate) bundle: PathBuf,
    /// Where containerd takes events.
    pub(crate) events: Option<PathBuf>,
    pub(crate) debug: bool,
}

/// All there is.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) settings: Settings,
    pub(crate) journal: Journal,
    pub(crate) poll: Poll,
    pub(crate) crew: Crew,
    pub(crate) lanes: Lanes,
    pub(crate) timers: Timers,
    pub(crate) calls: Calls,
    pub(crate) clients: HashMap<u64, Connection>,
    pub(crate) tasks: HashMap<String, Task>,
    /// Whose processes are our children, by their pids.
    pub(crate) children: HashMap<u32, Name>,
    pub(crate) publisher: Publisher,
    pub(crate) pumps: HashMap<u64, Served>,
    /// One for each place where state is kept.
    pub(crate) places: HashMap<(PathBuf, bool), Place>,
    /// Loggers whose output has ended.
    pub(crate) loggers: Vec<Logger>,
    pub(crate) buffer: Vec<u8>,
    /// Nothing is left to do but to tell of it, until then.
    stopping: Option<Handle>,
    over: bool,
    /// Ends the wait for containerd's answer, or for the next attempt.
    publishing: Option<Handle>,
    idle: Option<Handle>,
    listener: OwnedFd,
    signals: Signals,
}

/// A pump, and what of it is polled.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) pump: Pump,
    pub(crate) owner: Name,
    pub(crate) reading: Option<u64>,
    pub(crate) writing: Option<u64>,
}

impl Shim {
    /// A shim that listens.
    pub(crate) fn new(
        settings: Settings,
        listener: OwnedFd,
        signals: Signals,
    ) -> rustix::io::Result<Shim> {
        let mut poll = Poll::new()?;
        let crew = Crew::new()?;
        poll.add(&listener, Source::Listener, EventFlags::IN)?;
        poll.add(crew.bell(), Source::Crew, EventFlags::IN)?;
        poll.add(&signals, Source::Signals, EventFlags::IN)?;
        Ok(Shim {
            journal: Journal::new(&settings.bundle, settings.debug),
            publisher: Publisher::new(settings.events.clone(), &settings.namespace),
            settings,
            poll,
            crew,
            lanes: Lanes::default(),
            timers: Timers::default(),
            calls: Calls::default(),
            clients: HashMap::new(),
            tasks: HashMap::new(),
            children: HashMap::new(),
            pumps: HashMap::new(),
            places: HashMap::new(),
            loggers: Vec::new(),
            buffer: vec![0; BUFFER],
            stopping: None,
            over: false,
            publishing: None,
            idle: None,
            listener,
            signals,
        })
    }

    /// Serves until it is told to stop and has nothing left to do.
    ///
    /// # Errors
    /// Where the kernel refuses to let us wait.
    pub(crate) fn serve(&mut self) -> rustix::io::Result<()> {
        while !self.is_over() {
            let timeout = self.timers.left();
            for (token, source, flags) in self.poll.wait(timeout)? {
                if self.poll.knows(token) {
                    self.attend(token, source, flags);
                }
            }
            while let Some(alarm) = self.timers.due() {
                self.alarm(alarm);
            }
            self.publish();
            self.count_visitors();
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over || self.stopping.is_some() && self.publisher.is_empty() && self.crew.rests()
    }

    fn attend(&mut self, token: u64, source: Source, flags: EventFlags) {
        match source {
            Source::Listener => self.accept(),
            Source::Crew => {
                for done in self.crew.done() {
                    done(self);
                }
                self.reap();
            }
            Source::Signals => {
                if self.signals.take() && self.tasks.is_empty() {
                    self.stop();
                }
                self.reap();
            }
            Source::Client => self.hear(token, flags),
            Source::Publisher => self.hear_publisher(),
            Source::Process(name) => self.ended(&name),
            Source::Memory(id) => self.look_at_memory(&id),
            Source::Pump(key) => self.pump(key),
        }
    }

    fn alarm(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Deadline(ticket) => self.expire(ticket),
            Alarm::Publish => {
                self.publishing = None;
                if self.publisher.is_asking() {
                    self.drop_line();
                }
            }
            Alarm::Drain(name, waited) => self.drain(&name, waited),
            Alarm::Release(id) => {
                self.release(&id, true);
            }
            Alarm::Delete(name) => self.let_go(&name),
            Alarm::Output(name) => self.look_for_output(&name),
            Alarm::Logger => {
                if !self.loggers.is_empty() {
                    self.loggers.remove(0).kill();
                }
            }
            Alarm::LastWords => self.over = true,
            Alarm::Idle => {
                self.idle = None;
                if self.tasks.is_empty() && self.clients.is_empty() {
                    self.stop();
                }
            }
        }
    }

    /// Ends when what happened is told.
    pub(crate) fn stop(&mut self) {
        if self.stopping.is_none() {
            self.stopping = Some(self.timers.set(LAST_WORDS, Alarm::LastWords));
        }
    }

    /// Goes on: somebody has come with more to do.
    pub(crate) fn go_on(&mut self) {
        if let Some(alarm) = self.stopping.take() {
            self.timers.unset(alarm);
        }
    }

    /// A daemon that starts a shim and dies before it uses it is no reason to live for ever.
    fn count_visitors(&mut self) {
        let alone = self.tasks.is_empty() && self.clients.is_empty();
        match (alone, self.idle) {
            (true, None) => self.idle = Some(self.timers.set(IDLE, Alarm::Idle)),
            (false, Some(alarm)) => {
                self.timers.unset(alarm);
                self.idle = None;
            }
            _ => {}
        }
    }

    /// Has work done that may take its time.
    pub(crate) fn give(&mut self, lane: Lane, job: Job) {
        self.lanes.give(&self.crew, lane, job);
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = accept_with(&self.listener, flags) else {
            return;
        };
        // The socket's mode keeps others out. Their credentials would tell nothing of a client in another
        // pid namespace.
        if self.clients.len() >= MOST_CLIENTS {
            return;
        }
        if let Ok(token) = self.poll.add(&socket, Source::Client, EventFlags::IN) {
            self.clients.insert(token, Connection::new(socket));
        }
    }

    fn hear(&mut self, token: u64, flags: EventFlags) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let mut ended = client.flush().is_err();
        if !ended && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            ended = client.receive(&mut self.buffer).is_err();
        }
        while let Some(read) = self.clients.get_mut(&token).and_then(Connection::next) {
            self.take(token, read);
        }
        if ended {
            self.drop_client(token);
        } else {
            self.watch_client(token);
        }
    }

    /// Polls a client for room where something waits for it.
    fn watch_client(&self, token: u64) {
        let Some(client) = self.clients.get(&token) else {
            return;
        };
        let mut flags = EventFlags::IN;
        flags.set(EventFlags::OUT, client.is_waiting());
        self.poll.change(client, token, flags).unwrap_or_default();
    }

    /// Sends a frame to a client, if it is still there.
    pub(crate) fn send(&mut self, token: u64, frame: &[u8]) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        match client.send(frame) {
            Ok(()) if client.is_waiting() => self.watch_client(token),
            Ok(()) => {}
            Err(end) => {
                self.journal.warn(format!("a client is dropped: {end:?}"));
                self.drop_client(token);
            }
        }
    }

    fn drop_client(&mut self, token: u64) {
        if let Some(client) = self.clients.remove(&token) {
            self.poll.remove(&client, token);
        }
        for alarm in self.calls.hang_up(token) {
            self.timers.unset(alarm);
        }
        let stays = |ticket: &Ticket| ticket.connection != token;
        for task in self.tasks.values_mut() {
            for process in task.processes_mut() {
                process.waiters.retain(stays);
            }
        }
    }

    fn publish(&mut self) {
        if self.publishing.is_some() {
            return;
        }
        if let Some(connection) = self.publisher.dial()
            && let Ok(token) = self
                .poll
                .add(&connection, Source::Publisher, EventFlags::IN)
        {
            self.publisher.connected(connection, token);
        }
        match self.publisher.send() {
            Next::Rest => {}
            Next::Listen => self.publishing = Some(self.timers.set(ANSWER, Alarm::Publish)),
            Next::Retry(wait) => {
                self.drop_line();
                self.publishing = Some(self.timers.set(wait, Alarm::Publish));
            }
        }
    }

    fn hear_publisher(&mut self) {
        let heard = self.publisher.hear(&mut self.buffer);
        if heard == Heard::End {
            self.drop_line();
        }
        if self.publisher.is_asking() {
            return;
        }
        if let Some(alarm) = self.publishing.take() {
            self.timers.unset(alarm);
        }
        if heard != Heard::Well {
            // Who takes connections only to end them must not keep us busy.
            let wait = self.publisher.failed();
            self.publishing = Some(self.timers.set(wait, Alarm::Publish));
        }
    }

    fn drop_line(&mut self) {
        if let Some(line) = self.publisher.hang_up() {
            self.poll.remove(&line.connection, line.token);
        }
    }
}
