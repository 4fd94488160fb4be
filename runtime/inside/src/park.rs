//! The wait for `start`: between everything and `execve(2)`.

use crate::orders::{Fd, Orders, Park, Program};
use crate::report::{Failure, Step, byte};
use crate::sys::{self, Errno, Heard};
use crate::{confine, exec, session};
use core::cell::Cell;
use core::ffi::c_char;

/// What ends a process that waits to be started, as it ends runc's. The kernel keeps from process 1
/// of a pid namespace whatever it has no handler for, so a manager that gives up on a created
/// container and asks it to end would wait for ever.
const ENDING: [i32; 5] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGABRT,
    libc::SIGTERM,
];

/// Tells the parent that all is ready, and waits for somebody to start the payload.
///
/// From then on failures go to the starter, over the connection that `execve(2)` closes. Without a
/// wait the program is that of the orders, and nothing happens.
pub(crate) fn park<'a>(
    orders: &Orders<'a>,
    report_to: &mut Fd,
    filter_early: bool,
) -> Result<Program<'a>, Failure> {
    let Some(park) = orders.park else {
        if !orders.hooks.start.is_empty() {
            // Programs of the image are about to run beside us, and may look into us.
            session::close_ours(orders, orders.parent);
        }
        return Ok(orders.program);
    };
    let program = told(orders, park)?;
    if let Some(program) = program {
        exec::find_program(program)?;
    }
    // A parked process may wait for days: nothing of the host stays open in it meanwhile.
    session::close_ours(orders, park.listener);
    for signal in ENDING {
        sys::end_by(u64::from(signal.unsigned_abs())).map_err(failed)?;
    }
    // The creator may leave now: being created is not a reason to die with it. One that is still to
    // be told its program does, but by the end of the line: the signal would come with the end of
    // the thread that made us.
    session::untie()?;
    if park.behind_filter {
        confine(orders, *report_to, filter_early)?;
    }
    // Before we say so: should we die of it, that is an error of whoever makes us.
    forget(park);
    sys::send(orders.parent, &[byte::READY]).map_err(failed)?;
    wait(orders, park, program, report_to)
}

/// What to become, if that has been said.
fn told<'a>(orders: &Orders<'a>, park: Park<'a>) -> Result<Option<Program<'a>>, Failure> {
    match park.page {
        None => Ok(Some(orders.program)),
        Some(_) if !park.told => Ok(None),
        Some(page) => read(page)
            .map(|(program, _)| Some(program))
            .ok_or(failed(Errno(libc::EPROTO))),
    }
}

/// Gives back what we have of the parent's memory: its secrets are not kept for as long as we wait,
/// and `execve(2)`, for which somebody waits, has less to take down.
fn forget(park: Park<'_>) {
    for range in park.surplus.chunks_exact(2) {
        if let [from, to] = range {
            sys::unmap(from.get().addr(), to.get().addr());
        }
    }
}

/// Is the filter installed before the wait?
pub(crate) fn is_behind_filter(orders: &Orders<'_>) -> bool {
    orders.park.is_some_and(|park| park.behind_filter)
}

fn failed(errno: Errno) -> Failure {
    Step::Park.failed(errno)
}

fn wait<'a>(
    orders: &Orders<'a>,
    park: Park<'a>,
    program: Option<Program<'a>>,
    report_to: &mut Fd,
) -> Result<Program<'a>, Failure> {
    let mut waiting = Waiting {
        park,
        line: park.keeps_line.then_some(orders.parent),
        program,
    };
    if waiting.line.is_none() {
        sys::close_now(orders.parent);
    }
    loop {
        let starter = match waiting.speaker()? {
            Some(line) => waiting.hear_line(line)?,
            None => waiting.hear_listener()?,
        };
        if let (Some(starter), Some(program)) = (starter, waiting.program) {
            *report_to = starter;
            close_before_hooks(orders, park.listener);
            return Ok(program);
        }
    }
}

/// What a process that waits has so far.
struct Waiting<'a> {
    park: Park<'a>,
    line: Option<Fd>,
    program: Option<Program<'a>>,
}

impl Waiting<'_> {
    /// The line, where something came over it; `None` for the listening socket.
    fn speaker(&self) -> Result<Option<Fd>, Failure> {
        let Some(line) = self.line else {
            return Ok(None);
        };
        let on_line = sys::is_first_ready(line, self.park.listener).map_err(failed)?;
        Ok(on_line.then_some(line))
    }

    /// Where the start came from, if that is what came.
    fn hear_line(&mut self, line: Fd) -> Result<Option<Fd>, Failure> {
        match (hear(line, self.park)?, self.program) {
            (Heard::Byte(byte::START), Some(_)) => return Ok(Some(line)),
            (Heard::Program(streams), None) => {
                let (program, goes) = take(self.park, line, streams)?;
                self.program = Some(program);
                return Ok(goes.then_some(line));
            }
            // Nobody else can ever tell us what to become.
            (_, None) => return Err(failed(Errno(libc::EPIPE))),
            // The creator went away: others may start us.
            _ => {
                sys::close_now(line);
                self.line = None;
            }
        }
        Ok(None)
    }

    fn hear_listener(&mut self) -> Result<Option<Fd>, Failure> {
        let connection = sys::accept(self.park.listener).map_err(failed)?;
        let said = sys::receive_byte(connection);
        if said == Ok(Some(byte::START)) && self.program.is_some() {
            // The creator learns that it was not the first.
            self.line.take().into_iter().for_each(sys::close_now);
            return Ok(Some(connection));
        }
        if said == Ok(Some(byte::LEAVE)) {
            return Err(failed(Errno(libc::ECANCELED)));
        }
        // The starter gave up; the next one may mean it.
        sys::close_now(connection);
        Ok(None)
    }
}

/// While hooks run, nobody else may take this for a container that waits.
fn close_before_hooks(orders: &Orders<'_>, listener: Fd) {
    if !orders.hooks.start.is_empty() {
        sys::close_now(listener);
    }
}

fn hear(line: Fd, park: Park<'_>) -> Result<Heard, Failure> {
    let heard = match park.page {
        Some(page) => sys::receive_program(line, page),
        None => sys::receive_byte(line).map(|byte| byte.map_or(Heard::End, Heard::Byte)),
    };
    heard.map_err(failed)
}

/// Takes the program that came, and its streams. Is it to be executed at once? If not, says whether it
/// can be executed at all; `execve(2)` says the same.
fn take(park: Park<'_>, line: Fd, streams: [Fd; 3]) -> Result<(Program<'_>, bool), Failure> {
    let told = park.page.and_then(read);
    let (program, bits) = told.ok_or(failed(Errno(libc::EPROTO)))?;
    let numbers = (0..3).filter(|number| bits >> number & 1 == 1);
    for (fd, number) in streams.iter().zip(numbers) {
        sys::dup_onto(*fd, number).map_err(|errno| Step::Stdio.failed(errno))?;
        sys::close_now(*fd);
    }
    let goes = bits & Park::GO != 0;
    if !goes {
        exec::find_program(program)?;
        sys::send(line, &[byte::READY]).map_err(failed)?;
    }
    Ok((program, goes))
}

/// What the page says: a word with the kind of the message, three with the places of the lists,
/// where the paths begin, the arguments and the environment, one with their end, and one with bits:
/// for each standard stream that came, and [`Park::GO`]. The other streams stay what they are: the
/// null device.
fn read(page: &[Cell<*const c_char>]) -> Option<(Program<'_>, usize)> {
    let word = |index: usize| page.get(index).map(|word| word.get().addr());
    let (paths, argv, envp, end) = (word(1)?, word(2)?, word(3)?, word(4)?);
    let program = Program {
        candidates: page.get(paths..argv)?,
        argv: page.get(argv..envp)?,
        envp: page.get(envp..end)?,
    };
    Some((program, word(5)?))
}
