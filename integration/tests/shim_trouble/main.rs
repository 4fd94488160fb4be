//! The shim when something is wrong: with what it is sent, with its surroundings, with containerd.

mod callers;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::shim::client::{Client, TASK_V3};
use hostrun_integration::shim::message::{Decoded, Field, message, text};
use hostrun_integration::shim::{MOMENT, Reader, Running, Shims, with_shims};
use hostrun_integration::{Bundle, host};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// A container of the stage's that runs a line of shell.
fn shell(shims: &Shims<'_>, script: &str) -> Result<Bundle> {
    Ok(shims.stage.bundle()?.shell(script))
}

fn end(mut running: Running) -> Result<()> {
    running.kill(9)?;
    running.wait()?;
    running.delete().map(drop)
}

fn kill_dash_nine(pid: i32) -> Result<()> {
    kill_process(Pid::from_raw(pid).context("no pid")?, Signal::KILL)?;
    host::wait_for("its end", || has_ended(pid))
}

/// Whoever reaps orphans here may take its time.
fn has_ended(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn events_wait_for_containerd_and_keep_their_order() -> Result<()> {
    with_shims(|shims| {
        let mut running = shims.run(&shell(shims, "sleep 60")?, &[])?;
        let id = running.id.clone();
        let topics = || shims.sink.borrow().topics(&id);
        host::wait_for("two events", || topics().len() == 2)?;
        shims.sink.borrow_mut().go();
        running.exec("one", "exit 3", &[])?;
        let one = [(1, text(&id)), (2, text("one"))];
        running.client.ok("Wait", &one)?;
        running.kill(9)?;
        running.wait()?;
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(topics().len(), 2);
        shims.sink.borrow_mut().come_back()?;
        host::wait_for("all events", || topics().len() == 6)?;
        let expected = [
            "create",
            "start",
            "exec-added",
            "exec-started",
            "exit",
            "exit",
        ];
        assert_eq!(topics(), expected);
        // refused a few times, taken at last
        shims.sink.borrow().refuse(3);
        running.delete()?;
        host::wait_for("the last event", || topics().len() == 7)?;
        Ok(())
    })
}

#[test]
fn a_thousand_kills_at_once_are_all_answered() -> Result<()> {
    with_shims(|shims| {
        let mut running = shims.run(
            &shell(shims, "trap : USR1; while :; do sleep 1; done")?,
            &[],
        )?;
        let signal = [(1, text(&running.id)), (3, Field::Number(10))];
        let all = [
            (1, text(&running.id)),
            (3, Field::Number(10)),
            (4, Field::Number(1)),
        ];
        let mut calls = Vec::new();
        for number in 0..1000 {
            let fields = if number % 50 == 0 {
                &all[..]
            } else {
                &signal[..]
            };
            calls.push(running.client.send(TASK_V3, "Kill", fields)?);
        }
        for call in calls {
            let answer = running.client.answer(call)?;
            ensure!(answer.is_ok(), "{answer:?}");
        }
        end(running)
    })
}

#[test]
fn pipes_that_vanish_are_told_and_those_that_are_there_keep_what_was_written() -> Result<()> {
    with_shims(|shims| {
        let bundle = shell(shims, "echo first; sleep 0.3; echo last")?;
        let id = shims.stage.id();
        let mut client = shims.start(&id, &bundle)?;
        let gone = shims.stage.dir().join("gone").display().to_string();
        let refused = client.refused("Create", &shims.create(&id, &bundle, &[(6, text(&gone))]))?;
        assert_eq!(refused.0, 5, "{refused:?}");
        client.ok("Shutdown", &[])?;
        // one whose reader dies and that another opens after all is over
        let out = shims.fifo("out")?;
        let mut reader = Reader::open(&out)?;
        let mut running = shims.run(&bundle, &[(6, text(&out.display().to_string()))])?;
        reader.until("first")?;
        drop(reader);
        assert_eq!(
            running.wait()?,
            0,
            "nobody reads, and it did not die of that"
        );
        assert_eq!(Reader::open(&out)?.to_end()?, "last\n");
        fs::remove_file(&out)?;
        running.delete().map(drop)
    })
}

#[test]
fn a_bundle_may_be_removed_underfoot() -> Result<()> {
    with_shims(|shims| {
        let bundle = shell(shims, "sleep 60")?;
        let mut running = shims.run(&bundle, &[])?;
        fs::remove_dir_all(bundle.dir())?;
        let named = running.named();
        assert_eq!(running.client.ok("State", &named)?.number(4), 2);
        running
            .exec("one", "true", &[])
            .map(drop)
            .unwrap_or_default();
        end(running)?;
        let missing = shell(shims, "true")?;
        let id = shims.stage.id();
        let mut client = shims.start(&id, &missing)?;
        fs::remove_dir_all(missing.dir())?;
        let refused = client.refused("Create", &shims.create(&id, &missing, &[]))?;
        assert_eq!(refused.0, 5, "{refused:?}");
        client.ok("Shutdown", &[])?;
        Ok(())
    })
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left() -> Result<()> {
    with_shims(|shims| {
        let small = shims.stage.folder("small")?;
        let mounted = host::Mounted::tmpfs(&small, &["-o", "size=64k"])?;
        let state = small.join("state");
        let filler = small.join("filler");
        let bundle = shell(shims, "true")?;
        let id = shims.stage.id();
        let mut client = shims.start(&id, &bundle)?;
        fs::create_dir(&state)?;
        let written = fs::write(&filler, vec![0; 1 << 20]);
        ensure!(written.is_err(), "the disk is not full");
        let options = message(&[
            (1, text("containerd.runc.v1.Options")),
            (2, message(&[(7, text(&state.display().to_string()))])),
        ]);
        let fields = [
            (1, text(&id)),
            (2, text(&bundle.dir().display().to_string())),
            (10, options),
        ];
        let refused = client.refused("Create", &fields)?;
        ensure!(refused.0 == 8 || refused.0 == 2, "{refused:?}");
        fs::remove_file(&filler)?;
        client.ok("Create", &fields)?;
        client.ok("Delete", &[(1, text(&id))])?;
        client.ok("Shutdown", &[])?;
        drop(mounted);
        Ok(())
    })
}

#[test]
fn what_a_killed_shim_leaves_is_removed_by_the_verb_delete() -> Result<()> {
    with_shims(|shims| {
        let bundle = shell(shims, "sleep 60 & sleep 61 & wait")?;
        let tree = shims.stage.folder("tree")?;
        fs::rename(bundle.rootfs(), tree.join("root"))?;
        let source = tree.join("root").display().to_string();
        let mount = message(&[(1, text("bind")), (2, text(&source)), (4, text("rbind"))]);
        let mut running = shims.run(&bundle, &[(3, mount)])?;
        let pid = shims.pid_of(&mut running.client)?;
        kill_dash_nine(pid)?;
        ensure!(
            Path::new(&format!("/proc/{}", running.pid)).exists(),
            "it went with its shim"
        );
        let out = shims.verb(&["delete"], &running.id, bundle.dir(), &[])?;
        ensure!(out.status.success(), "{out:?}");
        let answer = Decoded::read(&out.stdout)?;
        assert_eq!(i32::try_from(answer.number(1))?, running.pid);
        assert_eq!(answer.number(2), 137);
        ensure!(answer.message(3)?.number(1) > 0, "no time");
        host::wait_for("its end", || has_ended(running.pid))?;
        ensure!(
            fs::read_dir(bundle.rootfs())?.next().is_none(),
            "its root is mounted"
        );
        // and once more, as containerd does after every shim's end
        let out = shims.verb(&["delete"], &running.id, bundle.dir(), &[])?;
        ensure!(out.status.success(), "{out:?}");
        assert_eq!(Decoded::read(&out.stdout)?.number(1), 0);
        // a new shim takes the place of the dead one's socket
        let again = shims.run(&shell(shims, "sleep 60")?, &[])?;
        end(again)
    })
}

#[test]
fn a_container_that_hangs_at_its_start_is_killed_and_deleted() -> Result<()> {
    with_shims(|shims| {
        let bundle = shell(shims, "true")?.set(
            "/hooks/startContainer",
            serde_json::json!([{"path": "/bin/sleep", "args": ["sleep", "60"]}]),
        );
        let id = shims.stage.id();
        let mut client = shims.start(&id, &bundle)?;
        client.ok("Create", &shims.create(&id, &bundle, &[]))?;
        let named = [(1, text(&id))];
        let start = client.send_within(TASK_V3, "Start", &named, Duration::from_millis(300))?;
        // late: its caller's own limit
        assert_eq!(client.answer(start)?.unwrap_err().0, 4);
        let asked = Instant::now();
        client.ok("State", &named)?;
        client.ok("Kill", &[(1, text(&id)), (3, Field::Number(9))])?;
        ensure!(asked.elapsed() < MOMENT, "{:?}", asked.elapsed());
        assert_eq!(client.ok("Wait", &named)?.number(1), 137);
        client.ok("Delete", &named)?;
        client.ok("Shutdown", &[])?;
        Ok(())
    })
}

#[test]
fn processes_that_outlive_the_first_in_the_hosts_pid_namespace_go_with_it() -> Result<()> {
    with_shims(|shims| {
        let bundle = shell(shims, "sleep 71 & sleep 0.2; exit 5")?.without_namespace("pid");
        let mut running = shims.run(&bundle, &[])?;
        running.exec("one", "sleep 72", &[])?;
        assert_eq!(running.wait()?, 5);
        let one = [(1, text(&running.id)), (2, text("one"))];
        assert_eq!(running.client.ok("Wait", &one)?.number(1), 137);
        let id = running.id.clone();
        running.delete()?;
        let exits = || -> Vec<String> {
            let told = shims.sink.borrow().told();
            let exits = told.iter().filter(|told| told.topic == "/tasks/exit");
            exits.map(|told| told.event.text(2)).collect()
        };
        host::wait_for("both ends", || exits().len() == 2)?;
        assert_eq!(exits(), ["one", &*id]);
        Ok(())
    })
}

#[test]
fn a_container_that_is_made_too_late_is_none() -> Result<()> {
    with_shims(|shims| {
        let hook = serde_json::json!([{"path": "/bin/sleep", "args": ["sleep", "1"]}]);
        let bundle = shell(shims, "true")?.set("/hooks/createRuntime", hook);
        let id = shims.stage.id();
        let mut client = shims.start(&id, &bundle)?;
        let fields = shims.create(&id, &bundle, &[]);
        let create = client.send_within(TASK_V3, "Create", &fields, Duration::from_millis(200))?;
        assert_eq!(client.answer(create)?.unwrap_err().0, 4);
        host::wait_for("nothing of it", || {
            let state = client.call("State", &[(1, text(&id))]);
            state.is_ok_and(|answer| answer.is_err_and(|refused| refused.0 == 5))
        })?;
        client.ok("Shutdown", &[]).map(drop)
    })
}

#[test]
fn a_crowd_is_made_executed_and_deleted_at_once() -> Result<()> {
    const CROWD: usize = 24;
    with_shims(|shims| {
        let mut running = shims.run(&shell(shims, "sleep 60")?, &[])?;
        let ids: Vec<String> = (0..CROWD).map(|_| shims.stage.id()).collect();
        let mut creates = Vec::new();
        for id in &ids {
            let bundle = shell(shims, "exit 9")?;
            bundle.write()?;
            let fields = shims.create(id, &bundle, &[]);
            creates.push(running.client.send(TASK_V3, "Create", &fields)?);
            running.announce(id, "exit 8", &[])?;
        }
        for create in creates {
            let made = running.client.answer(create)?;
            ensure!(made.is_ok(), "{made:?}");
        }
        let own = running.id.clone();
        let all = |client: &mut Client, method: &str| -> Result<Vec<u64>> {
            let mut calls = Vec::new();
            for id in &ids {
                calls.push(client.send(TASK_V3, method, &[(1, text(id))])?);
                let exec = [(1, text(&own)), (2, text(id))];
                calls.push(client.send(TASK_V3, method, &exec)?);
            }
            let said = |call| match client.answer(call)? {
                Ok(answer) => Ok(answer.number(1)),
                Err(refused) => anyhow::bail!("{method}: {refused:?}"),
            };
            calls.into_iter().map(said).collect()
        };
        all(&mut running.client, "Start")?;
        let ends = all(&mut running.client, "Wait")?;
        assert_eq!(ends, [9, 8].repeat(CROWD));
        all(&mut running.client, "Delete")?;
        // every start is told before its end, every end before its deletion
        let topics = |id: &str| shims.sink.borrow().topics(id);
        for id in &ids {
            host::wait_for("the events", || topics(id).len() == 4)?;
            assert_eq!(topics(id), ["create", "start", "exit", "delete"]);
        }
        end(running)
    })
}
