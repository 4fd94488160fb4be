//! A process that waits to be started: who asks whether it does, and how.

use crate::container::Container;
use crate::host::Stat;
use crate::prepare::state_dir::START_SOCKET;
use crate::state::Record;
use hostrun_inside::byte;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use std::os::fd::OwnedFd;

/// How long a parked process may take to be asked. One that is frozen with all around it never answers.
const ANSWER: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

impl Container {
    /// Connects to a parked process. One that was started does not listen any more, even where its
    /// starter died before it could remove the socket.
    pub(crate) fn knock(&self, flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
        let kind = SocketType::SEQPACKET;
        let flags = flags | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
        connect(&socket, &self.dir.start_address()?)?;
        Ok(socket)
    }

    /// Does its process wait to be started? One that is frozen answers nobody; when too many have
    /// asked it, the next is told to come again, and must not wait.
    pub(crate) fn is_parked(&self) -> bool {
        matches!(
            self.knock(SocketFlags::NONBLOCK),
            Ok(_) | Err(rustix::io::Errno::AGAIN)
        )
    }

    /// Was its creator killed when all was done but to say so? As long as anything was left to do, its
    /// process dies with its creator, if not at once: it may have lost its parent, and on a busy machine be
    /// far from the signal that kills it. One that waits to be started does not die of it, and
    /// shows that it waits: it takes a connection and hangs up on whoever does not tell it to start.
    pub(crate) fn stands_alone(&self, record: &Record, stat: Stat) -> bool {
        let left =
            record.creator != 0 && stat.parent != record.creator && stat.start == record.start_time;
        left && !record.parked
            && self.dir.has(START_SOCKET)
            && self.asked().is_ok_and(|answers| answers)
    }

    /// Tells the process that waits behind our socket to end. Does one?
    pub(crate) fn dismiss(&self) -> bool {
        self.knock(SocketFlags::NONBLOCK)
            .and_then(|socket| send(&socket, &[byte::LEAVE], SendFlags::NOSIGNAL))
            .is_ok()
    }

    /// Where the listening socket goes with its process, the connection is reset.
    fn asked(&self) -> rustix::io::Result<bool> {
        let socket = self.knock(SocketFlags::NONBLOCK)?;
        send(&socket, &[byte::READY], SendFlags::NOSIGNAL)?;
        let mut fds = [PollFd::new(&socket, PollFlags::IN)];
        if poll(&mut fds, Some(&ANSWER))? == 0 {
            return Ok(false);
        }
        let (_, length) = recv(&socket, &mut [0_u8; 1], RecvFlags::DONTWAIT)?;
        Ok(length == 0)
    }
}
