//! What a list of rules means: for every device the accesses that are allowed. Only devices that differ
//! from their neighbours have an entry, so lists of the same meaning give the same table.

use std::collections::{BTreeMap, BTreeSet};

use super::rule::{ALL, Kind, MKNOD, READ, Rule, WRITE};

/// Keeps the program in the reach of a jump. Only lists with hundreds of rules for a minor number of any
/// major number come near.
const MAX_ENTRIES: usize = 8192;

/// Largest numbers that a device can have (`linux/kdev_t.h`).
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

/// Allowed accesses for each kind of device.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) char: Section,
    pub(super) block: Section,
}

/// Looked up in this order; bits of [`super::rule`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) exact: BTreeMap<(u32, u32), u8>,
    pub(super) majors: BTreeMap<u32, u8>,
    pub(super) minors: BTreeMap<u32, u8>,
    pub(super) other: u8,
}

impl Table {
    /// Evaluates rules in the order of the configuration; `None` when there are too many entries.
    pub(super) fn new(rules: &[Rule]) -> Option<Self> {
        Some(Self {
            char: Section::new(rules, Kind::Char)?,
            block: Section::new(rules, Kind::Block)?,
        })
    }

    /// Whether every access to every device is allowed.
    pub(super) fn allows_all(&self) -> bool {
        [&self.char, &self.block].into_iter().all(|section| {
            section.other == ALL
                && section.exact.is_empty()
                && section.majors.is_empty()
                && section.minors.is_empty()
        })
    }
}

impl Table {
    /// Every device that may be used at all, as `/dev/char/1:3`, `char-136` and `char-*`.
    pub(super) fn allowed(&self) -> Vec<(String, String)> {
        let sections = [("char", &self.char), ("block", &self.block)];
        let mut all = Vec::new();
        for (kind, section) in sections {
            // A minor number of any major one has no name there.
            let any = section
                .minors
                .values()
                .fold(section.other, |any, bits| any | bits);
            all.push((format!("{kind}-*"), any));
            let majors = section.majors.iter();
            all.extend(majors.map(|(major, bits)| (format!("{kind}-{major}"), *bits)));
            let exact = section.exact.iter();
            all.extend(
                exact.map(|((major, minor), bits)| (format!("/dev/{kind}/{major}:{minor}"), *bits)),
            );
        }
        let letters = |bits: u8| {
            let named = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')].into_iter();
            named
                .filter(|(bit, _)| bits & bit != 0)
                .map(|(_, letter)| letter)
                .collect()
        };
        all.into_iter()
            .filter(|(_, bits)| *bits != 0)
            .map(|(device, bits)| (device, letters(bits)))
            .collect()
    }
}

impl Section {
    fn new(rules: &[Rule], kind: Kind) -> Option<Self> {
        let of_kind = |rule: &&Rule| rule.kind.is_none_or(|of| of == kind) && exists(rule);
        let rules: Vec<Rule> = rules.iter().filter(of_kind).copied().collect();
        let (mut numbers, mut majors, mut minors) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for rule in &rules {
            match (rule.major, rule.minor) {
                (Some(major), Some(minor)) => {
                    numbers.insert((major, minor));
                }
                (Some(major), None) => {
                    majors.insert(major);
                }
                (None, Some(minor)) => {
                    minors.insert(minor);
                }
                (None, None) => {}
            }
        }
        if numbers.len() + majors.len() * minors.len() + majors.len() + minors.len() > MAX_ENTRIES {
            return None;
        }
        // Where a rule for a major and one for a minor cross, their order decides.
        for &major in &majors {
            numbers.extend(minors.iter().map(|&minor| (major, minor)));
        }
        let other = allowed(&rules, None, None);
        let mut section = Self {
            exact: BTreeMap::new(),
            majors: table(
                majors,
                |major| allowed(&rules, Some(major), None),
                |_major| other,
            ),
            minors: table(
                minors,
                |minor| allowed(&rules, None, Some(minor)),
                |_minor| other,
            ),
            other,
        };
        section.exact = table(
            numbers,
            |(major, minor)| allowed(&rules, Some(major), Some(minor)),
            |(major, minor)| section.without_exact(major, minor),
        );
        Some(section)
    }

    fn without_exact(&self, major: u32, minor: u32) -> u8 {
        let by_major = self.majors.get(&major);
        let known = by_major.or_else(|| self.minors.get(&minor));
        known.copied().unwrap_or(self.other)
    }
}

/// The entries that say something else than what would be found without them.
fn table<K: Copy + Ord>(
    keys: BTreeSet<K>,
    value: impl Fn(K) -> u8,
    without: impl Fn(K) -> u8,
) -> BTreeMap<K, u8> {
    let mut table = BTreeMap::new();
    for key in keys {
        let value = value(key);
        if value != without(key) {
            table.insert(key, value);
        }
    }
    table
}

/// For each access the last rule that matches decides; `None` stands for a number that no rule names.
fn allowed(rules: &[Rule], major: Option<u32>, minor: Option<u32>) -> u8 {
    let mut open = ALL;
    let mut allowed = 0;
    for rule in rules.iter().rev() {
        let matches = (rule.major.is_none() || rule.major == major)
            && (rule.minor.is_none() || rule.minor == minor);
        if matches {
            if rule.allow {
                allowed |= rule.access & open;
            }
            open &= !rule.access;
            if open == 0 {
                break;
            }
        }
    }
    allowed
}

fn exists(rule: &Rule) -> bool {
    rule.major.is_none_or(|major| major <= MAX_MAJOR)
        && rule.minor.is_none_or(|minor| minor <= MAX_MINOR)
}
