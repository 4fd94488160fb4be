//! What a monitor does until the container's end: copies its output into the log, forwards signals.

use super::cri::{Cutter, Stream};
use crate::attend::Attention;
use crate::{clock, report};
use anyhow::{Context, Result};
use hostrun_runtime::{Exit, Running};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, read};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How long output may stay silent after the end, when processes that outlive process 1 still hold it.
const SILENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

/// A container's output on its way to the log.
#[derive(Debug)]
pub(crate) struct Watch {
    log: File,
    sources: Vec<Source>,
    buffer: Vec<u8>,
    /// The first failed write was told; the container goes on, as a full disk is not its fault.
    told: bool,
}

#[derive(Debug)]
struct Source {
    fd: OwnedFd,
    cutter: Cutter,
    open: bool,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Signal,
    Output(usize),
    End,
}

impl Watch {
    /// Opens the log.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open(log: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(log)
            .with_context(|| format!("cannot open '{}'", log.display()))?;
        Ok(Self {
            log: file,
            sources: Vec::new(),
            buffer: Vec::new(),
            told: false,
        })
    }

    /// Adds an end to read from.
    ///
    /// # Errors
    /// When it cannot be made non-blocking.
    pub(crate) fn add(&mut self, fd: OwnedFd, stream: Stream) -> Result<()> {
        let flags = fcntl_getfl(&fd).context("cannot read a pipe's flags")?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK).context("cannot set a pipe's flags")?;
        self.sources.push(Source {
            fd,
            cutter: Cutter::new(stream),
            open: true,
        });
        Ok(())
    }

    /// Stays until the container has ended and all it wrote is in the log.
    ///
    /// # Errors
    /// When poll or wait fail.
    pub(crate) fn stay(&mut self, running: &Running, attention: &Attention) -> Result<Exit> {
        let mut ended = running.pidfd().is_none();
        while !ended || self.sources.iter().any(|source| source.open) {
            let ready = self.next(running, attention, ended)?;
            if ended && ready.is_empty() {
                break;
            }
            for event in ready {
                match event {
                    Event::Signal => attention.forward(running, None)?,
                    Event::Output(index) => self.copy(index),
                    Event::End => ended = true,
                }
            }
        }
        for source in &mut self.sources {
            source.cutter.finish(clock::now(), &mut self.buffer);
        }
        self.flush();
        running.wait().context("cannot wait for the container")
    }

    fn next(&self, running: &Running, attention: &Attention, ended: bool) -> Result<Vec<Event>> {
        let mut events = vec![Event::Signal];
        let mut fds = vec![PollFd::from_borrowed_fd(attention.fd(), PollFlags::IN)];
        for (index, source) in self
            .sources
            .iter()
            .enumerate()
            .filter(|(_, source)| source.open)
        {
            events.push(Event::Output(index));
            fds.push(PollFd::from_borrowed_fd(source.fd.as_fd(), PollFlags::IN));
        }
        if let (Some(pidfd), false) = (running.pidfd(), ended) {
            events.push(Event::End);
            fds.push(PollFd::from_borrowed_fd(pidfd, PollFlags::IN));
        }
        loop {
            match poll(&mut fds, ended.then_some(&SILENCE)) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot poll"),
            }
        }
        let happened = events
            .into_iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty());
        Ok(happened.map(|(event, _)| event).collect())
    }

    fn copy(&mut self, index: usize) {
        let Some(source) = self.sources.get_mut(index) else {
            return;
        };
        let mut buffer = [0_u8; 16 * 1024];
        match read(&source.fd, &mut buffer) {
            Ok(count) if count > 0 => {
                let bytes = buffer.get(..count).unwrap_or_default();
                source.cutter.take(bytes, clock::now(), &mut self.buffer);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The end of a pipe, or EIO of a terminal nobody has any more.
            _ => source.open = false,
        }
        self.flush();
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if let Err(error) = self.log.write_all(&self.buffer)
            && !self.told
        {
            self.told = true;
            report::warn(&format!("cannot write the log: {error}"));
        }
        self.buffer.clear();
    }
}
