//! The verbs of the store, as their users call them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::runtime::Call;
use hostrun_integration::trace::Trace;
use hostrun_integration::{Stage, on_stage_of_hostrun};
use nix::libc;
use serde_json::Value;

fn with_store(test: impl FnOnce(&Stage) -> Result<()>) -> Result<()> {
    on_stage_of_hostrun("runc knows no images", test)
}

fn ok(stage: &Stage, words: &[&str]) -> Result<String> {
    stage.call(words).run()?.ok()
}

fn json(stage: &Stage, words: &[&str]) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&ok(
        stage,
        &[words, &["--format", "json"]].concat(),
    )?)?)
}

fn path(stage: &Stage, name: &str) -> String {
    stage.dir().join(name).to_string_lossy().into_owned()
}

/// The tar of a root with one file, and busybox in it where it is to be run.
fn tar(stage: &Stage, content: &str) -> Result<String> {
    let root = stage.folder("root")?;
    fs::create_dir_all(root.join("bin"))?;
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    fs::write(root.join("content"), content)?;
    let tar = path(stage, "root.tar");
    let words = ["-C", &root.to_string_lossy(), "-cf", &tar, "."];
    Call::new(Path::new("tar"), words).run()?.ok()?;
    Ok(tar)
}

/// Imports an image that writes its file when it is run.
fn import(stage: &Stage, content: &str, name: &str) -> Result<String> {
    let tar = tar(stage, content)?;
    let words = [
        "import",
        "-c",
        r#"CMD ["/bin/busybox","cat","/content"]"#,
        "-c",
        &format!("LABEL content={content}"),
        &tar,
        name,
    ];
    Ok(ok(stage, &words)?.trim().to_owned())
}

fn says(stage: &Stage, image: &str) -> Result<String> {
    stage.image_call(["--rm", image]).run()?.ok()
}

#[test]
fn an_imported_image_runs_is_saved_and_loaded_again() -> Result<()> {
    with_store(|stage| {
        let id = import(stage, "one", "app:1")?;
        assert_eq!(says(stage, "app:1")?, "one");
        let archive = path(stage, "saved.tar");
        ok(stage, &["save", "-o", &archive, "app:1"])?;
        ok(stage, &["rmi", "app:1"])?;
        ensure!(stage.image_call(["--rm", "app:1"]).run()?.code() == 125);
        // a file, a compressed one, and both through a pipe
        let bytes = fs::read(&archive)?;
        Call::new(Path::new("gzip"), ["-k", &archive]).run()?.ok()?;
        let packed = fs::read(format!("{archive}.gz"))?;
        for bytes in [bytes, packed] {
            fs::write(&archive, &bytes)?;
            assert_eq!(ok(stage, &["load", "-q", "-i", &archive])?, "app:1\n");
            assert_eq!(says(stage, "app:1")?, "one");
            ok(stage, &["rmi", "app:1"])?;
            let loaded = stage.call(["load", "-q"]).input(bytes).run()?.ok()?;
            assert_eq!(loaded, "app:1\n");
            let listed = ok(stage, &["images", "-q", "--no-trunc"])?;
            assert_eq!(listed.trim(), id);
            ok(stage, &["rmi", "app:1"])?;
        }
        // what other tools write and read
        import(stage, "two", "app:2")?;
        ok(stage, &["save", "--compress", "-o", &archive, "app:2"])?;
        let (from, to) = (
            format!("oci-archive:{archive}:2"),
            format!("dir:{}", path(stage, "dir")),
        );
        let words = ["--insecure-policy", "copy", "--quiet", &from, &to];
        Call::new(Path::new("skopeo"), words).run()?.ok()?;
        Ok(())
    })
}

#[test]
fn names_are_given_taken_and_go_back() -> Result<()> {
    with_store(|stage| {
        let one = import(stage, "one", "app:1")?;
        ok(stage, &["tag", "app:1", "example.org/app:stable", "other"])?;
        let digits = one.rsplit(':').next().context("no id")?.chars();
        let short: String = digits.take(12).collect();
        let out = stage.call(["rmi", &short]).run()?;
        ensure!(
            out.code() == 125,
            "an image with three names went by its id"
        );
        import(stage, "two", "app:1")?;
        assert_eq!(says(stage, "app:1")?, "two");
        ok(stage, &["generations", "rollback"])?;
        assert_eq!(says(stage, "app:1")?, "one");
        let last = json(stage, &["generations", "list"])?.len().to_string();
        ok(stage, &["generations", "switch", &last])?;
        assert_eq!(says(stage, "app:1")?, "two");
        assert_eq!(says(stage, "other")?, "one");
        ok(stage, &["rmi", "-f", &short])?;
        assert_eq!(json(stage, &["images"])?.len(), 1);
        ok(stage, &["rmi", "-f", "nothing"])?;
        Ok(())
    })
}

/// However large the image and slow the disk: two syncs with something to write, and one without.
#[test]
fn a_removal_waits_for_the_disk_three_times() -> Result<()> {
    with_store(|stage| {
        import(stage, "one", "app:1")?;
        let rmi = stage.call(["rmi", "app:1"]);
        let syncs = |call| {
            let syncs = [
                libc::SYS_fsync,
                libc::SYS_fdatasync,
                libc::SYS_syncfs,
                libc::SYS_sync,
            ];
            syncs.contains(&call)
        };
        let syncs = Trace::of(rmi.words()).calls(syncs)?;
        ensure!(syncs == [libc::SYS_fsync; 3], "{syncs:?}");
        Ok(())
    })
}

#[test]
fn lists_are_filtered_as_docker_filters_them() -> Result<()> {
    with_store(|stage| {
        import(stage, "one", "app:1")?;
        import(stage, "two", "app:2")?;
        import(stage, "three", "other")?;
        import(stage, "four", "other")?;
        for (filter, count) in [
            ("reference=app:*", 2),
            ("reference=o*", 1),
            ("reference=none", 0),
            ("dangling=true", 1),
            ("dangling=false", 3),
            ("label=content", 4),
            ("label=content=two", 1),
            ("label!=content", 0),
            ("label!=content=two", 3),
            // they were made just now
            ("until=1h", 0),
            ("until=2024-01-01", 0),
            ("until=4000000000", 4),
        ] {
            let listed = json(stage, &["images", "-f", filter])?;
            assert_eq!(listed.len(), count, "{filter}");
        }
        let either = ["images", "-f", "reference=app:1", "-f", "reference=other*"];
        assert_eq!(json(stage, &either)?.len(), 2);
        assert_eq!(json(stage, &["images", "app"])?.len(), 2);
        ensure!(stage.call(["images", "-f", "x=y"]).run()?.code() == 125);
        let steps = json(stage, &["history", "app:1"])?;
        let size = steps.first().and_then(|step| step.get("size")?.as_u64());
        ensure!(size.is_some_and(|size| size > 100_000), "{steps:?}");
        Ok(())
    })
}

#[test]
fn prune_forgets_and_keeps_what_containers_need() -> Result<()> {
    with_store(|stage| {
        import(stage, "one", "app:1")?;
        import(stage, "two", "app:1")?;
        import(stage, "three", "kept")?;
        stage.image_call(["kept"]).run()?.ok()?;
        let out = ok(stage, &["gc"])?;
        assert_eq!(out, "reclaimed: 0B\n", "a rollback would still need it");
        ensure!(ok(stage, &["prune"])?.contains("deleted: sha256:"));
        assert_eq!(json(stage, &["images"])?.len(), 2);
        ok(stage, &["prune", "-a"])?;
        assert_eq!(json(stage, &["images"])?.len(), 1);
        let used: Value = serde_json::from_str(&ok(stage, &["df", "--format", "json"])?)?;
        assert_eq!(used.get("imagesInUse"), Some(&Value::from(1)));
        assert_eq!(used.get("reclaimable"), Some(&Value::from(0)));
        for id in stage.image_containers() {
            ok(stage, &["rm", &id])?;
        }
        ok(stage, &["prune", "-a"])?;
        assert_eq!(json(stage, &["images"])?.len(), 0);
        Ok(())
    })
}

#[test]
fn prune_removes_what_the_filters_take_and_nothing_else() -> Result<()> {
    with_store(|stage| {
        for content in ["one", "two", "three"] {
            import(stage, content, "app:1")?;
        }
        let labels = || -> Result<Vec<String>> {
            let mut labels = Vec::new();
            for image in json(stage, &["images"])? {
                let id = image.get("id").and_then(Value::as_str).context("no id")?;
                let told = ok(stage, &["inspect", id])?;
                let all = ["one", "two", "three"];
                let one = all
                    .iter()
                    .find(|label| told.contains(&format!(r#""content": "{label}""#)));
                labels.push((*one.context("no label")?).to_owned());
            }
            labels.sort();
            Ok(labels)
        };
        assert_eq!(
            ok(stage, &["prune", "--filter", "until=2001-01-01"])?,
            "reclaimed: 0B\n"
        );
        assert_eq!(labels()?, ["one", "three", "two"]);
        ok(stage, &["prune", "--filter", "label=content=one"])?;
        assert_eq!(labels()?, ["three", "two"]);
        // the one before the last is still there to go back to
        ok(stage, &["generations", "rollback"])?;
        assert_eq!(says(stage, "app:1")?.trim(), "two");
        ok(
            stage,
            &[
                "prune",
                "-a",
                "-f",
                "--filter",
                "label!=content=three",
                "--filter",
                "until=2100-01-01",
            ],
        )?;
        assert_eq!(labels()?, ["three"]);
        let refused = stage.call(["prune", "--filter", "colour=red"]).run()?;
        assert_eq!(refused.code(), 125, "{}", refused.stderr());
        Ok(())
    })
}

#[test]
fn damage_is_told_and_repaired() -> Result<()> {
    with_store(|stage| {
        import(stage, "one", "app:1")?;
        let layers = stage.store().join("store/layers");
        let layer = fs::read_dir(layers)?.flatten().next().context("no layer")?;
        fs::write(layer.path().join("fs/content"), "eno")?;
        ok(stage, &["verify"])?;
        let out = stage.call(["verify", "--deep"]).run()?;
        assert_eq!(out.code(), 1);
        ensure!(
            out.stdout().starts_with("damaged: layer sha256:"),
            "{}",
            out.stdout()
        );
        ok(stage, &["verify", "--deep", "--repair"])?;
        ok(stage, &["verify", "--deep"])?;
        assert_eq!(json(stage, &["images"])?.len(), 0);
        Ok(())
    })
}

#[test]
fn images_of_the_system_run_and_stay() -> Result<()> {
    with_store(|stage| {
        import(stage, "system", "app:1")?;
        let system = stage.dir().join("system");
        fs::rename(stage.store(), &system)?;
        let system = system.to_string_lossy().into_owned();
        let call = |words: &[&str]| {
            let words = [&["--system-store", &system], words].concat();
            stage.call(words).run()
        };
        let run = ["run", "--rm", "app:1"];
        assert_eq!(call(&run)?.ok()?, "system");
        assert_eq!(call(&["rmi", "app:1"])?.code(), 125);
        import(stage, "own", "app:1")?;
        assert_eq!(call(&run)?.ok()?, "own");
        call(&["rmi", "app:1"])?.ok()?;
        assert_eq!(call(&run)?.ok()?, "system");
        Ok(())
    })
}

#[test]
fn limits_are_options() -> Result<()> {
    with_store(|stage| {
        import(stage, "one", "app:1")?;
        let archive = path(stage, "saved.tar");
        ok(stage, &["save", "-o", &archive, "app:1"])?;
        ok(stage, &["rmi", "app:1"])?;
        for (option, value) in [
            ("--max-entries", "2"),
            ("--max-layer-bytes", "1k"),
            ("--max-layers", "0"),
        ] {
            let out = stage.call(["load", option, value, "-i", &archive]).run()?;
            assert_eq!(out.code(), 125, "{option}");
            ensure!(
                out.stderr().contains("limit") || out.stderr().contains("more than"),
                "{}",
                out.stderr()
            );
        }
        ok(stage, &["load", "-i", &archive]).map(drop)
    })
}
