//! Signals by name or number.

use crate::error::{At, Error, ErrorKind, Result};
use crate::running::send;
use nix::sys::signal::Signal as Named;
use std::os::fd::BorrowedFd;
use std::str::FromStr;

/// A signal number, 1 to 64, as in `signal(7)`; 0 reaches nobody and only asks whether somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// `SIGKILL`.
    pub const KILL: Signal = Signal(9);
    /// `SIGTERM`.
    pub const TERM: Signal = Signal(15);

    /// `TERM`, `SIGTERM`, `sigterm`, `15` or `RTMIN+3`.
    ///
    /// # Errors
    /// `InvalidSpec` for anything else.
    pub fn parse(text: &str) -> Result<Signal> {
        let unknown = || {
            Error::new(
                ErrorKind::InvalidSpec,
                "unknown signal",
                format!("{text:?}"),
            )
        };
        if let Ok(number) = text.parse::<i32>() {
            return if (0..=64).contains(&number) {
                Ok(Signal(number))
            } else {
                Err(unknown())
            };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(offset) = name.strip_prefix("RTMIN") {
            return real_time(34, offset).ok_or_else(unknown);
        }
        if let Some(offset) = name.strip_prefix("RTMAX") {
            return real_time(64, offset).ok_or_else(unknown);
        }
        match Named::from_str(&format!("SIG{name}")) {
            Ok(signal) => Ok(Signal(signal as i32)),
            Err(_unknown) => Err(unknown()),
        }
    }

    /// By its number.
    ///
    /// # Errors
    /// `InvalidSpec` for what is none.
    pub fn of_number(number: u32) -> Result<Signal> {
        Signal::parse(&number.to_string())
    }

    /// The number.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Sends it to the process of a pidfd, `pidfd_send_signal(2)`: for whoever keeps one of a container's
    /// first process, and must reach it while others work on the container.
    ///
    /// # Errors
    /// `NotFound` where the process has ended and was reaped.
    pub fn send_to(self, pidfd: BorrowedFd<'_>) -> Result<()> {
        send(pidfd, self).at("signal", "a process")
    }
}

/// Offsets from the first and last real-time signal a C library leaves free.
fn real_time(base: i32, offset: &str) -> Option<Signal> {
    let offset = if offset.is_empty() {
        0
    } else {
        offset.parse::<i32>().ok()?
    };
    let number = base.checked_add(offset)?;
    (34..=64).contains(&number).then_some(Signal(number))
}

/// What a signal that ended a process is called in runc's reports, where callers look for the words.
pub(crate) fn described(number: i32) -> String {
    let words = match number {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        16 => "stack fault",
        24 => "CPU time limit exceeded",
        25 => "file size limit exceeded",
        26 => "virtual timer expired",
        27 => "profiling timer expired",
        29 => "I/O possible",
        30 => "power failure",
        31 => "bad system call",
        other => return format!("signal {other}"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_mean_the_same() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGKILL", 9),
            ("sigint", 2),
            ("1", 1),
            ("RTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(Signal::parse(text).unwrap().number(), number, "{text}");
        }
        for text in ["", "-1", "65", "-9", "SIGFOO", "RTMIN+99", "RTMAX+1"] {
            assert!(Signal::parse(text).is_err(), "{text}");
        }
    }
}
