//! Indexes and manifests.

use std::io::Read;

use hostrun_image_store::registry::wire::{Document, Manifest};
use ureq::Body;
use ureq::http::header::CONTENT_TYPE;
use ureq::http::{Method, Response};

use super::Session;
use super::outlet::Outlet;
use crate::exchange::{self, Question};
use crate::failure::{Failure, of_io};
use crate::pace::Pace;

/// What we understand, the index first: it is what knows the platforms.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json, \
                      application/vnd.oci.image.manifest.v1+json, \
                      application/vnd.docker.distribution.manifest.v2+json";

/// Most bytes that are held here; the store has a limit of its own.
const BYTES_MAX: u64 = 64 << 20;

/// Bytes handed on at once.
const PIECE: usize = 64 * 1024;

/// Answers with a manifest. It is read whole before any of it is handed on, so that another place may be
/// asked where this one breaks off.
pub(super) fn manifest(
    session: &Session,
    which: &Manifest,
    outlet: &Outlet,
) -> Result<(), Failure> {
    let version = match which {
        Manifest::Named => session.version.clone(),
        Manifest::Tag(tag) => tag.clone(),
        Manifest::Digest(digest) => digest.to_string(),
    };
    let (media_type, bytes) = session.persist(outlet, |endpoint, _tries| {
        let address = endpoint.at(&format!("manifests/{version}"))?;
        let question = Question::new(Method::GET, address).header("Accept", ACCEPT);
        let response = exchange::ask(endpoint, &question)?;
        if response.status().as_u16() != 200 {
            return Err(exchange::refusal(response).at(endpoint.name()));
        }
        let media_type = exchange::text(response.headers(), CONTENT_TYPE.as_str());
        let bytes = whole(session, response).map_err(|failure| failure.at(endpoint.name()))?;
        Ok((media_type, bytes))
    })?;
    outlet.head(&Document { media_type })?;
    for piece in bytes.chunks(PIECE) {
        outlet.data(piece)?;
    }
    Ok(())
}

fn whole(session: &Session, response: Response<Body>) -> Result<Vec<u8>, Failure> {
    let mut body = response
        .into_body()
        .into_with_config()
        .limit(BYTES_MAX)
        .reader();
    let mut pace = Pace::new(session.patience);
    let mut bytes = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let count = body.read(&mut piece).map_err(|error| of_io(&error))?;
        if count == 0 {
            return Ok(bytes);
        }
        pace.came(count)?;
        bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
}
