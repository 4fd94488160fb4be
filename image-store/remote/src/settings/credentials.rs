//! Names and passwords, where podman (containers-auth.json(5)) and docker keep them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hostrun_image_store::registry::wire::Setup;
use serde::Deserialize;

use super::{HUB, variable};
use crate::failure::Failure;

/// Docker's name for its registry in credential files.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// Not a helper of docker's: the files themselves.
const FILES_HELPER: &str = "containers-auth.json";
/// The user name of a helper's answer that is a token.
const TOKEN_USER: &str = "<token>";

/// What lets us in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// A name and a password.
    Password(String, String),
    /// A token to get tokens with.
    Identity(String),
}

impl std::fmt::Debug for Credentials {
    /// Secrets get into no message.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Document {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// The credentials for `HOST/PATH`: those of the longest beginning of it.
pub(super) fn find(
    setup: &Setup,
    name: &str,
    helpers: &[String],
) -> Result<Option<Credentials>, Failure> {
    let host = name.split('/').next().unwrap_or_default();
    for helper in helpers.iter().filter(|helper| *helper != FILES_HELPER) {
        if let Some(found) = ask_helper(helper, host)? {
            return Ok(Some(found));
        }
    }
    for (file, must_exist) in files(setup) {
        let Some(document) = read(&file, must_exist)? else {
            continue;
        };
        if let Some(found) = document
            .find(name, host)
            .map_err(|f| f.at(file.display()))?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The files to look in, in order, and whether one must be there.
fn files(setup: &Setup) -> Vec<(PathBuf, bool)> {
    if let Some(file) = setup
        .authfile
        .clone()
        .or_else(|| variable("REGISTRY_AUTH_FILE"))
    {
        return vec![(file, true)];
    }
    let home = variable("HOME");
    let config = variable("XDG_CONFIG_HOME").or_else(|| Some(home.clone()?.join(".config")));
    let docker = variable("DOCKER_CONFIG").or_else(|| Some(home?.join(".docker")));
    let files = [
        Some(runtime_file()),
        config.map(|dir| dir.join("containers/auth.json")),
        docker.map(|dir| dir.join("config.json")),
    ];
    files
        .into_iter()
        .flatten()
        .map(|file| (file, false))
        .collect()
}

/// The file that podman writes: gone after a reboot.
fn runtime_file() -> PathBuf {
    match variable("XDG_RUNTIME_DIR") {
        Some(dir) => dir.join("containers/auth.json"),
        None => format!("/run/containers/{}/auth.json", user_outside()).into(),
    }
}

/// Who we are outside of a user namespace in which we are root: there an ordinary user's images are handled, and the
/// user's passwords are where logging in, which is done outside, has put them.
fn user_outside() -> u32 {
    let own = nix::unistd::getuid().as_raw();
    let maps = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    place_outside(&maps, own).unwrap_or(own)
}

/// By lines of an id inside, the id outside that it stands for, and how many (`user_namespaces(7)`).
fn place_outside(maps: &str, own: u32) -> Option<u32> {
    maps.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let mut next = || numbers.next()?.ok();
        let (inside, outside, count) = (next()?, next()?, next()?);
        let place = own.checked_sub(inside).filter(|place| *place < count)?;
        outside.checked_add(place)
    })
}

/// The file that logging in changes.
pub(super) fn file_to_keep(setup: &Setup) -> PathBuf {
    let named = setup
        .authfile
        .clone()
        .or_else(|| variable("REGISTRY_AUTH_FILE"));
    named.unwrap_or_else(runtime_file)
}

fn read(file: &Path, must_exist: bool) -> Result<Option<Document>, Failure> {
    let wrong = |cause: String| Failure::invalid(cause).at(file.display());
    match fs::read(file) {
        Ok(bytes) if bytes.trim_ascii().is_empty() => Ok(None),
        // The parser's own words could quote a secret.
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let cause = format!(
                "no credential file: line {} is not as it should be",
                error.line()
            );
            wrong(cause)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => Ok(None),
        Err(error) => Err(wrong(error.to_string())),
    }
}

impl Document {
    fn find(&self, name: &str, host: &str) -> Result<Option<Credentials>, Failure> {
        let of_host = |(key, _): &(&String, &String)| plain_key(key) == host;
        if let Some((_, helper)) = self.cred_helpers.iter().find(of_host) {
            return ask_helper(helper, host);
        }
        let mut part = name;
        loop {
            let mut entries = self.auths.iter();
            if let Some((_, entry)) = entries.find(|(key, _)| plain_key(key) == part)
                && let Some(found) = entry.credentials()?
            {
                return Ok(Some(found));
            }
            match part.rsplit_once('/') {
                Some((outer, _)) => part = outer,
                None => break,
            }
        }
        match &self.creds_store {
            Some(helper) => ask_helper(helper, host),
            None => Ok(None),
        }
    }
}

impl Entry {
    fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        if let Some(token) = self
            .identitytoken
            .as_ref()
            .filter(|token| !token.is_empty())
        {
            return Ok(Some(Credentials::Identity(token.clone())));
        }
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Ok(Some(Credentials::Password(user.clone(), password.clone())));
        }
        let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) else {
            return Ok(None);
        };
        let bad = || Failure::invalid("an auth that is no base64 of NAME:PASSWORD");
        let bytes = STANDARD.decode(auth.trim()).map_err(|_base64| bad())?;
        let text = String::from_utf8(bytes).map_err(|_utf8| bad())?;
        let (user, password) = text.split_once(':').ok_or_else(bad)?;
        let password = password.trim_end_matches('\0');
        Ok(Some(Credentials::Password(
            user.to_owned(),
            password.to_owned(),
        )))
    }
}

/// Asks `docker-credential-NAME`.
fn ask_helper(helper: &str, host: &str) -> Result<Option<Credentials>, Failure> {
    let server = if host == HUB { HUB_KEY } else { host };
    let (succeeded, output) = call_helper(helper, "get", server.as_bytes())?;
    if !succeeded {
        let said = String::from_utf8_lossy(&output);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        let said = crate::address::shown(said.trim());
        return Err(Failure::invalid(format!(
            "docker-credential-{helper}: {said}"
        )));
    }
    let helped: Helped = serde_json::from_slice(&output).map_err(|_json| {
        Failure::invalid(format!("docker-credential-{helper} answers no credentials"))
    })?;
    Ok(Some(if helped.username == TOKEN_USER {
        Credentials::Identity(helped.secret)
    } else {
        Credentials::Password(helped.username, helped.secret)
    }))
}

/// Runs a helper of docker's; tells whether it succeeded and what it wrote.
pub(super) fn call_helper(
    helper: &str,
    verb: &str,
    input: &[u8],
) -> Result<(bool, Vec<u8>), Failure> {
    let wrong = |cause: String| Failure::invalid(format!("docker-credential-{helper}: {cause}"));
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    if helper.is_empty() || !helper.bytes().all(word) {
        return Err(Failure::invalid("a credential helper whose name is a path"));
    }
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| wrong(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading says why itself.
        stdin.write_all(input).ok();
    }
    let output = child
        .wait_with_output()
        .map_err(|error| wrong(error.to_string()))?;
    Ok((output.status.success(), output.stdout))
}

/// A key of a credential file as `HOST[/PATH]`: docker writes URLs, and has several names for its own.
pub(super) fn plain_key(key: &str) -> String {
    let key = key.strip_prefix("https://").unwrap_or(key);
    let key = key.strip_prefix("http://").unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key
        .strip_suffix("/v1")
        .or(key.strip_suffix("/v2"))
        .unwrap_or(key);
    let (host, path) = match key.split_once('/') {
        Some((host, path)) => (host, Some(path)),
        None => (key, None),
    };
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => HUB,
        host => host,
    };
    match path {
        Some(path) => format!("{host}/{path}"),
        None => host.to_owned(),
    }
}

/// How docker itself writes a key.
pub(super) fn written_key(registry: &str) -> &str {
    if registry == HUB { HUB_KEY } else { registry }
}

#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(json: &[u8]) {
    if let Ok(document) = serde_json::from_slice::<Document>(json) {
        for (key, entry) in document.auths {
            drop((plain_key(&key), entry.credentials()));
        }
    }
    drop(serde_json::from_slice::<Helped>(json));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password(user.to_owned(), password.to_owned())
    }

    #[test]
    fn root_of_a_users_namespace_is_that_user_outside() {
        let maps = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(place_outside(maps, 0), Some(1000));
        assert_eq!(place_outside(maps, 65534), Some(165_533));
        assert_eq!(place_outside("0 0 4294967295", 1000), Some(1000));
        for odd in ["", "0 1000", "x y z", "1 100000 65536", "0 4294967295 2"] {
            assert!(
                place_outside(odd, 0).is_none_or(|uid| uid == u32::MAX),
                "{odd}"
            );
        }
    }

    #[test]
    fn the_longest_beginning_of_the_name_wins() {
        let document: Document = serde_json::from_str(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOnNlY3JldA=="},
                "r.example:5000": {"auth": "aG9zdDphOmI="},
                "r.example:5000/team/app": {"auth": "YXBwOngK", "identitytoken": "t"},
                "empty.example": {}
            }}"#,
        )
        .unwrap();
        let find = |name: &str| {
            let host = name.split('/').next().unwrap();
            document.find(name, host).unwrap()
        };
        assert_eq!(find("docker.io/library/a"), Some(password("hub", "secret")));
        assert_eq!(
            find("r.example:5000/team/other"),
            Some(password("host", "a:b"))
        );
        assert_eq!(
            find("r.example:5000/team/app"),
            Some(Credentials::Identity("t".to_owned()))
        );
        assert_eq!(
            find("r.example:5000/team/application"),
            Some(password("host", "a:b"))
        );
        for none in ["r.example/team/app", "empty.example/a", "other.example/a"] {
            assert_eq!(find(none), None, "{none}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", password("u", "hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
