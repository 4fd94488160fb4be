//! Where an image is, and which of several: platforms, mirrors, names.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::on_stage_of_hostrun;
use hostrun_integration::registry::debian::Kind;
use hostrun_integration::registry::faulty::Truth;
use hostrun_integration::registry::{FaultyRegistry, Reply};
use serde_json::Value;

use super::{PLAIN, REASON, digest_of, kept_in, pull, shown, with_registry, with_variables};

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
