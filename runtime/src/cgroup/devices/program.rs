//! Assembles device rules into eBPF, as plain data: 8-byte instructions, no maps, no helpers, no loops.
//!
//! Rules are tried from the last to the first. Register 3 holds the accesses that are asked for and not
//! decided yet: an allow rule takes its own away and ends with 1 when none is left, a deny rule ends with
//! 0 when it has one of them. What no rule decides is denied.

use super::rule::{ALL, Rule};

/// Largest numbers that a device of the kernel can have (`MINORBITS` of `linux/kdev_t.h`).
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

// Operation codes of `linux/bpf.h`, class and operation and source joined.
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE_REGISTER: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const MOVE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const JUMP_IF_NOT_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const JUMP_IF_SET: u8 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const JUMP: u8 = 0x05; // BPF_JMP | BPF_JA
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// A program ready for `BPF_PROG_LOAD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program(Vec<u64>);

impl Program {
    /// Assembles rules in the order of the configuration.
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut code = Code(Vec::with_capacity(8 + rules.len() * 7));
        code.prologue();
        for rule in rules.iter().rev().filter(|rule| can_match(rule)) {
            code.rule(rule);
        }
        // The verifier refuses instructions that cannot be reached.
        if !rules.first().is_some_and(Rule::is_everything) {
            code.end(false);
        }
        Self(code.0)
    }

    /// `struct bpf_insn` each.
    pub(crate) fn instructions(&self) -> &[u64] {
        &self.0
    }
}

fn can_match(rule: &Rule) -> bool {
    rule.major.is_none_or(|major| major <= MAX_MAJOR)
        && rule.minor.is_none_or(|minor| minor <= MAX_MINOR)
}

struct Code(Vec<u64>);

impl Code {
    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, value: i32) {
        let registers = if cfg!(target_endian = "little") {
            from << 4 | to
        } else {
            to << 4 | from
        };
        let [o0, o1] = offset.to_ne_bytes();
        let [v0, v1, v2, v3] = value.to_ne_bytes();
        let bytes = [code, registers, o0, o1, v0, v1, v2, v3];
        self.0.push(u64::from_ne_bytes(bytes));
    }

    /// `struct bpf_cgroup_dev_ctx`: access above 16 bits of type, major, minor.
    fn prologue(&mut self) {
        self.push(LOAD_WORD, KIND, CONTEXT, 0, 0);
        self.push(LOAD_WORD, MAJOR, CONTEXT, 4, 0);
        self.push(LOAD_WORD, MINOR, CONTEXT, 8, 0);
        self.push(MOVE_REGISTER, ASKED, KIND, 0, 0);
        self.push(SHIFT_RIGHT, ASKED, 0, 0, 16);
        self.push(AND, KIND, 0, 0, 0xffff);
    }

    fn rule(&mut self, rule: &Rule) {
        let mut body = Code(Vec::with_capacity(4));
        body.decide(rule.allow, rule.access);
        let tests = [
            (KIND, rule.kind.map(|kind| kind as i32)),
            (
                MAJOR,
                rule.major.and_then(|major| i32::try_from(major).ok()),
            ),
            (
                MINOR,
                rule.minor.and_then(|minor| i32::try_from(minor).ok()),
            ),
        ];
        let tests: Vec<(u8, i32)> = tests
            .into_iter()
            .filter_map(|(register, value)| value.map(|value| (register, value)))
            .collect();
        let mut left = tests.len() + body.0.len();
        for (register, value) in tests {
            left -= 1;
            self.push(JUMP_IF_NOT_EQUAL, register, 0, forward(left), value);
        }
        self.0.append(&mut body.0);
    }

    fn decide(&mut self, allow: bool, access: u8) {
        match (allow, access) {
            (_, ALL) => {}
            (true, _) => {
                self.push(AND, ASKED, 0, 0, i32::from(ALL & !access));
                self.push(JUMP_IF_NOT_EQUAL, ASKED, 0, 2, 0);
            }
            (false, _) => {
                self.push(JUMP_IF_SET, ASKED, 0, 1, i32::from(access));
                self.push(JUMP, 0, 0, 2, 0);
            }
        }
        self.end(allow);
    }

    fn end(&mut self, allow: bool) {
        self.push(MOVE, ANSWER, 0, 0, i32::from(allow));
        self.push(EXIT, 0, 0, 0, 0);
    }
}

/// A rule has seven instructions at most, so this cannot overflow.
fn forward(instructions: usize) -> i16 {
    i16::try_from(instructions).unwrap_or(i16::MAX)
}
