//! CDI, the Container Device Interface: devices that their vendors describe in files of the host, by
//! what they change in a container's config.
//!
//! ```no_run
//! use hostrun_runtime::cdi::{self, DeviceName};
//!
//! # fn main() -> Result<(), hostrun_runtime::Error> {
//! # let mut spec = hostrun_runtime::oci_spec::runtime::Spec::default();
//! let asked = [DeviceName::parse("vendor.com/gpu=0")?];
//! let devices = cdi::Devices::load(cdi::DIRS)?;
//! devices.inject(&asked, &mut spec)?;
//! # Ok(())
//! # }
//! ```
//!
//! Which devices a container gets is said by whoever starts it, by name: nothing here reads an image
//! or an annotation. The files say what root may do to a container, so they are read only where nobody
//! but root and the caller can write them. `docs/cdi.md` has the rules.

mod apply;
mod document;
mod files;
mod name;
mod version;

use crate::error::{Error, ErrorKind, Result};
use document::{Document, Edits};
pub use name::DeviceName;
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where vendors put their files. What is in a later directory goes before what is in an earlier one.
pub const DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Reads one file's text: pure, for any bytes.
///
/// # Errors
/// One sentence of what is wrong with it.
pub fn check(text: &[u8]) -> std::result::Result<(), String> {
    Document::parse(text).map(drop)
}

/// The devices that the files of some directories describe.
#[derive(Debug, Default)]
pub struct Devices {
    documents: Vec<Source>,
    found: BTreeMap<DeviceName, Found>,
    passed_over: Vec<(PathBuf, String)>,
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    /// The place of its directory in the list.
    rank: usize,
    document: Document,
}

/// Where a device is described.
#[derive(Debug)]
enum Found {
    /// In this document, at this place of its list.
    At(usize, usize),
    /// In several of equal rank.
    Often(Vec<usize>),
}

impl Devices {
    /// Reads the directories, those that exist. A file that cannot be used makes its own devices
    /// unknown and no others.
    ///
    /// # Errors
    /// What the kernel answers about a directory, or `Denied` for one that others may write to.
    pub fn load<P: AsRef<Path>>(dirs: impl IntoIterator<Item = P>) -> Result<Devices> {
        let mut devices = Devices::default();
        for (rank, dir) in dirs.into_iter().enumerate() {
            for (path, text) in files::read(dir.as_ref())? {
                match text.and_then(|text| Document::parse(&text)) {
                    Ok(document) => devices.add(Source {
                        path,
                        rank,
                        document,
                    }),
                    Err(why) => devices.passed_over.push((path, why)),
                }
            }
        }
        Ok(devices)
    }

    fn add(&mut self, source: Source) {
        let new = self.documents.len();
        let names = source.document.names();
        let rank = source.rank;
        self.documents.push(source);
        for (index, name) in names.into_iter().enumerate() {
            let here = Found::At(new, index);
            let Some(before) = self.found.remove(&name) else {
                self.found.insert(name, here);
                continue;
            };
            let mut places = match before {
                Found::At(document, _) => vec![document],
                Found::Often(documents) => documents,
            };
            let older = places.first().and_then(|place| self.documents.get(*place));
            let found = if older.is_some_and(|older| older.rank < rank) {
                here
            } else {
                places.push(new);
                Found::Often(places)
            };
            self.found.insert(name, found);
        }
    }

    /// Files that could not be used, with the reason.
    pub fn passed_over(&self) -> impl Iterator<Item = (&Path, &str)> {
        let files = self.passed_over.iter();
        files.map(|(path, why)| (path.as_path(), why.as_str()))
    }

    /// Changes a config as the devices say, in the order of their names. What a file says of all its
    /// devices comes once, before the first of them.
    ///
    /// # Errors
    /// `NotFound` for devices that no file describes, `InvalidSpec` for one that several files of one
    /// directory do, or that does not fit; the config is as it was then.
    pub fn inject(&self, names: &[DeviceName], spec: &mut Spec) -> Result<()> {
        let mut edits: Vec<&Edits> = Vec::new();
        let mut seen = Vec::new();
        let mut unknown = Vec::new();
        for name in names {
            match self.found.get(name) {
                None => unknown.push(name.to_string()),
                Some(Found::Often(documents)) => return Err(self.conflict(name, documents)),
                Some(Found::At(document, index)) => {
                    let Some(source) = self.documents.get(*document) else {
                        continue;
                    };
                    if !seen.contains(document) {
                        seen.push(*document);
                        edits.push(&source.document.edits);
                    }
                    edits.extend(source.document.devices.get(*index).map(|d| &d.edits));
                }
            }
        }
        if !unknown.is_empty() {
            return Err(self.unresolved(&unknown));
        }
        let mut changed = spec.clone();
        for edits in edits {
            apply::apply(edits, &mut changed)?;
        }
        *spec = changed;
        Ok(())
    }

    fn conflict(&self, name: &DeviceName, documents: &[usize]) -> Error {
        let sources = documents.iter().filter_map(|at| self.documents.get(*at));
        let paths: Vec<String> = sources
            .map(|source| source.path.display().to_string())
            .collect();
        Error::new(ErrorKind::InvalidSpec, "use CDI device", name.to_string())
            .because(format!("conflicting definitions in {}", paths.join(", ")))
    }

    fn unresolved(&self, names: &[String]) -> Error {
        let error = Error::new(ErrorKind::NotFound, "use CDI device", names.join(", "))
            .because("unresolvable CDI devices: no file describes them");
        let files = self.passed_over.iter();
        let files: Vec<String> = files
            .map(|(path, why)| format!("{}: {why}", path.display()))
            .collect();
        if files.is_empty() {
            error
        } else {
            error.with_hint(format!("passed over: {}", files.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests;
