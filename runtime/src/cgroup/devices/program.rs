//! Assembles a decision table into eBPF, as plain data: 8-byte instructions, no maps, no helpers, no loops.
//!
//! One comparison for each number that has an answer of its own, all jumping to the few different answers
//! at the end. The verifier so sees each instruction about once: a program that tries rule after rule is
//! quadratic for it, and a list of some hundred rules is refused.

use super::rule::{ALL, Kind};
use super::table::{Section, Table};

// Operation codes of `linux/bpf.h`, class and operation and source joined.
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE_REGISTER: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const MOVE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const OR_REGISTER: u8 = 0x4c; // BPF_ALU | BPF_OR | BPF_X
const SHIFT_LEFT: u8 = 0x64; // BPF_ALU | BPF_LSH | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const JUMP_IF_EQUAL: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K, since Linux 5.1
const JUMP: u8 = 0x05; // BPF_JMP | BPF_JA
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

const ANSWER: u8 = 0;
/// Holds the context on entry, major and minor joined afterwards.
const CONTEXT: u8 = 1;
const NUMBER: u8 = 1;
const KIND: u8 = 2;
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// `MINORBITS` of `linux/kdev_t.h`.
const MINOR_BITS: u32 = 20;

/// A program ready for `BPF_PROG_LOAD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program(Vec<u64>);

impl Program {
    pub(super) fn new(table: &Table) -> Self {
        let mut code = Code::default();
        code.prologue();
        for (kind, section) in [(Kind::Char, &table.char), (Kind::Block, &table.block)] {
            let mut body = Code::default();
            body.section(section);
            // Over the jump that leaves the section's place to the other kind.
            code.push(JUMP_IF_EQUAL, KIND, 0, 1, kind as u32);
            code.push(JUMP, 0, 0, offset(body.words.len()), 0);
            code.append(body);
        }
        code.answer(0);
        code.answers();
        Self(code.words)
    }

    /// `struct bpf_insn` each.
    pub(crate) fn instructions(&self) -> &[u64] {
        &self.0
    }
}

#[derive(Default)]
struct Code {
    words: Vec<u64>,
    /// Jumps to an answer, to be aimed when the place of the answers is known.
    jumps: Vec<(usize, Jump)>,
}

#[derive(Clone, Copy)]
struct Jump {
    code: u8,
    register: u8,
    value: u32,
    allowed: u8,
}

fn word(code: u8, to: u8, from: u8, offset: i16, value: u32) -> u64 {
    let registers = if cfg!(target_endian = "little") {
        from << 4 | to
    } else {
        to << 4 | from
    };
    let [o0, o1] = offset.to_ne_bytes();
    let [v0, v1, v2, v3] = value.to_ne_bytes();
    u64::from_ne_bytes([code, registers, o0, o1, v0, v1, v2, v3])
}

impl Code {
    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, value: u32) {
        self.words.push(word(code, to, from, offset, value));
    }

    fn append(&mut self, other: Self) {
        let start = self.words.len();
        self.words.extend(other.words);
        self.jumps
            .extend(other.jumps.into_iter().map(|(at, jump)| (start + at, jump)));
    }

    /// `struct bpf_cgroup_dev_ctx`: access above 16 bits of type, major, minor.
    fn prologue(&mut self) {
        self.push(LOAD_WORD, KIND, CONTEXT, 0, 0);
        self.push(LOAD_WORD, MAJOR, CONTEXT, 4, 0);
        self.push(LOAD_WORD, MINOR, CONTEXT, 8, 0);
        self.push(MOVE_REGISTER, ASKED, KIND, 0, 0);
        self.push(SHIFT_RIGHT, ASKED, 0, 0, 16);
        self.push(AND, KIND, 0, 0, 0xffff);
        self.push(MOVE_REGISTER, NUMBER, MAJOR, 0, 0);
        self.push(SHIFT_LEFT, NUMBER, 0, 0, MINOR_BITS);
        self.push(OR_REGISTER, NUMBER, MINOR, 0, 0);
    }

    fn section(&mut self, section: &Section) {
        for (&(major, minor), &allowed) in &section.exact {
            self.jump(JUMP_IF_EQUAL, NUMBER, major << MINOR_BITS | minor, allowed);
        }
        for (&major, &allowed) in &section.majors {
            self.jump(JUMP_IF_EQUAL, MAJOR, major, allowed);
        }
        for (&minor, &allowed) in &section.minors {
            self.jump(JUMP_IF_EQUAL, MINOR, minor, allowed);
        }
        self.jump(JUMP, 0, 0, section.other);
    }

    fn jump(&mut self, code: u8, register: u8, value: u32, allowed: u8) {
        let jump = Jump {
            code,
            register,
            value,
            allowed,
        };
        self.jumps.push((self.words.len(), jump));
        self.words.push(0);
    }

    /// Puts each answer that is used at the end and aims the jumps at it.
    fn answers(&mut self) {
        let jumps = std::mem::take(&mut self.jumps);
        for allowed in 0..=ALL {
            let place = self.words.len();
            let mut used = false;
            for (at, jump) in jumps.iter().filter(|(_at, jump)| jump.allowed == allowed) {
                used = true;
                if let Some(hole) = self.words.get_mut(*at) {
                    let Jump {
                        code,
                        register,
                        value,
                        ..
                    } = *jump;
                    *hole = word(code, register, 0, offset(place - at - 1), value);
                }
            }
            if used {
                self.answer(allowed);
            }
        }
    }

    /// 1 when nothing is asked for but what is allowed.
    fn answer(&mut self, allowed: u8) {
        self.push(MOVE, ANSWER, 0, 0, u32::from(allowed != 0));
        if allowed != 0 && allowed != ALL {
            self.push(AND, ASKED, 0, 0, u32::from(ALL & !allowed));
            self.push(JUMP_IF_EQUAL, ASKED, 0, 1, 0);
            self.push(MOVE, ANSWER, 0, 0, 0);
        }
        self.push(EXIT, 0, 0, 0, 0);
    }
}

/// The table has some thousand entries at most, so this cannot overflow.
fn offset(words: usize) -> i16 {
    i16::try_from(words).unwrap_or(i16::MAX)
}
