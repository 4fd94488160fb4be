//! The last steps: working directory, filter, program.

use crate::orders::{Fd, Make, Orders, Program};
use crate::paths;
use crate::report::{Failure, Step, byte};
use crate::sys::{self, Errno};
use crate::targets;
use core::convert::Infallible;
use core::ffi::{CStr, c_char};

/// Finds the working directory, inside the root and never through a magic link. A new container
/// gets it made where it is missing, while its root is still writable.
pub(crate) fn find_cwd(orders: &Orders<'_>) -> Result<Fd, Failure> {
    let fail = |errno| Step::Cwd.failed(errno);
    match &orders.root {
        Some(root) => targets::find_or_make(root.tree, orders.cwd, Make::Directory)
            .map(|target| target.fd)
            .map_err(fail),
        // The current directory is the root here, as setns(2) left it.
        None => open_cwd(orders.cwd).map_err(fail),
    }
}

/// Changes to it.
pub(crate) fn enter_cwd(cwd: Fd) -> Result<(), Failure> {
    sys::fchdir(cwd).map_err(|errno| Step::Cwd.failed(errno))?;
    sys::close(cwd);
    Ok(())
}

/// Finds it again as the payload's user and changes to it: some directories open for that user
/// only (FUSE, NFS without root).
pub(crate) fn enter_cwd_as_payload(orders: &Orders<'_>) -> Result<(), Failure> {
    let cwd = open_cwd(orders.cwd).map_err(|errno| Step::Cwd.failed(errno))?;
    enter_cwd(cwd)
}

fn open_cwd(cwd: &CStr) -> sys::Result<Fd> {
    let path = if cwd.is_empty() { c"." } else { cwd };
    paths::open(
        Fd(libc::AT_FDCWD),
        path.as_ptr(),
        libc::O_PATH | libc::O_DIRECTORY,
    )
}

/// `PR_SET_NO_NEW_PRIVS`.
pub(crate) fn forbid_new_privileges() -> Result<(), Failure> {
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
        .map(drop)
        .map_err(|errno| Step::NoNewPrivileges.failed(errno))
}

/// Installs the filter. Its listener goes to whoever is reported to, by one `sendmsg(2)`, which the
/// plan has seen to be allowed; our own copy closes on exec.
pub(crate) fn install_filter(orders: &Orders<'_>, report_to: Fd) -> Result<(), Failure> {
    let Some(seccomp) = &orders.seccomp else {
        return Ok(());
    };
    let fail = |errno| Step::Seccomp.failed(errno);
    let listener = sys::install_filter(seccomp.program, seccomp.flags).map_err(fail)?;
    if has_listener(orders) {
        sys::send_fd(report_to, byte::LISTENER, Fd(listener)).map_err(fail)?;
    }
    Ok(())
}

/// Does somebody answer for the filter?
pub(crate) fn has_listener(orders: &Orders<'_>) -> bool {
    const NEW_LISTENER: u32 = 1 << 3;
    let flags = orders.seccomp.as_ref().map_or(0, |seccomp| seccomp.flags);
    flags & NEW_LISTENER != 0
}

/// How often the kernel follows `#!` lines, `execve(2)`.
const SCRIPT_DEPTH: usize = 5;

/// Refuses a program, or the interpreter a script names, that is reached through a magic link:
/// `/proc/self/exe` is the runtime itself, and running it inside would hand the container a handle
/// on it (CVE-2019-5736).
pub(crate) fn refuse_magic_links(program: Program<'_>) -> Result<(), Failure> {
    for (index, path) in program.candidates.iter().enumerate() {
        match check_program(path.get(), SCRIPT_DEPTH) {
            Ok(()) => return Ok(()),
            Err(Errno(libc::ELOOP)) => {
                return Err(Step::ExecMagicLink.failed_at(index, Errno(libc::ELOOP)));
            }
            // Whatever else is wrong with it, execve(2) says it better.
            Err(_) => {}
        }
    }
    Ok(())
}

/// The same for another program.
pub(crate) fn is_through_magic_link(path: &CStr) -> bool {
    check_program(path.as_ptr(), SCRIPT_DEPTH) == Err(Errno(libc::ELOOP))
}

/// ELOOP for a magic link; links that merely lead in a circle get the kernel's other answers.
fn check_program(path: *const c_char, depth: usize) -> sys::Result<()> {
    let here = Fd(libc::AT_FDCWD);
    let look = |resolve| sys::openat2(here, path, libc::O_PATH, resolve);
    let file = match look(libc::RESOLVE_NO_MAGICLINKS) {
        Err(Errno(libc::ELOOP)) if look(0) == Err(Errno(libc::ELOOP)) => {
            return Err(Errno(libc::ENOENT));
        }
        other => other?,
    };
    let regular = sys::stat(file, c"")?.mode & libc::S_IFMT == libc::S_IFREG;
    sys::close(file);
    if !regular || depth == 0 {
        return Ok(());
    }
    let mut line = [0_u8; 257];
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = sys::openat2(here, path, flags, libc::RESOLVE_NO_MAGICLINKS)?;
    let length = sys::read(
        file,
        line.split_last_mut().map_or(&mut [], |(_end, rest)| rest),
    );
    sys::close(file);
    length?;
    match interpreter(&mut line) {
        Some(interpreter) => check_program(interpreter, depth - 1),
        None => Ok(()),
    }
}

/// What a `#!` line names, up to its first blank.
fn interpreter(line: &mut [u8; 257]) -> Option<*const c_char> {
    if !line.starts_with(b"#!") {
        return None;
    }
    let rest = line.get_mut(2..)?;
    let start = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    let name = rest.get_mut(start..)?;
    let end = name
        .iter()
        .position(|byte| matches!(byte, b' ' | b'\t' | b'\n' | 0))?;
    if let Some(byte) = name.get_mut(end) {
        *byte = 0;
    }
    Some(name.as_ptr().cast())
}

/// Says of a container that is to wait for its start what `execve(2)` would say of its program: an
/// engine wants to hear it from `create`, where it still can take everything back.
pub(crate) fn find_program(program: Program<'_>) -> Result<(), Failure> {
    let mut failure = Step::Exec.failed(Errno(libc::ENOENT));
    for (index, path) in program.candidates.iter().enumerate() {
        match sys::may_execute(path.get()) {
            Err(Errno(libc::ENOENT | libc::ENOTDIR)) => {}
            Err(Errno(libc::EACCES)) => {
                failure = Step::Exec.failed_at(index, Errno(libc::EACCES));
            }
            // It is there, or execve(2) says better what is wrong with it.
            _ => return Ok(()),
        }
    }
    Err(failure)
}

/// Tries the candidates as `execvp(3)` does: on to the next where there is no such file, but
/// "not permitted" is remembered as the better answer.
pub(crate) fn become_program(program: Program<'_>) -> Result<Infallible, Failure> {
    let mut failure = Step::Exec.failed(Errno(libc::ENOENT));
    for (index, path) in program.candidates.iter().enumerate() {
        let errno = sys::execve(
            path.get(),
            program.argv.as_ptr().cast(),
            program.envp.as_ptr().cast(),
        );
        match errno.0 {
            libc::ENOENT | libc::ENOTDIR => {
                if failure.errno == libc::ENOENT && index == 0 {
                    failure = Step::Exec.failed_at(index, errno);
                }
            }
            libc::EACCES => failure = Step::Exec.failed_at(index, errno),
            _ => return Err(Step::Exec.failed_at(index, errno)),
        }
    }
    Err(failure)
}
