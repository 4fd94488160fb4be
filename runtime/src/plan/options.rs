//! Mount options as `mount(8)` and the runtime-spec write them.

use std::ffi::CString;

/// `MOUNT_ATTR_*`, `mount_setattr(2)`.
pub(crate) const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
const ATIME: u64 = 0x70;
const RELATIME: u64 = 0;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

/// Attributes to set and to clear, of one mount or of a whole tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

impl Attributes {
    fn apply(&mut self, set: u64, clear: u64) {
        self.set = self.set & !clear | set;
        self.clear = self.clear & !set | clear;
    }

    /// These, and of the others what these do not change.
    pub(crate) fn over(self, others: Attributes) -> Attributes {
        let mut sum = others;
        sum.apply(self.set, self.clear);
        sum
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Attributes::default()
    }
}

/// Options of one mount, sorted by what they act on.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// `Some(recursive)` for `bind` and `rbind`.
    pub(crate) bind: Option<bool>,
    /// Of the mount.
    pub(crate) own: Attributes,
    /// Of the whole tree (`rro` and its like).
    pub(crate) tree: Attributes,
    /// `MS_SHARED` and the like with or without `MS_REC`; 0 for none.
    pub(crate) propagation: u64,
    /// For the file system itself.
    pub(crate) data: Vec<(String, String)>,
    /// Known, but not done here; refused by the caller with the JSON path.
    pub(crate) unsupported: Vec<String>,
}

/// Sorts the options.
pub(crate) fn parse(options: &[String]) -> Options {
    let mut parsed = Options::default();
    for option in options {
        parse_one(option, &mut parsed);
    }
    parsed
}

fn parse_one(option: &str, parsed: &mut Options) {
    if let Some((set, clear)) = attribute(option) {
        parsed.own.apply(set, clear);
    } else if let Some((set, clear)) = option
        .strip_prefix('r')
        .and_then(attribute)
        .filter(|_| is_recursive(option))
    {
        parsed.tree.apply(set, clear);
    } else if let Some(propagation) = propagation(option) {
        parsed.propagation = propagation;
    } else {
        match option {
            "bind" => parsed.bind = parsed.bind.or(Some(false)),
            "rbind" => parsed.bind = Some(true),
            // What a mount is anyway, or what no kernel acts on any more.
            "defaults" | "loud" | "nomand" | "silent" | "quiet" | "iversion" | "acl" | "noacl"
            | "norelatime" | "nostrictatime" | "nolazytime" | "async" | "noiversion" | "" => {}
            "remount" | "tmpcopyup" | "idmap" | "ridmap" | "copy-symlink" | "src-nofollow"
            | "dest-nofollow" => {
                parsed.unsupported.push(option.to_owned());
            }
            _ => parsed.data.push(data(option)),
        }
    }
}

fn data(option: &str) -> (String, String) {
    let (key, value) = option.split_once('=').unwrap_or((option, ""));
    (key.to_owned(), value.to_owned())
}

/// `(set, clear)` of an option that acts on one mount.
fn attribute(option: &str) -> Option<(u64, u64)> {
    Some(match option {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        // The access time modes are one field: setting one clears the field first.
        "relatime" | "atime" => (RELATIME, ATIME),
        "noatime" => (NOATIME, ATIME),
        "strictatime" => (STRICTATIME, ATIME),
        _ => return None,
    })
}

/// Options of which an `r` form exists; `rw` and `relatime` merely begin with the letter.
fn is_recursive(option: &str) -> bool {
    !matches!(option, "rw" | "relatime")
}

fn propagation(option: &str) -> Option<u64> {
    let (name, recursive) = match option.strip_prefix('r') {
        Some(rest) => (rest, libc::MS_REC),
        None => (option, 0),
    };
    let kind = match name {
        "private" => libc::MS_PRIVATE,
        "slave" => libc::MS_SLAVE,
        "shared" => libc::MS_SHARED,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => return None,
    };
    Some(kind | recursive)
}

/// Propagation as `linux.rootfsPropagation` writes it.
pub(crate) fn root_propagation(text: &str) -> Option<u64> {
    propagation(text)
}

/// Whether an option is acted on here, and not handed to the file system or refused.
pub(crate) fn acts_on(option: &str) -> bool {
    let parsed = parse(&[option.to_owned()]);
    parsed.data.is_empty() && parsed.unsupported.is_empty()
}

/// Key and value for `fsconfig(2)`; `None` where one holds a zero byte.
pub(crate) fn c_pair((key, value): (String, String)) -> Option<(CString, CString)> {
    Some((CString::new(key).ok()?, CString::new(value).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[&str]) -> Options {
        parse(&options.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn later_options_win() {
        let options = of(&["ro", "nosuid", "rw"]);
        assert_eq!(
            options.own,
            Attributes {
                set: NOSUID,
                clear: RDONLY
            }
        );
    }

    #[test]
    fn an_access_time_mode_replaces_the_whole_field() {
        // mount_setattr(2) wants the field cleared whole, the bit that is set included.
        assert_eq!(
            of(&["noatime"]).own,
            Attributes {
                set: NOATIME,
                clear: ATIME
            }
        );
        assert_eq!(of(&["noatime", "strictatime"]).own.set, STRICTATIME);
    }

    #[test]
    fn recursive_forms_act_on_the_tree() {
        let options = of(&["rbind", "rro", "rnosuid", "rprivate", "rw"]);
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.tree.set, RDONLY | NOSUID);
        assert_eq!(
            options.own,
            Attributes {
                set: 0,
                clear: RDONLY
            }
        );
        assert_eq!(options.propagation, libc::MS_PRIVATE | libc::MS_REC);
    }

    #[test]
    fn what_is_not_a_flag_is_data_for_the_file_system() {
        let options = of(&["mode=755", "size=64k", "newinstance", "idmap"]);
        assert_eq!(
            options.data,
            [
                ("mode".into(), "755".into()),
                ("size".into(), "64k".into()),
                ("newinstance".into(), String::new())
            ]
        );
        assert_eq!(options.unsupported, ["idmap"]);
    }
}
