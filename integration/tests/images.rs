//! Images made by other tools, loaded and run: what comes out is what the image says.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::{Outcome, Stage, on_stage_of_hostrun};

/// A test on hostrun with a fresh image that is not loaded yet.
fn with_image(test: impl FnOnce(&Stage, &Image) -> Result<()>) -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        test(stage, &Image::new(stage.dir())?)
    })
}

/// Loads and returns the name to run it by.
fn load(stage: &Stage, source: &str) -> Result<String> {
    let names = stage.call(["load", "-q", source]).run()?.ok()?;
    Ok(names.lines().next().unwrap_or_default().to_owned())
}

fn run(stage: &Stage, words: &[&str]) -> Result<Outcome> {
    stage.image_call([&["--rm"], words].concat()).run()
}

#[test]
fn every_kind_of_source_gives_the_same_container() -> Result<()> {
    with_image(|stage, image| {
        let oci = stage
            .dir()
            .join("image.oci.tar")
            .to_string_lossy()
            .into_owned();
        let docker = stage
            .dir()
            .join("image.docker.tar")
            .to_string_lossy()
            .into_owned();
        image.convert(&format!("oci-archive:{oci}:latest"))?;
        image.convert(&format!("docker-archive:{docker}:example.org/box:1"))?;
        let sources = [
            image.source(),
            format!("oci:{}", image.layout()),
            format!("oci-archive:{oci}"),
            format!("docker-archive:{docker}"),
        ];
        for source in sources {
            let script = "cat /opt/kept; ls /opt; id -u; exit 3";
            // straight from the source, and by the name it got in the store
            for name in [source.clone(), load(stage, &source)?] {
                let out = run(stage, &[&name, "sh", "-c", script])?;
                assert_eq!(
                    out.stdout(),
                    "from the second layer\nkept\n0\n",
                    "{name}: {}",
                    out.stderr()
                );
                assert_eq!(out.code(), 3, "{name}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_layer_without_its_last_padding_is_whole() -> Result<()> {
    with_image(|stage, image| {
        // `umoci insert` ends a layer with the last byte of the last file, as other tools accept
        let file = stage.dir().join("file");
        fs::write(&file, "eleven byte")?;
        image.insert(&file, "/opt/inserted")?;
        let name = load(stage, &image.source())?;
        assert_eq!(
            run(stage, &[&name, "cat", "/opt/inserted"])?.ok()?,
            "eleven byte"
        );
        Ok(())
    })
}

#[test]
fn images_lists_what_is_loaded_and_rmi_removes_it() -> Result<()> {
    with_image(|stage, image| {
        let name = load(stage, &image.source())?;
        let listed = stage.call(["images", "--format", "json"]).run()?.ok()?;
        let list: serde_json::Value = serde_json::from_str(&listed)?;
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{listed}");
        ensure!(
            stage.call(["images"]).run()?.ok()?.lines().count() == 2,
            "a head and one line"
        );
        stage.call(["rmi", &name]).run()?.ok()?;
        assert_eq!(stage.call(["images", "-q"]).run()?.ok()?, "");
        let out = run(stage, &[&name, "true"])?;
        assert_eq!(out.code(), 125, "still runs after rmi: {}", out.stderr());
        Ok(())
    })
}

#[test]
fn the_images_configuration_is_honoured() -> Result<()> {
    with_image(|stage, image| {
        image.config(&[
            "--config.env=FROM_IMAGE=a b",
            "--config.env=BOTH=image",
            "--config.user=user:extra",
            "--config.workingdir=/home/user",
            "--config.entrypoint=/bin/sh",
            "--config.entrypoint=-c",
            "--config.cmd=echo $FROM_IMAGE; echo $BOTH; id -u; id -g; pwd; echo $HOME",
            "--config.volume=/data",
        ])?;
        let name = load(stage, &image.source())?;
        let out = run(stage, &["-e", "BOTH=flag", &name])?;
        assert_eq!(out.ok()?, "a b\nflag\n1000\n2000\n/home/user\n/home/user\n");
        // a command replaces Cmd and keeps the entry point
        assert_eq!(run(stage, &[&name, "echo other"])?.ok()?, "other\n");
        // --entrypoint replaces both
        assert_eq!(
            run(stage, &["--entrypoint", "/bin/echo", &name, "x"])?.ok()?,
            "x\n"
        );
        let flags = [
            "-u",
            "0:0",
            "-w",
            "/tmp",
            &name,
            "id -u; pwd; grep -c ' /data ' /proc/mounts",
        ];
        assert_eq!(run(stage, &flags)?.ok()?, "0\n/tmp\n1\n");
        Ok(())
    })
}

#[test]
fn what_a_container_writes_is_gone_with_it() -> Result<()> {
    with_image(|stage, image| {
        let name = load(stage, &image.source())?;
        run(
            stage,
            &[&name, "sh", "-c", "echo x >/written; rm /opt/kept"],
        )?
        .ok()?;
        let out = run(stage, &[&name, "sh", "-c", "ls /written; cat /opt/kept"])?;
        assert_eq!(out.stdout(), "from the second layer\n");
        Ok(())
    })
}

#[test]
fn standard_input_flows_only_with_i() -> Result<()> {
    with_image(|stage, image| {
        let name = load(stage, &image.source())?;
        let cat = |flags: &[&str]| -> Result<String> {
            let words = [&["--rm"], flags, &[&name, "cat"]].concat();
            stage.image_call(words).input("typed\n").run()?.ok()
        };
        assert_eq!(cat(&["-i"])?, "typed\n");
        assert_eq!(cat(&[])?, "");
        Ok(())
    })
}

#[test]
fn a_broken_image_is_refused_and_leaves_nothing_in_the_store() -> Result<()> {
    with_image(|stage, image| {
        let blobs = Path::new(&image.layout()).join("blobs/sha256");
        let mut layers: Vec<_> = fs::read_dir(&blobs)?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        layers.sort_by_key(|path| fs::metadata(path).map_or(0, |meta| meta.len()));
        let largest = layers.pop().unwrap_or_default();
        let whole = fs::read(&largest)?;
        let mut flipped = whole.clone();
        if let Some(byte) = flipped.last_mut() {
            *byte ^= 1;
        }
        let half = whole.get(..whole.len() / 2).unwrap_or_default().to_vec();
        for (what, bytes) in [
            ("a truncated layer", Some(half)),
            ("a changed byte", Some(flipped)),
            ("no layer", None),
        ] {
            match bytes {
                Some(bytes) => fs::write(&largest, bytes)?,
                None => fs::remove_file(&largest)?,
            }
            let out = stage.call(["load", &image.source()]).run()?;
            assert_eq!(out.code(), 125, "{what}: {}", out.stderr());
            let told = out
                .stderr()
                .lines()
                .filter(|line| line.starts_with("hostrun: "))
                .count();
            assert_eq!(told, 1, "{what}: {}", out.stderr());
            assert_eq!(stage.call(["images", "-q"]).run()?.ok()?, "", "{what}");
        }
        fs::write(&largest, whole)?;
        load(stage, &image.source())?;
        Ok(())
    })
}

#[test]
fn an_image_that_is_not_there_is_refused() -> Result<()> {
    with_image(|stage, image| {
        for source in [
            "oci:/not/there",
            "oci-archive:/etc/passwd",
            "docker-archive:/not/there",
            "ftp:x",
            "oci:",
        ] {
            let out = stage.call(["load", source]).run()?;
            assert_eq!(out.code(), 125, "{source}: {}", out.stderr());
            assert_eq!(
                out.stderr()
                    .lines()
                    .filter(|line| line.starts_with("hostrun: "))
                    .count(),
                1
            );
        }
        let tag = format!("oci:{}:no-such-tag", image.layout());
        assert_eq!(stage.call(["load", &tag]).run()?.code(), 125);
        assert_eq!(run(stage, &["not-loaded", "true"])?.code(), 125);
        Ok(())
    })
}

#[test]
fn cve_2024_40635_users_of_an_image_never_wrap_to_root() -> Result<()> {
    with_image(|stage, image| {
        let name = load(stage, &image.source())?;
        for user in [
            "nosuchuser",
            "4294967296",
            "4294967295",
            "-1",
            "18446744073709551616",
            "0:nosuchgroup",
            "1:2:3",
            " 0",
        ] {
            let out = run(stage, &["-u", user, &name, "id", "-u"])?;
            assert_eq!(
                out.code(),
                125,
                "{user:?} gave {} {}",
                out.stdout(),
                out.stderr()
            );
        }
        image.config(&["--config.user=4294967296"])?;
        let renamed = load(stage, &image.source())?;
        let out = run(stage, &[&renamed, "id", "-u"])?;
        assert_eq!(out.code(), 125, "User of the image gave {}", out.stdout());
        Ok(())
    })
}
