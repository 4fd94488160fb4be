//! JSON documents of the spec, read as their writers mean them.
//!
//! Engines write what Go's decoder takes: keys in any case, `null` for nothing, no `user` for root.
//! The text becomes a tree and the tree the spec's types. Words that nobody knows stay errors, with
//! their JSON path.

mod reader;
mod tree;

use crate::error::{Error, ErrorKind, Result};
use oci_spec::runtime::{Capability, LinuxResources, Process, Spec};
use reader::{Manner, Wrong, read};
use serde::de::value::StrDeserializer;
use serde::de::{Deserialize, DeserializeOwned, IntoDeserializer};
use std::collections::HashSet;
use tree::Node;

/// A document, and the JSON paths of what is in it that nobody reads: unknown keys, and names of
/// capabilities. The spec wants them ignored; a caller should name them to the user.
pub type Parsed<T> = (T, Vec<String>);

/// Reads one process, as `exec --process` takes it; `name` is what an error calls the document.
///
/// # Errors
/// `InvalidSpec`, with the JSON path of what is wrong.
pub fn process(bytes: &[u8], name: &str) -> Result<Parsed<Process>> {
    parse(bytes, &["capabilities"]).map_err(|problem| problem.into_error(name))
}

/// Names what a process asks for and cannot get, where the spec wants a warning and no error: an
/// ambient capability that is not permitted and inheritable as well, capabilities(7).
pub fn warnings(process: &Process) -> Vec<String> {
    let Some(sets) = process.capabilities() else {
        return Vec::new();
    };
    let holds = |set: &Option<HashSet<Capability>>, capability| {
        set.as_ref().is_some_and(|set| set.contains(capability))
    };
    let ambient = sets.ambient().iter().flatten();
    let lost = ambient.filter(|capability| {
        !holds(sets.permitted(), capability) || !holds(sets.inheritable(), capability)
    });
    let mut lost: Vec<String> = lost
        .map(|capability| {
            format!("can't raise ambient capability CAP_{capability}: operation not permitted")
        })
        .collect();
    lost.sort_unstable();
    lost
}

/// Reads limits, as `update --resources` takes them; `name` is what an error calls the document.
///
/// # Errors
/// `InvalidSpec`, with the JSON path of what is wrong.
pub fn resources(bytes: &[u8], name: &str) -> Result<Parsed<LinuxResources>> {
    parse(bytes, &[]).map_err(|problem| problem.into_error(name))
}

/// Reads a config.
pub(crate) fn spec(bytes: &[u8]) -> std::result::Result<Parsed<Spec>, Problem> {
    parse(bytes, &["process", "capabilities"])
}

/// What is wrong with a document, and where.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Empty where the text is no JSON at all.
    pub(crate) path: String,
    pub(crate) reason: String,
}

impl Problem {
    fn into_error(self, name: &str) -> Error {
        Error::new(ErrorKind::InvalidSpec, "parse", name).caused_by(self)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.as_str() {
            "" | "." => f.write_str(&self.reason),
            path => write!(f, "{path}: {}", self.reason),
        }
    }
}

impl std::error::Error for Problem {}

/// Reads a document of our own, whose keys are what they are.
pub(crate) fn strict<T: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<T, Problem> {
    read(&tree(bytes)?, Manner::Strict, &mut Vec::new())
        .map_err(|Wrong { path, reason }| Problem { path, reason })
}

fn tree(bytes: &[u8]) -> std::result::Result<Node<'_>, Problem> {
    serde_json::from_slice(bytes).map_err(|error| Problem {
        path: String::new(),
        reason: error.to_string(),
    })
}

/// `sets` is where the document keeps names of capabilities, if it does.
fn parse<T: DeserializeOwned>(
    bytes: &[u8],
    sets: &[&str],
) -> std::result::Result<Parsed<T>, Problem> {
    let mut tree = tree(bytes)?;
    let mut unknown = Vec::new();
    let mut result = read(&tree, Manner::Tolerant, &mut unknown);
    if result.is_err() && !sets.is_empty() {
        unknown.clear();
        take_unknown_capabilities(&mut tree, sets, &mut unknown);
        if !unknown.is_empty() {
            result = read(&tree, Manner::Tolerant, &mut unknown);
        }
    }
    let value = result.map_err(|wrong| problem(&wrong))?;
    unknown.sort_unstable();
    Ok((value, unknown))
}

/// A capability that is not known cannot be granted; config "Linux Process" wants a warning and no
/// error, because configs are written for newer kernels as well. The types know none, so such
/// names are taken out and named to the caller.
fn take_unknown_capabilities(tree: &mut Node<'_>, sets: &[&str], unknown: &mut Vec<String>) {
    let found = sets.iter().try_fold(tree, |node, key| node.entry(key));
    let Some(Node::Object(lists)) = found else {
        return;
    };
    let path = sets.join(".");
    for (set, list) in lists {
        let Node::List(names) = list else { continue };
        names.retain(|name| {
            let Node::Text(name) = name else { return true };
            let word: StrDeserializer<'_, serde::de::value::Error> = (&**name).into_deserializer();
            let known = Capability::deserialize(word).is_ok();
            if !known {
                unknown.push(format!("{path}.{set}: {name:?}"));
            }
            known
        });
    }
}

/// What callers of OCI runtimes look for where a word is not known: the section, the key, and the
/// sentence around the word.
const SENTENCES: [(&str, &str, &str, &str); 11] = [
    (
        "memoryPolicy",
        "mode",
        "invalid memory policy mode \"",
        "\"",
    ),
    (
        "memoryPolicy",
        "flags",
        "invalid memory policy flag \"",
        "\"",
    ),
    ("scheduler", "policy", "invalid scheduler policy: ", ""),
    ("scheduler", "flags", "invalid scheduler flag: ", ""),
    ("ioPriority", "class", "invalid ioPriority.Class: \"", "\""),
    ("rlimits", "type", "wrong rlimit value: ", ""),
    (
        "seccomp",
        "defaultAction",
        "string ",
        " is not a valid action for seccomp",
    ),
    (
        "seccomp",
        "action",
        "string ",
        " is not a valid action for seccomp",
    ),
    (
        "seccomp",
        "op",
        "string ",
        " is not a valid operator for seccomp",
    ),
    (
        "seccomp",
        "architectures",
        "string ",
        " is not a valid arch for seccomp",
    ),
    (
        "seccomp",
        "flags",
        "seccomp flag ",
        " is not known to hostrun",
    ),
];

fn problem(Wrong { path, reason: said }: &Wrong) -> Problem {
    let mut names = path.split(['.', '[', ']']).filter(|name| !name.is_empty());
    let sentence = SENTENCES.iter().find(|(section, key, ..)| {
        let mut names = names.clone().skip_while(|name| name != section);
        names.any(|name| name == *key)
    });
    let reason = match (said.split_once("unknown variant `"), sentence) {
        (Some((_, rest)), Some((_, _, before, after))) => {
            let word = rest.split('`').next().unwrap_or_default();
            format!("{before}{word}{after}")
        }
        _ if said.starts_with("missing field `mode`") && names.any(|n| n == "memoryPolicy") => {
            "invalid memory policy mode \"\"".to_owned()
        }
        _ => said.clone(),
    };
    Problem {
        path: path.clone(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxSchedulerFlag, MemoryPolicyModeType};

    fn config(rest: &str) -> String {
        format!(r#"{{"ociVersion":"1.2.0",{rest}}}"#)
    }

    fn refused(rest: &str) -> String {
        spec(config(rest).as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn unknown_keys_are_named_with_their_path() {
        let json =
            config(r#""surprise":1,"process":{"cwd":"/","user":{"uid":0,"gid":0},"odd":{}}"#);
        let (_, unknown) = spec(json.as_bytes()).unwrap();
        assert_eq!(unknown, ["process.odd", "surprise"]);
    }

    #[test]
    fn an_unknown_capability_is_named_and_not_granted() {
        let sets = r#"{"bounding":["CAP_KILL","CAP_FOO"]}"#;
        let json = config(&format!(r#""process":{{"cwd":"/","capabilities":{sets}}}"#));
        let (parsed, unknown) = spec(json.as_bytes()).unwrap();
        assert_eq!(unknown, ["process.capabilities.bounding: \"CAP_FOO\""]);
        let kill = |process: &Process| {
            let sets = process.capabilities().clone().unwrap();
            let bounding = sets.bounding().clone().unwrap();
            assert_eq!(bounding.into_iter().collect::<Vec<_>>(), [Capability::Kill]);
        };
        kill(parsed.process().as_ref().unwrap());
        let json = format!(r#"{{"cwd":"/","Capabilities":{sets}}}"#);
        let (parsed, unknown) = process(json.as_bytes(), "process.json").unwrap();
        assert_eq!(unknown, ["capabilities.bounding: \"CAP_FOO\""]);
        kill(&parsed);
    }

    #[test]
    fn an_ambient_capability_that_cannot_be_raised_is_named() {
        let json = r#"{"cwd":"/","capabilities":{"permitted":["CAP_KILL","CAP_CHOWN"],
            "inheritable":["CAP_KILL"],"ambient":["CAP_KILL","CAP_CHOWN"]}}"#;
        let (parsed, _) = process(json.as_bytes(), "process.json").unwrap();
        assert_eq!(
            warnings(&parsed),
            ["can't raise ambient capability CAP_CHOWN: operation not permitted"]
        );
    }

    #[test]
    fn text_after_a_document_is_refused() {
        assert!(spec(br#"{"ociVersion":"1.2.0"} {"#).is_err());
    }

    #[test]
    fn keys_are_matched_in_any_case() {
        let limits = r#"{"hugepageLimits":[{"pagesize":"2MB","limit":1}],"PIDS":{"limit":7}}"#;
        let (parsed, unknown) = resources(limits.as_bytes(), "-").unwrap();
        assert_eq!(unknown, [""; 0]);
        assert_eq!(parsed.pids().unwrap().limit(), 7);
        let pages = parsed.hugepage_limits().as_ref().unwrap();
        assert_eq!(pages[0].page_size(), "2MB");
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused_with_its_path() {
        for (rest, path) in [
            (r#""process":{"cwd":"/a","cwd":"/b"}"#, "process.cwd"),
            (r#""process":{"cwd":"/a","CWD":"/b"}"#, "process.CWD"),
            (r#""process":{"cwd":"/a","cwd":null}"#, "process.cwd"),
            (r#""process":{"cwd":null,"cwd":"/a"}"#, "process.cwd"),
            (r#""linux":{"seccomp":{}},"linux":{}"#, "linux"),
            (
                r#""linux":{"devices":[{"type":"c","Type":"b"}]}"#,
                "linux.devices[0].Type",
            ),
            (
                r#""process":{"cwd":"/","capabilities":{"bounding":[],"BOUNDING":["CAP_KILL"]}}"#,
                "process.capabilities.BOUNDING",
            ),
        ] {
            assert_eq!(refused(rest), format!("{path}: it is there twice"));
        }
        // keys of the author's choice are as in any map, and what nobody reads is only named
        let json = config(r#""annotations":{"a":"1","a":"2"},"odd":1,"odd":2"#);
        let (parsed, unknown) = spec(json.as_bytes()).unwrap();
        assert_eq!(parsed.annotations().as_ref().unwrap()["a"], "2");
        assert_eq!(unknown, ["odd", "odd"]);
    }

    #[test]
    fn nothing_is_nothing() {
        let json = r#"{"args":null,"user":null,"env":null,"consoleSize":null,"oomScoreAdj":null}"#;
        let (parsed, _) = process(json.as_bytes(), "-").unwrap();
        assert_eq!((parsed.user().uid(), parsed.args()), (0, &None));
        assert_eq!(parsed.cwd().to_str(), Some(""));
        let json = config(r#""linux":{"memoryPolicy":{}}"#);
        let (parsed, _) = spec(json.as_bytes()).unwrap();
        let policy = parsed.linux().as_ref().unwrap().memory_policy();
        assert_eq!(
            policy.as_ref().unwrap().mode(),
            MemoryPolicyModeType::MpolDefault
        );
        let json = r#"{"cwd":"/","execCPUAffinity":{"initial":"","final":"0-1"}}"#;
        let (parsed, _) = process(json.as_bytes(), "-").unwrap();
        let affinity = parsed.exec_cpu_affinity().as_ref().unwrap();
        assert_eq!(affinity.initial(), &None);
    }

    #[test]
    fn scheduler_flags_have_the_names_of_the_spec() {
        let flags = r#"["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_DL_OVERRUN"]"#;
        let json = format!(r#"{{"cwd":"/","scheduler":{{"policy":"SCHED_RR","flags":{flags}}}}}"#);
        let (parsed, unknown) = process(json.as_bytes(), "-").unwrap();
        assert_eq!(unknown, [""; 0]);
        let flags = parsed.scheduler().as_ref().unwrap().flags();
        let expected = [
            LinuxSchedulerFlag::SchedResetOnFork,
            LinuxSchedulerFlag::SchedFlagDLOverrun,
        ];
        assert_eq!(flags.as_deref(), Some(expected.as_slice()));
    }

    #[test]
    fn unknown_words_are_refused_with_their_path() {
        for (rest, expected) in [
            (
                r#""linux":{"memoryPolicy":{"mode":"INTERLEAVE"}}"#,
                "linux.memoryPolicy.mode: invalid memory policy mode \"INTERLEAVE\"",
            ),
            (
                r#""linux":{"memoryPolicy":{"nodes":"0-7"}}"#,
                "linux.memoryPolicy: invalid memory policy mode \"\"",
            ),
            (
                r#""linux":{"memoryPolicy":{"mode":"MPOL_BIND","flags":["badflag"]}}"#,
                "linux.memoryPolicy.flags[0]: invalid memory policy flag \"badflag\"",
            ),
            (
                r#""linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_Z80"]}}"#,
                "linux.seccomp.architectures[0]: string SCMP_ARCH_Z80 is not a valid arch for seccomp",
            ),
            (
                r#""process":{"cwd":"/","rlimits":[{"type":"RLIMIT_NONE"}]}"#,
                "process.rlimits[0].type: wrong rlimit value: RLIMIT_NONE",
            ),
            (
                r#""process":{"cwd":7}"#,
                "process.cwd: invalid type: integer `7`, expected path string",
            ),
        ] {
            assert_eq!(refused(rest), expected);
        }
    }
}
