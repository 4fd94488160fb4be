//! `hostrun health`: what it says of containers that pass their check, fail it, never answer, or are not there.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::runtime::Call;
use hostrun_integration::{Stage, on_stage_of_hostrun};
use serde_json::{Value, json};

fn with_image(test: impl FnOnce(&Stage, &str) -> Result<()>) -> Result<()> {
    on_stage_of_hostrun("runc knows no health", |stage| {
        let image = Image::new(stage.dir())?;
        let name = stage.call(["load", "-q", &image.source()]).run()?.ok()?;
        let tested = test(stage, name.trim());
        tidied(stage, tested)
    })
}

/// Nothing of a test stays.
fn tidied(stage: &Stage, tested: Result<()>) -> Result<()> {
    let ids = stage.call(["ps", "-a", "-q", "--no-trunc"]).run()?.ok()?;
    for id in ids.lines() {
        stage.call(["rm", "--force", id]).run()?.ok()?;
    }
    tested
}

/// A container in the background that sleeps.
fn sleeper(stage: &Stage, image: &str, name: &str, flags: &[&str]) -> Result<()> {
    let words = [&["-d", "--name", name], flags, &[image, "sleep", "600"]].concat();
    stage.image_call(words).run()?.ok().map(drop)
}

/// What `health` says, and its exit code.
fn health(stage: &Stage, words: &[&str]) -> Result<(String, i32)> {
    let out = stage.call([&["health"], words].concat()).run()?;
    Ok((out.stdout(), out.code()))
}

/// State and reason of one container.
fn of(stage: &Stage, words: &[&str], name: &str) -> Result<(String, String)> {
    let (text, _) = health(stage, &[&["--format", "json"], words].concat())?;
    let all: Vec<Value> = serde_json::from_str(&text).with_context(|| text.clone())?;
    let one = all
        .iter()
        .find(|one| one.get("name").is_some_and(|own| own == name));
    let one = one.with_context(|| format!("{name} is not in {text}"))?;
    let text =
        |key: &str| -> Result<String> { Ok(at(one, key)?.as_str().context("no text")?.to_owned()) };
    Ok((text("/state")?, text("/reason")?))
}

fn at<'a>(value: &'a Value, pointer: &str) -> Result<&'a Value> {
    value
        .pointer(pointer)
        .with_context(|| format!("no {pointer} in {value}"))
}

fn set(value: &mut Value, pointer: &str, key: &str, new: Value) -> Result<()> {
    let object = value.pointer_mut(pointer).and_then(Value::as_object_mut);
    object.context("no object")?.insert(key.to_owned(), new);
    Ok(())
}

fn digest(bytes: &[u8], dir: &Path) -> Result<String> {
    let file = dir.join("bytes");
    fs::write(&file, bytes)?;
    let out = Call::new(Path::new("sha256sum"), [file]).run()?.ok()?;
    Ok(out
        .split_whitespace()
        .next()
        .context("no digest")?
        .to_owned())
}

/// Gives the image in a layout a `HEALTHCHECK`, as a builder would write it.
fn give_check(stage: &Stage, image: &Image, check: &Value) -> Result<()> {
    let layout = Path::new(&image.layout()).to_owned();
    let blob = |digest: &Value| -> Result<Value> {
        let hex = digest.as_str().unwrap_or_default().replace("sha256:", "");
        Ok(serde_json::from_slice(&fs::read(
            layout.join("blobs/sha256").join(hex),
        )?)?)
    };
    let put = |value: &Value| -> Result<(String, usize)> {
        let bytes = serde_json::to_vec(value)?;
        let hex = digest(&bytes, stage.dir())?;
        fs::write(layout.join("blobs/sha256").join(&hex), &bytes)?;
        Ok((format!("sha256:{hex}"), bytes.len()))
    };
    let mut index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
    let mut manifest = blob(at(&index, "/manifests/0/digest")?)?;
    let mut config = blob(at(&manifest, "/config/digest")?)?;
    set(&mut config, "/config", "Healthcheck", check.clone())?;
    let (name, size) = put(&config)?;
    set(&mut manifest, "/config", "digest", json!(name))?;
    set(&mut manifest, "/config", "size", json!(size))?;
    let (name, size) = put(&manifest)?;
    set(&mut index, "/manifests/0", "digest", json!(name))?;
    set(&mut index, "/manifests/0", "size", json!(size))?;
    fs::write(layout.join("index.json"), serde_json::to_vec(&index)?)?;
    Ok(())
}

#[test]
fn what_runs_and_passes_its_check_is_healthy_and_nothing_else_is() -> Result<()> {
    with_image(|stage, image| {
        assert_eq!(health(stage, &[])?, (String::new(), 0));
        sleeper(stage, image, "plain", &[])?;
        sleeper(stage, image, "good", &["--health-cmd", "test -e /opt/kept"])?;
        let (text, code) = health(stage, &[])?;
        assert_eq!(code, 0, "{text}");
        ensure!(
            text.contains("plain  healthy    it runs; there is no check\n"),
            "{text}"
        );
        ensure!(
            text.contains("good   healthy    it passes its check\n"),
            "{text}"
        );
        let flags = [
            "--health-cmd",
            "echo no luck; exit 3",
            "--health-retries",
            "1",
        ];
        sleeper(stage, image, "bad", &flags)?;
        let (text, code) = health(stage, &[])?;
        assert_eq!(code, 1, "{text}");
        ensure!(
            text.contains("bad    unhealthy  it fails its check: exit code 3: no luck\n"),
            "{text}"
        );
        // only what is asked for
        assert_eq!(health(stage, &["plain", "good"])?.1, 0);
        assert_eq!(health(stage, &["good", "bad"])?.1, 1);
        Ok(())
    })
}

#[test]
fn the_check_of_an_image_counts_and_flags_go_before_it() -> Result<()> {
    on_stage_of_hostrun("runc knows no health", |stage| {
        let tested = checks_of_images(stage);
        tidied(stage, tested)
    })
}

fn checks_of_images(stage: &Stage) -> Result<()> {
    let image = Image::new(stage.dir())?;
    give_check(
        stage,
        &image,
        &json!({
            "Test": ["CMD", "sh", "-c", "echo $HOME $0; exit 4", "the image's"],
            "Timeout": 20_000_000_000_u64,
            "Retries": 1,
        }),
    )?;
    let name = stage.call(["load", "-q", &image.source()]).run()?.ok()?;
    let name = name.trim();
    sleeper(stage, name, "image", &[])?;
    sleeper(stage, name, "flag", &["--health-cmd", "[\"true\"]"])?;
    sleeper(stage, name, "none", &["--no-healthcheck"])?;
    sleeper(stage, name, "no", &["--health-cmd", "none"])?;
    let (state, reason) = of(stage, &[], "image")?;
    assert_eq!(state, "unhealthy");
    ensure!(
        reason.ends_with("exit code 4: /root the image's"),
        "{reason}"
    );
    assert_eq!(of(stage, &[], "flag")?.1, "it passes its check");
    for name in ["none", "no"] {
        assert_eq!(of(stage, &[], name)?.1, "it runs; there is no check");
    }
    // and it is shown
    let shown = stage.call(["inspect", name]).run()?.ok()?;
    let shown: Value = serde_json::from_str(&shown)?;
    assert_eq!(at(&shown, "/0/config/config/Healthcheck/Retries")?, 1);
    // one that nobody understands is no health
    give_check(stage, &image, &json!({"Test": ["SOMEHOW"]}))?;
    let name = stage.call(["load", "-q", &image.source()]).run()?.ok()?;
    sleeper(stage, name.trim(), "odd", &[])?;
    let (state, reason) = of(stage, &["odd"], "odd")?;
    ensure!(
        state == "unhealthy" && reason.contains("not understood"),
        "{reason}"
    );
    Ok(())
}

#[test]
fn a_check_that_never_answers_is_ended_with_all_it_has_started() -> Result<()> {
    with_image(|stage, image| {
        let hangs = "trap '' TERM; sleep 1234 & sleep 1234";
        let flags = [
            "--health-timeout",
            "500ms",
            "--health-retries",
            "2",
            "--health-cmd",
            hangs,
        ];
        sleeper(stage, image, "hangs", &flags)?;
        let begun = Instant::now();
        let (state, reason) = of(stage, &[], "hangs")?;
        assert_eq!(
            (state.as_str(), reason.as_str()),
            ("unhealthy", "it fails its check: no answer within 500 ms")
        );
        ensure!(
            begun.elapsed() < Duration::from_mins(1),
            "{:?}",
            begun.elapsed()
        );
        let left = stage.call(["exec", "hangs", "sh", "-c", "ps | grep -c '[s]leep 1234'"]);
        assert_eq!(left.run()?.stdout().trim(), "0");
        Ok(())
    })
}

#[test]
fn what_a_check_writes_does_nothing_and_is_not_kept() -> Result<()> {
    with_image(|stage, image| {
        let loud = "yes | head -c 30000000; printf 'red \\033[31m\\033]0;title\\007 \\342\\200\\256 end\\n'; exit 1";
        sleeper(
            stage,
            image,
            "loud",
            &["--health-retries", "1", "--health-cmd", loud],
        )?;
        let (_, reason) = of(stage, &[], "loud")?;
        assert_eq!(
            reason,
            "it fails its check: exit code 1: red  [31m ]0;title    end"
        );
        // one that leaves something behind that goes on writing
        let leaves = "(sleep 1000; yes) & yes >/proc/1/fd/1 & echo up";
        sleeper(stage, image, "leaves", &["--health-cmd", leaves])?;
        assert_eq!(of(stage, &["leaves"], "leaves")?.0, "healthy");
        Ok(())
    })
}

#[test]
fn what_does_not_run_is_not_healthy_when_it_is_asked_for() -> Result<()> {
    with_image(|stage, image| {
        let (text, code) = health(stage, &["nobody", "--", "--wait"])?;
        assert_eq!(code, 1);
        assert_eq!(
            text.matches("there is no such container").count(),
            2,
            "{text}"
        );
        stage
            .image_call(["-d", "--name", "ended", image, "sh", "-c", "exit 7"])
            .run()?
            .ok()?;
        let end = Instant::now() + Duration::from_mins(1);
        while !of(stage, &["ended"], "ended")?
            .1
            .contains("it ended with exit code 7")
        {
            ensure!(
                Instant::now() < end,
                "{:?}",
                of(stage, &["ended"], "ended")?
            );
        }
        // nobody says that it should still run
        assert_eq!(health(stage, &[])?, (String::new(), 0));
        sleeper(stage, image, "still", &["--health-cmd", "true"])?;
        stage.call(["pause", &id(stage, "still")?]).run()?.ok()?;
        assert_eq!(
            of(stage, &[], "still")?,
            ("unhealthy".to_owned(), "it is paused".to_owned())
        );
        stage.call(["resume", &id(stage, "still")?]).run()?.ok()?;
        assert_eq!(health(stage, &[])?.1, 0);
        // one that ends while it is looked at
        let flags = [
            "--rm",
            "--health-retries",
            "1",
            "--health-cmd",
            "kill -9 1; kill -TERM 1; sleep 5; exit 1",
        ];
        let script = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
        let words = [
            &["-d", "--name", "ends"],
            &flags[..],
            &[image, "sh", "-c", script],
        ]
        .concat();
        stage.image_call(words).run()?.ok()?;
        assert_eq!(of(stage, &["ends"], "ends")?.0, "unhealthy");
        Ok(())
    })
}

fn id(stage: &Stage, name: &str) -> Result<String> {
    let shown: Value = serde_json::from_str(&stage.call(["inspect", name]).run()?.ok()?)?;
    Ok(at(&shown, "/0/id")?.as_str().context("no id")?.to_owned())
}

#[test]
fn whoever_waits_waits_until_it_is_known_and_no_longer() -> Result<()> {
    with_image(|stage, image| {
        // healthy at the third look, having failed more often than it may in its start period
        let grows = "echo x >>/tmp/looks; test $(wc -l </tmp/looks) -ge 3";
        let flags = [
            "--health-start-period",
            "5m",
            "--health-interval",
            "100ms",
            "--health-retries",
            "1",
        ];
        sleeper(
            stage,
            image,
            "grows",
            &[&flags[..], &["--health-cmd", grows]].concat(),
        )?;
        assert_eq!(of(stage, &[], "grows")?.0, "starting");
        let (text, code) = health(stage, &["--wait"])?;
        assert_eq!(code, 0, "{text}");
        // one that fails for good is waited for as long as it may fail
        let flags = [
            "--health-interval",
            "1s",
            "--health-retries",
            "2",
            "--health-cmd",
            "false",
        ];
        sleeper(stage, image, "fails", &flags)?;
        let begun = Instant::now();
        assert_eq!(of(stage, &["--wait=100", "fails"], "fails")?.0, "unhealthy");
        ensure!(
            begun.elapsed() < Duration::from_mins(1),
            "{:?}",
            begun.elapsed()
        );
        // and nobody longer than was said
        sleeper(
            stage,
            image,
            "slow",
            &["--health-start-period", "5m", "--health-cmd", "sleep 300"],
        )?;
        let begun = Instant::now();
        assert_eq!(of(stage, &["--wait=3", "slow"], "slow")?.0, "starting");
        ensure!(
            begun.elapsed() < Duration::from_mins(1),
            "{:?}",
            begun.elapsed()
        );
        Ok(())
    })
}
