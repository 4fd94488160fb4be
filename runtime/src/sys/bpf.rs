//! `bpf(2)` for device programs: load, attach, query. Nothing else of BPF is used here.
//!
//! Every call hands the kernel one zeroed 128-byte attribute. The kernel accepts a larger attribute than
//! it knows as long as the tail is zero, and some kernels (6.17 to 7.1) write past a 32-byte one when they
//! answer a query, so the size is part of the safety argument.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;

const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;

/// The verifier gives up with EAGAIN when a signal is pending; libbpf tries five times, and so do we.
const LOAD_TRIES: u32 = 5;

const LICENSE: &CStr = c"Apache-2.0";
const NAME: [u8; 16] = *b"hostrun_devices\0";

/// `union bpf_attr`, as plain bytes.
#[repr(C, align(8))]
struct Attr([u8; 128]);

impl Attr {
    fn zeroed() -> Self {
        Self([0; 128])
    }

    fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self
    }

    fn u32(self, at: usize, value: u32) -> Self {
        self.put(at, &value.to_ne_bytes())
    }

    fn fd(self, at: usize, fd: BorrowedFd<'_>) -> Self {
        self.put(at, &fd.as_raw_fd().to_ne_bytes())
    }

    fn address<T>(self, at: usize, pointer: *const T) -> Self {
        self.put(at, &(pointer.expose_provenance() as u64).to_ne_bytes())
    }

    fn read_u32(&self, at: usize) -> u32 {
        self.0
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    }
}

fn bpf(command: libc::c_int, attr: &mut Attr) -> Result<libc::c_int, Errno> {
    // SAFETY: bpf(2) reads and writes at most the 128 bytes named by its third argument, `attr` is that
    // large and exclusively borrowed, and the pointers inside it were put there by the callers below from
    // slices that outlive this call and have the lengths written beside them.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<Attr>(),
        )
    };
    if answer < 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    }
    libc::c_int::try_from(answer).map_err(|_out_of_range| Errno::OVERFLOW)
}

fn bpf_fd(command: libc::c_int, attr: &mut Attr) -> Result<OwnedFd, Errno> {
    let fd = bpf(command, attr)?;
    // SAFETY: BPF_PROG_LOAD, BPF_PROG_GET_FD_BY_ID and BPF_OBJ_GET, the only commands given to this
    // function, return a new close-on-exec descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a `BPF_PROG_TYPE_CGROUP_DEVICE` program of 8-byte instructions (`bpf(2)`, `BPF_PROG_LOAD`).
///
/// `RLIMIT_MEMLOCK` is left alone: kernels since 5.11 charge the program to the memory cgroup, and
/// raising the limit needs a capability that a host may have taken away.
///
/// # Errors
/// The errno of the call; `EPERM` without `CAP_BPF`/`CAP_SYS_ADMIN` or, before 5.11, above the limit.
pub(crate) fn load_device_program(instructions: &[u64]) -> Result<OwnedFd, Errno> {
    let count = u32::try_from(instructions.len()).map_err(|_too_many| Errno::TOOBIG)?;
    let mut tries = LOAD_TRIES;
    loop {
        let mut attr = Attr::zeroed()
            .u32(0, BPF_PROG_TYPE_CGROUP_DEVICE)
            .u32(4, count)
            .address(8, instructions.as_ptr())
            .address(16, LICENSE.as_ptr())
            .put(48, &NAME)
            .u32(68, BPF_CGROUP_DEVICE);
        match bpf_fd(BPF_PROG_LOAD, &mut attr) {
            Err(Errno::AGAIN) if tries > 1 => tries -= 1,
            answer => return answer,
        }
    }
}

/// Keeps a program in the kernel under a path of bpffs (`bpf(2)`, `BPF_OBJ_PIN`).
///
/// # Errors
/// The errno of the call; `EEXIST` where something has that name.
pub(crate) fn pin_program(program: &OwnedFd, path: &CStr) -> Result<(), Errno> {
    let mut attr = Attr::zeroed()
        .address(0, path.as_ptr())
        .fd(8, program.as_fd());
    bpf(BPF_OBJ_PIN, &mut attr).map(|_zero| ())
}

/// Opens what is pinned under a path of bpffs (`bpf(2)`, `BPF_OBJ_GET`).
///
/// # Errors
/// The errno of the call; `ENOENT` where there is nothing.
pub(crate) fn pinned_program(path: &CStr) -> Result<OwnedFd, Errno> {
    bpf_fd(BPF_OBJ_GET, &mut Attr::zeroed().address(0, path.as_ptr()))
}

/// Attaches a device program to a cgroup (`bpf(2)`, `BPF_PROG_ATTACH`), beside those of its ancestors.
/// With `replace`, takes the place of that program, which must be attached to this cgroup, in one step.
///
/// # Errors
/// The errno of the call; `EPERM` when an ancestor's program was attached exclusively.
pub(crate) fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut attr = Attr::zeroed()
        .fd(0, cgroup)
        .fd(4, program)
        .u32(8, BPF_CGROUP_DEVICE)
        .u32(12, BPF_F_ALLOW_MULTI);
    if let Some(old) = replace {
        attr = attr.u32(12, BPF_F_ALLOW_MULTI | BPF_F_REPLACE).fd(16, old);
    }
    bpf(BPF_PROG_ATTACH, &mut attr).map(|_zero| ())
}

/// The ids of the device programs attached to a cgroup itself (`bpf(2)`, `BPF_PROG_QUERY`), at most 64.
///
/// # Errors
/// The errno of the call; `ENOSPC` when there are more than 64.
pub(crate) fn query_device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    let mut ids = vec![0_u32; 64];
    let room = u32::try_from(ids.len()).map_err(|_too_many| Errno::TOOBIG)?;
    let mut attr = Attr::zeroed()
        .fd(0, cgroup)
        .u32(4, BPF_CGROUP_DEVICE)
        .address(16, ids.as_mut_ptr().cast_const())
        .u32(24, room);
    bpf(BPF_PROG_QUERY, &mut attr)?;
    ids.truncate(usize::try_from(attr.read_u32(24)).unwrap_or(0));
    Ok(ids)
}

/// Opens a loaded program by the id that [`query_device_programs`] gave (`bpf(2)`).
///
/// # Errors
/// The errno of the call; `ENOENT` when the program is gone.
pub(crate) fn device_program_by_id(id: u32) -> Result<OwnedFd, Errno> {
    bpf_fd(BPF_PROG_GET_FD_BY_ID, &mut Attr::zeroed().u32(0, id))
}

/// Whether a program was loaded by [`load_device_program`], by its name (`bpf(2)`,
/// `BPF_OBJ_GET_INFO_BY_FD`). One that cannot be asked is not.
pub(crate) fn is_ours(program: BorrowedFd<'_>) -> bool {
    /// Where `struct bpf_prog_info` has the name.
    const NAME_AT: usize = 64;
    let mut info = [0_u8; 128];
    let mut attr = Attr::zeroed()
        .fd(0, program)
        .u32(4, 128)
        .address(8, info.as_mut_ptr().cast_const());
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr).is_ok()
        && info.get(NAME_AT..NAME_AT + NAME.len()) == Some(&NAME)
}
