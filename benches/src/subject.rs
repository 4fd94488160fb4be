//! What is measured: a runtime with a state directory of its own, or the floor.

use crate::place::{Kind, Payload, Place};
use crate::spawner::{Ending, Spawner};
use anyhow::{Context as _, Result, bail};
use hostrun_integration::cgroup;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a subject is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As runc is.
    Oci,
    /// As `native/floor.c` says.
    Floor,
}

/// What a subject is asked to do with a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Run,
    Create,
    Start,
    State,
    Exec,
    Kill,
    Delete,
}

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Verb::Run => "run",
            Verb::Create => "create",
            Verb::Start => "start",
            Verb::State => "state",
            Verb::Exec => "exec",
            Verb::Kill => "kill",
            Verb::Delete => "delete",
        }
    }
}

/// A runtime or the floor.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    manner: Manner,
    root: PathBuf,
}

/// One container of a subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Container {
    pub(crate) kind: Kind,
    /// Tells it from the others of the same kind.
    pub(crate) number: usize,
}

impl Container {
    fn id(self) -> String {
        format!("bench-{}", self.number)
    }
}

impl Subject {
    /// A runtime, by any name.
    pub(crate) fn new(name: &str, program: &Path, manner: Manner, place: &Place) -> Subject {
        Subject {
            name: name.to_owned(),
            program: program.to_owned(),
            manner,
            root: place.dir().join(format!("state-{name}")),
        }
    }

    /// Whether it is the floor.
    pub(crate) fn is_floor(&self) -> bool {
        self.manner == Manner::Floor
    }

    /// The command line of a verb.
    pub(crate) fn words(
        &self,
        place: &Place,
        verb: Verb,
        container: Container,
    ) -> Result<Vec<OsString>> {
        let id = OsString::from(container.id());
        let exit = OsString::from(Payload::Exit.path());
        let name: OsString = verb.name().into();
        let mut words = vec![self.program.clone().into_os_string()];
        if self.manner == Manner::Floor {
            words.extend([self.root.clone().into_os_string(), name, id]);
            let filter = if container.kind.filtered {
                place.filter_file().into_os_string()
            } else {
                "-".into()
            };
            match verb {
                Verb::Run | Verb::Create => {
                    let group = place.cgroup_of(&self.name, container.number);
                    let program = container.kind.payload.path().into();
                    let root = place.rootfs().into_os_string();
                    words.extend([root, cgroup::dir(&group).into_os_string(), filter, program]);
                }
                Verb::Exec => words.extend([filter, exit]),
                _ => {}
            }
            return Ok(words);
        }
        words.extend(["--root".into(), self.root.clone().into_os_string(), name]);
        match verb {
            Verb::Run | Verb::Create => {
                let bundle = place.bundle(&self.name, container.kind, container.number)?;
                words.extend(["--bundle".into(), bundle.into_os_string(), id]);
            }
            Verb::Exec => words.extend([id, exit]),
            Verb::Kill => words.extend([id, "KILL".into()]),
            _ => words.push(id),
        }
        Ok(words)
    }

    /// Does it, timed.
    pub(crate) fn act(
        &self,
        place: &Place,
        spawner: &mut Spawner,
        verb: Verb,
        container: Container,
    ) -> Result<Ending> {
        let words = self.words(place, verb, container)?;
        let ending = spawner.run(&words)?;
        if let Ending::Done(_) = ending {
            return Ok(ending);
        }
        self.tidy(place, container)?;
        Ok(ending)
    }

    /// Does it, and explains a failure.
    pub(crate) fn must(
        &self,
        place: &Place,
        spawner: &mut Spawner,
        verb: Verb,
        container: Container,
    ) -> Result<()> {
        match self.act(place, spawner, verb, container)? {
            Ending::Done(_) => Ok(()),
            Ending::Hung => bail!("{} {}: hangs", self.name, verb.name()),
            Ending::Failed(code) => {
                bail!("{} {}: {code}: {}", self.name, verb.name(), spawner.said())
            }
        }
    }

    /// Takes away what a container that failed or hung has left.
    pub(crate) fn tidy(&self, place: &Place, container: Container) -> Result<()> {
        cgroup::remove(&place.cgroup_of(&self.name, container.number))?;
        let state = self.root.join(container.id());
        if state.exists() {
            fs::remove_dir_all(state)?;
        }
        Ok(())
    }

    /// Forgets all containers.
    pub(crate) fn forget(&self) -> Result<()> {
        match fs::remove_dir_all(&self.root) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Removes what it keeps of filters it has compiled, so that the next start is as the first after
    /// boot.
    pub(crate) fn clear_cache(&self) -> Result<()> {
        // crun's, and ours, below the state root
        for name in [".cache", "@filters"] {
            let cache = self.root.join(name);
            match fs::remove_dir_all(&cache) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).context(format!("remove {}", cache.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What it says of itself, in a line.
    pub(crate) fn version(&self) -> String {
        if self.manner == Manner::Floor {
            return "benches/native/floor.c".to_owned();
        }
        let said = Command::new(&self.program).arg("--version").output();
        let text = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
        let text = text.unwrap_or_default();
        text.lines().next().unwrap_or("unknown").to_owned()
    }

    /// What loads it: nobody, or the dynamic linker of a C library.
    pub(crate) fn libc(&self) -> String {
        interpreter(&self.program).map_or_else(
            || "static".to_owned(),
            |loader| {
                let name = Path::new(&loader).file_name().map(OsStr::to_string_lossy);
                format!("dynamic, by {}", name.unwrap_or_default())
            },
        )
    }
}

/// The path in the `PT_INTERP` segment of an ELF file.
fn interpreter(program: &Path) -> Option<String> {
    const PT_INTERP: u32 = 3;
    let file = fs::File::open(program).ok()?;
    let mut header = [0_u8; 4096];
    let size = file.read_at(&mut header, 0).ok()?;
    let header = header.get(..size)?;
    let word = |at: usize, length: usize| -> Option<usize> {
        let bytes = header.get(at..at.checked_add(length)?)?;
        let number = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        usize::try_from(bytes.iter().rev().fold(0, number)).ok()
    };
    let (table, each, count) = (word(32, 8)?, word(54, 2)?, word(56, 2)?);
    let mut segments = (0..count).map(|index| table + index * each);
    let segment = segments.find(|at| word(*at, 4) == usize::try_from(PT_INTERP).ok())?;
    let (offset, length) = (word(segment + 8, 8)?, word(segment + 32, 8)?);
    let mut path = vec![0_u8; length.min(4096)];
    let offset = u64::try_from(offset).ok()?;
    file.read_exact_at(&mut path, offset).ok()?;
    Some(
        String::from_utf8_lossy(&path)
            .trim_end_matches('\0')
            .to_owned(),
    )
}

/// The program of this name in the folder of peers, on PATH, or where Debian keeps programs of root.
pub(crate) fn find(name: &str, peers: Option<&Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    let folders = peers.map(Path::to_owned).into_iter();
    let folders = folders.chain(std::env::split_paths(&path)).chain(debian);
    folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_program_has_no_interpreter_and_a_shell_has_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("exit");
        fs::write(&file, hostrun_integration::elf::exit(0)).expect("a file");
        assert_eq!(interpreter(&file), None);
        let shell = interpreter(Path::new("/bin/sh")).expect("a dynamic shell");
        assert!(shell.contains("ld-"), "{shell}");
    }
}
