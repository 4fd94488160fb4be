//! Mount options as `mount(8)` and the runtime-spec write them.

mod attributes;
#[cfg(test)]
mod tests;

pub(crate) use attributes::{Attributes, Own, RDONLY};

use attributes::recursive;
use std::ffi::CString;

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
