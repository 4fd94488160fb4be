//! Sockets: the parent, the starter, the loopback device.

use super::{Errno, Result, call, check, close};
use crate::orders::Fd;
use core::ffi::c_char;
use core::mem::zeroed;
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
    let socket = call!(
        libc::SYS_socket,
        libc::AF_INET,
        libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
        0_i32
    )?;
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(0);
    let result = call!(
        libc::SYS_ioctl,
        socket,
        libc::SIOCSIFFLAGS,
        &raw const request
    );
    close(Fd(socket));
    result
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

const RIGHTS_LENGTH: u32 = 24;

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
    // SAFETY: all zeroes is a valid msghdr.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = (&raw const part).cast_mut();
    message.msg_iovlen = 1;
    message.msg_control = (&raw const rights).cast_mut().cast();
    message.msg_controllen = RIGHTS_LENGTH;
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
    // SAFETY: all zeroes is a valid msghdr.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = (&raw const part).cast_mut();
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut rights).cast();
    message.msg_controllen = RIGHTS_LENGTH;
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
