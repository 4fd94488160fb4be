//! Labels of SELinux, where it is in force: what a container runs as, and what its files are.
//!
//! Which these are is the policy's to say: `contexts/lxc_contexts`, where every engine looks. Two containers differ in
//! two of its 1,024 categories, and so cannot read each other's files.

use super::categories::Categories;
use super::relabel;
use crate::args::run::Run;
use crate::flags::mount::{Kind, Relabel};
use crate::flags::namespace::Sharing;
use crate::flags::path;
use crate::flags::security::SecurityOption;
use crate::globals::Globals;
use crate::record::Record;
use crate::report::Failure;
use crate::spec::{self, Facts, Labels};
use crate::target::Target;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// There where SELinux is in force, and nowhere else.
const SELINUX: &str = "/sys/fs/selinux";

/// The labels of a container, as flags and policy say; `None` where there are none to give.
///
/// # Errors
/// When labels are asked for that nobody would enforce, or that the policy does not have.
pub(super) fn choose(globals: &Globals, flags: &Run, record: &Record) -> Result<Option<Labels>> {
    let isolation = &flags.isolation;
    let asked = || {
        isolation
            .security_opt
            .iter()
            .filter_map(|option| match option {
                SecurityOption::Label(part, value) => Some((*part, value.as_str())),
                _ => None,
            })
    };
    if !Path::new(SELINUX).join("enforce").exists() {
        return match asked().next() {
            None => Ok(None),
            Some(_) => Err(Failure::new("--security-opt label: SELinux is not in force").into()),
        };
    }
    // What shares these with the host, or has all of it, would be kept from what it was given.
    let open = isolation.privileged
        || isolation.security_opt.contains(&SecurityOption::NoLabel)
        || [&isolation.pid, &isolation.ipc].contains(&&Some(Sharing::Host));
    if open {
        return Ok(None);
    }
    let other = [&isolation.pid, &isolation.ipc]
        .into_iter()
        .find_map(|sharing| match sharing {
            Some(Sharing::Container(other)) => Some(other),
            _ => None,
        });
    let found = match other {
        Some(other) => of_container(globals, other)?,
        None => Some(of_policy()?),
    };
    let Some(mut labels) = found else {
        return Ok(None);
    };
    for (part, value) in asked() {
        if part != "filetype" {
            replace(&mut labels.process, part, value);
        }
        if matches!(part, "filetype" | "level") {
            replace(&mut labels.files, part, value);
        }
    }
    let chosen = other.is_some() || asked().any(|(part, _)| part == "level");
    hold_level(globals, &mut labels, chosen, record)?;
    for label in [&labels.process, &labels.files] {
        // selinuxfs answers whether the policy knows such a label (`security_check_context(3)`)
        if let Err(error) = fs::write(Path::new(SELINUX).join("context"), label) {
            give_back(globals, &labels.files, record.id());
            return Err(Failure::new(format!("SELinux's policy has no label '{label}': {error}"))
                .hint("install a policy for containers, or choose by --security-opt label=type:TYPE, or label=disable")
                .into());
        }
    }
    Ok(Some(labels))
}

/// The container's categories are nobody else's as long as there is a record of it; where they were chosen, these.
fn hold_level(globals: &Globals, labels: &mut Labels, chosen: bool, record: &Record) -> Result<()> {
    let categories = Categories::of(globals);
    match level(&labels.files) {
        // a policy without levels has three fields
        None => Ok(()),
        Some(level) if chosen => categories.share(level, record),
        Some(_) => {
            let level = categories.draw(record)?;
            replace(&mut labels.process, "level", &level);
            replace(&mut labels.files, "level", &level);
            Ok(())
        }
    }
}

/// Others may have the categories of this label now.
pub(super) fn give_back(globals: &Globals, label: &str, id: &str) {
    if let Some(level) = level(label) {
        Categories::of(globals).release(level, id);
    }
}

/// The last field of a label.
fn level(label: &str) -> Option<&str> {
    label.splitn(4, ':').nth(3)
}

/// Labels what of the host the container gets to see as its own: its files of /etc, its volumes, and those of others
/// that the flags say so of.
///
/// # Errors
/// When one is on a file system without labels, or must stay as it is.
pub(super) fn give(label: &str, flags: &Run, facts: &Facts) -> Result<()> {
    let made = facts.etc.iter().map(|(_, path)| path);
    for path in made.chain(facts.volumes.iter().map(|volume| &volume.source)) {
        relabel::tree(path, label)?;
    }
    let mut shared = label.to_owned();
    if level(label).is_some() {
        replace(&mut shared, "level", "s0");
    }
    for flag in spec::mount_flags(flags) {
        if let (Some(whose), Kind::Bind(source)) = (flag.relabel, &flag.kind) {
            let label = if whose == Relabel::Own {
                label
            } else {
                &shared
            };
            relabel::volume(&path::on_host(&facts.base, source), label)?;
        }
    }
    Ok(())
}

/// Those of another container, whose processes or memory this one is to reach; it may have none.
fn of_container(globals: &Globals, name: &str) -> Result<Option<Labels>> {
    let target = Target::find(globals, name)?;
    let container = target.container()?.context("it is gone")?;
    let spec = container.spec()?;
    let process = spec.process().as_ref();
    let linux = spec.linux().as_ref();
    let both = process
        .and_then(|process| process.selinux_label().clone())
        .zip(linux.and_then(|linux| linux.mount_label().clone()));
    Ok(both.map(|(process, files)| Labels { process, files }))
}

/// Those of the policy, which are for all containers.
fn of_policy() -> Result<Labels> {
    let config = fs::read_to_string("/etc/selinux/config").unwrap_or_default();
    let policy = value(&config, "SELINUXTYPE").unwrap_or("targeted");
    let path = format!("/etc/selinux/{policy}/contexts/lxc_contexts");
    let contexts = fs::read_to_string(&path).with_context(|| format!("cannot read '{path}'"))?;
    let label = |key: &str| {
        let label = value(&contexts, key).map(str::to_owned);
        label.with_context(|| format!("'{path}' has no '{key}'"))
    };
    Ok(Labels {
        process: label("process")?,
        files: label("file")?,
    })
}

/// Of a line `KEY = "VALUE"`, or `KEY=VALUE`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().trim_matches('"'))
    })
}

/// Puts another field into `USER:ROLE:TYPE:LEVEL`, whose level may have colons of its own.
fn replace(label: &mut String, part: &str, value: &str) {
    let mut fields: Vec<&str> = label.splitn(4, ':').collect();
    let at = match part {
        "user" => 0,
        "role" => 1,
        "level" => 3,
        _ => 2,
    };
    match fields.get_mut(at) {
        Some(field) => *field = value,
        None => fields.push(value),
    }
    *label = fields.join(":");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_and_the_rest_stays() {
        let mut label = "system_u:system_r:container_t:s0".to_owned();
        replace(&mut label, "level", "s0:c1,c2");
        replace(&mut label, "type", "spc_t");
        assert_eq!(label, "system_u:system_r:spc_t:s0:c1,c2");
        replace(&mut label, "level", "s0");
        assert_eq!(label, "system_u:system_r:spc_t:s0");
    }

    #[test]
    fn the_policys_words_are_read_as_they_are_written() {
        let text = "process = \"system_u:system_r:container_t:s0\"\n#x\nfile=a:b:c\n";
        assert_eq!(
            value(text, "process"),
            Some("system_u:system_r:container_t:s0")
        );
        assert_eq!(value(text, "file"), Some("a:b:c"));
        assert_eq!(value(text, "fil"), None);
    }
}
