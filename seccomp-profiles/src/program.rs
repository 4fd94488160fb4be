//! Turns decisions into instructions.
//!
//! The program reads the interface, then the number, and finds the range of the number in a balanced
//! binary tree. The native interface stands first; x32, which shares its `AUDIT_ARCH_*` value, is one
//! jump away from it. The kernel runs the program once for every plain number when it is installed, so
//! a flat tree also makes installing cheap.

use crate::abi::X32_BIT;
use crate::assembler::{Assembler, Label, Test};
use crate::decision::{BAD_ARCH, Book, Case, Decision, Ladder};
use crate::error::{Error, ErrorKind};
use crate::policy::{Comparison, Condition, Policy};
use libc::sock_filter;
use std::collections::HashMap;

// struct seccomp_data (linux/seccomp.h); little-endian, as all machines with a table are.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The kernel's limit (`linux/bpf_common.h`).
const MAX_INSTRUCTIONS: usize = 4096;

/// Compiles a checked policy.
pub(crate) fn assemble(policy: &Policy) -> Result<Vec<sock_filter>, Error> {
    let book = Book::new(policy);
    let mut arches: Vec<(u32, bool)> = Vec::new();
    for abi in &policy.abis {
        let arch = (abi.audit_arch(), abi.is_narrow());
        if !arches.contains(&arch) {
            arches.push(arch);
        }
    }
    let mut writer = Writer::default();
    let mut next = writer.code.ret(BAD_ARCH);
    // Written backward: the native interface last, so that it stands first.
    for (audit_arch, narrow) in arches.into_iter().rev() {
        writer.narrow = narrow;
        let root = writer.root(&book.ladder(audit_arch));
        let body = writer.code.load(NUMBER, root);
        next = writer.code.branch(Test::Equal, audit_arch, body, next);
    }
    let entry = writer.code.load(ARCH, next);
    let program = writer.code.finish(entry);
    if program.len() > MAX_INSTRUCTIONS {
        let reason = format!(
            "{} instructions, the kernel takes {MAX_INSTRUCTIONS}",
            program.len()
        );
        return Err(Error::new(ErrorKind::TooLarge, "syscalls", reason));
    }
    Ok(program)
}

#[derive(Debug, Default)]
struct Writer {
    code: Assembler,
    /// Whether arguments have 32 bits.
    narrow: bool,
    /// Cases that were written already, by width of the arguments.
    written: HashMap<(bool, Vec<Case>, u32), Label>,
}

impl Writer {
    /// The tree of one `AUDIT_ARCH_*` value, x32 split off first.
    fn root(&mut self, ladder: &Ladder) -> Label {
        let x32 = ladder.iter().position(|(first, _)| *first == X32_BIT);
        let Some((native, foreign)) = x32.and_then(|at| ladder.split_at_checked(at)) else {
            return self.tree(ladder);
        };
        let foreign = self.tree(foreign);
        let native = self.tree(native);
        self.code
            .branch(Test::GreaterOrEqual, X32_BIT, foreign, native)
    }

    /// Finds the range of the number in the accumulator.
    fn tree(&mut self, ladder: &[(u32, Decision)]) -> Label {
        match ladder {
            [] => self.code.ret(BAD_ARCH),
            [(_, decision)] => self.decision(decision),
            // One number alone between two ranges of the same kind.
            [(_, around), (number, inside), (after, same)]
                if around == same && number.checked_add(1) == Some(*after) =>
            {
                let around = self.decision(around);
                let inside = self.decision(inside);
                self.code.branch(Test::Equal, *number, inside, around)
            }
            _ => {
                let (low, high) = ladder.split_at(ladder.len() / 2);
                let first = high.first().map_or(u32::MAX, |(first, _)| *first);
                let high = self.tree(high);
                let low = self.tree(low);
                self.code.branch(Test::GreaterOrEqual, first, high, low)
            }
        }
    }

    fn decision(&mut self, decision: &Decision) -> Label {
        match decision {
            Decision::Always(action) => self.code.ret(*action),
            Decision::Cases(cases, otherwise) => {
                let key = (self.narrow, cases.clone(), *otherwise);
                if let Some(label) = self.written.get(&key) {
                    return *label;
                }
                let label = self.cases(cases, *otherwise);
                self.written.insert(key, label);
                label
            }
        }
    }

    /// The first case that holds.
    fn cases(&mut self, cases: &[Case], otherwise: u32) -> Label {
        let mut next = self.code.ret(otherwise);
        let narrow = self.narrow;
        let place = |case: &Case| WordTest::of(case, narrow).map(|test| test.place);
        let alike = |a: &Case, b: &Case| place(a).is_some() && place(a) == place(b);
        for run in cases.chunk_by(alike).rev() {
            let tests = run
                .iter()
                .map(|case| Some((WordTest::of(case, narrow)?, case.action)));
            next = match (tests.collect::<Option<Vec<_>>>(), run) {
                (Some(tests), _) => self.run(&tests, next),
                (None, [case]) => self.case(case, next),
                (None, _) => next,
            };
        }
        next
    }

    /// Cases that all compare the same low word and ask for the same high word: each word is loaded
    /// once.
    fn run(&mut self, tests: &[(WordTest, u32)], miss: Label) -> Label {
        let mut entry = miss;
        for (test, action) in tests.iter().rev() {
            let hit = self.code.ret(*action);
            let (yes, no) = if test.negated {
                (entry, hit)
            } else {
                (hit, entry)
            };
            entry = self.code.branch(test.test, test.low, yes, no);
        }
        let Some((first, _)) = tests.first().filter(|_| entry != miss) else {
            return miss;
        };
        let (argument, high) = first.place;
        entry = self.code.load(low_word(argument), entry);
        if let Some(high) = high {
            entry = self.code.branch(Test::Equal, high, entry, miss);
            entry = self.code.load(high_word(argument), entry);
        }
        entry
    }

    /// One case of any conditions, all of which must hold.
    fn case(&mut self, case: &Case, miss: Label) -> Label {
        let mut entry = self.code.ret(case.action);
        for condition in case.conditions.iter().rev() {
            entry = self.condition(*condition, entry, miss);
        }
        entry
    }

    fn condition(&mut self, condition: Condition, yes: Label, no: Label) -> Label {
        let argument = condition.argument;
        if yes == no {
            return yes;
        }
        match condition.comparison {
            Comparison::Equal(value) => self.masked(argument, u64::MAX, value, yes, no),
            Comparison::NotEqual(value) => self.masked(argument, u64::MAX, value, no, yes),
            Comparison::Masked { mask, value } => self.masked(argument, mask, value, yes, no),
            Comparison::Greater(value) => self.above(Test::Greater, argument, value, yes, no),
            Comparison::LessOrEqual(value) => self.above(Test::Greater, argument, value, no, yes),
            Comparison::GreaterOrEqual(value) => {
                self.above(Test::GreaterOrEqual, argument, value, yes, no)
            }
            Comparison::Less(value) => self.above(Test::GreaterOrEqual, argument, value, no, yes),
        }
    }

    /// Compares the bits of `mask`, the high word first. On a narrow interface only the low word is
    /// compared, as libseccomp does, so that a negative constant means the same on both.
    fn masked(&mut self, argument: u8, mask: u64, value: u64, yes: Label, no: Label) -> Label {
        let (mask_high, mask_low) = words(mask);
        let (high, low) = words(value);
        let mut entry = self.word(low_word(argument), mask_low, low, yes, no);
        if !self.narrow {
            entry = self.word(high_word(argument), mask_high, high, entry, no);
        }
        entry
    }

    fn word(&mut self, offset: u32, mask: u32, value: u32, yes: Label, no: Label) -> Label {
        if mask == 0 || yes == no {
            return yes;
        }
        let mut entry = self.code.branch(Test::Equal, value, yes, no);
        if mask != u32::MAX {
            entry = self.code.and(mask, entry);
        }
        self.code.load(offset, entry)
    }

    /// Compares as unsigned numbers; `test` is one of the two that mean "above".
    fn above(&mut self, test: Test, argument: u8, value: u64, yes: Label, no: Label) -> Label {
        let (high, low) = words(value);
        let entry = self.code.branch(test, low, yes, no);
        let entry = self.code.load(low_word(argument), entry);
        if self.narrow {
            return entry;
        }
        let entry = self.code.branch(Test::Equal, high, entry, no);
        let entry = self.code.branch(Test::Greater, high, yes, entry);
        self.code.load(high_word(argument), entry)
    }
}

/// A case that is decided by one comparison of a low word, if the high word is what it must be.
#[derive(Debug, Clone, Copy)]
struct WordTest {
    /// The argument, and what its high word must be; none where there is no high word.
    place: (u8, Option<u32>),
    test: Test,
    low: u32,
    negated: bool,
}

impl WordTest {
    fn of(case: &Case, narrow: bool) -> Option<Self> {
        let [condition] = case.conditions.as_slice() else {
            return None;
        };
        let (test, value, negated) = match condition.comparison {
            Comparison::Equal(value) => (Test::Equal, value, false),
            // Below 2^32, so the high word must be zero.
            Comparison::Less(value) if words(value).0 == 0 => (Test::GreaterOrEqual, value, true),
            Comparison::LessOrEqual(value) if words(value).0 == 0 => (Test::Greater, value, true),
            _ => return None,
        };
        let (high, low) = words(value);
        Some(Self {
            place: (condition.argument, (!narrow).then_some(high)),
            test,
            low,
            negated,
        })
    }
}

fn low_word(argument: u8) -> u32 {
    ARGUMENTS + 8 * u32::from(argument)
}

fn high_word(argument: u8) -> u32 {
    low_word(argument) + 4
}

/// The high and the low half.
fn words(value: u64) -> (u32, u32) {
    let low = u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let high = u32::try_from(value >> 32).unwrap_or(u32::MAX);
    (high, low)
}
