//! Input, output and terminals of what the shim runs.

use anyhow::{Result, ensure};
use hostrun_integration::host;
use hostrun_integration::shim::message::{Field, text};
use hostrun_integration::shim::{Reader, with_shims};
use std::fs::{self, File};
use std::io::Write as _;

use super::shell;

#[test]
fn input_ends_when_somebody_closes_it_and_not_before() -> Result<()> {
    with_shims(|shims| {
        let (input, out) = (shims.fifo("in")?, shims.fifo("out")?);
        let reader = Reader::open(&out)?;
        let paths = [
            (5, text(&input.display().to_string())),
            (6, text(&out.display().to_string())),
        ];
        let mut running = shims.run(&shell(shims, "cat; echo over")?, &paths)?;
        for word in ["one\n", "two\n"] {
            // each by a daemon that then dies
            File::options()
                .write(true)
                .open(&input)?
                .write_all(word.as_bytes())?;
        }
        let close = [(1, text(&running.id)), (3, Field::Number(1))];
        running.client.ok("CloseIO", &close)?;
        assert_eq!(running.wait()?, 0);
        assert_eq!(reader.to_end()?, "one\ntwo\nover\n");
        running.delete().map(drop)
    })
}

#[test]
fn a_terminal_is_served_resized_and_drained() -> Result<()> {
    with_shims(|shims| {
        let (input, out) = (shims.fifo("in")?, shims.fifo("out")?);
        let mut reader = Reader::open(&out)?;
        let paths = [
            (4, Field::Number(1)),
            (5, text(&input.display().to_string())),
            (6, text(&out.display().to_string())),
        ];
        let script = "tty; echo ready; read line; stty size; echo got $line; seq 2000; exit 4";
        let bundle = shell(shims, script)?.set("/process/terminal", true.into());
        let mut running = shims.run(&bundle, &paths)?;
        let screen = reader.until("ready")?;
        ensure!(screen.contains("/dev/pts/"), "{screen:?}");
        let size = [
            (1, text(&running.id)),
            (3, Field::Number(90)),
            (4, Field::Number(33)),
        ];
        running.client.ok("ResizePty", &size)?;
        File::options()
            .write(true)
            .open(&input)?
            .write_all(b"keys\n")?;
        let rest = reader.to_end()?;
        ensure!(
            rest.contains("33 90") && rest.contains("got keys"),
            "{rest:?}"
        );
        ensure!(rest.ends_with("1999\r\n2000\r\n"), "{rest:?}");
        assert_eq!(running.wait()?, 4);
        running.delete().map(drop)
    })
}

#[test]
fn a_process_can_be_executed_at_a_terminal() -> Result<()> {
    with_shims(|shims| {
        let mut running = shims.run(&shell(shims, "sleep 60")?, &[])?;
        let out = shims.fifo("out")?;
        let mut reader = Reader::open(&out)?;
        let more = [(3, Field::Number(1)), (5, text(&out.display().to_string()))];
        running.exec("tty", "tty; echo done", &more)?;
        let screen = reader.until("done")?;
        ensure!(screen.contains("/dev/pts/"), "{screen:?}");
        running.kill(9)?;
        running.wait()?;
        running.delete().map(drop)
    })
}

#[test]
fn the_output_at_a_terminal_ends_with_its_process_though_the_input_stays_open() -> Result<()> {
    with_shims(|shims| {
        let mut running = shims.run(&shell(shims, "sleep 60")?, &[])?;
        let (input, out) = (shims.fifo("in")?, shims.fifo("out")?);
        let reader = Reader::open(&out)?;
        // CRI keeps it for as long as the output has no end
        let mut keys = File::options().read(true).write(true).open(&input)?;
        let paths = [
            (3, Field::Number(1)),
            (4, text(&input.display().to_string())),
            (5, text(&out.display().to_string())),
        ];
        running.exec("tty", "read line; echo got $line", &paths)?;
        keys.write_all(b"keys\n")?;
        let screen = reader.to_end()?;
        ensure!(screen.contains("got keys"), "{screen:?}");
        running.kill(9)?;
        running.wait()?;
        running.delete().map(drop)
    })
}

#[test]
fn output_goes_to_a_file_or_a_logger_that_containerd_names() -> Result<()> {
    with_shims(|shims| {
        let log = shims.stage.dir().join("deep/er/log");
        let uri = [(6, text(&format!("file://{}", log.display())))];
        let mut running = shims.run(&shell(shims, "echo out; echo err >&2")?, &uri)?;
        running.wait()?;
        running.delete()?;
        assert_eq!(fs::read_to_string(&log)?, "out\nerr\n");
        let logger = shims.stage.dir().join("logger");
        let script = format!(
            "#!/bin/sh\nexec >{0}.said\necho \"$CONTAINER_ID $CONTAINER_NAMESPACE $*\"\nexec 5>&-\n\
             cat <&3; cat <&4\necho over\n",
            logger.display()
        );
        hostrun_integration::program::write(&logger, 0o755, script)?;
        let uri = format!("binary://{}?key=value&flag", logger.display());
        let mut running =
            shims.run(&shell(shims, "echo out; echo err >&2")?, &[(6, text(&uri))])?;
        running.wait()?;
        let said = format!("{} test key value flag \nout\nerr\nover\n", running.id);
        let file = logger.with_extension("said");
        host::wait_for("all output", || {
            fs::read_to_string(&file).is_ok_and(|now| now == said)
        })?;
        running.delete().map(drop)
    })
}

#[test]
fn cve_2026_53488_no_other_scheme_is_obeyed() -> Result<()> {
    with_shims(|shims| {
        let bundle = shell(shims, "true")?;
        let id = shims.stage.id();
        let mut client = shims.start(&id, &bundle)?;
        for uri in [
            "http://host/x",
            "binary://bin/sh",
            "file:///a/../etc/x",
            "exec:///bin/sh",
        ] {
            let more = [(6, text(uri))];
            let refused = client.refused("Create", &shims.create(&id, &bundle, &more))?;
            assert_eq!(refused.0, 3, "{uri}: {refused:?}");
        }
        client.ok("Shutdown", &[])?;
        Ok(())
    })
}

#[test]
fn a_user_can_open_the_streams_anew_and_input_may_end_before_it_is_opened() -> Result<()> {
    with_shims(|shims| {
        let (input, out) = (shims.fifo("in")?, shims.fifo("out")?);
        let reader = Reader::open(&out)?;
        let stdout = [(6, text(&out.display().to_string()))];
        let script = "echo \"$(id -u)\" >/dev/stdout; sleep 60";
        let bundle = shell(shims, script)?.set("/process/user/uid", 1000.into());
        let mut running = shims.run(&bundle, &stdout)?;
        let mut early = File::options().read(true).write(true).open(&input)?;
        early.write_all(b"early\n")?;
        let err = shims.fifo("exec")?;
        let said = Reader::open(&err)?;
        let more = [
            (4, text(&input.display().to_string())),
            (5, text(&err.display().to_string())),
        ];
        running.announce("one", "cat", &more)?;
        let close = [
            (1, text(&running.id)),
            (2, text("one")),
            (3, Field::Number(1)),
        ];
        running.client.ok("CloseIO", &close)?;
        let one = [(1, text(&running.id)), (2, text("one"))];
        running.client.ok("Start", &one)?;
        drop(early);
        assert_eq!(running.client.ok("Wait", &one)?.number(1), 0);
        assert_eq!(said.to_end()?, "early\n");
        running.kill(9)?;
        running.wait()?;
        assert_eq!(reader.to_end()?, "1000\n");
        running.delete().map(drop)
    })
}
