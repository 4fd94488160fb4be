//! A pool of sandboxes of one class.

use super::class::Class;
use super::parked::Parked;
use super::refiller::{Bell, Refill};
use crate::container::Found;
use crate::error::Result;
use crate::id::ContainerId;
use crate::prepare::Streams;
use crate::request::Request;
use crate::running::Created;
use crate::runtime::Runtime;
use crate::state::Status;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Roots = dyn Fn() -> Result<OwnedFd> + Send + Sync;

/// Containers that stand complete, each parked before `execve(2)`, without an id and without a program.
///
/// All are made from one request. What a start may still say is its id, `process.args`, `process.env`,
/// annotations, standard streams and the last part of `linux.cgroupsPath`; whatever else differs is
/// refused by its JSON path. Each is used for one container and then gone, as any container is.
///
/// They die with the process that holds this, or when this is dropped. One that was taken is an ordinary
/// created container, which outlives its maker.
pub struct Sandboxes {
    runtime: Runtime,
    class: Class,
    bound: usize,
    roots: Option<Box<Roots>>,
    ready: Mutex<VecDeque<Parked>>,
    /// Held by the one who fills, with the number of the next: two would pass the bound.
    next: Mutex<u64>,
    /// No other pool names its sandboxes so.
    mark: u64,
    bell: Bell,
}

impl fmt::Debug for Sandboxes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandboxes")
            .field("bound", &self.bound)
            .field("ready", &self.ready())
            .finish_non_exhaustive()
    }
}

impl Sandboxes {
    /// An empty pool that never holds more than `bound`. Its sandboxes share the root of the spec, which
    /// must be read-only. What pools of processes that died have left in the state root is removed.
    ///
    /// # Errors
    /// `InvalidSpec` or `Unsupported`, with the JSON path of each thing that a parked sandbox cannot
    /// have.
    pub fn new(runtime: &Runtime, request: Request, bound: usize) -> Result<Sandboxes> {
        Sandboxes::of(runtime, request, bound, None)
    }

    /// The same, where each sandbox gets a root of its own: a detached mount that `roots` makes and
    /// nobody else has.
    ///
    /// # Errors
    /// As [`Sandboxes::new`].
    pub fn with_roots(
        runtime: &Runtime,
        request: Request,
        bound: usize,
        roots: impl Fn() -> Result<OwnedFd> + Send + Sync + 'static,
    ) -> Result<Sandboxes> {
        Sandboxes::of(runtime, request, bound, Some(Box::new(roots)))
    }

    fn of(
        runtime: &Runtime,
        request: Request,
        bound: usize,
        roots: Option<Box<Roots>>,
    ) -> Result<Sandboxes> {
        let class = Class::new(runtime, request, roots.is_some())?;
        sweep(runtime)?;
        Ok(Sandboxes {
            runtime: runtime.clone(),
            class,
            bound,
            roots,
            ready: Mutex::default(),
            next: Mutex::default(),
            mark: RandomState::new().hash_one(std::process::id()),
            bell: Bell::default(),
        })
    }

    /// How many wait.
    pub fn ready(&self) -> usize {
        self.queue().len()
    }

    /// Makes one of them the container `id`, which then waits for its start; `None` where none is ready,
    /// and the caller starts cold. One that died, or whose sources on the host are not what they were,
    /// is thrown away on the way.
    ///
    /// # Errors
    /// `InvalidSpec` with the JSON path of each thing that may not differ; `AlreadyExists`;
    /// `ExecNotFound` or `ExecDenied` where the program cannot run.
    pub fn take(&self, id: &ContainerId, request: Request) -> Result<Option<Created>> {
        let mut said = self.class.hear(request)?;
        let streams = Streams::of(std::mem::take(&mut said.stdio))?;
        loop {
            let taken = self.queue().pop_front();
            self.bell.ring();
            let Some(mut parked) = taken else {
                return Ok(None);
            };
            if !parked.is_fresh() {
                continue;
            }
            if let Err(error) = parked.rename(id) {
                let mut queue = self.queue();
                // Nobody has seen it; but its place may be filled already.
                if queue.len() < self.bound {
                    queue.push_front(parked);
                }
                return Err(error);
            }
            let created = parked.become_container(&self.runtime, id, &said, &streams)?;
            if created.is_some() {
                return Ok(created);
            }
        }
    }

    /// Throws away all that wait: what they were made of has changed where nobody but the caller knows.
    pub fn discard(&self) {
        let all = std::mem::take(&mut *self.queue());
        self.bell.ring();
        drop(all);
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Parked>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refill for Sandboxes {
    fn refill(&self) -> Result<usize> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = self.bound.saturating_sub(self.ready());
        for _ in 0..missing {
            let root = self.roots.as_ref().map(|roots| roots()).transpose()?;
            let id = ContainerId::new(&format!("parked-{:016x}-{}", self.mark, *next))?;
            *next += 1;
            let parked = Parked::make(&self.runtime, &self.class, &id, root)?;
            self.queue().push_back(parked);
        }
        Ok(missing)
    }

    fn bell(&self) -> &Bell {
        &self.bell
    }
}

/// Removes what was parked by processes that are dead: their sandboxes have died with them, and left
/// their cgroups and their places in the state root.
fn sweep(runtime: &Runtime) -> Result<()> {
    for container in runtime.containers()? {
        let Ok(Found::Unfinished(record)) = container.find() else {
            continue;
        };
        let dead = container.status_of_unfinished(&record) == Status::Stopped;
        if record.parked && dead {
            // Another may sweep at the same time.
            container.delete(true).map(drop).unwrap_or_default();
        }
    }
    Ok(())
}
