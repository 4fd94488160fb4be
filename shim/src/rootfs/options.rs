//! Options of a mount, as `mount(8)` and containerd write them.

use crate::wire::status::{Answer, Failure};
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};
use rustix::mount::{MountFlags, MountPropagationFlags};

/// Options that are flags.
const SET: [(&str, MountFlags); 11] = [
    ("ro", MountFlags::RDONLY),
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
    ("sync", MountFlags::SYNCHRONOUS),
    ("dirsync", MountFlags::DIRSYNC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
    ("strictatime", MountFlags::STRICTATIME),
    ("silent", MountFlags::SILENT),
];

/// Options that take a flag back.
const CLEARED: [(&str, MountFlags); 9] = [
    ("rw", MountFlags::RDONLY),
    ("suid", MountFlags::NOSUID),
    ("dev", MountFlags::NODEV),
    ("exec", MountFlags::NOEXEC),
    ("async", MountFlags::SYNCHRONOUS),
    ("atime", MountFlags::NOATIME),
    ("diratime", MountFlags::NODIRATIME),
    ("norelatime", MountFlags::RELATIME),
    ("nostrictatime", MountFlags::STRICTATIME),
];

/// How mounts spread; with an `r` before, all below as well.
const SPREAD: [(&str, MountPropagationFlags); 4] = [
    ("private", MountPropagationFlags::PRIVATE),
    ("shared", MountPropagationFlags::SHARED),
    ("slave", MountPropagationFlags::DOWNSTREAM),
    ("unbindable", MountPropagationFlags::UNBINDABLE),
];

/// Maps of users and of groups; empty for none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) uids: Vec<LinuxIdMapping>,
    pub(super) gids: Vec<LinuxIdMapping>,
}

impl Ids {
    pub(super) fn are_given(&self) -> bool {
        !self.uids.is_empty() || !self.gids.is_empty()
    }
}

/// What the options of a mount say, sorted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) flags: MountFlags,
    pub(super) bind: bool,
    pub(super) recursive: bool,
    pub(super) propagation: Option<MountPropagationFlags>,
    /// For the file system.
    pub(super) data: Vec<String>,
    /// The ids that its files are shown under.
    pub(super) ids: Ids,
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument` for maps that are none.
    pub(super) fn parse(options: &[String]) -> Answer<Options> {
        let mut parsed = Options {
            flags: MountFlags::empty(),
            bind: false,
            recursive: false,
            propagation: None,
            data: Vec::new(),
            ids: Ids::default(),
        };
        for option in options {
            match option.split_once('=') {
                Some(("uidmap", maps)) => parsed.ids.uids = read_maps(maps)?,
                Some(("gidmap", maps)) => parsed.ids.gids = read_maps(maps)?,
                _ => parsed.add(option),
            }
        }
        Ok(parsed)
    }

    fn add(&mut self, option: &str) {
        let flag = |table: &[(&str, MountFlags)]| {
            let found = table.iter().find(|(name, _)| *name == option);
            found.map(|(_, flag)| *flag)
        };
        if let Some(flag) = flag(&SET) {
            self.flags |= flag;
            return;
        }
        if let Some(flag) = flag(&CLEARED) {
            self.flags &= !flag;
            return;
        }
        let (plain, all) = option
            .strip_prefix('r')
            .filter(|rest| SPREAD.iter().any(|(name, _)| name == rest))
            .map_or((option, false), |rest| (rest, true));
        if let Some((_, spread)) = SPREAD.iter().find(|(name, _)| *name == plain) {
            let all = if all {
                MountPropagationFlags::REC
            } else {
                MountPropagationFlags::empty()
            };
            self.propagation = Some(*spread | all);
            return;
        }
        match option {
            "defaults" => {}
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive) = (true, true),
            other => self.data.push(other.to_owned()),
        }
    }
}

/// `CONTAINER:HOST:SIZE`, several with commas between.
fn read_maps(text: &str) -> Answer<Vec<LinuxIdMapping>> {
    let map = |text: &str| {
        let mut numbers = text.split(':').map(|number| number.parse::<u32>().ok());
        let [inside, outside, size] = [numbers.next()??, numbers.next()??, numbers.next()??];
        let builder = LinuxIdMappingBuilder::default()
            .container_id(inside)
            .host_id(outside)
            .size(size);
        builder.build().ok().filter(|_| numbers.next().is_none())
    };
    let maps: Option<Vec<LinuxIdMapping>> = text.split(',').map(map).collect();
    maps.ok_or_else(|| Failure::invalid(format!("mount option with ids {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Answer<Options> {
        let options: Vec<String> = text.split(',').map(str::to_owned).collect();
        Options::parse(&options)
    }

    #[test]
    fn options_are_flags_or_the_file_systems_own() {
        let overlay = parsed("index=off,ro,lowerdir=/a:/b,nosuid,nosuid,suid,rprivate").unwrap();
        assert_eq!(overlay.flags, MountFlags::RDONLY);
        assert_eq!(overlay.data, ["index=off", "lowerdir=/a:/b"]);
        let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        assert_eq!(overlay.propagation, Some(all));
        let bind = parsed("rbind,rw,relatime,ro,rw").unwrap();
        assert!(bind.bind && bind.recursive && bind.data.is_empty());
        assert_eq!(bind.flags, MountFlags::RELATIME);
    }

    #[test]
    fn maps_of_ids_are_read_and_what_is_none_is_refused() {
        let mapped = parsed("lowerdir=/a,uidmap=0:1000:10").unwrap();
        assert!(mapped.ids.are_given() && mapped.data == ["lowerdir=/a"]);
        let map = &mapped.ids.uids[0];
        assert_eq!(
            (map.container_id(), map.host_id(), map.size()),
            (0, 1000, 10)
        );
        let several = Options::parse(&["gidmap=0:1:2,5:6:7".to_owned()]).unwrap();
        assert_eq!(several.ids.gids.len(), 2);
        for text in ["", "0:1", "0:1:2:3", "a:1:2", "0:-1:2", "0:1:4294967296"] {
            assert!(read_maps(text).is_err(), "{text}");
        }
    }
}
