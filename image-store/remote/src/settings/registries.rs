//! `registries.conf`, version 2, as containers-registries.conf(5) has it: where an image is really fetched
//! from, and what is blocked.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hostrun_image_store::registry::wire::{Fault, Hint};
use serde::Deserialize;

use super::{HUB, Serves, has_host, variable};
use crate::failure::Failure;

/// The first of these that is there is the one.
const FILES: [&str; 4] = [
    "/etc/hostrun/registries.conf",
    "/etc/containers/registries.conf",
    "/usr/lib/hostrun/registries.conf",
    "/usr/share/containers/registries.conf",
];

/// Files in these are read after it, by name, whatever folder they are in; of one name, that of the last folder is
/// (systemd's rule, docs/configuration.md).
const FOLDERS: [&str; 4] = [
    "/usr/share/containers/registries.conf.d",
    "/usr/lib/hostrun/registries.conf.d",
    "/etc/containers/registries.conf.d",
    "/etc/hostrun/registries.conf.d",
];

/// A member nobody knows may be one that blocks or forbids: it is refused.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    unqualified_search_registries: Option<Vec<String>>,
    #[serde(rename = "short-name-mode")]
    _short_name_mode: Option<String>,
    credential_helpers: Option<Vec<String>>,
    #[serde(rename = "additional-layer-store-auth-helper")]
    _additional_layer_store_auth_helper: Option<String>,
    registry: Vec<Entry>,
    aliases: BTreeMap<String, String>,
    /// Version 1.
    registries: Option<toml::Table>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    prefix: Option<String>,
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default, rename = "pull-from-mirror")]
    serves: Option<String>,
}

/// All files together.
#[derive(Debug, Default)]
pub(super) struct Rules {
    search: Vec<String>,
    aliases: BTreeMap<String, String>,
    /// By prefix: a later file says it anew.
    entries: BTreeMap<String, Entry>,
    /// Where credentials are, before the usual files.
    pub(super) helpers: Vec<String>,
}

/// A way to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) host: String,
    pub(super) repository: String,
    pub(super) insecure: bool,
    pub(super) serves: Serves,
}

/// Reads the configuration of this machine; podman's variables name other places for it.
pub(super) fn read() -> Result<Rules, Failure> {
    let mut rules = Rules::default();
    let files = match variable("CONTAINERS_REGISTRIES_CONF") {
        Some(file) => vec![file],
        None => FILES.into_iter().map(PathBuf::from).collect(),
    };
    for file in files {
        if rules.add_file(&file)? {
            break;
        }
    }
    let folders = match variable("CONTAINERS_REGISTRIES_CONF_DIR") {
        Some(folder) => vec![folder],
        None => FOLDERS.into_iter().map(PathBuf::from).collect(),
    };
    for file in drop_ins(&folders)? {
        rules.add_file(&file)?;
    }
    Ok(rules)
}

/// A folder that cannot be read may have one that blocks a registry in it: nothing is done without it.
fn drop_ins(folders: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = BTreeMap::new();
    for folder in folders {
        let unreadable = |error: io::Error| {
            Failure::invalid(format!("cannot read {}: {error}", folder.display()))
        };
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(unreadable)?,
        };
        for entry in entries {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().map(OsStr::to_owned);
            if path.extension().is_some_and(|end| end == "conf") {
                files.insert(name, path);
            }
        }
    }
    Ok(files.into_values().collect())
}

impl Rules {
    /// False when there is no such file.
    fn add_file(&mut self, file: &Path) -> Result<bool, Failure> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => {
                let cause = format!("cannot read {}: {error}", file.display());
                return Err(Failure::invalid(cause));
            }
        };
        self.add(&text)
            .map_err(|failure| failure.at(file.display()))?;
        Ok(true)
    }

    fn add(&mut self, text: &str) -> Result<(), Failure> {
        let wrong = |cause: String| Failure::invalid(cause).hint(Hint::Configuration);
        let document: Document = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| {
                let before = text.get(..span.start).unwrap_or_default();
                before.matches('\n').count() + 1
            });
            wrong(format!("line {line}: {}", error.message()))
        })?;
        if document.registries.is_some() {
            return Err(wrong("this is version 1 of the format".to_owned()));
        }
        if let Some(search) = document.unqualified_search_registries {
            self.search = search;
        }
        if let Some(helpers) = document.credential_helpers {
            self.helpers = helpers;
        }
        self.aliases.extend(document.aliases);
        for entry in document.registry {
            let key = entry.prefix.clone().or_else(|| entry.location.clone());
            let key =
                key.ok_or_else(|| wrong("a registry without prefix or location".to_owned()))?;
            for mirror in &entry.mirror {
                serves(&entry, mirror).map_err(&wrong)?;
            }
            self.entries.insert(key, entry);
        }
        Ok(())
    }

    /// The name with its registry. One without is docker's, as in the store, unless the configuration says
    /// what is meant; it may not leave several to be tried, because whoever is faster to register the
    /// name with one of them would decide what runs here.
    pub(super) fn whole_name(
        &self,
        text: &str,
        warnings: &mut Vec<String>,
    ) -> Result<String, Failure> {
        if has_host(text) {
            return Ok(text.to_owned());
        }
        let end = text.find([':', '@']).unwrap_or(text.len());
        let (name, version) = text.split_at(end);
        if let Some(target) = self.aliases.get(name).filter(|target| !target.is_empty()) {
            return Ok(format!("{target}{version}"));
        }
        match self.search.as_slice() {
            [] => Ok(text.to_owned()),
            [only] if only == HUB => Ok(text.to_owned()),
            [only] => {
                warnings.push(format!(
                    "'{text}' is taken from {only}, as registries.conf says"
                ));
                Ok(format!("{only}/{text}"))
            }
            several => {
                let cause = format!(
                    "'{}' could be of {}",
                    crate::address::shown(text),
                    several.join(", ")
                );
                Err(Failure::invalid(cause).hint(Hint::Qualify))
            }
        }
    }

    /// The entry with the longest prefix that fits.
    fn entry(&self, name: &str) -> Option<(&str, &Entry)> {
        let fitting = self.entries.iter().filter(|(prefix, _)| fits(prefix, name));
        fitting
            .max_by_key(|(prefix, _)| prefix.len())
            .map(|(prefix, entry)| (prefix.as_str(), entry))
    }

    /// Whether a registry need not prove who it is.
    pub(super) fn is_insecure(&self, registry: &str) -> bool {
        self.entry(registry)
            .is_some_and(|(_, entry)| entry.insecure)
    }

    /// Where an image is to be had, in the order to ask; the last is the registry itself.
    pub(super) fn routes(&self, name: &str, is_push: bool) -> Result<Vec<Route>, Failure> {
        let bare = name.split('@').next().unwrap_or_default();
        let bare = match bare.rsplit_once(':') {
            Some((before, tag)) if !tag.contains('/') => before,
            _ => bare,
        };
        let Some((prefix, entry)) = self.entry(name) else {
            return Ok(vec![route(bare, false, Serves::All)?]);
        };
        if entry.blocked {
            let cause = format!("registries.conf blocks '{prefix}'");
            return Err(Failure::new(Fault::Denied, cause));
        }
        let moved = |location: &str| {
            let rest = bare.strip_prefix(prefix).unwrap_or_else(|| {
                // A wildcard stands for the host.
                let end = bare.find('/').unwrap_or(bare.len());
                bare.get(end..).unwrap_or_default()
            });
            format!("{location}{rest}")
        };
        let mut routes = Vec::new();
        for mirror in entry.mirror.iter().filter(|_| !is_push) {
            let serves = serves(entry, mirror).map_err(Failure::invalid)?;
            routes.push(route(&moved(&mirror.location), mirror.insecure, serves)?);
        }
        let own = entry.location.as_deref().map_or(bare.to_owned(), moved);
        routes.push(route(&own, entry.insecure, Serves::All)?);
        Ok(routes)
    }
}

fn serves(entry: &Entry, mirror: &Mirror) -> Result<Serves, String> {
    match mirror.serves.as_deref() {
        _ if entry.mirror_by_digest_only => Ok(Serves::Digests),
        None | Some("" | "all") => Ok(Serves::All),
        Some("digest-only") => Ok(Serves::Digests),
        Some("tag-only") => Ok(Serves::Tags),
        Some(other) => Err(format!("pull-from-mirror = \"{other}\" is not known")),
    }
}

fn route(name: &str, insecure: bool, serves: Serves) -> Result<Route, Failure> {
    let bad = || {
        Failure::invalid(format!(
            "'{}' names no repository",
            crate::address::shown(name)
        ))
    };
    let (host, _) = name.split_once('/').ok_or_else(bad)?;
    // By the grammar of names: nothing of a configuration climbs out of a path.
    let reference = hostrun_image_store::Reference::parse(name).map_err(|_error| bad())?;
    if reference.registry() != host && !(host == "index.docker.io" && reference.registry() == HUB) {
        return Err(bad());
    }
    Ok(Route {
        host: reference.registry().to_owned(),
        repository: reference.repository(),
        insecure,
        serves,
    })
}

/// Whether a name is below a prefix: at the border of a part, or by `*.` for the beginning of the host.
fn fits(prefix: &str, name: &str) -> bool {
    if let Some(domain) = prefix.strip_prefix("*.") {
        let host = name.split('/').next().unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default();
        return host
            .strip_suffix(domain)
            .is_some_and(|sub| sub.len() > 1 && sub.ends_with('.'));
    }
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
}

#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(text: &str, image: &str) -> Result<Vec<Route>, Failure> {
    let mut rules = Rules::default();
    rules.add(text)?;
    let name = rules.whole_name(image, &mut Vec::new())?;
    let reference = hostrun_image_store::Reference::parse(&name);
    let reference = reference.map_err(|error| Failure::invalid(error.to_string()))?;
    rules.is_insecure(&reference.registry());
    rules.routes(&super::canonical(&reference), false)
}

#[cfg(test)]
mod tests;
