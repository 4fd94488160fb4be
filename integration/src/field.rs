//! The field an attack is fought on: one runtime, and what of the machine must not be touched.
//!
//! The runtime is a copy, so that one that loses its binary to a container loses only that. A
//! victim folder plays the machine's files; its digest, the mount table, devices and settings of
//! the kernel are compared before and after.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::runtime::{Call, Outcome, PATIENCE};
use crate::{Bundle, Container, Runtime, Stage, host, program};

/// What a container must never see; every file of the victim folder that is worth reading holds it.
pub const SECRET: &str = "the machine's";

/// An attack of the corpus.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Its first CVE or advisory, and in a word what is attacked.
    pub name: &'static str,
    /// How it works, in a line.
    pub how: &'static str,
    /// Builds the bundle and uses it.
    pub fight: fn(&Field) -> Result<Saw>,
}

/// What an attack came to, as far as the attacker can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saw {
    /// The runtime did not run it.
    Refused,
    /// It ran and reached nothing.
    Contained,
    /// It got through; what it reached.
    Through(String),
}

impl Saw {
    /// Through where `bad`, and contained otherwise.
    pub fn through_if(bad: bool, what: impl FnOnce() -> String) -> Self {
        if bad {
            Self::Through(what())
        } else {
            Self::Contained
        }
    }
}

/// A runtime, and what it has to guard.
#[derive(Debug)]
pub struct Field {
    stage: Stage,
    runtime: Runtime,
    _copy: tempfile::TempDir,
}

impl Field {
    /// A field for a runtime.
    ///
    /// # Errors
    /// When the machine is not prepared for root tests.
    pub fn new(original: &Runtime) -> Result<Self> {
        let copy = tempfile::Builder::new().prefix("evil-").tempdir()?;
        let runtime = original.copy_to(copy.path())?;
        let stage = Stage::new(runtime.clone())?;
        let field = Self {
            stage,
            runtime,
            _copy: copy,
        };
        let victim = field.victim();
        fs::create_dir_all(victim.join("sub"))?;
        fs::write(victim.join("secret"), format!("{SECRET}\n"))?;
        for name in [
            "null", "console", "ptmx", "pts", "shm", "sys", "self", "fuse",
        ] {
            fs::write(victim.join(name), "")?;
        }
        let script = format!("#!/bin/sh\necho {SECRET}\n");
        program::write(&victim.join("evil"), 0o755, script)?;
        Ok(field)
    }

    /// The stage below.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// A folder of the machine that no container may read or change.
    pub fn victim(&self) -> PathBuf {
        self.stage.dir().join("victim")
    }

    /// A path inside the victim folder.
    pub fn in_victim(&self, name: &str) -> PathBuf {
        self.victim().join(name)
    }

    /// A bundle that says so when it runs.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn bundle(&self) -> Result<Bundle> {
        Ok(self.stage.bundle()?.shell("echo started"))
    }

    /// A bundle whose /dev is what the image has there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn bundle_without_dev(&self) -> Result<Bundle> {
        Ok(["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"]
            .into_iter()
            .fold(self.bundle()?, Bundle::without_mount))
    }

    /// A folder that the container shares with the attacker.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn volume(&self) -> Result<PathBuf> {
        self.stage.folder("volume")
    }

    /// Replaces a file or folder of an image by a symbolic link.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn replace(&self, bundle: &Bundle, path: &str, link: impl AsRef<Path>) -> Result<()> {
        let place = bundle.rootfs().join(path);
        match fs::symlink_metadata(&place) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&place)?,
            Ok(_) => fs::remove_file(&place)?,
            Err(_) => fs::create_dir_all(place.parent().unwrap_or(&place))?,
        }
        Ok(symlink(link, place)?)
    }

    /// Runs a bundle to its end.
    ///
    /// # Errors
    /// When the runtime hangs.
    pub fn run(&self, bundle: &Bundle) -> Result<Outcome> {
        self.run_call(bundle)?.run()
    }

    /// The same, about to run.
    ///
    /// # Errors
    /// When config.json cannot be written.
    pub fn run_call(&self, bundle: &Bundle) -> Result<Call> {
        Ok(self.stage.run_call(bundle)?.within(PATIENCE))
    }

    /// Runs a bundle whose attack has won as soon as its payload starts.
    ///
    /// # Errors
    /// When the runtime hangs.
    pub fn must_not_start(&self, bundle: &Bundle) -> Result<Saw> {
        let out = self.run(bundle)?;
        let started = out.stdout().contains("started");
        Ok(if started {
            Saw::Through("it was accepted, and the payload ran".into())
        } else {
            Saw::Refused
        })
    }

    /// Runs a bundle that may start, but whose payload must see nothing of the machine; the checks
    /// of the machine itself come after.
    ///
    /// # Errors
    /// When the runtime hangs.
    pub fn must_see_nothing(&self, bundle: &Bundle) -> Result<Saw> {
        Ok(look(&self.run(bundle)?))
    }

    /// Starts a harmless bundle in the background, to execute something in.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub fn start(&self, bundle: &Bundle) -> Result<Container<'_>> {
        self.stage.start(bundle).context("start a container")
    }

    /// Options of `exec` before the id, then the command.
    ///
    /// # Errors
    /// When the runtime hangs.
    pub fn exec(
        &self,
        options: &[&str],
        container: &Container<'_>,
        words: &[&str],
    ) -> Result<Outcome> {
        let mut all = vec!["exec"];
        all.extend(options);
        all.push(&container.id);
        all.extend(words);
        self.stage.call(all).within(PATIENCE).run()
    }

    /// Fights one attack: what the attacker saw, or what it did to the machine.
    ///
    /// # Errors
    /// When it could not be fought at all.
    pub fn fight(&self, attack: &Attack) -> Result<Saw> {
        let before = self.machine()?;
        let saw = (attack.fight)(self);
        let after = self.machine()?;
        restore(&before)?;
        let changed = before.iter().find(|line| !after.contains(line));
        let added = after.iter().find(|line| !before.contains(line));
        if let Some(line) = changed.or(added) {
            let line: String = line.chars().take(120).collect();
            return Ok(Saw::Through(format!("the machine is changed: {line}")));
        }
        match saw {
            Err(error) if format!("{error:#}").contains("did not end within") => {
                Ok(Saw::Through("it hangs".into()))
            }
            other => other,
        }
    }

    /// Everything of the machine that an attack of the corpus aims at, a line each.
    fn machine(&self) -> Result<Vec<String>> {
        let mut lines = host::tree_digest(&self.victim())?;
        lines.extend(
            self.stage
                .mounts()?
                .into_iter()
                .map(|line| format!("mount {line}")),
        );
        for setting in SETTINGS {
            let value = fs::read_to_string(setting).unwrap_or_default();
            lines.push(format!("{setting}={value}"));
        }
        for node in ["null", "zero", "full", "ptmx", "console", "tty", "fuse"] {
            let path = Path::new("/dev").join(node);
            if let Ok(meta) = fs::symlink_metadata(&path) {
                let mode = meta.mode();
                lines.push(format!(
                    "/dev/{node} {mode:o} {} {}",
                    meta.rdev(),
                    meta.uid()
                ));
            }
        }
        let program = fs::metadata(self.runtime.program())?;
        let (inode, size) = (program.ino(), program.size());
        // the change time is the kernel's: nobody can set it back
        let changed = (program.mtime_nsec(), program.ctime(), program.ctime_nsec());
        lines.push(format!("binary {inode} {size} {changed:?}"));
        Ok(lines)
    }
}

/// Settings of the kernel that an attack would set.
const SETTINGS: [&str; 3] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/net/ipv4/ip_forward",
];

/// Puts back what an attack that got through has set.
fn restore(before: &[String]) -> Result<()> {
    for setting in SETTINGS {
        let old = before
            .iter()
            .find_map(|line| line.strip_prefix(setting)?.strip_prefix('='));
        let now = fs::read_to_string(setting).unwrap_or_default();
        if let Some(old) = old.filter(|old| **old != now) {
            fs::write(setting, old).with_context(|| format!("restore {setting}"))?;
        }
    }
    Ok(())
}

/// What a payload printed that it should not know.
pub fn look(out: &Outcome) -> Saw {
    if out.stdout().contains(SECRET) {
        return Saw::Through("it read a file of the machine".into());
    }
    if out.code() != 0 && out.stdout().is_empty() {
        Saw::Refused
    } else {
        Saw::Contained
    }
}
