//! `-v`, `--mount` and `--tmpfs`: three spellings of one thing.

use super::memory;
use super::path::ContainerPath;
use std::path::PathBuf;

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file or directory of the host.
    Bind(PathBuf),
    /// Memory.
    Tmpfs,
    /// A directory of the container's own that begins as a copy of what the image has there.
    Volume,
}

/// Whose label a volume gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relabel {
    /// That of all containers.
    Shared,
    /// That of this one.
    Own,
}

/// A mount asked for on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountFlag {
    pub(crate) kind: Kind,
    pub(crate) destination: ContainerPath,
    /// Mount options as the runtime-spec spells them, without `bind` or `rbind`.
    pub(crate) options: Vec<String>,
    /// Not recursive: submounts of the source stay behind.
    pub(crate) shallow: bool,
    /// SELinux relabelling was asked for.
    pub(crate) relabel: Option<Relabel>,
}

impl MountFlag {
    fn new(kind: Kind, destination: ContainerPath) -> Self {
        Self {
            kind,
            destination,
            options: Vec::new(),
            shallow: false,
            relabel: None,
        }
    }
}

/// Options that are mount flags or propagation, and so mean the same for every kind.
const PLAIN: [&str; 20] = [
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nosymfollow",
    "rro",
    "mand",
];
const PROPAGATION: [&str; 6] = [
    "private", "rprivate", "slave", "rslave", "shared", "rshared",
];

/// Reads `-v [HOST:]CONTAINER[:OPTIONS]`. Without a host path it is an anonymous volume.
///
/// # Errors
/// When a path is not absolute (or `./` relative on the host's side), a name stands where a path must, or an option is
/// unknown.
pub(crate) fn volume(text: &str) -> Result<MountFlag, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, options) = match parts.as_slice() {
        [destination] => (None, *destination, ""),
        [destination, options] if destination.starts_with('/') && !options.starts_with('/') => {
            (None, *destination, *options)
        }
        [source, destination] => (Some(*source), *destination, ""),
        [source, destination, options] => (Some(*source), *destination, *options),
        _ => return Err(format!("'{text}' is not [HOST:]CONTAINER[:OPTIONS]")),
    };
    let destination = ContainerPath::below_root(destination)?;
    let kind = match source {
        None => Kind::Volume,
        Some("") => return Err(format!("'{text}' has an empty host path")),
        Some(path) if path.starts_with(['/', '.']) => Kind::Bind(PathBuf::from(path)),
        Some(name) => {
            return Err(format!(
                "named volumes are not built in: write './{name}' or an absolute path of the host"
            ));
        }
    };
    let mut mount = MountFlag::new(kind, destination);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        apply_volume_option(&mut mount, option)?;
    }
    Ok(mount)
}

fn apply_volume_option(mount: &mut MountFlag, option: &str) -> Result<(), String> {
    match option {
        "z" => mount.relabel = Some(Relabel::Shared),
        "Z" => mount.relabel = Some(Relabel::Own),
        "bind" => mount.shallow = true,
        "rbind" => mount.shallow = false,
        // Only a volume copies, and only a private mount is what a volume is.
        "copy" if mount.kind == Kind::Volume => {}
        plain if PLAIN.contains(&plain) || PROPAGATION.contains(&plain) => {
            mount.options.push(plain.to_owned());
        }
        _ => return Err(format!("'{option}' is not a volume option")),
    }
    Ok(())
}

/// Reads `--tmpfs CONTAINER[:OPTIONS]`.
///
/// # Errors
/// When the path is not absolute or an option is not one tmpfs knows.
pub(crate) fn tmpfs(text: &str) -> Result<MountFlag, String> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    let mut mount = MountFlag::new(Kind::Tmpfs, ContainerPath::below_root(destination)?);
    // docker's defaults; a later option wins over an earlier one.
    mount.options = ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let spelled = match option.split_once('=') {
            None => PLAIN.contains(&option),
            Some(("size", size)) => size.ends_with('%') || memory::bytes(size).is_ok(),
            Some(("mode", mode)) => octal(mode),
            Some(("uid" | "gid" | "nr_inodes" | "nr_blocks", number)) => {
                memory::bytes(number).is_ok()
            }
            Some(_) => false,
        };
        if !spelled {
            return Err(format!("'{option}' is not a tmpfs option"));
        }
        mount.options.push(option.to_owned());
    }
    Ok(mount)
}

/// Reads `--mount type=KIND,target=PATH[,...]` with docker's keys.
///
/// # Errors
/// When a key is unknown, does not fit the type, or a needed one is missing.
pub(crate) fn mount(text: &str) -> Result<MountFlag, String> {
    let mut typ = "volume";
    let mut source = None;
    let mut destination = None;
    let mut rest = Vec::new();
    for field in text.split(',') {
        let (key, value) = field
            .split_once('=')
            .map_or((field, None), |(key, value)| (key, Some(value)));
        match (key, value) {
            ("type", Some(value)) => typ = value,
            ("source" | "src", Some(value)) => source = Some(value),
            ("target" | "destination" | "dst", Some(value)) => destination = Some(value),
            (key, value) => rest.push((key, value)),
        }
    }
    let destination = destination.ok_or_else(|| format!("'{text}' has no target"))?;
    let kind = match (typ, source) {
        ("bind", Some(source)) if source.starts_with(['/', '.']) => {
            Kind::Bind(PathBuf::from(source))
        }
        ("bind", Some(source)) => {
            return Err(format!("the source '{source}' must be an absolute path"));
        }
        ("bind", None) => return Err(format!("'{text}' has no source")),
        ("tmpfs", None) => Kind::Tmpfs,
        ("tmpfs", Some(_)) => return Err("a tmpfs has no source".to_owned()),
        ("volume", None) => Kind::Volume,
        ("volume", Some(_)) => {
            return Err("named volumes are not built in: use type=bind".to_owned());
        }
        (other, _) => {
            return Err(format!(
                "'{other}' is not one of the types bind, tmpfs, volume"
            ));
        }
    };
    let mut mount = MountFlag::new(kind, ContainerPath::below_root(destination)?);
    if mount.kind == Kind::Tmpfs {
        mount.options = ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
    }
    for (key, value) in rest {
        apply_mount_key(&mut mount, key, value)?;
    }
    Ok(mount)
}

fn apply_mount_key(mount: &mut MountFlag, key: &str, value: Option<&str>) -> Result<(), String> {
    let tmpfs = mount.kind == Kind::Tmpfs;
    let bind = matches!(mount.kind, Kind::Bind(_));
    let option = match (key, value) {
        ("readonly" | "ro", value) => switch(key, value)?.then(|| "ro".to_owned()),
        ("bind-nonrecursive", value) if bind => {
            mount.shallow = switch(key, value)?;
            None
        }
        ("bind-propagation", Some(value)) if bind && PROPAGATION.contains(&value) => {
            Some(value.to_owned())
        }
        ("tmpfs-size" | "size", Some(size)) if tmpfs => {
            Some(format!("size={}", memory::bytes(size)?))
        }
        ("tmpfs-mode" | "mode", Some(mode)) if tmpfs && octal(mode) => Some(format!("mode={mode}")),
        ("volume-nocopy", _) => return Err("'volume-nocopy' is not built in".to_owned()),
        _ => {
            let field = value.map_or(key.to_owned(), |value| format!("{key}={value}"));
            return Err(format!("'{field}' is not a key this type of mount has"));
        }
    };
    mount.options.extend(option);
    Ok(())
}

fn switch(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(format!("'{key}={other}' is neither true nor false")),
    }
}

fn octal(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'7'))
}
