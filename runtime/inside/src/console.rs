//! The container's terminal, `pty(7)`.

use crate::orders::{Console, Fd, Orders, Root};
use crate::paths;
use crate::report::{Failure, Step, byte};
use crate::sys::{self, Errno};

const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// Allocates the terminal, hands its master to the parent and returns what the payload gets as
/// standard streams: the terminal, or what the orders say.
pub(crate) fn allocate(orders: &Orders<'_>) -> Result<[Fd; 3], Failure> {
    let Some(console) = &orders.console else {
        return Ok(orders.stdio);
    };
    let terminal = open(orders, console).map_err(|errno| Step::Console.failed(errno))?;
    Ok([terminal; 3])
}

fn open(orders: &Orders<'_>, console: &Console) -> sys::Result<Fd> {
    // A new container is not pivoted yet: its root is the current directory. One that was joined
    // has it as the root.
    let root = match &orders.root {
        Some(root) => root.tree,
        None => sys::openat2(Fd(libc::AT_FDCWD), c"/".as_ptr(), libc::O_PATH, 0)?,
    };
    let master = paths::open(
        root,
        c"dev/pts/ptmx".as_ptr(),
        libc::O_RDWR | libc::O_NOCTTY,
    )?;
    check_master(master)?;
    sys::unlock_terminal(master)?;
    // By descriptor from the master: the name /dev/pts/N may be swapped (CVE-2025-52565).
    let flags = u64::from((libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC).unsigned_abs());
    let slave = Fd(sys::ioctl_value(master, libc::TIOCGPTPEER, flags)?);
    if console.size != (0, 0) {
        sys::set_terminal_size(slave, console.size.0, console.size.1)?;
    }
    sys::fchown(slave, console.uid, u32::MAX)?;
    sys::send_fd(orders.parent, byte::CONSOLE, master)?;
    sys::close(master);
    if console.bind {
        bind(root, slave)?;
    }
    if !orders.is_born_late() {
        sys::ioctl_value(slave, libc::TIOCSCTTY, 0)?;
    }
    Ok(slave)
}

/// Makes the terminal, which is standard input by now, the controlling one of a process that was born
/// after it was opened: with the leader of another session it would go.
pub(crate) fn control(orders: &Orders<'_>) -> Result<(), Failure> {
    if orders.console.is_none() {
        return Ok(());
    }
    sys::ioctl_value(Fd(0), libc::TIOCSCTTY, 0)
        .map(drop)
        .map_err(|errno| Step::Console.failed(errno))
}

/// The same terminal where `/dev/console` shows it: its own path went with the mounts it was opened
/// in, and programs ask for that path, `ttyname(3)`.
pub(crate) fn find_again(
    orders: &Orders<'_>,
    root: &Root<'_>,
    stdio: &mut [Fd; 3],
) -> Result<(), Failure> {
    if orders.console.is_none() {
        return Ok(());
    }
    let [terminal, ..] = *stdio;
    let found = reopen(root.tree, terminal).map_err(|errno| Step::Console.failed(errno))?;
    sys::close_now(terminal);
    *stdio = [found; 3];
    Ok(())
}

fn reopen(root: Fd, terminal: Fd) -> sys::Result<Fd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let found = paths::open(root, c"dev/console".as_ptr(), flags)?;
    if sys::stat(found, c"")?.number == sys::stat(terminal, c"")?.number
        && sys::filesystem_magic(found)? == DEVPTS_SUPER_MAGIC
    {
        Ok(found)
    } else {
        Err(Errno(libc::ENODEV))
    }
}

/// The multiplexer must be the real one, of a real devpts (CVE-2025-52881 class).
fn check_master(master: Fd) -> sys::Result<()> {
    let found = sys::stat(master, c"")?;
    let real = found.mode & libc::S_IFMT == libc::S_IFCHR
        && found.number == libc::makedev(5, 2)
        && sys::filesystem_magic(master)? == DEVPTS_SUPER_MAGIC;
    if real {
        Ok(())
    } else {
        Err(Errno(libc::ENODEV))
    }
}

/// Covers `/dev/console`, made as an empty file where it is missing.
fn bind(root: Fd, slave: Fd) -> sys::Result<()> {
    let directory = paths::find(root, c"dev")?;
    match sys::mknodat(directory, c"console".as_ptr(), libc::S_IFREG | 0o600, 0) {
        Ok(_) | Err(Errno(libc::EEXIST)) => {}
        Err(errno) => return Err(errno),
    }
    // Not followed: whatever stands there is covered itself.
    let target = sys::openat(directory, c"console", libc::O_PATH, 0)?;
    let tree = sys::clone_tree(slave, c"", false)?;
    sys::attach(tree, target)?;
    for fd in [tree, target, directory] {
        sys::close(fd);
    }
    Ok(())
}
