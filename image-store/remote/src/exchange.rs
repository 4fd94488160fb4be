//! One question to a registry and its answer, with all it takes: being let in, and being sent elsewhere.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use hostrun_image_store::registry::wire::Fault;
use serde::Deserialize;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION, RETRY_AFTER};
use ureq::http::{self, HeaderMap, Method, Response, StatusCode};
use ureq::{Body, SendBody};

use crate::address::{Address, shown};
use crate::endpoint::Endpoint;
use crate::failure::{Again, Failure, of_request};
use crate::token;

/// Most places one question may be sent on to.
const REDIRECTS_MAX: usize = 10;
/// How often we show what we have: once what is out of date, once what is new.
const PASSES_MAX: usize = 2;
/// Most bytes of an error's text that are looked at.
const ERROR_MAX: u64 = 8 * 1024;

/// A question.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) address: Address,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) payload: Payload<'a>,
}

/// What goes with it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Payload<'a> {
    None,
    /// A part of a file.
    Part {
        file: &'a File,
        from: u64,
        length: u64,
    },
}

impl<'a> Question<'a> {
    pub(crate) fn new(method: Method, address: Address) -> Self {
        Self {
            method,
            address,
            headers: Vec::new(),
            payload: Payload::None,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn payload(mut self, file: &'a File, from: u64, length: u64) -> Self {
        self.payload = Payload::Part { file, from, length };
        self
    }
}

/// Asks. Every status but 401 and the redirects of a question without payload comes back.
///
/// Our pass is shown to the registry alone: to the same scheme, host and port (CVE-2020-15157). Whoever
/// else wants one gets none.
pub(crate) fn ask(endpoint: &Endpoint, question: &Question<'_>) -> Result<Response<Body>, Failure> {
    let own = endpoint.origin()?.clone();
    let mut address = question.address.clone();
    let (mut passes, mut redirects) = (0, 0);
    loop {
        let is_own = address.origin == own;
        let pass = endpoint.pass().clone().filter(|_| is_own);
        let response = send(endpoint, question, &address, pass.as_deref())
            .map_err(|failure| failure.at(&address.origin))?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            if !is_own {
                let cause = format!("{own} sends us there, and it wants credentials");
                return Err(Failure::new(Fault::Denied, cause).at(&address.origin));
            }
            if passes == PASSES_MAX || (passes > 0 && endpoint.credentials().is_none()) {
                return Err(token::locked(endpoint));
            }
            passes += 1;
            token::authenticate(endpoint, response.headers())?;
            continue;
        }
        let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
        if !is_redirect || !matches!(question.method, Method::GET | Method::HEAD) {
            return Ok(response);
        }
        redirects += 1;
        if redirects > REDIRECTS_MAX {
            let cause = format!("more than {REDIRECTS_MAX} redirects");
            return Err(Failure::network(cause).at(&own));
        }
        let location = text(response.headers(), LOCATION.as_str())
            .ok_or_else(|| Failure::network("a redirect to nowhere").at(&address.origin))?;
        address = address
            .join(&location)
            .map_err(|failure| failure.at(&address.origin))?;
    }
}

fn send(
    endpoint: &Endpoint,
    question: &Question<'_>,
    address: &Address,
    pass: Option<&str>,
) -> Result<Response<Body>, Failure> {
    let wrong = |error: http::Error| Failure::network(error.to_string());
    let uri = address
        .uri()
        .ok_or_else(|| Failure::network("no address"))?;
    let mut request = http::Request::builder().method(&question.method).uri(uri);
    for (name, value) in &question.headers {
        request = request.header(*name, value);
    }
    if let Some(pass) = pass {
        request = request.header(AUTHORIZATION, pass);
    }
    let client = endpoint.client(&address.origin);
    let answer = match question.payload {
        Payload::None if question.method == Method::GET || question.method == Method::HEAD => {
            client.run(request.body(()).map_err(wrong)?)
        }
        Payload::None => client.run(
            request
                .header(CONTENT_LENGTH, "0")
                .body(SendBody::none())
                .map_err(wrong)?,
        ),
        Payload::Part { file, from, length } => {
            let mut part = Part {
                file,
                at: from,
                left: length,
            };
            let body = SendBody::from_reader(&mut part);
            let request = request.header(CONTENT_LENGTH, length.to_string());
            client.run(request.body(body).map_err(wrong)?)
        }
    };
    answer.map_err(|error| of_request(&error))
}

struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self
            .file
            .read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// A header's text.
pub(crate) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.trim().to_owned())
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What an answer says that is not what was asked for, and whether it may be another the next time.
pub(crate) fn refusal(response: Response<Body>) -> Failure {
    let status = response.status();
    let pause = text(response.headers(), RETRY_AFTER.as_str())
        .and_then(|text| text.parse().ok())
        .map(Duration::from_secs);
    let said = said(response);
    let number = status.as_u16();
    let cause = match status.canonical_reason() {
        Some(reason) => format!("{number} {}", reason.to_ascii_lowercase()),
        None => number.to_string(),
    };
    let cause = if said.is_empty() {
        cause
    } else {
        format!("{cause}: {said}")
    };
    match number {
        404 => Failure::new(Fault::NotFound, cause),
        403 => Failure::new(Fault::Denied, cause),
        408 | 425 | 429 | 500 | 502 | 503 | 504 => {
            let again = pause.map_or(Again::Soon, Again::After);
            Failure::network(cause).again(again)
        }
        _ => Failure::network(cause),
    }
}

fn said(response: Response<Body>) -> String {
    let mut bytes = Vec::new();
    let body = response
        .into_body()
        .into_with_config()
        .limit(ERROR_MAX)
        .reader();
    // What came before it broke is enough to look at.
    body.take(ERROR_MAX)
        .read_to_end(&mut bytes)
        .unwrap_or_default();
    let Ok(errors) = serde_json::from_slice::<Errors>(&bytes) else {
        return String::new();
    };
    let first = errors.errors.into_iter().next();
    first.map_or_else(String::new, |said| {
        let text = if said.message.is_empty() {
            said.code
        } else {
            said.message
        };
        shown(&text)
    })
}
