//! Facts about this host, read once and only when asked for.

use crate::error::{At, Error, ErrorKind, Result};
use crate::plan::rdt::RdtFacts;
use crate::plan::{Facts, landlock_rules};
use crate::resctrl;
use crate::sys;
use oci_spec::runtime::{Process, Spec};
use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, fstatfs, open, openat, statfs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// The host, as far as starting containers depends on it.
#[derive(Debug, Default)]
pub(crate) struct Host {
    proc: OnceLock<OwnedFd>,
    last_capability: OnceLock<u32>,
    own: OnceLock<Own>,
}

/// What `proc_pid_status(5)` says of this process.
#[derive(Clone, Copy, Debug)]
struct Own {
    ignored_signals: u64,
    caller: Caller,
}

/// Who asks: the effective ids of this process and what it may do in its own user namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The effective set, as a bit mask by capability number.
    pub(crate) capabilities: u64,
}

impl Caller {
    /// `CAP_SETGID`.
    pub(crate) const SETGID: u32 = 6;
    /// `CAP_SYS_ADMIN`: to make namespaces and mounts.
    pub(crate) const SYS_ADMIN: u32 = 21;

    /// `CAP_MKNOD`.
    pub(crate) const MKNOD: u32 = 27;

    /// Has it this capability?
    pub(crate) fn may(self, capability: u32) -> bool {
        self.capabilities >> capability & 1 == 1
    }

    /// Is it an ordinary user, who has privileges only in user namespaces of its own?
    pub(crate) fn is_ordinary(self) -> bool {
        !self.may(Caller::SYS_ADMIN)
    }
}

impl Host {
    /// The host's procfs: a directory that was checked to be one (CVE-2019-19921), through which
    /// all files of processes are reached.
    pub(crate) fn proc(&self) -> Result<BorrowedFd<'_>> {
        if let Some(proc) = self.proc.get() {
            return Ok(proc.as_fd());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = open("/proc", flags, Mode::empty()).at("open", "/proc")?;
        let magic = fstatfs(&proc).at("check", "/proc")?.f_type;
        if u64::try_from(magic).ok() != Some(PROC_SUPER_MAGIC) {
            return Err(Error::new(ErrorKind::System, "use", "/proc").because("it is not a procfs"));
        }
        // Another thread may have been first; its descriptor is as good.
        Ok(self.proc.get_or_init(|| proc).as_fd())
    }

    /// What plans for a container with this config depend on.
    pub(crate) fn facts(&self, spec: &Spec, process: Option<&Process>) -> Result<Facts> {
        let last_capability = if let Some(last) = self.last_capability.get() {
            *last
        } else {
            let last = self.read_last_capability()?;
            *self.last_capability.get_or_init(|| last)
        };
        let kcore = accessat(self.proc()?, "kcore", Access::EXISTS, AtFlags::empty()).is_ok();
        let processes = || spec.process().iter().chain(process);
        let some = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let linux = spec.linux().as_ref();
        let mounts = linux.map_or(&None, |linux| linux.mount_label());
        Ok(Facts {
            last_capability,
            kcore,
            apparmor: processes().any(|p| some(p.apparmor_profile())) && has_apparmor(),
            selinux: (processes().any(|p| some(p.selinux_label())) || some(mounts))
                && has_selinux(),
            landlock: landlock_rules(spec).map_or(0, |_| sys::landlock_abi()),
            rdt: if linux.is_some_and(|linux| linux.intel_rdt().is_some()) {
                resctrl::facts()
            } else {
                RdtFacts::default()
            },
            caller: self.caller(),
            systemd: false,
        })
    }

    fn read_last_capability(&self) -> Result<u32> {
        let path = "sys/kernel/cap_last_cap";
        let text = self.read(path)?;
        text.trim()
            .parse()
            .map_err(|error: std::num::ParseIntError| {
                Error::new(ErrorKind::System, "read", path).caused_by(error)
            })
    }

    /// Signals this process ignores: a payload would inherit that over `execve(2)`. Where it
    /// cannot be read, all of them, to be reset.
    pub(crate) fn ignored_signals(&self) -> u64 {
        self.own().ignored_signals
    }

    /// Who this process is.
    pub(crate) fn caller(&self) -> Caller {
        self.own().caller
    }

    fn own(&self) -> Own {
        *self.own.get_or_init(|| {
            let status = self.read("self/status").unwrap_or_default();
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
            let mask = |name| u64::from_str_radix(field(name)?.trim(), 16).ok();
            // Real, effective, saved, file system.
            let id = |name| field(name)?.split_ascii_whitespace().nth(1)?.parse().ok();
            Own {
                ignored_signals: mask("SigIgn:").unwrap_or(u64::MAX),
                caller: Caller {
                    uid: id("Uid:").unwrap_or(u32::MAX),
                    gid: id("Gid:").unwrap_or(u32::MAX),
                    capabilities: mask("CapEff:").unwrap_or_else(effective),
                },
            }
        })
    }

    /// Are our ids other than the machine's? Then being root does not mean much.
    pub(crate) fn is_in_user_namespace(&self) -> bool {
        let map = self.read("self/uid_map").unwrap_or_default();
        !map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
    }

    /// A small file below /proc.
    pub(crate) fn read(&self, path: &str) -> Result<String> {
        let file = openat(
            self.proc()?,
            path,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .at("open /proc file", path)?;
        let mut buffer = [0_u8; 4096];
        let length = rustix::io::read(&file, &mut buffer).at("read /proc file", path)?;
        Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
    }

    /// Writes a small file below /proc.
    pub(crate) fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let file = openat(
            self.proc()?,
            path,
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .at("open /proc file", path)?;
        rustix::io::write(&file, bytes).at("write /proc file", path)?;
        Ok(())
    }

    /// When a process began, in clock ticks since boot: with the pid it names one process for
    /// ever, `proc_pid_stat(5)`. `None` where there is no such process, or only its remains.
    pub(crate) fn start_time(&self, pid: i32) -> Option<u64> {
        self.stat(pid).map(|stat| stat.start)
    }

    /// The same with the rest that is known of it.
    pub(crate) fn stat(&self, pid: i32) -> Option<Stat> {
        let stat = Stat::parse(&self.read(&format!("{pid}/stat")).ok()?)?;
        (!stat.ended).then_some(stat)
    }
}

/// What `proc_pid_stat(5)` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Only its remains are there.
    pub(crate) ended: bool,
    pub(crate) parent: u32,
    /// It has become another program since it was cloned.
    pub(crate) executed: bool,
    /// In clock ticks since boot.
    pub(crate) start: u64,
}

impl Stat {
    pub(crate) fn parse(text: &str) -> Option<Stat> {
        const PF_FORKNOEXEC: u32 = 0x40;
        // The name in parentheses may contain anything, so count from its end.
        let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let flags: u32 = fields.nth(4)?.parse().ok()?;
        let start = fields.nth(12)?.parse().ok()?;
        Some(Stat {
            ended: matches!(state, "Z" | "X"),
            parent,
            executed: flags & PF_FORKNOEXEC == 0,
            start,
        })
    }
}

/// The effective set, where the list of groups is too long for its line to be among what was read.
fn effective() -> u64 {
    rustix::thread::capabilities(None).map_or(0, |sets| sets.effective.bits())
}

/// AppArmor is built in, switched on and has its files.
fn has_apparmor() -> bool {
    let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text.starts_with(b"Y"))
        && std::path::Path::new("/sys/kernel/security/apparmor").exists()
}

/// What of a config this host passes over: the author should hear of it, the container loses nothing
/// that it could have had.
pub fn warnings(spec: &Spec) -> Vec<String> {
    let linux = spec.linux().as_ref();
    let label = linux.and_then(|linux| linux.mount_label().as_deref());
    let unheard = label.is_some_and(|label| !label.is_empty()) && !has_selinux();
    let warning = "linux.mountLabel is passed over: selinux is disabled or not supported";
    unheard.then(|| warning.to_owned()).into_iter().collect()
}

/// SELinux has its file system only where it is in force.
fn has_selinux() -> bool {
    const SELINUX_MAGIC: u64 = 0xf97c_ff8c;
    let found = statfs("/sys/fs/selinux");
    found.is_ok_and(|found| u64::try_from(found.f_type).ok() == Some(SELINUX_MAGIC))
}
