//! What goes to a registry: blobs it does not have, in pieces that can be sent again, then the manifest.

use std::fs::File;

use hostrun_image_store::Digest;
use hostrun_image_store::registry::wire::Stored;
use ureq::Body;
use ureq::http::header::{LOCATION, RANGE};
use ureq::http::{Method, Response};

use super::Session;
use super::outlet::Outlet;
use crate::address::Address;
use crate::endpoint::Endpoint;
use crate::exchange::{self, Question};
use crate::failure::{Again, Failure};

/// Bytes sent at once: what is lost when a connection breaks.
const PIECE: u64 = 16 << 20;

/// Tells whether the registry has a blob, or can have it from another repository.
pub(super) fn exists(
    session: &Session,
    digest: &Digest,
    mount: Option<&str>,
    outlet: &Outlet,
) -> Result<(), Failure> {
    let was_there = session.persist(outlet, |endpoint, _tries| {
        if has(endpoint, digest)? {
            return Ok(true);
        }
        let Some(from) = mount else {
            return Ok(false);
        };
        let begun = begin(endpoint, digest, Some(from)).map_err(|f| f.at(endpoint.name()))?;
        let Some(address) = begun else {
            return Ok(true);
        };
        // An upload was begun in its place, which is none; the registry forgets it by itself, too.
        drop(exchange::ask(
            endpoint,
            &Question::new(Method::DELETE, address),
        ));
        Ok(false)
    })?;
    outlet.head(&Stored { was_there })
}

fn has(endpoint: &Endpoint, digest: &Digest) -> Result<bool, Failure> {
    let address = endpoint.at(&format!("blobs/{digest}"))?;
    let response = exchange::ask(endpoint, &Question::new(Method::HEAD, address))?;
    match response.status().as_u16() {
        200 => Ok(true),
        404 => Ok(false),
        _ => Err(exchange::refusal(response).at(endpoint.name())),
    }
}

/// Sends a blob, unless it is there, or can be had from another repository of the registry.
pub(super) fn blob(
    session: &Session,
    digest: &Digest,
    size: u64,
    mount: Option<&str>,
    file: &File,
    outlet: &Outlet,
) -> Result<(), Failure> {
    let was_there = session.persist(outlet, |endpoint, _tries| {
        if has(endpoint, digest)? {
            return Ok(true);
        }
        let begun = begin(endpoint, digest, mount).map_err(|f| f.at(endpoint.name()))?;
        let Some(address) = begun else {
            return Ok(true);
        };
        let upload = Upload {
            endpoint,
            digest,
            size,
            file,
            outlet,
        };
        upload
            .send(address)
            .map(|()| false)
            .map_err(|failure| failure.at(endpoint.name()))
    })?;
    outlet.head(&Stored { was_there })
}

/// Where the bytes go; none when the registry could take them from another repository.
fn begin(
    endpoint: &Endpoint,
    digest: &Digest,
    mount: Option<&str>,
) -> Result<Option<Address>, Failure> {
    let mut address = endpoint.at("blobs/uploads/")?;
    if let Some(from) = mount {
        endpoint.want(format!("repository:{from}:pull"));
        address = address
            .with("mount", &digest.to_string())
            .with("from", from);
    }
    let asked = address.clone();
    let response = exchange::ask(endpoint, &Question::new(Method::POST, address))?;
    match response.status().as_u16() {
        201 => Ok(None),
        202 => next(&asked, &response).map(Some),
        _ => Err(exchange::refusal(response)),
    }
}

/// Where the next piece goes. It may be another host, which is then not shown our pass.
fn next(here: &Address, response: &Response<Body>) -> Result<Address, Failure> {
    let location = exchange::text(response.headers(), LOCATION.as_str());
    here.join(&location.ok_or_else(|| Failure::network("it does not say where to send to"))?)
}

struct Upload<'a> {
    endpoint: &'a Endpoint,
    digest: &'a Digest,
    size: u64,
    file: &'a File,
    outlet: &'a Outlet,
}

impl Upload<'_> {
    fn send(&self, mut address: Address) -> Result<(), Failure> {
        let mut at = 0;
        let mut broken = 0;
        while at < self.size {
            let length = PIECE.min(self.size - at);
            let question = Question::new(Method::PATCH, address.clone())
                .header("Content-Type", "application/octet-stream")
                .header("Content-Range", format!("{at}-{}", at + length - 1))
                .payload(self.file, at, length);
            let sent = exchange::ask(self.endpoint, &question).and_then(|response| match response
                .status()
                .as_u16()
            {
                202 => next(&address, &response),
                _ => Err(exchange::refusal(response)),
            });
            match sent {
                Ok(after) => {
                    address = after;
                    at += length;
                    broken = 0;
                    self.outlet.progress(at)?;
                }
                Err(failure) if failure.again != Again::Never && broken < 3 => {
                    broken += 1;
                    // What of the piece has got there?
                    (address, at) = self.ask_where(&address).map_err(|_lost| failure)?;
                }
                Err(failure) => return Err(failure),
            }
        }
        let question = Question::new(
            Method::PUT,
            address.with("digest", &self.digest.to_string()),
        )
        .header("Content-Type", "application/octet-stream");
        let response = exchange::ask(self.endpoint, &question)?;
        match response.status().as_u16() {
            201 | 204 => Ok(()),
            _ => Err(exchange::refusal(response)),
        }
    }

    /// How far the registry has got.
    fn ask_where(&self, address: &Address) -> Result<(Address, u64), Failure> {
        let question = Question::new(Method::GET, address.clone());
        let response = exchange::ask(self.endpoint, &question)?;
        if response.status().as_u16() != 204 {
            return Err(exchange::refusal(response));
        }
        let range = exchange::text(response.headers(), RANGE.as_str()).unwrap_or_default();
        let last: Option<u64> = range.rsplit('-').next().and_then(|last| last.parse().ok());
        let last = last.ok_or_else(|| Failure::network("it does not say what it has"))?;
        // Zero is said of nothing and of one byte; the first byte can be sent once more.
        let at = if last == 0 { 0 } else { last.saturating_add(1) };
        Ok((next(address, &response)?, at.min(self.size)))
    }
}

/// Puts the manifest under its name.
pub(super) fn manifest(
    session: &Session,
    media_type: &str,
    digest: &Digest,
    size: u64,
    file: &File,
    outlet: &Outlet,
) -> Result<(), Failure> {
    let version = match session.version.as_str() {
        "" => digest.to_string(),
        named => named.to_owned(),
    };
    session.persist(outlet, |endpoint, _tries| {
        let address = endpoint.at(&format!("manifests/{version}"))?;
        let question = Question::new(Method::PUT, address)
            .header("Content-Type", media_type)
            .payload(file, 0, size);
        let response = exchange::ask(endpoint, &question)?;
        match response.status().as_u16() {
            200..=202 => Ok(()),
            _ => Err(exchange::refusal(response).at(endpoint.name())),
        }
    })
}
