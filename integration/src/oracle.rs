//! Comparing two runtimes: what may differ stands in `integration/differences.md`, with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use anyhow::{Result, ensure};

const LIST: &str = include_str!("../differences.md");

/// One fact about a container per key, such as `status CapEff` or `mount /proc`.
pub type Facts = BTreeMap<String, String>;

/// The keys that are allowed to differ: first column of the tables in differences.md. A `*` at
/// the end stands for anything.
pub fn allowed() -> &'static BTreeSet<&'static str> {
    static KEYS: OnceLock<BTreeSet<&'static str>> = OnceLock::new();
    KEYS.get_or_init(|| LIST.lines().filter_map(key).collect())
}

fn key(line: &str) -> Option<&str> {
    line.strip_prefix("| `")?
        .split_once('`')
        .map(|(key, _)| key)
}

/// Fails when two sets of facts differ in a key that is not listed, with each such difference.
///
/// # Errors
/// The list of unexplained differences.
pub fn same(ours: &Facts, theirs: &Facts) -> Result<()> {
    let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let strangers: Vec<String> = keys
        .into_iter()
        .filter(|key| ours.get(*key) != theirs.get(*key) && !is_allowed(key))
        .map(|key| {
            let show = |facts: &Facts| {
                facts
                    .get(key)
                    .map_or("nothing".into(), |v| format!("{v:?}"))
            };
            format!("`{key}`: under test {}, runc {}", show(ours), show(theirs))
        })
        .collect();
    ensure!(
        strangers.is_empty(),
        "differences from runc that integration/differences.md does not explain:\n  {}",
        strangers.join("\n  ")
    );
    Ok(())
}

fn is_allowed(key: &str) -> bool {
    allowed()
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => key.starts_with(start),
            None => key == *pattern,
        })
}
