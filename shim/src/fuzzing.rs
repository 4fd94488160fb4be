//! Doors for fuzzers: what reads bytes of others.

use crate::arguments::Arguments;
use crate::bootstrap::{Call, Surroundings};
use crate::messages::options::CheckpointOptions;
use crate::messages::rpc::{Request, Response};
use crate::messages::{Any, task};
use crate::options::Options;
use crate::stdio::uri;
use crate::wire::frame::{Read, Reader};
use prost::Message;

/// Frames as a client sends them, cut into pieces of `step` bytes, and the messages in them; the number
/// of calls among them.
pub fn frames(bytes: &[u8], step: usize) -> usize {
    let mut reader = Reader::default();
    let mut calls = 0;
    for piece in bytes.chunks(step.max(1)) {
        reader.take(piece);
        while let Some(read) = reader.next() {
            let Read::Frame { payload, .. } = read else {
                continue;
            };
            Response::decode(&*payload).map(drop).unwrap_or_default();
            if let Ok(request) = Request::decode(&*payload) {
                calls += 1;
                message(&request.payload);
            }
        }
    }
    calls
}

/// The messages of calls, whichever it is meant to be.
fn message(bytes: &[u8]) {
    if let Ok(create) = task::CreateRequest::decode(bytes) {
        Options::read(create.options.as_ref())
            .map(drop)
            .unwrap_or_default();
        uri::parse(&create.stdout).map(drop).unwrap_or_default();
    }
    task::ExecRequest::decode(bytes)
        .map(drop)
        .unwrap_or_default();
    task::KillRequest::decode(bytes)
        .map(drop)
        .unwrap_or_default();
    task::UpdateRequest::decode(bytes)
        .map(drop)
        .unwrap_or_default();
    task::CheckpointRequest::decode(bytes)
        .map(drop)
        .unwrap_or_default();
    CheckpointOptions::decode(bytes)
        .map(drop)
        .unwrap_or_default();
    Any::decode(bytes).map(drop).unwrap_or_default();
}

/// What comes over standard input of `start`; is it a message of the newest kind?
pub fn bootstrap(bytes: &[u8]) -> bool {
    let arguments = Arguments {
        id: "web".to_owned(),
        namespace: "default".to_owned(),
        ..Arguments::default()
    };
    let call = Call::read(&arguments, &Surroundings::default(), bytes);
    !call.answer(&call.socket(&arguments, "web")).is_empty() && call.grpc.is_empty()
}
