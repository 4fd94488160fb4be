//! A failure of the room, in words. The child sent eight bytes; the plan has the names.

use crate::error::{Error, ErrorKind};
use crate::hooks;
use crate::mounting;
use crate::plan::Plan;
use crate::plan::hooks::Moment;
use crate::plan::namespaces::{Choice, Kind};
use crate::plan::process::ProcessPlan;
use crate::program;
use hostrun_inside::{Failure, Mishap, Step};
use nix::errno::Errno;
use std::ffi::{CString, OsStr};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Where the names of things are found.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    /// The plan, where it is still at hand.
    pub(crate) plan: Option<&'a Plan>,
    /// What is said of the process, where it is still at hand.
    pub(crate) process: Option<&'a ProcessPlan>,
    /// The container's root, to see what is wrong with a program.
    pub(crate) root: Option<BorrowedFd<'a>>,
    /// `argv[0]`.
    pub(crate) program: String,
    /// Paths that were tried for it.
    pub(crate) candidates: Vec<PathBuf>,
    /// The working directory.
    pub(crate) cwd: String,
}

impl<'a> Names<'a> {
    /// Of a new container.
    pub(crate) fn of(plan: &'a Plan, root: BorrowedFd<'a>) -> Names<'a> {
        Names::new(&plan.process, Some(plan), root)
    }

    pub(crate) fn new(
        process: &'a ProcessPlan,
        plan: Option<&'a Plan>,
        root: BorrowedFd<'a>,
    ) -> Names<'a> {
        let path = |text: &CString| PathBuf::from(OsStr::from_bytes(text.to_bytes()));
        let program = process
            .argv
            .first()
            .map(|program| program.to_string_lossy().into_owned());
        Names {
            plan,
            process: Some(process),
            root: Some(root),
            program: program.unwrap_or_default(),
            candidates: process.candidates.iter().map(path).collect(),
            cwd: format!("/{}", process.cwd.to_string_lossy()),
        }
    }
}

/// The sentence.
pub(crate) fn explain(failure: Failure, names: &Names<'_>) -> Error {
    let index = usize::from(failure.index);
    let errno = failure.errno;
    let at = |operation: &str, subject: String| Error::from_errno(errno, operation, subject);
    let Some(step) = Step::from_number(failure.step) else {
        return at("follow", format!("unknown step {}", failure.step));
    };
    match step {
        Step::Exec => program::explain(errno, index, names),
        Step::ExecMagicLink => Error::new(ErrorKind::ExecDenied, "run", quoted(&names.program))
            .because("it leads through a magic link of procfs, out of the container"),
        Step::Cwd => cwd(errno, names),
        Step::MountTarget
        | Step::MountCreate
        | Step::MountAttach
        | Step::MountAttributes
        | Step::MountSource
        | Step::MountIds
        | Step::MountCopy => mounting::explain(step, index, errno, names),
        Step::Device | Step::DeviceMismatch => device(step, index, errno, names),
        Step::Mask | Step::ReadonlyPath => hidden(step, index, errno, names),
        Step::Sysctl => at("set sysctl", sysctl(index, names)),
        Step::Rlimit => rlimit(index, errno, names),
        Step::Scheduler => scheduler(errno, names),
        Step::LandlockPath => at("restrict by landlock: find", landlock_path(index, names)),
        Step::Join => at("join namespace", String::new()),
        Step::Capabilities => at("set", "the capabilities".into())
            .with_hint("the config may ask for a capability that hostrun itself does not have"),
        Step::CreateHook => hook(Moment::CreateContainer, index, errno, names),
        Step::StartHook => hook(Moment::StartContainer, index, errno, names),
        Step::Identity => at("become", "the user of the config".into()),
        Step::SecondClone => second_clone(errno, names),
        _ => at(verb(step), String::new()),
    }
}

fn hook(moment: Moment, index: usize, number: i32, names: &Names<'_>) -> Error {
    let hooks = names.plan.map(|plan| match moment {
        Moment::CreateContainer => &plan.hooks.create_container,
        _ => &plan.hooks.start_container,
    });
    let timeout = hooks.and_then(|hooks| hooks.get(index)?.timeout);
    hooks::explain(moment, index, Mishap::from_number(number), timeout)
}

fn verb(step: Step) -> &'static str {
    match step {
        Step::Orphaned => "start: the creator went away",
        Step::Session => "lead a session",
        Step::OomScore => "set oom_score_adj",
        Step::SecondClone => "clone into the namespaces that are joined",
        Step::TimeOffsets => "set time offsets",
        Step::AwaitMaps => "wait for identity maps",
        Step::BecomeRoot => "become root of the user namespace",
        Step::Keyring => "join session keyring",
        Step::Detach => "cut the mounts off from the host's",
        Step::Root => "attach the root",
        Step::RootReadonly => "make the root read-only",
        Step::Pivot => "pivot into the root",
        Step::Return => "go back to the caller's mount namespace",
        Step::Enter => "enter the container's root",
        Step::Link => "link in /dev",
        Step::Console => "allocate the terminal",
        Step::Loopback => "bring up loopback",
        Step::NetDevices => "wait for the network devices",
        Step::ClassOfService => "wait for the class of service",
        Step::Hostname => "set the host name",
        Step::Domainname => "set the domain name",
        Step::Stdio => "connect the standard streams",
        Step::CloseFds => "close descriptors",
        Step::NoNewPrivileges => "set no_new_privs",
        Step::Seccomp => "install the seccomp filter",
        Step::Landlock => "restrict by landlock",
        Step::Affinity => "set final CPU affinity",
        Step::IoPriority => "failed to set io priority",
        Step::MemoryPolicy => "set memory policy by set_mempolicy",
        Step::Personality => "set personality",
        Step::ApparmorProfile => "unable to apply apparmor profile",
        Step::SelinuxLabel => "can't set process label",
        Step::Park => "wait to be started",
        Step::AwaitHooks => "wait for the hooks",
        _ => "start",
    }
}

pub(crate) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn second_clone(errno: i32, names: &Names<'_>) -> Error {
    let error = Error::from_errno(errno, verb(Step::SecondClone), "");
    // Without a plan it is a process that joins all namespaces of a container.
    let joins_pids = names
        .plan
        .is_none_or(|plan| matches!(plan.namespaces.choice(Kind::Pid), Choice::Join(_)));
    match Errno::from_raw(errno) {
        // pid_namespaces(7): nobody can be born where the first process is gone.
        Errno::ENOMEM if joins_pids => {
            error.because("the first process of the joined pid namespace has ended (ENOMEM)")
        }
        _ => error,
    }
}

fn cwd(errno: i32, names: &Names<'_>) -> Error {
    let subject = format!("({}) set in config.json failed", quoted(&names.cwd));
    let error = Error::from_errno(errno, "chdir to cwd", subject);
    match Errno::from_raw(errno) {
        Errno::ELOOP => error
            .with_kind(ErrorKind::Denied)
            .because("it leads through a magic link, out of the container"),
        Errno::ENOENT | Errno::ENOTDIR => error.with_kind(ErrorKind::System),
        _ => error,
    }
}

fn device(step: Step, index: usize, errno: i32, names: &Names<'_>) -> Error {
    let device = names.plan.and_then(|plan| plan.devices.get(index));
    let path = device.map_or_else(String::new, |device| device.path.display().to_string());
    let error = Error::from_errno(errno, "make device", path).with_kind(ErrorKind::System);
    match step {
        Step::DeviceMismatch if errno == libc::ENODEV => {
            error.because("the host has another file of this name")
        }
        Step::DeviceMismatch => error.because("another file stands there"),
        _ => error,
    }
}

fn hidden(step: Step, index: usize, errno: i32, names: &Names<'_>) -> Error {
    let (operation, list) = match step {
        Step::Mask => ("mask", names.plan.map(|plan| &plan.root.masked)),
        _ => (
            "make read-only",
            names.plan.map(|plan| &plan.root.readonly_paths),
        ),
    };
    let path = list
        .and_then(|list| list.get(index))
        .map_or_else(String::new, |path| format!("/{}", path.to_string_lossy()));
    let error = Error::from_errno(errno, operation, path).with_kind(ErrorKind::System);
    match Errno::from_raw(errno) {
        Errno::ENODEV => error.because("the container's /dev/null is not the null device"),
        _ => error,
    }
}

fn sysctl(index: usize, names: &Names<'_>) -> String {
    names
        .plan
        .and_then(|plan| plan.sysctls.get(index))
        .map_or_else(String::new, |sysctl| sysctl.key.clone())
}

fn rlimit(index: usize, errno: i32, names: &Names<'_>) -> Error {
    let limit = names.process.and_then(|process| process.rlimits.get(index));
    let subject = limit.map_or_else(String::new, |limit| {
        let number = |value: u64| match value {
            u64::MAX => "unlimited".to_owned(),
            value => value.to_string(),
        };
        let (soft, hard) = (number(limit.soft), number(limit.hard));
        format!("type {} (soft {soft}, hard {hard})", limit.resource)
    });
    let error = Error::from_errno(errno, "error setting rlimit", subject);
    match Errno::from_raw(errno) {
        Errno::EPERM => error.with_hint("raising a hard limit needs CAP_SYS_RESOURCE"),
        _ => error,
    }
}

fn scheduler(errno: i32, names: &Names<'_>) -> Error {
    let error = Error::from_errno(errno, "error setting scheduler", "");
    let cpuset = names
        .process
        .is_some_and(|process| process.treatment.has_cpuset);
    match Errno::from_raw(errno) {
        // sched_setattr(2): a deadline is for processes that may run everywhere.
        Errno::EPERM if cpuset => {
            error.because("process scheduler can't be used together with AllowedCPUs")
        }
        Errno::EPERM => {
            error.with_hint("real-time policies and higher priorities need CAP_SYS_NICE")
        }
        _ => error,
    }
}

fn landlock_path(index: usize, names: &Names<'_>) -> String {
    let rules = names.process.and_then(|process| process.landlock.as_ref());
    rules
        .and_then(|rules| rules.allowed_paths.get(index))
        .map_or_else(String::new, |path| path.named.display().to_string())
}
