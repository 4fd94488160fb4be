//! Compiles the default profile, with the same modules that compile profiles at run time.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the modules are shared with the library, which uses the rest of them"
)]

#[path = "src/abi.rs"]
mod abi;
#[path = "src/assembler.rs"]
mod assembler;
#[path = "src/decision.rs"]
mod decision;
#[path = "src/defaults.rs"]
mod defaults;
#[path = "src/document.rs"]
mod document;
#[path = "src/error.rs"]
mod error;
#[path = "src/multiplexer.rs"]
mod multiplexer;
#[path = "src/policy.rs"]
mod policy;
#[path = "src/program.rs"]
mod program;
#[path = "src/table.rs"]
mod table;

use abi::Abi;
use document::{Conditions, Target};
use oci_spec::runtime::{LinuxSeccomp, LinuxSyscall};
use std::error::Error;
use std::fmt::Write as _;

const PROFILE: &str = "profiles/default.json";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=tables");
    println!("cargo::rerun-if-changed={PROFILE}");
    let target = Target {
        capabilities: &defaults::DEFAULT_CAPABILITIES,
        kernel: defaults::OLDEST_KERNEL,
        abi: native(&std::env::var("CARGO_CFG_TARGET_ARCH")?)?,
    };
    println!(
        "cargo::rustc-env=HOSTRUN_SECCOMP_COMPILER={:016x}",
        sources()?
    );
    let json = std::fs::read(PROFILE)?;
    let profile = document::load_for(&json, &target)?;

    let mut text = String::new();
    write_head(&mut text, &profile)?;
    write_rules(&mut text, &json, &target)?;
    write_program(&mut text, &profile, target.abi)?;
    let directory = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    std::fs::write(std::path::Path::new(&directory).join("builtin.rs"), text)?;
    Ok(())
}

/// A number that changes with what programs are made of and by.
fn sources() -> std::io::Result<u64> {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    for directory in ["src", "tables"] {
        let files: Result<Vec<_>, _> = std::fs::read_dir(directory)?.collect();
        let mut paths: Vec<_> = files?.into_iter().map(|file| file.path()).collect();
        paths.sort();
        for path in paths {
            hasher.write(&std::fs::read(path)?);
        }
    }
    Ok(hasher.finish())
}

/// The interface of the machine that is built for; the script itself may run on another.
fn native(arch: &str) -> Result<Abi, String> {
    match arch {
        "x86_64" => Ok(Abi::X86_64),
        "x86" => Ok(Abi::X86),
        "aarch64" => Ok(Abi::Aarch64),
        "arm" => Ok(Abi::Arm),
        _ => Err(format!("no table of system calls for {arch}")),
    }
}

fn write_head(text: &mut String, profile: &LinuxSeccomp) -> Result<(), Box<dyn Error>> {
    writeln!(
        text,
        "const DEFAULT_ACTION: LinuxSeccompAction = LinuxSeccompAction::{:?};",
        profile.default_action()
    )?;
    let errno = profile.default_errno_ret();
    writeln!(text, "const DEFAULT_ERRNO: Option<u32> = {errno:?};")?;
    writeln!(text, "static ARCHITECTURES: &[Arch] = &[")?;
    for arch in profile.architectures().iter().flatten() {
        writeln!(text, "    Arch::{arch:?},")?;
    }
    writeln!(text, "];")?;
    Ok(())
}

/// The rules that some set of capabilities has on this machine.
fn write_rules(text: &mut String, json: &[u8], target: &Target) -> Result<(), Box<dyn Error>> {
    writeln!(text, "static RULES: &[BuiltinRule] = &[")?;
    for entry in document::parse(json)?.syscalls.iter().flatten() {
        let conditions = entry.conditions(PROFILE)?;
        if conditions.hold_but_capabilities(target) {
            write_rule(text, &entry.rule(PROFILE)?, &conditions, target)?;
        }
    }
    writeln!(text, "];")?;
    Ok(())
}

fn write_rule(
    text: &mut String,
    rule: &LinuxSyscall,
    conditions: &Conditions,
    target: &Target,
) -> Result<(), Box<dyn Error>> {
    writeln!(text, "    BuiltinRule {{")?;
    writeln!(text, "        names: &{:?},", rule.names())?;
    writeln!(
        text,
        "        action: LinuxSeccompAction::{:?},",
        rule.action()
    )?;
    writeln!(text, "        errno: {:?},", rule.errno_ret())?;
    writeln!(text, "        args: &[")?;
    for arg in rule.args().iter().flatten() {
        let (index, value, value_two, op) = (arg.index(), arg.value(), arg.value_two(), arg.op());
        write!(
            text,
            "BuiltinArg {{ index: {index}, value: {value}, value_two: {value_two:?}, "
        )?;
        writeln!(text, "op: LinuxSeccompOperator::{op:?} }},")?;
    }
    writeln!(text, "        ],")?;
    let (needs, lacks) = conditions.capabilities();
    for (field, list) in [("needs", needs), ("lacks", lacks)] {
        write!(text, "        {field}: &[")?;
        for capability in list {
            write!(text, "Capability::{capability:?}, ")?;
        }
        writeln!(text, "],")?;
    }
    writeln!(text, "        standard: {},", conditions.hold(target))?;
    writeln!(text, "    }},")?;
    Ok(())
}

fn write_program(
    text: &mut String,
    profile: &LinuxSeccomp,
    native: Abi,
) -> Result<(), Box<dyn Error>> {
    let program = program::assemble(&policy::read(profile, native)?)?;
    writeln!(text, "pub(crate) static PROGRAM: &[sock_filter] = &[")?;
    for instruction in program {
        let libc::sock_filter { code, jt, jf, k } = instruction;
        writeln!(
            text,
            "    sock_filter {{ code: {code}, jt: {jt}, jf: {jf}, k: {k} }},"
        )?;
    }
    writeln!(text, "];")?;
    Ok(())
}
