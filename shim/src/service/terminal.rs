//! Terminals and input: `ResizePty`, `CloseIO`, and the pumps of terminals.

use super::Reply;
use crate::messages::task::{CloseIoRequest, ResizeRequest};
use crate::poll::Source;
use crate::process::Name;
use crate::shim::{Served, Shim};
use crate::stdio::Plumbing;
use crate::stdio::logger::PATIENCE;
use crate::stdio::pump::{Pump, Wants};
use crate::timers::Alarm;
use crate::wire::status::{Answer, Failure};
use rustix::event::epoll::EventFlags;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::termios::{Winsize, tcsetwinsize};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How often one looks whether a file has taken the last of some output.
const LOOK: Duration = Duration::from_millis(20);

impl Shim {
    /// `ResizePty`.
    pub(super) fn resize(&mut self, request: &ResizeRequest) -> Answer<Reply> {
        let name = Name {
            id: request.id.clone(),
            exec: request.exec_id.clone(),
        };
        let process = self.process(&name)?;
        let side = |cells: u32| u16::try_from(cells).unwrap_or(u16::MAX);
        let size = Winsize {
            ws_col: side(request.width),
            ws_row: side(request.height),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // What has no terminal, or has it no more, has no size; engines ask all the same.
        if let Some(console) = &process.streams.console {
            tcsetwinsize(console, size)
                .map_err(|errno| Failure::system("resize the terminal", errno))?;
        }
        Ok(Reply::empty())
    }

    /// `CloseIO`.
    pub(super) fn close_io(&mut self, request: &CloseIoRequest) -> Answer<Reply> {
        let name = Name {
            id: request.id.clone(),
            exec: request.exec_id.clone(),
        };
        let process = self.process_mut(&name)?;
        if request.stdin {
            process.input_ended = true;
            process.streams.stdin = None;
        }
        Ok(Reply::empty())
    }

    /// Connects a terminal's master with containerd's pipes.
    pub(super) fn serve_terminal(
        &mut self,
        name: &Name,
        console: Option<OwnedFd>,
        plumbing: Plumbing,
    ) {
        let Some(console) = console else { return };
        let nonblocking =
            fcntl_getfl(&console).and_then(|flags| fcntl_setfl(&console, flags | OFlags::NONBLOCK));
        if let Err(errno) = nonblocking {
            self.journal.warn(format!("set up a terminal: {errno}"));
            return;
        }
        let Plumbing { input, output } = plumbing;
        // Where nobody wants the output, it must go somewhere all the same.
        let output = output.or_else(null);
        if let (Ok(master), Some(output)) = (console.try_clone(), output) {
            self.add_pump(name, Pump::new(master, output));
        }
        let mut key = None;
        if let (Ok(master), Some(input)) = (console.try_clone(), input) {
            key = Some(self.add_pump(name, Pump::new(input, master)));
        }
        if let Ok(process) = self.process_mut(name) {
            process.streams.console = Some(console);
            process.streams.input = key;
        }
    }

    fn add_pump(&mut self, name: &Name, pump: Pump) -> u64 {
        let key = self.poll.token();
        let served = Served {
            pump,
            owner: name.clone(),
            reading: None,
            writing: None,
        };
        self.pumps.insert(key, served);
        if let Ok(process) = self.process_mut(name) {
            process.streams.pumps.push(key);
        }
        self.wait_for_pump(key, Wants::ToRead);
        key
    }

    /// Moves what can be moved.
    pub(crate) fn pump(&mut self, key: u64) {
        let Some(served) = self.pumps.get_mut(&key) else {
            return;
        };
        let wants = served.pump.step(&mut self.buffer);
        self.wait_for_pump(key, wants);
    }

    fn wait_for_pump(&mut self, key: u64, wants: Wants) {
        if wants == Wants::Nothing {
            self.end_pump(key);
            return;
        }
        let Some(mut served) = self.pumps.remove(&key) else {
            return;
        };
        let (reads, writes) = (wants == Wants::ToRead, wants == Wants::ToWrite);
        let source = Source::Pump(key);
        let mut failed = false;
        match served.reading {
            None if reads => {
                let added = self.poll.add(served.pump.from(), source, EventFlags::IN);
                failed |= added.is_err();
                served.reading = added.ok();
            }
            Some(token) if !reads => {
                self.poll.remove(served.pump.from(), token);
                served.reading = None;
            }
            _ => {}
        }
        let source = Source::Pump(key);
        match served.writing {
            None if writes => {
                let added = self.poll.add(served.pump.to(), source, EventFlags::OUT);
                failed |= added.is_err();
                served.writing = added.ok();
            }
            Some(token) if !writes => {
                self.poll.remove(served.pump.to(), token);
                served.writing = None;
            }
            _ => {}
        }
        self.pumps.insert(key, served);
        if failed {
            self.end_pump(key);
        }
    }

    pub(super) fn end_pump(&mut self, key: u64) {
        let Some(served) = self.pumps.remove(&key) else {
            return;
        };
        if let Some(token) = served.reading {
            self.poll.remove(served.pump.from(), token);
        }
        if let Some(token) = served.writing {
            self.poll.remove(served.pump.to(), token);
        }
        let name = served.owner.clone();
        drop(served);
        if let Ok(process) = self.process_mut(&name) {
            process.streams.pumps.retain(|own| *own != key);
        }
        self.drain(&name, Duration::ZERO);
        self.look_for_output(&name);
    }

    /// A deletion that waits for output goes on when there is none under way.
    pub(crate) fn look_for_output(&mut self, name: &Name) {
        let Ok(process) = self.process(name) else {
            return;
        };
        if process.leaving.is_none() {
            return;
        }
        if !process.streams.is_under_way() {
            self.let_go(name);
        } else if process.streams.pumps.is_empty() {
            // A thread writes it, which rings no bell.
            self.timers.set(LOOK, Alarm::Output(name.clone()));
        }
    }

    /// Lets go of all streams of a process.
    pub(super) fn close_streams(&mut self, name: &Name) {
        let Ok(process) = self.process_mut(name) else {
            return;
        };
        let streams = std::mem::take(&mut process.streams);
        for key in streams.pumps {
            self.end_pump(key);
        }
        if let Some(logger) = streams.logger {
            self.loggers.push(logger);
            self.timers.set(PATIENCE, Alarm::Logger);
        }
    }
}

/// Takes everything.
fn null() -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()).ok()
}
