//! What the room tells its parent: single bytes on the way, eight bytes when something failed.

use crate::hooks::Said;
use crate::orders::Fd;
use crate::sys::{self, Errno};

/// Where in the room something failed. The numbers cross the clone; the parent holds the names.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The parent was gone before we began.
    Orphaned = 1,
    /// `setsid(2)`.
    Session,
    /// `oom_score_adj`.
    OomScore,
    /// `setns(2)`; index of the join.
    Join,
    /// The clone after joining a user namespace.
    SecondClone,
    /// Time namespace offsets.
    TimeOffsets,
    /// Waiting for the identity maps.
    AwaitMaps,
    /// Becoming root of the user namespace.
    BecomeRoot,
    /// `keyctl(2)`.
    Keyring,
    /// Cutting the old tree off from the host's.
    Detach,
    /// Attaching the new root.
    Root,
    /// Finding or making a mount target; index of the mount.
    MountTarget,
    /// Making a file system; index of the mount.
    MountCreate,
    /// Attaching it; index of the mount.
    MountAttach,
    /// Its attributes or propagation; index of the mount.
    MountAttributes,
    /// Finding or cloning what a mount shows; index of the mount, or [`byte::ROOT`].
    MountSource,
    /// The ids it shows; index of the mount.
    MountIds,
    /// Copying what it covers; index of the mount.
    MountCopy,
    /// Making a device node; index of the device.
    Device,
    /// Something else stands where a device belongs; index of the device.
    DeviceMismatch,
    /// Making a link; index of the link.
    Link,
    /// Allocating the terminal.
    Console,
    /// Masking a path; index.
    Mask,
    /// Making a path read-only; index.
    ReadonlyPath,
    /// Making the root read-only.
    RootReadonly,
    /// `pivot_root(2)`.
    Pivot,
    /// Loopback.
    Loopback,
    /// Host name.
    Hostname,
    /// Domain name.
    Domainname,
    /// A sysctl; index.
    Sysctl,
    /// A resource limit; index.
    Rlimit,
    /// Standard streams; index of the stream.
    Stdio,
    /// Closing what the payload must not inherit.
    CloseFds,
    /// A capability set.
    Capabilities,
    /// User, group or supplementary groups.
    Identity,
    /// Working directory.
    Cwd,
    /// `PR_SET_NO_NEW_PRIVS`.
    NoNewPrivileges,
    /// The seccomp filter.
    Seccomp,
    /// Telling the parent that all is ready, or waiting to be started.
    Park,
    /// `execve(2)`; index of the candidate.
    Exec,
    /// The program resolves through a magic link of procfs; index of the candidate.
    ExecMagicLink,
    /// `sched_setaffinity(2)`.
    Affinity,
    /// `sched_setattr(2)`.
    Scheduler,
    /// `ioprio_set(2)`.
    IoPriority,
    /// `set_mempolicy(2)`.
    MemoryPolicy,
    /// `personality(2)`.
    Personality,
    /// AppArmor's attribute.
    ApparmorProfile,
    /// SELinux' attributes.
    SelinuxLabel,
    /// Landlock's ruleset.
    Landlock,
    /// A path that Landlock's rules name; index.
    LandlockPath,
    /// Waiting for the parent to run the host's hooks.
    AwaitHooks,
    /// A createContainer hook; its index, and a [`Mishap`](crate::Mishap) for the errno.
    CreateHook,
    /// A startContainer hook; likewise.
    StartHook,
    /// Waiting for the network devices of the host.
    NetDevices,
    /// Going back to the caller's mount namespace.
    Return,
    /// Entering the root of a container without a mount namespace.
    Enter,
    /// Waiting to be moved into a class of service of the processor.
    ClassOfService,
}

impl Step {
    /// All steps, in order of their numbers.
    pub const ALL: [Step; 57] = [
        Step::Orphaned,
        Step::Session,
        Step::OomScore,
        Step::Join,
        Step::SecondClone,
        Step::TimeOffsets,
        Step::AwaitMaps,
        Step::BecomeRoot,
        Step::Keyring,
        Step::Detach,
        Step::Root,
        Step::MountTarget,
        Step::MountCreate,
        Step::MountAttach,
        Step::MountAttributes,
        Step::MountSource,
        Step::MountIds,
        Step::MountCopy,
        Step::Device,
        Step::DeviceMismatch,
        Step::Link,
        Step::Console,
        Step::Mask,
        Step::ReadonlyPath,
        Step::RootReadonly,
        Step::Pivot,
        Step::Loopback,
        Step::Hostname,
        Step::Domainname,
        Step::Sysctl,
        Step::Rlimit,
        Step::Stdio,
        Step::CloseFds,
        Step::Capabilities,
        Step::Identity,
        Step::Cwd,
        Step::NoNewPrivileges,
        Step::Seccomp,
        Step::Park,
        Step::Exec,
        Step::ExecMagicLink,
        Step::Affinity,
        Step::Scheduler,
        Step::IoPriority,
        Step::MemoryPolicy,
        Step::Personality,
        Step::ApparmorProfile,
        Step::SelinuxLabel,
        Step::Landlock,
        Step::LandlockPath,
        Step::AwaitHooks,
        Step::CreateHook,
        Step::StartHook,
        Step::NetDevices,
        Step::Return,
        Step::Enter,
        Step::ClassOfService,
    ];

    /// The step with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Step> {
        Self::ALL.into_iter().find(|step| *step as u16 == number)
    }

    /// This step failed with `errno`.
    #[must_use]
    pub fn failed(self, errno: Errno) -> Failure {
        self.failed_at(0, errno)
    }

    /// Item `index` of this step failed with `errno`.
    #[must_use]
    pub fn failed_at(self, index: usize, errno: Errno) -> Failure {
        Failure {
            step: self as u16,
            index: u16::try_from(index).unwrap_or(u16::MAX),
            errno: errno.0,
        }
    }
}

/// The eight bytes that cross back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Number of a [`Step`].
    pub step: u16,
    /// Which item of the step's list.
    pub index: u16,
    /// As in `errno(3)`.
    pub errno: i32,
}

impl Failure {
    /// Length of the message.
    pub const LENGTH: usize = 8;

    /// As sent.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let words = u64::from(self.step)
            | u64::from(self.index) << 16
            | u64::from(self.errno.cast_unsigned()) << 32;
        words.to_le_bytes()
    }

    /// As received.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LENGTH]) -> Failure {
        let words = u64::from_le_bytes(bytes);
        let part = |shift: u32| u16::try_from(words >> shift & 0xffff).unwrap_or(0);
        let errno = u32::from(part(32)) | u32::from(part(48)) << 16;
        Failure {
            step: part(0),
            index: part(16),
            errno: errno.cast_signed(),
        }
    }
}

/// Single-byte messages of the room and to it.
pub mod byte {
    /// Parent to room: the identity maps are written.
    pub const MAPPED: u8 = b'm';
    /// Room to parent: the terminal's master comes with this message.
    pub const CONSOLE: u8 = b'c';
    /// Room to parent, with the second child's pid: it goes on in the first one's place. Its pidfd
    /// comes with this message where it can.
    pub const CHILD: u8 = b'p';
    /// Room to parent, with the index of a mount ([`ROOT`](super::byte::ROOT) for the root): its
    /// source, please. Back comes the same byte, with a descriptor where the parent could get one.
    pub const SOURCE: u8 = b't';
    /// Room to parent, with the index of a mount and its tree: the ids it is to show, please. Back
    /// comes the same byte.
    pub const IDMAP: u8 = b'i';
    /// Room to parent: the interfaces of the host, please. Back comes the same byte.
    pub const NET_DEVICES: u8 = b'n';
    /// Room to parent: into the class of service, please. Back comes the same byte.
    pub const CLASS: u8 = b'k';
    /// In place of the index of a mount.
    pub const ROOT: u16 = u16::MAX;
    /// Room to parent: parked, all is ready but for `execve(2)`.
    pub const READY: u8 = b'r';
    /// Room to whoever it reports to: the filter's listener comes with this message.
    pub const LISTENER: u8 = b'l';
    /// Parent to room, parked: the program, with its standard streams. Back comes
    /// [`READY`](super::byte::READY).
    pub const PROGRAM: u8 = b'x';
    /// Starter to room: go.
    pub const START: u8 = b's';
    /// Whoever deletes to room, parked: end.
    pub const LEAVE: u8 = b'e';
    /// Room to parent: the container can be seen; its hooks on the host may run.
    pub const HOOKS: u8 = b'h';
    /// Parent to room: they have run.
    pub const HOOKED: u8 = b'd';
    /// Room to parent or starter: what a hook wrote follows in this message. No number of a step
    /// begins with this byte.
    pub const SAID: u8 = b'q';
}

/// Sends what a hook wrote, ahead of its failure.
pub(crate) fn quote(socket: Fd, said: &[u8]) {
    let mut message = [0_u8; 1 + Said::MOST];
    for (to, from) in message.iter_mut().zip([byte::SAID].iter().chain(said)) {
        *to = *from;
    }
    if let (Some(message), false) = (message.get(..=said.len()), said.is_empty()) {
        sys::best_effort(sys::send(socket, message));
    }
}

/// Sends a failure. The parent may be gone; then there is nobody to tell.
pub(crate) fn send(socket: Fd, failure: Failure) {
    // Best effort by nature: the caller exits right after, which says "failed" by itself.
    sys::best_effort(sys::send(socket, &failure.to_bytes()));
}
