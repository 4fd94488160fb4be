//! Who waits for whom: work on one thing is done in order, work on two at the same time.

use crate::crew::{Crew, Job};
use std::collections::{HashMap, VecDeque};
use std::fmt;

/// What a job works on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// A container: its making, start, changes and end.
    Container(String),
    /// A further process in it: its start.
    Exec(String, String),
    /// Looking at a container: statistics and processes. Behind nothing that changes it.
    Look(String),
    /// Killing all of it. Behind nothing else, either.
    Kill(String),
}

/// Lanes with somebody in them, and who waits in each.
#[derive(Default)]
pub(crate) struct Lanes(HashMap<Lane, VecDeque<Job>>);

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Lanes {
    /// Has the job done as soon as its lane is free.
    pub(crate) fn give(&mut self, crew: &Crew, lane: Lane, job: Job) {
        if let Some(waiting) = self.0.get_mut(&lane) {
            waiting.push_back(job);
        } else {
            self.0.insert(lane.clone(), VecDeque::new());
            crew.give(leaving(lane, job));
        }
    }

    /// The job that had the lane is done.
    fn free(&mut self, crew: &Crew, lane: Lane) {
        let waiting = self.0.get_mut(&lane);
        match waiting.and_then(VecDeque::pop_front) {
            Some(job) => crew.give(leaving(lane, job)),
            None => {
                self.0.remove(&lane);
            }
        }
    }
}

/// The job, and its lane left after it.
fn leaving(lane: Lane, job: Job) -> Job {
    Box::new(move || {
        let done = job();
        Box::new(move |shim| {
            done(shim);
            shim.lanes.free(&shim.crew, lane);
        })
    })
}
