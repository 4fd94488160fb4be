//! Doors for the fuzzers in `fuzz/`: the parsers that read what registries answer and what files of the machine
//! say about them. Only there with the feature `fuzzing`, and no part of any promise.

use crate::address::Address;
use crate::{challenge, settings};

/// The header by which a registry asks for credentials.
pub fn challenge(header: &str) {
    drop(challenge::parse(header));
}

/// Where a registry sends us: the whole address of a `Location` seen at a place.
pub fn location(here: &str, location: &str) -> Option<String> {
    let target = Address::parse(here).ok()?.join(location).ok()?;
    Some(target.to_string())
}

/// A `registries.conf`: the hosts and repositories that an image would be asked for at.
pub fn registries(text: &str, image: &str) -> Vec<(String, String)> {
    settings::fuzz_registries(text, image)
}

/// A file with credentials; helpers it names are not called.
pub fn credentials(json: &[u8]) {
    settings::fuzz_credentials(json);
}
