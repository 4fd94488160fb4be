//! The place of a container's cgroup: parsed once, never checked again.

use std::fmt;
use std::path::Path;

use super::error::{CgroupError, CgroupErrorKind, Result};

/// Our cgroups live below this one, at the root of the cgroup2 mount.
const DEFAULT_PARENT: &str = "hostrun";

/// `NAME_MAX` of cgroupfs.
const MAX_COMPONENT: usize = 255;

/// Half of `PATH_MAX`: leaves room for the mount point and for file names.
const MAX_PATH: usize = 2048;

/// A cgroup below the root of the cgroup2 mount; at least one component, none of them special.
///
/// `linux.cgroupsPath` maps to it by one rule that does not depend on where the caller runs:
///
/// | cgroupsPath | cgroup |
/// |---|---|
/// | absolute, `/a/b` | `/a/b` from the root of the cgroup2 mount |
/// | relative, `a/b` | `/hostrun/a/b` |
/// | absent or empty | `/hostrun/<id>` |
///
/// The root of the mount is the root of the caller's cgroup namespace, so a nested runtime stays inside
/// its own container. A service with `Delegate=yes` in the host's namespace has to say where it wants its
/// containers (`cgroupsPath` below its own unit): guessing from `/proc/self/cgroup` would make the place
/// of a container, and so the meaning of `kill` and `delete`, depend on who started it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CgroupPath(String);

impl CgroupPath {
    /// The cgroup of a container, from its `linux.cgroupsPath` and its id.
    ///
    /// # Errors
    /// `InvalidPath`.
    pub(crate) fn for_container(cgroups_path: Option<&Path>, id: &str) -> Result<Self> {
        let asked = cgroups_path.map_or(&b""[..], |path| path.as_os_str().as_encoded_bytes());
        match asked {
            [] => Self::below_default(id.as_bytes()),
            [b'/', rest @ ..] => Self::parse(rest),
            relative => Self::below_default(relative),
        }
    }

    fn below_default(rest: &[u8]) -> Result<Self> {
        let rest = Self::parse(rest)?;
        Self::parse(format!("{DEFAULT_PARENT}/{rest}", rest = rest.0).as_bytes())
    }

    /// Parses a path relative to the root of the cgroup2 mount.
    ///
    /// # Errors
    /// `InvalidPath` for an empty path or component, `.` and `..`, control characters (NUL and newline
    /// among them), names that the kernel uses for its own files (`cgroup.*`), anything that is not
    /// UTF-8, components above 255 bytes and paths above 2048.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let refuse = |why: &str| {
            let shown = String::from_utf8_lossy(bytes);
            let shown: String = shown.chars().take(80).collect();
            CgroupError::new(
                "parse",
                format!("cgroup path {shown:?}"),
                CgroupErrorKind::InvalidPath,
                why,
            )
            .setting("linux.cgroupsPath")
        };
        let text = std::str::from_utf8(bytes).map_err(|_position| refuse("not UTF-8"))?;
        if text.len() > MAX_PATH {
            return Err(refuse("longer than 2048 bytes"));
        }
        for component in text.split('/') {
            if let Some(why) = fault(component) {
                return Err(refuse(why));
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// Without a leading slash, for calls relative to the root's descriptor.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// All proper ancestors, from the outermost: `a`, `a/b` for `a/b/c`.
    pub(crate) fn ancestors(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0
            .match_indices('/')
            .filter_map(|(at, _slash)| self.0.get(..at))
    }
}

fn fault(component: &str) -> Option<&'static str> {
    match component {
        "" => Some("empty component"),
        "." | ".." => Some("component . or .."),
        _ if component.len() > MAX_COMPONENT => Some("component longer than 255 bytes"),
        _ if component.chars().any(char::is_control) => Some("control character"),
        _ if component.starts_with("cgroup.") => Some("name reserved by the kernel"),
        _ => None,
    }
}

/// With a leading slash, as people and `/proc/PID/cgroup` write it.
impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    fn of(path: &str, id: &str) -> String {
        CgroupPath::for_container(Some(Path::new(path)), id)
            .unwrap()
            .to_string()
    }

    #[test]
    fn the_three_forms_of_cgroups_path() {
        assert_eq!(of("/docker/abc", "web"), "/docker/abc");
        assert_eq!(of("pod/abc", "web"), "/hostrun/pod/abc");
        assert_eq!(of("", "web"), "/hostrun/web");
        let absent = CgroupPath::for_container(None, "web").unwrap();
        assert_eq!(absent.as_str(), "hostrun/web");
    }

    #[test]
    fn paths_that_could_leave_the_root_or_name_a_kernel_file_are_refused() {
        let long = "x".repeat(256);
        let deep = "a/".repeat(1100) + "a";
        for path in [
            "/",
            "//a",
            "/a/",
            "/a//b",
            "..",
            "/..",
            "/a/..",
            "a/../b",
            "/a/./b",
            ".",
            "/a\nb",
            "/a\0b",
            "/a\u{7f}",
            "/cgroup.procs",
            "/a/cgroup.x",
            &long,
            &deep,
        ] {
            let error = CgroupPath::for_container(Some(Path::new(path)), "id").unwrap_err();
            assert_eq!(error.kind, CgroupErrorKind::InvalidPath, "{path:?}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        assert!(
            CgroupPath::for_container(Some(Path::new(OsStr::from_bytes(b"/\xff"))), "i").is_err()
        );
    }

    #[test]
    fn ancestors_are_all_proper_prefixes() {
        let path = CgroupPath::parse(b"a/b/c").unwrap();
        assert_eq!(path.ancestors().collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(CgroupPath::parse(b"a").unwrap().ancestors().count(), 0);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_never_leave_the_root(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'/'), Just(b'.'), Just(b'a'), any::<u8>()], 0..300),
            id in "[a-z./]{0,9}",
        ) {
            let path = Path::new(OsStr::from_bytes(&bytes));
            if let Ok(parsed) = CgroupPath::for_container(Some(path), &id) {
                let relative = Path::new(parsed.as_str());
                prop_assert!(relative.is_relative());
                prop_assert!(relative.components().all(|c| matches!(c, Component::Normal(_))));
                prop_assert_eq!(relative.components().count(), parsed.as_str().split('/').count());
                prop_assert!(!parsed.as_str().bytes().any(|b| b < 0x20));
                prop_assert_eq!(CgroupPath::parse(parsed.as_str().as_bytes()).unwrap(), parsed);
            }
        }
    }
}
