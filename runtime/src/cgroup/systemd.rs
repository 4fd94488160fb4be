//! The systemd driver: a container in a transient scope, made by the service manager over D-Bus.
//!
//! Opt-in, because it costs a round trip to process 1 for each start and end. What systemd is told is
//! what we write to the cgroup as well: a daemon-reload then changes nothing.
//!
//! | file | what is in it |
//! |---|---|
//! | [`unit`] | `linux.cgroupsPath` and the annotations as a unit; pure |
//! | [`properties`] | `linux.resources` as unit properties; pure |
//! | [`wire`] | D-Bus values and messages as bytes; pure |
//! | [`text`] | the notation of values in annotations; pure |
//! | [`bus`] | a connection to the manager |
//! | [`manager`] | the four calls that are made over it |

use oci_spec::runtime::LinuxDeviceCgroup;

use super::devices::allow_list;

mod bus;
mod manager;
mod properties;
mod text;
mod unit;
mod wire;

pub(crate) use manager::{Manager, Whose};
pub(crate) use unit::UnitPlan;

/// A property of a unit, `org.freedesktop.systemd1(5)`.
pub(crate) type Property = (String, wire::Value);

/// What device rules are for systemd; what is wrong with them is said by those who attach a filter.
pub(crate) fn devices(rules: &[LinuxDeviceCgroup]) -> Vec<Property> {
    properties::devices(allow_list(rules).unwrap_or_default().as_ref())
}

/// What [`crate::fuzzing`] reaches of this driver.
#[cfg(feature = "fuzzing")]
pub(crate) mod doors {
    use super::wire::{Message, bytes_to_follow};
    use super::{UnitPlan, text};
    use std::path::Path;

    pub(crate) fn is_message(bytes: &[u8]) -> bool {
        let fits = bytes.first_chunk().and_then(bytes_to_follow);
        Message::parse(bytes).is_some() && fits.is_some()
    }

    pub(crate) fn is_property(value: &str) -> bool {
        text::parse(value).is_ok()
    }

    pub(crate) fn cgroup(path: &Path) -> Option<String> {
        let unit = UnitPlan::for_container(Some(path), None, None, "fuzz").ok()?;
        let path = unit.cgroup("/machine", false).ok()?;
        Some(path.as_str().to_owned())
    }
}
