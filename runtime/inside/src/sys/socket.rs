//! Sockets: the parent, the starter, the loopback device.

use super::{Errno, Result, call, check, close, close_now};
use crate::orders::Fd;
use core::cell::Cell;
use core::ffi::{c_char, c_void};
use core::mem::{size_of_val, zeroed};
use core::ptr::{null, null_mut};

/// `ppoll(2)` with no time-out: has the other end hung up?
pub(crate) fn hung_up(fd: Fd) -> bool {
    let mut poll = libc::pollfd {
        fd: fd.0,
        events: 0,
        revents: 0,
    };
    let now: [i64; 2] = [0, 0];
    let no_mask = null::<u64>();
    let polled = call!(
        libc::SYS_ppoll,
        &raw mut poll,
        1_u64,
        &raw const now,
        no_mask,
        8_usize
    );
    polled.is_ok() && poll.revents & (libc::POLLHUP | libc::POLLERR) != 0
}

/// Sets the loopback device up, `netdevice(7)`.
pub(crate) fn loopback_up() -> Result<i32> {
    let socket = inet_socket()?;
    let result = raise_loopback(socket);
    close(socket);
    result
}

/// The same from a process that goes on: its descriptors do not end with an `execve(2)`.
///
/// # Errors
/// What the kernel answers.
pub fn bring_loopback_up() -> Result<()> {
    let socket = inet_socket()?;
    let result = raise_loopback(socket);
    close_now(socket);
    result.map(drop)
}

fn inet_socket() -> Result<Fd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    call!(libc::SYS_socket, libc::AF_INET, kind, 0_i32).map(Fd)
}

fn raise_loopback(socket: Fd) -> Result<i32> {
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
    call!(
        libc::SYS_ioctl,
        socket.0,
        libc::SIOCSIFFLAGS,
        &raw const request
    )
}

/// `sendto(2)` without `SIGPIPE`.
pub(crate) fn send(socket: Fd, bytes: &[u8]) -> Result<i32> {
    let nobody = null::<u8>();
    call!(
        libc::SYS_sendto,
        socket.0,
        bytes.as_ptr(),
        bytes.len(),
        libc::MSG_NOSIGNAL,
        nobody,
        0_u32
    )
}

/// One control message with one descriptor, laid out as `cmsg(3)` does on 64-bit machines.
#[repr(C, align(8))]
struct Rights {
    length: usize,
    level: i32,
    kind: i32,
    fd: i32,
    padding: i32,
}

const RIGHTS_LENGTH: usize = 24;

/// A message as the kernel has it on 64-bit machines, `struct user_msghdr`: in each C library some of
/// the fields are of another type.
#[repr(C)]
struct Message {
    name: *mut c_void,
    name_length: u32,
    parts: *const libc::iovec,
    count: usize,
    control: *mut c_void,
    control_length: usize,
    flags: u32,
}

impl Message {
    /// Of one part, over a connection.
    fn new(part: &libc::iovec, control: *mut c_void, control_length: usize) -> Message {
        Message {
            name: null_mut(),
            name_length: 0,
            parts: part,
            count: 1,
            control,
            control_length,
            flags: 0,
        }
    }
}

/// `sendmsg(2)`: one byte and one descriptor, `unix(7)` `SCM_RIGHTS`.
pub(crate) fn send_fd(socket: Fd, byte: u8, fd: Fd) -> Result<i32> {
    send_with_fd(socket, &[byte], fd)
}

/// `sendmsg(2)`: bytes and one descriptor, `unix(7)` `SCM_RIGHTS`.
pub(crate) fn send_with_fd(socket: Fd, bytes: &[u8], fd: Fd) -> Result<i32> {
    let rights = Rights {
        length: 20,
        level: libc::SOL_SOCKET,
        kind: libc::SCM_RIGHTS,
        fd: fd.0,
        padding: 0,
    };
    let part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let control = (&raw const rights).cast_mut().cast();
    let message = Message::new(&part, control, RIGHTS_LENGTH);
    call!(
        libc::SYS_sendmsg,
        socket.0,
        &raw const message,
        libc::MSG_NOSIGNAL
    )
}

/// `recvmsg(2)` of one byte and, where one came with it, a descriptor; `None` where the other end
/// is gone.
pub(crate) fn receive_with_fd(socket: Fd) -> Result<Option<(u8, Option<Fd>)>> {
    let mut rights = Rights {
        length: 0,
        level: 0,
        kind: 0,
        fd: -1,
        padding: 0,
    };
    let mut byte = [0_u8; 1];
    let part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let mut message = Message::new(&part, (&raw mut rights).cast(), RIGHTS_LENGTH);
    let flags = libc::MSG_CMSG_CLOEXEC;
    let length = loop {
        match call!(libc::SYS_recvmsg, socket.0, &raw mut message, flags) {
            Err(Errno(libc::EINTR)) => {}
            other => break other?,
        }
    };
    let [value] = byte;
    let came = rights.level == libc::SOL_SOCKET && rights.kind == libc::SCM_RIGHTS;
    Ok((length > 0).then_some((value, came.then_some(Fd(rights.fd)))))
}

/// `recvfrom(2)` of one byte; `Ok(None)` where the other end is gone.
pub(crate) fn receive_byte(socket: Fd) -> Result<Option<u8>> {
    let mut byte = [0_u8; 1];
    let nobody = null_mut::<u8>();
    loop {
        match call!(
            libc::SYS_recvfrom,
            socket.0,
            byte.as_mut_ptr(),
            1_usize,
            0_i32,
            nobody,
            nobody
        ) {
            Ok(0) => return Ok(None),
            Ok(_) => {
                let [value] = byte;
                return Ok(Some(value));
            }
            Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// What came to a parked process over its line.
#[derive(Clone, Copy)]
pub(crate) enum Heard {
    /// The other end is gone.
    End,
    /// A word.
    Byte(u8),
    /// A program, which is in the page now, and standard streams for those that its message lists;
    /// -1 for the others.
    Program([Fd; 3]),
}

/// [`Rights`] with three descriptors.
#[repr(C, align(8))]
struct Streams {
    length: usize,
    level: i32,
    kind: i32,
    fds: [i32; 3],
    padding: i32,
}

const STREAMS_LENGTH: usize = 32;

/// `recvmsg(2)` into a page. A single byte changes its first word only, which no list is in.
pub(crate) fn receive_program(socket: Fd, page: &[Cell<*const c_char>]) -> Result<Heard> {
    let mut streams = Streams {
        length: 0,
        level: 0,
        kind: 0,
        fds: [-1; 3],
        padding: 0,
    };
    let part = libc::iovec {
        // Cells, so that the kernel may write what we hold shared.
        iov_base: page.as_ptr().cast_mut().cast(),
        iov_len: size_of_val(page),
    };
    let mut message = Message::new(&part, (&raw mut streams).cast(), STREAMS_LENGTH);
    let flags = libc::MSG_CMSG_CLOEXEC;
    let length = loop {
        match call!(libc::SYS_recvmsg, socket.0, &raw mut message, flags) {
            Err(Errno(libc::EINTR)) => {}
            other => break other?,
        }
    };
    let first = page.first().map_or(0, |word| word.get().addr());
    let kind = u8::try_from(first & 0xff).unwrap_or(0);
    let rights = streams.level == libc::SOL_SOCKET && streams.kind == libc::SCM_RIGHTS;
    // What did not come is still -1.
    let came = if rights { streams.fds } else { [-1; 3] };
    Ok(match length {
        0 => Heard::End,
        1 => Heard::Byte(kind),
        _ if kind == crate::report::byte::PROGRAM => Heard::Program(came.map(Fd)),
        _ => Heard::Byte(0),
    })
}

/// `ppoll(2)`, without end: has the first of two anything to read, or is it at its end?
pub(crate) fn is_first_ready(first: Fd, second: Fd) -> Result<bool> {
    let entry = |fd: Fd| libc::pollfd {
        fd: fd.0,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut entries = [entry(first), entry(second)];
    let (for_ever, no_mask) = (null::<u64>(), null::<u64>());
    loop {
        let polled = call!(
            libc::SYS_ppoll,
            entries.as_mut_ptr(),
            2_u64,
            for_ever,
            no_mask,
            8_usize
        );
        match polled {
            Err(Errno(libc::EINTR)) => {}
            other => break other.map(|_| entries[0].revents != 0),
        }
    }
}

/// `accept4(2)`.
pub(crate) fn accept(listener: Fd) -> Result<Fd> {
    let nobody = null_mut::<u8>();
    loop {
        match call!(
            libc::SYS_accept4,
            listener.0,
            nobody,
            nobody,
            libc::SOCK_CLOEXEC
        ) {
            Err(Errno(libc::EINTR)) => {}
            other => return other.map(Fd),
        }
    }
}
