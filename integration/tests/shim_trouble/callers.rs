//! Those who call the shim: deaf, malformed, strangers.

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host;
use hostrun_integration::shim::client::{Client, TASK_V3, frame};
use hostrun_integration::shim::message::{Field, encode, message, text};
use hostrun_integration::shim::{MOMENT, NAMESPACE, with_shims};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{end, shell};

#[test]
fn a_containerd_that_reads_and_does_not_answer_holds_up_nobody() -> Result<()> {
    with_shims(|shims| {
        shims.sink.borrow().stall(true);
        let begun = Instant::now();
        let mut running = shims.run(&shell(shims, "sleep 60")?, &[])?;
        running.kill(9)?;
        running.wait()?;
        ensure!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        shims.sink.borrow().stall(false);
        let id = running.id.clone();
        running.delete()?;
        // it gives up the connection after ten seconds, and tells it all again over the next
        host::wait_for("all events", || shims.sink.borrow().topics(&id).len() >= 4)?;
        let topics = shims.sink.borrow().topics(&id);
        assert_eq!(topics, ["create", "start", "exit", "delete"]);
        Ok(())
    })
}

#[test]
fn who_never_reads_is_dropped_and_others_go_on() -> Result<()> {
    with_shims(|shims| {
        let mut running = shims.run(&shell(shims, "sleep 60")?, &[])?;
        let id = running.id.clone();
        let mut deaf = shims.start(&id, &shell(shims, "true")?)?;
        let mut sent = 0;
        // his requests are small, the answers that wait for him are not
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if deaf.send(TASK_V3, "State", &[(1, text(&id))]).is_err() {
                break;
            }
            sent += 1;
            if sent % 5000 == 0 {
                let named = running.named();
                let asked = Instant::now();
                running.client.ok("State", &named)?;
                ensure!(asked.elapsed() < MOMENT, "{:?}", asked.elapsed());
            }
        }
        ensure!(sent > 100, "{sent}");
        let pid = shims.pid_of(&mut running.client)?;
        let (resident, _) = hostrun_integration::shim::memory(pid)?;
        ensure!(resident < 40_000, "{resident} KiB");
        end(running)
    })
}

#[test]
fn malformed_frames_are_answered_or_end_the_connection_and_nothing_else() -> Result<()> {
    with_shims(|shims| {
        let mut running = shims.run(&shell(shims, "sleep 60")?, &[])?;
        let other = |id: &str| shims.start(id, &shell(shims, "true")?);
        let id = running.id.clone();
        let mut client = other(&id)?;
        // a message that is none, one cut short, one for a service without a method
        for (stream, body) in [(1, &[0xff; 20][..]), (3, &[0x0a, 90, 1]), (5, &[])] {
            client.send_raw(&frame(stream, 1, body)?)?;
            let answer = client.answer(stream)?;
            ensure!(answer.is_err(), "{body:?}: {answer:?}");
        }
        // a call whose own message is none
        let call = encode(&[
            (1, text(TASK_V3)),
            (2, text("Kill")),
            (3, text("\u{1}\u{2}")),
        ]);
        client.send_raw(&frame(7, 1, &call)?)?;
        assert_eq!(client.answer(7)?.unwrap_err().0, 3);
        // a frame that is longer than any may be: passed over, and the next one is read
        client.send_raw(&[0, 0x50, 0, 0, 0, 0, 0, 9, 1, 0])?;
        assert_eq!(client.answer(9)?.unwrap_err().0, 8);
        for _ in 0..0x50 {
            client.send_raw(&vec![0; 1 << 16])?;
        }
        let call = encode(&[(1, text(TASK_V3)), (2, text("Connect"))]);
        client.send_raw(&frame(11, 1, &call)?)?;
        ensure!(client.answer(11)?.is_ok(), "the next frame");
        // of a stream that nobody has opened
        client.send_raw(&frame(13, 3, b"data")?)?;
        assert_eq!(client.answer(13)?.unwrap_err().0, 3);
        let mut half = other(&id)?;
        half.send_raw(&[0, 0, 0])?;
        drop(half);
        let named = running.named();
        running.client.ok("State", &named)?;
        end(running)
    })
}

#[test]
fn calls_about_what_is_not_there_say_so() -> Result<()> {
    with_shims(|shims| {
        let mut running = shims.run(&shell(shims, "sleep 60")?, &[])?;
        let id = running.id.clone();
        let nobody = [(1, text("nobody"))];
        for method in [
            "State",
            "Start",
            "Delete",
            "Pids",
            "Pause",
            "Resume",
            "Checkpoint",
            "Kill",
            "Update",
            "Wait",
            "Stats",
            "CloseIO",
            "ResizePty",
        ] {
            let mut fields = nobody.to_vec();
            if method == "Kill" {
                fields.push((3, Field::Number(9)));
            }
            if method == "Update" {
                fields.push((2, message(&[(2, text("{}"))])));
            }
            let refused = running.client.refused(method, &fields)?;
            assert_eq!(refused.0, 5, "{method}: {refused:?}");
        }
        let signal = |number| [(1, text(&id)), (3, Field::Number(number))];
        assert_eq!(running.client.refused("Kill", &signal(65))?.0, 3);
        let exec = [(1, text(&id)), (2, text("none")), (3, Field::Number(9))];
        assert_eq!(running.client.refused("Kill", &exec)?.0, 5);
        running.announce("one", "true", &[])?;
        let one = [(1, text(&id)), (2, text("one")), (3, Field::Number(9))];
        assert_eq!(
            running.client.refused("Kill", &one)?.0,
            9,
            "it is not started"
        );
        let twice = running
            .announce("one", "true", &[])
            .unwrap_err()
            .to_string();
        ensure!(twice.contains("already exists"), "{twice}");
        running.kill(9)?;
        running.wait()?;
        assert_eq!(
            running.client.refused("Kill", &signal(9))?.0,
            5,
            "it has ended"
        );
        let named = running.named();
        assert_eq!(running.client.refused("Start", &named)?.0, 9);
        assert_eq!(running.client.refused("Pause", &named)?.0, 9);
        running.delete().map(drop)
    })
}

#[test]
fn options_that_nobody_knows_are_refused() -> Result<()> {
    with_shims(|shims| {
        let bundle = shell(shims, "true")?;
        let id = shims.stage.id();
        let mut client = shims.start(&id, &bundle)?;
        let fields = |options| {
            [
                (1, text(&id)),
                (2, text(&bundle.dir().display().to_string())),
                (10, options),
            ]
        };
        let toml = |body| {
            message(&[
                (1, text("runtimeoptions.v1.Options")),
                (2, message(&[(3, text(body))])),
            ])
        };
        let unknown = message(&[(1, text("some.other.Options")), (2, text("x"))]);
        let cut = message(&[
            (1, text("containerd.runc.v1.Options")),
            (2, text("\u{3a}\u{7f}a")),
        ]);
        for options in [
            unknown,
            cut,
            toml("colour = 7"),
            toml("[pool]\nnetworks = 1000"),
        ] {
            let refused = client.refused("Create", &fields(options))?;
            assert_eq!(refused.0, 3, "{refused:?}");
        }
        let root = shims.stage.root();
        let known = toml(&format!(
            "root = '{}'\n[pool]\nnetworks = 1\nmounts = true",
            root.display()
        ));
        client.ok("Create", &fields(known))?;
        client.ok("Start", &[(1, text(&id))])?;
        client.ok("Wait", &[(1, text(&id))])?;
        client.ok("Delete", &[(1, text(&id))])?;
        client.ok("Shutdown", &[])?;
        Ok(())
    })
}

#[test]
fn malformed_bootstraps_are_answered_in_the_older_way_or_refused() -> Result<()> {
    with_shims(|shims| {
        let bundle = shell(shims, "true")?;
        let dir = bundle.write()?;
        let id = shims.stage.id();
        let socket = shims.stage.dir().join("own.sock");
        let socket = socket.to_str().context("a path that is no text")?;
        let whole = shims.params(&id);
        for input in [&whole[..whole.len() - 3], &[0xff; 100][..], &[][..]] {
            let out = shims.verb(&["-socket", socket, "start"], &id, dir, input)?;
            let said = String::from_utf8_lossy(&out.stdout).into_owned();
            ensure!(out.status.success(), "{said}");
            assert_eq!(said, format!("unix://{socket}"), "{input:?}");
            assert_eq!(fs::read_to_string(dir.join("address"))?, said);
            let mut client = Client::connect(Path::new(socket))?;
            client.ok("Shutdown", &[])?;
            host::wait_for("its end", || !Path::new(socket).exists())?;
        }
        for words in [&["start", "-colour"][..], &["-colour", "start"], &["sing"]] {
            let out = shims.verb(words, &id, dir, &[])?;
            if words[0] != "start" {
                ensure!(!out.status.success(), "{words:?}");
            }
        }
        fs::remove_file(dir.join("config.json"))?;
        let out = shims.verb(&["-socket", socket, "start"], &id, dir, &whole)?;
        ensure!(!out.status.success() && out.stdout.is_empty(), "{out:?}");
        ensure!(
            String::from_utf8_lossy(&out.stderr).contains("config.json"),
            "{out:?}"
        );
        // the one started by `start -colour`
        let found = fs::read_to_string(dir.join("address"))?;
        let path = found.strip_prefix("unix://").context("no address")?;
        if let Ok(mut client) = Client::connect(Path::new(path)) {
            client.ok("Shutdown", &[])?;
        }
        Ok(())
    })
}

#[test]
fn strangers_are_not_listened_to() -> Result<()> {
    with_shims(|shims| {
        let running = shims.run(&shell(shims, "sleep 60")?, &[])?;
        let socket = fs::read_dir(shims.stage.dir().join("s"))?
            .next()
            .context("no socket")??;
        let mode = std::os::unix::fs::PermissionsExt::mode(&socket.metadata()?.permissions());
        assert_eq!(mode & 0o777, 0o600);
        ensure!(UnixStream::connect(socket.path()).is_ok(), "root may");
        assert_eq!(NAMESPACE, "test");
        end(running)
    })
}

#[test]
fn who_takes_events_only_to_hang_up_does_not_keep_the_shim_busy() -> Result<()> {
    with_shims(|shims| {
        shims.sink.borrow_mut().go();
        let path = shims.sink.borrow().path().to_owned();
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        let mut running = shims.run(&shell(shims, "sleep 60")?, &[])?;
        let mut taken = 0;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            match listener.accept() {
                Ok(connection) => {
                    drop(connection);
                    taken += 1;
                }
                Err(_nobody) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        ensure!(
            (1..20).contains(&taken),
            "{taken} connections in two seconds"
        );
        drop(listener);
        fs::remove_file(&path)?;
        shims.sink.borrow_mut().come_back()?;
        running.kill(9)?;
        running.wait()?;
        let id = running.id.clone();
        running.delete()?;
        host::wait_for("all events", || shims.sink.borrow().topics(&id).len() == 4)
    })
}
