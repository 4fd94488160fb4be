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
/// An ordinary user owns nothing there: see [`CgroupPath::beside`].
///
/// The root of the mount is the root of the caller's cgroup namespace, so a nested runtime stays inside
/// its own container. A service with `Delegate=yes` in the host's namespace has to say where it wants its
/// containers (`cgroupsPath` below its own unit): guessing from `/proc/self/cgroup` would make the place
/// of a container, and so the meaning of `kill` and `delete`, depend on who started it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CgroupPath {
    path: String,
    origin: Origin,
}

/// Who chose a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    /// The config, from the root of the mount.
    Absolute,
    /// The config, below our parent.
    Relative,
    /// We.
    Default,
}

impl CgroupPath {
    /// The cgroup of a container, from its `linux.cgroupsPath` and its id.
    ///
    /// # Errors
    /// `InvalidPath`.
    pub(crate) fn for_container(cgroups_path: Option<&Path>, id: &str) -> Result<Self> {
        let asked = cgroups_path.map_or(&b""[..], |path| path.as_os_str().as_encoded_bytes());
        match asked {
            [] => Self::below_default(id.as_bytes(), Origin::Default),
            [b'/', rest @ ..] => Self::parse(rest),
            relative => Self::below_default(relative, Origin::Relative),
        }
    }

    fn below_default(rest: &[u8], origin: Origin) -> Result<Self> {
        let rest = Self::parse(rest)?;
        let path = Self::parse(format!("{DEFAULT_PARENT}/{rest}", rest = rest.path).as_bytes())?;
        Ok(Self { origin, ..path })
    }

    /// Whether the config chose it.
    pub(crate) fn was_asked_for(&self) -> bool {
        self.origin != Origin::Default
    }

    /// The place for a caller who may only write beside its own cgroup `own`, as `/proc/self/cgroup` has
    /// it: what would be below our parent is below the parent of that. A cgroup with processes, such as
    /// the caller's own, cannot hand controllers down.
    ///
    /// # Errors
    /// `InvalidPath`, where the caller is in a cgroup that has no name here.
    pub(crate) fn beside(&self, own: &str) -> Result<Self> {
        let below = |rest: &str| {
            let (parent, _own) = own.rsplit_once('/').unwrap_or_default();
            let path = format!("{parent}/{rest}");
            Self::parse(path.trim_start_matches('/').as_bytes())
        };
        let rest = self.path.split_once('/').map_or("", |(_parent, rest)| rest);
        let path = match self.origin {
            Origin::Absolute => return Ok(self.clone()),
            Origin::Relative => below(rest)?,
            // Nothing of ours stays in a place that is not ours.
            Origin::Default => below(&format!("{DEFAULT_PARENT}-{rest}"))?,
        };
        Ok(Self {
            origin: self.origin,
            ..path
        })
    }

    /// A cgroup below this one, component by component; the empty path and `/` are this one.
    ///
    /// # Errors
    /// `InvalidPath` for what could lead out of it, as [`CgroupPath::parse`].
    pub(crate) fn join(&self, below: &str) -> Result<Self> {
        let below = below.trim_matches('/');
        if below.is_empty() {
            return Ok(self.clone());
        }
        // On its own first: what makes it wrong is in it, not in ours.
        let below = Self::parse(below.as_bytes())?;
        Self::parse(format!("{}/{}", self.path, below.path).as_bytes())
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
        Ok(Self {
            path: text.to_owned(),
            origin: Origin::Absolute,
        })
    }

    /// Without a leading slash, for calls relative to the root's descriptor.
    pub(crate) fn as_str(&self) -> &str {
        &self.path
    }

    /// All proper ancestors, from the outermost: `a`, `a/b` for `a/b/c`.
    pub(crate) fn ancestors(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.path
            .match_indices('/')
            .filter_map(|(at, _slash)| self.path.get(..at))
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
        write!(f, "/{}", self.path)
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
    fn an_ordinary_user_s_containers_are_beside_its_own_cgroup() {
        let beside = |asked: &str, own: &str| {
            let path = CgroupPath::for_container(Some(Path::new(asked)), "web").unwrap();
            path.beside(own).map(|path| path.to_string())
        };
        let own = "/user.slice/user@7.service/app.slice/term.scope";
        let parent = "/user.slice/user@7.service/app.slice";
        assert_eq!(beside("", own).unwrap(), format!("{parent}/hostrun-web"));
        assert_eq!(beside("pod/a", own).unwrap(), format!("{parent}/pod/a"));
        assert_eq!(beside("/pod/a", own).unwrap(), "/pod/a");
        assert_eq!(beside("", "/").unwrap(), "/hostrun-web");
        assert!(
            beside("", "/../other/own").is_err(),
            "outside the namespace"
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
                let again = CgroupPath::parse(parsed.as_str().as_bytes()).unwrap();
                prop_assert_eq!(again.as_str(), parsed.as_str());
            }
        }

        #[test]
        fn a_cgroup_below_never_escapes(below in "[a./ ]{0,12}|\\PC{0,20}") {
            let top = CgroupPath::parse(b"a/top").unwrap();
            if let Ok(joined) = top.join(&below) {
                let inside = Path::new(joined.as_str()).strip_prefix("a/top").unwrap();
                let plain = inside.components().all(|c| matches!(c, Component::Normal(_)));
                prop_assert!(plain, "{}", joined);
            }
        }
    }
}
