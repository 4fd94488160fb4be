//! What options say about mounts themselves: `MOUNT_ATTR_*` and access times.

/// `MOUNT_ATTR_*`, `mount_setattr(2)`.
pub(crate) const RDONLY: u64 = 0x1;
pub(super) const NOSUID: u64 = 0x2;
pub(super) const NODEV: u64 = 0x4;
pub(super) const NOEXEC: u64 = 0x8;
pub(super) const ATIME: u64 = 0x70;
pub(super) const RELATIME: u64 = 0;
pub(super) const NOATIME: u64 = 0x10;
pub(super) const STRICTATIME: u64 = 0x20;
pub(super) const NODIRATIME: u64 = 0x80;
pub(super) const NOSYMFOLLOW: u64 = 0x20_0000;

/// Attributes to set and to clear, of one mount or of a whole tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

impl Attributes {
    pub(super) fn apply(&mut self, set: u64, clear: u64) {
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
    pub(super) named: bool,
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

    pub(super) fn name(&mut self, option: &str) -> bool {
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
pub(super) fn recursive(option: &str) -> Option<(u64, u64)> {
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
