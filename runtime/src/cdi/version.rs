//! Which version of CDI a file must claim for what it says: an older reader would pass it over.

use super::document::{Document, Edits};

/// Those that are released, without their patch numbers.
const KNOWN: [(u32, u32); 9] = [
    (0, 2),
    (0, 3),
    (0, 4),
    (0, 5),
    (0, 6),
    (0, 7),
    (0, 8),
    (1, 0),
    (1, 1),
];

/// Checks that a file's version is one of ours and has all that the file uses.
pub(super) fn check(document: &Document) -> Result<(), String> {
    let text = document.version.as_str();
    let (major, minor) = parse(text).ok_or_else(|| format!("cdiVersion {text:?} is not X.Y.Z"))?;
    if !KNOWN.contains(&(major, minor)) {
        return Err(format!("cdiVersion {text:?} is not known"));
    }
    let (needed, what) = needed(document);
    if (major, minor) < needed {
        let (major, minor) = needed;
        return Err(format!(
            "{what} needs cdiVersion {major}.{minor}.0, and it says {text}"
        ));
    }
    Ok(())
}

fn parse(text: &str) -> Option<(u32, u32)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts = text.split('.').map(|part| part.parse().ok());
    let (major, minor, _patch) = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some((major, minor))
}

fn needed(document: &Document) -> ((u32, u32), &'static str) {
    let mut needed = ((0, 0), "it");
    let mut need = |used: bool, version, what| {
        if used && version > needed.0 {
            needed = (version, what);
        }
    };
    let class = document.kind.split('/').nth(1).unwrap_or_default();
    need(class.contains('.'), (0, 6), "a dot in the class");
    need(document.annotations.is_some(), (0, 6), "annotations");
    for device in &document.devices {
        let digit = device.name.starts_with(|c: char| c.is_ascii_digit());
        need(digit, (0, 5), "a device name that begins with a digit");
        need(device.annotations.is_some(), (0, 6), "annotations");
    }
    let edits = document.devices.iter().map(|device| &device.edits);
    for edits in edits.chain([&document.edits]) {
        need_of_edits(edits, &mut need);
    }
    needed
}

fn need_of_edits(edits: &Edits, need: &mut impl FnMut(bool, (u32, u32), &'static str)) {
    let typed = edits.mounts.iter().any(|mount| !mount.kind.is_empty());
    need(typed, (0, 4), "the type of a mount");
    let mapped = edits
        .device_nodes
        .iter()
        .any(|node| !node.host_path.is_empty());
    need(mapped, (0, 5), "hostPath of a device node");
    need(edits.intel_rdt.is_some(), (0, 7), "intelRdt");
    need(!edits.additional_gids.is_empty(), (0, 7), "additionalGids");
    need(!edits.net_devices.is_empty(), (1, 1), "netDevices");
    let newer = edits
        .intel_rdt
        .as_ref()
        .is_some_and(|rdt| rdt.schemata.is_some() || rdt.enable_monitoring.is_some());
    need(newer, (1, 1), "schemata or enableMonitoring of intelRdt");
}
