//! From the verb `start` to a shim that serves.
//!
//! The socket is made by the one who is called, and handed as standard input to the one who stays: whoever
//! connects before that one is ready waits in the socket's queue.

use crate::arguments::Arguments;
use crate::bootstrap::{self, Call, Surroundings};
use crate::cleanup;
use crate::shim::{Settings, Shim};
use crate::signals::Signals;
use hostrun_runtime::seal;
use rustix::fs::{Mode, OFlags, chmod, mkdir, open};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// More than any daemon writes.
const LONGEST_INPUT: u64 = 10 << 20;

/// A bundle's config, as the library reads it.
const LONGEST_CONFIG: u64 = 16 << 20;

/// Variables of our own environment, from the one who is called to the one who stays.
const EVENTS: &str = "TTRPC_ADDRESS";

/// `start`: finds or makes the shim of a container, and gives the answer to print.
///
/// # Errors
/// A sentence.
pub(crate) fn start(arguments: &Arguments, bundle: &Path) -> Result<Vec<u8>, String> {
    let mut input = Vec::new();
    let stdin = std::io::stdin().lock();
    let read = stdin.take(LONGEST_INPUT).read_to_end(&mut input);
    read.map_err(|error| format!("read standard input: {error}"))?;
    let call = Call::read(arguments, &surroundings(), &input);
    let config = bundle.join("config.json");
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(&config);
    let read = opened.and_then(|file| file.take(LONGEST_CONFIG).read_to_end(&mut bytes));
    read.map_err(|error| format!("read {}: {error}", config.display()))?;
    let group = bootstrap::group(&bytes, &arguments.id);
    let socket = call.socket(arguments, &group);
    if let Some(listener) = bound(&socket)?
        && let Err(error) = spawn(arguments, &call, bundle, &socket, listener)
    {
        std::fs::remove_file(&socket).unwrap_or_default();
        return Err(error);
    }
    write_address(bundle, &socket)?;
    Ok(call.answer(&socket))
}

fn surroundings() -> Surroundings {
    let variable = |name: &str| std::env::var_os(name);
    let ttrpc = variable(EVENTS).and_then(|value| value.into_string().ok());
    Surroundings {
        knows_versions: variable("MAX_SHIM_VERSION").is_some_and(|value| !value.is_empty()),
        ttrpc: ttrpc.unwrap_or_default(),
    }
}

/// A socket that listens; `None` where somebody listens there already, who is the shim of the group.
fn bound(path: &Path) -> Result<Option<OwnedFd>, String> {
    let failed = |errno: Errno| format!("listen at {}: {errno}", path.display());
    if let Some(dir) = path.parent() {
        make_dirs(dir).map_err(failed)?;
    }
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    // Twice: what a dead shim has left is in the way once.
    for _ in 0..2 {
        let socket = stream().map_err(failed)?;
        match bind(&socket, &address) {
            Ok(()) => {
                chmod(path, Mode::from_raw_mode(0o600)).map_err(failed)?;
                listen(&socket, 128).map_err(failed)?;
                return Ok(Some(socket));
            }
            Err(Errno::ADDRINUSE) => {}
            Err(errno) => return Err(failed(errno)),
        }
        match connect(stream().map_err(failed)?, &address) {
            Err(Errno::CONNREFUSED | Errno::NOENT) => {
                std::fs::remove_file(path).unwrap_or_default();
            }
            // Somebody listens, if not at once.
            _ => return Ok(None),
        }
    }
    Err(failed(Errno::ADDRINUSE))
}

fn stream() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Directories that only root may enter.
fn make_dirs(dir: &Path) -> rustix::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        make_dirs(parent)?;
    }
    match mkdir(dir, Mode::from_raw_mode(0o711)) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// Starts the one who stays.
fn spawn(
    arguments: &Arguments,
    call: &Call,
    bundle: &Path,
    socket: &Path,
    listener: OwnedFd,
) -> Result<(), String> {
    let own = std::env::args_os().next().unwrap_or_default();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(own)
        .args(["-namespace", &arguments.namespace, "-id", &arguments.id])
        .args(["-address", &call.grpc])
        .arg("-bundle")
        .arg(bundle)
        .arg("-socket")
        .arg(socket)
        .env_clear()
        .stdin(Stdio::from(listener))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .current_dir("/");
    // What programs are looked for in, and criu's configuration.
    for kept in ["PATH", "HOME"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    if let Some(events) = call.events() {
        command.env(EVENTS, events);
    }
    if call.debug {
        command.arg("-debug");
    }
    let child = command
        .spawn()
        .map_err(|error| format!("start the shim: {error}"))?;
    // What follows is for its good only.
    settle(child.id(), call.cgroup.as_deref()).unwrap_or_default();
    Ok(())
}

/// Less dear to the kernel than containerd when memory is short, and in its cgroup, if it is to have one.
fn settle(pid: u32, cgroup: Option<&str>) -> std::io::Result<()> {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj")?;
    let own: i32 = own.trim().parse().unwrap_or(0);
    let score = own.saturating_add(1).min(1000);
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string())?;
    let Some(cgroup) = cgroup.filter(|path| !path.split('/').any(|part| part == "..")) else {
        return Ok(());
    };
    let dir = Path::new("/sys/fs/cgroup").join(cgroup.trim_start_matches('/'));
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("cgroup.procs"), pid.to_string())
}

/// Where containerd finds the shim when it has been started anew.
fn write_address(bundle: &Path, socket: &Path) -> Result<(), String> {
    let (new, file) = (bundle.join(".address"), bundle.join(cleanup::ADDRESS));
    let write = || {
        let mut opened = std::fs::File::create(&new)?;
        write!(opened, "unix://{}", socket.display())?;
        std::fs::rename(&new, &file)
    };
    write().map_err(|error: std::io::Error| format!("write {}: {error}", file.display()))
}

/// The one who stays: serves until the last container is gone.
///
/// # Errors
/// A sentence.
pub(crate) fn serve(arguments: &Arguments) -> Result<(), String> {
    let failed = |doing: &str, errno: Errno| format!("{doing}: {errno}");
    // Containers must not reach our binary through us, CVE-2019-5736. We are one thread yet, and what is
    // open stays open.
    seal::ensure().map_err(|error| error.to_string())?;
    // Executed by a descriptor we would be called by its number.
    rustix::thread::set_name(c"containerd-shim").map_err(|errno| failed("take a name", errno))?;
    let listener = take_listener().map_err(|errno| failed("take the socket", errno))?;
    let signals = Signals::block().map_err(|errno| format!("block signals: {errno}"))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| failed("adopt orphans", errno))?;
    let events = std::env::var_os(EVENTS).map(PathBuf::from);
    let socket = PathBuf::from(&arguments.socket);
    let settings = Settings {
        namespace: arguments.namespace.clone(),
        bundle: arguments.bundle.clone(),
        events,
        debug: arguments.debug,
    };
    let mut shim =
        Shim::new(settings, listener, signals).map_err(|errno| failed("prepare", errno))?;
    let served = shim.serve();
    std::fs::remove_file(&socket).unwrap_or_default();
    served.map_err(|errno| failed("serve", errno))
}

/// The socket comes as standard input, which then leads nowhere.
fn take_listener() -> rustix::io::Result<OwnedFd> {
    let listener = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(listener)
}
