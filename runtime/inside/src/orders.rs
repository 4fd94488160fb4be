//! What the room is told to do: flat plain data, made by the parent before the clone.
//!
//! Nothing here owns anything. The child reads its own copy of the parent's memory, so plain
//! references are enough; descriptors are numbers because the child inherited the table too.

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
    /// Park on this listening socket until somebody starts the payload.
    pub park: Option<Fd>,
    /// Paths to try, in order.
    pub candidates: &'a [&'a CStr],
    /// Null-terminated.
    pub argv: &'a [*const c_char],
    /// Null-terminated.
    pub envp: &'a [*const c_char],
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
}

/// The new root file system.
#[derive(Debug)]
pub struct Root<'a> {
    /// A detached mount: a clone of a bundle's directory, or an overlay. What is mounted over the
    /// root takes the same number.
    pub tree: Fd,
    /// In a user namespace: the bundle's directory, to be cloned in our own mount namespace, where
    /// the kernel has locked its flags. `tree` is a number to be used then.
    pub host_path: Option<&'a CStr>,
    /// Where it is attached until it becomes the root: hooks expect it at its path in the host's
    /// tree. `None` for over the old root, which needs no directory.
    pub place: Option<&'a CStr>,
    /// `MS_REC` and one of `MS_PRIVATE`, `MS_SLAVE`: what the old tree becomes before anything.
    pub detach: u64,
    /// Leave the old tree below the new root, `chroot(2)`, where `pivot_root(2)` cannot work.
    pub without_pivot: bool,
    /// The caller's mount namespace, where the container is to have none of its own: gone back to
    /// with a copy of the new root that no namespace knows.
    pub return_to: Option<Fd>,
    /// Mounts of the old tree that must go or be covered then: a full procfs in a mount namespace
    /// allows its users to mount another.
    pub revealing: &'a [&'a CStr],
    /// Applied to the new root at the very end, where the spec asks for it.
    pub propagation: Option<u64>,
    /// Read-only at the end, when everything below it stands.
    pub readonly: bool,
    /// In the order of the spec.
    pub mounts: &'a [Mount<'a>],
    /// Device nodes.
    pub devices: &'a [Device<'a>],
    /// Symbolic links in /dev.
    pub links: &'a [Link<'a>],
    /// Paths nobody may see into.
    pub masked: &'a [&'a CStr],
    /// Paths nobody may write.
    pub readonly_paths: &'a [&'a CStr],
}

/// One mount below the root.
#[derive(Debug)]
pub struct Mount<'a> {
    /// What is mounted.
    pub source: Source<'a>,
    /// Where, below the root, without a leading slash.
    pub target: &'a CStr,
    /// The target must be a directory itself, reached through no symbolic link (procfs, sysfs).
    pub strict_target: bool,
    /// It may cover a file of procfs, wherever links lead.
    pub over_proc: bool,
    /// What to make where the target is missing.
    pub make: Make,
    /// Of a new file system: its `MOUNT_ATTR_*`.
    pub attributes: u64,
    /// Of what exists: how it is changed. Made already where the source is a tree.
    pub changes: Changes,
    /// Mount over a symbolic link itself.
    pub over_link: bool,
    /// Make read-only after all mounts, because later ones need directories in it.
    pub late_readonly: bool,
    /// Keep the descriptor: sysctls are written through it.
    pub keep: bool,
    /// `MS_SHARED` and the like, applied in order once attached.
    pub propagation: &'a [u64],
    /// Scratch of the room: the descriptor, while it is kept.
    pub held: Cell<i32>,
}

/// `MOUNT_ATTR_*` to set and to clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// To set.
    pub set: u64,
    /// To clear.
    pub clear: u64,
}

/// How a mount of something that exists differs from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Of the mount.
    pub own: Attributes,
    /// The same where flags are locked by a user namespace.
    pub own_locked: Attributes,
    /// Of the mount and all below it.
    pub tree: Attributes,
    /// `MS_SLAVE`, `MS_PRIVATE` or nothing: what all become first.
    pub propagation: u64,
    /// Shown with other ids: by the parent, who alone has the privileges.
    pub idmap: bool,
}

/// What a mount shows.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A detached tree made by the parent; its attributes are set already.
    Tree(Fd),
    /// In a user namespace: a path of the host, to be cloned in our own mount namespace, where the
    /// kernel has locked its flags and what covers its files.
    Host {
        /// Absolute and without links.
        path: &'a CStr,
        /// With all that is mounted below.
        recursive: bool,
    },
    /// A path below the new root, as it is when the turn of this mount comes.
    Inside {
        /// Without a leading slash.
        path: &'a CStr,
        /// With all that is mounted below.
        recursive: bool,
    },
    /// A symbolic link with this text, instead of a mount.
    Link(&'a CStr),
    /// What is mounted at the target already; with these options for its file system.
    Remount(Option<&'a [(&'a CStr, &'a CStr)]>),
    /// A new file system, made here because it belongs to our namespaces.
    Filesystem {
        /// Its type, as in `/proc/filesystems`.
        fstype: &'a CStr,
        /// What the mount table shows as the device.
        source: &'a CStr,
        /// Options with their values; an empty value is a flag.
        options: &'a [(&'a CStr, &'a CStr)],
        /// Give it the mode of the directory it covers.
        inherit_mode: bool,
        /// Begin with what that directory holds.
        copy_up: bool,
    },
}

/// What to make of a missing mount target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// A directory, mode 0755.
    Directory,
    /// An empty file, mode 0644.
    File,
}

/// A device node, made or bound.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// Directory below the root.
    pub directory: &'a CStr,
    /// Name in it.
    pub name: &'a CStr,
    /// Type and permissions, as in `mknod(2)`.
    pub mode: u32,
    /// Device number.
    pub number: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Made, or bound where a user namespace forbids to make one.
    pub node: Node<'a>,
    /// Where the host has it, for a root who turns out to be one of a user namespace only.
    pub host_path: &'a CStr,
    /// Whatever stands there already is left as it is.
    pub lenient: bool,
}

/// Where a device node comes from.
#[derive(Clone, Copy, Debug)]
pub enum Node<'a> {
    /// `mknod(2)`.
    Make,
    /// A detached mount of the host's node.
    Tree(Fd),
    /// The host's node of this path, checked to be the one that is meant.
    Host(&'a CStr),
}

/// A symbolic link.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// Directory below the root.
    pub directory: &'a CStr,
    /// Name in it.
    pub name: &'a CStr,
    /// What it points to.
    pub target: &'a CStr,
    /// Replace what stands there: `/dev/ptmx` must be ours.
    pub replace: bool,
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

/// A ruleset of `landlock(7)`.
#[derive(Clone, Copy, Debug)]
pub struct Landlock<'a> {
    /// `LANDLOCK_ACCESS_FS_*` that is denied but where allowed.
    pub files: u64,
    /// `LANDLOCK_ACCESS_NET_*` that is denied but where allowed.
    pub ports: u64,
    /// `LANDLOCK_SCOPE_*`.
    pub scopes: u64,
    /// Where files are allowed.
    pub allowed_paths: &'a [LandlockPath<'a>],
    /// Where ports are allowed.
    pub allowed_ports: &'a [LandlockPort],
}

/// A file, or a directory with all below it.
#[derive(Clone, Copy, Debug)]
pub struct LandlockPath<'a> {
    /// Below the root, without a leading slash.
    pub path: &'a CStr,
    /// `LANDLOCK_ACCESS_FS_*`, as for a directory.
    pub access: u64,
}

/// A TCP port.
#[derive(Clone, Copy, Debug)]
pub struct LandlockPort {
    /// Its number.
    pub number: u16,
    /// `LANDLOCK_ACCESS_NET_*`.
    pub access: u64,
}

/// Labels of security modules.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// Written to AppArmor's `exec` attribute as it is.
    pub apparmor: Option<&'a [u8]>,
    /// Written to SELinux' `exec` attribute, and to `keycreate` while the keyring is made.
    pub selinux: Option<&'a [u8]>,
}

/// Length of a [`Cpus`].
pub const CPU_WORDS: usize = 16;

/// Processors or memory nodes, one bit each, from 0 to 1023.
pub type Cpus = [u64; CPU_WORDS];

/// How the kernel treats the process.
#[derive(Clone, Copy, Debug)]
pub struct Treatment<'a> {
    /// Where it may run.
    pub affinity: Affinity<'a>,
    /// For `set_mempolicy(2)`.
    pub memory: Option<MemoryPolicy<'a>>,
    /// For `personality(2)`.
    pub personality: Option<u32>,
    /// For `ioprio_set(2)`: class and level.
    pub io_priority: Option<i32>,
    /// For `sched_setattr(2)`.
    pub scheduler: Option<Scheduler>,
}

/// Processors a process may run on.
#[derive(Clone, Copy, Debug)]
pub enum Affinity<'a> {
    /// Those of its maker.
    Inherited,
    /// All that its cgroup lets it have.
    All,
    /// These.
    Only(&'a Cpus),
}

/// Where memory comes from.
#[derive(Clone, Copy, Debug)]
pub struct MemoryPolicy<'a> {
    /// `MPOL_*` with its flags.
    pub mode: i32,
    /// One bit a node; empty for none.
    pub nodes: &'a [u64],
}

/// When a process runs, `sched(7)`; times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// From -20 to 19.
    pub nice: i32,
    /// From 1 to 99 for real-time policies, else 0.
    pub priority: u32,
    /// Budget of a deadline.
    pub runtime: u64,
    /// When the budget must be had.
    pub deadline: u64,
    /// How often it comes.
    pub period: u64,
}

/// Numeric identity of the payload.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Real, effective and saved user.
    pub uid: u32,
    /// Real, effective and saved group.
    pub gid: u32,
    /// All supplementary groups; `None` where `setgroups(2)` is denied by the user namespace.
    pub groups: Option<&'a [u32]>,
    /// The parent may set groups: where we may not, the user namespace denies it to everybody.
    pub parent_sets_groups: bool,
    /// `umask(2)`.
    pub umask: Option<u32>,
}

/// The five sets, as bit masks by capability number.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// What an `execve(2)` can ever gain.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// May be put in force.
    pub permitted: u64,
    /// Kept over `execve(2)` by files that say so.
    pub inheritable: u64,
    /// Kept over `execve(2)` of ordinary files.
    pub ambient: u64,
    /// The highest capability this kernel knows.
    pub last: u32,
}

/// A classic BPF filter.
#[derive(Clone, Copy, Debug)]
pub struct Seccomp<'a> {
    /// At most 4096 instructions.
    pub program: &'a [libc::sock_filter],
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
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
