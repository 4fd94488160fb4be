//! Events on their way to containerd: in order, one at a time, each until containerd has answered for it.
//!
//! What cannot be delivered waits. containerd may be gone for as long as it likes; a few hundred bytes for
//! each event are the price of losing none.

use crate::messages::events::{Envelope, Event, ForwardRequest};
use crate::messages::rpc::{Request, Response};
use crate::messages::{Any, Timestamp};
use crate::wire::connection::Connection;
use crate::wire::frame::{self, Kind, Read};
use prost::Message;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The service that takes them.
const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";

/// How long containerd may take to answer for one.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// Between two attempts, at first and at last.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How often an event is offered that containerd says it cannot mean. There should be none; one that is refused for
/// ever must not hold up all others.
const REFUSALS: u32 = 5;

/// `InvalidArgument` and `Unimplemented`: no later attempt would end otherwise. All else may pass.
const HOPELESS: [i32; 2] = [3, 12];

/// Events, and the connection they go over.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// `None` where containerd has not said where it listens: then nobody hears of anything.
    address: Option<PathBuf>,
    namespace: String,
    /// Payloads of calls, the first of which may be on its way.
    queue: VecDeque<Vec<u8>>,
    line: Option<Line>,
    /// Stream of the call that is not answered yet.
    asked: Option<u32>,
    refusals: u32,
    failures: u32,
}

/// A connection that is polled.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) connection: Connection,
    pub(crate) token: u64,
    stream: u32,
}

/// What is to be done after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing is to be delivered.
    Rest,
    /// An answer is awaited.
    Listen,
    /// It is to be tried again after this long.
    Retry(Duration),
}

/// What containerd has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing that is wrong.
    Well,
    /// It did not take an event.
    Refusal,
    /// The connection is of no more use.
    End,
}

impl Publisher {
    pub(crate) fn new(address: Option<PathBuf>, namespace: &str) -> Publisher {
        Publisher {
            address,
            namespace: namespace.to_owned(),
            queue: VecDeque::new(),
            line: None,
            asked: None,
            refusals: 0,
            failures: 0,
        }
    }

    /// Puts an event behind all others.
    pub(crate) fn put<E: Event>(&mut self, event: &E) {
        if self.address.is_none() {
            return;
        }
        let envelope = Envelope {
            timestamp: Some(Timestamp::from(SystemTime::now())),
            namespace: self.namespace.clone(),
            topic: E::TOPIC.to_owned(),
            event: Some(Any::of(E::NAME, event)),
        };
        let forward = ForwardRequest {
            envelope: Some(envelope),
        };
        self.queue.push_back(forward.encode_to_vec());
    }

    /// Is everything delivered?
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// A new connection, not polled yet. `None` where there is one, or nobody listens.
    pub(crate) fn dial(&self) -> Option<Connection> {
        if self.line.is_some() || self.queue.is_empty() {
            return None;
        }
        reach(self.address.as_deref()?).ok().map(Connection::new)
    }

    /// The connection, once it is polled.
    pub(crate) fn connected(&mut self, connection: Connection, token: u64) {
        self.line = Some(Line {
            connection,
            token,
            stream: 1,
        });
    }

    /// Sends the first event, unless it is on its way.
    pub(crate) fn send(&mut self) -> Next {
        if self.asked.is_some() {
            return Next::Listen;
        }
        let Some(payload) = self.queue.front() else {
            return Next::Rest;
        };
        let Some(line) = &mut self.line else {
            return self.again();
        };
        let request = Request {
            service: SERVICE.to_owned(),
            method: "Forward".to_owned(),
            payload: payload.clone(),
            timeout_nano: i64::try_from(ANSWER.as_nanos()).unwrap_or(0),
            metadata: Vec::new(),
        };
        let stream = line.stream;
        line.stream = line.stream.wrapping_add(2);
        // What cannot be sent at once would be one event of a few hundred bytes: containerd does not read.
        match line.connection.send(&frame::request(stream, &request)) {
            Ok(()) => {
                self.asked = Some(stream);
                Next::Listen
            }
            Err(_end) => self.again(),
        }
    }

    /// Takes what containerd says.
    pub(crate) fn hear(&mut self, buffer: &mut [u8]) -> Heard {
        let mut heard = Heard::Well;
        let Some(line) = &mut self.line else {
            return heard;
        };
        if line.connection.flush().is_err() || line.connection.receive(buffer).is_err() {
            return Heard::End;
        }
        while let Some(read) = line.connection.next() {
            let Read::Frame {
                stream,
                kind: Kind::Response,
                payload,
            } = read
            else {
                return Heard::End;
            };
            if self.asked != Some(stream) {
                continue;
            }
            self.asked = None;
            let said = Response::decode(&*payload).ok();
            let code = said.and_then(|said| said.status).map_or(0, |it| it.code);
            if code != 0 {
                self.refusals += u32::from(HOPELESS.contains(&code));
                heard = Heard::Refusal;
            }
            if code == 0 || self.refusals >= REFUSALS {
                (self.refusals, self.failures) = (0, 0);
                self.queue.pop_front();
            }
        }
        heard
    }

    /// Gives the connection up; what was on its way goes again over the next one.
    pub(crate) fn hang_up(&mut self) -> Option<Line> {
        self.asked = None;
        self.line.take()
    }

    /// Is an answer awaited?
    pub(crate) fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    fn again(&mut self) -> Next {
        Next::Retry(self.failed())
    }

    /// Something went wrong; how long nothing is tried then.
    pub(crate) fn failed(&mut self) -> Duration {
        let (first, last) = RETRY;
        let wait = first.saturating_mul(1 << self.failures.min(10)).min(last);
        self.failures = self.failures.saturating_add(1);
        wait
    }
}

/// A connection to a socket of the file system. One whose owner does not take connections is as good as
/// none: nothing here waits.
fn reach(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(path)?;
    connect(&socket, &address)?;
    Ok(socket)
}
