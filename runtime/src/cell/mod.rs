//! A process for work on what strangers made: it can use up to all processors and write into one
//! directory, and that is all it can do.
//!
//! Not a container: the work is code of the caller's own, which a fork carries on with. What the
//! process gives up, in this order: descriptors; the host's mounts, network and System V objects, for
//! a mount namespace with that directory as root and for empty ones; limits; all capabilities but
//! those over files; the right to gain any; and all system calls but those the work needs.

mod calls;

use crate::sys::{self, fork};
use caps::{CapSet, Capability, CapsHashSet};
use hostrun_seccomp_profiles::Filter;
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount,
    open_tree, unmount,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, Signal, getpid, getppid, setrlimit};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Rights over files, for owners and modes that are not the process' own, and for devices, which
/// cannot be opened where they are made.
const CAPABILITIES: [Capability; 6] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_MKNOD,
    Capability::CAP_SETFCAP,
];

/// `MOUNT_ATTR_NOSUID`, `_NODEV` and `_NOEXEC`.
const NO_RIGHTS: u64 = 2 | 4 | 8;

/// Bytes of memory that can be asked for: a window of 128 MiB for each of eight threads, and room.
const MEMORY: u64 = 4 << 30;

/// Open files: as many as layers and some for each thread.
const FILES: u64 = 1024;

/// Runs `inside` in such a process, with `place` as its root, and waits for it. `kept` stay open under
/// their numbers. What `inside` writes is read by `outside`.
///
/// # Errors
/// `Unsupported` where there can be no such process: without `CAP_SYS_ADMIN`, in a program of several
/// threads, on kernels before 5.12. Else what went wrong, or how the process died.
pub fn run(
    place: &Path,
    kept: &[BorrowedFd<'_>],
    inside: &mut (dyn FnMut(&Path, File) + Send),
    outside: &mut dyn FnMut(&mut dyn Read),
) -> io::Result<()> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(unsupported(&format!("this program has {threads} threads")));
    }
    let walls =
        Walls::prepare(place).map_err(|errno| unsupported(&io::Error::from(errno).to_string()))?;
    let (source, sink) = pipe_with(PipeFlags::CLOEXEC)?;
    let parent = getpid();
    let Some(child) = fork::fork()? else {
        let entered = walls.enter(parent, kept, sink.as_fd());
        work(entered, sink, inside)
    };
    drop((sink, walls));
    let mut source = File::from(source);
    let read = listen(&mut source, outside);
    // It ends by itself when nobody listens.
    drop(source);
    let status = fork::wait(child)?;
    read?;
    if status == 0 {
        return Ok(());
    }
    let how = match status & 0x7f {
        0 => format!("with status {}", status >> 8),
        signal => format!("by signal {signal}"),
    };
    Err(io::Error::other(format!(
        "the process that unpacks ended {how}"
    )))
}

/// The child's life. First it says whether it came in.
fn work(
    entered: rustix::io::Result<()>,
    sink: OwnedFd,
    inside: &mut (dyn FnMut(&Path, File) + Send),
) -> ! {
    let mut sink = File::from(sink);
    let errno = entered.err().map_or(0, Errno::raw_os_error);
    if sink.write_all(&errno.to_le_bytes()).is_err() || errno != 0 {
        fork::leave(1);
    }
    inside(Path::new("/"), sink);
    fork::leave(0)
}

fn listen(source: &mut File, outside: &mut dyn FnMut(&mut dyn Read)) -> io::Result<()> {
    let mut errno = [0; 4];
    // One that died before it said so is told by its status.
    if source.read_exact(&mut errno).is_err() {
        return Ok(());
    }
    match i32::from_le_bytes(errno) {
        0 => {
            outside(source);
            Ok(())
        }
        errno => Err(unsupported(
            &io::Error::from_raw_os_error(errno).to_string(),
        )),
    }
}

fn unsupported(cause: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, cause)
}

/// All that can be made ready before there is a child.
struct Walls {
    place: PathBuf,
    /// The directory as a mount of its own, from which nothing leads up.
    root: OwnedFd,
    null: OwnedFd,
    filter: Filter,
}

impl Walls {
    fn prepare(place: &Path) -> rustix::io::Result<Self> {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let root = open_tree(CWD, place, clone)?;
        sys::set_mount_attributes(&root, NO_RIGHTS, 0, false)?;
        Ok(Self {
            place: place.to_owned(),
            root,
            null: rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?,
            filter: calls::filter().ok_or(Errno::INVAL)?,
        })
    }

    /// What the child does first.
    fn enter(
        &self,
        parent: rustix::process::Pid,
        kept: &[BorrowedFd<'_>],
        sink: BorrowedFd<'_>,
    ) -> rustix::io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(parent) {
            return Err(Errno::SRCH);
        }
        fork::set_standard(self.null.as_fd())?;
        let own = [self.root.as_raw_fd(), sink.as_raw_fd()];
        let kept = kept.iter().map(AsRawFd::as_raw_fd).chain(own);
        fork::close_others(kept.collect())?;
        self.leave_the_host()?;
        rustix::process::umask(Mode::empty());
        for (resource, most) in [
            (Resource::Core, 0),
            (Resource::As, MEMORY),
            (Resource::Nofile, FILES),
            (Resource::Memlock, 0),
            (Resource::Msgqueue, 0),
        ] {
            limit(resource, most)?;
        }
        give_up_rights().map_err(|_caps| Errno::PERM)?;
        rustix::thread::set_no_new_privs(true)?;
        fork::install_filter(self.filter.program())
    }

    /// Namespaces of our own; the directory is all of the first.
    fn leave_the_host(&self) -> rustix::io::Result<()> {
        let namespaces =
            CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC;
        unshare(namespaces).map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )?;
        let attach = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&self.root, "", CWD, &self.place, attach)?;
        rustix::process::fchdir(&self.root)?;
        // The old root is mounted over the new one, and then taken away.
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")
    }
}

/// Never more than there was.
fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let known = rustix::process::getrlimit(resource);
    let lower = |value: Option<u64>| Some(value.map_or(most, |value| value.min(most)));
    let limit = Rlimit {
        current: lower(known.maximum),
        maximum: lower(known.maximum),
    };
    setrlimit(resource, limit)
}

fn give_up_rights() -> Result<(), caps::errors::CapsError> {
    let mut kept: CapsHashSet = CAPABILITIES.into_iter().collect();
    let had = caps::read(None, CapSet::Permitted)?;
    kept.retain(|capability| had.contains(capability));
    for capability in caps::read(None, CapSet::Bounding)? {
        if !kept.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}
