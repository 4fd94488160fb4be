//! Volumes an image asks for: data of a stranger, honoured without harm.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::{Stage, on_stage_of_hostrun};

/// A test with an image that has `folder` at `/brought` and a volume at `volume`, loaded by name.
fn with_volume(
    volume: &str,
    fill: impl FnOnce(&std::path::Path) -> Result<()>,
    test: impl FnOnce(&Stage, &str) -> Result<()>,
) -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let folder = stage.dir().join("brought");
        fs::create_dir(&folder)?;
        fill(&folder)?;
        let image = Image::new(stage.dir())?;
        image.insert(&folder, "/brought")?;
        image.config(&[&format!("--config.volume={volume}")])?;
        let names = stage.call(["load", "-q", &image.source()]).run()?.ok()?;
        test(stage, names.lines().next().unwrap_or_default())
    })
}

#[test]
fn cve_2019_16884_a_volume_through_a_link_of_the_image_is_refused() -> Result<()> {
    for target in ["/dev", "/sys", "/proc"] {
        with_volume(
            "/brought/link",
            |folder| Ok(symlink(target, folder.join("link"))?),
            |stage, name| {
                let out = stage.image_call(["--rm", name, "true"]).run()?;
                ensure!(out.code() == 125, "{target}: {}", out.code());
                ensure!(
                    out.stderr().contains("a link of the image leads it"),
                    "{}",
                    out.stderr()
                );
                Ok(())
            },
        )?;
    }
    Ok(())
}

#[test]
fn a_file_of_holes_in_a_volume_stays_a_file_of_holes() -> Result<()> {
    with_volume(
        "/brought",
        |folder| {
            fs::write(folder.join("data"), "at the start")?;
            // umoci keeps holes as zeros, so the image is as large as this
            File::options()
                .append(true)
                .open(folder.join("data"))?
                .set_len(8 << 20)?;
            Ok(())
        },
        |stage, name| {
            let script = "head -c 12 /brought/data; echo; wc -c < /brought/data; cmp /brought/data /brought/data && echo same";
            let out = stage.image_call(["--rm", name, "sh", "-c", script]).run()?;
            assert_eq!(out.ok()?, "at the start\n8388608\nsame\n");
            Ok(())
        },
    )
}

#[test]
fn what_a_container_writes_to_its_volume_is_gone_with_it() -> Result<()> {
    with_volume(
        "/brought",
        |folder| Ok(fs::write(folder.join("file"), "from the image\n")?),
        |stage, name| {
            let script = "cat /brought/file; echo changed > /brought/file; cat /brought/file";
            for _ in 0..2 {
                let out = stage.image_call(["--rm", name, "sh", "-c", script]).run()?;
                assert_eq!(out.ok()?, "from the image\nchanged\n");
            }
            Ok(())
        },
    )
}

#[test]
fn a_pid_file_that_cannot_be_written_leaves_no_container() -> Result<()> {
    with_volume(
        "/brought",
        |_folder| Ok(()),
        |stage, name| {
            let words = ["-d", "--pidfile", "/nonexistent/pid", name, "sleep", "600"];
            let out = stage.image_call(words).run()?;
            ensure!(out.code() == 125, "{}", out.code());
            assert_eq!(stage.call(["ps", "-a", "-q"]).run()?.ok()?, "");
            Ok(())
        },
    )
}
