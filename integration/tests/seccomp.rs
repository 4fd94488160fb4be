//! The filter: what it answers, and through which doors.

use anyhow::{Result, ensure};
use hostrun_integration::refusal::{loud, refuse};
use hostrun_integration::{elf, on_stage, on_stage_of_hostrun};
use serde_json::json;

#[test]
fn seccomp_denies_with_the_errno_of_the_profile() -> Result<()> {
    on_stage(|stage| {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {"names": ["getcpu"], "action": "SCMP_ACT_ERRNO"},
                {"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
                {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97,
                 "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_EQ"}]}
            ]
        });
        for (what, number, args, errno) in [
            ("getcpu is denied", 309, [0, 0, 0], 1),
            ("getppid has its own errno", 110, [0, 0, 0], 95),
            ("socket of AF_ALG", 41, [38, 5, 0], 97),
            ("socket of AF_UNIX", 41, [1, 1, 0], 0),
            ("getuid is allowed", 102, [0, 0, 0], 0),
        ] {
            let bundle = stage
                .bundle()?
                .set("/linux/seccomp", profile.clone())
                .file("/bin/probe", 0o755, &elf::system_call(number, args))?
                .args(&["/bin/probe"]);
            assert_eq!(stage.run(&bundle)?.code(), errno, "{what}");
        }
        Ok(())
    })
}

#[test]
fn a_system_call_newer_than_the_profile_is_enosys_and_not_eperm() -> Result<()> {
    on_stage(|stage| {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["execve", "exit_group", "exit", "read", "close", "fstat",
                "openat2", "faccessat2", "brk", "arch_prctl", "prctl", "capset", "futex", "write",
                "openat", "fcntl", "epoll_pwait", "nanosleep", "getpid", "gettid", "tgkill",
                "rt_sigreturn", "getcwd", "fstatfs", "getdents64", "chdir", "newfstatat", "setgid",
                "setuid", "setgroups", "setresuid", "setresgid", "epoll_ctl", "close_range"],
                "action": "SCMP_ACT_ALLOW"}]
        });
        for (what, number, errno) in [
            ("a number no kernel has yet", 2000, 38),
            ("an old call that is not listed", 170, 1),
        ] {
            let bundle = stage
                .bundle()?
                .set("/linux/seccomp", profile.clone())
                .file("/bin/probe", 0o755, &elf::system_call(number, [0, 0, 0]))?
                .args(&["/bin/probe"]);
            let out = stage.run(&bundle)?;
            assert_eq!(out.code(), errno, "{what}: {}", out.stderr());
        }
        Ok(())
    })
}

#[test]
fn the_32_bit_door_has_the_same_rules() -> Result<()> {
    on_stage_of_hostrun(
        "libseccomp refuses by the architectures listed, which is tested above",
        |stage| {
            let profile = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]
            });
            let bundle = stage
                .bundle()?
                .set("/linux/seccomp", profile)
                .file("/bin/probe", 0o755, &elf::system_call_32(64, [0, 0, 0]))?
                .args(&["/bin/probe"]);
            assert_eq!(stage.run(&bundle)?.code(), 95);
            Ok(())
        },
    )
}

#[test]
fn architectures_of_other_machines_are_taken_and_unknown_ones_refused() -> Result<()> {
    on_stage(|stage| {
        let profile = |archs: serde_json::Value| {
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": archs,
                "syscalls": [{"names": ["getppid", "a_call_of_tomorrow"], "action": "SCMP_ACT_ERRNO"},
                    {"names": ["read"], "action": "SCMP_ACT_ALLOW"}]})
        };
        let many = json!([
            "SCMP_ARCH_X86_64",
            "SCMP_ARCH_X86",
            "SCMP_ARCH_X32",
            "SCMP_ARCH_ARM",
            "SCMP_ARCH_AARCH64",
            "SCMP_ARCH_MIPS",
            "SCMP_ARCH_MIPS64",
            "SCMP_ARCH_MIPS64N32",
            "SCMP_ARCH_MIPSEL",
            "SCMP_ARCH_MIPSEL64",
            "SCMP_ARCH_MIPSEL64N32",
            "SCMP_ARCH_PPC",
            "SCMP_ARCH_PPC64",
            "SCMP_ARCH_PPC64LE",
            "SCMP_ARCH_S390",
            "SCMP_ARCH_S390X",
            "SCMP_ARCH_RISCV64"
        ]);
        // libseccomp wants one byte order for all of them
        let few = json!([
            "SCMP_ARCH_X86_64",
            "SCMP_ARCH_X86",
            "SCMP_ARCH_ARM",
            "SCMP_ARCH_AARCH64"
        ]);
        let archs = if stage.runtime().is_runc() { few } else { many };
        let bundle = stage
            .bundle()?
            .set("/linux/seccomp", profile(archs))
            .file("/bin/probe", 0o755, &elf::system_call(110, [0, 0, 0]))?
            .args(&["/bin/probe"]);
        assert_eq!(stage.run(&bundle)?.code(), 1);
        let unknown = loud(stage)?.set("/linux/seccomp", profile(json!(["SCMP_ARCH_Z80"])));
        let line = refuse(stage, "an unknown architecture", &unknown)?;
        ensure!(
            line.contains("SCMP_ARCH_Z80 is not a valid arch for seccomp"),
            "{line}"
        );
        let named = line.contains("linux.seccomp.architectures[0]");
        ensure!(stage.runtime().is_runc() || named, "{line}");
        Ok(())
    })
}

#[test]
fn a_profile_that_denies_what_a_start_is_made_of_does_not_stop_it() -> Result<()> {
    on_stage(|stage| {
        for privileges in [false, true] {
            let deny = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
                "names": ["close_range", "fsopen", "fsconfig", "fspick", "openat2", "open_tree",
                    "move_mount", "mount_setattr", "mount", "pivot_root", "setns", "clone3"],
                "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]});
            let bundle = stage
                .bundle()?
                .set("/process/noNewPrivileges", json!(!privileges))
                .set("/linux/seccomp", deny);
            stage.run(&bundle)?.ok()?;
        }
        Ok(())
    })
}

#[test]
fn a_profile_that_denies_getcwd_does_not_stop_a_start() -> Result<()> {
    on_stage_of_hostrun("runc looks at its folder behind the filter", |stage| {
        for privileges in [false, true] {
            let deny = json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}]});
            let bundle = stage
                .bundle()?
                .set("/process/noNewPrivileges", json!(!privileges))
                .set("/process/cwd", json!("/tmp"))
                .set("/linux/seccomp", deny);
            stage.run(&bundle)?.ok()?;
        }
        Ok(())
    })
}
