//! Policies, as users of the command meet them. What they let in is tested where they are read:
//! image-store/tests/signatures.

use std::fs;

use anyhow::{Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::ordinary::Ordinary;
use hostrun_integration::{Stage, host, on_stage_of_hostrun};

const NO_ORACLE: &str = "runc knows no images";

fn policy(stage: &Stage, text: &str) -> Result<String> {
    let path = stage.dir().join("policy.json");
    fs::write(&path, text)?;
    Ok(path.to_string_lossy().into_owned())
}

fn images(stage: &Stage) -> Result<String> {
    stage.call(["images", "-q"]).run()?.ok()
}

#[test]
fn no_verb_lets_in_what_the_policy_rejects() -> Result<()> {
    on_stage_of_hostrun(NO_ORACLE, |stage| {
        let image = Image::new(stage.dir())?;
        let policy = policy(stage, r#"{"default":[{"type":"reject"}]}"#)?;
        let tar = stage.dir().join("root.tar");
        fs::write(&tar, [0; 1024])?;
        let tar = tar.to_string_lossy().into_owned();
        let source = image.source();
        for words in [
            &["load", &source][..],
            &["run", "--rm", &source, "true"],
            &["import", &tar, "x"],
        ] {
            let words = [&["--signature-policy", &policy], words].concat();
            let out = stage.call(words.clone()).run()?;
            ensure!(out.code() == 125, "{words:?}: {}", out.code());
            let told = out.stderr();
            ensure!(told.contains("the policy rejects it"), "{words:?}: {told}");
            ensure!(told.contains("policy.json"), "{words:?}: {told}");
            ensure!(images(stage)?.is_empty(), "{words:?} left an image");
        }
        Ok(())
    })
}

#[test]
fn scope_of_an_archive_is_the_file_it_is_read_from() -> Result<()> {
    on_stage_of_hostrun(NO_ORACLE, |stage| {
        let image = Image::new(stage.dir())?;
        let tar = stage.dir().join("image.tar").to_string_lossy().into_owned();
        image.convert(&format!("oci-archive:{tar}:latest"))?;
        let scopes = format!(r#"{{"{tar}":[{{"type":"insecureAcceptAnything"}}]}}"#);
        let text = format!(
            r#"{{"default":[{{"type":"reject"}}],"transports":{{"oci-archive":{scopes}}}}}"#
        );
        let policy = policy(stage, &text)?;
        let load = |words: &[&str]| {
            let words = [&["--signature-policy", &policy, "load"], words].concat();
            stage.call(words)
        };
        load(&["-i", &tar]).run()?.ok()?;
        load(&[&format!("oci-archive:{tar}")]).run()?.ok()?;
        // what comes through a pipe comes from nowhere
        let piped = load(&[]).stdin(fs::File::open(&tar)?).run()?;
        ensure!(piped.code() == 125, "{}", piped.stderr());
        Ok(())
    })
}

#[test]
fn policy_that_is_not_there_or_not_understood_stops_a_load() -> Result<()> {
    on_stage_of_hostrun(NO_ORACLE, |stage| {
        let image = Image::new(stage.dir())?;
        let missing = stage.dir().join("none.json").to_string_lossy().into_owned();
        let broken = policy(stage, r#"{"default":[{"type":"reject","unless":"x"}]}"#)?;
        for (policy, told) in [(missing, "ENOENT"), (broken, "unknown field `unless`")] {
            let words = ["--signature-policy", &policy, "load", &image.source()];
            let out = stage.call(words).run()?;
            ensure!(out.code() == 125, "{}", out.code());
            ensure!(out.stderr().contains(told), "{}", out.stderr());
        }
        ensure!(images(stage)?.is_empty(), "an image was let in");
        Ok(())
    })
}

#[test]
fn the_machines_policy_holds_for_an_ordinary_user() -> Result<()> {
    on_stage_of_hostrun(NO_ORACLE, |stage| {
        let user = Ordinary::new(stage)?;
        let image = Image::new(stage.dir())?;
        host::command("chmod", ["-R", "a+rX"], [image.layout()])?;
        let rejects = policy(stage, r#"{"default":[{"type":"reject"}]}"#)?;
        // among the machine's own files, for this call alone
        let place = "mount -t tmpfs tmpfs $0 && mkdir $0/upper $0/work &&
            mount -t overlay -o lowerdir=/etc,upperdir=$0/upper,workdir=$0/work overlay /etc &&
            mkdir -p /etc/hostrun && cp $1 /etc/hostrun/policy.json && shift && exec \"$@\"";
        let folder = stage.folder("system")?.to_string_lossy().into_owned();
        let call = user.call(&["load", "-q", &image.source()]);
        let call = call.under(["unshare", "--mount", "sh", "-c", place, &folder, &rejects]);
        let out = call.run()?;
        ensure!(out.code() == 125, "it was let in");
        ensure!(
            out.stderr().contains("the policy rejects it"),
            "{}",
            out.stderr()
        );
        // what the user names may be nobody's but the user's own
        let words = [
            "--signature-policy",
            &rejects,
            "load",
            "-q",
            &image.source(),
        ];
        let told = user.call(&words).run()?.stderr();
        ensure!(told.contains("belongs to another user"), "{told}");
        Ok(())
    })
}
