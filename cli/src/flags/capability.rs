//! `--cap-add` and `--cap-drop`.

use hostrun_seccomp_profiles::{CAPABILITIES, DEFAULT_CAPABILITIES};
use oci_spec::runtime::Capability;

/// One capability, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// `ALL`.
    All,
    /// One by name.
    One(Capability),
}

/// Reads `ALL`, `NET_ADMIN`, `cap_net_admin`.
///
/// # Errors
/// When no capability has this name.
pub(crate) fn choice(text: &str) -> Result<Choice, String> {
    let upper = text.trim().to_ascii_uppercase();
    if upper == "ALL" || upper == "CAP_ALL" {
        return Ok(Choice::All);
    }
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    CAPABILITIES
        .into_iter()
        .find(|capability| capability.to_string() == short)
        .map(Choice::One)
        .ok_or_else(|| format!("'{text}' is not a capability"))
}

/// The capabilities whose bits are set, as /proc/PID/status writes them.
pub(crate) fn of_bits(bits: u64) -> Vec<Capability> {
    CAPABILITIES
        .into_iter()
        .enumerate()
        .filter(|(n, _)| bits >> n & 1 == 1)
        .map(|(_, c)| c)
        .collect()
}

/// The set a container ends with: docker's rule, `ALL` first, then the single ones.
///
/// `all` is what this host can give at all.
pub(crate) fn combined(add: &[Choice], drop: &[Choice], all: &[Capability]) -> Vec<Capability> {
    let dropped_all = drop.contains(&Choice::All);
    let start: &[Capability] = if add.contains(&Choice::All) {
        all
    } else if dropped_all {
        &[]
    } else {
        &DEFAULT_CAPABILITIES
    };
    let mut set: Vec<Capability> = start
        .iter()
        .copied()
        .filter(|c| !drop.contains(&Choice::One(*c)))
        .collect();
    for choice in add {
        if let Choice::One(capability) = choice
            && !set.contains(capability)
            && !drop.contains(choice)
        {
            set.push(*capability);
        }
    }
    set
}
