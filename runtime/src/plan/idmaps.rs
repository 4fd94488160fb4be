//! Idmapped mounts: `uidMappings` and `gidMappings` of a mount, options `idmap` and `ridmap`.

use super::maps::IdMap;
use super::namespaces::{Choice, Kind, Maps, Namespaces};
use super::options::{Idmap, Options};
use super::refusal::Refusals;
use oci_spec::runtime::{Linux, Mount};

/// With which ids a mount shows its files.
#[derive(Debug)]
pub(crate) struct IdmapPlan {
    pub(crate) recursive: bool,
    /// `None` for those of the user namespace that is joined.
    pub(crate) maps: Option<Maps>,
}

/// Reads the mappings of a mount; those of the container's user namespace where it has none.
pub(crate) fn plan(
    mount: &Mount,
    options: &Options,
    linux: &Linux,
    namespaces: &Namespaces,
    json: &str,
    refusals: &mut Refusals,
) -> Option<IdmapPlan> {
    let uids = mount.uid_mappings().as_deref().unwrap_or_default();
    let gids = mount.gid_mappings().as_deref().unwrap_or_default();
    if options.idmap.is_none() && uids.is_empty() && gids.is_empty() {
        return None;
    }
    let binds = options.bind.is_some() || mount.typ().as_deref() == Some("bind");
    if !binds || options.remount {
        let why = "invalid mount: id-mapped mounts are only supported for bind-mounts";
        refusals.refuse(format!("{json}.options"), why);
    }
    let recursive = options.idmap == Some(Idmap::Tree);
    let implied = uids.is_empty() && gids.is_empty();
    if implied && matches!(namespaces.choice(Kind::User), Choice::Join(_)) {
        return Some(IdmapPlan {
            recursive,
            maps: None,
        });
    }
    let (uids, gids, path) = if implied {
        let uids = linux.uid_mappings().as_deref().unwrap_or_default();
        let gids = linux.gid_mappings().as_deref().unwrap_or_default();
        (uids, gids, "linux")
    } else {
        (uids, gids, json)
    };
    for (name, maps) in [("uidMappings", uids), ("gidMappings", gids)] {
        if maps.is_empty() {
            let why =
                "invalid mount: id-mapped mounts must have both uid and gid mappings specified";
            refusals.refuse(format!("{json}.{name}"), why);
        }
    }
    // Those of the container are looked at where they belong.
    let mut twice = Refusals::default();
    let refusals = if implied { &mut twice } else { refusals };
    Some(IdmapPlan {
        recursive,
        maps: Some(Maps {
            uids: IdMap::plan(&format!("{path}.uidMappings"), uids, refusals),
            gids: IdMap::plan(&format!("{path}.gidMappings"), gids, refusals),
            deny_setgroups: false,
        }),
    })
}
