//! Names of containers.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// The id of a container: it names a directory and a cgroup, so it is checked once, here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// The longest id; state directories and cgroups are file names.
    pub const MAX_LENGTH: usize = 200;

    /// Letters, digits and `_ . + -`, as in runc; not `.` or `..`; at most
    /// [`Self::MAX_LENGTH`] bytes.
    ///
    /// # Errors
    /// `InvalidSpec` with the reason.
    pub fn new(id: &str) -> Result<ContainerId> {
        let refuse = |why: &str| {
            Err(Error::new(
                ErrorKind::InvalidSpec,
                "use container id",
                format!("{id:?}"),
            )
            .because(format!("invalid container ID format: {why}")))
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
        match id {
            "" => refuse("it is empty"),
            "." | ".." => refuse("it names a directory"),
            _ if id.len() > Self::MAX_LENGTH => refuse("it is longer than 200 bytes"),
            _ if !id.chars().all(allowed) => {
                refuse("only letters, digits and the characters _ . + - are allowed")
            }
            _ => Ok(ContainerId(id.to_owned())),
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_that_leave_their_directory_are_refused() {
        for id in ["", ".", "..", "a/b", "../a", "a\0b", "a b", "ä", "a\n"] {
            assert!(ContainerId::new(id).is_err(), "{id:?}");
        }
        for id in ["a", "web-1", "a.b_c+d", "0123"] {
            assert_eq!(ContainerId::new(id).unwrap().as_str(), id);
        }
    }

    proptest! {
        #[test]
        fn an_accepted_id_is_one_plain_file_name(id in ".*") {
            if let Ok(id) = ContainerId::new(&id) {
                let path = std::path::Path::new(id.as_str());
                prop_assert_eq!(path.components().count(), 1);
                prop_assert!(matches!(path.components().next(), Some(std::path::Component::Normal(_))));
            }
        }
    }
}
