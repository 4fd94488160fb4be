//! Several containers that share network, IPC and host name: `pods STATE_ROOT BUNDLE ID COMMAND...`.
//!
//! The first container only holds the namespaces; each COMMAND is a line of shell run in one of
//! its own that joins them. All have their own root, pids and mounts.

use hostrun_runtime::oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};
use hostrun_runtime::{Bundle, ContainerId, Error, Request, Runtime, Signal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Namespaces of a pod, and what they are called below /proc/PID/ns.
const SHARED: [(LinuxNamespaceType, &str); 3] = [
    (LinuxNamespaceType::Network, "net"),
    (LinuxNamespaceType::Ipc, "ipc"),
    (LinuxNamespaceType::Uts, "uts"),
];

/// The bundle's config with another command, a cgroup of its own, and the namespaces of `holder`.
fn member(spec: &Spec, name: &str, line: &str, holder: Option<i32>) -> Spec {
    let mut spec = spec.clone();
    if let Some(process) = spec.process_mut() {
        process.set_args(Some(["/bin/sh", "-c", line].map(str::to_owned).to_vec()));
    }
    let joins = holder.is_some();
    if let Some(linux) = spec.linux_mut() {
        let path = linux.cgroups_path().clone().unwrap_or_default();
        linux.set_cgroups_path(Some(path.with_file_name(name)));
        for namespace in linux.namespaces_mut().iter_mut().flatten() {
            join(namespace, holder);
        }
    }
    if joins {
        // It is the holder's, who has set it.
        spec.set_hostname(None);
    }
    spec
}

fn join(namespace: &mut LinuxNamespace, holder: Option<i32>) {
    let kind = namespace.typ();
    let shared = SHARED.iter().find(|(shared, _)| *shared == kind);
    if let Some(((_, file), pid)) = shared.zip(holder) {
        namespace.set_path(Some(PathBuf::from(format!("/proc/{pid}/ns/{file}"))));
    }
}

fn run(root: &str, bundle: &str, id: &str, lines: &[String]) -> Result<u8, Error> {
    let runtime = Runtime::open(Path::new(root))?;
    let bundle = Bundle::load(Path::new(bundle))?;
    let holder_id = ContainerId::new(&format!("{id}-holder"))?;
    let spec = member(bundle.spec(), holder_id.as_str(), "sleep 600", None);
    let holder = runtime.run(&holder_id, Request::new(spec, bundle.dir()))?;
    let mut members = Vec::new();
    let mut outcome = Ok(0);
    for (number, line) in lines.iter().enumerate() {
        let name = format!("{id}-{number}");
        let spec = member(bundle.spec(), &name, line, Some(holder.pid()));
        let member = ContainerId::new(&name)
            .and_then(|id| runtime.run(&id, Request::new(spec, bundle.dir())));
        match member {
            Ok(member) => members.push(member),
            Err(error) => outcome = Err(error),
        }
    }
    for member in members {
        let stopped = member.into_stopped()?;
        let status = stopped.exit().status();
        outcome = outcome.map(|worst: u8| worst.max(status));
        deleted(&stopped.delete()?);
    }
    holder.signal(Signal::KILL)?;
    deleted(&holder.into_stopped()?.delete()?);
    outcome
}

/// Hooks that fail when a container is gone change nothing, but deserve a word.
fn deleted(deleted: &hostrun_runtime::Deleted) {
    for warning in deleted.warnings() {
        #[allow(clippy::print_stderr, reason = "a command line speaks through it")]
        {
            eprintln!("pods: {warning}");
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, bundle, id, lines @ ..] = arguments.as_slice() else {
        return ExitCode::from(125);
    };
    match run(root, bundle, id, lines) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            #[allow(clippy::print_stderr, reason = "a command line speaks through it")]
            {
                eprintln!("pods: {error}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}
