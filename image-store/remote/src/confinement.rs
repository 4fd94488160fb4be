//! The end of all rights, before the first byte of the network is read.
//!
//! What is left: a user that nobody else is, no capability, no way to get one; of the file system, the
//! three files that names of hosts are looked up in; of the kernel, threads, memory, and sockets of IP. A
//! registry that takes this process over has the credentials for itself, and the network.

use std::collections::BTreeMap;

use hostrun_image_store::registry::wire::Fault;
use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
    path_beneath_rules,
};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::failure::Failure;

/// Above what systemd, shadow and containers give to users; with our process id added nobody else is it,
/// not even another of us.
const FIRST_USER: u32 = 2_000_000_000;

/// `nobody`, where our user namespace ends before [`FIRST_USER`].
const NOBODY: u32 = 65_534;

/// Where names of hosts are looked up.
const LOOKED_UP: [&str; 3] = ["/etc/hosts", "/etc/resolv.conf", "/etc/services"];

/// Closes what a careless caller has left open for us.
pub(crate) fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // The one the list was read through is closed already.
        nix::unistd::close(fd).ok();
    }
}

/// Drops every right.
///
/// # Errors
/// When one could not be dropped; then nothing may be read from the network.
pub(crate) fn enter() -> Result<(), Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Failure::new(Fault::Unsupported, format!("cannot drop {what}: {error}"))
    };
    become_nobody().map_err(|error| failed("the rights of its caller", &error))?;
    limit().map_err(|error| failed("resources", &error))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| failed("privileges", &error))?;
    leave_files().map_err(|error| failed("the file system", &error))?;
    let filter = filter().map_err(|error| failed("system calls", &error))?;
    seccompiler::apply_filter(&filter).map_err(|error| failed("system calls", &error))
}

/// Capabilities go with the last user id that was root's.
fn become_nobody() -> nix::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    setgroups(&[])?;
    let own = FIRST_USER.saturating_add(std::process::id());
    let become_user = |id: u32| {
        let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
        setresgid(group, group, group)?;
        setresuid(user, user, user)
    };
    become_user(own).or_else(|_unknown_here| become_user(NOBODY))
}

fn limit() -> nix::Result<()> {
    let limits = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, 256),
        (Resource::RLIMIT_NPROC, 64),
        (Resource::RLIMIT_AS, 1 << 30),
    ];
    limits
        .into_iter()
        .try_for_each(|(resource, most)| setrlimit(resource, most, most))
}

/// Kernels that do not know a part of it leave that part out: the user id stands on its own.
fn leave_files() -> Result<(), landlock::RulesetError> {
    let abi = ABI::V6;
    Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(LOOKED_UP, AccessFs::ReadFile))?
        .restrict_self()
        .map(drop)
}

/// Calls that need no look at their arguments.
const CALLS: [libc::c_long; 63] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_stat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_arch_prctl,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_uname,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// All other calls fail with EPERM, whose callers then say what they could not do.
fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let is = |index, length, operator, value| -> Result<SeccompRule, seccompiler::BackendError> {
        SeccompRule::new(vec![SeccompCondition::new(index, length, operator, value)?])
    };
    let word = SeccompCmpArgLen::Dword;
    let family = |family: libc::c_int| {
        is(
            0,
            word.clone(),
            SeccompCmpOp::Eq,
            u64::from(family.unsigned_abs()),
        )
    };
    let sockets = vec![family(libc::AF_INET)?, family(libc::AF_INET6)?];
    rules.insert(libc::SYS_socket, sockets);
    // Threads only. clone3 keeps its flags where no filter can look, and musl does without it.
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let threads = is(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(thread),
        thread,
    )?;
    rules.insert(libc::SYS_clone, vec![threads]);
    // std names its threads.
    let name = u64::from(libc::PR_SET_NAME.unsigned_abs());
    rules.insert(libc::SYS_prctl, vec![is(0, word, SeccompCmpOp::Eq, name)?]);
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = TargetArch::x86_64;
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?.try_into()
}
