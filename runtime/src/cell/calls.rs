//! The system calls of a cell.

use hostrun_seccomp_profiles::{Filter, compile};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

/// Reading, hashing, inflating, and files with all their attributes, below the root that there is;
/// memory, threads, and their end; messages on the sockets that are kept. Names that an architecture does not have are passed over.
const CALLS: [&str; 91] = [
    "brk",
    "chdir",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "close",
    "dup",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fallocate",
    "fchdir",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "fcntl",
    "fdatasync",
    "fgetxattr",
    "flock",
    "fsetxattr",
    "fstat",
    "fstatfs",
    "fsync",
    "ftruncate",
    "futex",
    "futex_waitv",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getrandom",
    "gettid",
    "getuid",
    "lgetxattr",
    "linkat",
    "lsetxattr",
    "lseek",
    "madvise",
    "membarrier",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "nanosleep",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "poll",
    "ppoll",
    "pread64",
    "preadv",
    "pwrite64",
    "pwritev",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "recvmsg",
    "renameat",
    "renameat2",
    "restart_syscall",
    "rmdir",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "sendmsg",
    "set_robust_list",
    "setsockopt",
    "sigaltstack",
    "stat",
    "statx",
    "symlinkat",
    "umask",
    "uname",
    "unlink",
    "unlinkat",
    "utimensat",
    "write",
];

/// `ENOSYS` for `clone3`, whose flags a filter cannot see: libraries fall back to `clone`.
const NO_SUCH_CALL: u32 = 38;

/// The program; none if it does not compile, which a test rules out.
pub(super) fn filter() -> Option<Filter> {
    compile(&profile().ok()?).ok()
}

fn profile() -> Result<LinuxSeccomp, oci_spec::OciSpecError> {
    let allowed = LinuxSyscallBuilder::default()
        .names(CALLS.map(str::to_owned).to_vec())
        .action(LinuxSeccompAction::ScmpActAllow)
        .build()?;
    let no_clone3 = LinuxSyscallBuilder::default()
        .names(["clone3".to_owned()])
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(NO_SUCH_CALL)
        .build()?;
    let threads = u64::from(libc::CLONE_THREAD.cast_unsigned());
    let unix = u64::from(libc::AF_UNIX.cast_unsigned());
    let own_directory = u64::from(libc::CLONE_FS.cast_unsigned());
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .syscalls([
            allowed,
            no_clone3,
            // threads, but no processes
            only("clone", threads, threads)?,
            // and nothing that would take a right
            only("unshare", u64::MAX, own_directory)?,
            // an answer comes on a socket of its own, which reaches nobody by itself
            only("socketpair", u64::MAX, unix)?,
        ])
        .build()
}

/// A call whose first argument, of which only these bits count, has this value.
fn only(name: &str, bits: u64, value: u64) -> Result<LinuxSyscall, oci_spec::OciSpecError> {
    let argument = LinuxSeccompArgBuilder::default()
        .index(0_usize)
        .value(bits)
        .value_two(value)
        .op(LinuxSeccompOperator::ScmpCmpMaskedEq)
        .build()?;
    LinuxSyscallBuilder::default()
        .names([name.to_owned()])
        .action(LinuxSeccompAction::ScmpActAllow)
        .args([argument])
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostrun_seccomp_profiles::{allows, allows_call};

    #[test]
    fn the_list_compiles_and_holds_no_way_out() {
        assert!(filter().is_some());
        let profile = profile().unwrap();
        assert!(allows(&profile, &["openat2", "fsetxattr", "futex"]));
        for name in [
            "execve",
            "execveat",
            "socket",
            "connect",
            "ptrace",
            "mount",
            "setns",
            "bpf",
            "kill",
            "process_vm_writev",
            "pidfd_getfd",
            "io_uring_setup",
            "keyctl",
            "chroot",
            "fork",
            "open_by_handle_at",
            "userfaultfd",
            "perf_event_open",
            "init_module",
            "ioctl",
        ] {
            assert!(!allows(&profile, &[name]), "{name}");
        }
        let thread = u64::from((libc::CLONE_VM | libc::CLONE_THREAD).cast_unsigned());
        assert!(allows_call(&profile, "clone", &[thread]));
        assert!(!allows_call(&profile, "clone", &[17]));
        assert!(allows_call(&profile, "unshare", &[0x200]));
        assert!(!allows_call(&profile, "unshare", &[0x1000_0000 | 0x200]));
        let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_NETLINK, libc::AF_ALG];
        let pairs = families.map(|family| {
            allows_call(&profile, "socketpair", &[u64::from(family.cast_unsigned())])
        });
        assert_eq!(pairs, [true, false, false, false]);
    }
}
