//! `/etc/subuid` and `/etc/subgid`: the ids that an administrator gave to users, `subuid(5)`.

use crate::error::{Error, ErrorKind, Result};
use crate::plan::maps::IdMap;

/// A file of such ranges.
#[derive(Debug, Clone, Copy)]
pub(super) struct File {
    pub(super) path: &'static str,
    /// The program that maps what it gives.
    pub(super) helper: &'static str,
}

pub(super) const USERS: File = File {
    path: "/etc/subuid",
    helper: "newuidmap",
};

pub(super) const GROUPS: File = File {
    path: "/etc/subgid",
    helper: "newgidmap",
};

impl File {
    /// The map in which `own` is root, and all that the file gives to this user comes behind it.
    ///
    /// # Errors
    /// Where it gives nothing, or says of this user what cannot be.
    pub(super) fn map(self, own: u32, user: &str, uid: u32) -> Result<IdMap> {
        let text = std::fs::read_to_string(self.path).unwrap_or_default();
        self.map_of(&text, own, user, uid)
    }

    fn map_of(self, text: &str, own: u32, user: &str, uid: u32) -> Result<IdMap> {
        let refuse = |why: &str| {
            let failed = Error::new(ErrorKind::Denied, "map identities of user", user);
            failed.because(format!("{} {why}", self.path))
        };
        let number = uid.to_string();
        let mut given = Vec::new();
        for line in text.lines() {
            let Some((_, range)) = line
                .split_once(':')
                .filter(|(name, _)| *name == user || *name == number)
            else {
                continue;
            };
            given.push(parse(range).ok_or_else(|| refuse("gives it what is no range of ids"))?);
        }
        if given.is_empty() {
            return Err(refuse("gives it no ids").with_hint(format!(
                "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
            )));
        }
        IdMap::of_user(own, &given)
            .ok_or_else(|| refuse("gives it ranges that overlap, or too many of them"))
    }
}

/// `FIRST:COUNT` in digits.
fn parse(range: &str) -> Option<(u32, u32)> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (first, count) = range.split_once(':')?;
    (digits(first) && digits(count))
        .then(|| Some((first.parse().ok()?, count.parse().ok()?)))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(text: &str) -> Result<String> {
        let map = USERS.map_of(text, 1000, "kim", 1000)?;
        Ok(map.text())
    }

    #[test]
    fn all_ranges_of_a_user_stand_behind_its_own_id() {
        let text = "root:1:5\nkim:100000:65536\nkimberly:7:7\n1000:300000:10\n";
        let wanted = "0 1000 1\n1 100000 65536\n65537 300000 10\n";
        assert_eq!(map(text).unwrap(), wanted);
    }

    #[test]
    fn what_is_no_range_is_refused_and_not_passed_over() {
        for text in [
            "",
            "lee:100000:65536\n",
            "kim:\n",
            "kim:1\n",
            "kim:+1:5\n",
            "kim:1: 5\n",
            "kim:1:0\n",
            "kim:-1:5\n",
            "kim:4294967295:2\n",
            "kim:100000:65536:1\n",
            "kim:100000:10\nkim:100005:10\n",
            "kim:999:5\n",
        ] {
            let error = map(text).unwrap_err();
            assert!(error.to_string().contains("/etc/subuid"), "{text}: {error}");
        }
    }

    #[test]
    fn a_user_without_ranges_hears_how_to_get_some() {
        let hint = map("").unwrap_err();
        assert!(hint.hint().is_some_and(|hint| hint.contains("usermod")));
    }

    proptest! {
        #[test]
        fn no_text_gives_the_id_of_root(text in "(kim:[0-9]{1,11}:[0-9]{1,11}\n){0,4}") {
            if let Ok(map) = USERS.map_of(&text, 1000, "kim", 1000) {
                prop_assert_eq!(map.outside(0), Some(1000));
            }
        }
    }
}
