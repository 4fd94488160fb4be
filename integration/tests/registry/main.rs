//! Debian's docker-registry, as it is: what goes there and what comes from there.

mod passwords;
mod places;
mod resumption;
mod signatures;
mod users;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::registry::debian::Kind;
use hostrun_integration::registry::faulty::Truth;
use hostrun_integration::registry::{Debian, Proxy};
use hostrun_integration::runtime::Call;
use hostrun_integration::{Outcome, Stage, on_stage_of_hostrun};
use serde_json::Value;

const REASON: &str = "runc knows no registries";

const PLAIN: &str = "--tls-verify=false";

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A registry of a kind, with the usual image under `box:1`.
fn with_registry(
    kind: Kind,
    test: impl FnOnce(&Stage, &Debian, &Image) -> Result<()>,
) -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let image = Image::new(stage.dir())?;
        let registry = Debian::start(stage.dir(), kind)?;
        registry.put(&image, "box:1")?;
        test(stage, &registry, &image)
    })
}

fn pull(stage: &Stage, words: &[&str]) -> Result<Outcome> {
    stage.call([&["pull", "-q"], words].concat()).run()
}

/// A call with variables set, and none of the caller's that say where passwords are.
fn with_variables(call: Call, variables: &[String]) -> Call {
    let none = ["env", "-u", "REGISTRY_AUTH_FILE", "-u", "DOCKER_CONFIG"].map(str::to_owned);
    call.under(none.into_iter().chain(variables.iter().cloned()))
}

/// `sha256sum`, as blobs are named.
fn digest_of(bytes: &[u8]) -> Result<String> {
    let sum = Call::new(Path::new("sha256sum"), ["-"])
        .input(bytes)
        .run()?
        .ok()?;
    let digits = sum.split_whitespace().next().context("no sum")?;
    Ok(format!("sha256:{digits}"))
}

fn kept_in(image: &str, stage: &Stage) -> Result<String> {
    stage
        .image_call(["--rm", "--pull=never", image, "cat", "/opt/kept"])
        .run()?
        .ok()
}

#[test]
fn an_image_comes_by_tag_and_by_digest_and_runs() -> Result<()> {
    with_registry(Kind::default(), |stage, registry, image| {
        let tagged = registry.name("box:1");
        assert_eq!(pull(stage, &[PLAIN, &tagged])?.ok()?, format!("{tagged}\n"));
        assert_eq!(kept_in(&tagged, stage)?, "from the second layer\n");
        let digest = Truth::new(Path::new(&image.layout())).manifest()?;
        let exact = registry.name(&format!("box@{digest}"));
        assert_eq!(pull(stage, &[PLAIN, &exact])?.ok()?, format!("{exact}\n"));
        assert_eq!(kept_in(&exact, stage)?, "from the second layer\n");
        stage.call(["verify", "--deep"]).run()?.ok()?;
        let missing = pull(stage, &[PLAIN, &registry.name("box:2")])?;
        ensure!(
            missing.stderr().contains("404 not found"),
            "{}",
            missing.stderr()
        );
        Ok(())
    })
}

#[test]
fn a_plain_registry_is_refused_unless_it_is_allowed() -> Result<()> {
    with_registry(Kind::default(), |stage, registry, _| {
        let name = registry.name("box:1");
        let out = pull(stage, &[&name])?;
        assert_eq!(out.code(), 125);
        ensure!(
            out.stderr().contains("hint: --tls-verify=false"),
            "{}",
            out.stderr()
        );
        let config = stage.dir().join("registries.conf");
        let host = registry.host();
        fs::write(
            &config,
            format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n"),
        )?;
        let variable = [format!("CONTAINERS_REGISTRIES_CONF={}", config.display())];
        with_variables(stage.call(["pull", "-q", &name]), &variable)
            .run()?
            .ok()?;
        // what is said on the command line goes before it
        let call = stage.call(["pull", "-q", "--tls-verify=true", &name]);
        ensure!(with_variables(call, &variable).run()?.code() == 125);
        Ok(())
    })
}

#[test]
fn a_registry_proves_who_it_is() -> Result<()> {
    let kind = Kind {
        secure: true,
        ..Kind::default()
    };
    with_registry(kind, |stage, registry, _| {
        let name = registry.name("box:1");
        let out = pull(stage, &[&name])?;
        ensure!(
            out.stderr().contains("TLS: invalid peer certificate"),
            "{}",
            out.stderr()
        );
        ensure!(out.stderr().contains("certs.d"), "{}", out.stderr());
        // an authority for this registry alone
        let certificates = stage.folder("certificates")?;
        fs::copy(registry.authority(), certificates.join("ca.crt"))?;
        pull(stage, &["--cert-dir", &shown(&certificates), &name])?.ok()?;
        stage.call(["rmi", &name]).run()?.ok()?;
        // one of the system
        let system = [format!("SSL_CERT_FILE={}", registry.authority().display())];
        with_variables(stage.call(["pull", "-q", &name]), &system)
            .run()?
            .ok()?;
        stage.call(["rmi", &name]).run()?.ok()?;
        // nobody at all, where that is said
        pull(stage, &[PLAIN, &name])?.ok().map(drop)
    })
}

#[test]
fn a_proxy_of_the_environment_is_gone_through() -> Result<()> {
    let kind = Kind {
        secure: true,
        ..Kind::default()
    };
    with_registry(kind, |stage, registry, _| {
        let proxy = Proxy::start()?;
        let name = registry.name("box:1");
        let authority = format!("SSL_CERT_FILE={}", registry.authority().display());
        let pull = |more: &[String]| -> Result<()> {
            let variables = [std::slice::from_ref(&authority), more].concat();
            let call = stage.call(["pull", "-q", &name]);
            with_variables(call, &variables).run()?.ok()?;
            stage.call(["rmi", &name]).run()?.ok().map(drop)
        };
        let through = format!("https_proxy={}", proxy.url());
        pull(std::slice::from_ref(&through))?;
        let asked = proxy.asked();
        ensure!(!asked.is_empty(), "it was not gone through");
        ensure!(
            asked.iter().all(|place| *place == registry.host()),
            "{asked:?}"
        );
        pull(&[through, "NO_PROXY=example.org,127.0.0.1".to_owned()])?;
        assert_eq!(proxy.asked().len(), asked.len());
        Ok(())
    })
}

#[test]
fn what_is_pushed_is_what_is_pulled() -> Result<()> {
    with_registry(Kind::default(), |stage, registry, image| {
        // as it came, under another name: its digest stays
        let from = registry.name("box:1");
        pull(stage, &[PLAIN, &from])?.ok()?;
        let digest = Truth::new(Path::new(&image.layout())).manifest()?;
        let to = registry.name("other/copy:2");
        let push = |words: &[&str]| stage.call([&["push", "-q", PLAIN], words].concat()).run();
        let sent = || registry.log().matches("method=PATCH").count();
        let before = sent();
        assert_eq!(push(&[&from, &to])?.ok()?, format!("{digest}\n"));
        assert_eq!(sent(), before, "bytes were sent");

        // out of the store, compressed anew: another digest, the same image
        let root = stage.folder("root")?;
        fs::write(root.join("file"), vec![b'x'; 3 << 20])?;
        let tar = shown(&stage.dir().join("root.tar"));
        Call::new(Path::new("tar"), ["-C", &shown(&root), "-cf", &tar, "."])
            .run()?
            .ok()?;
        stage.call(["import", &tar, "mine:1"]).run()?.ok()?;
        let mine = registry.name("mine:1");
        let file = shown(&stage.dir().join("digest"));
        let first = push(&["--digestfile", &file, "mine:1", &mine])?.ok()?;
        assert_eq!(fs::read_to_string(&file)?.trim(), first.trim());
        let id = stage
            .call(["images", "-q", "--no-trunc", "mine:1"])
            .run()?
            .ok()?;
        // once more: nothing is left to send
        let before = sent();
        ensure!(before > 0, "no bytes were ever sent");
        assert_eq!(push(&["mine:1", &mine])?.ok()?, first);
        assert_eq!(sent(), before, "bytes were sent");
        stage.call(["rmi", "mine:1"]).run()?.ok()?;
        pull(stage, &[PLAIN, &mine])?.ok()?;
        let back = stage
            .call(["images", "-q", "--no-trunc", &mine])
            .run()?
            .ok()?;
        assert_eq!(back, id);
        // skopeo reads it, too
        let copy = format!("oci:{}", stage.dir().join("copy").display());
        registry.skopeo(&format!("docker://{mine}"), &copy)?;
        let missing = push(&["nothing:1", &mine])?;
        assert_eq!(missing.code(), 125, "{}", missing.stderr());
        let exact = registry.name(&format!("mine@{digest}"));
        ensure!(
            push(&[&mine, &exact])?
                .stderr()
                .contains("a digest is nothing one can choose")
        );
        Ok(())
    })
}

#[test]
fn progress_is_told_as_bars_lines_or_json() -> Result<()> {
    with_registry(Kind::default(), |stage, registry, _| {
        let name = registry.name("box:1");
        let told = |how: &str| -> Result<String> {
            let out = stage.call(["pull", PLAIN, how, &name]).run()?;
            stage.call(["rmi", &name]).run()?.ok()?;
            ensure!(out.code() == 0, "{}", out.stderr());
            Ok(out.stderr())
        };
        let json = told("--progress=json")?;
        let mut ends = 0;
        for line in json.lines() {
            let line: Value = serde_json::from_str(line)?;
            let number = |key: &str| line.get(key).and_then(Value::as_u64);
            ensure!(number("current") <= number("total"), "{line}");
            ends += usize::from(number("current") == number("total"));
        }
        assert_eq!(ends, 3, "{json}");
        ensure!(told("--progress=tty")?.contains("[########################]"));
        ensure!(
            told("--progress=plain")?
                .lines()
                .all(|line| line.contains(": "))
        );
        Ok(())
    })
}
