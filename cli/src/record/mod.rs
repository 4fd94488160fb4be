//! What hostrun knows of the containers it made from images: a directory each, below the store.
//!
//! ```text
//! records/ids/ID               locked by whoever waits for the container
//! records/ids/ID/meta.json     what was asked for; written once
//! records/ids/ID/config.json   the OCI configuration; written once
//! records/ids/ID/status.json   how far it is; replaced as a whole
//! records/ids/ID/log           what a detached container wrote
//! records/names/NAME -> ID     a link, so that taking a name is one atomic step
//! ```
//!
//! The status on disk is what the one who waits wrote last; whether the container really runs is asked of the runtime.

mod entry;
mod names;

pub(crate) use entry::{Attendance, Meta, Phase, Record, Status};

use crate::report::Failure;
use anyhow::{Context, Result};
use rustix::fs::Mode;
use rustix::io::Errno;
use std::io::Read;
use std::path::{Path, PathBuf};

/// How much of an id is shown.
pub(crate) const SHORT: usize = 12;

/// All records of a store.
#[derive(Debug)]
pub(crate) struct Records {
    dir: PathBuf,
    names: PathBuf,
}

impl Records {
    /// The records below a store's directory, which need not exist yet.
    pub(crate) fn of(store: &Path) -> Self {
        let records = store.join("records");
        Self {
            dir: records.join("ids"),
            names: records.join("names"),
        }
    }

    /// Makes an empty record under a fresh id, and takes the name if there is one.
    ///
    /// # Errors
    /// When the name is malformed or taken, or the store cannot be written.
    pub(crate) fn create(&self, name: Option<&str>) -> Result<Record> {
        for dir in [&self.dir, &self.names] {
            make_private(dir)?;
        }
        let id = fresh_id()?;
        let dir = self.dir.join(&id);
        if let Some(name) = name {
            names::check(name)?;
        }
        rustix::fs::mkdir(&dir, Mode::RWXU)
            .with_context(|| format!("cannot create '{}'", dir.display()))?;
        // After the directory: a name whose holder has none is free for the taking.
        let named = name.map_or(Ok(()), |name| {
            names::take(&self.names, &self.dir, name, &id)
        });
        if let Err(error) = named {
            rustix::fs::rmdir(&dir)
                .with_context(|| format!("cannot remove '{}'", dir.display()))?;
            return Err(error);
        }
        Ok(Record::new(id, dir))
    }

    /// Forgets a record and its name. What is gone already is no error.
    ///
    /// # Errors
    /// When the directory cannot be removed.
    pub(crate) fn remove(&self, record: &Record, name: Option<&str>) -> Result<()> {
        match std::fs::remove_dir_all(record.dir()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("cannot remove '{}'", record.dir().display()));
            }
            _ => {}
        }
        if let Some(name) = name {
            names::release(&self.names, name, record.id());
        }
        Ok(())
    }

    /// Gives back a name that was taken for a record which was never completed.
    pub(crate) fn release(&self, name: &str, id: &str) {
        names::release(&self.names, name, id);
    }

    /// Every record.
    ///
    /// # Errors
    /// When the directory is there but cannot be read.
    pub(crate) fn all(&self) -> Result<Vec<Record>> {
        Ok(self.ids()?.into_iter().map(|id| self.at(id)).collect())
    }

    /// The record a person means: a name, an id, or the beginning of one id only. `None` when nothing fits.
    ///
    /// # Errors
    /// When the beginning fits several ids.
    pub(crate) fn find(&self, reference: &str) -> Result<Option<Record>> {
        let ids = self.ids()?;
        if let Some(id) = ids.iter().find(|id| *id == reference) {
            return Ok(Some(self.at(id.clone())));
        }
        if let Some(id) = names::lookup(&self.names, reference)
            && ids.contains(&id)
        {
            return Ok(Some(self.at(id)));
        }
        let fits: Vec<&String> = ids
            .iter()
            .filter(|id| !reference.is_empty() && id.starts_with(reference))
            .collect();
        match fits.as_slice() {
            [] => Ok(None),
            [id] => Ok(Some(self.at((*id).clone()))),
            several => {
                let failure = Failure::new(format!(
                    "'{reference}' is the beginning of {} container ids",
                    several.len()
                ));
                Err(failure.hint("write more of the id").into())
            }
        }
    }

    fn at(&self, id: String) -> Record {
        let dir = self.dir.join(&id);
        Record::new(id, dir)
    }

    fn ids(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot list '{}'", self.dir.display()));
            }
        };
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut ids: Vec<String> = names.filter(|name| is_id(name)).collect();
        ids.sort_unstable();
        Ok(ids)
    }
}

/// Makes a directory that nobody else may enter, with its parents.
pub(crate) fn make_private(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(dir)
        .with_context(|| format!("cannot create '{}'", dir.display()))
}

fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// 64 hexadecimal digits out of the kernel's random numbers.
fn fresh_id() -> Result<String> {
    let mut bytes = [0_u8; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Ok(digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect())
}

/// Whether an error says that something is not there.
pub(crate) fn is_missing(errno: Errno) -> bool {
    errno == Errno::NOENT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> (tempfile::TempDir, Records) {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::of(dir.path());
        (dir, records)
    }

    fn meta(name: Option<&str>) -> Meta {
        Meta {
            name: name.map(str::to_owned),
            image: "busybox".to_owned(),
            ..Meta::default()
        }
    }

    #[test]
    fn a_name_whose_container_is_gone_is_free() {
        let (_dir, records) = records();
        let record = records.create(Some("web")).unwrap();
        assert!(records.create(Some("web")).is_err(), "taken");
        // As after a kill between two steps: no meta.json that would tell the name.
        std::fs::remove_dir_all(record.dir()).unwrap();
        let other = records.create(Some("web")).unwrap();
        assert_eq!(records.find("web").unwrap().unwrap().id(), other.id());
    }

    #[test]
    fn containers_are_found_by_name_id_and_unique_beginning() {
        let (_dir, records) = records();
        let record = records.create(Some("web")).unwrap();
        record.write_meta(&meta(Some("web"))).unwrap();
        for reference in ["web", record.id(), &record.id()[..10]] {
            assert_eq!(
                records.find(reference).unwrap().unwrap().id(),
                record.id(),
                "{reference}"
            );
        }
        assert!(records.find("").unwrap().is_none());
        assert!(records.find("nobody").unwrap().is_none());
    }

    #[test]
    fn a_name_is_taken_once_and_free_after_removal() {
        let (_dir, records) = records();
        let record = records.create(Some("web")).unwrap();
        record.write_meta(&meta(Some("web"))).unwrap();
        let told = crate::report::Told::of(&records.create(Some("web")).unwrap_err());
        assert!(told.message.contains("'web' is in use"), "{}", told.message);
        records.remove(&record, Some("web")).unwrap();
        records.create(Some("web")).unwrap();
    }

    #[test]
    fn names_that_could_be_paths_are_refused() {
        let (_dir, records) = records();
        for name in ["", "..", "a/b", "-a", "a b", ".a", &"x".repeat(300)] {
            assert!(records.create(Some(name)).is_err(), "{name}");
        }
        assert!(records.all().unwrap().is_empty());
    }

    #[test]
    fn a_status_is_replaced_as_a_whole() {
        let (_dir, records) = records();
        let record = records.create(None).unwrap();
        assert_eq!(record.status().unwrap().phase, Phase::Created);
        let status = Status {
            phase: Phase::Exited,
            exit_code: Some(3),
            ..Status::default()
        };
        record.write_status(&status).unwrap();
        assert_eq!(record.status().unwrap(), status);
        assert!(!record.dir().join("status.json.new").exists());
    }

    #[test]
    fn a_status_that_a_power_cut_made_nothing_of_is_none() {
        let (_dir, records) = records();
        let record = records.create(None).unwrap();
        let file = record.dir().join("status.json");
        for text in [&b""[..], &[0; 40]] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(record.status().unwrap(), Status::default());
        }
        std::fs::write(&file, "{").unwrap();
        assert!(record.status().is_err());
    }

    #[test]
    fn attendance_is_exclusive_and_ends_with_its_holder() {
        let (_dir, records) = records();
        let record = records.create(None).unwrap();
        let attendance = record.attend().unwrap();
        assert!(record.is_attended().unwrap());
        drop(attendance);
        assert!(!record.is_attended().unwrap());
    }
}
