//! Where layers are made: the part of a load that reads what strangers wrote.
//!
//! It needs a directory to work in and the open blobs, and nothing else of the store or the host; so
//! a caller who has a [`Cell`] to give can have it done in there.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;

use super::disk::Folder;
use super::lines::{Line, Meaning};
use super::record::{self, LayerRecord, PathBytes};
use super::side::{Seat, side_by_side};
use super::sums::{check, check_blob};
use crate::blobs::{Blobs, Bytes, Section};
use crate::candidate::LayerBlob;
use crate::cell::Cell;
use crate::decode::{LayerStream, digest_of, drain};
use crate::digest::{Algorithm, Digest};
use crate::driver::{DriverName, Job, Made, kept_name};
use crate::error::{At, Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::load::{Progress, Reporter};
use crate::registry::Claim;
use crate::unpack::Warnings;

/// Most bytes that a cell may tell: more than the names of directories that all layers may have.
const TOLD_MAX: u64 = 1 << 30;

/// The operation that fails where there can be no cell.
pub(super) const ENTER: &str = "enter";

/// A layer and what is to be done with it.
pub(super) struct Task<'a> {
    /// Its place among all.
    pub(super) number: usize,
    pub(super) layer: &'a LayerBlob,
    /// The blob; none for one that is still to come.
    pub(super) held: Option<Section>,
    pub(super) manner: Manner,
    /// Whether two threads work at it.
    pub(super) apart: bool,
    /// A directory of the place that is not there yet.
    pub(super) name: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Unpacked.
    New,
    /// The store has it, and knows that this blob, read this way, gives it.
    Marked,
    /// The store or this load has it.
    Known,
}

/// A layer that was unpacked.
#[derive(Debug)]
pub(super) struct Product {
    /// Its directory in the place.
    pub(super) name: String,
    pub(super) form: DriverName,
    pub(super) record: LayerRecord,
    /// Directories that are to hide the lower layers' ones.
    pub(super) opaque: Vec<Vec<u8>>,
    pub(super) warnings: Warnings,
}

/// What is told meanwhile about the task of a number.
#[derive(Debug)]
pub(super) enum Tale {
    Started,
    Warning(String),
    /// So many bytes of its blob are here.
    Fetched(u64),
    /// The registry is asked again after so long, and why.
    Waiting(Duration, String),
    Done,
}

impl Tale {
    /// What a stream says while it is read.
    fn of(progress: &Progress<'_>) -> Option<Self> {
        match *progress {
            Progress::Fetched { bytes, .. } => Some(Self::Fetched(bytes)),
            Progress::Waiting { pause, cause, .. } => Some(Self::Waiting(pause, cause.to_owned())),
            _ => None,
        }
    }
}

/// Whom lines are told; clones tell the same.
#[derive(Clone)]
struct Teller(Arc<Mutex<File>>);

impl Teller {
    fn say(&self, line: &Line) {
        if let Ok(mut sink) = self.0.lock() {
            // Nobody listens any more: the process will not be needed long.
            line.write(&mut *sink).unwrap_or_default();
        }
    }
}

/// The work itself.
#[derive(Clone, Copy)]
pub(super) struct Bench<'a> {
    pub(super) place: &'a Path,
    /// What new layers become.
    pub(super) form: DriverName,
    pub(super) limits: &'a Limits,
    pub(super) blobs: &'a Blobs,
    /// Threads, where they wait for others.
    pub(super) least: usize,
    /// Whom the stream of a task's blob tells how far it is.
    pub(super) reporter: &'a (dyn Fn(usize) -> Reporter + Sync),
}

impl Bench<'_> {
    /// Does all tasks here, side by side.
    pub(super) fn run(
        &self,
        tasks: &[Task<'_>],
        tell: &(dyn Fn(usize, Tale) + Sync),
    ) -> Result<Vec<Option<Product>>> {
        let numbers: Vec<usize> = (0..tasks.len()).collect();
        let act = |number: &usize, seat| match tasks.get(*number) {
            Some(task) => self.task(task, seat, &|tale| tell(*number, tale)),
            None => Ok(None),
        };
        side_by_side(&numbers, self.least, &act)
    }

    /// Does all tasks in a cell.
    pub(super) fn run_in(
        &self,
        cell: &dyn Cell,
        tasks: &[Task<'_>],
        tell: &dyn Fn(usize, Tale),
    ) -> Result<Vec<Option<Product>>> {
        let claims = self.claims(tasks);
        let mut kept: Vec<BorrowedFd<'_>> = {
            let held = tasks.iter().filter_map(|task| task.held.as_ref());
            held.map(Section::fd).collect()
        };
        if let Blobs::Registry(arrivals) = self.blobs {
            kept.push(arrivals.registry().fd());
            kept.extend(claims.iter().map(|claim| claim.fd()));
        }
        let mut inside = |place: &Path, sink: File| {
            self.work_for(&Teller(Arc::new(Mutex::new(sink))), place, tasks);
        };
        let (mut products, mut refused) = (Vec::new(), None);
        let mut outside = |source: &mut dyn Read| {
            let mut source = BufReader::new(source.take(TOLD_MAX));
            while let Some(line) = Line::read(&mut source) {
                match line.meaning() {
                    Some(Meaning::Tale(number, tale)) if number < tasks.len() => tell(number, tale),
                    Some(Meaning::Product(product)) => products.push(product.map(|one| *one)),
                    Some(Meaning::Error(error)) => refused = Some(error),
                    _ => return,
                }
            }
        };
        let ran = cell.run(self.place, &kept, &mut inside, &mut outside);
        let failed = |error: std::io::Error| {
            if error.kind() == std::io::ErrorKind::Unsupported {
                let cause = error.to_string();
                return Error::new(ErrorKind::Unsupported, ENTER, "a process of its own", cause);
            }
            Error::from_io("unpack", "layers".to_owned(), error)
        };
        let fits = |(task, product): (&Task<'_>, &Option<Product>)| match product {
            Some(product) => product.record.diff_id == task.layer.diff_id,
            None => task.manner != Manner::New,
        };
        match (ran, refused) {
            (_, Some(error)) => Err(error),
            (Err(error), None) => Err(failed(error)),
            (Ok(()), None) => {
                if products.len() == tasks.len() && tasks.iter().zip(&products).all(fits) {
                    return Ok(products);
                }
                let cause = "the process that did it said nothing sensible";
                Err(Error::corrupt("unpack", "layers", cause))
            }
        }
    }

    /// The rights to fetch what is still to come.
    fn claims(&self, tasks: &[Task<'_>]) -> Vec<Arc<Claim>> {
        let Blobs::Registry(arrivals) = self.blobs else {
            return Vec::new();
        };
        let layers = tasks.iter().map(|task| task.layer);
        layers
            .filter_map(|layer| arrivals.claim_of(layer))
            .collect()
    }

    /// Does all tasks here, for somebody who gets lines.
    fn work_for(&self, teller: &Teller, place: &Path, tasks: &[Task<'_>]) {
        // Streams tell for themselves how far they are.
        let reporter = |number: usize| {
            let teller = teller.clone();
            Reporter::new(move |progress| {
                if let Some(tale) = Tale::of(progress) {
                    teller.say(&Line::tale(number, tale));
                }
            })
        };
        let bench = Bench {
            place,
            reporter: &reporter,
            ..*self
        };
        match bench.run(tasks, &|number, tale| teller.say(&Line::tale(number, tale))) {
            Ok(products) => {
                let lines = products.into_iter().map(Line::product);
                lines.for_each(|line| teller.say(&line));
            }
            Err(error) => teller.say(&Line::error(error)),
        }
    }

    fn task(&self, task: &Task<'_>, seat: Seat, tell: &dyn Fn(Tale)) -> Result<Option<Product>> {
        tell(Tale::Started);
        let act = || match task.manner {
            Manner::New => self.unpack(task, seat, tell).map(Some),
            Manner::Marked => self.check_marked(task).map(|()| None),
            Manner::Known => self.verify(task).map(|()| None),
        };
        let done = match self.blobs {
            Blobs::Registry(arrivals) => arrivals.resumed(task.layer, act),
            _ => act(),
        };
        let done = done.map_err(|error| error.within(&label(task.layer)))?;
        tell(Tale::Done);
        Ok(done)
    }

    /// A layer we have: the blob must still be what its descriptor says, and must still give this
    /// diffID, or a warm store would take what a fresh one refuses.
    fn verify(&self, task: &Task<'_>) -> Result<()> {
        let mut stream = self.stream(task)?;
        drain(&mut stream).map_err(|error| Error::from_io("read", String::new(), error))?;
        check(task.layer, &stream.finish()?)
    }

    fn unpack(&self, task: &Task<'_>, seat: Seat, tell: &dyn Fn(Tale)) -> Result<Product> {
        let (name, folder) = self.fresh_folder(&task.name)?;
        let mut form = self.form;
        let mut made = self.make(form, task, seat, &folder)?;
        if let Made::Odd(why) = made {
            tell(Tale::Warning(format!("it becomes a directory: {why}")));
            form = DriverName::Dirs;
            made = self.make(form, task, seat, &folder)?;
        }
        let Made::Layer(unpacked) = made else {
            return Err(Error::corrupt("unpack", "", "it has no form"));
        };
        if !unpacked.straight {
            self.keep_blob(task, &folder)?;
        }
        Ok(Product {
            name,
            form,
            record: LayerRecord {
                version: record::version(),
                diff_id: task.layer.diff_id.clone(),
                entries: unpacked.entries,
                bytes: unpacked.bytes,
                root: unpacked.root,
                opaque_root: unpacked.opaque_root,
                implied: unpacked.implied.into_iter().map(PathBytes).collect(),
            },
            opaque: unpacked.opaque,
            warnings: unpacked.warnings,
        })
    }

    /// Unpacks a layer into one form and checks what it came to.
    fn make(&self, form: DriverName, task: &Task<'_>, seat: Seat, folder: &Folder) -> Result<Made> {
        let (_, scrap) = self.fresh_folder(&format!("{}-", task.name))?;
        let mut stream = self.stream(task)?;
        let job = Job {
            folder,
            scrap: &scrap,
            diff_id: &task.layer.diff_id,
            seat,
            limits: self.limits,
        };
        let made = form.driver().unpack(&mut stream, &job)?;
        check(task.layer, &stream.finish()?)?;
        Ok(made)
    }

    /// A directory that is not there yet: a layer may have to be made more than once.
    fn fresh_folder(&self, name: &str) -> Result<(String, Folder)> {
        let mut name = name.to_owned();
        loop {
            let path = self.place.join(&name);
            match rustix::fs::mkdir(&path, Mode::RWXU) {
                Ok(()) => return Ok((name, Folder::open(path)?)),
                Err(Errno::EXIST) => name.push('+'),
                Err(errno) => return Err(errno).at("make directory", path),
            }
        }
    }

    fn bytes(&self, task: &Task<'_>) -> Result<Bytes> {
        if let Some(section) = &task.held {
            return Ok(Bytes::Held(section.clone()));
        }
        let reporter = (self.reporter)(task.number);
        self.blobs.open_layer(task.layer, &reporter)
    }

    fn check_marked(&self, task: &Task<'_>) -> Result<()> {
        let algorithm = task.layer.digest.as_ref().map(Digest::algorithm);
        let algorithm = algorithm.unwrap_or(Algorithm::Sha256);
        let (found, size) = digest_of(self.bytes(task)?, algorithm)
            .map_err(|error| Error::from_io("read", String::new(), error))?;
        check_blob(task.layer, &found, size)
    }

    /// A directory that has not all its tar had cannot give it back: the blob itself is kept.
    fn keep_blob(&self, task: &Task<'_>, folder: &Folder) -> Result<()> {
        folder.unlink("recipe")?;
        let name = kept_name(task.layer.compression);
        let mut file = folder.create(name)?;
        let copied = std::io::copy(&mut self.bytes(task)?, &mut file);
        copied.map(drop).at("write", folder.path().join(name))
    }

    fn stream(&self, task: &Task<'_>) -> Result<LayerStream<Bytes>> {
        let (layer, blob) = (task.layer, self.bytes(task)?);
        if let Some(announced) = blob.length().filter(|length| *length != layer.size) {
            let cause = format!("{announced} bytes, {} announced", layer.size);
            return Err(Error::corrupt("verify", "", cause));
        }
        let outer = layer
            .digest
            .as_ref()
            .map_or(Algorithm::Sha256, Digest::algorithm);
        let algorithms = (outer, layer.diff_id.algorithm());
        let compression = layer.compression;
        let stream = LayerStream::new(blob, layer.size, compression, algorithms, self.limits)?;
        Ok(if task.apart { stream.apart() } else { stream })
    }
}

/// A layer as messages call it.
pub(super) fn label(layer: &LayerBlob) -> String {
    match &layer.digest {
        Some(digest) => format!("layer {digest}"),
        None => format!("layer {}", layer.diff_id),
    }
}
