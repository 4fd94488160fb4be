//! Hooks on the parent's side: those of the host are run here, those inside are put into orders.
//!
//! A hook has the environment its config lists and no other. Where the config says nothing of one, a
//! hook of the host has its caller's, as with runc; in the container's namespaces it has none, for
//! the caller's may hold secrets of the host, and in the root that of the program. It stands in the
//! bundle, holds no descriptor of ours, and dies with us. Both kinds are run by the same lines,
//! [`hostrun_inside::run_hook`].

use crate::error::{Error, ErrorKind, Result};
use crate::id::ContainerId;
use crate::plan::Plan;
use crate::plan::hooks::{HookPlan, HooksPlan, Moment};
use crate::plan::refusal::Refusals;
use crate::signal;
use crate::state::{OCI_VERSION, Record, Status};
use hostrun_inside::{Errno, Fd, Mishap, Place, Said, orders, run_hook};
use nix::errno::Errno as Named;
use oci_spec::runtime::Spec;
use serde::Serialize;
use std::collections::HashMap;
use std::ffi::{CString, OsString, c_char};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// What hooks are told, runtime "State".
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document<'a> {
    oci_version: &'static str,
    id: &'a str,
    status: Status,
    bundle: &'a Path,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    annotations: &'a HashMap<String, String>,
}

impl<'a> Document<'a> {
    pub(crate) fn new(
        id: &'a str,
        status: Status,
        bundle: &'a Path,
        annotations: &'a HashMap<String, String>,
    ) -> Document<'a> {
        Document {
            oci_version: OCI_VERSION,
            id,
            status,
            bundle,
            annotations,
        }
    }

    fn of(record: &'a Record, status: Status) -> Document<'a> {
        Document::new(&record.id, status, &record.bundle, &record.annotations)
    }

    /// As far as the pid, which the runner puts between this and [`END`].
    pub(crate) fn before_pid(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec(self).map_err(|error| {
            Error::new(ErrorKind::System, "write state of", self.id).caused_by(error)
        })?;
        json.pop();
        json.extend(b",\"pid\":");
        Ok(json)
    }
}

/// What follows the pid in a state document.
pub(crate) const END: &[u8] = b"}\n";

/// Reads the hooks of a config that is used once more.
///
/// # Errors
/// `InvalidSpec` as when the container was made.
pub(crate) fn of(spec: &Spec) -> Result<HooksPlan> {
    let mut refusals = Refusals::default();
    let plan = crate::plan::hooks::plan(spec.hooks().as_ref(), &mut refusals);
    refusals.finish()?;
    Ok(plan)
}

/// Runs the hooks for a container that was just made: their document says `created`, as its
/// namespaces are.
///
/// # Errors
/// That of the first that fails; those after it do not run.
pub(crate) fn at_create(plan: &HooksPlan, record: &Record) -> Result<()> {
    let document = Document::of(record, Status::Created);
    let run = |moment, hooks| one_by_one(moment, hooks, &document, record.pid);
    run(Moment::Prestart, &plan.prestart)?;
    run(Moment::CreateRuntime, &plan.create_runtime)
}

/// Runs the hooks for a program that was just started.
///
/// # Errors
/// That of the first that fails; those after it do not run.
pub(crate) fn at_poststart(plan: &HooksPlan, record: &Record) -> Result<()> {
    let document = Document::of(record, Status::Running);
    one_by_one(Moment::Poststart, &plan.poststart, &document, record.pid)
}

/// Runs all hooks for a container that is gone, and returns what went wrong with them.
pub(crate) fn at_poststop(plan: &HooksPlan, record: &Record) -> Vec<Error> {
    let document = Document::of(record, Status::Stopped);
    let hooks = plan.poststop.iter().enumerate();
    let outcome = |(index, hook)| run(Moment::Poststop, index, hook, &document, 0).err();
    hooks.filter_map(outcome).collect()
}

fn one_by_one(moment: Moment, hooks: &[HookPlan], document: &Document<'_>, pid: i32) -> Result<()> {
    let mut hooks = hooks.iter().enumerate();
    hooks.try_for_each(|(index, hook)| run(moment, index, hook, document, pid))
}

fn run(
    moment: Moment,
    index: usize,
    hook: &HookPlan,
    document: &Document<'_>,
    pid: i32,
) -> Result<()> {
    let state = document.before_pid()?;
    // A bundle may be gone before its container is deleted, which is no reason to skip a hook.
    let bundle = crate::bundle::open_dir(document.bundle).ok();
    let place = Place {
        state: [&state, END],
        pid,
        cwd: bundle.as_ref().map(|bundle| Fd(bundle.as_raw_fd())),
    };
    let callers = match hook.envp {
        Some(_) => Vec::new(),
        None => callers_environment(),
    };
    let table = Table::new(hook, &callers);
    let mut said = Said::nothing();
    run_hook(&table.order(), &place, &mut said)
        .map_err(|mishap| explain(moment, index, mishap, hook.timeout).quoting(said.bytes()))
}

/// The sentence for a hook that failed; its `timeout` as far as it is known.
pub(crate) fn explain(moment: Moment, index: usize, mishap: Mishap, timeout: Option<i64>) -> Error {
    let name = moment.name();
    let why = match mishap {
        Mishap::NotRun(Errno(libc::ELOOP)) => "it leads through a magic link of procfs".to_owned(),
        Mishap::NotRun(Errno(errno)) => Named::from_raw(errno).desc().to_lowercase(),
        // crun's words, where callers look for them.
        Mishap::Code(code) if moment == Moment::Poststop => {
            format!("poststop hook failed with exit code {code}")
        }
        Mishap::Code(code) => format!("exit status {code}"),
        Mishap::Signal(signal) => format!("signal: {}", signal::described(signal)),
        Mishap::Late => match timeout {
            Some(seconds) => format!("hook ran past specified timeout of {seconds}.0s"),
            None => "hook ran past specified timeout".to_owned(),
        },
    };
    let operation = format!("error running {name} hook #{index}");
    Error::new(ErrorKind::System, operation, "").because(why)
}

fn callers_environment() -> Vec<CString> {
    let entry = |(name, value): (OsString, OsString)| {
        let mut entry = name.into_vec();
        entry.push(b'=');
        entry.extend(value.into_vec());
        CString::new(entry).ok()
    };
    std::env::vars_os().filter_map(entry).collect()
}

/// The pointers of one hook.
struct Table<'a> {
    hook: &'a HookPlan,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
}

impl<'a> Table<'a> {
    fn new(hook: &'a HookPlan, fallback: &'a [CString]) -> Table<'a> {
        let pointers = |list: &'a [CString]| {
            let texts = list.iter().map(|text| text.as_ptr());
            texts.chain([std::ptr::null()]).collect()
        };
        Table {
            hook,
            argv: pointers(&hook.argv),
            envp: pointers(hook.envp.as_deref().unwrap_or(fallback)),
        }
    }

    fn order(&self) -> orders::Hook<'_> {
        orders::Hook {
            path: &self.hook.path,
            argv: &self.argv,
            envp: &self.envp,
            timeout: self.hook.timeout,
        }
    }
}

/// What the hooks inside need besides their plan: made before the clone, and only where there are any.
#[derive(Debug, Default)]
pub(crate) struct Baggage {
    state: Vec<u8>,
}

impl Baggage {
    /// Their document says `created`, whether their container is about to be that or was it until now.
    pub(crate) fn of(
        plan: &Plan,
        id: &ContainerId,
        bundle: &Path,
        annotations: &HashMap<String, String>,
    ) -> Result<Baggage> {
        let HooksPlan {
            create_container,
            start_container,
            ..
        } = &plan.hooks;
        if create_container.is_empty() && start_container.is_empty() {
            return Ok(Baggage::default());
        }
        let document = Document::new(id.as_str(), Status::Created, bundle, annotations);
        Ok(Baggage {
            state: document.before_pid()?,
        })
    }
}

/// The tables of the hooks inside.
pub(crate) struct Inside<'a> {
    of_the_host: bool,
    state: &'a [u8],
    create: Vec<Table<'a>>,
    start: Vec<Table<'a>>,
}

impl<'a> Inside<'a> {
    pub(crate) fn new(plan: &'a Plan, baggage: &'a Baggage) -> Inside<'a> {
        let tables = |hooks: &'a [HookPlan], fallback: &'a [CString]| {
            hooks
                .iter()
                .map(|hook| Table::new(hook, fallback))
                .collect()
        };
        Inside {
            of_the_host: plan.hooks.run_at_create(),
            state: &baggage.state,
            create: tables(&plan.hooks.create_container, &[]),
            // In the container its program's environment is the one that fits, as in runc.
            start: tables(&plan.hooks.start_container, &plan.process.envp),
        }
    }

    /// The orders of each: createContainer, then startContainer.
    pub(crate) fn lists(&self) -> [Vec<orders::Hook<'_>>; 2] {
        [&self.create, &self.start].map(|tables| tables.iter().map(Table::order).collect())
    }

    pub(crate) fn orders(
        &'a self,
        [create, start]: &'a [Vec<orders::Hook<'a>>; 2],
    ) -> orders::Hooks<'a> {
        orders::Hooks {
            of_the_host: self.of_the_host,
            state: [self.state, END],
            create,
            start,
        }
    }
}
