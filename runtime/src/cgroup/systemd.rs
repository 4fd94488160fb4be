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
