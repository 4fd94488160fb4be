//! Registries that lie, break off, stall or send us elsewhere: what is said, what is kept, and who learns a
//! password.

mod documents;
mod redirects;
mod tokens;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::registry::faulty::Truth;
use hostrun_integration::registry::{Body, FaultyRegistry, Reply, Request};
use hostrun_integration::{Outcome, Stage, on_stage_of_hostrun};

const REASON: &str = "runc knows no registries";

/// What every fault is tried with: a plain registry that is given up soon.
const FLAGS: [&str; 5] = ["--tls-verify=false", "--timeout", "1", "--retry", "1"];

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn pull(stage: &Stage, more: &[&str], name: &str) -> Result<Outcome> {
    let words = [&["pull", "-q"], &FLAGS[..], more, &[name]].concat();
    stage.call(words).run()
}

/// A test with an image that servers can be made of.
fn with_truth(test: impl FnOnce(&Stage, &Truth) -> Result<()>) -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let image = Image::new(stage.dir())?;
        test(stage, &Truth::new(Path::new(&image.layout())))
    })
}

/// What of the blobs may be kept for the next pull, under the digest they must have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Nothing,
    /// Those that nothing was wrong with.
    Others,
    /// Also the one that broke off: it could still be right.
    Any,
}

/// Nothing of an image is there, and no work is left behind.
fn holds_nothing(stage: &Stage, kept: Kept) -> Result<()> {
    let store = stage.store().join("store");
    let is_other = |path: &Path| path.metadata().is_ok_and(|file| file.len() < 1000);
    for folder in [
        "images",
        "layers",
        "tmp",
        "trash",
        "blobs/sha256",
        "partial",
    ] {
        if folder == "partial" && kept == Kept::Any {
            continue;
        }
        let entries = fs::read_dir(store.join(folder)).into_iter().flatten();
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        // but for the largest, the layers of the image are of some hundred bytes
        names.retain(|path| folder != "partial" || kept == Kept::Nothing || !is_other(path));
        ensure!(names.is_empty(), "the store holds {names:?}");
    }
    Ok(())
}

/// A pull that must fail, with these words in the one line it says, before a time that is no accident.
fn fails(stage: &Stage, out: &Outcome, words: &str, kept: Kept) -> Result<()> {
    let said = out.stderr();
    assert_eq!(out.code(), 125, "{said}");
    let line = said
        .lines()
        .find(|line| line.starts_with("hostrun: ") && !line.contains("warning"))
        .with_context(|| format!("no error line: {said}"))?;
    ensure!(line.contains(words), "'{line}' does not say '{words}'");
    let is_plain = |c: char| !c.is_control();
    ensure!(line.chars().all(is_plain), "control bytes: {line:?}");
    holds_nothing(stage, kept)
}

fn is_largest(truth: &Truth, request: &Request) -> bool {
    let layers = truth.layers().unwrap_or_default();
    let largest = layers.first().map(String::as_str).unwrap_or_default();
    request.path.ends_with(&format!("/blobs/{largest}"))
}

fn is_manifest(request: &Request) -> bool {
    request.path.contains("/manifests/")
}

/// One fault: a server, what it makes us say, whether bytes may be kept.
fn fault(
    change: impl Fn(&Truth, &Request, Reply) -> Reply + Send + Sync + 'static,
    words: &str,
    kept: Kept,
) -> Result<()> {
    with_truth(|stage, truth| {
        let own = truth.clone();
        let server = FaultyRegistry::start(move |request| {
            let reply = own.answer(request);
            change(&own, request, reply)
        })?;
        let begun = Instant::now();
        let out = pull(stage, &[], &server.name("box:1"))?;
        fails(stage, &out, words, kept)?;
        ensure!(
            begun.elapsed() < Duration::from_secs(20),
            "it took too long"
        );
        // What was kept is of no harm: the same fault again, on a store that has met it.
        let again = pull(stage, &[], &server.name("box:1"))?;
        fails(stage, &again, words, kept)
    })
}

/// The manifest, changed as text.
fn manifest_with(
    edit: impl Fn(&Truth, String) -> String + Send + Sync + 'static,
) -> impl Fn(&Truth, &Request, Reply) -> Reply + Send + Sync + 'static {
    move |truth, request, reply| {
        if !is_manifest(request) {
            return reply;
        }
        let text = String::from_utf8_lossy(&reply.bytes).into_owned();
        Reply::bytes(MANIFEST, edit(truth, text))
    }
}

fn blob_with(
    edit: impl Fn(Reply) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Truth, &Request, Reply) -> Reply + Send + Sync + 'static {
    move |truth, request, reply| {
        if is_largest(truth, request) {
            edit(reply)
        } else {
            reply
        }
    }
}

#[test]
fn a_blob_that_breaks_off_again_and_again_is_given_up() -> Result<()> {
    let change = blob_with(|reply| reply.coming(Body::Cut(100)));
    fault(change, " of ", Kept::Any)
}

#[test]
fn a_blob_that_stalls_is_given_up() -> Result<()> {
    let change = blob_with(|reply| reply.coming(Body::Stall(100)));
    fault(change, "no answer in time", Kept::Any)
}

#[test]
fn a_blob_that_drips_is_given_up() -> Result<()> {
    let change = blob_with(|reply| reply.coming(Body::Drip));
    fault(change, "bytes in 1 s", Kept::Any)
}

#[test]
fn a_manifest_that_stalls_is_given_up() -> Result<()> {
    let change = |_: &Truth, request: &Request, reply: Reply| {
        if is_manifest(request) {
            reply.coming(Body::Stall(10))
        } else {
            reply
        }
    };
    fault(change, "no answer in time", Kept::Nothing)
}

#[test]
fn an_answer_that_never_begins_is_given_up() -> Result<()> {
    let change = |_: &Truth, request: &Request, reply: Reply| {
        if is_manifest(request) {
            std::thread::sleep(Duration::from_secs(3));
        }
        reply
    };
    fault(change, "no answer in time", Kept::Nothing)
}

#[test]
fn a_blob_that_claims_another_length_is_refused() -> Result<()> {
    let longer = blob_with(|mut reply| {
        reply.length = Some(reply.bytes.len() + 10);
        reply
    });
    fault(longer, "the manifest says", Kept::Others)?;
    let shorter = blob_with(|mut reply| {
        reply.length = Some(reply.bytes.len() - 10);
        reply
    });
    fault(shorter, "the manifest says", Kept::Others)
}

#[test]
fn a_blob_longer_than_the_manifest_says_is_refused() -> Result<()> {
    // in chunks there is no length to tell by
    let change = blob_with(|mut reply| {
        let mut bytes = format!("{:x}\r\n", reply.bytes.len() + 7).into_bytes();
        bytes.extend(&reply.bytes);
        bytes.extend(b"and more\r\n0\r\n\r\n".iter().skip(1));
        reply.bytes = bytes;
        reply.header("Transfer-Encoding", "chunked")
    });
    fault(change, "more than the", Kept::Any)
}

#[test]
fn a_blob_of_other_bytes_is_refused() -> Result<()> {
    let change = blob_with(|mut reply| {
        if let Some(byte) = reply.bytes.last_mut() {
            *byte ^= 1;
        }
        reply
    });
    // the last bytes of gzip are a sum of its own
    fault(change, "checksum", Kept::Others)
}

#[test]
fn errors_of_the_server_are_told_and_given_up() -> Result<()> {
    let status = |status: u16| move |_: &Truth, _: &Request, _: Reply| Reply::status(status);
    fault(status(500), "500 internal server error", Kept::Nothing)?;
    fault(status(404), "404 not found", Kept::Nothing)?;
    fault(status(403), "403 forbidden", Kept::Nothing)?;
    fault(status(418), "418", Kept::Nothing)
}

#[test]
fn a_server_that_asks_for_a_long_pause_is_given_up() -> Result<()> {
    let change =
        |_: &Truth, _: &Request, _: Reply| Reply::status(429).header("Retry-After", "9999");
    fault(change, "come back in 9999 s", Kept::Nothing)
}

#[test]
fn what_a_server_says_cannot_reach_the_terminal() -> Result<()> {
    let text = r#"{"errors":[{"code":"X","message":"\u001b[2J\r\nhostrun: all is well\u202e"}]}"#;
    let change = move |_: &Truth, _: &Request, _: Reply| {
        let mut reply = Reply::bytes("application/json", text);
        reply.status = 404;
        reply
    };
    fault(change, "404 not found: \\u{1b}[2J", Kept::Nothing)
}

/// A pull that goes on although something went wrong once; tells what was asked.
fn goes_on(
    change: impl Fn(&Truth, &Request, Reply) -> Reply + Send + Sync + 'static,
) -> Result<Vec<Request>> {
    let mut asked = Vec::new();
    with_truth(|stage, truth| {
        let own = truth.clone();
        let server = FaultyRegistry::start(move |request| {
            let reply = own.answer(request);
            change(&own, request, reply)
        })?;
        pull(stage, &[], &server.name("box:1"))?.ok()?;
        stage.call(["verify", "--deep"]).run()?.ok()?;
        asked = server.asked();
        Ok(())
    })?;
    Ok(asked)
}

#[test]
fn what_broke_off_once_goes_on_where_it_ended() -> Result<()> {
    let asked = goes_on(|truth, request, reply| {
        if is_largest(truth, request) && request.before == 0 {
            reply.coming(Body::Cut(50_000))
        } else {
            reply
        }
    })?;
    ensure!(asked.iter().any(|request| request.offset() == 50_000));
    Ok(())
}

#[test]
fn a_server_that_is_busy_once_is_asked_again_when_it_says() -> Result<()> {
    let begun = Instant::now();
    goes_on(|_, request, reply| {
        if is_manifest(request) && request.before == 0 {
            Reply::status(429).header("Retry-After", "1")
        } else {
            reply
        }
    })?;
    ensure!(begun.elapsed() >= Duration::from_secs(1), "it did not wait");
    goes_on(|_, request, reply| {
        if request.before == 0 {
            Reply::status(503)
        } else {
            reply
        }
    })
    .map(drop)
}

#[test]
fn a_server_that_knows_no_parts_gives_the_whole_again() -> Result<()> {
    let broken =
        |truth: &Truth, request: &Request| is_largest(truth, request) && request.before == 0;
    // 200 in answer to a range
    goes_on(move |truth, request, reply| {
        if broken(truth, request) {
            return reply.coming(Body::Cut(50_000));
        }
        if reply.status == 206 {
            let whole = Request {
                headers: [].into(),
                ..request.clone()
            };
            return truth.answer(&whole);
        }
        reply
    })?;
    // 416, although there is more
    goes_on(move |truth, request, reply| {
        if broken(truth, request) {
            return reply.coming(Body::Cut(50_000));
        }
        if reply.status == 206 {
            return Reply::status(416);
        }
        reply
    })?;
    // another part than was asked for
    goes_on(move |truth, request, mut reply| {
        if broken(truth, request) {
            return reply.coming(Body::Cut(50_000));
        }
        if reply.status == 206 {
            reply.headers.retain(|(name, _)| name != "Content-Range");
            return reply.header("Content-Range", "bytes 0-9/10");
        }
        reply
    })
    .map(drop)
}
