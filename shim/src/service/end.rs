//! The end of processes: seen once, told in order (memory, others, the first), and never lost.
//!
//! Each process is waited for by its pidfd, and stays a zombie until it is. No end can come before its
//! process is known: the number is nobody else's until then.

use crate::lanes::Lane;
use crate::messages::events::{TaskExit, TaskOom};
use crate::poll::Source;
use crate::process::{Ended, Name, Process, Stage};
use crate::shim::Shim;
use crate::timers::Alarm;
use hostrun_runtime::{Event, Exit, Signal, Watch};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, WaitOptions, wait, waitid};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long the others of a container may take to follow its first process.
const FOLLOW: Duration = Duration::from_secs(2);

/// How often one looks whether output was taken, at first and at last.
const LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(200));

impl Shim {
    /// From now on the process is known, and its end is waited for.
    pub(super) fn adopt(&mut self, name: &Name, pid: u32, pidfd: Option<OwnedFd>) {
        if pid != 0 {
            self.children.insert(pid, name.clone());
        }
        let source = Source::Process(name.clone());
        let token = pidfd
            .as_ref()
            .map(|fd| self.poll.add(fd, source, EventFlags::IN));
        let Ok(process) = self.process_mut(name) else {
            return;
        };
        process.pid = pid;
        process.pidfd = pidfd;
        match token {
            Some(Ok(token)) => process.token = Some(token),
            // Its end can be seen only by asking: whoever reaps strangers does.
            Some(Err(errno)) => self.journal.warn(format!("watch process {pid}: {errno}")),
            None => {}
        }
    }

    /// Begins to listen for kills for want of memory.
    pub(super) fn arm(&mut self, id: &str, watch: Option<Watch>) -> Option<(Watch, u64)> {
        let watch = watch?;
        let source = Source::Memory(id.to_owned());
        let token = self
            .poll
            .add(watch.memory()?, source, EventFlags::PRI)
            .ok()?;
        Some((watch, token))
    }

    /// Tells of kills for want of memory since the last look.
    pub(crate) fn look_at_memory(&mut self, id: &str) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let Some((watch, token)) = &mut task.memory else {
            return;
        };
        loop {
            match watch.next(Some(Duration::ZERO)) {
                Ok(Some(Event::OutOfMemory(_))) => self.publisher.put(&TaskOom {
                    container_id: id.to_owned(),
                }),
                Ok(None) => return,
                // Its cgroup is empty or gone; a readable file that is never read again would wake us for ever.
                _ => break,
            }
        }
        if task.init.stage != Stage::Stopped {
            return;
        }
        if let Some(fd) = watch.memory() {
            self.poll.remove(fd, *token);
        }
        task.memory = None;
    }

    /// A process is said to have ended.
    pub(crate) fn ended(&mut self, name: &Name) {
        let Ok(process) = self.process(name) else {
            return;
        };
        let Some(pidfd) = &process.pidfd else { return };
        match reaped(pidfd.as_fd()) {
            Reaped::Not => {}
            Reaped::Here(exit) => self.ended_with(name, exit),
        }
    }

    fn ended_with(&mut self, name: &Name, exit: Option<Exit>) {
        let ended = Ended::with(exit);
        self.forget_pidfd(name);
        self.look_at_memory(&name.id);
        let Ok(process) = self.process_mut(name) else {
            return;
        };
        if process.stage == Stage::Starting {
            // Its start is yet to be told.
            process.early = Some(ended);
            return;
        }
        self.conclude(name, ended);
    }

    fn forget_pidfd(&mut self, name: &Name) {
        let Some(process) = self
            .tasks
            .get_mut(&name.id)
            .and_then(|task| task.process_mut(&name.exec))
        else {
            return;
        };
        let pid = process.pid;
        if let (Some(fd), Some(token)) = (process.pidfd.take(), process.token.take()) {
            self.poll.remove(&fd, token);
        }
        self.children.remove(&pid);
    }

    /// Its end is told, unless others go first.
    pub(super) fn conclude(&mut self, name: &Name, ended: Ended) {
        if !name.is_init() {
            self.tell_end(name, ended);
            self.release(&name.id, false);
            return;
        }
        let Ok(task) = self.task_mut(&name.id) else {
            return;
        };
        task.held = Some(ended);
        let shares_pids = task.shares_pids;
        let others: Vec<String> = task.execs.keys().cloned().collect();
        // With the first process of a pid namespace all others have ended already.
        for exec in others {
            let id = name.id.clone();
            self.ended(&Name { id, exec });
        }
        if shares_pids {
            self.kill_rest(&name.id);
        }
        if !self.release(&name.id, false) {
            let id = name.id.clone();
            self.timers.set(FOLLOW, Alarm::Release(id));
        }
    }

    /// Who outlived the first process without a pid namespace of its own goes with it.
    fn kill_rest(&mut self, id: &str) {
        let Ok((runtime, container)) = self.made(id) else {
            return;
        };
        let kill = move || {
            let container = runtime.container(&container);
            // That nobody is left is what was wanted.
            let killed = container.and_then(|container| container.kill(Signal::KILL, true));
            killed.unwrap_or_default();
            Box::new(|_: &mut Shim| {}) as crate::crew::Done
        };
        self.give(Lane::Kill(id.to_owned()), Box::new(kill));
    }

    /// Tells the end of a first process that was held back, if nobody is left to go before, or whoever
    /// is has taken too long. True where nothing is held any more.
    pub(crate) fn release(&mut self, id: &str, late: bool) -> bool {
        let Some(task) = self.tasks.get_mut(id) else {
            return true;
        };
        let others = task.execs.values().any(Process::lives);
        if others && !late {
            return task.held.is_none();
        }
        if let Some(ended) = task.held.take() {
            self.tell_end(&Name::init(id), ended);
        }
        true
    }

    /// Writes the end down, tells it, and answers those who wait for it.
    fn tell_end(&mut self, name: &Name, ended: Ended) {
        let Ok(process) = self.process_mut(name) else {
            return;
        };
        if process.ended.is_some() {
            return;
        }
        process.ended = Some(ended);
        if process.stage != Stage::Deleting {
            process.stage = Stage::Stopped;
        }
        let pid = process.pid;
        let waiters = std::mem::take(&mut process.waiters);
        let answer = process.wait().unwrap_or_default();
        process.streams.stdin = None;
        let input = process.streams.input.take();
        let id = if name.is_init() { &name.id } else { &name.exec };
        self.publisher.put(&TaskExit {
            container_id: name.id.clone(),
            id: id.clone(),
            pid,
            exit_status: ended.status,
            exited_at: Some(ended.at.into()),
        });
        for waiter in waiters {
            self.answer(waiter, Ok(answer));
        }
        // Whoever still has something to say at the terminal, says it to nobody: were he waited for, the
        // output would not end before he goes, and CRI's `exec -it` goes only when the output ends.
        if let Some(key) = input {
            self.end_pump(key);
        }
        self.drain(name, Duration::ZERO);
    }

    /// Ends the output of a process that has ended, when all of it was taken: while containerd is away, what
    /// is in a pipe is kept by whoever has it open.
    pub(crate) fn drain(&mut self, name: &Name, waited: Duration) {
        let Ok(process) = self.process_mut(name) else {
            return;
        };
        if process.ended.is_none() || !process.streams.pumps.is_empty() {
            return;
        }
        if process.streams.is_unread() {
            let (first, last) = LOOK;
            let wait = waited.saturating_mul(2).clamp(first, last);
            self.timers.set(wait, Alarm::Drain(name.clone(), wait));
            return;
        }
        process.streams.end_outputs();
    }

    /// Reaps strangers: those whom our containers left, and loggers. While somebody works, a child that
    /// nobody knows may be his.
    pub(crate) fn reap(&mut self) {
        while self.crew.rests() {
            let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) else {
                return;
            };
            let known = u32::try_from(pid.as_raw_pid()).ok();
            let known = known.and_then(|pid| self.children.get(&pid).cloned());
            if let Some(name) = known {
                let code = status.exit_status().map(code);
                let exit = code.or(status.terminating_signal().map(Exit::Signal));
                self.ended_with(&name, exit);
            }
        }
    }
}

fn code(status: i32) -> Exit {
    Exit::Code(u8::try_from(status & 0xff).unwrap_or(u8::MAX))
}

/// Has a process ended?
enum Reaped {
    /// It lives.
    Not,
    /// It has, so, unless somebody else has seen how.
    Here(Option<Exit>),
}

fn reaped(pidfd: BorrowedFd<'_>) -> Reaped {
    let flags = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::PidFd(pidfd), flags) {
        Ok(Some(status)) => Reaped::Here(exit_of(&status)),
        Err(Errno::CHILD) => Reaped::Here(None),
        Ok(None) | Err(_) => Reaped::Not,
    }
}

fn exit_of(status: &WaitIdStatus) -> Option<Exit> {
    let code = status.exit_status().map(code);
    code.or(status.terminating_signal().map(Exit::Signal))
}
