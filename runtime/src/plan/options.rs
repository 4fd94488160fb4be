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

    pub(crate) fn is_empty(self) -> bool {
        self == Attributes::default()
    }

    /// Takes read-only out, to be set when all else is done; was it there?
    pub(crate) fn take_readonly(&mut self) -> bool {
        let found = self.set & RDONLY != 0;
        self.set &= !RDONLY;
        found
    }
}

/// An access time mode; `strictatime` beats `noatime`, as in `mount(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct AccessTimes {
    relatime: bool,
    noatime: bool,
    strictatime: bool,
    nodiratime: bool,
}

impl AccessTimes {
    fn is_given(self) -> bool {
        self != AccessTimes::default()
    }

    fn bits(self) -> u64 {
        let mode = match (self.strictatime, self.noatime) {
            (true, _) => STRICTATIME,
            (false, true) => NOATIME,
            (false, false) => RELATIME,
        };
        mode | if self.nodiratime { NODIRATIME } else { 0 }
    }
}

/// What the options say about the mount itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    flags: Attributes,
    times: AccessTimes,
    /// A flag was named, be it one that acts on whole file systems only.
    named: bool,
}

impl Own {
    /// For a new mount: what is not named is off, and access times are relative.
    pub(crate) fn of_new(self) -> u64 {
        self.flags.set | self.times.bits()
    }

    /// For a mount that exists, as `mount --bind -o` does it: with any flag named, those not named
    /// are cleared, and without one they are all kept. Access times are kept unless one is named.
    pub(crate) fn of_bind(self) -> Attributes {
        if !self.named {
            return Attributes::default();
        }
        let all = RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW;
        self.with_times(all & !self.flags.set)
    }

    /// The same where a user namespace locks flags of the mount: those not named are kept, so only
    /// a locked flag that is named to be cleared fails.
    pub(crate) fn of_locked_bind(self) -> Attributes {
        // Nobody locks this one.
        self.with_times(self.flags.clear | NOSYMFOLLOW & !self.flags.set)
    }

    fn with_times(self, clear: u64) -> Attributes {
        if !self.times.is_given() {
            return Attributes {
                set: self.flags.set,
                clear,
            };
        }
        // mount_setattr(2) wants the field of the modes cleared whole, the bit that is set included.
        let set = self.times.bits();
        Attributes {
            set: self.flags.set | set,
            clear: clear | ATIME | NODIRATIME & !set,
        }
    }

    /// Takes read-only out, to be set when all else is done; was it there?
    pub(crate) fn take_readonly(&mut self) -> bool {
        self.flags.take_readonly()
    }

    fn name(&mut self, option: &str) -> bool {
        let known = match option {
            "relatime" => replace(&mut self.times.relatime, true),
            "norelatime" => replace(&mut self.times.relatime, false),
            "noatime" => replace(&mut self.times.noatime, true),
            "atime" => replace(&mut self.times.noatime, false),
            "strictatime" => replace(&mut self.times.strictatime, true),
            "nostrictatime" => replace(&mut self.times.strictatime, false),
            "nodiratime" => replace(&mut self.times.nodiratime, true),
            "diratime" => replace(&mut self.times.nodiratime, false),
            _ => flag(option).map(|(set, clear)| self.flags.apply(set, clear)),
        };
        self.named |= known.is_some();
        known.is_some()
    }
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "the arms of a match that asks whether an option is known"
)]
fn replace(place: &mut bool, value: bool) -> Option<()> {
    *place = value;
    Some(())
}

/// With which ids a mount shows its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idmap {
    /// Of the mount only.
    One,
    /// Of all mounts below it, too.
    Tree,
}

/// What to do with symbolic links and with what is there already; runc's and crun's extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    /// `tmpcopyup`: a tmpfs begins with what it covers.
    pub(crate) copy_up: bool,
    /// `copy-symlink`: where the source is a link, make the same link instead of a mount.
    pub(crate) copy_symlink: bool,
    /// `src-nofollow`: bind a link itself.
    pub(crate) source_nofollow: bool,
    /// `dest-nofollow`: mount over a link itself.
    pub(crate) target_nofollow: bool,
}

/// Options of one mount, sorted by what they act on.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// `Some(recursive)` for `bind` and `rbind`.
    pub(crate) bind: Option<bool>,
    /// Change what is mounted there already.
    pub(crate) remount: bool,
    /// Of the mount.
    pub(crate) own: Own,
    /// Of the whole tree (`rro` and its like).
    pub(crate) tree: Attributes,
    /// `MS_SHARED` and the like with or without `MS_REC`, in order.
    pub(crate) propagation: Vec<u64>,
    /// `idmap`, `ridmap`.
    pub(crate) idmap: Option<Idmap>,
    pub(crate) extensions: Extensions,
    /// For the file system itself.
    pub(crate) data: Vec<(String, String)>,
    /// The same, of those that act on every file system and mean nothing to a bind mount.
    pub(crate) superblock: Vec<(String, String)>,
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
    if parsed.own.name(option) {
        return;
    }
    if let Some((set, clear)) = recursive(option) {
        parsed.tree.apply(set, clear);
    } else if let Some(propagation) = propagation(option) {
        parsed.propagation.push(propagation);
    } else if !parsed.extend(option) {
        parsed.data.push(data(option));
    }
}

impl Options {
    /// Words that are neither attributes nor data.
    fn extend(&mut self, option: &str) -> bool {
        match option {
            "bind" => self.bind = self.bind.or(Some(false)),
            "rbind" => self.bind = Some(true),
            "remount" => self.remount = true,
            "idmap" => self.idmap = Some(Idmap::One),
            "ridmap" => self.idmap = Some(Idmap::Tree),
            "tmpcopyup" => self.extensions.copy_up = true,
            "copy-symlink" => self.extensions.copy_symlink = true,
            "src-nofollow" => self.extensions.source_nofollow = true,
            "dest-nofollow" => self.extensions.target_nofollow = true,
            "sync" | "dirsync" | "lazytime" | "mand" => {
                self.own.named = true;
                self.superblock.push(data(option));
            }
            "async" | "nolazytime" | "nomand" => {
                self.own.named = true;
                let on = option.trim_start_matches("no").trim_start_matches('a');
                self.superblock.retain(|(key, _)| key != on);
            }
            // No kernel acts on these for a mount.
            "loud" | "silent" | "quiet" | "iversion" | "noiversion" | "acl" | "noacl" => {
                self.own.named = true;
            }
            "defaults" | "" => {}
            _ => return false,
        }
        true
    }
}

fn data(option: &str) -> (String, String) {
    let (key, value) = option.split_once('=').unwrap_or((option, ""));
    (key.to_owned(), value.to_owned())
}

/// `(set, clear)` of an option that is one bit.
fn flag(option: &str) -> Option<(u64, u64)> {
    Some(match option {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        _ => return None,
    })
}

/// `(set, clear)` of an option that acts on a mount and all below it.
fn recursive(option: &str) -> Option<(u64, u64)> {
    let name = option.strip_prefix('r')?;
    Some(match name {
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        // The access time modes are one field: taking one out leaves the kernel's default.
        "relatime" | "norelatime" | "atime" | "nostrictatime" => (RELATIME, ATIME),
        "noatime" => (NOATIME, ATIME),
        "strictatime" => (STRICTATIME, ATIME),
        _ => return flag(name),
    })
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
    parse(&[option.to_owned()]).data.is_empty()
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
        let own = of(&["ro", "nosuid", "rw"]).own;
        assert_eq!(own.of_new(), NOSUID);
        assert_eq!(own.of_locked_bind().clear & RDONLY, RDONLY);
    }

    #[test]
    fn a_bare_bind_keeps_all_flags_and_one_that_names_any_clears_the_others() {
        assert!(of(&["bind", "rprivate"]).own.of_bind().is_empty());
        let cleared = RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW;
        for (options, set) in [
            (["bind", "dev"], 0),
            (["bind", "sync"], 0),
            (["bind", "ro"], RDONLY),
        ] {
            let expected = Attributes {
                set,
                clear: cleared & !set,
            };
            assert_eq!(of(&options).own.of_bind(), expected, "{options:?}");
        }
    }

    #[test]
    fn where_flags_are_locked_only_those_named_are_cleared() {
        let own = of(&["bind", "rw", "nosuid"]).own;
        let expected = Attributes {
            set: NOSUID,
            clear: RDONLY | NOSYMFOLLOW,
        };
        assert_eq!(own.of_locked_bind(), expected);
    }

    #[test]
    fn access_times_are_kept_until_a_mode_is_named() {
        for kept in ["atime", "norelatime", "nostrictatime", "diratime"] {
            assert_eq!(
                of(&["bind", kept]).own.of_bind().clear & (ATIME | NODIRATIME),
                0,
                "{kept}"
            );
        }
        // mount_setattr(2) wants the field cleared whole, the bit that is set included.
        for (options, set) in [
            (["noatime", ""], NOATIME),
            (["relatime", ""], RELATIME),
            (["nodiratime", ""], NODIRATIME),
            (["nodiratime", "norelatime"], NODIRATIME),
            (["nodiratime", "strictatime"], NODIRATIME | STRICTATIME),
            (["noatime", "strictatime"], STRICTATIME),
        ] {
            let bind = of(&options).own.of_bind();
            assert_eq!(bind.set, set, "{options:?}");
            assert_eq!(bind.clear & ATIME, ATIME, "{options:?}");
        }
    }

    #[test]
    fn recursive_forms_act_on_the_tree() {
        let options = of(&["rbind", "rro", "rnosuid", "rprivate", "rw", "shared"]);
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.tree.set, RDONLY | NOSUID);
        assert_eq!(options.own.of_locked_bind().clear & RDONLY, RDONLY);
        let private = libc::MS_PRIVATE | libc::MS_REC;
        assert_eq!(options.propagation, [private, libc::MS_SHARED]);
    }

    #[test]
    fn recursive_access_times_replace_the_whole_field() {
        for (option, set) in [
            ("rnoatime", NOATIME),
            ("rstrictatime", STRICTATIME),
            ("rrelatime", RELATIME),
            ("ratime", RELATIME),
            ("rnostrictatime", RELATIME),
            ("rnorelatime", RELATIME),
        ] {
            assert_eq!(
                of(&[option]).tree,
                Attributes { set, clear: ATIME },
                "{option}"
            );
        }
    }

    #[test]
    fn what_is_not_a_flag_is_data_for_the_file_system() {
        let options = of(&[
            "mode=755",
            "size=64k",
            "newinstance",
            "idmap",
            "sync",
            "nosync",
            "async",
        ]);
        assert_eq!(
            options.data,
            [
                ("mode".into(), "755".into()),
                ("size".into(), "64k".into()),
                ("newinstance".into(), String::new()),
                ("nosync".into(), String::new())
            ]
        );
        assert_eq!(options.idmap, Some(Idmap::One));
        assert!(options.superblock.is_empty());
    }
}
