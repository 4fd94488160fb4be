//! What is no container: images that are fetched, directories, network namespaces, and pods.

use crate::keys;
use crate::problem::Problem;
use crate::service::Service;
use crate::source::Source;
use crate::{Neighbours, STORE, words};

/// A `.image`: pulled when it is started, and again whenever it is.
pub(crate) fn image(source: &Source, neighbours: &Neighbours) -> (Service, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut service = Service::of(source, &mut problems);
    let mut flags = keys::flags(source, keys::IMAGE, &mut problems);
    let last = |key| {
        source
            .document
            .last("Image", key)
            .map(|entry| entry.value.as_str())
    };
    let platform = [
        last("OS").or(last("Arch").map(|_| "linux")),
        last("Arch"),
        last("Variant"),
    ];
    let platform: Vec<&str> = platform.into_iter().flatten().collect();
    if last("Arch").is_none() && !platform.is_empty() {
        problems.push(source.problem(
            "a platform without an architecture",
            Some("say Arch= as well"),
        ));
    } else if !platform.is_empty() {
        flags.push(format!("--platform={}", platform.join("/")));
    }
    let Some(name) = last("Image") else {
        problems.push(source.problem("no image", Some("Image=NAME:TAG in [Image]")));
        return (service, problems);
    };
    let hostrun = neighbours.hostrun();
    let begin = [&hostrun, "pull", "--quiet"].map(str::to_owned);
    let pull = begin.into_iter().chain(flags).chain([name.to_owned()]);
    service.unit("RequiresMountsFor", STORE);
    if crate::has_default_dependencies(source, &mut problems) {
        service.unit("Wants", "network-online.target");
        service.unit("After", "network-online.target");
    }
    service.line("Type", "oneshot");
    service.line("RemainAfterExit", "yes");
    service.line("SyslogIdentifier", "%N");
    service.line("ExecStart", words::join(pull));
    if let Some(tag) = last("ImageTag").filter(|tag| *tag != name) {
        service.line("ExecStart", words::join([&hostrun, "tag", name, tag]));
    }
    (service, problems)
}

/// Where a volume's files are.
pub(crate) fn directory(volume: &Source) -> String {
    format!("{STORE}/volumes/{}", volume_name(volume))
}

fn volume_name(volume: &Source) -> String {
    let named = volume.document.last("Volume", "VolumeName");
    named.map_or_else(|| volume.usual_name(), |entry| entry.value.clone())
}

/// A `.volume`: a directory that systemd makes and never removes.
pub(crate) fn volume(source: &Source, neighbours: &Neighbours) -> (Service, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut service = Service::of(source, &mut problems);
    keys::flags(source, keys::VOLUME, &mut problems);
    let last = |key| source.document.last("Volume", key);
    if let Some(entry) = last("Driver").filter(|entry| entry.value != "local") {
        problems.push(entry.problem("a volume is a directory", Some("Driver=local, or none")));
    }
    if let Some(entry) = last("Copy")
        && keys::truth(entry, &mut problems)
    {
        let hint = "what the image has there is covered; copy it once by hand";
        problems.push(entry.problem("is not done", Some(hint)));
    }
    let name = volume_name(source);
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.%".contains(c);
    if !name.chars().all(good) || name.starts_with('.') {
        problems.push(source.problem("a volume's name is one of a directory", None));
    }
    service.unit("RequiresMountsFor", STORE);
    service.line("Type", "oneshot");
    service.line("RemainAfterExit", "yes");
    service.line("StateDirectory", format!("hostrun/volumes/{name}"));
    service.line("StateDirectoryMode", "0755");
    for key in ["User", "Group"] {
        if let Some(entry) = last(key) {
            service.line(
                if key == "User" { "User" } else { "Group" },
                entry.value.clone(),
            );
        }
    }
    service.line("ExecStart", words::join([&neighbours.units(), "nothing"]));
    (service, problems)
}

/// A `.network`: a namespace with a loopback, held by a process that does nothing.
pub(crate) fn network(source: &Source, neighbours: &Neighbours) -> (Service, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut service = Service::of(source, &mut problems);
    keys::flags(source, keys::NETWORK, &mut problems);
    let mut truth = |key| {
        let entry = source.document.last("Network", key)?;
        Some(keys::truth(entry, &mut problems))
    };
    truth("DisableDNS");
    truth("NetworkDeleteOnStop");
    if truth("Internal") != Some(true) {
        let hint = "Internal=yes: a network that containers share has a loopback and no way out";
        problems.push(source.problem("a network with a way out is not made", Some(hint)));
    }
    hold(&mut service, neighbours);
    (service, problems)
}

/// A `.pod`: a network that its containers share, there as long as one of them is wanted.
pub(crate) fn pod(source: &Source, neighbours: &Neighbours) -> (Service, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut service = Service::of(source, &mut problems);
    keys::flags(source, keys::POD, &mut problems);
    let policy = source.document.last("Pod", "ExitPolicy");
    match policy.map(|entry| (entry, entry.value.as_str())) {
        None | Some((_, "stop")) => service.unit("StopWhenUnneeded", "yes"),
        Some((_, "continue")) => {}
        Some((entry, _)) => problems.push(entry.problem("neither stop nor continue", None)),
    }
    if let Some(entry) = source.document.last("Pod", "StopTimeout") {
        service.line("TimeoutStopSec", entry.value.clone());
    }
    hold(&mut service, neighbours);
    (service, problems)
}

fn hold(service: &mut Service, neighbours: &Neighbours) {
    service.line("Type", "exec");
    service.line("PrivateNetwork", "yes");
    service.line("DynamicUser", "yes");
    service.line("ExecStart", words::join([&neighbours.units(), "hold"]));
}
