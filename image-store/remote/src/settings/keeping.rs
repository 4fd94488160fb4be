//! Writing credentials down, and forgetting them: with the caller's rights, and never with the network.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hostrun_image_store::registry::wire::{Fault, Purpose, Setup};
use serde_json::{Map, Value, json};

use super::credentials::{call_helper, file_to_keep, plain_key, written_key};
use super::registry_name;
use crate::failure::Failure;

/// Does what the setup's purpose says. Every member of the file that is not ours stays as it is.
pub(crate) fn change(setup: &Setup) -> Result<(), Failure> {
    let registry = registry_name(&setup.image)?;
    let file = file_to_keep(setup);
    let mut document = read(&file)?;
    let helper = helper_of(&document, &registry);
    match (setup.purpose, &setup.credentials) {
        (Purpose::Keep, Some((user, password))) => {
            if let Some(helper) = helper {
                let entry = json!({
                    "ServerURL": written_key(&registry), "Username": user, "Secret": password,
                });
                return told(&helper, "store", entry.to_string().as_bytes());
            }
            let auth = STANDARD.encode(format!("{user}:{password}"));
            forget(&mut document, &registry);
            let auths = document.entry("auths").or_insert_with(|| json!({}));
            let auths = auths.as_object_mut().ok_or_else(|| no_file(&file))?;
            auths.insert(written_key(&registry).to_owned(), json!({"auth": auth}));
        }
        (Purpose::Forget, _) => {
            if let Some(helper) = helper {
                return told(&helper, "erase", written_key(&registry).as_bytes());
            }
            if !forget(&mut document, &registry) {
                let cause = format!("{} has nothing for {registry}", file.display());
                return Err(Failure::new(Fault::NotFound, cause));
            }
        }
        _ => return Err(Failure::invalid("no name and password to keep")),
    }
    let failed = |error: io::Error| Failure::invalid(error.to_string()).at(file.display());
    write(&file, &Value::Object(document)).map_err(failed)
}

fn told(helper: &str, verb: &str, input: &[u8]) -> Result<(), Failure> {
    let (succeeded, said) = call_helper(helper, verb, input)?;
    if succeeded {
        return Ok(());
    }
    let said = crate::address::shown(String::from_utf8_lossy(&said).trim());
    Err(Failure::invalid(format!(
        "docker-credential-{helper}: {said}"
    )))
}

fn no_file(file: &Path) -> Failure {
    Failure::invalid("no credential file").at(file.display())
}

fn read(file: &Path) -> Result<Map<String, Value>, Failure> {
    match fs::read(file) {
        Ok(bytes) if bytes.trim_ascii().is_empty() => Ok(Map::new()),
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_json| no_file(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
        Err(error) => Err(Failure::invalid(error.to_string()).at(file.display())),
    }
}

fn helper_of(document: &Map<String, Value>, registry: &str) -> Option<String> {
    let helpers = document.get("credHelpers").and_then(Value::as_object);
    let own = helpers.and_then(|helpers| {
        let mut helpers = helpers.iter();
        helpers.find(|(key, _)| plain_key(key) == registry)
    });
    let helper = own.map(|(_, helper)| helper).or(document.get("credsStore"));
    helper?.as_str().map(str::to_owned)
}

/// Whether there was anything to forget.
fn forget(document: &mut Map<String, Value>, registry: &str) -> bool {
    let auths = document.get_mut("auths").and_then(Value::as_object_mut);
    auths.is_some_and(|auths| {
        let before = auths.len();
        auths.retain(|key, _| plain_key(key) != registry);
        auths.len() < before
    })
}

/// Under another name until it is whole; nobody else may read it.
fn write(file: &Path, document: &Value) -> io::Result<()> {
    // A file that somebody has put elsewhere stays where it is.
    let file = fs::canonicalize(file).unwrap_or_else(|_missing| file.to_owned());
    let dir = file.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = dir.join(name);
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    let mut out = options.open(&temporary)?;
    let written = serde_json::to_vec_pretty(document)
        .map_err(io::Error::from)
        .and_then(|bytes| out.write_all(&bytes))
        .and_then(|()| out.sync_all())
        .and_then(|()| fs::rename(&temporary, &file));
    if written.is_err() {
        fs::remove_file(&temporary).ok();
    }
    written
}
