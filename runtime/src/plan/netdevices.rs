//! `linux.netDevices`: interfaces of the host that move into the container's network namespace.

use super::namespaces::{Kind, Namespaces};
use super::refusal::Refusals;
use crate::host::Caller;
use oci_spec::runtime::Linux;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetDevicePlan {
    /// On the host.
    pub(crate) name: String,
    /// In the container; with `%d` the kernel picks the number.
    pub(crate) new_name: String,
}

/// Reads the section, in order of the names.
pub(crate) fn plan(
    linux: &Linux,
    namespaces: &Namespaces,
    caller: Caller,
    refusals: &mut Refusals,
) -> Vec<NetDevicePlan> {
    const PATH: &str = "linux.netDevices";
    let listed = linux.net_devices().iter().flatten();
    let mut devices: Vec<NetDevicePlan> = listed
        .map(|(name, device)| {
            let given = device.name().as_deref().filter(|name| !name.is_empty());
            NetDevicePlan {
                name: name.clone(),
                new_name: given.unwrap_or(name).to_owned(),
            }
        })
        .collect();
    devices.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    if devices.is_empty() {
        return devices;
    }
    if !namespaces.own(Kind::Network) {
        refusals.refuse(
            PATH,
            "unable to move network devices without a NET namespace",
        );
    }
    if caller.is_ordinary() {
        let why = "network devices are not supported for rootless containers";
        refusals.refuse(PATH, why);
    }
    for (index, device) in devices.iter().enumerate() {
        let NetDevicePlan { name, new_name } = device;
        if !is_valid(name) {
            refusals.refuse(PATH, format!("invalid network device name {name:?}"));
        }
        if !is_valid(new_name) || new_name.matches('%').count() > 1 {
            let path = format!("{PATH}.{name}.name");
            refusals.refuse(path, format!("invalid network device name {new_name:?}"));
        }
        let before = devices.get(..index).unwrap_or_default();
        if !new_name.contains('%') && before.iter().any(|other| other.new_name == *new_name) {
            let path = format!("{PATH}.{name}.name");
            refusals.refuse(path, format!("{new_name:?} is another's name already"));
        }
    }
    devices
}

/// What the kernel takes for a name: `dev_valid_name`.
fn is_valid(name: &str) -> bool {
    const IFNAMSIZ: usize = 16;
    let special = |byte: u8| matches!(byte, b'/' | b':' | 0) || byte.is_ascii_whitespace();
    !name.is_empty()
        && name.len() < IFNAMSIZ
        && !matches!(name, "." | "..")
        && !name.bytes().any(special)
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn names_are_those_the_kernel_takes() {
        for name in ["eth0", "veth%d", "a23456789012345", "wlp0s20f3"] {
            assert!(is_valid(name), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a:1",
            "a b",
            "a234567890123456",
            "a\0",
        ] {
            assert!(!is_valid(name), "{name:?}");
        }
    }
}
