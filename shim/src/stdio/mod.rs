//! The standard streams of a process: where containerd wants them, and what is held open for that.
//!
//! A process gets the ends of containerd's pipes themselves; nothing stands between. Each pipe is held
//! open here, too, for reading and writing: while containerd is away, what is written waits in the pipe, and
//! the process does not die of it. Only terminals, files and loggers are served by ourselves.

pub(crate) mod fifo;
pub(crate) mod file;
pub(crate) mod logger;
pub(crate) mod pump;
pub(crate) mod uri;

use crate::wire::status::{Answer, Failure};
use hostrun_runtime::{Stdio, Stream};
use logger::Logger;
use rustix::io::ioctl_fionread;
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use uri::Destination;

/// What a request says of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// Who is to own them: the process must be able to open `/dev/stdout` anew.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owner {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// Whose they are, as a logger is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) id: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) owner: Owner,
}

/// What is held of them while the process lives.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// The writing end of its input, until somebody closes it: containerd alone may not, it may die.
    pub(crate) stdin: Option<OwnedFd>,
    /// Its pipes, for reading and writing.
    pub(crate) outputs: Vec<OwnedFd>,
    /// The master of its terminal.
    pub(crate) console: Option<OwnedFd>,
    /// Keys of the pumps that serve it.
    pub(crate) pumps: Vec<u64>,
    /// That of them which brings its input.
    pub(crate) input: Option<u64>,
    /// Writes its output to a file.
    pub(crate) writer: Option<JoinHandle<()>>,
    /// Takes its output.
    pub(crate) logger: Option<Logger>,
}

impl Streams {
    /// Is there output that nobody has taken yet?
    pub(crate) fn is_unread(&self) -> bool {
        let unread = |pipe: &OwnedFd| ioctl_fionread(pipe).is_ok_and(|bytes| bytes > 0);
        self.outputs.iter().any(unread)
    }

    /// Is some of it still on its way through our hands?
    pub(crate) fn is_under_way(&self) -> bool {
        let writing = self.writer.as_ref();
        !self.pumps.is_empty() || writing.is_some_and(|writer| !writer.is_finished())
    }

    /// Whoever reads the output comes to its end.
    pub(crate) fn end_outputs(&mut self) {
        self.outputs.clear();
    }
}

/// The other side of a terminal.
#[derive(Debug, Default)]
pub(crate) struct Plumbing {
    pub(crate) input: Option<OwnedFd>,
    pub(crate) output: Option<OwnedFd>,
}

/// All that opening comes to.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    pub(crate) stdio: Stdio,
    pub(crate) streams: Streams,
    pub(crate) plumbing: Plumbing,
}

/// Opens what a request names.
///
/// # Errors
/// `NotFound` where a pipe is not there, `InvalidArgument` where the scheme of a URI is none of the two.
pub(crate) fn open(paths: &Paths, context: Context<'_>) -> Answer<Opened> {
    let mut opened = Opened::default();
    let input = input(paths, &mut opened.streams, context.owner)?;
    let outputs = outputs(paths, &mut opened.streams, context)?;
    if paths.terminal {
        opened.plumbing = Plumbing {
            input: input.map(fifo::without_blocking).transpose()?,
            output: outputs.stdout.map(fifo::without_blocking).transpose()?,
        };
        opened.stdio = Stdio {
            stdin: Stream::Null,
            stdout: Stream::Null,
            stderr: Stream::Null,
        };
        return Ok(opened);
    }
    let stream = |fd: Option<OwnedFd>| fd.map_or(Stream::Null, Stream::Fd);
    opened.stdio = Stdio {
        stdin: stream(input),
        stdout: stream(outputs.stdout),
        stderr: stream(outputs.stderr),
    };
    Ok(opened)
}

/// What the process reads from.
fn input(paths: &Paths, streams: &mut Streams, owner: Owner) -> Answer<Option<OwnedFd>> {
    if paths.stdin.is_empty() {
        return Ok(None);
    }
    let (held, end) = fifo::input(&paths.stdin)?;
    if !paths.terminal {
        fifo::give(&end, owner);
    }
    streams.stdin = held;
    Ok(Some(end))
}

/// What the process writes to.
#[derive(Debug, Default)]
struct Outputs {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

fn outputs(paths: &Paths, streams: &mut Streams, context: Context<'_>) -> Answer<Outputs> {
    match uri::parse(&paths.stdout)? {
        Destination::Path => {}
        Destination::File(path) => {
            let (writer, end) = file::append(&path)?;
            streams.writer = Some(writer);
            return both(end, context.owner);
        }
        Destination::Binary(program) => {
            let (logger, stdout, stderr) = logger::start(&program, context)?;
            streams.logger = Some(logger);
            fifo::give(&stdout, context.owner);
            fifo::give(&stderr, context.owner);
            return Ok(Outputs {
                stdout: Some(stdout),
                stderr: Some(stderr),
            });
        }
    }
    let mut one = |path: &str| -> Answer<Option<OwnedFd>> {
        if path.is_empty() {
            return Ok(None);
        }
        let (held, end) = fifo::output(path)?;
        if held.is_some() && !paths.terminal {
            fifo::give(&end, context.owner);
        }
        streams.outputs.extend(held);
        Ok(Some(end))
    };
    Ok(Outputs {
        stdout: one(&paths.stdout)?,
        // A terminal has one output.
        stderr: if paths.terminal {
            None
        } else {
            one(&paths.stderr)?
        },
    })
}

/// One pipe for both streams: what is written first comes first.
fn both(end: OwnedFd, owner: Owner) -> Answer<Outputs> {
    fifo::give(&end, owner);
    let copy = end.try_clone();
    let copy = copy.map_err(|error| Failure::not_now(format!("copy a pipe: {error}")))?;
    Ok(Outputs {
        stdout: Some(end),
        stderr: Some(copy),
    })
}

/// A pipe; its reading end first.
fn pipe() -> Answer<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Failure::system("make a pipe", errno))
}

/// Gives an end of a pipe to the user a process will be, as far as the kernel lets us.
fn chown(fd: impl AsFd, owner: Owner) {
    let uid = owner.uid.map(rustix::fs::Uid::from_raw);
    let gid = owner.gid.map(rustix::fs::Gid::from_raw);
    if uid.is_some() || gid.is_some() {
        rustix::fs::fchown(fd, uid, gid).unwrap_or_default();
    }
}
