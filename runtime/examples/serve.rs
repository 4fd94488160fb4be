//! Starts containers from one process that stays, as a shim or a server does, and says what each
//! start took: `serve STATE_ROOT BUNDLE ID`.
//!
//! One start for each byte read from standard input:
//!
//! * `r` from nothing, its config read from the bundle;
//! * `t` the same, its mount namespace from a template, and `n`, its network namespace from a pool, too;
//! * `p` of a container that was created before, over the line to it;
//! * `w` of a sandbox that was parked before, as a container whose request is at hand.
//!
//! The payload is to write the time (`CLOCK_MONOTONIC`, eight bytes, nanoseconds) to its standard
//! output first of all. Each answer is a line, `FIRST TOTAL`: nanoseconds until that time, and until
//! nothing is left of the container. What a pool misses is made when it is asked for,
//! before that time is counted.

use hostrun_runtime::warm::{MountTemplate, Networks, Refill as _, Sandboxes};
use hostrun_runtime::{Bundle, ContainerId, Error, Request, Running, Runtime, Stdio, Stream};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::time::{ClockId, clock_gettime};
use std::error::Error as StdError;
use std::fs::File;
use std::io::{Read, Write, stdin, stdout};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// A process that stays, and what it has made before.
struct Server {
    bundle: PathBuf,
    id: ContainerId,
    plain: Runtime,
    /// With the template.
    templated: Runtime,
    /// And with networks.
    warm: Runtime,
    networks: Arc<Networks>,
    sandboxes: Option<Sandboxes>,
}

impl Server {
    fn new(root: &str, bundle: &str, id: &str) -> Result<Server, Error> {
        let plain = Runtime::open(Path::new(root))?;
        let templated = plain.clone().with_mount_template(MountTemplate::new()?);
        let networks = Arc::new(Networks::new(1));
        Ok(Server {
            bundle: bundle.into(),
            id: ContainerId::new(id)?,
            plain,
            warm: templated.clone().with_networks(Arc::clone(&networks)),
            templated,
            networks,
            sandboxes: None,
        })
    }

    fn request(&self, output: Option<OwnedFd>) -> Result<Request, Error> {
        Ok(
            Request::from_bundle(Bundle::load(&self.bundle)?).with_stdio(Stdio {
                stdin: Stream::Null,
                stdout: output.map_or(Stream::Null, Stream::Fd),
                stderr: Stream::Inherit,
            }),
        )
    }

    /// Makes what the next start of this kind is to find.
    fn refill(&mut self, asked: u8) -> Result<(), Error> {
        match asked {
            b'n' => self.networks.refill().map(drop),
            b'w' => {
                let pool = match self.sandboxes.take() {
                    Some(pool) => pool,
                    None => Sandboxes::new(&self.templated, self.request(None)?, 1)?,
                };
                self.sandboxes.insert(pool).refill().map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Starts it. Time is counted from the call, or from the trigger of what was made before.
    fn start(&self, asked: u8, output: OwnedFd) -> Result<(Running, u64), Box<dyn StdError>> {
        let mut begin = now();
        let request = self.request(Some(output))?;
        let runtime = match asked {
            b'p' => {
                let created = self.plain.create(&self.id, request.with_line())?;
                begin = now();
                return Ok((created.start()?, begin));
            }
            b'w' => {
                begin = now();
                let pool = self.sandboxes.as_ref();
                let running = pool.map(|pool| pool.run(&self.id, request)).transpose()?;
                return Ok((running.flatten().ok_or("no sandbox is ready")?, begin));
            }
            b'n' => &self.warm,
            b't' => &self.templated,
            _ => &self.plain,
        };
        Ok((runtime.run(&self.id, request)?, begin))
    }

    fn one(&self, asked: u8) -> Result<(u64, u64), Box<dyn StdError>> {
        let (output, end) = pipe_with(PipeFlags::CLOEXEC)?;
        let (running, begin) = self.start(asked, end)?;
        let mut first = [0; 8];
        File::from(output).read_exact(&mut first)?;
        running.wait()?;
        let deleted = self.plain.container(&self.id)?.delete(false)?;
        if let Some(warning) = deleted.warnings().first() {
            return Err(warning.to_string().into());
        }
        let first = u64::from_ne_bytes(first).saturating_sub(begin);
        Ok((first, now().saturating_sub(begin)))
    }
}

fn serve(root: &str, bundle: &str, id: &str) -> Result<(), Box<dyn StdError>> {
    let mut server = Server::new(root, bundle, id)?;
    for asked in stdin().lock().bytes() {
        let asked = asked?;
        server.refill(asked)?;
        let (first, total) = server.one(asked)?;
        let mut out = stdout().lock();
        writeln!(out, "{first} {total}")?;
        out.flush()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, bundle, id] = arguments.as_slice() else {
        return ExitCode::from(125);
    };
    match serve(root, bundle, id) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "a command line speaks through it")]
            {
                eprintln!("serve: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
