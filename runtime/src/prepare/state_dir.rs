//! The directory of one container below the state root.

use crate::error::{At, Error, ErrorKind, Result};
use crate::id::ContainerId;
use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, RenameFlags, flock, mkdirat, openat, renameat,
    renameat_with, unlinkat,
};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The record of the container, written when it is made.
pub(crate) const STATE: &str = "state.json";
/// The config it was made from.
pub(crate) const CONFIG: &str = "config.json";
/// Where `start` finds a parked container.
pub(crate) const START_SOCKET: &str = "start.sock";
/// Where a caller can listen for what the payload tells; there where it was asked for.
const NOTIFY: &str = "notify";
/// The socket in it.
const NOTIFY_SOCKET: &str = "notify/notify.sock";
/// The same before the container stands.
pub(crate) const NEW_STATE: &str = "state.json.new";
/// Another of these, until it takes the place of the one before.
const OTHER_STATE: &str = "state.json.other";
/// The next config, until it takes the place of the one before.
const NEW_CONFIG: &str = "config.json.new";

/// Longer than most of them, in bytes: one `read(2)` gets all.
const MOSTLY: usize = 16 * 1024;

/// A container's directory; removed with all in it when dropped before [`StateDir::keep`].
#[derive(Debug)]
pub(crate) struct StateDir {
    root: Arc<OwnedFd>,
    fd: OwnedFd,
    id: ContainerId,
    kept: bool,
}

impl StateDir {
    /// Makes it; that it did not exist is what makes the id ours.
    pub(crate) fn create(root: &Arc<OwnedFd>, id: &ContainerId) -> Result<StateDir> {
        let made = mkdirat(root, id.as_str(), Mode::RWXU);
        if made == Err(rustix::io::Errno::EXIST) {
            return Err(taken(id));
        }
        made.at("create state directory of", id)?;
        let mut dir = StateDir::open(root, id)?;
        dir.kept = false;
        Ok(dir)
    }

    /// Opens that of a container that exists.
    pub(crate) fn open(root: &Arc<OwnedFd>, id: &ContainerId) -> Result<StateDir> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(root, id.as_str(), flags, Mode::empty());
        if fd.as_ref().err() == Some(&rustix::io::Errno::NOENT) {
            return Err(
                Error::new(ErrorKind::NotFound, "find container", id.as_str())
                    .because("container does not exist"),
            );
        }
        let fd = fd.at("open state directory of", id)?;
        Ok(StateDir {
            root: Arc::clone(root),
            fd,
            id: id.clone(),
            kept: true,
        })
    }

    /// Makes the directory for a notify socket; a payload of any user may look into it.
    pub(crate) fn make_notify_dir(&self) -> Result<()> {
        mkdirat(&self.fd, NOTIFY, Mode::from_raw_mode(0o755))
            .at("create notify directory of", &self.id)
    }

    /// The user who made it.
    pub(crate) fn owner(&self) -> Result<u32> {
        rustix::fs::fstat(&self.fd)
            .map(|stat| stat.st_uid)
            .at("find the owner of", &self.id)
    }

    /// How long ago a file was made or removed in it.
    pub(crate) fn age(&self) -> Result<Duration> {
        let stat = rustix::fs::fstat(&self.fd).at("find the age of", &self.id)?;
        let changed = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Ok(now.unwrap_or_default().saturating_sub(changed))
    }

    /// Writes a file that does not exist yet.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
            .at("create", format!("{}/{name}", self.id))?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let written =
                rustix::io::write(&file, rest).at("write", format!("{}/{name}", self.id))?;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Puts another record in the place of the new one, in one step: whoever finds the rest of a
    /// container finds its cgroup by one of the two.
    pub(crate) fn replace_new(&self, bytes: &[u8]) -> Result<()> {
        self.write(OTHER_STATE, bytes)?;
        renameat(&self.fd, OTHER_STATE, &self.fd, NEW_STATE).at("write state of", &self.id)
    }

    /// Puts the new record in place: from here on the container is there for others. One of these
    /// may have found that it stands, and done it.
    pub(crate) fn publish(&self) -> Result<()> {
        match renameat(&self.fd, NEW_STATE, &self.fd, STATE) {
            Err(rustix::io::Errno::NOENT) if self.has(STATE) => Ok(()),
            renamed => renamed.at("write state of", &self.id),
        }
    }

    /// Puts a new config in the place of the one before, in one step.
    pub(crate) fn replace_config(&self, bytes: &[u8]) -> Result<()> {
        // Of an update that was killed.
        self.unlink(NEW_CONFIG)?;
        self.write(NEW_CONFIG, bytes)?;
        renameat(&self.fd, NEW_CONFIG, &self.fd, CONFIG).at("write config of", &self.id)
    }

    /// Waits for its turn among those who change the container; it ends when the descriptor is closed.
    pub(crate) fn lock(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.fd, STATE, flags, Mode::empty()).at("lock", &self.id)?;
        flock(&file, FlockOperation::LockExclusive).at("lock", &self.id)?;
        Ok(file)
    }

    /// Reads a file whole; `None` where there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            other => other.at("open", format!("{}/{name}", self.id))?,
        };
        let mut bytes = Vec::with_capacity(MOSTLY);
        loop {
            let room = bytes.capacity() - bytes.len();
            let length = rustix::io::read(&file, spare_capacity(&mut bytes))
                .at("read", format!("{}/{name}", self.id))?;
            // A regular file gives less than was asked for at its end only, read(2).
            if length < room {
                break;
            }
            bytes.reserve(bytes.len());
        }
        Ok(Some(bytes))
    }

    /// Is there a file of this name?
    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::fs::accessat(
            &self.fd,
            name,
            rustix::fs::Access::EXISTS,
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .is_ok()
    }

    /// Removes a file, if there.
    pub(crate) fn unlink(&self, name: &str) -> Result<()> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            other => other.at("remove", format!("{}/{name}", self.id)),
        }
    }

    /// The address of the start socket. A path below our directory may be longer than the 108
    /// bytes of `unix(7)`; through the descriptor it is short.
    pub(crate) fn start_address(&self) -> rustix::io::Result<SocketAddrUnix> {
        let path = format!("/proc/self/fd/{}/{START_SOCKET}", self.fd.as_raw_fd());
        SocketAddrUnix::new(path)
    }

    /// The socket a parked container listens on. The directory lets only its owner in.
    pub(crate) fn listen(&self) -> Result<OwnedFd> {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .at("create start socket of", &self.id)?;
        let bound = self
            .start_address()
            .and_then(|address| bind(&socket, &address));
        bound.at("create start socket of", &self.id)?;
        listen(&socket, 8).at("listen on start socket of", &self.id)?;
        Ok(socket)
    }

    /// Gives it another name, which makes that id ours as [`StateDir::create`] does.
    pub(crate) fn rename(&mut self, id: &ContainerId) -> Result<()> {
        let (from, to) = (self.id.as_str(), id.as_str());
        let root = &*self.root;
        match renameat_with(root, from, root, to, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => return Err(taken(id)),
            other => other.at("create state directory of", id)?,
        }
        self.id = id.clone();
        Ok(())
    }

    /// Keeps the directory.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    /// Removes it with all that is in it.
    pub(crate) fn remove(&mut self) -> Result<()> {
        self.kept = true;
        for name in [CONFIG, STATE] {
            self.unlink(name)?;
        }
        // Most have nothing else.
        match unlinkat(&*self.root, self.id.as_str(), AtFlags::REMOVEDIR) {
            Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => {}
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            other => return other.at("remove state directory of", &self.id),
        }
        // The record last again: a new one may just have been put in its place.
        for name in [START_SOCKET, NEW_CONFIG, OTHER_STATE, NEW_STATE, STATE] {
            self.unlink(name)?;
        }
        if self.has(NOTIFY) {
            self.unlink(NOTIFY_SOCKET)?;
            unlinkat(&self.fd, NOTIFY, AtFlags::REMOVEDIR)
                .at("remove notify directory of", &self.id)?;
        }
        match unlinkat(&*self.root, self.id.as_str(), AtFlags::REMOVEDIR) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            other => other.at("remove state directory of", &self.id),
        }
    }
}

fn taken(id: &ContainerId) -> Error {
    Error::new(ErrorKind::AlreadyExists, "create container", id.as_str())
        .because("container with given ID already exists")
        .with_hint("choose another id, or delete the container first")
}

impl AsFd for StateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing can be done about a failure here; `delete --force` finds the rest.
            self.remove().unwrap_or_default();
        }
    }
}
