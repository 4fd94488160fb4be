//! The bytes between our standard streams and a container's terminal.

use super::terminal::{Raw, window_size};
use anyhow::{Context, Result};
use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read, write};
use rustix::termios::{
    OptionalActions, OutputModes, Winsize, isatty, tcgetattr, tcsetattr, tcsetwinsize,
};
use std::io::{Stdin, Stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a pipe takes without blocking once poll says it can be written.
const CHUNK: usize = 4096;
/// The end of input as a terminal spells it.
const END_OF_TRANSMISSION: u8 = 4;

/// An end of the relay that poll watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Input,
    Master,
    Output,
}

/// How lines end on their way out of a container's terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnds {
    /// CR LF, as a terminal writes them: what people expect of a container with a terminal.
    Terminal,
    /// LF alone: what callers of OCI runtimes expect. Our own terminal then adds the CR.
    Plain,
}

/// A terminal that stays connected to our standard streams.
#[derive(Debug)]
pub(crate) struct Relay {
    master: OwnedFd,
    input: Option<Stdin>,
    output: Stdout,
    to_container: Vec<u8>,
    from_container: Vec<u8>,
    master_open: bool,
    /// Restores our own terminal when the relay ends, however it ends.
    _raw: Option<Raw>,
}

impl Relay {
    /// Connects a terminal's master. Only an interactive relay reads standard input, and only then is our own terminal
    /// raw: without it, Ctrl-C must still reach us to be forwarded as a signal.
    ///
    /// # Errors
    /// When the master cannot be made non-blocking.
    pub(crate) fn connect(master: OwnedFd, interactive: bool, ends: LineEnds) -> Result<Self> {
        let flags = fcntl_getfl(&master).context("cannot read the terminal's flags")?;
        fcntl_setfl(&master, flags | OFlags::NONBLOCK)
            .context("cannot set the terminal's flags")?;
        // A terminal of ours that is not raw adds a CR to each LF; two of them are one too many.
        let ours_adds = !interactive && isatty(std::io::stdout());
        if ends == LineEnds::Plain || ours_adds {
            clear_line_ends(&master).context("cannot set up the container's terminal")?;
        }
        let relay = Self {
            master,
            input: interactive.then(std::io::stdin),
            output: std::io::stdout(),
            to_container: Vec::new(),
            from_container: Vec::new(),
            master_open: true,
            _raw: if interactive {
                Raw::enter(ends == LineEnds::Plain)
            } else {
                None
            },
        };
        relay.resize();
        Ok(relay)
    }

    /// Gives the container's terminal the size of ours.
    pub(super) fn resize(&self) {
        if let Some((ws_col, ws_row)) = window_size() {
            let size = Winsize {
                ws_row,
                ws_col,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // A terminal whose other side is gone has no size to set.
            tcsetwinsize(&self.master, size).ok();
        }
    }

    /// Whether nothing more will come from the container.
    pub(super) fn is_drained(&self) -> bool {
        !self.master_open && self.from_container.is_empty()
    }

    /// What poll must watch: each direction reads only when what it read before is written.
    pub(super) fn wants(&self, ended: bool) -> Vec<(Place, BorrowedFd<'_>, PollFlags)> {
        let mut wants = Vec::with_capacity(3);
        if let Some(input) = &self.input
            && self.to_container.is_empty()
            && self.master_open
            && !ended
        {
            wants.push((Place::Input, input.as_fd(), PollFlags::IN));
        }
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.from_container.is_empty());
        flags.set(PollFlags::OUT, !self.to_container.is_empty());
        if self.master_open && !flags.is_empty() {
            wants.push((Place::Master, self.master.as_fd(), flags));
        }
        if !self.from_container.is_empty() {
            wants.push((Place::Output, self.output.as_fd(), PollFlags::OUT));
        }
        wants
    }

    /// Moves what can be moved.
    pub(super) fn step(&mut self, place: Place, flags: PollFlags) {
        match place {
            Place::Input => self.take_input(),
            Place::Output => self.give_output(),
            Place::Master => {
                if flags.contains(PollFlags::OUT) {
                    self.give_input();
                }
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.take_output();
                }
            }
        }
    }

    fn take_input(&mut self) {
        let Some(input) = &self.input else { return };
        let mut buffer = [0_u8; CHUNK];
        match read(input, &mut buffer) {
            Ok(0) => {
                // A pipe ended: the container's reader learns it the way a terminal says so.
                self.to_container.push(END_OF_TRANSMISSION);
                self.input = None;
            }
            Ok(count) => self
                .to_container
                .extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_hangup) => self.input = None,
        }
    }

    fn give_input(&mut self) {
        match write(&self.master, &self.to_container) {
            Ok(count) => drop(
                self.to_container
                    .drain(..count.min(self.to_container.len())),
            ),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_hangup) => self.to_container.clear(),
        }
    }

    fn take_output(&mut self) {
        if !self.from_container.is_empty() {
            return;
        }
        let mut buffer = [0_u8; CHUNK];
        match read(&self.master, &mut buffer) {
            Ok(count) if count > 0 => {
                self.from_container
                    .extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            // EIO: every process that had the terminal is gone, and all they wrote was read before.
            _ => self.master_open = false,
        }
    }

    fn give_output(&mut self) {
        match write(&self.output, &self.from_container) {
            Ok(count) => drop(
                self.from_container
                    .drain(..count.min(self.from_container.len())),
            ),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // Nobody reads us any more; the container is not to notice.
            Err(_gone) => self.from_container.clear(),
        }
    }
}

fn clear_line_ends(master: &OwnedFd) -> Result<(), Errno> {
    let mut modes = tcgetattr(master)?;
    modes.output_modes.remove(OutputModes::ONLCR);
    tcsetattr(master, OptionalActions::Now, &modes)
}
