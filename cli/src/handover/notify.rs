//! `sd_notify(3)` for a container: what its payload says on a socket of ours goes on to the socket
//! of whoever supervises us, which the container never sees.

use anyhow::{Context, Result};
use hostrun_runtime::{ContainerId, Request};
use oci_spec::runtime::{MountBuilder, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, chmodat};
use rustix::io::Errno;
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::OsString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// What a payload may say for the whole service; others would move the supervisor's eyes to another
/// process, or leave descriptors with it.
const OF_A_SERVICE: [&[u8]; 8] = [
    b"READY=",
    b"STATUS=",
    b"ERRNO=",
    b"STOPPING=",
    b"RELOADING=",
    b"MONOTONIC_USEC=",
    b"WATCHDOG=",
    b"EXTEND_TIMEOUT_USEC=",
];

/// Where the container finds the socket.
const INSIDE: &str = "/run/notify";
const SOCKET: &str = "notify.sock";
/// How long a supervisor may take to say that it has read all.
const BARRIER: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// A supervisor that wants to be told, and the place where the container tells.
#[derive(Clone, Debug)]
pub(crate) struct Notify {
    supervisor: OsString,
    dir: PathBuf,
}

impl Notify {
    /// By our environment; `None` where nobody wants to be told.
    pub(crate) fn wanted(root: &Path, id: &ContainerId) -> Option<Self> {
        let supervisor = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        Some(Self {
            supervisor,
            dir: root.join(id.as_str()).join("notify"),
        })
    }

    /// Has the place made, and shown to the container.
    ///
    /// # Errors
    /// When the mount cannot be written down, which cannot be.
    pub(crate) fn add_to(&self, request: Request) -> Result<Request> {
        let mut request = request.with_notify_dir();
        let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(String::from);
        let mount = MountBuilder::default()
            .destination(INSIDE)
            .source(self.dir.clone())
            .options(options.to_vec())
            .build()
            .context("cannot describe the mount of the notify socket")?;
        let spec = request.spec_mut();
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        mounts.push(mount);
        spec.set_mounts(Some(mounts));
        add_environment(spec, vec![format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}")]);
        Ok(request)
    }

    /// Listens. `None` where the container was made without the place.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(crate) fn listen(&self) -> Result<Option<Listening<'_>>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match rustix::fs::open(&self.dir, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.context("cannot open the place of the notify socket")?,
        };
        // The path may be longer than the 108 bytes of unix(7); through the descriptor it is short.
        let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
        let socket = UnixDatagram::bind(path).context("cannot listen on the notify socket")?;
        // The payload may be any user.
        chmodat(
            &dir,
            SOCKET,
            Mode::from_raw_mode(0o777),
            rustix::fs::AtFlags::empty(),
        )
        .context("cannot open the notify socket to the container")?;
        Ok(Some(Listening {
            notify: self,
            socket,
        }))
    }
}

/// Adds variables to the payload's environment.
pub(crate) fn add_environment(spec: &mut Spec, variables: Vec<String>) {
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(variables);
        process.set_env(Some(env));
    }
}

/// A socket that the container can write to.
#[derive(Debug)]
pub(crate) struct Listening<'a> {
    notify: &'a Notify,
    socket: UnixDatagram,
}

impl Listening<'_> {
    /// Relays until the payload has said that it is ready, or has ended.
    ///
    /// # Errors
    /// When the supervisor cannot be reached.
    pub(crate) fn relay(&self, pid: i32) -> Result<()> {
        let Some(pidfd) = open(pid) else {
            return Ok(());
        };
        while let Some(message) = self.next(&pidfd)? {
            let ready = message.split(|byte| *byte == b'\n');
            let Some(ready) = ready.into_iter().find(|line| line.starts_with(b"READY=")) else {
                continue;
            };
            let supervisor = Supervisor::of(&self.notify.supervisor)?;
            supervisor.tell(&[ready, b"\n"].concat(), None)?;
            supervisor.tell(format!("MAINPID={pid}\n").as_bytes(), None)?;
            return supervisor.barrier();
        }
        Ok(())
    }

    /// Relays as long as the payload lives: the service stays ours, and its supervisor goes on watching us.
    ///
    /// # Errors
    /// When the supervisor cannot be reached.
    fn relay_all(&self, pid: i32) -> Result<()> {
        let Some(pidfd) = open(pid) else {
            return Ok(());
        };
        while let Some(message) = self.next(&pidfd)? {
            let lines = message.split(|byte| *byte == b'\n');
            let kept: Vec<&[u8]> = lines
                .filter(|line| OF_A_SERVICE.iter().any(|word| line.starts_with(word)))
                .collect();
            if !kept.is_empty() {
                let supervisor = Supervisor::of(&self.notify.supervisor)?;
                supervisor.tell(&kept.join(&b'\n'), None)?;
            }
        }
        Ok(())
    }

    /// The next message; `None` when the payload has ended first.
    fn next(&self, pidfd: &OwnedFd) -> Result<Option<Vec<u8>>> {
        let mut fds = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::new(pidfd, PollFlags::IN),
        ];
        loop {
            match poll(&mut fds, None) {
                Err(Errno::INTR) => {}
                other => break other.context("cannot poll").map(drop)?,
            }
        }
        // What was said comes before the end.
        if fds.first().is_none_or(|fd| fd.revents().is_empty()) {
            return Ok(None);
        }
        let mut buffer = vec![0_u8; 4096];
        let length = self
            .socket
            .recv(&mut buffer)
            .context("cannot read the notify socket")?;
        buffer.truncate(length);
        Ok(Some(buffer))
    }
}

fn open(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Relays beside the foreground's own work. It ends with the payload, or with us; or, where the payload
/// becomes the service, as runc's callers expect, with its word that it is ready.
pub(crate) fn relay_beside(notify: Notify, pid: i32, becomes_service: bool) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let beside = std::thread::Builder::new().spawn(move || {
        let relayed = notify.listen().and_then(|listening| {
            // The payload starts only when somebody listens.
            sender.send(()).unwrap_or_default();
            match listening {
                Some(listening) if becomes_service => listening.relay(pid),
                Some(listening) => listening.relay_all(pid),
                None => Ok(()),
            }
        });
        if let Err(error) = relayed {
            crate::report::warn(&format!("cannot relay to the notify socket: {error:#}"));
        }
    });
    if let Err(error) = beside {
        crate::report::warn(&format!("cannot relay to the notify socket: {error}"));
        return;
    }
    // A relay that failed has said so.
    receiver.recv().unwrap_or_default();
}

/// The socket of whoever supervises us.
struct Supervisor {
    socket: UnixDatagram,
    address: SocketAddrUnix,
}

impl Supervisor {
    fn of(name: &OsString) -> Result<Self> {
        let name = name.as_bytes();
        let address = match name.strip_prefix(b"@") {
            Some(abstract_name) => SocketAddrUnix::new_abstract_name(abstract_name),
            None => SocketAddrUnix::new(name),
        };
        Ok(Self {
            socket: UnixDatagram::unbound().context("cannot make a socket")?,
            address: address.context("NOTIFY_SOCKET is no address")?,
        })
    }

    fn tell(&self, message: &[u8], fd: Option<&OwnedFd>) -> Result<()> {
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let parts = [IoSlice::new(message)];
        sendmsg_addr(
            &self.socket,
            &self.address,
            &parts,
            &mut control,
            SendFlags::NOSIGNAL,
        )
        .context("cannot reach the supervisor's notify socket")?;
        Ok(())
    }

    /// Waits until all that was said is read: the supervisor closes its copy of a pipe then.
    fn barrier(&self) -> Result<()> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
        self.tell(b"BARRIER=1", Some(&writer))?;
        drop(writer);
        let mut fds = [PollFd::new(&reader, PollFlags::IN)];
        if poll(&mut fds, Some(&BARRIER)) == Ok(0) {
            crate::report::warn("the supervisor did not answer to the barrier in 30 seconds");
        }
        Ok(())
    }
}
