//! Writes a classic BPF program from its end to its beginning.
//!
//! All jumps of classic BPF go forward, so whoever writes backward knows every target already. A
//! [`Label`] is the distance of an instruction from the end, which nothing written later changes.
//! A conditional jump reaches 255 instructions (`linux/filter.h`, 8-bit `jt` and `jf`); the assembler
//! puts a near copy of a return, or a long jump, right behind a jump that would not reach.

use libc::sock_filter;

/// The place of an instruction, counted from the end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// What a conditional jump asks of the accumulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    /// Is it equal to the constant?
    Equal,
    /// Is it greater, as unsigned numbers?
    Greater,
    /// Is it greater or equal?
    GreaterOrEqual,
}

// linux/bpf_common.h; spelled out because a code is 16 bits wide and libc's constants are not.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const GREATER_OR_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K

/// Farthest a label may be for a conditional jump: 255, less the two instructions that bringing the
/// other target near may put in between.
const REACH: usize = 253;

/// A program under construction.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    reversed: Vec<sock_filter>,
    /// The newest return of each action, newest found last.
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(sock_filter { code, jt, jf, k });
        Label(self.reversed.len() - 1)
    }

    /// How many instructions lie between the next one and `target`.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len().saturating_sub(target.0 + 1)
    }

    /// Returns `action` to the kernel; the newest such return if there is one.
    pub(crate) fn ret(&mut self, action: u32) -> Label {
        let known = self.returns.iter().find(|(known, _)| *known == action);
        match known {
            Some((_, label)) => *label,
            None => self.fresh_return(action),
        }
    }

    fn fresh_return(&mut self, action: u32) -> Label {
        let label = self.push(RETURN, 0, 0, action);
        self.returns.retain(|(known, _)| *known != action);
        self.returns.push((action, label));
        label
    }

    /// The action of the return at `target`; none where another instruction stands there.
    fn returned(&self, target: Label) -> Option<u32> {
        let instruction = self.reversed.get(target.0)?;
        (instruction.code == RETURN).then_some(instruction.k)
    }

    fn jump(&mut self, target: Label) -> Label {
        let distance = u32::try_from(self.distance(target)).unwrap_or(u32::MAX);
        self.push(JUMP, 0, 0, distance)
    }

    /// A label with the meaning of `target` that a conditional jump can reach.
    fn near(&mut self, target: Label) -> Label {
        if self.distance(target) <= REACH {
            return target;
        }
        let Some(action) = self.returned(target) else {
            return self.jump(target);
        };
        let newest = self.ret(action);
        if self.distance(newest) <= REACH {
            return newest;
        }
        self.fresh_return(action)
    }

    /// Makes `target` the instruction that follows the next one.
    fn fall_into(&mut self, target: Label) {
        if self.distance(target) > 0 {
            match self.returned(target) {
                Some(action) => self.fresh_return(action),
                None => self.jump(target),
            };
        }
    }

    /// Goes to `yes` or `no` by comparing the accumulator with `k`; no instruction where both agree.
    pub(crate) fn branch(&mut self, test: Test, k: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        let yes = self.near(yes);
        let no = self.near(no);
        let code = match test {
            Test::Equal => EQUAL,
            Test::Greater => GREATER,
            Test::GreaterOrEqual => GREATER_OR_EQUAL,
        };
        let jt = u8::try_from(self.distance(yes)).unwrap_or(u8::MAX);
        let jf = u8::try_from(self.distance(no)).unwrap_or(u8::MAX);
        self.push(code, jt, jf, k)
    }

    /// Loads the word at `offset` of `struct seccomp_data`, then goes on at `next`.
    pub(crate) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.fall_into(next);
        self.push(LOAD, 0, 0, offset)
    }

    /// Keeps only the bits of `mask` in the accumulator, then goes on at `next`.
    pub(crate) fn and(&mut self, mask: u32, next: Label) -> Label {
        self.fall_into(next);
        self.push(AND, 0, 0, mask)
    }

    /// The program, beginning at `entry`.
    pub(crate) fn finish(mut self, entry: Label) -> Vec<sock_filter> {
        self.fall_into(entry);
        self.reversed.reverse();
        self.reversed
    }
}
