//! What the room is told to do: flat plain data, made by the parent before the clone.
//!
//! Nothing here owns anything. The child reads its own copy of the parent's memory, so plain
//! references are enough; descriptors are numbers because the child inherited the table too.

mod guard;
mod treatment;
mod tree;

pub use guard::{Capabilities, Identity, Labels, Landlock, LandlockPath, LandlockPort, Seccomp};
pub use treatment::{Affinity, CPU_WORDS, Cpus, MemoryPolicy, Scheduler, Treatment};
pub use tree::{Attributes, Changes, Device, Link, Make, Mount, Node, Root, Source};

use core::cell::Cell;
use core::ffi::{CStr, c_char};

/// A descriptor inherited from the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fd(pub i32);

/// Everything the room does, in the order of the fields.
///
/// One value describes both a new container (`root` is given) and a process that joins one
/// (`root` is `None`).
#[derive(Debug)]
pub struct Orders<'a> {
    /// Our end of the `SOCK_SEQPACKET` pair shared with the parent; close-on-exec, so that the
    /// parent reads end-of-file exactly when `execve(2)` has succeeded.
    pub parent: Fd,
    /// The parent's end of that pair: it must not stay open in us, or its death would go unseen.
    pub peer: Fd,
    /// All descriptors that are used below and are above the preserved ones, in ascending order.
    /// Everything else is closed first: sockets of other threads, the parent's directories.
    pub kept: &'a [Fd],
    /// Signals that the parent ignores, bit 0 for signal 1: ignoring survives `execve(2)`.
    pub ignored_signals: u64,
    /// A procfs of the host, opened and checked by the parent; only where something below needs it.
    pub host_proc: Option<Fd>,
    /// Written to our own `oom_score_adj`; `None` where the parent does it.
    pub oom_score_adj: Option<&'a [u8]>,
    /// Namespaces to join with `setns(2)`, in order.
    pub joins: &'a [Join],
    /// A mount namespace to join and to copy: next to nothing is mounted in it, where in the parent's
    /// there may be thousands of mounts, which a copy would have to be made and taken down of.
    pub mounts_from: Option<Fd>,
    /// Set where the process must be born inside what was joined: a pid namespace, so that nobody
    /// there sees it before it is inside all others; or a user namespace that is to own new ones.
    pub second_clone: Option<SecondClone>,
    /// Enter this directory by `chroot(2)` once all is joined: the root of a container that has no
    /// mount namespace of its own to be joined.
    pub enter: Option<Fd>,
    /// A time namespace with these lines for `timens_offsets`.
    pub time_offsets: Option<&'a [u8]>,
    /// Wait for one byte from the parent (identity maps written, limits set), then become its root.
    pub user_namespace: bool,
    /// The parent is an ordinary user: it could not reach a process that hides from it, so we hide
    /// only when it has done its part.
    pub ordinary_parent: bool,
    /// Name of the session keyring to join, `keyctl(2)`.
    pub keyring: Option<&'a CStr>,
    /// The new root and all that is mounted below it.
    pub root: Option<Root<'a>>,
    /// Allocate a terminal and make it our controlling one.
    pub console: Option<Console>,
    /// Bring the loopback device of the new network namespace up.
    pub loopback: bool,
    /// Ask the parent to move interfaces of the host into our network namespace.
    pub net_devices: bool,
    /// Ask the parent to move us into a class of service of the processor.
    pub class_of_service: bool,
    /// For `sethostname(2)`.
    pub hostname: Option<&'a [u8]>,
    /// For `setdomainname(2)`.
    pub domainname: Option<&'a [u8]>,
    /// Written below `/proc/sys`, through a procfs that was mounted by us.
    pub sysctls: &'a [Sysctl<'a>],
    /// For `prlimit(2)`; empty where the parent does it.
    pub rlimits: &'a [Rlimit],
    /// Descriptors that become 0, 1 and 2; ignored where there is a console.
    pub stdio: [Fd; 3],
    /// How many descriptors from 3 on the payload keeps.
    pub preserved_fds: u32,
    /// How the kernel treats the process.
    pub treatment: Treatment<'a>,
    /// What the program may do with files, ports and neighbours.
    pub landlock: Option<Landlock<'a>>,
    /// What security modules make of the program.
    pub labels: Labels<'a>,
    /// Who the payload is.
    pub identity: Identity<'a>,
    /// What it may do.
    pub capabilities: Capabilities,
    /// Its working directory, below the root, without a leading slash.
    pub cwd: &'a CStr,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// The filter, installed last.
    pub seccomp: Option<Seccomp<'a>>,
    /// Programs of others to run on the way.
    pub hooks: Hooks<'a>,
    /// Wait until somebody starts the payload.
    pub park: Option<Park<'a>>,
    /// What to become; where it is said only to the parked process, of no meaning.
    pub program: Program<'a>,
}

/// A program with its arguments. The lists are cells because a parked process may be told another
/// one, which the kernel then writes over ours.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Paths to try, in order.
    pub candidates: &'a [Cell<*const c_char>],
    /// Null-terminated.
    pub argv: &'a [Cell<*const c_char>],
    /// Null-terminated.
    pub envp: &'a [Cell<*const c_char>],
}

/// How to wait for the start.
#[derive(Clone, Copy, Debug)]
pub struct Park<'a> {
    /// A listening socket: whoever reaches it may start us.
    pub listener: Fd,
    /// The socket to the parent stays open, and a start may come over it, too.
    pub keeps_line: bool,
    /// Where the program is, or where it is to be kept when it comes over that socket. The parent
    /// knows where this is: pointers in the message are right.
    pub page: Option<&'a [Cell<*const c_char>]>,
    /// The program is in the page already. Where it is not, nobody but the parent knows us until it
    /// comes, and we die with it.
    pub told: bool,
    /// Beginnings and ends of what is of the parent's memory and of no use to us, by turns; empty
    /// where something of it is needed after the wait.
    pub surplus: &'a [Cell<*const c_char>],
    /// Install the filter before waiting: it lets through whatever is left to do.
    pub behind_filter: bool,
}

impl Park<'_> {
    /// Bit in the message with a program: it is executed at once.
    pub const GO: usize = 1 << 3;
}

/// One namespace to join.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    /// A namespace file or a pidfd.
    pub fd: Fd,
    /// `CLONE_NEW*` flags for `setns(2)`.
    pub flags: i32,
}

/// The clone made by a child that first had to join namespaces.
#[derive(Clone, Copy, Debug)]
pub struct SecondClone {
    /// Become root of a joined user namespace first.
    pub become_root: bool,
    /// `CLONE_NEW*` flags of the namespaces to create. The cgroup is inherited.
    pub flags: u64,
    /// The first process lives in its maker's memory, which stands still until the second is there:
    /// it changes nothing that belongs to the memory, as what `PR_SET_DUMPABLE` sets.
    pub borrows: bool,
    /// It is made last, of a process that has given up all the payload does not get: in its pid namespace
    /// others may stop it and use what it has.
    pub late: bool,
    /// The filter comes before, too: it lets through what is left to do. Without it a filter that takes
    /// a capability keeps a process from being made late.
    pub behind_filter: bool,
}

impl Orders<'_> {
    /// Is there a second process, and is it made last?
    pub(crate) fn is_born_late(&self) -> bool {
        self.second_clone.is_some_and(|second| second.late)
    }

    /// And behind the filter?
    pub(crate) fn is_born_behind_filter(&self) -> bool {
        self.second_clone
            .is_some_and(|second| second.late && second.behind_filter)
    }
}

/// The terminal.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// Rows and columns, 0 where not given.
    pub size: (u16, u16),
    /// Owner of the terminal.
    pub uid: u32,
    /// Bind it to `/dev/console` (a new container), or not (a process that joins one).
    pub bind: bool,
}

/// One sysctl.
#[derive(Clone, Copy, Debug)]
pub struct Sysctl<'a> {
    /// Path below the procfs, starting with `sys/`.
    pub path: &'a CStr,
    /// What is written.
    pub value: &'a [u8],
}

/// One resource limit.
#[derive(Clone, Copy, Debug)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// Hooks that run while the room is at work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hooks<'a> {
    /// The parent has some to run on the host, and says when it is through.
    pub of_the_host: bool,
    /// The state document for those below, before and after the pid.
    pub state: [&'a [u8]; 2],
    /// createContainer.
    pub create: &'a [Hook<'a>],
    /// startContainer.
    pub start: &'a [Hook<'a>],
}

/// One hook.
#[derive(Clone, Copy, Debug)]
pub struct Hook<'a> {
    /// Absolute.
    pub path: &'a CStr,
    /// Null-terminated.
    pub argv: &'a [*const c_char],
    /// Null-terminated.
    pub envp: &'a [*const c_char],
    /// Seconds until it is killed.
    pub timeout: Option<i64>,
}
