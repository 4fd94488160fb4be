//! The command line, as Go's `flag` package reads one: `-name value`, `-name=value`, one dash or two, and
//! then the verb.

use std::ffi::OsString;
use std::path::PathBuf;

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) namespace: String,
    pub(crate) id: String,
    /// Of containerd's own API.
    pub(crate) address: String,
    pub(crate) bundle: PathBuf,
    /// Where to listen, if not at the usual place.
    pub(crate) socket: String,
    pub(crate) debug: bool,
    pub(crate) version: bool,
    pub(crate) info: bool,
    /// Empty for the server itself.
    pub(crate) verb: String,
}

impl Arguments {
    /// Reads them.
    ///
    /// # Errors
    /// A sentence about the word that is none of the options.
    pub(crate) fn read(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, String> {
        let mut read = Arguments::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let word = text(word)?;
            let dashed = word.strip_prefix("--").or(word.strip_prefix('-'));
            let Some(option) = dashed.filter(|option| !option.is_empty()) else {
                read.verb = word;
                return Ok(read);
            };
            let (name, given) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            if let Some(switch) = read.switch(name) {
                *switch = match given.as_deref() {
                    None | Some("true" | "1") => true,
                    Some("false" | "0") => false,
                    Some(other) => {
                        return Err(format!("-{name}: {other:?} is neither true nor false"));
                    }
                };
                continue;
            }
            let value = match given {
                Some(value) => value,
                None => text(
                    words
                        .next()
                        .ok_or(format!("-{name}: its value is missing"))?,
                )?,
            };
            read.set(name, value)?;
        }
        Ok(read)
    }

    fn switch(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "debug" => Some(&mut self.debug),
            "v" | "version" => Some(&mut self.version),
            "info" => Some(&mut self.info),
            _ => None,
        }
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "namespace" => self.namespace = value,
            "id" => self.id = value,
            "address" => self.address = value,
            "bundle" => self.bundle = value.into(),
            "socket" => self.socket = value,
            // Events go to containerd's socket; nothing is executed for them.
            "publish-binary" | "debug-socket" => {}
            other => return Err(format!("flag provided but not defined: -{other}")),
        }
        Ok(())
    }
}

fn text(word: OsString) -> Result<String, String> {
    word.into_string()
        .map_err(|word| format!("{} is no text", word.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, String> {
        Arguments::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn containerds_own_lines_are_read() {
        let start = read(
            "-namespace default -address /run/containerd/containerd.sock -publish-binary /usr/bin/containerd \
             -id web -debug start",
        );
        let start = start.unwrap();
        assert_eq!((&*start.namespace, &*start.id), ("default", "web"));
        assert!(start.debug && start.verb == "start");
        let delete = read("--namespace=k8s.io --id=x -bundle /b delete").unwrap();
        assert_eq!(delete.bundle, PathBuf::from("/b"));
        assert_eq!(delete.verb, "delete");
        assert!(read("-info").unwrap().info && read("-v").unwrap().version);
    }

    #[test]
    fn what_is_no_option_is_named() {
        for line in ["-colour red", "-id", "-debug=perhaps"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
