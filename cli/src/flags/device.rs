//! `--device HOST[:CONTAINER][:ACCESS]`, or `--device VENDOR/CLASS=NAME` of CDI.

use super::path::ContainerPath;
use hostrun_runtime::cdi::DeviceName;
use std::path::PathBuf;

/// A device of the host that a container may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) host: PathBuf,
    pub(crate) container: ContainerPath,
    /// Some of `r`, `w` and `m`.
    pub(crate) access: String,
}

/// What one flag asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A node of the host.
    Host(Device),
    /// Whatever its vendor says belongs to it.
    Cdi(DeviceName),
}

/// Reads one flag. A path begins with a slash, a name of CDI never does.
///
/// # Errors
/// As [`device`], or when the name is none.
pub(crate) fn asked(text: &str) -> Result<Asked, String> {
    if text.starts_with('/') || !text.contains('=') {
        return device(text).map(Asked::Host);
    }
    let name = DeviceName::parse(text).map_err(|error| error.to_string())?;
    Ok(Asked::Cdi(name))
}

/// Reads a node of the host.
///
/// # Errors
/// When a path is not absolute or the access is not made of `r`, `w` and `m`.
pub(crate) fn device(text: &str) -> Result<Device, String> {
    let mut parts = text.split(':');
    let host = parts.next().unwrap_or_default();
    let second = parts.next();
    let third = parts.next();
    if parts.next().is_some() {
        return Err(format!("'{text}' is not HOST[:CONTAINER][:ACCESS]"));
    }
    let (container, access) = match (second, third) {
        (None, _) => (host, "rwm"),
        (Some(access), None) if is_access(access) => (host, access),
        (Some(container), None) => (container, "rwm"),
        (Some(container), Some(access)) => (container, access),
    };
    if !is_access(access) {
        return Err(format!("'{access}' is not an access made of r, w and m"));
    }
    if !host.starts_with('/') {
        return Err(format!("'{host}' must be an absolute path on the host"));
    }
    Ok(Device {
        host: PathBuf::from(ContainerPath::below_root(host)?.as_str()),
        container: ContainerPath::below_root(container)?,
        access: access.to_owned(),
    })
}

fn is_access(text: &str) -> bool {
    !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| matches!(b, b'r' | b'w' | b'm'))
}
