//! What is to happen at a time.

use crate::calls::Ticket;
use crate::process::Name;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// A call has waited long enough.
    Deadline(Ticket),
    /// Events are to be tried again.
    Publish,
    /// Has what a process that ended has written been read by now?
    Drain(Name, Duration),
    /// The end of a first process is told even if others of its container still live.
    Release(String),
    /// A deletion has waited long enough for output to be taken.
    Delete(Name),
    /// Has a file taken the last of some output?
    Output(Name),
    /// The oldest logger whose output has ended has had its time.
    Logger,
    /// It is over, whatever could not be told.
    LastWords,
    /// Nobody has come for a long time.
    Idle,
}

/// All alarms that are set, in order.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    alarms: BTreeMap<(Instant, u64), Alarm>,
    number: u64,
}

/// An alarm that can be taken back.
pub(crate) type Handle = (Instant, u64);

impl Timers {
    pub(crate) fn set(&mut self, after: Duration, alarm: Alarm) -> Handle {
        self.number += 1;
        let now = Instant::now();
        // What lies beyond the clock's end is a month away.
        let month = Duration::from_hours(30 * 24);
        let handle = (now + after.min(month), self.number);
        self.alarms.insert(handle, alarm);
        handle
    }

    pub(crate) fn unset(&mut self, handle: Handle) {
        self.alarms.remove(&handle);
    }

    /// How long until the next one.
    pub(crate) fn left(&self) -> Option<Duration> {
        let ((at, _), _) = self.alarms.first_key_value()?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// The next one whose time has come.
    pub(crate) fn due(&mut self) -> Option<Alarm> {
        let ((at, _), _) = self.alarms.first_key_value()?;
        if *at > Instant::now() {
            return None;
        }
        self.alarms.pop_first().map(|(_, alarm)| alarm)
    }
}
