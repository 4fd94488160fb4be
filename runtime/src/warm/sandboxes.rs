//! A pool of sandboxes of one class.

use super::class::Class;
use super::parked::{Parked, Wanted};
use super::refiller::{Bell, Refill};
use crate::container::Found;
use crate::error::Result;
use crate::id::ContainerId;
use crate::prepare::Streams;
use crate::request::Request;
use crate::running::{Created, Running};
use crate::runtime::Runtime;
use crate::state::Status;
use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
        self.hand_out(id, request, |parked, wanted| {
            parked.create(&self.runtime, wanted)
        })
    }

    /// The same, and its program runs at once: one message to its process, where [`Sandboxes::take`]
    /// and [`Created::start`] are two, each answered.
    ///
    /// # Errors
    /// As [`Sandboxes::take`].
    pub fn run(&self, id: &ContainerId, request: Request) -> Result<Option<Running>> {
        self.hand_out(id, request, |parked, wanted| {
            parked.run(&self.runtime, wanted)
        })
    }

    /// The oldest that is any good becomes what is wanted. Who refills is woken after that, not to wake
    /// on the processor that the program is to run on.
    fn hand_out<T>(
        &self,
        id: &ContainerId,
        request: Request,
        become_it: impl Fn(Parked, &Wanted<'_>) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let made = self.first(id, request, become_it);
        self.bell.ring();
        made
    }

    fn first<T>(
        &self,
        id: &ContainerId,
        request: Request,
        become_it: impl Fn(Parked, &Wanted<'_>) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let mut said = self.class.hear(request)?;
        let streams = Streams::of(std::mem::take(&mut said.stdio))?;
        let wanted = Wanted {
            id,
            said: &said,
            streams: &streams,
        };
        loop {
            let taken = self.queue().pop_front();
            let Some(mut parked) = taken else {
                return Ok(None);
            };
            if !parked.is_fresh() {
                continue;
            }
            if let Err(error) = parked.rename(id) {
                self.put_back(parked);
                return Err(error);
            }
            if let Some(made) = become_it(parked, &wanted)? {
                return Ok(Some(made));
            }
        }
    }

    /// One that nobody has seen; but its place may be filled already.
    fn put_back(&self, parked: Parked) {
        let mut queue = self.queue();
        if queue.len() < self.bound {
            queue.push_front(parked);
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
            let id = ContainerId::new(&format!("{NAME}{:016x}-{}", self.mark, *next))?;
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

/// What sandboxes are called until they are taken.
const NAME: &str = "parked-";

/// How long a sandbox may be without a record, which is written within milliseconds.
const HALF_MADE: Duration = Duration::from_secs(10);

/// Removes what was parked by processes that are dead: their sandboxes have died with them, and left
/// their cgroups and their places in the state root.
fn sweep(runtime: &Runtime) -> Result<()> {
    for container in runtime.containers()? {
        let abandoned = match container.find() {
            Ok(Found::Unfinished(record)) => {
                record.parked && container.status_of_unfinished(&record) == Status::Stopped
            }
            Ok(Found::Nothing) => {
                let age = container.dir().age().unwrap_or_default();
                container.id().as_str().starts_with(NAME) && age > HALF_MADE
            }
            _ => false,
        };
        if abandoned {
            // Another may sweep at the same time.
            container.delete(true).map(drop).unwrap_or_default();
        }
    }
    Ok(())
}
