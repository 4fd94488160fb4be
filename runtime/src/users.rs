//! Users and groups of a container, read from its own `/etc/passwd` and `/etc/group` by
//! descriptor inside its root. Numbers are strict: a name that looks like a number never becomes
//! another user (CVE-2024-40635, CVE-2026-30892).

use crate::error::{At, Error, ErrorKind, Result};
use crate::lookup::open_regular;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Both files are an image's: they may be any size, so no more than this is read.
const MAX_BYTES: u64 = 8 << 20;

/// The largest id; one more means "leave alone" to the kernel.
const MAX_ID: u32 = u32::MAX - 1;

/// A user as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub additional_gids: Vec<u32>,
    /// Home directory, `/` where the database has none.
    pub home: String,
}

/// Finds `user` as images and command lines write it: empty, `name`, `uid`, each with `:group`
/// or `:gid`; plus further groups by name or number.
///
/// # Errors
/// `NotFound` for a name the container does not know, `InvalidSpec` for a number that is no id.
pub fn resolve(root: BorrowedFd<'_>, user: &str, group_add: &[String]) -> Result<User> {
    let passwd = read(root, "etc/passwd")?;
    let group = read(root, "etc/group")?;
    lookup(&passwd, &group, user, group_add)
}

/// The home directory of a uid, `/` where it cannot be told.
pub(crate) fn home_of(root: BorrowedFd<'_>, uid: u32) -> String {
    let passwd = read(root, "etc/passwd").unwrap_or_default();
    entries(&passwd)
        .find(|entry| entry.uid == uid)
        .map_or_else(|| "/".to_owned(), |entry| entry.home.to_owned())
}

/// The name of a user of the host; the number after a `#` where nobody has it.
pub(crate) fn name_on_host(uid: u32) -> String {
    if uid == 0 {
        return "root".to_owned();
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    entries(&passwd)
        .find(|entry| entry.uid == uid)
        .map_or_else(|| format!("#{uid}"), |entry| entry.name.to_owned())
}

fn read(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    let file = match open_regular(root, Path::new(path)) {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(String::new()),
        other => other.at("open", format!("/{path} of the container"))?,
    };
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            Error::from_errno(
                error.raw_os_error().unwrap_or(libc::EIO),
                "read",
                format!("/{path} of the container"),
            )
        })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Lines of `passwd(5)`; broken ones are no users.
fn entries(passwd: &str) -> impl Iterator<Item = Entry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        let home = fields
            .nth(1)
            .filter(|home| home.starts_with('/'))
            .unwrap_or("/");
        Some(Entry {
            name,
            uid,
            gid,
            home,
        })
    })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Lines of `group(5)`.
fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = id(fields.nth(1)?)?;
        Some(Group {
            name,
            gid,
            members: fields.next().unwrap_or_default(),
        })
    })
}

/// Digits only: `+1`, ` 1` and `-1` are no ids.
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id <= MAX_ID)
}

/// Is it meant as a number? Then it is one or an error, never a name.
fn numeric(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+')
}

pub(crate) fn lookup(passwd: &str, group: &str, user: &str, group_add: &[String]) -> Result<User> {
    let (user, group_part) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = entries(passwd).find(|entry| {
        if numeric(user) {
            Some(entry.uid) == id(user)
        } else {
            entry.name == user
        }
    });
    let uid = match (&entry, numeric(user)) {
        (Some(entry), _) => entry.uid,
        (None, true) => id(user).ok_or_else(|| no_id("user", user))?,
        (None, false) => return Err(unknown("user", user)),
    };
    let mut additional = Vec::new();
    let gid = match group_part {
        Some(name) if !name.is_empty() => group_id(group, name)?,
        _ => {
            if let Some(entry) = &entry {
                let member = |list: &str| list.split(',').any(|name| name == entry.name);
                additional.extend(
                    groups(group)
                        .filter(|group| member(group.members))
                        .map(|group| group.gid),
                );
            }
            entry.as_ref().map_or(0, |entry| entry.gid)
        }
    };
    for name in group_add {
        additional.push(group_id(group, name)?);
    }
    additional.sort_unstable();
    additional.dedup();
    let home = entry.map_or("/", |entry| entry.home).to_owned();
    Ok(User {
        uid,
        gid,
        additional_gids: additional,
        home,
    })
}

fn group_id(group: &str, name: &str) -> Result<u32> {
    if numeric(name) {
        return id(name).ok_or_else(|| no_id("group", name));
    }
    groups(group)
        .find(|group| group.name == name)
        .map(|group| group.gid)
        .ok_or_else(|| unknown("group", name))
}

fn unknown(what: &str, name: &str) -> Error {
    let file = if what == "user" {
        "/etc/passwd"
    } else {
        "/etc/group"
    };
    Error::new(
        ErrorKind::NotFound,
        format!("find {what}"),
        format!("{name:?}"),
    )
    .because(format!("no such {what} in the container's {file}"))
    .with_hint("numbers work without an entry")
}

fn no_id(what: &str, text: &str) -> Error {
    Error::new(
        ErrorKind::InvalidSpec,
        format!("use {what}"),
        format!("{text:?}"),
    )
    .because("it is no id")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\nbroken\n1000:x:0:0::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nlogs:x:44:web,other\n";

    fn find(user: &str) -> Result<User> {
        lookup(PASSWD, GROUP, user, &[])
    }

    #[test]
    fn names_numbers_and_groups() {
        assert_eq!(find("").unwrap().home, "/root");
        let web = find("web").unwrap();
        assert_eq!(
            (web.uid, web.gid, web.additional_gids, web.home.as_str()),
            (33, 33, vec![44], "/var/www")
        );
        let mixed = find("33:logs").unwrap();
        assert_eq!(
            (mixed.uid, mixed.gid, mixed.additional_gids),
            (33, 44, vec![])
        );
        assert_eq!(
            lookup(PASSWD, GROUP, "5", &["logs".into(), "9".into()])
                .unwrap()
                .additional_gids,
            [9, 44]
        );
    }

    #[test]
    fn cve_2024_40635_a_number_is_that_number_or_an_error() {
        // The database has a user whose *name* is 1000 and whose uid is 0.
        assert_eq!(find("1000").unwrap().uid, 1000);
        for text in [
            "4294967295",
            "4294967296",
            "99999999999999999999",
            "-1",
            "+1",
            "1x",
        ] {
            assert!(find(text).is_err(), "{text}");
            assert!(find(&format!("0:{text}")).is_err(), "0:{text}");
        }
        assert_eq!(find("nobody").unwrap_err().kind(), ErrorKind::NotFound);
    }

    proptest! {
        #[test]
        fn no_string_becomes_root_by_accident(user in "[^:]{1,12}") {
            if let Ok(found) = find(&user) {
                let zero = user.bytes().all(|byte| byte == b'0') || user == "root";
                prop_assert_eq!(found.uid == 0, zero);
            }
        }

        #[test]
        fn no_database_makes_the_lookup_panic(passwd in ".*", group in ".*", user in ".*") {
            drop(lookup(&passwd, &group, &user, &[]));
        }
    }
}
