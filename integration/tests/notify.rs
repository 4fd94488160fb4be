//! `sd_notify(3)`: what a payload says on its socket reaches whoever supervises the runtime.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use anyhow::{Result, ensure};
use hostrun_integration::host::wait_for;
use hostrun_integration::runtime::{Call, PATIENCE, Running};
use hostrun_integration::{Bundle, Stage, on_stage, on_stage_of_hostrun};

/// A supervisor's socket.
fn supervisor(stage: &Stage) -> Result<(UnixDatagram, String)> {
    let path = stage.dir().join("supervisor");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok((socket, format!("NOTIFY_SOCKET={}", path.display())))
}

fn heard(socket: &UnixDatagram) -> Result<String> {
    let mut buffer = [0_u8; 512];
    let length = socket.recv(&mut buffer)?;
    Ok(
        String::from_utf8_lossy(buffer.get(..length).unwrap_or_default())
            .trim()
            .to_owned(),
    )
}

/// A payload that shows that its socket is there, and stays.
fn payload(stage: &Stage) -> Result<Bundle> {
    let script = "test -S $NOTIFY_SOCKET && touch /seen; sleep 60";
    Ok(stage.bundle()?.shell(script))
}

/// Says what the payload would say, on the socket that it sees.
fn say(stage: &Stage, id: &str, words: &str) -> Result<()> {
    let path = stage.root().join(id).join("notify/notify.sock");
    UnixDatagram::unbound()?.send_to(words.as_bytes(), path)?;
    Ok(())
}

fn is_told(
    stage: &Stage,
    bundle: &Bundle,
    id: &str,
    socket: &UnixDatagram,
    call: Running,
) -> Result<()> {
    let seen = bundle.rootfs().join("seen");
    wait_for("the payload to see its socket", || {
        Path::new(&seen).exists()
    })?;
    say(stage, id, "STATUS=starting")?;
    say(stage, id, "READY=1\nSTATUS=up")?;
    assert_eq!(heard(socket)?, "READY=1");
    ensure!(heard(socket)?.starts_with("MAINPID="), "no pid");
    // runc sends one since 1.2; its pipe is closed with the message, for this receiver takes no
    // descriptors
    if !stage.runtime().is_runc() {
        assert_eq!(heard(socket)?, "BARRIER=1");
    }
    call.wait()?.ok()?;
    stage.call(["delete", "--force", id]).run()?.ok().map(drop)
}

fn notified(call: Call, variable: &str) -> Result<Running> {
    call.under(["env", variable]).spawn()
}

#[test]
fn start_waits_until_the_payload_is_ready_and_says_so() -> Result<()> {
    on_stage(|stage| {
        let (socket, variable) = supervisor(stage)?;
        let (bundle, id) = (payload(stage)?, stage.id());
        let dir = bundle.write()?.to_string_lossy().into_owned();
        notified(stage.call(["create", "--bundle", &dir, &id]), &variable)?
            .wait()?
            .ok()?;
        let start = notified(stage.call(["start", &id]), &variable)?;
        is_told(stage, &bundle, &id, &socket, start)
    })
}

#[test]
fn a_detached_run_does_so_too() -> Result<()> {
    on_stage(|stage| {
        let (socket, variable) = supervisor(stage)?;
        let (bundle, id) = (payload(stage)?, stage.id());
        let dir = bundle.write()?.to_string_lossy().into_owned();
        let run = notified(stage.call(["run", "-d", "--bundle", &dir, &id]), &variable)?;
        is_told(stage, &bundle, &id, &socket, run)
    })
}

#[test]
fn a_payload_that_ends_without_a_word_holds_nobody_up() -> Result<()> {
    on_stage_of_hostrun("the oracle waits for ever here", |stage| {
        let (_socket, variable) = supervisor(stage)?;
        let (bundle, id) = (stage.bundle()?, stage.id());
        let dir = bundle.write()?.to_string_lossy().into_owned();
        let run = notified(stage.call(["run", "--bundle", &dir, &id]), &variable)?;
        run.wait()?.ok().map(drop)
    })
}
