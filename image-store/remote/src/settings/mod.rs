//! What the machine says about registries, read with the rights of the caller: `registries.conf`, credential
//! files and their helpers, certificates.

mod certificates;
mod credentials;
pub(crate) mod keeping;
mod registries;

use hostrun_image_store::Reference;
use hostrun_image_store::registry::wire::{Purpose, Setup};

use crate::failure::Failure;
pub(crate) use certificates::Trust;
pub(crate) use credentials::Credentials;

/// The registry behind the names that docker shortens.
const HUB: &str = "docker.io";
/// Where it answers.
const HUB_HOST: &str = "registry-1.docker.io";

/// All that is needed on the network.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The whole name.
    pub(crate) image: String,
    /// The tag or digest that is meant.
    pub(crate) version: String,
    pub(crate) places: Vec<Place>,
    pub(crate) warnings: Vec<String>,
}

/// A registry that has the image, or a mirror of it.
#[derive(Debug)]
pub(crate) struct Place {
    /// `HOST[:PORT]`.
    pub(crate) authority: String,
    pub(crate) repository: String,
    /// It need not prove who it is, and may speak plain HTTP.
    pub(crate) insecure: bool,
    /// What it may be asked for.
    pub(crate) serves: Serves,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) trust: Trust,
}

/// What a mirror may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serves {
    All,
    Digests,
    Tags,
}

/// Reads what concerns an image or a registry.
///
/// # Errors
/// When a file makes no sense, or the name, or the registry is blocked.
pub(crate) fn read(setup: &Setup) -> Result<Settings, Failure> {
    if setup.purpose == Purpose::Login {
        return of_registry(setup);
    }
    let rules = registries::read()?;
    let mut warnings = Vec::new();
    let image = rules.whole_name(&setup.image, &mut warnings)?;
    let reference =
        Reference::parse(&image).map_err(|error| Failure::invalid(error.to_string()))?;
    let canonical = canonical(&reference);
    let version = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    };
    let routes = rules.routes(&canonical, setup.purpose == Purpose::Push)?;
    let last = routes.len().saturating_sub(1);
    let mut places = Vec::new();
    for (index, route) in routes.into_iter().enumerate() {
        let insecure = setup.tls_verify.map_or(route.insecure, |verify| !verify);
        let name = format!("{}/{}", route.host, route.repository);
        // What the caller typed is for the registry it named.
        let given = setup.credentials.clone().filter(|_| index == last);
        let credentials = match given {
            Some((user, password)) => Some(Credentials::Password(user, password)),
            None => credentials::find(setup, &name, &rules.helpers)?,
        };
        places.push(Place {
            trust: Trust::read(setup, &route.host, insecure)?,
            authority: host_of(&route.host),
            repository: route.repository,
            insecure,
            serves: route.serves,
            credentials,
        });
    }
    Ok(Settings {
        image,
        version,
        places,
        warnings,
    })
}

/// A registry alone.
fn of_registry(setup: &Setup) -> Result<Settings, Failure> {
    let registry = registry_name(&setup.image)?;
    let host = registry.split('/').next().unwrap_or_default().to_owned();
    let insecure = match setup.tls_verify {
        Some(verify) => !verify,
        None => registries::read()?.is_insecure(&registry),
    };
    let credentials = setup.credentials.clone();
    let place = Place {
        trust: Trust::read(setup, &host, insecure)?,
        authority: host_of(&host),
        repository: String::new(),
        insecure,
        serves: Serves::All,
        credentials: credentials.map(|(user, password)| Credentials::Password(user, password)),
    };
    Ok(Settings {
        image: registry,
        version: String::new(),
        places: vec![place],
        warnings: vec![],
    })
}

/// `docker.io/library/alpine:3` of `alpine:3`.
fn canonical(reference: &Reference) -> String {
    let name = format!("{}/{}", reference.registry(), reference.repository());
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{name}@{digest}"),
        (None, Some(tag)) => format!("{name}:{tag}"),
        (None, None) => name,
    }
}

fn host_of(host: &str) -> String {
    let host = if host == HUB { HUB_HOST } else { host };
    host.to_owned()
}

/// The name a registry has in credential files: without scheme, and with one spelling of docker's.
fn registry_name(text: &str) -> Result<String, Failure> {
    let name = credentials::plain_key(text);
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._:/[]".contains(&b);
    if name.is_empty() || !name.bytes().all(good) || name.contains("..") {
        let shown = crate::address::shown(text);
        return Err(Failure::invalid(format!("'{shown}' is no registry")));
    }
    Ok(name)
}

/// Whether the first part of a name is a host.
fn has_host(text: &str) -> bool {
    let is_host = |part: &str| {
        part == "localhost"
            || part.contains(['.', ':'])
            || part.bytes().any(|b| b.is_ascii_uppercase())
    };
    text.split_once('/')
        .is_some_and(|(first, _)| is_host(first))
}

/// What a `registries.conf` says about an image.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz_registries(text: &str, image: &str) -> Vec<(String, String)> {
    let routes = registries::fuzz(text, image).unwrap_or_default();
    let routes = routes.into_iter();
    routes.map(|route| (route.host, route.repository)).collect()
}

#[cfg(feature = "fuzzing")]
pub(crate) use credentials::fuzz as fuzz_credentials;

fn variable(name: &str) -> Option<std::path::PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(Into::into)
}
