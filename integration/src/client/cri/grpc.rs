//! gRPC at a socket of a world: curl speaks HTTP/2, the messages are ours.

use anyhow::{Context as _, Result};
use prost::Message;

use crate::client::ttrpc::Status;
use crate::client::world::World;

const CURL: [&str; 11] = [
    "curl",
    "--silent",
    "--show-error",
    "--http2-prior-knowledge",
    "--max-time",
    "60",
    "--header",
    "content-type: application/grpc",
    "--header",
    "te: trailers",
    "--data-binary",
];

/// Calls `SERVICE/METHOD` and waits for the answer, a [`Status`] when the server refuses.
///
/// # Errors
/// A [`Status`], or when there is no answer within a minute.
pub(super) fn call<R: Message + Default>(
    world: &World,
    socket: &str,
    method: &str,
    request: &impl Message,
) -> Result<R> {
    let folder = tempfile::tempdir_in(world.dir())?;
    let body = folder.path().join("answer");
    let (url, output) = (format!("http://localhost/{method}"), body.to_string_lossy());
    let ends = ["--dump-header", "-", "--output", &output, &url];
    let words = ["@-", "--unix-socket", socket].into_iter().chain(ends);
    let call = world.call(CURL.into_iter().chain(words));
    let head = call.input(frame(request)?).run()?.ok();
    let status = status(&head.with_context(|| method.to_owned())?)?;
    if status.code != 0 {
        return Err(status.into());
    }
    let answer = std::fs::read(&body)?;
    // its first five bytes: how it is packed, and its length
    let message = answer.get(5..).context("an answer without a message")?;
    R::decode(message).context("an answer that is no such message")
}

/// A message as gRPC sends it: not packed, its length, itself.
fn frame(request: &impl Message) -> Result<Vec<u8>> {
    let message = request.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len())?.to_be_bytes());
    frame.extend(message);
    Ok(frame)
}

/// How a call ended, which is said behind the answer, or before it when there is none.
fn status(head: &str) -> Result<Status> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let fields: Vec<(&str, &str)> = fields.collect();
    let field = |name| {
        let found = fields.iter().find(|(own, _)| *own == name);
        found.map(|(_, value)| value.trim())
    };
    let code = field("grpc-status").with_context(|| format!("no status: {head}"))?;
    Ok(Status {
        code: code.parse()?,
        message: field("grpc-message").unwrap_or_default().to_owned(),
    })
}
