//! The usual forms of the verbs that engines call, read without a tree of arguments: building one
//! costs more than all else that a short verb does before its work.
//!
//! What is read here is what the tree would have read. Every other form, and whatever is wrong, is
//! `None`: then the tree reads it, and it alone has words for mistakes and for help.

use super::bundles::{Create, Delete, Handover, Pause, Resume, RuncRun, Start, State};
use super::containers::Kill;
use super::exec::Exec;
use super::run::Run;
use std::ffi::OsString;
use std::path::PathBuf;

/// Arguments with such forms.
pub(crate) trait Plain: Sized {
    /// Reads a verb's words, the verb first.
    fn plain(words: &[OsString]) -> Option<Self>;
}

/// An option: its names, which stand for the first of them, and whether a value follows.
type Switch = (&'static [&'static str], bool);

/// What follows the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Words, with options among them.
    Words,
    /// From the first word on everything, as it is.
    Command,
}

/// Words in their parts.
#[derive(Debug, Default)]
struct Form<'w> {
    options: Vec<(&'static str, &'w str)>,
    words: Vec<&'w str>,
}

impl<'w> Form<'w> {
    fn read(words: &'w [OsString], known: &[Switch], rest: Rest) -> Option<Self> {
        let mut form = Form::default();
        let mut words = words.get(1..)?.iter();
        while let Some(word) = words.next() {
            let word = word.to_str()?;
            let is_command = rest == Rest::Command && !form.words.is_empty();
            if is_command || !word.starts_with('-') {
                form.words.push(word);
                continue;
            }
            let (option, inline) = match word.split_once('=') {
                Some((option, value)) if word.starts_with("--") => (option, Some(value)),
                _ => (word, None),
            };
            let (names, valued) = known.iter().find(|(names, _)| names.contains(&option))?;
            let value = match (valued, inline) {
                (true, Some(value)) => value,
                (true, None) => words.next()?.to_str()?,
                (false, None) => "on",
                (false, Some(_)) => return None,
            };
            let name = names.first()?;
            let again = form.options.iter().any(|(other, _)| other == name);
            if again || value.is_empty() || value.starts_with('-') {
                return None;
            }
            form.options.push((name, value));
        }
        Some(form)
    }

    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn value(&self, name: &str) -> Option<&'w str> {
        let option = self.options.iter().find(|(option, _)| *option == name);
        option.map(|(_, value)| *value)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).map(PathBuf::from)
    }

    /// A number of descriptors, 0 where none is given.
    fn number(&self, name: &str) -> Option<u32> {
        self.value(name).map_or(Some(0), |value| {
            let digits = value.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| value.parse().ok()).flatten()
        })
    }

    /// The one word there is.
    fn only(&self) -> Option<String> {
        match self.words.as_slice() {
            [word] if !word.is_empty() => Some((*word).to_owned()),
            _ => None,
        }
    }

    /// All words, of which there is at least one.
    fn all(&self) -> Option<Vec<String>> {
        let words = self.words.iter().map(|word| (*word).to_owned());
        (!self.words.is_empty()).then(|| words.collect())
    }

    fn handover(&self) -> Handover {
        Handover {
            console_socket: self.path("--console-socket"),
            pidfd_socket: self.path("--pidfd-socket"),
            config: self.path("--config"),
            no_pivot: self.has("--no-pivot"),
            no_new_keyring: self.has("--no-new-keyring"),
        }
    }

    fn bundle(&self) -> PathBuf {
        self.path("--bundle").unwrap_or_else(|| ".".into())
    }
}

const BUNDLE: Switch = (&["--bundle", "-b"], true);
const PID_FILE: Switch = (&["--pid-file", "--pidfile"], true);
const DETACH: Switch = (&["--detach", "-d"], false);
const KEEP: Switch = (&["--keep"], false);
const NO_SUBREAPER: Switch = (&["--no-subreaper"], false);
const CONSOLE_SOCKET: Switch = (&["--console-socket"], true);
const PIDFD_SOCKET: Switch = (&["--pidfd-socket"], true);
const PRESERVE_FDS: Switch = (&["--preserve-fds"], true);
const CONFIG: Switch = (&["--config"], true);
const NO_PIVOT: Switch = (&["--no-pivot"], false);
const NO_NEW_KEYRING: Switch = (&["--no-new-keyring"], false);

macro_rules! only_an_id {
    ($($verb:ident),*) => {
        $(impl Plain for $verb {
            fn plain(words: &[OsString]) -> Option<Self> {
                let id = Form::read(words, &[], Rest::Words)?.only()?;
                Some($verb { id })
            }
        })*
    };
}

only_an_id!(Start, State, Pause, Resume);

impl Plain for Delete {
    fn plain(words: &[OsString]) -> Option<Self> {
        let form = Form::read(words, &[(&["--force", "-f"], false)], Rest::Words)?;
        Some(Delete {
            force: form.has("--force"),
            id: form.only()?,
        })
    }
}

impl Plain for Kill {
    fn plain(words: &[OsString]) -> Option<Self> {
        let known = [(&["--all", "-a"][..], false), (&["--signal", "-s"], true)];
        let form = Form::read(words, &known, Rest::Words)?;
        Some(Kill {
            signal: form.value("--signal").map(str::to_owned),
            all: form.has("--all"),
            words: form.all()?,
        })
    }
}

impl Plain for Create {
    fn plain(words: &[OsString]) -> Option<Self> {
        let known = [
            BUNDLE,
            PID_FILE,
            PRESERVE_FDS,
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            CONFIG,
            NO_PIVOT,
            NO_NEW_KEYRING,
        ];
        let form = Form::read(words, &known, Rest::Words)?;
        Some(Create {
            bundle: form.bundle(),
            pid_file: form.path("--pid-file"),
            preserve_fds: form.number("--preserve-fds")?,
            handover: form.handover(),
            id: form.only()?,
        })
    }
}

impl Plain for RuncRun {
    fn plain(words: &[OsString]) -> Option<Self> {
        let known = [
            BUNDLE,
            DETACH,
            KEEP,
            PID_FILE,
            PRESERVE_FDS,
            NO_SUBREAPER,
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            CONFIG,
            NO_PIVOT,
            NO_NEW_KEYRING,
        ];
        let form = Form::read(words, &known, Rest::Words)?;
        Some(RuncRun {
            bundle: form.bundle(),
            detach: form.has("--detach"),
            keep: form.has("--keep"),
            pid_file: form.path("--pid-file"),
            preserve_fds: form.number("--preserve-fds")?,
            no_subreaper: form.has("--no-subreaper"),
            handover: form.handover(),
            id: form.only()?,
        })
    }
}

impl Plain for Run {
    fn plain(words: &[OsString]) -> Option<Self> {
        const OF_IMAGES: [Switch; 4] = [
            (&["--rm"], false),
            (&["--interactive", "-i"], false),
            (&["--tty", "-t"], false),
            (&["--name"], true),
        ];
        let known = [
            BUNDLE,
            KEEP,
            DETACH,
            PRESERVE_FDS,
            (&["--pidfile", "--pid-file"], true),
            OF_IMAGES[0],
            OF_IMAGES[1],
            OF_IMAGES[2],
            OF_IMAGES[3],
        ];
        let form = Form::read(words, &known, Rest::Command)?;
        let of_images = OF_IMAGES.iter().filter_map(|(names, _)| names.first());
        if form.has("--bundle") && of_images.into_iter().any(|name| form.has(name)) {
            return None;
        }
        Some(Run {
            bundle: form.path("--bundle"),
            preserve_fds: form.number("--preserve-fds")?,
            keep: form.has("--keep"),
            detach: form.has("--detach"),
            pidfile: form.path("--pidfile"),
            rm: form.has("--rm"),
            interactive: form.has("--interactive"),
            tty: form.has("--tty"),
            name: form.value("--name").map(str::to_owned),
            words: form.all()?,
            ..Run::default()
        })
    }
}

impl Plain for Exec {
    fn plain(words: &[OsString]) -> Option<Self> {
        let known = [
            DETACH,
            PID_FILE,
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            PRESERVE_FDS,
            NO_SUBREAPER,
            (&["--process", "-p"], true),
            (&["--interactive", "-i"], false),
            (&["--tty", "-t"], false),
            (&["--workdir", "--cwd", "-w"], true),
            (&["--user", "-u"], true),
        ];
        let form = Form::read(words, &known, Rest::Command)?;
        Some(Exec {
            detach: form.has("--detach"),
            interactive: form.has("--interactive"),
            tty: form.has("--tty"),
            user: form.value("--user").map(str::to_owned),
            workdir: form.value("--workdir").map(str::to_owned),
            pid_file: form.path("--pid-file"),
            preserve_fds: form.number("--preserve-fds")?,
            process: form.path("--process"),
            console_socket: form.path("--console-socket"),
            pidfd_socket: form.path("--pidfd-socket"),
            no_subreaper: form.has("--no-subreaper"),
            words: form.all()?,
            ..Exec::default()
        })
    }
}

#[cfg(test)]
mod tests;
