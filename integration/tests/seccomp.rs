//! The filter: what it answers, and through which doors.

use anyhow::Result;
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
