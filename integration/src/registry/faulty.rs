//! A registry of our own that answers as a test wants it to: the truth of an image's layout, or anything else.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What came with it.
    pub body: Vec<u8>,
    /// How many requests for the same path came before it.
    pub before: usize,
}

impl Request {
    /// The byte that an answer is to begin with.
    pub fn offset(&self) -> usize {
        let range = self.headers.get("range");
        let first = range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next());
        first.and_then(|first| first.parse().ok()).unwrap_or(0)
    }

    /// Whether somebody's password or token is in it.
    pub fn has_pass(&self) -> bool {
        self.headers.contains_key("authorization")
    }
}

/// How the bytes of an answer come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// As they should.
    Whole,
    /// So many of them, then the connection is closed.
    Cut(usize),
    /// So many of them, then nothing more, and nothing ends.
    Stall(usize),
    /// One now and then.
    Drip,
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// All but the length.
    pub headers: Vec<(String, String)>,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The length that is claimed, where it is not the truth.
    pub length: Option<usize>,
    /// How the bytes come.
    pub body: Body,
}

impl Reply {
    /// A status and nothing else.
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: vec![],
            bytes: vec![],
            length: None,
            body: Body::Whole,
        }
    }

    /// Bytes of a type.
    pub fn bytes(media_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let mut reply = Self::status(200).header("Content-Type", media_type);
        reply.bytes = bytes.into();
        reply
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With its bytes coming otherwise.
    #[must_use]
    pub fn coming(mut self, body: Body) -> Self {
        self.body = body;
        self
    }
}

/// An image as it should be served.
#[derive(Debug, Clone)]
pub struct Truth {
    layout: PathBuf,
}

impl Truth {
    /// Of an OCI layout.
    pub fn new(layout: &Path) -> Self {
        Self {
            layout: layout.to_owned(),
        }
    }

    /// The digest of its manifest.
    ///
    /// # Errors
    /// When it is no layout.
    pub fn manifest(&self) -> Result<String> {
        let index: Value = serde_json::from_slice(&fs::read(self.layout.join("index.json"))?)?;
        let digest = index.pointer("/manifests/0/digest").and_then(Value::as_str);
        Ok(digest.context("no manifest")?.to_owned())
    }

    /// A blob.
    ///
    /// # Errors
    /// When there is none.
    pub fn blob(&self, digest: &str) -> Result<Vec<u8>> {
        Ok(fs::read(
            self.layout.join("blobs").join(digest.replace(':', "/")),
        )?)
    }

    /// The manifest as text.
    ///
    /// # Errors
    /// When it is no layout.
    pub fn document(&self) -> Result<String> {
        Ok(String::from_utf8(self.blob(&self.manifest()?)?)?)
    }

    /// The digests of its layers, the largest first.
    ///
    /// # Errors
    /// When it is no layout.
    pub fn layers(&self) -> Result<Vec<String>> {
        let manifest: Value = serde_json::from_str(&self.document()?)?;
        let layers = manifest.get("layers").and_then(Value::as_array);
        let mut layers: Vec<(u64, String)> = layers
            .into_iter()
            .flatten()
            .filter_map(|layer| {
                let size = layer.get("size")?.as_u64()?;
                Some((size, layer.get("digest")?.as_str()?.to_owned()))
            })
            .collect();
        layers.sort_by_key(|(size, _)| u64::MAX - size);
        Ok(layers.into_iter().map(|(_, digest)| digest).collect())
    }

    /// The honest answer.
    pub fn answer(&self, request: &Request) -> Reply {
        let last = request.path.rsplit('/').next().unwrap_or_default();
        if request.path == "/v2/" {
            return Reply::bytes("application/json", "{}");
        }
        if request.path.contains("/manifests/") {
            let digest = self.manifest().unwrap_or_default();
            let known = !last.contains(':') || last == digest;
            let bytes = self.blob(&digest).unwrap_or_default();
            let kind = "application/vnd.oci.image.manifest.v1+json";
            return if known {
                Reply::bytes(kind, bytes)
            } else {
                Reply::status(404)
            };
        }
        match self.blob(last) {
            Ok(bytes) if request.path.contains("/blobs/") => part(request, &bytes),
            _ => Reply::status(404),
        }
    }
}

/// Bytes from where they were asked for.
fn part(request: &Request, bytes: &[u8]) -> Reply {
    let kind = "application/octet-stream";
    let offset = request.offset();
    if offset == 0 {
        return Reply::bytes(kind, bytes);
    }
    let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) else {
        return Reply::status(416);
    };
    let range = format!("bytes {offset}-{}/{}", bytes.len() - 1, bytes.len());
    let mut reply = Reply::bytes(kind, rest).header("Content-Range", &range);
    reply.status = 206;
    reply
}

/// A running server.
#[derive(Debug)]
pub struct FaultyRegistry {
    port: u16,
    asked: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicBool>,
}

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

impl FaultyRegistry {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = Self {
            port: listener.local_addr()?.port(),
            asked: Arc::default(),
            ended: Arc::default(),
        };
        let (asked, ended) = (Arc::clone(&server.asked), Arc::clone(&server.ended));
        let answer: Arc<Answer> = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let (answer, asked, ended) =
                    (Arc::clone(&answer), Arc::clone(&asked), Arc::clone(&ended));
                std::thread::spawn(move || serve(&stream, &*answer, &asked, &ended));
            }
        });
        Ok(server)
    }

    /// `HOST:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A name in it.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host())
    }

    /// All that was asked so far, but for the question whether it speaks TLS.
    pub fn asked(&self) -> Vec<Request> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // So that the listener looks.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Requests of one connection, until one is answered so that nothing can follow.
fn serve(stream: &TcpStream, answer: &Answer, asked: &Mutex<Vec<Request>>, ended: &AtomicBool) {
    let mut reader = BufReader::new(stream);
    while let Some(mut request) = read(&mut reader) {
        {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            request.before = asked.iter().filter(|old| old.path == request.path).count();
            asked.push(request.clone());
        }
        let reply = answer(&request);
        if write(stream, &request, &reply, ended).is_err() || reply.body != Body::Whole {
            break;
        }
        if reply.length.is_some() {
            break;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    // Bytes of TLS are no request.
    path.starts_with('/').then_some(())?;
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length");
    let length: u64 = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body).ok()?;
    Some(Request {
        method,
        path,
        headers,
        body,
        before: 0,
    })
}

fn write(
    mut stream: &TcpStream,
    request: &Request,
    reply: &Reply,
    ended: &AtomicBool,
) -> io::Result<()> {
    let length = reply.length.unwrap_or(reply.bytes.len());
    let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
    if !reply
        .headers
        .iter()
        .any(|(name, _)| name == "Transfer-Encoding")
    {
        head.extend(["Content-Length: ", &length.to_string(), "\r\n"]);
    }
    for (name, value) in &reply.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head += "\r\n";
    stream.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    let some = |count: usize| reply.bytes.get(..count).unwrap_or(&reply.bytes);
    match reply.body {
        Body::Whole => stream.write_all(&reply.bytes),
        Body::Cut(count) => stream.write_all(some(count)),
        Body::Stall(count) => {
            stream.write_all(some(count))?;
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
        Body::Drip => {
            for byte in &reply.bytes {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                stream.write_all(&[*byte])?;
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        }
    }
}
