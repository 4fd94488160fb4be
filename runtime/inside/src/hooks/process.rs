//! The process of one hook, from its clone to its end.

use super::outcome::{Mishap, Said};
use crate::orders::{Fd, Hook};
use crate::sys::{self, Errno, Helper};
use core::convert::Infallible;

/// Around a hook.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The state document around the pid.
    pub state: [&'a [u8]; 2],
    /// The container's first process, as the hook counts pids.
    pub pid: i32,
    /// Where it runs; `None` for where we are.
    pub cwd: Option<Fd>,
}

/// Runs one hook to its end. Does not allocate; may be called from any thread of any process.
///
/// # Errors
/// What was wrong with it.
pub fn run(hook: &Hook<'_>, place: &Place<'_>, said: &mut Said) -> Result<(), Mishap> {
    run_after(hook, place, said, || Ok(()))
}

/// The same; `last` is what the hook's process does just before it becomes the hook.
pub(super) fn run_after(
    hook: &Hook<'_>,
    place: &Place<'_>,
    said: &mut Said,
    last: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Mishap> {
    let mut ends = Ends::open(place).map_err(Mishap::NotRun)?;
    match sys::clone_helper().map_err(Mishap::NotRun)? {
        None => {
            let errno = match become_hook(hook, place, &ends, last) {
                Ok(never) => match never {},
                Err(errno) => errno,
            };
            sys::best_effort(sys::write(ends.error_in.0, &errno.0.to_ne_bytes()));
            sys::exit(1)
        }
        Some(helper) => {
            ends.keep_ours();
            let late = watch(helper, &ends, hook.timeout, said);
            finish(helper, &ends, late)
        }
    }
}

/// A descriptor of ours, closed when dropped.
struct Held(Fd);

impl Held {
    /// Above the standard streams, whose numbers it must not take.
    fn above(fd: Fd) -> Result<Held, Errno> {
        if fd.0 > 2 {
            return Ok(Held(fd));
        }
        let low = Held(fd);
        sys::dup_above(low.0).map(Held)
    }

    fn close(&mut self) {
        if self.0.0 >= 0 {
            sys::close_now(self.0);
        }
        self.0 = Fd(-1);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a hook and its runner have in common.
struct Ends {
    state: Held,
    said_out: Held,
    said_in: Held,
    error_out: Held,
    error_in: Held,
}

impl Ends {
    fn open(place: &Place<'_>) -> Result<Ends, Errno> {
        let (said_out, said_in) = pipe()?;
        let (error_out, error_in) = pipe()?;
        Ok(Ends {
            state: document(place)?,
            said_out,
            said_in,
            error_out,
            error_in,
        })
    }

    fn keep_ours(&mut self) {
        self.state.close();
        self.said_in.close();
        self.error_in.close();
    }
}

fn pipe() -> Result<(Held, Held), Errno> {
    let (out, into) = sys::pipe()?;
    let (out, into) = (Held::above(out), Held::above(into));
    Ok((out?, into?))
}

/// The state as a file that begins at its beginning. A pipe could be too small for its annotations.
fn document(place: &Place<'_>) -> Result<Held, Errno> {
    let file = Held::above(sys::memory_file(c"state")?)?;
    let mut digits = [0_u8; 10];
    let [before, after] = place.state;
    for part in [before, decimal(place.pid, &mut digits), after] {
        let mut rest = part;
        while !rest.is_empty() {
            let count = usize::try_from(sys::write(file.0, rest)?).unwrap_or(0);
            rest = rest.get(count..).unwrap_or_default();
        }
    }
    sys::rewind(file.0)?;
    Ok(file)
}

fn decimal(number: i32, digits: &mut [u8; 10]) -> &[u8] {
    let mut left = number.unsigned_abs();
    let mut first = digits.len();
    for (index, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        first = index;
        if left == 0 {
            break;
        }
    }
    digits.get(first..).unwrap_or_default()
}

/// The hook's own side: nothing of its runner but the three streams reaches it.
fn become_hook(
    hook: &Hook<'_>,
    place: &Place<'_>,
    ends: &Ends,
    last: impl FnOnce() -> Result<(), Errno>,
) -> Result<Infallible, Errno> {
    // A session of its own: what it starts is killed with it when its time is up.
    sys::setsid()?;
    for signal in 1..=64 {
        sys::reset_signal(signal);
    }
    sys::unblock_signals()?;
    // Nobody would ever wait for a hook whose runner died.
    sys::prctl(libc::PR_SET_PDEATHSIG, 9)?;
    sys::close_now(ends.error_out.0);
    if sys::hung_up(ends.error_in.0) {
        return Err(Errno(libc::EPIPE));
    }
    sys::dup_onto(ends.state.0, 0)?;
    sys::dup_onto(ends.said_in.0, 1)?;
    sys::dup_onto(ends.said_in.0, 2)?;
    if let Some(cwd) = place.cwd {
        sys::fchdir(cwd)?;
    }
    match sys::close_range_on_exec(3) {
        // Before Linux 5.11: closed at once, but for the one that says why there was no exec.
        Err(Errno(libc::EINVAL)) => sys::close_all_but(3, &[ends.error_in.0]),
        other => other.map(drop)?,
    }
    last()?;
    Err(sys::execve(
        hook.path.as_ptr(),
        hook.argv.as_ptr(),
        hook.envp.as_ptr(),
    ))
}

/// Reads what it says until it ends or its time is up; then it is killed. Was it late?
fn watch(helper: Helper, ends: &Ends, timeout: Option<i64>, said: &mut Said) -> bool {
    let mut left = timeout.map(|seconds| [seconds, 0]);
    let mut output = ends.said_out.0;
    loop {
        match sys::poll_two(helper.pidfd, output, left.as_mut()) {
            Err(Errno(libc::EINTR)) => {}
            Ok([false, false]) => {
                sys::kill_session(helper);
                return true;
            }
            Ok([ended, more]) => {
                if more && !listen(output, said) {
                    output = Fd(-1);
                }
                if ended {
                    break;
                }
            }
            // Without eyes on it there is only the wait for its end.
            Err(_) => return false,
        }
    }
    // What it wrote just before; what it left behind may go on writing, to nobody.
    while sys::poll_two(Fd(-1), output, Some(&mut [0, 0])) == Ok([false, true]) && !said.is_full() {
        if !listen(output, said) {
            break;
        }
    }
    false
}

/// Reads once. `false` at the end.
fn listen(output: Fd, said: &mut Said) -> bool {
    let mut bytes = [0_u8; 1024];
    match sys::read(output, &mut bytes) {
        Err(Errno(libc::EINTR)) => true,
        Err(_) | Ok(0) => false,
        Ok(count) => {
            let count = usize::try_from(count).unwrap_or(0);
            said.add(bytes.get(..count).unwrap_or_default());
            true
        }
    }
}

fn finish(helper: Helper, ends: &Ends, late: bool) -> Result<(), Mishap> {
    let end = sys::reap(helper);
    let mut errno = [0_u8; 4];
    if late {
        return Err(Mishap::Late);
    }
    if sys::read(ends.error_out.0, &mut errno) == Ok(4) {
        return Err(Mishap::NotRun(Errno(i32::from_ne_bytes(errno))));
    }
    match end.map_err(Mishap::NotRun)? {
        sys::End::Code(0) => Ok(()),
        sys::End::Code(code) => Err(Mishap::Code(code)),
        sys::End::Signal(signal) => Err(Mishap::Signal(signal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_are_written_in_full() {
        let pairs: [(i32, &[u8]); 4] = [
            (0, b"0"),
            (10, b"10"),
            (4_194_304, b"4194304"),
            (i32::MAX, b"2147483647"),
        ];
        for (number, text) in pairs {
            assert_eq!(decimal(number, &mut [0; 10]), text);
        }
    }
}
