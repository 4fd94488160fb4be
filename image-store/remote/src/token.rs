//! Being let in: what a registry wants after a 401, and where that is to be had.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hostrun_image_store::registry::wire::{Fault, Hint};
use serde::Deserialize;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use ureq::http::{HeaderMap, Method};
use ureq::{Body, http};

use crate::address::{Address, encoded};
use crate::challenge::{self, Challenge};
use crate::endpoint::Endpoint;
use crate::exchange;
use crate::failure::{Failure, of_request};
use crate::settings::Credentials;

/// Most bytes of a token server's answer.
const ANSWER_MAX: u64 = 256 * 1024;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// Gets what the registry asks for.
///
/// # Errors
/// `Denied` without credentials it takes.
pub(crate) fn authenticate(endpoint: &Endpoint, headers: &HeaderMap) -> Result<(), Failure> {
    let challenges: Vec<Challenge> = headers
        .get_all(WWW_AUTHENTICATE)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(challenge::parse)
        .collect();
    let mut bearers = challenges.iter().filter_map(|challenge| match challenge {
        Challenge::Bearer { realm, service } => Some((realm, service)),
        Challenge::Basic => None,
    });
    let pass = if let Some((realm, service)) = bearers.next() {
        let token = token(endpoint, realm, service.as_deref())?;
        format!("Bearer {token}")
    } else if challenges.contains(&Challenge::Basic) {
        match endpoint.credentials() {
            Some(Credentials::Password(user, password)) => basic(user, password),
            _ => return Err(locked(endpoint)),
        }
    } else {
        return Err(locked(endpoint));
    };
    *endpoint.pass() = Some(pass);
    Ok(())
}

/// The registry lets nobody in without more than we have.
pub(crate) fn locked(endpoint: &Endpoint) -> Failure {
    let cause = match endpoint.credentials() {
        Some(_) => "it does not take our credentials",
        None => "it wants credentials",
    };
    let failure = Failure::new(Fault::Denied, cause).hint(Hint::Login);
    failure.at(endpoint.name())
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A token, from wherever the registry says; the credentials are for the registry, and it is its business
/// whom it has check them (`auth.docker.io` of docker's), but they do not travel in the open.
fn token(endpoint: &Endpoint, realm: &str, service: Option<&str>) -> Result<String, Failure> {
    let realm = Address::parse(realm)?;
    refuse_the_open(endpoint, &realm)?;
    let place = realm.origin.to_string();
    let response = match endpoint.credentials() {
        Some(Credentials::Identity(identity)) => by_form(endpoint, &realm, service, identity),
        _ => by_query(endpoint, realm, service),
    };
    let response = response.map_err(|failure| failure.at(&place))?;
    let status = response.status().as_u16();
    if matches!(status, 400 | 401 | 403) {
        return Err(locked(endpoint));
    }
    if status != 200 {
        return Err(exchange::refusal(response).at(&place));
    }
    let nonsense = || Failure::network("no token in its answer").at(&place);
    let mut bytes = Vec::new();
    let mut body = response
        .into_body()
        .into_with_config()
        .limit(ANSWER_MAX)
        .reader();
    body.read_to_end(&mut bytes).map_err(|_broken| nonsense())?;
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|_json| nonsense())?;
    let token = answer
        .token
        .filter(|token| !token.is_empty())
        .or(answer.access_token);
    // It becomes a part of a header.
    token
        .filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()))
        .ok_or_else(nonsense)
}

fn refuse_the_open(endpoint: &Endpoint, realm: &Address) -> Result<(), Failure> {
    let own = endpoint.origin()?;
    let in_the_open = !realm.origin.secure;
    let leaks = endpoint.credentials().is_some() && realm.origin.host != own.host;
    if in_the_open && (own.secure || leaks) {
        let cause = format!("it wants us to get a token without TLS at {}", realm.origin);
        return Err(Failure::new(Fault::Denied, cause).at(endpoint.name()));
    }
    Ok(())
}

fn by_query(
    endpoint: &Endpoint,
    realm: Address,
    service: Option<&str>,
) -> Result<http::Response<Body>, Failure> {
    let mut address = realm;
    if let Some(service) = service {
        address = address.with("service", service);
    }
    for scope in endpoint.scopes() {
        address = address.with("scope", &scope);
    }
    let mut request = http::Request::builder().method(Method::GET);
    if let Some(Credentials::Password(user, password)) = endpoint.credentials() {
        address = address.with("account", user);
        request = request.header(AUTHORIZATION, basic(user, password));
    }
    let uri = address
        .uri()
        .ok_or_else(|| Failure::network("no address"))?;
    let request = request.uri(uri).body(());
    let request = request.map_err(|error| Failure::network(error.to_string()))?;
    let sent = endpoint.client(&address.origin).run(request);
    sent.map_err(|error| of_request(&error))
}

/// As OAuth 2 has it, for a token that gets tokens.
fn by_form(
    endpoint: &Endpoint,
    realm: &Address,
    service: Option<&str>,
    identity: &str,
) -> Result<http::Response<Body>, Failure> {
    let form = format!(
        "grant_type=refresh_token&client_id=hostrun&service={}&scope={}&refresh_token={}",
        encoded(service.unwrap_or_default()),
        encoded(&endpoint.scopes().join(" ")),
        encoded(identity)
    );
    let uri = realm.uri().ok_or_else(|| Failure::network("no address"))?;
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form);
    let request = request.map_err(|error| Failure::network(error.to_string()))?;
    let sent = endpoint.client(&realm.origin).run(request);
    sent.map_err(|error| of_request(&error))
}
