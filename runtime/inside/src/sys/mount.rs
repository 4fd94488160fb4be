//! Mounts, by descriptor.

use super::{Errno, Result, call, check};
use crate::old_kernel;
use crate::orders::{Attributes, Fd};
use core::ffi::{CStr, c_char};
use core::mem::size_of;
use core::ptr::null;

/// `mount(2)` that only changes propagation.
pub(crate) fn set_propagation(path: &CStr, flags: u64) -> Result<i32> {
    let none = null::<c_char>();
    call!(libc::SYS_mount, none, path.as_ptr(), none, flags, none)
}

/// `mount(2)` that only changes flags or propagation of what is behind a path.
pub(crate) fn change_mount(path: *const c_char, flags: u64) -> Result<i32> {
    let none = null::<c_char>();
    call!(libc::SYS_mount, none, path, none, flags, none)
}

/// `fsopen(2)`.
pub(crate) fn fsopen(fstype: &CStr) -> Result<Fd> {
    const FSOPEN_CLOEXEC: u32 = 1;
    call!(libc::SYS_fsopen, fstype.as_ptr(), FSOPEN_CLOEXEC).map(Fd)
}

/// `fsconfig(2)`: a string, or a flag where the value is empty.
pub(crate) fn fsconfig(context: Fd, key: &CStr, value: &CStr) -> Result<i32> {
    const FSCONFIG_SET_FLAG: u32 = 0;
    const FSCONFIG_SET_STRING: u32 = 1;
    if value.is_empty() {
        let none = null::<c_char>();
        return call!(
            libc::SYS_fsconfig,
            context.0,
            FSCONFIG_SET_FLAG,
            key.as_ptr(),
            none,
            0_i32
        );
    }
    call!(
        libc::SYS_fsconfig,
        context.0,
        FSCONFIG_SET_STRING,
        key.as_ptr(),
        value.as_ptr(),
        0_i32
    )
}

/// `fsconfig(2)`: a short value made in here, with its end.
pub(crate) fn fsconfig_bytes(context: Fd, key: &CStr, value: &[u8; 5]) -> Result<i32> {
    const FSCONFIG_SET_STRING: u32 = 1;
    call!(
        libc::SYS_fsconfig,
        context.0,
        FSCONFIG_SET_STRING,
        key.as_ptr(),
        value.as_ptr(),
        0_i32
    )
}

/// `fsconfig(2)`: make the superblock.
pub(crate) fn fsconfig_create(context: Fd) -> Result<i32> {
    const FSCONFIG_CMD_CREATE: u32 = 6;
    let none = null::<c_char>();
    call!(
        libc::SYS_fsconfig,
        context.0,
        FSCONFIG_CMD_CREATE,
        none,
        none,
        0_i32
    )
}

/// `fsmount(2)`.
pub(crate) fn fsmount(context: Fd, attributes: u64) -> Result<Fd> {
    const FSMOUNT_CLOEXEC: u32 = 1;
    call!(libc::SYS_fsmount, context.0, FSMOUNT_CLOEXEC, attributes).map(Fd)
}

/// `open_tree(2)`: a detached clone of what `path` below `directory` shows, or of the descriptor
/// itself where the path is empty.
pub(crate) fn clone_tree(directory: Fd, path: &CStr, recursive: bool) -> Result<Fd> {
    const OPEN_TREE_CLONE: i32 = 1;
    const AT_RECURSIVE: i32 = 0x8000;
    let mut flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | libc::AT_SYMLINK_NOFOLLOW;
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= AT_RECURSIVE;
    }
    call!(libc::SYS_open_tree, directory.0, path.as_ptr(), flags).map(Fd)
}

/// `move_mount(2)` from a detached mount onto the directory or file behind a descriptor.
pub(crate) fn attach(tree: Fd, target: Fd) -> Result<i32> {
    const F_EMPTY_PATH: u32 = 0x4;
    const T_EMPTY_PATH: u32 = 0x40;
    let empty = c"".as_ptr();
    call!(
        libc::SYS_move_mount,
        tree.0,
        empty,
        target.0,
        empty,
        F_EMPTY_PATH | T_EMPTY_PATH
    )
}

/// `move_mount(2)` onto our current root.
pub(crate) fn attach_over_root(tree: Fd) -> Result<i32> {
    const F_EMPTY_PATH: u32 = 0x4;
    call!(
        libc::SYS_move_mount,
        tree.0,
        c"".as_ptr(),
        libc::AT_FDCWD,
        c"/".as_ptr(),
        F_EMPTY_PATH
    )
}

/// `mount_setattr(2)` on the mount behind a descriptor: sets only.
pub(crate) fn set_attributes(tree: Fd, set: u64, propagation: u64, recursive: bool) -> Result<i32> {
    mount_setattr(tree, [set, 0, propagation, 0], recursive)
}

/// `mount_setattr(2)` on the mount behind a descriptor: sets and clears.
pub(crate) fn change_attributes(tree: Fd, changes: Attributes, recursive: bool) -> Result<i32> {
    mount_setattr(tree, [changes.set, changes.clear, 0, 0], recursive)
}

fn mount_setattr(tree: Fd, attributes: [u64; 4], recursive: bool) -> Result<i32> {
    const AT_RECURSIVE: i32 = 0x8000;
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    let changed = call!(
        libc::SYS_mount_setattr,
        tree.0,
        c"".as_ptr(),
        flags,
        &raw const attributes,
        size_of::<[u64; 4]>()
    );
    if changed == Err(Errno(libc::ENOSYS)) {
        return old_kernel::change(tree, attributes, recursive);
    }
    changed
}

/// `fspick(2)`: the file system that is mounted at a descriptor, to be configured anew.
pub(crate) fn fspick(target: Fd) -> Result<Fd> {
    const FSPICK_CLOEXEC: u32 = 1;
    const FSPICK_EMPTY_PATH: u32 = 8;
    let flags = FSPICK_CLOEXEC | FSPICK_EMPTY_PATH;
    call!(libc::SYS_fspick, target.0, c"".as_ptr(), flags).map(Fd)
}

/// `fsconfig(2)`: put what was configured in force.
pub(crate) fn fsconfig_reconfigure(context: Fd) -> Result<i32> {
    const FSCONFIG_CMD_RECONFIGURE: u32 = 7;
    let none = null::<c_char>();
    call!(
        libc::SYS_fsconfig,
        context.0,
        FSCONFIG_CMD_RECONFIGURE,
        none,
        none,
        0_i32
    )
}

/// `chroot(2)` to the current directory.
pub(crate) fn chroot_here() -> Result<i32> {
    call!(libc::SYS_chroot, c".".as_ptr())
}

/// `umount2(2)`, lazily, of a path of the host's tree.
pub(crate) fn unmount(path: &CStr) -> Result<i32> {
    call!(libc::SYS_umount2, path.as_ptr(), libc::MNT_DETACH)
}

/// `pivot_root(2)` with both names the current directory.
pub(crate) fn pivot_root_here() -> Result<i32> {
    call!(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr())
}

/// `umount2(2)`, lazily, of what lies over the current directory.
pub(crate) fn unmount_here() -> Result<i32> {
    call!(libc::SYS_umount2, c".".as_ptr(), libc::MNT_DETACH)
}
