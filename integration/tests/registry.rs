//! Debian's docker-registry, as it is: what goes there and what comes from there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::registry::debian::{CREDENTIALS, Kind};
use hostrun_integration::registry::faulty::Truth;
use hostrun_integration::registry::{Body, Debian, FaultyRegistry, Proxy, Reply};
use hostrun_integration::runtime::Call;
use hostrun_integration::trace::is_below;
use hostrun_integration::{Outcome, Stage, on_stage_of_hostrun};
use rustix::process::{Pid, Signal, kill_process};
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
fn a_registry_can_want_to_know_who_we_are() -> Result<()> {
    let kind = Kind {
        secure: true,
        mutual: true,
        ..Kind::default()
    };
    on_stage_of_hostrun(REASON, |stage| {
        let registry = Debian::start(stage.dir(), kind)?;
        let folder = stage.folder("certificates")?;
        fs::copy(registry.authority(), folder.join("ca.crt"))?;
        let dir = shown(&folder);
        let name = registry.name("box:1");
        let pull = || pull(stage, &["--retry=0", "--cert-dir", &dir, &name]);
        let out = pull()?;
        ensure!(
            out.stderr().contains("TLS: received fatal alert"),
            "{}",
            out.stderr()
        );
        registry.introduce(&folder)?;
        // it lets us in, and has nothing
        let out = pull()?;
        ensure!(out.stderr().contains("404 not found"), "{}", out.stderr());
        fs::write(folder.join("me.key"), "no key\n")?;
        let out = pull()?;
        ensure!(out.stderr().contains("cannot use"), "{}", out.stderr());
        ensure!(out.stderr().contains("me.key"), "{}", out.stderr());
        Ok(())
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
fn a_password_opens_a_registry_wherever_it_is_kept() -> Result<()> {
    let kind = Kind {
        secure: true,
        locked: true,
        ..Kind::default()
    };
    with_registry(kind, |stage, registry, _| {
        let (name, host) = (registry.name("box:1"), registry.host());
        let out = pull(stage, &[PLAIN, &name])?;
        ensure!(
            out.stderr().contains("it wants credentials"),
            "{}",
            out.stderr()
        );
        ensure!(
            out.stderr().contains("hint: 'hostrun login"),
            "{}",
            out.stderr()
        );
        pull(stage, &[PLAIN, "--creds", CREDENTIALS, &name])?.ok()?;

        let file = shown(&stage.dir().join("auth/auth.json"));
        let login = |password: &str| {
            let words = [
                "login",
                PLAIN,
                "--authfile",
                &file,
                "-u",
                "user",
                "--password-stdin",
                &host,
            ];
            stage.call(words).input(format!("{password}\n")).run()
        };
        let refused = login("wrong")?;
        ensure!(
            refused.stderr().contains("does not take our credentials"),
            "{}",
            refused.stderr()
        );
        ensure!(!Path::new(&file).exists(), "a wrong password was kept");
        assert_eq!(login("secret")?.ok()?, "Login Succeeded!\n");
        assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
        let kept: Value = serde_json::from_slice(&fs::read(&file)?)?;
        let auth = kept.pointer(&format!("/auths/{host}/auth"));
        assert_eq!(auth.and_then(Value::as_str), Some("dXNlcjpzZWNyZXQ="));
        pull(stage, &[PLAIN, "--authfile", &file, &name])?.ok()?;
        let variable = [format!("REGISTRY_AUTH_FILE={file}")];
        let call = stage.call(["pull", "-q", PLAIN, &name]);
        with_variables(call, &variable).run()?.ok()?;

        let logout = ["logout", "--authfile", &file, &host];
        stage.call(logout).run()?.ok()?;
        ensure!(
            stage.call(logout).run()?.code() == 125,
            "nothing was left to forget"
        );
        ensure!(pull(stage, &[PLAIN, "--authfile", &file, &name])?.code() == 125);
        Ok(())
    })
}

#[test]
fn a_helper_of_dockers_is_asked_for_the_password() -> Result<()> {
    let kind = Kind {
        locked: true,
        ..Kind::default()
    };
    with_registry(kind, |stage, registry, _| {
        let helpers = stage.folder("helpers")?;
        let helper = helpers.join("docker-credential-test");
        fs::write(
            &helper,
            format!(
                "#!/bin/sh\n[ \"$1 $(cat)\" = 'get {}' ] && echo '{{\"Username\":\"user\",\"Secret\":\"secret\"}}'\n",
                registry.host()
            ),
        )?;
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755))?;
        let docker = stage.folder("docker")?;
        let file = docker.join("config.json");
        let path = std::env::var("PATH")?;
        let variables = [
            format!("PATH={}:{path}", helpers.display()),
            format!("DOCKER_CONFIG={}", docker.display()),
            "XDG_RUNTIME_DIR=/nonexistent".to_owned(),
            "XDG_CONFIG_HOME=/nonexistent".to_owned(),
        ];
        let name = registry.name("box:1");
        let host = registry.host();
        for config in [
            r#"{"credsStore":"test"}"#.to_owned(),
            format!(r#"{{"credHelpers":{{"{host}":"test"}}}}"#),
        ] {
            fs::write(&file, config)?;
            let call = stage.call(["pull", "-q", PLAIN, &name]);
            with_variables(call, &variables).run()?.ok()?;
        }
        fs::write(&file, r#"{"credsStore":"../../bin/sh"}"#)?;
        let call = stage.call(["pull", "-q", PLAIN, &name]);
        let out = with_variables(call, &variables).run()?;
        ensure!(
            out.stderr().contains("whose name is a path"),
            "{}",
            out.stderr()
        );
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
fn a_push_needs_the_password() -> Result<()> {
    let kind = Kind {
        secure: true,
        locked: true,
        ..Kind::default()
    };
    with_registry(kind, |stage, registry, _| {
        let name = registry.name("box:1");
        pull(stage, &[PLAIN, "--creds", CREDENTIALS, &name])?.ok()?;
        let to = registry.name("new:1");
        let push = |words: &[&str]| stage.call([&["push", "-q", PLAIN], words].concat()).run();
        ensure!(
            push(&[&name, &to])?
                .stderr()
                .contains("it wants credentials")
        );
        push(&["--creds", CREDENTIALS, &name, &to])?.ok()?;
        pull(stage, &[PLAIN, "--creds", CREDENTIALS, &to])?
            .ok()
            .map(drop)
    })
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

#[test]
fn of_an_index_the_platform_that_is_wanted_comes() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let (here, there) = (stage.folder("here")?, stage.folder("there")?);
        let (mine, other) = (Image::new(&here)?, Image::new(&there)?);
        other.config(&["--architecture=arm64"])?;
        let (mine, other) = (
            Truth::new(Path::new(&mine.layout())),
            Truth::new(Path::new(&other.layout())),
        );
        let entry = |truth: &Truth, architecture: &str| -> Result<Value> {
            let digest = truth.manifest()?;
            Ok(serde_json::json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest,
                "size": truth.blob(&digest)?.len(),
                "platform": {"os": "linux", "architecture": architecture},
            }))
        };
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": kind,
            "manifests": [entry(&other, "arm64")?, entry(&mine, "amd64")?],
        });
        let bytes = index.to_string().into_bytes();
        let digest = digest_of(&bytes)?;
        let served = digest.clone();
        let server = FaultyRegistry::start(move |request| {
            let last = request.path.rsplit('/').next().unwrap_or_default();
            if last == "1" || last == served {
                return Reply::bytes(kind, bytes.clone());
            }
            let answer = mine.answer(request);
            if answer.status == 404 {
                return other.answer(request);
            }
            answer
        })?;
        let name = server.name("box:1");
        pull(stage, &[PLAIN, &name])?.ok()?;
        assert_eq!(kept_in(&name, stage)?, "from the second layer\n");
        // by the digest of the index: the name holds, whichever manifest it led to
        let exact = server.name(&format!("box@{digest}"));
        pull(stage, &[PLAIN, &exact])?.ok()?;
        assert_eq!(kept_in(&exact, stage)?, "from the second layer\n");
        pull(stage, &[PLAIN, "--platform", "linux/arm64", &name])?.ok()?;
        let inspected = stage.call(["inspect", &name]).run()?.ok()?;
        ensure!(inspected.contains("arm64"), "{inspected}");
        let out = pull(stage, &[PLAIN, "--platform", "linux/s390x", &name])?;
        ensure!(
            out.stderr().contains("no image for linux/s390x"),
            "{}",
            out.stderr()
        );
        Ok(())
    })
}

#[test]
fn the_configuration_says_where_an_image_is() -> Result<()> {
    with_registry(Kind::default(), |stage, registry, image| {
        registry.put(image, "hub/library/box:1")?;
        let file = stage.dir().join("registries.conf");
        let host = registry.host();
        fs::write(
            &file,
            format!(
                "unqualified-search-registries = [\"docker.io\"]\n\
                 [[registry]]\nprefix = \"docker.io\"\n\
                 [[registry.mirror]]\nlocation = \"127.0.0.1:1/none\"\n\
                 [[registry.mirror]]\nlocation = \"{host}/hub\"\ninsecure = true\n\
                 [[registry]]\nprefix = \"moved.example\"\nlocation = \"{host}\"\ninsecure = true\n\
                 [[registry]]\nprefix = \"bad.example\"\nblocked = true\n\
                 [aliases]\n\"short\" = \"moved.example/box\"\n"
            ),
        )?;
        let variable = [format!("CONTAINERS_REGISTRIES_CONF={}", file.display())];
        let pull = |name: &str| {
            with_variables(stage.call(["pull", "-q", "--retry=1", name]), &variable).run()
        };
        assert_eq!(pull("box:1")?.ok()?, "box:1\n");
        assert_eq!(
            kept_in("docker.io/library/box:1", stage)?,
            "from the second layer\n"
        );
        assert_eq!(pull("moved.example/box:1")?.ok()?, "moved.example/box:1\n");
        assert_eq!(pull("short:1")?.ok()?, "moved.example/box:1\n");
        let out = pull("bad.example/box:1")?;
        ensure!(
            out.stderr()
                .contains("registries.conf blocks 'bad.example'"),
            "{}",
            out.stderr()
        );
        fs::write(
            &file,
            "unqualified-search-registries = [\"a.example\", \"b.example\"]\n",
        )?;
        let out = pull("box:1")?;
        ensure!(
            out.stderr().contains("could be of a.example, b.example"),
            "{}",
            out.stderr()
        );
        fs::write(
            &file,
            "[[registry]]\nlocation = \"a.example\"\nblokced = true\n",
        )?;
        ensure!(pull("box:1")?.stderr().contains("line 3"));
        Ok(())
    })
}

/// A host may know its mirrors and nothing else; and what is wrong with a mirror is told, though the registry has
/// the last word.
#[test]
fn a_mirror_is_believed_where_nobody_else_answers_and_is_told_of() -> Result<()> {
    with_registry(Kind::default(), |stage, registry, _image| {
        let file = stage.dir().join("registries.conf");
        let host = registry.host();
        // nobody listens on that port
        let text = format!(
            "[[registry]]\nprefix = \"far.example\"\nlocation = \"127.0.0.1:1\"\ninsecure = true\n\
             [[registry.mirror]]\nlocation = \"{host}\"\ninsecure = true\n"
        );
        fs::write(&file, text)?;
        let variable = [format!("CONTAINERS_REGISTRIES_CONF={}", file.display())];
        let policy = stage.dir().join("policy.json");
        let text = r#"{"default":[{"type":"sigstoreSigned","keyPath":"/none.pub"}]}"#;
        fs::write(&policy, text)?;
        // signatures are asked for by names that the mirror does not have: it is the key that is missing then
        let words = ["--signature-policy", &shown(&policy), "pull", "-q"];
        let call = stage.call([&words[..], &["far.example/box:1"]].concat());
        let out = with_variables(call, &variable).run()?;
        ensure!(out.stderr().contains("none.pub"), "{}", out.stderr());
        let pull = |name: &str| {
            with_variables(stage.call(["pull", "-q", "--retry=1", name]), &variable).run()
        };
        let told = pull("far.example/none:1")?.stderr();
        ensure!(told.contains(&format!("{host}: 404")), "{told}");
        ensure!(told.contains("127.0.0.1:1: "), "{told}");
        pull("far.example/box:1")?.ok().map(drop)
    })
}

#[test]
fn run_gets_what_is_not_there() -> Result<()> {
    with_registry(Kind::default(), |stage, registry, image| {
        let file = stage.dir().join("registries.conf");
        let host = registry.host();
        fs::write(
            &file,
            format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n"),
        )?;
        let variable = [format!("CONTAINERS_REGISTRIES_CONF={}", file.display())];
        let name = registry.name("box:1");
        let run = |how: &str| {
            let call = stage.image_call(["--rm", how, &name, "cat", "/opt/kept"]);
            with_variables(call, &variable).run()
        };
        let out = run("--pull=never")?;
        ensure!(out.stderr().contains("no image"), "{}", out.stderr());
        assert_eq!(run("--pull=missing")?.ok()?, "from the second layer\n");
        let before = registry.log().len();
        assert_eq!(run("--pull=missing")?.ok()?, "from the second layer\n");
        assert_eq!(registry.log().len(), before, "the registry was asked again");
        // what the tag means now
        let new = stage.dir().join("new");
        fs::write(&new, "new\n")?;
        image.insert(&new, "/opt/kept")?;
        registry.put(image, "box:1")?;
        assert_eq!(run("--pull=missing")?.ok()?, "from the second layer\n");
        assert_eq!(run("--pull=always")?.ok()?, "new\n");
        // with a volume we are executed anew, from a place without a name
        let volume = format!("-v{}:/volume", shown(&stage.folder("volume")?));
        let words = ["--rm", "--pull=always", &volume, &name, "cat", "/opt/kept"];
        let call = with_variables(stage.image_call(words), &variable);
        assert_eq!(call.run()?.ok()?, "new\n");
        Ok(())
    })
}

/// A signature of an image as cosign keeps it in a registry: the manifest with it, and the blobs that has.
fn signature(key: &str, dir: &Path, name: &str, digest: &str) -> Result<(String, Vec<Vec<u8>>)> {
    let payload = serde_json::json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let payload = payload.to_string().into_bytes();
    fs::write(dir.join("payload"), &payload)?;
    let words = [
        "dgst",
        "-sha256",
        "-sign",
        key,
        "-out",
        "signature",
        "payload",
    ];
    Call::new(Path::new("openssl"), words)
        .in_dir(dir)
        .run()?
        .ok()?;
    let words = ["base64", "-A", "-in", "signature"];
    let signature = Call::new(Path::new("openssl"), words)
        .in_dir(dir)
        .run()?
        .ok()?;
    let config = b"{}".to_vec();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest_of(&config)?,
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": digest_of(&payload)?,
            "size": payload.len(),
            "annotations": {"dev.cosignproject.cosign/signature": signature},
        }],
    });
    Ok((manifest.to_string(), vec![payload, config]))
}

#[test]
fn an_image_that_must_be_signed_is_not_fetched_without_a_signature() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let truth = Truth::new(Path::new(&Image::new(stage.dir())?.layout()));
        let digest = truth.manifest()?;
        let key = "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out key.pem";
        for line in [key, "pkey -in key.pem -pubout -out key.pub"] {
            let call = Call::new(Path::new("openssl"), line.split(' '));
            call.in_dir(stage.dir()).run()?.ok()?;
        }
        let policy = stage.dir().join("policy.json");
        let demand = serde_json::json!({
            "type": "sigstoreSigned",
            "keyPath": stage.dir().join("key.pub"),
            "signedIdentity": {"type": "matchRepository"},
        });
        let document = serde_json::json!({"default": [demand]});
        fs::write(&policy, document.to_string())?;
        let policy = shown(&policy);
        for (signed, fits) in [
            (None, false),
            (Some("sha256:".to_owned() + &"0".repeat(64)), false),
            (Some(digest.clone()), true),
        ] {
            let (own, tag) = (truth.clone(), digest.replace(':', "-") + ".sig");
            let (dir, signed_as) = (stage.dir().to_owned(), signed.clone());
            // each signature is another one: there is one for all that is asked
            let made = OnceLock::new();
            let server = FaultyRegistry::start(move |request| {
                let host = request.headers.get("host").cloned().unwrap_or_default();
                let make = || {
                    let digest = signed_as.as_ref()?;
                    signature("key.pem", &dir, &format!("{host}/box"), digest).ok()
                };
                let (manifest, blobs) = made.get_or_init(make).clone().unwrap_or_default();
                let last = request.path.rsplit('/').next().unwrap_or_default();
                let kind = "application/vnd.oci.image.manifest.v1+json";
                let is_it = |bytes: &[u8]| digest_of(bytes).is_ok_and(|digest| digest == last);
                if last == tag || is_it(manifest.as_bytes()) {
                    return match manifest.as_str() {
                        "" => Reply::status(404),
                        manifest => Reply::bytes(kind, manifest),
                    };
                }
                match blobs.into_iter().find(|blob| is_it(blob)) {
                    Some(blob) => Reply::bytes("application/octet-stream", blob),
                    None => own.answer(request),
                }
            })?;
            let name = server.name("box:1");
            let words = ["--signature-policy", &policy, "pull", "-q", PLAIN, &name];
            let out = stage.call(words).run()?;
            assert_eq!(out.code() == 0, fits, "{signed:?}: {}", out.stderr());
            for layer in truth.layers()? {
                let asked = server.asked();
                let fetched = asked.iter().any(|request| request.path.ends_with(&layer));
                assert_eq!(fetched, fits, "{signed:?}: {layer}");
            }
        }
        Ok(())
    })
}

/// The files of blobs that have begun to come.
fn partial(stage: &Stage) -> Vec<PathBuf> {
    let entries = fs::read_dir(stage.store().join("store/partial"));
    let paths = entries.into_iter().flatten().flatten();
    paths.map(|entry| entry.path()).collect()
}

/// A server whose largest blob stops after so many bytes, the first time; and that blob's digits.
fn stalling(truth: &Truth, after: usize) -> Result<(FaultyRegistry, String)> {
    let largest = truth.layers()?.first().cloned().context("no layers")?;
    let (own, digest) = (truth.clone(), largest.clone());
    let server = FaultyRegistry::start(move |request| {
        let reply = own.answer(request);
        if request.path.ends_with(&digest) && request.before == 0 {
            return reply.coming(Body::Stall(after));
        }
        reply
    })?;
    Ok((server, largest.replace("sha256:", "")))
}

/// The process that talks to the network for a call.
fn helper_of(pid: i32) -> Result<i32> {
    children_of(pid)?.first().copied().context("no child")
}

/// The oldest first; none of a process that is gone.
fn children_of(pid: i32) -> Result<Vec<i32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace();
    children.map(|child| Ok(child.parse()?)).collect()
}

/// Waits until a blob has come so far.
fn wait_for(stage: &Stage, digits: &str, bytes: u64) -> Result<()> {
    let file = stage.store().join(format!("store/partial/sha256-{digits}"));
    let end = Instant::now() + Duration::from_secs(20);
    while fs::metadata(&file).map_or(0, |file| file.len()) < bytes {
        ensure!(Instant::now() < end, "{} has not come", file.display());
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn a_pull_that_was_killed_goes_on_where_it_ended() -> Result<()> {
    const CAME: usize = 50_000;
    on_stage_of_hostrun(REASON, |stage| {
        let truth = Truth::new(Path::new(&Image::new(stage.dir())?.layout()));
        for whom in ["hostrun", "its helper"] {
            let (server, largest) = stalling(&truth, CAME)?;
            let name = server.name("box:1");
            let words = ["pull", "-q", PLAIN, "--retry=0", &name];
            let running = stage.call(words).spawn()?;
            wait_for(stage, &largest, CAME as u64)?;
            let helper = helper_of(running.pid())?;
            let victim = if whom == "hostrun" {
                running.pid()
            } else {
                helper
            };
            kill_process(Pid::from_raw(victim).context("no pid")?, Signal::KILL)?;
            let out = running.wait()?;
            if whom == "hostrun" {
                let end = Instant::now() + Duration::from_secs(5);
                while Path::new(&format!("/proc/{helper}/fd")).exists() && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(10));
                }
                let state =
                    fs::read_to_string(format!("/proc/{helper}/status")).unwrap_or_default();
                ensure!(state.is_empty() || state.contains("Z (zombie)"), "{state}");
            } else {
                ensure!(
                    out.stderr().contains("has ended before its time"),
                    "{}",
                    out.stderr()
                );
            }
            pull(stage, &[PLAIN, &name])?.ok()?;
            let asked = server.asked();
            let offsets: Vec<usize> = asked
                .iter()
                .filter(|request| request.path.ends_with(&largest))
                .map(hostrun_integration::registry::Request::offset)
                .collect();
            assert_eq!(offsets, [0, CAME], "{whom}");
            ensure!(partial(stage).is_empty(), "{:?}", partial(stage));
            stage.call(["verify", "--deep"]).run()?.ok()?;
            stage.call(["rmi", &name]).run()?.ok()?;
            stage.call(["gc"]).run()?.ok()?;
        }
        Ok(())
    })
}

#[test]
fn a_beginning_that_is_not_right_is_fetched_anew() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let truth = Truth::new(Path::new(&Image::new(stage.dir())?.layout()));
        let (server, largest) = stalling(&truth, 50_000)?;
        let name = server.name("box:1");
        let running = stage.call(["pull", "-q", PLAIN, &name]).spawn()?;
        wait_for(stage, &largest, 50_000)?;
        drop(running);
        // as a power cut may leave it
        let file = stage
            .store()
            .join(format!("store/partial/sha256-{largest}"));
        fs::write(&file, vec![0; 50_000])?;
        pull(stage, &[PLAIN, &name])?.ok()?;
        stage.call(["verify", "--deep"]).run()?.ok().map(drop)
    })
}

#[test]
fn pulls_side_by_side_fetch_each_blob_once() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let truth = Truth::new(Path::new(&Image::new(stage.dir())?.layout()));
        let own = truth.clone();
        let server = FaultyRegistry::start(move |request| {
            if request.path.contains("/blobs/") {
                std::thread::sleep(Duration::from_millis(300));
            }
            own.answer(request)
        })?;
        let names = ["box:1", "box:2", "other:1", "box:1"].map(|name| server.name(name));
        let pulls = names
            .each_ref()
            .map(|name| stage.call(["pull", "-q", PLAIN, name]).spawn());
        for running in pulls {
            running?.wait()?.ok()?;
        }
        for layer in truth.layers()? {
            let asked = server.asked();
            let reads = asked
                .iter()
                .filter(|request| request.path.ends_with(&layer));
            assert_eq!(reads.count(), 1, "{layer}");
        }
        stage.call(["verify", "--deep"]).run()?.ok().map(drop)
    })
}

#[test]
fn pulls_kills_removals_and_collections_lose_nothing() -> Result<()> {
    with_registry(Kind::default(), |stage, registry, image| {
        let file = stage.dir().join("noise");
        let noise = fs::File::open("/dev/urandom")?;
        let mut some = std::io::Read::take(noise, 6 << 20);
        std::io::copy(&mut some, &mut fs::File::create(&file)?)?;
        image.insert(&file, "/noise")?;
        registry.put(image, "large:1")?;
        let (small, large) = (registry.name("box:1"), registry.name("large:1"));
        let store = shown(&stage.store());
        let program = stage.runtime().program().to_owned();
        let work = |worker: usize| -> Result<()> {
            for round in 0..10 {
                let words: &[&str] = match (worker + round) % 5 {
                    0 => &["pull", "-q", PLAIN, &small],
                    1 => &["rmi", "-f", &large],
                    3 => &["gc"],
                    _ => &["pull", "-q", PLAIN, &large],
                };
                let call = Call::new(&program, [&["--store", &store], words].concat());
                if (worker + round) % 5 == 4 {
                    let after = format!("0.{}", 1 + (worker * 7 + round) % 9);
                    call.under(["timeout", "-s", "KILL", &after]).run()?;
                } else {
                    call.run()?.ok()?;
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let work = &work;
            let workers: Vec<_> = (0..6).map(|n| scope.spawn(move || work(n))).collect();
            let ended = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
            ended.flatten().collect::<Result<()>>()
        })?;
        pull(stage, &[PLAIN, &large])?.ok()?;
        stage.call(["verify", "--deep"]).run()?.ok()?;
        stage.call(["gc"]).run()?.ok()?;
        ensure!(partial(stage).is_empty(), "{:?}", partial(stage));
        Ok(())
    })
}

#[test]
fn a_pull_takes_over_from_one_that_dies() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let truth = Truth::new(Path::new(&Image::new(stage.dir())?.layout()));
        let (server, largest) = stalling(&truth, 50_000)?;
        let name = server.name("box:1");
        let first = stage.call(["pull", "-q", PLAIN, &name]).spawn()?;
        wait_for(stage, &largest, 50_000)?;
        let second = stage
            .call(["pull", "--progress=json", PLAIN, &name])
            .spawn()?;
        let end = Instant::now() + Duration::from_secs(10);
        while !second
            .stderr()
            .contains("another pull or load has it in work")
        {
            ensure!(
                Instant::now() < end,
                "it does not wait: {}",
                second.stderr()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(first);
        second.wait()?.ok()?;
        stage.call(["verify", "--deep"]).run()?.ok().map(drop)
    })
}

#[test]
fn who_talks_to_the_network_has_no_rights() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let truth = Truth::new(Path::new(&Image::new(stage.dir())?.layout()));
        let (server, largest) = stalling(&truth, 1000)?;
        let secret = fs::File::open("/etc/passwd")?;
        let call = stage.call(["pull", "-q", PLAIN, &server.name("box:1")]);
        let running = call.stdin(secret).spawn()?;
        wait_for(stage, &largest, 1000)?;
        let helper = helper_of(running.pid())?;
        let status = fs::read_to_string(format!("/proc/{helper}/status"))?;
        let field = |name: &str| {
            let mut lines = status.lines();
            let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        let user = 2_000_000_000 + helper;
        assert_eq!(field("Uid"), [user; 4].map(|id| id.to_string()).join(" "));
        assert_eq!(field("Gid"), [user; 4].map(|id| id.to_string()).join(" "));
        assert_eq!(field("Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        assert_eq!(
            (field("NoNewPrivs"), field("Seccomp")),
            ("1".to_owned(), "2".to_owned())
        );
        let mut open = Vec::new();
        for entry in fs::read_dir(format!("/proc/{helper}/fd"))? {
            open.push(shown(&fs::read_link(entry?.path())?));
        }
        let is_ours = |path: &String| {
            path.starts_with("socket:") || path == "/dev/null" || path.starts_with("anon_inode:")
        };
        ensure!(open.iter().all(is_ours), "{open:?}");
        let limits = fs::read_to_string(format!("/proc/{helper}/limits"))?;
        let file_size = limits
            .lines()
            .find(|line| line.starts_with("Max file size"));
        let file_size = file_size.unwrap_or_default();
        ensure!(
            file_size.split_whitespace().nth(3) == Some("0"),
            "{file_size}"
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

/// KiB that a process has had resident at most.
fn peak(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_pull_over_tls_stays_small() -> Result<()> {
    const MOST: u64 = 40 * 1024;
    let kind = Kind {
        secure: true,
        ..Kind::default()
    };
    with_registry(kind, |stage, registry, image| {
        // what nobody can compress, in several layers that come side by side
        for number in 0..4 {
            let file = stage.dir().join(format!("noise{number}"));
            let noise = fs::File::open("/dev/urandom")?;
            let mut some = std::io::Read::take(noise, 24 << 20);
            std::io::copy(&mut some, &mut fs::File::create(&file)?)?;
            image.insert(&file, &format!("/noise{number}"))?;
        }
        registry.put(image, "large:1")?;
        let certificates = stage.folder("certificates")?;
        fs::copy(registry.authority(), certificates.join("ca.crt"))?;
        let certificates = shown(&certificates);
        let name = registry.name("large:1");
        let words = ["pull", "-q", "--cert-dir", &certificates, &name];
        let running = stage.call(words).spawn()?;
        // it, who talks to the registry, and who unpacks
        let mut peaks = BTreeMap::new();
        // at its end there is nothing left to read it from
        while let Some(now) = peak(running.pid()) {
            peaks.insert(running.pid(), now);
            for pid in children_of(running.pid())? {
                peaks.extend(peak(pid).map(|now| (pid, now)));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        running.wait()?.ok()?;
        let sum: u64 = peaks.values().sum();
        println!("peak resident: {sum} KiB, of {peaks:?}");
        let released = !is_below(stage.runtime().program(), "debug");
        ensure!(peaks.len() == 3, "not all were seen: {peaks:?}");
        ensure!(!released || sum <= MOST, "{peaks:?} KiB");
        Ok(())
    })
}
