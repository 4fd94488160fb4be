//! The library as embedders use it: the programs in runtime/examples, which `make examples` builds.

use std::time::Duration;

use anyhow::{Result, ensure};
use hostrun_integration::runtime::Call;
use hostrun_integration::{Bundle, Stage, example, on_stage_of_hostrun};

const REASON: &str = "it is a command and no library";

/// A call of an example, found beside this test.
fn example(stage: &Stage, name: &str, words: &[&str]) -> Result<Call> {
    let program = example::program(name)?;
    let root = stage.root().to_string_lossy().into_owned();
    let words: Vec<&str> = [root.as_str()]
        .into_iter()
        .chain(words.iter().copied())
        .collect();
    Ok(Call::new(&program, words))
}

fn written(bundle: &Bundle) -> Result<String> {
    Ok(bundle.write()?.to_string_lossy().into_owned())
}

#[test]
fn embed_runs_a_bundle_and_gives_its_status() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let dir = written(&stage.bundle()?.shell("echo hello; exit 7"))?;
        let out = example(stage, "embed", &[&dir, &stage.id()])?.run()?;
        assert_eq!((out.stdout().as_str(), out.code()), ("hello\n", 7));
        Ok(())
    })
}

#[test]
fn exec_joins_a_container_that_another_program_made() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let container = stage.start(&stage.bundle()?.shell("true >/here; sleep 60"))?;
        let words = [
            &container.id,
            "/bin/sh",
            "-c",
            "until [ -e /here ]; do sleep 0.05; done; ls /here; exit 5",
        ];
        let out = example(stage, "exec", &words)?.run()?;
        assert_eq!(
            (out.stdout().as_str(), out.code()),
            ("/here\n", 5),
            "{}",
            out.stderr()
        );
        container.delete()
    })
}

#[test]
fn stats_lists_what_each_container_uses() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let container = stage.start(&stage.bundle()?.shell("sleep 60 & sleep 60"))?;
        hostrun_integration::host::wait_for("two processes", || {
            let text = example(stage, "stats", &[]).and_then(Call::run);
            text.is_ok_and(|text| text.stdout().contains("2 processes"))
        })?;
        let text = example(stage, "stats", &[])?.run()?.ok()?;
        ensure!(
            text.starts_with(&container.id) && text.contains("ms of processor"),
            "{text}"
        );
        container.delete()
    })
}

#[test]
fn pods_share_network_ipc_and_name_but_not_their_processes() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let dir = written(&stage.bundle()?)?;
        // both stay until both were looked at: the kernel gives the number of one that is gone to the next
        let look = "echo >>/looked; until [ $(wc -l </looked) = 2 ]; do sleep 0.05; done
            for kind in net ipc uts pid mnt; do echo $kind $(readlink /proc/self/ns/$kind); done; hostname";
        let out = example(stage, "pods", &[&dir, &stage.id(), look, look])?.run()?;
        let text = out.ok()?;
        let same = |kind: &str| {
            let found: Vec<&str> = text.lines().filter(|line| line.starts_with(kind)).collect();
            found.len() == 2 && found.first() == found.last()
        };
        for (kind, shared) in [
            ("net", true),
            ("ipc", true),
            ("uts", true),
            ("pid", false),
            ("mnt", false),
        ] {
            ensure!(same(kind) == shared, "{kind}: {text}");
        }
        assert_eq!(text.matches("stage\n").count(), 2, "{text}");
        Ok(())
    })
}

#[test]
fn a_thousand_containers_start_from_sixteen_threads_that_allocate() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let dir = written(&stage.bundle()?)?;
        let call = example(stage, "threads", &[&dir, "1000", "16"])?;
        let out = call.within(Duration::from_mins(5)).run()?;
        ensure!(out.code() == 0, "{}{}", out.stdout(), out.stderr());
        let wanted = "1000 containers from 16 threads\n0 failed\n0 children left\n0 descriptors more\nunchanged\n";
        assert_eq!(out.stdout(), wanted);
        Ok(())
    })
}
