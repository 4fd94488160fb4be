//! A real terminal: the test holds the master side, the runtime believes a person sits there.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::runtime::{Call, PATIENCE, Running};

/// A pseudo terminal pair.
#[derive(Debug)]
pub struct Pty {
    master: OwnedFd,
    slave: OwnedFd,
    path: PathBuf,
    seen: Vec<u8>,
}

impl Pty {
    /// Opens a new one of 80 by 24.
    ///
    /// # Errors
    /// When the kernel has none left.
    pub fn open() -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = PathBuf::from(ptsname(&master, Vec::new())?.to_string_lossy().into_owned());
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&path, flags, Mode::empty()).context("open the slave")?;
        let pty = Self {
            master,
            slave,
            path,
            seen: Vec::new(),
        };
        pty.resize(80, 24)?;
        Ok(pty)
    }

    /// Starts a call with all three streams on this terminal and the terminal as its own.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, call: Call) -> Result<Running> {
        let [stdin, stdout, stderr] = [
            self.slave.try_clone()?,
            self.slave.try_clone()?,
            self.slave.try_clone()?,
        ];
        // setsid makes the session and takes the terminal, then becomes the runtime: same process
        call.under(["setsid", "--ctty"])
            .stdin(stdin)
            .outputs(stdout, stderr)
            .spawn()
    }

    /// Changes the size, for which the kernel sends SIGWINCH to the foreground process.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(tcsetwinsize(&self.master, size)?)
    }

    /// Whether keys go through unchanged and unechoed, as a terminal in raw mode does.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn is_raw(&self) -> Result<bool> {
        let modes = tcgetattr(&self.slave)?.local_modes;
        Ok(!modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG))
    }

    /// Every mode of the terminal, to be compared with later.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn modes(&self) -> Result<String> {
        Ok(format!("{:?}", tcgetattr(&self.slave)?))
    }

    /// Types these keys.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn type_keys(&self, keys: &str) -> Result<()> {
        let written = rustix::io::write(&self.master, keys.as_bytes())?;
        anyhow::ensure!(
            written == keys.len(),
            "the terminal took {written} bytes only"
        );
        Ok(())
    }

    /// Reads until the screen has shown `text` since the last call and returns all of it.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = String::from_utf8_lossy(&self.seen).into_owned();
            if screen.contains(text) {
                self.seen.clear();
                return Ok(screen);
            }
            let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
            let wait = Timespec::try_from(Duration::from_millis(100))?;
            let mut buffer = [0; 4096];
            if poll(&mut ready, Some(&wait))? > 0 {
                let count = rustix::io::read(&self.master, &mut buffer)?;
                self.seen.extend(buffer.iter().take(count));
            } else if Instant::now() > end {
                bail!(
                    "{} never showed {text:?} but {screen:?}",
                    self.path.display()
                );
            }
        }
    }
}
