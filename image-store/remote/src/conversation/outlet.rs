//! The way of an answer back to the store.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hostrun_image_store::registry::wire::{self, Kind, Wait};
use serde::Serialize;

use crate::failure::Failure;

/// The socket of one answer.
#[derive(Debug)]
pub(super) struct Outlet {
    socket: OwnedFd,
    closed: AtomicBool,
}

impl Outlet {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            closed: AtomicBool::new(false),
        }
    }

    /// Whether nobody listens any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn sent(&self, result: io::Result<()>) -> Result<(), Failure> {
        result.map_err(|_gone| {
            self.closed.store(true, Ordering::Relaxed);
            Failure::network("nobody listens any more")
        })
    }

    pub(super) fn head(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.sent(wire::send_value(&self.socket, Kind::Head, value))
    }

    pub(super) fn data(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.sent(wire::send(&self.socket, Kind::Data, bytes))
    }

    pub(super) fn progress(&self, sent: u64) -> Result<(), Failure> {
        self.sent(wire::send_value(&self.socket, Kind::Sent, &sent))
    }

    pub(super) fn wait(&self, pause: Duration, cause: &str) -> Result<(), Failure> {
        let cause = cause.to_owned();
        self.sent(wire::send_value(
            &self.socket,
            Kind::Wait,
            &Wait { pause, cause },
        ))
    }

    /// The end, good or bad.
    pub(super) fn close(self, done: Result<(), Failure>) {
        let sent = match done {
            Ok(()) => wire::send(&self.socket, Kind::End, &[]),
            Err(failure) => wire::send_value(&self.socket, Kind::Trouble, &failure.trouble),
        };
        // Whoever is gone does not want to know.
        sent.unwrap_or_default();
    }
}
