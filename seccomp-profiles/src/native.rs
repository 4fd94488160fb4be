//! The machine hostrun was built for.

use crate::abi::Abi;
use crate::defaults::OLDEST_KERNEL;
use crate::document::{Target, load_for};
use crate::error::Error;
use oci_spec::runtime::{Capability, LinuxSeccomp};

/// The native interface.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
pub const NATIVE: Abi = Abi::X86_64;
/// The native interface.
#[cfg(target_arch = "x86")]
pub const NATIVE: Abi = Abi::X86;
/// The native interface.
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
pub const NATIVE: Abi = Abi::Aarch64;
/// The native interface.
#[cfg(all(target_arch = "arm", target_endian = "little"))]
pub const NATIVE: Abi = Abi::Arm;

/// Reads a profile for this machine, a container with these capabilities in its bounding set, and
/// the oldest kernel hostrun runs on ([`OLDEST_KERNEL`]); use [`load_for`] to name another.
///
/// The file may be in moby's format or the `seccomp` object of a `config.json`.
///
/// # Errors
///
/// As [`load_for`].
pub fn load(json: &[u8], capabilities: &[Capability]) -> Result<LinuxSeccomp, Error> {
    let target = Target {
        capabilities,
        kernel: OLDEST_KERNEL,
        abi: NATIVE,
    };
    load_for(json, &target)
}
