//! The shim, call by call: what containerd asks of one, without containerd.

mod streams;

use anyhow::{Result, ensure};
use hostrun_integration::host;
use hostrun_integration::shim::message::{Field, message, text};
use hostrun_integration::shim::{Reader, Shims, client, with_shims};
use serde_json::json;
use std::fs;

/// A container of the stage's that runs a line of shell.
fn shell(shims: &Shims<'_>, script: &str) -> Result<hostrun_integration::Bundle> {
    Ok(shims.stage.bundle()?.shell(script))
}

#[test]
fn a_container_is_made_started_waited_for_and_deleted() -> Result<()> {
    with_shims(|shims| {
        let out = shims.fifo("out")?;
        let reader = Reader::open(&out)?;
        let bundle = shell(shims, "echo hello; exit 7")?;
        let stdout = [(6, text(&out.display().to_string()))];
        let mut running = shims.run(&bundle, &stdout)?;
        assert_eq!(running.wait()?, 7);
        assert_eq!(reader.to_end()?, "hello\n");
        let named = running.named();
        let state = running.client.ok("State", &named)?;
        // 3 is stopped
        assert_eq!((state.number(4), state.number(9)), (3, 7));
        assert_eq!(state.text(2), bundle.dir().display().to_string());
        let (id, pid) = (running.id.clone(), running.pid);
        let deleted = running.delete()?;
        assert_eq!(deleted.number(2), 7);
        assert_eq!(i32::try_from(deleted.number(1))?, pid);
        host::wait_for("the events", || shims.sink.borrow().topics(&id).len() == 4)?;
        assert_eq!(
            shims.sink.borrow().topics(&id),
            ["create", "start", "exit", "delete"]
        );
        Ok(())
    })
}

#[test]
fn a_program_that_is_not_there_is_told_in_words_that_engines_look_for() -> Result<()> {
    with_shims(|shims| {
        let bundle = shims.stage.bundle()?.args(&["not-there"]);
        let id = shims.stage.id();
        let mut client = shims.start(&id, &bundle)?;
        let refused = client.refused("Create", &shims.create(&id, &bundle, &[]))?;
        ensure!(
            refused.1.contains("executable file not found in $PATH"),
            "{refused:?}"
        );
        // nothing is left of it, and it can be tried again
        assert_eq!(client.refused("State", &[(1, text(&id))])?.0, 5);
        let bundle = bundle.args(&["/bin/true"]);
        bundle.write()?;
        client.ok("Create", &shims.create(&id, &bundle, &[]))?;
        client.ok("Delete", &[(1, text(&id))])?;
        client.ok("Shutdown", &[])?;
        Ok(())
    })
}

#[test]
fn both_names_of_the_service_are_one_and_others_are_unknown() -> Result<()> {
    with_shims(|shims| {
        let bundle = shell(shims, "sleep 60")?;
        let mut running = shims.run(&bundle, &[])?;
        let named = running.named();
        for service in [client::TASK_V2, client::TASK_V3] {
            let call = running.client.send(service, "State", &named)?;
            assert_eq!(
                running.client.answer(call)?.unwrap().number(4),
                2,
                "{service}"
            );
        }
        for (service, method) in [
            ("containerd.task.v9.Task", "State"),
            (client::TASK_V3, "Sing"),
        ] {
            let call = running.client.send(service, method, &named)?;
            assert_eq!(
                running.client.answer(call)?.unwrap_err().0,
                12,
                "{service}/{method}"
            );
        }
        running.kill(9)?;
        assert_eq!(running.wait()?, 137);
        running.delete().map(drop)
    })
}

#[test]
fn processes_are_executed_beside_the_first_and_end_by_themselves() -> Result<()> {
    with_shims(|shims| {
        let mut running = shims.run(&shell(shims, "sleep 60")?, &[])?;
        let out = shims.fifo("exec")?;
        let reader = Reader::open(&out)?;
        running.exec(
            "one",
            "echo beside; exit 3",
            &[(5, text(&out.display().to_string()))],
        )?;
        let one = [(1, text(&running.id)), (2, text("one"))];
        assert_eq!(running.client.ok("Wait", &one)?.number(1), 3);
        assert_eq!(reader.to_end()?, "beside\n");
        assert_eq!(running.client.ok("Delete", &one)?.number(2), 3);
        assert_eq!(running.client.refused("State", &one)?.0, 5);
        running.exec("two", "sleep 60", &[])?;
        let two = [(1, text(&running.id)), (2, text("two"))];
        let refused = running.client.refused("Delete", &two)?;
        assert_eq!(refused.0, 9, "{refused:?}");
        let named = running.named();
        let pids = running.client.ok("Pids", &named)?.messages(1)?;
        let details = |process: &hostrun_integration::shim::message::Decoded| {
            process
                .message(2)
                .and_then(|any| any.message(2))
                .map(|details| details.text(1))
        };
        let execs: Vec<String> = pids.iter().map(details).collect::<Result<_>>()?;
        ensure!(execs.contains(&"two".to_owned()), "{pids:?}");
        running.kill(9)?;
        // with the first process of its pid namespace goes every other
        assert_eq!(running.client.ok("Wait", &two)?.number(1), 137);
        assert_eq!(running.wait()?, 137);
        let id = running.id.clone();
        running.delete()?;
        let topics = || shims.sink.borrow().topics(&id);
        host::wait_for("the events", || {
            topics().last().is_some_and(|last| last == "delete")
        })?;
        let exits: Vec<String> = shims
            .sink
            .borrow()
            .told()
            .iter()
            .filter(|told| told.topic == "/tasks/exit")
            .map(|told| told.event.text(2))
            .collect();
        assert_eq!(exits, ["one", "two", &*id], "the first process ends last");
        Ok(())
    })
}

#[test]
fn a_paused_container_says_so_goes_on_and_can_be_killed() -> Result<()> {
    with_shims(|shims| {
        let mut running = shims.run(&shell(shims, "sleep 60")?, &[])?;
        let named = running.named();
        running.client.ok("Pause", &named)?;
        // 4 is paused
        assert_eq!(running.client.ok("State", &named)?.number(4), 4);
        running.client.ok("Resume", &named)?;
        assert_eq!(running.client.ok("State", &named)?.number(4), 2);
        running.client.ok("Pause", &named)?;
        running.kill(9)?;
        assert_eq!(running.wait()?, 137);
        let id = running.id.clone();
        running.delete()?;
        let topics = || shims.sink.borrow().topics(&id);
        host::wait_for("the events", || topics().len() == 7)?;
        assert_eq!(
            topics()[..5],
            ["create", "start", "paused", "resumed", "paused"]
        );
        Ok(())
    })
}

#[test]
fn statistics_have_every_part_even_where_the_kernel_has_no_file() -> Result<()> {
    with_shims(|shims| {
        let mut running = shims.run(&shell(shims, "while :; do :; done")?, &[])?;
        let named = running.named();
        let mut usage = 0;
        host::wait_for("processor time", || {
            let stats = running
                .client
                .ok("Stats", &named)
                .and_then(|all| all.message(1));
            let metrics = stats.map(|any| (any.text(1), any.message(2)));
            let Ok((name, Ok(metrics))) = metrics else {
                return false;
            };
            assert_eq!(name, "io.containerd.cgroups.v2.Metrics");
            for part in [1, 2, 4, 6, 8] {
                assert!(metrics.message(part).is_ok(), "{part}");
            }
            usage = metrics.message(2).map_or(0, |cpu| cpu.number(1));
            usage > 0
        })?;
        running.kill(9)?;
        running.wait()?;
        running.delete().map(drop)
    })
}

#[test]
fn containers_of_a_group_share_a_shim_which_goes_with_the_last() -> Result<()> {
    with_shims(|shims| {
        let group = |key: &str, value: &str| -> Result<_> {
            let pointer = format!("/annotations/{}", key.replace('/', "~1"));
            Ok(shell(shims, "sleep 60")?.set(&pointer, value.into()))
        };
        let mut first = shims.run(&group("io.kubernetes.cri.sandbox-id", "pod")?, &[])?;
        let bundle = group("io.kubernetes.cri.sandbox-id", "pod")?;
        let second = shims.stage.id();
        let mut again = shims.start(&second, &bundle)?;
        let pid = shims.pid_of(&mut again)?;
        assert_eq!(pid, shims.pid_of(&mut first.client)?);
        assert_eq!(
            fs::read_to_string(format!("/proc/{pid}/comm"))?,
            "containerd-shim\n"
        );
        again.ok("Create", &shims.create(&second, &bundle, &[]))?;
        again.ok("Start", &[(1, text(&second))])?;
        first.kill(9)?;
        first.wait()?;
        first.delete()?;
        // the other one is not disturbed
        assert_eq!(again.ok("State", &[(1, text(&second))])?.number(4), 2);
        again.ok("Kill", &[(1, text(&second)), (3, Field::Number(9))])?;
        again.ok("Wait", &[(1, text(&second))])?;
        again.ok("Delete", &[(1, text(&second))])?;
        again.ok("Shutdown", &[])?;
        host::wait_for("the shim to end", || {
            !std::path::Path::new(&format!("/proc/{pid}")).exists()
        })
    })
}

#[test]
fn roots_are_mounted_as_containerd_sends_them_and_unmounted() -> Result<()> {
    with_shims(|shims| {
        let bundle = shell(shims, "test -f /marker && ! touch /marker 2>/dev/null")?;
        let tree = shims.stage.folder("tree")?;
        fs::rename(bundle.rootfs(), tree.join("root"))?;
        fs::write(tree.join("root/marker"), "")?;
        fs::create_dir(bundle.dir().join("rootfs"))?;
        let mount = message(&[
            (1, text("bind")),
            (2, text(&tree.join("root").display().to_string())),
            (4, text("rbind")),
            (4, text("ro")),
        ]);
        let mut running = shims.run(&bundle, &[(3, mount)])?;
        assert_eq!(running.wait()?, 0);
        running.delete()?;
        ensure!(
            fs::read_dir(bundle.rootfs())?.next().is_none(),
            "still mounted"
        );
        Ok(())
    })
}

#[test]
fn limits_change_while_a_container_runs() -> Result<()> {
    with_shims(|shims| {
        let mut running = shims.run(&shell(shims, "sleep 60")?, &[])?;
        let update = |json: &str| {
            let any = message(&[
                (
                    1,
                    text("types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"),
                ),
                (2, text(json)),
            ]);
            [(1, text(&running.id)), (2, any)]
        };
        let (nothing, malformed) = (update("{\"blockIO\":{}}"), update("{\"memory\":7"));
        running.client.ok("Update", &nothing)?;
        assert_eq!(running.client.refused("Update", &malformed)?.0, 3);
        running.kill(9)?;
        running.wait()?;
        running.delete().map(drop)
    })
}

#[test]
fn roots_of_user_namespaces_are_shown_under_their_ids() -> Result<()> {
    with_shims(|shims| {
        let out = shims.fifo("out")?;
        let reader = Reader::open(&out)?;
        let script = "stat -c %u:%g /bin/busybox; echo new >/new && stat -c %u /new";
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let bundle = shell(shims, script)?
            .namespace("user", None)
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map);
        let (lower, upper, work) = (
            shims.stage.dir().join("lower"),
            shims.stage.folder("upper")?,
            shims.stage.folder("work")?,
        );
        fs::rename(bundle.rootfs(), &lower)?;
        for dir in [&upper, &work] {
            std::os::unix::fs::chown(dir, Some(100_000), Some(100_000))?;
        }
        let option = |name: &str, value: &str| (4, text(&format!("{name}={value}")));
        let mount = message(&[
            (1, text("overlay")),
            (2, text("overlay")),
            option("lowerdir", &lower.display().to_string()),
            option("upperdir", &upper.display().to_string()),
            option("workdir", &work.display().to_string()),
            option("uidmap", "0:100000:65536"),
            option("gidmap", "0:100000:65536"),
        ]);
        let more = [(3, mount), (6, text(&out.display().to_string()))];
        let mut running = shims.run(&bundle, &more)?;
        assert_eq!(running.wait()?, 0);
        assert_eq!(reader.to_end()?, "0:0\n0\n");
        running.delete()?;
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(upper.join("new"))?);
        assert_eq!(owner, 100_000);
        let left: Vec<_> = fs::read_dir(bundle.dir())?.collect::<Result<_, _>>()?;
        ensure!(
            !left
                .iter()
                .any(|entry| entry.file_name().to_string_lossy().starts_with(".layer")),
            "{left:?}"
        );
        Ok(())
    })
}

#[test]
fn the_binary_says_what_it_is_and_can_do() -> Result<()> {
    with_shims(|_shims| {
        let ask = |word: &str| {
            std::process::Command::new(hostrun_integration::shim::binary()?)
                .arg(word)
                .stdin(std::process::Stdio::null())
                .output()
                .map_err(anyhow::Error::from)
        };
        let info = hostrun_integration::shim::message::Decoded::read(&ask("-info")?.stdout)?;
        assert_eq!(info.text(1), "io.containerd.hostrun.v1");
        let features: serde_json::Value = serde_json::from_str(&info.message(4)?.text(2))?;
        ensure!(
            features.pointer("/linux/mountExtensions/idmap/enabled") == Some(&true.into()),
            "{features}"
        );
        let version = String::from_utf8(ask("-v")?.stdout)?;
        ensure!(version.contains("Version:"), "{version}");
        Ok(())
    })
}

#[test]
fn a_shim_ends_though_somebody_looks_whether_it_is_there() -> Result<()> {
    with_shims(|shims| {
        let bundle = shell(shims, "true")?;
        let id = shims.stage.id();
        let mut client = shims.start(&id, &bundle)?;
        let pid = shims.pid_of(&mut client)?;
        client.ok("Create", &shims.create(&id, &bundle, &[]))?;
        // its last words find nobody, so it waits
        shims.sink.borrow_mut().go();
        client.ok("Delete", &[(1, text(&id))])?;
        client.ok("Shutdown", &[])?;
        let out = shims.verb(&["delete"], &id, bundle.dir(), &[])?;
        ensure!(out.status.success(), "{out:?}");
        shims.sink.borrow_mut().come_back()?;
        host::wait_for("its end", || {
            !std::path::Path::new(&format!("/proc/{pid}")).exists()
        })?;
        assert_eq!(
            shims.sink.borrow().topics(&id).last().map(String::as_str),
            Some("delete")
        );
        Ok(())
    })
}
