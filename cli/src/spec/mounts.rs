//! The mounts: the kernel's file systems, files of /etc, volumes and what was asked for.

use super::process::INIT_PATH;
use super::{Facts, defaults};
use crate::args::run::Run;
use crate::flags::mount::{Kind, MountFlag};
use crate::flags::path;
use oci_spec::runtime::Mount;
use std::path::{Path, PathBuf};

/// Every mount flag, whichever of the three spellings it has.
pub(crate) fn all_flags(flags: &Run) -> impl Iterator<Item = &MountFlag> {
    let files = &flags.files;
    files
        .volumes
        .iter()
        .chain(&files.mounts)
        .chain(&files.tmpfs)
}

/// All mounts in order: parents before children, so that nothing asked for is covered by what comes later.
pub(super) fn mounts(flags: &Run, facts: &Facts) -> Vec<Mount> {
    let mut asked: Vec<Mount> = all_flags(flags)
        .filter_map(|flag| asked_for(flag, facts))
        .collect();
    let ipc = facts.ipc.iter();
    let mut later: Vec<Mount> = ipc
        .map(|dir| bind(dir, PathBuf::from(dir), true, Vec::new()))
        .collect();
    later.extend(facts.volumes.iter().map(|volume| {
        bind(
            volume.destination.as_str(),
            volume.source.clone(),
            true,
            volume.options.clone(),
        )
    }));
    later.extend(etc(flags, facts));
    // What a flag puts somewhere wins over what we would have put there.
    later.retain(|mount| {
        !asked
            .iter()
            .any(|other| other.destination() == mount.destination())
    });
    asked.append(&mut later);
    asked.sort_by_key(|mount| mount.destination().components().count());

    let shm_bytes = flags.files.shm_size.unwrap_or(defaults::SHM_BYTES);
    let mut all = defaults::mounts(shm_bytes, flags.isolation.privileged);
    all.retain_mut(|mount| {
        let of = |dir: &&&str| mount.destination().as_os_str() == **dir;
        let Some(dir) = facts.shown.iter().find(of) else {
            return true;
        };
        let options = mount.options().clone().unwrap_or_default();
        *mount = bind(dir, PathBuf::from(dir), true, options);
        // Nothing of this kind is there to be shown.
        Path::new(dir).is_dir()
    });
    let covered = |mount: &Mount, by: &str| mount.destination().starts_with(by);
    let own_dev = asked
        .iter()
        .any(|mount| mount.destination().as_os_str() == "/dev");
    all.retain(|mount| {
        !asked
            .iter()
            .any(|other| other.destination() == mount.destination())
    });
    all.retain(|mount| !(own_dev && covered(mount, "/dev")));
    all.extend(asked);
    all.extend(facts.init.iter().map(|binary| {
        // Read-only: the binary that runs inside must not be writable from there (CVE-2019-5736).
        let options = ["ro", "nosuid", "nodev"].map(str::to_owned).to_vec();
        bind(INIT_PATH, binary.clone(), false, options)
    }));
    all
}

fn bind(destination: &str, source: PathBuf, recursive: bool, mut options: Vec<String>) -> Mount {
    let propagation = [
        "private",
        "rprivate",
        "slave",
        "rslave",
        "shared",
        "rshared",
        "unbindable",
        "runbindable",
    ];
    if !options
        .iter()
        .any(|option| propagation.contains(&option.as_str()))
    {
        options.insert(0, "rprivate".to_owned());
    }
    options.insert(0, if recursive { "rbind" } else { "bind" }.to_owned());
    defaults::mount(destination, "bind", source, options)
}

/// A flag's mount; volumes come from the facts, as their directory had to be made first.
fn asked_for(flag: &MountFlag, facts: &Facts) -> Option<Mount> {
    let destination = flag.destination.as_str();
    match &flag.kind {
        Kind::Bind(source) => Some(bind(
            destination,
            path::on_host(&facts.base, source),
            !flag.shallow,
            flag.options.clone(),
        )),
        Kind::Tmpfs => Some(defaults::mount(
            destination,
            "tmpfs",
            "tmpfs".into(),
            flag.options.clone(),
        )),
        Kind::Volume => None,
    }
}

fn etc(flags: &Run, facts: &Facts) -> Vec<Mount> {
    let options = if flags.files.read_only {
        vec!["ro".to_owned()]
    } else {
        Vec::new()
    };
    let files = facts.etc.iter();
    files
        .map(|(destination, source)| bind(destination, source.clone(), true, options.clone()))
        .collect()
}
