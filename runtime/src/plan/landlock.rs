//! Landlock by annotation, `landlock(7)`: what the program may do with files, ports and neighbours,
//! whatever its user and capabilities. The format is our own, docs/landlock.md.

use super::Facts;
use super::mounts::below_root;
use super::refusal::Refusals;
use crate::document::{self, Problem};
use serde::Deserialize;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// The annotation that holds the document.
pub(crate) const ANNOTATION: &str = "run.hostrun.landlock";

/// A ruleset, with numbers the running kernel knows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Landlock {
    /// `LANDLOCK_ACCESS_FS_*` that is denied where no path allows it.
    pub(crate) files: u64,
    /// `LANDLOCK_ACCESS_NET_*` that is denied where no port allows it.
    pub(crate) ports: u64,
    /// `LANDLOCK_SCOPE_*`.
    pub(crate) scopes: u64,
    pub(crate) allowed_paths: Vec<AllowedPath>,
    pub(crate) allowed_ports: Vec<AllowedPort>,
}

/// A file, or a directory with all below it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AllowedPath {
    /// As it was written.
    pub(crate) named: PathBuf,
    /// Below the root.
    pub(crate) path: CString,
    pub(crate) access: u64,
}

/// A TCP port.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AllowedPort {
    pub(crate) port: u16,
    pub(crate) access: u64,
}

/// The document, as written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    /// The least version of the kernel's interface.
    abi: Option<u32>,
    /// Leave out what the kernel does not have.
    #[serde(default)]
    best_effort: bool,
    filesystem: Option<Files>,
    network: Option<Network>,
    scopes: Option<Vec<Scope>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Files {
    read_only: Vec<PathBuf>,
    read_write: Vec<PathBuf>,
    execute: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Network {
    bind_tcp: Option<Vec<u16>>,
    connect_tcp: Option<Vec<u16>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Scope {
    AbstractUnixSocket,
    Signal,
}

// linux/landlock.h
const EXECUTE: u64 = 1;
const READ: u64 = 1 << 2 | 1 << 3;
const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 2;

/// Every right over files that the kernel's interface has, by the version that brought it.
fn all_files(abi: u32) -> u64 {
    // 13 rights at first; then moving between directories, truncating, and ioctl(2) of devices.
    let since = [(1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15)];
    let known = since.into_iter().filter(|(version, _)| *version <= abi);
    known.fold(0, |all, (_, rights)| all | rights)
}

/// Reads the annotation. Strict: a word or a path that is misspelt would leave open what its author
/// wanted closed.
pub(super) fn plan(text: Option<&str>, facts: Facts, refusals: &mut Refusals) -> Option<Landlock> {
    let text = text.filter(|text| !text.is_empty())?;
    match document::strict::<Document>(text.as_bytes()) {
        Ok(document) => meant(&document, facts.landlock, refusals),
        Err(Problem { path, reason }) => {
            let dot = if path.is_empty() { "" } else { "." };
            refusals.refuse(place(&format!("{dot}{path}")), reason);
            None
        }
    }
}

/// `None` where nothing is left of it, which only the best effort allows.
fn meant(document: &Document, abi: u32, refusals: &mut Refusals) -> Option<Landlock> {
    let has = match abi {
        0 => "the kernel has no Landlock".to_owned(),
        abi => format!("the kernel has Landlock ABI {abi}"),
    };
    if document.abi.is_some_and(|least| least > abi) {
        refusals.unsupported(place(".abi"), &has);
    }
    let mut can = |asked: bool, key: &str, least: u32| {
        if asked && abi < least && !document.best_effort {
            let why = format!("{has}, this needs {least}");
            refusals.unsupported(place(&format!(".{key}")), why);
        }
        asked && abi >= least
    };
    let files = can(document.filesystem.is_some(), "filesystem", 1);
    let ports = can(document.network.is_some(), "network", 4);
    let scopes = can(document.scopes.is_some(), "scopes", 6);
    let mut landlock = Landlock::default();
    if let Some(asked) = document.filesystem.as_ref().filter(|_| files) {
        landlock.add_files(asked, all_files(abi), refusals);
    }
    if let Some(asked) = document.network.as_ref().filter(|_| ports) {
        landlock.add_ports(asked.bind_tcp.as_deref(), BIND_TCP);
        landlock.add_ports(asked.connect_tcp.as_deref(), CONNECT_TCP);
    }
    if scopes {
        for scope in document.scopes.iter().flatten() {
            landlock.scopes |= match scope {
                Scope::AbstractUnixSocket => 1,
                Scope::Signal => 2,
            };
        }
    }
    let asks = document.filesystem.is_some() || document.network.is_some();
    if !asks && document.scopes.is_none() {
        refusals.refuse(place(""), "restricts nothing");
    }
    (landlock != Landlock::default()).then_some(landlock)
}

impl Landlock {
    fn add_files(&mut self, asked: &Files, all: u64, refusals: &mut Refusals) {
        self.files = all;
        for (key, list, access) in [
            ("readOnly", &asked.read_only, READ),
            ("readWrite", &asked.read_write, all & !EXECUTE),
            ("execute", &asked.execute, READ | EXECUTE),
        ] {
            for (index, path) in list.iter().enumerate() {
                let json = place(&format!(".filesystem.{key}[{index}]"));
                self.allowed_paths
                    .push(allowed(path, access, &json, refusals));
            }
        }
    }

    /// Without a list the access is not restricted; an empty one allows none.
    fn add_ports(&mut self, list: Option<&[u16]>, access: u64) {
        let Some(list) = list else { return };
        self.ports |= access;
        let ports = list.iter().map(|port| AllowedPort {
            port: *port,
            access,
        });
        self.allowed_ports.extend(ports);
    }
}

fn allowed(path: &Path, access: u64, json: &str, refusals: &mut Refusals) -> AllowedPath {
    if !path.is_absolute() {
        refusals.refuse(json, "must be an absolute path");
    }
    AllowedPath {
        named: path.to_owned(),
        path: below_root(path, json, refusals),
        access,
    }
}

fn place(rest: &str) -> String {
    format!("annotations[{ANNOTATION:?}]{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn planned(text: &str, abi: u32) -> Result<Option<Landlock>, String> {
        let mut refusals = Refusals::default();
        let facts = Facts {
            landlock: abi,
            ..super::super::tests::FACTS
        };
        let plan = plan(Some(text), facts, &mut refusals);
        refusals
            .finish()
            .map(|()| plan)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn rights_are_those_of_the_kernel() {
        let text =
            r#"{"filesystem":{"readOnly":["/"],"readWrite":["/tmp"],"execute":["/bin/sh"]}}"#;
        for (abi, all) in [
            (1, 0x1fff),
            (2, 0x3fff),
            (3, 0x7fff),
            (4, 0x7fff),
            (5, 0xffff),
            (9, 0xffff),
        ] {
            let plan = planned(text, abi).unwrap().unwrap();
            assert_eq!(plan.files, all, "ABI {abi}");
            let access: Vec<u64> = plan.allowed_paths.iter().map(|path| path.access).collect();
            assert_eq!(access, [0b1100, all & !1, 0b1101], "ABI {abi}");
        }
    }

    #[test]
    fn ports_are_closed_by_a_list_and_left_alone_without_one() {
        let plan = planned(r#"{"network":{"bindTcp":[80,443]}}"#, 4)
            .unwrap()
            .unwrap();
        assert_eq!(
            (plan.files, plan.ports, plan.allowed_ports.len()),
            (0, 1, 2)
        );
        let plan = planned(r#"{"network":{"connectTcp":[]},"scopes":["signal"]}"#, 6);
        let plan = plan.unwrap().unwrap();
        assert_eq!(
            (plan.ports, plan.scopes, plan.allowed_ports.len()),
            (2, 2, 0)
        );
    }

    #[test]
    fn what_the_kernel_lacks_is_refused_unless_the_best_will_do() {
        let text = r#"{"network":{"bindTcp":[]},"scopes":["abstractUnixSocket"],"filesystem":{}}"#;
        let said = planned(text, 3).unwrap_err();
        assert!(said.contains(r#"annotations["run.hostrun.landlock"].network: the kernel has Landlock ABI 3, this needs 4"#), "{said}");
        assert!(said.contains(".scopes: "), "{said}");
        let best = text.replacen('{', r#"{"bestEffort":true,"#, 1);
        let plan = planned(&best, 3).unwrap().unwrap();
        assert_eq!((plan.files, plan.ports, plan.scopes), (0x7fff, 0, 0));
        assert_eq!(planned(&best, 0).unwrap(), None);
        let least = best.replacen('{', r#"{"abi":4,"#, 1);
        let said = planned(&least, 3).unwrap_err();
        assert!(
            said.contains(".abi: the kernel has Landlock ABI 3"),
            "{said}"
        );
    }

    #[test]
    fn what_is_misspelt_is_refused_with_its_place() {
        for (text, expected) in [
            ("{", "EOF"),
            ("{}", "restricts nothing"),
            (r#"{"filesystem":{}} x"#, "trailing"),
            (r#"{"fileSystem":{}}"#, "unknown field `fileSystem`"),
            (
                r#"{"filesystem":{"readonly":[]}}"#,
                ".filesystem.readonly: unknown field",
            ),
            (
                r#"{"filesystem":{"readOnly":["tmp"]}}"#,
                ".filesystem.readOnly[0]: must be an absolute path",
            ),
            (
                r#"{"filesystem":{"readOnly":["/a\u0000"]}}"#,
                ".filesystem.readOnly[0]: contains a zero byte",
            ),
            (
                r#"{"network":{"bindTcp":[65536]}}"#,
                ".network.bindTcp[0]: ",
            ),
            (
                r#"{"scopes":["signals"]}"#,
                ".scopes[0]: unknown variant `signals`",
            ),
        ] {
            let said = planned(text, 7).unwrap_err();
            assert!(
                said.contains(r#"annotations["run.hostrun.landlock"]"#),
                "{said}"
            );
            assert!(said.contains(expected), "{text}: {said}");
        }
        assert_eq!(planned("", 7).unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,60}", abi in 0_u32..9) {
            drop(planned(&text, abi));
        }
    }
}
