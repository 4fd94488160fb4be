//! How slow an answer may be: a sender that lets a byte drip now and then would hold us forever.

use std::time::{Duration, Instant};

use crate::failure::{Again, Failure};

/// Bytes a second below which nothing is coming, to all intents.
const LEAST: u64 = 1024;

/// Watches one answer.
#[derive(Debug)]
pub(crate) struct Pace {
    patience: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    /// From now on.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// So many more bytes have come.
    pub(crate) fn came(&mut self, bytes: usize) -> Result<(), Failure> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        let passed = self.since.elapsed();
        if passed < self.patience {
            return Ok(());
        }
        let least = LEAST.saturating_mul(self.patience.as_secs().max(1));
        if self.bytes < least {
            let cause = format!("only {} bytes in {} s", self.bytes, passed.as_secs());
            return Err(Failure::network(cause).again(Again::Soon));
        }
        *self = Self::new(self.patience);
        Ok(())
    }
}
