//! Calls that have come and are not answered yet.

use crate::timers::Handle;
use std::collections::HashMap;

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    /// Token of the connection.
    pub(crate) connection: u64,
    pub(crate) stream: u32,
}

/// More calls than this at once, on all connections, are refused.
const MOST: usize = 64 << 10;

/// Those that wait, each with the alarm that ends its wait.
#[derive(Debug, Default)]
pub(crate) struct Calls(HashMap<Ticket, Option<Handle>>);

impl Calls {
    /// Notes a call; false where there are too many.
    pub(crate) fn open(&mut self, ticket: Ticket) -> bool {
        if self.0.len() >= MOST {
            return false;
        }
        self.0.insert(ticket, None);
        true
    }

    /// Does it still wait?
    pub(crate) fn waits(&self, ticket: Ticket) -> bool {
        self.0.contains_key(&ticket)
    }

    pub(crate) fn limit(&mut self, ticket: Ticket, alarm: Handle) {
        self.0.insert(ticket, Some(alarm));
    }

    /// It is answered; the alarm that is not needed any more.
    pub(crate) fn close(&mut self, ticket: Ticket) -> Option<Handle> {
        self.0.remove(&ticket).flatten()
    }

    /// Forgets all calls of a connection; their alarms.
    pub(crate) fn hang_up(&mut self, connection: u64) -> Vec<Handle> {
        let gone = self
            .0
            .extract_if(|ticket, _| ticket.connection == connection);
        gone.filter_map(|(_, alarm)| alarm).collect()
    }
}
