//! Runs classic BPF as the kernel does for seccomp, in safe Rust, and refuses what the kernel refuses.
#![allow(dead_code, reason = "each test binary uses a part")]

use hostrun_seccomp_profiles::{Abi, Filter};
use libc::sock_filter;

pub(crate) const KILL: u32 = 0;
pub(crate) const ALLOW: u32 = 0x7fff_0000;
pub(crate) const ERRNO: u32 = 0x0005_0000;
pub(crate) const EPERM: u32 = ERRNO + 1;
pub(crate) const ENOSYS: u32 = ERRNO + 38;
pub(crate) const EAFNOSUPPORT: u32 = ERRNO + 97;

/// `struct seccomp_data` without the instruction pointer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) arch: u32,
    pub(crate) number: u32,
    pub(crate) args: [u64; 6],
}

impl Call {
    pub(crate) fn new(abi: Abi, number: u32, args: &[u64]) -> Self {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        Self {
            arch: abi.audit_arch(),
            number,
            args: all,
        }
    }

    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.arch,
            16..=60 if offset.is_multiple_of(4) => {
                let bytes = self.args[(offset as usize - 16) / 8].to_le_bytes();
                let half = if offset.is_multiple_of(8) { 0 } else { 4 };
                u32::from_le_bytes(std::array::from_fn(|at| bytes[half + at]))
            }
            _ => panic!("load of offset {offset}"),
        }
    }
}

/// What the program returns, and how many instructions that took.
pub(crate) fn run(program: &[sock_filter], call: &Call) -> (u32, usize) {
    let (mut at, mut accumulator, mut steps) = (0, 0_u32, 0);
    loop {
        let i = &program[at];
        steps += 1;
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { i.jt } else { i.jf });
        match i.code {
            0x20 => accumulator = call.word(i.k),
            0x54 => accumulator &= i.k,
            0x05 => at += i.k as usize,
            0x15 => jump(accumulator == i.k),
            0x25 => jump(accumulator > i.k),
            0x35 => jump(accumulator >= i.k),
            0x45 => jump(accumulator & i.k != 0),
            0x06 => return (i.k, steps),
            code => panic!("instruction {code:#x}"),
        }
    }
}

pub(crate) fn decide(filter: &Filter, abi: Abi, number: u32, args: &[u64]) -> u32 {
    run(filter.program(), &Call::new(abi, number, args)).0
}

/// The kernel's own checks (net/core/filter.c, `bpf_check_classic`): length, targets inside, a return
/// at the end. Also that every instruction can be reached: we write no dead ones.
pub(crate) fn verify(program: &[sock_filter]) {
    assert!(
        (1..=4096).contains(&program.len()),
        "{} instructions",
        program.len()
    );
    assert_eq!(program.last().map(|i| i.code), Some(0x06));
    let mut reached = vec![false; program.len()];
    reached[0] = true;
    for (at, i) in program.iter().enumerate() {
        let targets = match i.code {
            0x06 => vec![],
            0x05 => vec![at + 1 + i.k as usize],
            0x15 | 0x25 | 0x35 => vec![at + 1 + usize::from(i.jt), at + 1 + usize::from(i.jf)],
            0x20 | 0x54 => vec![at + 1],
            code => panic!("instruction {code:#x}"),
        };
        for target in targets {
            assert!(target < program.len(), "jump out of the program at {at}");
            reached[target] |= reached[at];
        }
    }
    let dead = reached.iter().position(|reached| !reached);
    assert_eq!(dead, None, "an instruction that is never reached");
}

/// One line an instruction.
pub(crate) fn disassemble(program: &[sock_filter]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for (at, i) in program.iter().enumerate() {
        let (yes, no) = (at + 1 + usize::from(i.jt), at + 1 + usize::from(i.jf));
        let word = match i.code {
            0x20 => match i.k {
                0 => "ld number".to_owned(),
                4 => "ld arch".to_owned(),
                k if k.is_multiple_of(8) => format!("ld arg{} low", (k - 16) / 8),
                k => format!("ld arg{} high", (k - 16) / 8),
            },
            0x54 => format!("and {:#x}", i.k),
            0x05 => format!("ja {}", at + 1 + i.k as usize),
            0x15 => format!("jeq {:#x} {yes} {no}", i.k),
            0x25 => format!("jgt {:#x} {yes} {no}", i.k),
            0x35 => format!("jge {:#x} {yes} {no}", i.k),
            0x06 => format!("ret {:#x}", i.k),
            code => format!("code {code:#x}"),
        };
        writeln!(text, "{at:4} {word}").unwrap();
    }
    text
}
