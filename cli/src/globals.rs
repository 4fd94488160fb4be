//! The options before the verb, read by hand, and the name we were called by.

use crate::{report, system};
use anyhow::Result;
use hostrun_image_store::{DriverName, Error, Store, Trust};
use hostrun_runtime::{Runtime, rootless};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The name we were called by. Under runc's name every verb has runc's meaning, and errors its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Name {
    /// `hostrun`, or anything else.
    #[default]
    Hostrun,
    /// `runc`, by a link or a copy.
    Runc,
}

impl Name {
    /// By the last part of the first word of the command line.
    pub(crate) fn of(word: Option<&OsString>) -> Self {
        let last = word.and_then(|word| Path::new(word).file_name());
        match last {
            Some(name) if name == "runc" => Self::Runc,
            _ => Self::Hostrun,
        }
    }

    /// As it is written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hostrun => "hostrun",
            Self::Runc => "runc",
        }
    }
}

/// What stands for the home of who has none.
pub(crate) const HOMELESS: &str = "/nonexistent";

/// Where images are that came with the system.
const SYSTEM_STORE: &str = "/usr/share/hostrun";

/// Where things are and how errors are told.
#[derive(Debug, Clone)]
pub(crate) struct Globals {
    /// The name we were called by.
    pub(crate) name: Name,
    /// Container state, gone after a reboot.
    pub(crate) root: PathBuf,
    /// Whether the caller said where that is.
    pub(crate) root_given: bool,
    /// Images and containers.
    pub(crate) store: PathBuf,
    /// Whether the caller said where that is.
    pub(crate) store_given: bool,
    /// Images that came with the system.
    pub(crate) system_store: Option<PathBuf>,
    /// The policy for images that come in, instead of the host's.
    pub(crate) signature_policy: Option<PathBuf>,
    /// What layers become from now on, where the caller says so.
    pub(crate) storage_driver: Option<DriverName>,
    /// Whether containers go without a cgroup where none is to be had; unless said, for all but root.
    pub(crate) rootless: Option<bool>,
    /// A file that also gets the error.
    pub(crate) log: Option<PathBuf>,
    /// Whether that file holds JSON lines.
    pub(crate) log_json: bool,
    /// Whether each stage of a start is told.
    pub(crate) debug: bool,
    /// Cgroups are made by systemd.
    pub(crate) systemd_cgroup: bool,
}

impl Default for Globals {
    fn default() -> Self {
        Self::called(Name::Hostrun)
    }
}

impl Globals {
    /// The store, made where there is none. Images of the system are found in its place, or where the
    /// caller says; a caller with a store elsewhere has none of them unless told.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn open_store(&self) -> Result<Store> {
        let trust = Trust::of_host(Path::new("/"));
        let trust = match &self.signature_policy {
            Some(file) => trust.with_policy(file),
            None => trust,
        };
        let store = Store::open(&self.store)?.with_trust(trust);
        if let Some(driver) = self.storage_driver {
            store.set_driver(driver)?;
        }
        if store.is_new() && !self.store_given {
            system::follow(&store);
        }
        let usual = (!self.store_given).then(|| Path::new(SYSTEM_STORE));
        Ok(match self.system_store.as_deref().or(usual) {
            Some(dir) => store.with_shipped(dir),
            None => store,
        })
    }

    /// A runtime that makes containers as these options say.
    ///
    /// # Errors
    /// As [`Runtime::open`].
    pub(crate) fn runtime(&self) -> Result<Runtime> {
        let runtime = Runtime::open(&self.root)?;
        let runtime = match self.rootless {
            Some(rootless) => runtime.with_rootless(rootless),
            None => runtime,
        };
        Ok(if self.systemd_cgroup {
            runtime.with_systemd_cgroup()
        } else {
            runtime
        })
    }

    /// What holds for a caller of this name who says nothing else.
    pub(crate) fn called(name: Name) -> Self {
        let (root, store) = usual_places(name);
        Self {
            name,
            root,
            root_given: false,
            store,
            store_given: false,
            system_store: None,
            signature_policy: None,
            storage_driver: None,
            rootless: None,
            log: None,
            log_json: false,
            debug: false,
            systemd_cgroup: false,
        }
    }

    /// Whether names may mean containers of our own records. Under runc's name, and with a `--root`
    /// that has no `--store` beside it, they never do: whoever calls so is an engine with containers
    /// of its own, and "web" of the one is not "web" of the other.
    pub(crate) fn has_records(&self) -> bool {
        self.name == Name::Hostrun && (self.store_given || !self.root_given)
    }
}

/// Where state and images are unless somebody says so: the machine's for root; a user's own for others, and for a root
/// who is one only in a user namespace, as the XDG base directory specification has it.
fn usual_places(name: Name) -> (PathBuf, PathBuf) {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|dir| dir.is_absolute());
    // Root of a user namespace, as rootless podman's runtime is, whose caller may name nobody. What is somebody else's was
    // left in the environment by `su`: that one could take our state away from under us.
    let is_own = |dir: &PathBuf| {
        let stat = rustix::fs::stat(dir);
        stat.is_ok_and(|stat| stat.st_uid == rustix::process::geteuid().as_raw())
    };
    let is_mapped_root = || {
        runtime.as_ref().is_some_and(is_own)
            && variable("USER").is_none_or(|user| user != "root")
            && is_mapped()
    };
    let machines = (PathBuf::from("/run"), PathBuf::from("/var/lib"));
    let (state, data) = if rootless::is_root() && !is_mapped_root() {
        machines
    } else {
        let absolute = |name| {
            variable(name)
                .map(PathBuf::from)
                .filter(|dir| dir.is_absolute())
        };
        let home = || Some(absolute("HOME")?.join(".local/share"));
        let state = runtime.or_else(session);
        let data = absolute("XDG_DATA_HOME").or_else(home);
        // The machine's is closed to users: one without a home has no images, and asks for none.
        (state.unwrap_or(machines.0), data.unwrap_or(HOMELESS.into()))
    };
    (state.join(name.as_str()), data.join("hostrun"))
}

/// Where systemd keeps the user's runtime directory, though nobody told us: `su` and cron do not.
fn session() -> Option<PathBuf> {
    let dir = PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw()));
    dir.is_dir().then_some(dir)
}

/// Whether we are in a user namespace that is not the host's.
pub(crate) fn is_mapped() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let words: Vec<&str> = map.split_whitespace().collect();
    words != ["0", "0", "4294967295"]
}

/// What the first words of the command line ask for.
#[derive(Debug)]
pub(crate) enum Words {
    /// A verb with all that follows it, the verb first.
    Verb(Globals, Vec<OsString>),
    /// The overview.
    Help,
    /// The version.
    Version,
}

/// Options that take a value. The last two are accepted as runc and its kin know them, and change
/// nothing here.
const VALUED: [&str; 11] = [
    "--root",
    "--store",
    "--system-store",
    "--signature-policy",
    "--storage-driver",
    "--log",
    "--log-format",
    "--cgroup-manager",
    "--rootless",
    "--criu",
    "--config",
];

/// Splits the command line into global options and the verb with its arguments.
///
/// # Errors
/// When an option before the verb is unknown or lacks its value.
pub(crate) fn read(words: Vec<OsString>, name: Name) -> Result<Words> {
    let mut globals = Globals::called(name);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let Some(option) = word.to_str().filter(|word| word.starts_with('-')) else {
            let mut rest = vec![word];
            rest.extend(words);
            return Ok(Words::Verb(globals, rest));
        };
        let (option, inline) = match option.split_once('=') {
            Some((option, value)) => (option, Some(OsString::from(value))),
            None => (option, None),
        };
        // One dash or two are the same to callers that know Go's flags.
        let long = format!("--{}", option.trim_start_matches('-'));
        match long.as_str() {
            "--h" | "--help" => return Ok(Words::Help),
            "--v" | "--version" => return Ok(Words::Version),
            "--debug" => globals.debug = is_on(inline.as_deref()),
            "--systemd-cgroup" => globals.systemd_cgroup = is_on(inline.as_deref()),
            valued if VALUED.contains(&valued) => {
                let value = inline
                    .or_else(|| words.next())
                    .filter(|value| !value.is_empty());
                let value =
                    value.ok_or_else(|| report::usage(format!("{option} needs a value")))?;
                set(&mut globals, valued, &value)?;
            }
            _ => {
                return Err(report::usage(format!(
                    "'{option}' is not an option that may stand before the verb"
                )));
            }
        }
    }
    Ok(Words::Help)
}

fn is_on(value: Option<&OsStr>) -> bool {
    value.is_none_or(|value| value != "false" && value != "0")
}

fn set(globals: &mut Globals, option: &str, value: &OsString) -> Result<()> {
    match option {
        "--log-format" => {
            globals.log_json = match value.to_str() {
                Some("json") => true,
                Some("text") => false,
                _ => {
                    return Err(report::usage(format!(
                        "invalid log-format: {}",
                        value.display()
                    )));
                }
            };
        }
        "--storage-driver" => {
            let driver = value.to_string_lossy().parse();
            globals.storage_driver =
                Some(driver.map_err(|error: Error| report::usage(error.to_string()))?);
        }
        "--cgroup-manager" => globals.systemd_cgroup = value == "systemd",
        "--rootless" => globals.rootless = yes_no_or_auto(value)?,
        "--criu" | "--config" => {}
        _ => {
            // The monitor of a detached container works from another directory.
            let path = std::path::absolute(value).map_err(|error| {
                report::usage(format!("{option} '{}': {error}", value.display()))
            })?;
            match option {
                "--root" => (globals.root, globals.root_given) = (path, true),
                "--store" => (globals.store, globals.store_given) = (path, true),
                "--system-store" => globals.system_store = Some(path),
                "--signature-policy" => globals.signature_policy = Some(path),
                _ => globals.log = Some(path),
            }
        }
    }
    Ok(())
}

/// As runc takes it; `auto` and nothing leave it to the runtime.
fn yes_no_or_auto(value: &OsStr) -> Result<Option<bool>> {
    match value.to_str().unwrap_or_default() {
        "" | "auto" => Ok(None),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
        other => Err(report::usage(format!(
            "--rootless '{other}' is not true, false or auto"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn globals(line: &str, name: Name) -> (Globals, Vec<OsString>) {
        match read(words(line), name).unwrap() {
            Words::Verb(globals, rest) => (globals, rest),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_before_the_verb_are_ours_and_the_rest_is_not() {
        let (globals, rest) = globals("--root=/r --store /s run --root /x", Name::Hostrun);
        assert_eq!((globals.root, globals.store), ("/r".into(), "/s".into()));
        assert_eq!(rest, words("run --root /x"));
    }

    #[test]
    fn what_engines_say_before_the_verb_is_understood() {
        let line = "--root R --log L --log-format json --systemd-cgroup --rootless=auto \
                    --criu /c --cgroup-manager=cgroupfs --config F --debug create x";
        let (globals, rest) = globals(line, Name::Hostrun);
        assert!(globals.log_json && globals.debug && !globals.systemd_cgroup);
        assert_eq!(rest, words("create x"));
    }

    #[test]
    fn records_are_not_for_those_who_bring_a_root_of_their_own() {
        for (line, name, has) in [
            ("exec x", Name::Hostrun, true),
            ("--root /r exec x", Name::Hostrun, false),
            ("--root /r --store /s exec x", Name::Hostrun, true),
            ("--store /s exec x", Name::Runc, false),
        ] {
            assert_eq!(globals(line, name).0.has_records(), has, "{line}");
        }
    }

    #[test]
    fn the_name_is_the_last_part_of_the_first_word() {
        for (word, name) in [
            ("runc", Name::Runc),
            ("/usr/bin/runc", Name::Runc),
            ("/usr/bin/hostrun", Name::Hostrun),
            ("/opt/runc/hostrun", Name::Hostrun),
            ("runc-1", Name::Hostrun),
        ] {
            assert_eq!(Name::of(Some(&word.into())), name, "{word}");
        }
        assert_eq!(Name::of(None), Name::Hostrun);
    }

    #[test]
    fn nothing_at_all_is_a_call_for_help() {
        assert!(matches!(read(words(""), Name::Runc), Ok(Words::Help)));
        assert!(matches!(read(words("-v"), Name::Runc), Ok(Words::Version)));
    }

    #[test]
    fn unknown_and_unfinished_options_are_refused() {
        assert!(read(words("--frob run"), Name::Hostrun).is_err());
        assert!(read(words("--root"), Name::Hostrun).is_err());
        assert!(read(words("--log-format xml run"), Name::Runc).is_err());
    }
}
