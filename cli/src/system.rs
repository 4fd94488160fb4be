//! Which version of the system runs: names of images belong to the one that gave them.

use crate::report;
use hostrun_image_store::Store;

/// Where os-release(5) is, the first that is there.
const FILES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Writes into a store that was made just now whose names it will have. Boots that come later find a store, and have
/// `hostrun-generation.service` do so; without one they execute nothing.
pub(crate) fn follow(store: &Store) {
    let read = |file: &&str| std::fs::read_to_string(file).ok();
    let text = FILES.iter().find_map(read).unwrap_or_default();
    if let Some(version) = version(&text)
        && let Err(error) = store.follow(version)
    {
        report::warn(&error.to_string());
    }
}

/// What systemd puts in for `%A`, which is how the service is told.
fn version(text: &str) -> Option<&str> {
    let mut lines = text.lines().rev();
    let value = lines.find_map(|line| line.trim().strip_prefix("IMAGE_VERSION="))?;
    let value = value.trim_matches(['"', '\'']);
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_system_is_read_as_systemd_reads_it() {
        assert_eq!(version("ID=host\nIMAGE_VERSION=12.3\n"), Some("12.3"));
        assert_eq!(version("IMAGE_VERSION=1\nIMAGE_VERSION='2'\n"), Some("2"));
        assert_eq!(version("IMAGE_VERSION=\"7\"\n#IMAGE_VERSION=8"), Some("7"));
        assert_eq!(version("VERSION_ID=12\nIMAGE_VERSION=\n"), None);
    }
}
