//! Blobs, from any byte on, across connections and places.

use std::io::Read;

use hostrun_image_store::Digest;
use hostrun_image_store::registry::wire::MESSAGE_MAX;
use ureq::Body;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use ureq::http::{Method, Response};

use super::Session;
use super::outlet::Outlet;
use crate::endpoint::Endpoint;
use crate::exchange::{self, Question};
use crate::failure::{Again, Failure, of_io};
use crate::pace::Pace;

/// Bytes that make an attempt one that has got somewhere: after it, patience begins anew.
const PROGRESS: u64 = 1 << 20;

/// Where a download is.
struct Download<'a> {
    session: &'a Session,
    digest: &'a Digest,
    size: u64,
    at: u64,
    /// Asking for a part has failed: all of it is asked for, and the beginning thrown away.
    from_the_start: bool,
    outlet: &'a Outlet,
}

/// Answers with a blob.
pub(super) fn blob(
    session: &Session,
    digest: &Digest,
    size: u64,
    offset: u64,
    outlet: &Outlet,
) -> Result<(), Failure> {
    let mut download = Download {
        session,
        digest,
        size,
        at: offset,
        from_the_start: false,
        outlet,
    };
    session.persist(outlet, |endpoint, tries| {
        let before = download.at;
        let done = download.attempt(endpoint);
        if done.is_err() && download.at >= before.saturating_add(PROGRESS) {
            *tries = 0;
        }
        done.map_err(|failure| failure.at(endpoint.name()))
    })
}

impl Download<'_> {
    fn attempt(&mut self, endpoint: &Endpoint) -> Result<(), Failure> {
        let address = endpoint.at(&format!("blobs/{}", self.digest))?;
        let mut question = Question::new(Method::GET, address);
        let from = if self.from_the_start { 0 } else { self.at };
        if from > 0 {
            question = question.header("Range", format!("bytes={from}-"));
        }
        let response = exchange::ask(endpoint, &question)?;
        let begins = match response.status().as_u16() {
            200 => 0,
            206 if from > 0 => self.begin_of(&response, from)?,
            416 if from > 0 => {
                self.from_the_start = true;
                return Err(exchange::refusal(response).again(Again::Now));
            }
            _ => return Err(exchange::refusal(response)),
        };
        self.check_length(&response, begins)?;
        self.hand_on(response, begins)
    }

    /// The first byte of a part: what was asked for, or it is of no use.
    fn begin_of(&mut self, response: &Response<Body>, from: u64) -> Result<u64, Failure> {
        let range = exchange::text(response.headers(), CONTENT_RANGE.as_str()).unwrap_or_default();
        let begin = range
            .strip_prefix("bytes ")
            .and_then(|range| range.split('-').next()?.trim().parse().ok());
        if begin == Some(from) {
            return Ok(from);
        }
        self.from_the_start = true;
        let shown = crate::address::shown(&range);
        let cause = format!("asked for bytes from {from} on, it gives '{shown}'");
        Err(Failure::network(cause).again(Again::Now))
    }

    fn check_length(&self, response: &Response<Body>, begins: u64) -> Result<(), Failure> {
        let length = exchange::text(response.headers(), CONTENT_LENGTH.as_str());
        let length: Option<u64> = length.and_then(|length| length.parse().ok());
        let expected = self.size.saturating_sub(begins);
        match length {
            Some(length) if length != expected => Err(Failure::network(format!(
                "it has {} bytes of it, the manifest says {}",
                length.saturating_add(begins),
                self.size
            ))),
            _ => Ok(()),
        }
    }

    fn hand_on(&mut self, response: Response<Body>, begins: u64) -> Result<(), Failure> {
        let mut body = response
            .into_body()
            .into_with_config()
            .limit(u64::MAX)
            .reader();
        let mut pace = Pace::new(self.session.patience);
        let mut skip = self.at.saturating_sub(begins);
        let mut piece = vec![0; MESSAGE_MAX - 1];
        loop {
            let count = match body.read(&mut piece) {
                Ok(count) => count,
                Err(error) => {
                    let failure = of_io(&error);
                    let place = format!("after {} of {} bytes", self.at, self.size);
                    return Err(failure.at(place).again(Again::Soon));
                }
            };
            if count == 0 {
                break;
            }
            pace.came(count)?;
            let bytes = piece.get(..count).unwrap_or_default();
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(count);
            skip -= known as u64;
            let new = bytes.get(known..).unwrap_or_default();
            if new.is_empty() {
                continue;
            }
            self.at = self.at.saturating_add(new.len() as u64);
            if self.at > self.size {
                let cause = format!("more than the {} bytes of the manifest", self.size);
                return Err(Failure::network(cause));
            }
            self.outlet.data(new)?;
        }
        if self.at == self.size {
            return Ok(());
        }
        let cause = format!("it broke off after {} of {} bytes", self.at, self.size);
        Err(Failure::network(cause).again(Again::Soon))
    }
}
