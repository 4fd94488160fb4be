//! Whoever has the socket of a pull, and be it the process that unpacks what strangers made, can have nothing sent.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests panic on purpose"
)]

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use hostrun_image_store::Digest;
use hostrun_image_store::registry::wire::{
    Ask, Fault, Kind, MESSAGE_MAX, Manifest, Purpose, Setup, Trouble, ask, pair, receive,
};

/// The program, ready for an image that is nowhere.
fn started(purpose: Purpose) -> (Child, OwnedFd) {
    let (control, theirs) = pair().unwrap();
    let program = Command::new(env!("CARGO_BIN_EXE_hostrun-remote"))
        .stdin(Stdio::from(theirs))
        .spawn()
        .unwrap();
    let setup = Setup {
        image: "127.0.0.1:1/box:1".to_owned(),
        purpose,
        attempts: 1,
        ..Setup::default()
    };
    ask(&control, &setup, &[]).unwrap();
    let mut buffer = vec![0; MESSAGE_MAX];
    let (kind, count) = receive(&control, &mut buffer).unwrap();
    let said = String::from_utf8_lossy(&buffer[..count]).into_owned();
    assert_eq!(kind, Kind::Head, "{said}");
    (program, control)
}

/// What it answers to a question with a file.
fn trouble(control: &OwnedFd, question: &Ask) -> Trouble {
    let (ours, theirs) = pair().unwrap();
    let file = tempfile::tempfile().unwrap();
    ask(control, question, &[theirs.as_fd(), file.as_fd()]).unwrap();
    drop(theirs);
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        let (kind, count) = receive(&ours, &mut buffer).unwrap();
        if kind == Kind::Trouble {
            return serde_json::from_slice(&buffer[..count]).unwrap();
        }
    }
}

fn questions() -> Vec<(Ask, &'static [Purpose])> {
    let digest = || Digest::parse(&format!("sha256:{}", "0".repeat(64))).unwrap();
    let (size, mount) = (6, None);
    vec![
        (
            Ask::Manifest(Manifest::Named),
            &[Purpose::Pull, Purpose::Push],
        ),
        (
            Ask::Blob {
                digest: digest(),
                size,
                offset: 0,
            },
            &[Purpose::Pull, Purpose::Push],
        ),
        (Ask::Login, &[Purpose::Login]),
        (
            Ask::Exists {
                digest: digest(),
                mount: mount.clone(),
            },
            &[Purpose::Push],
        ),
        (
            Ask::Upload {
                digest: digest(),
                size,
                mount,
            },
            &[Purpose::Push],
        ),
        (
            Ask::Publish {
                media_type: String::new(),
                digest: digest(),
                size,
            },
            &[Purpose::Push],
        ),
    ]
}

#[test]
fn a_question_that_is_not_of_the_purpose_is_refused() {
    for purpose in [Purpose::Pull, Purpose::Push, Purpose::Login] {
        let (mut program, control) = started(purpose);
        for (question, purposes) in questions() {
            let trouble = trouble(&control, &question);
            let is_refused = trouble.cause.contains("not what it was started for");
            assert_eq!(
                is_refused,
                !purposes.contains(&purpose),
                "{purpose:?} {question:?}: {}",
                trouble.cause
            );
            // nobody listens there
            let expected = if is_refused {
                Fault::Invalid
            } else {
                Fault::Network
            };
            assert_eq!(trouble.fault, expected, "{purpose:?} {question:?}");
        }
        drop(control);
        program.wait().unwrap();
    }
}
