//! Old attacks on container runtimes, one test a class, named after its first CVE.
//!
//! These are about paths: resolved once and by descriptor (D1), a proc of our own (D2), devices
//! checked before use (D3). The others are in hygiene.rs and race.rs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use hostrun_integration::host::tree_digest;
use hostrun_integration::pty::Pty;
use hostrun_integration::{Bundle, Stage, on_stage, on_stage_of_hostrun};
use serde_json::json;

/// A folder of the machine that nothing in a container may change.
fn victim(stage: &Stage) -> Result<PathBuf> {
    let dir = stage.folder("victim")?;
    fs::write(dir.join("secret"), "the machine's\n")?;
    for name in ["null", "console", "ptmx", "pts", "shm", "sys", "self"] {
        fs::write(dir.join(name), "")?;
    }
    Ok(dir)
}

/// Runs a hostile bundle: whatever comes of it, the victim and the mounts stay as they are.
fn unharmed(stage: &Stage, bundle: &Bundle, victim: &Path) -> Result<String> {
    let (before, table) = (tree_digest(victim)?, stage.mounts()?);
    let out = stage.run(bundle)?;
    assert_eq!(tree_digest(victim)?, before, "the machine's files changed");
    assert_eq!(stage.mounts()?, table, "the machine's mounts changed");
    ensure!(
        !out.stdout().contains("the machine's"),
        "the machine's files were read"
    );
    Ok(out.stdout())
}

/// Replaces a folder or file in the root file system by a symlink.
fn replace(bundle: &Bundle, path: &str, link: &Path) -> Result<()> {
    let place = bundle.rootfs().join(path);
    match fs::symlink_metadata(&place) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(&place)?,
        Ok(_) => fs::remove_file(&place)?,
        Err(_) => fs::create_dir_all(place.parent().unwrap_or(&place))?,
    }
    Ok(symlink(link, place)?)
}

/// Leaves /dev to the image.
fn without_dev(bundle: Bundle) -> Bundle {
    ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"]
        .into_iter()
        .fold(bundle, Bundle::without_mount)
}

#[test]
fn cve_2023_27561_proc_symlink_in_image_is_refused() -> Result<()> {
    on_stage(|stage| {
        for name in ["proc", "sys"] {
            let bundle = stage.bundle()?.shell("echo started");
            fs::create_dir(bundle.rootfs().join("fake"))?;
            replace(&bundle, name, Path::new("/fake"))?;
            let out = stage.run(&bundle)?;
            ensure!(
                out.code() != 0,
                "/{name} was a symlink and the payload started"
            );
            assert_eq!(out.stdout(), "");
        }
        Ok(())
    })
}

#[test]
fn cve_2019_16884_a_volume_over_proc_is_refused() -> Result<()> {
    on_stage(|stage| {
        let fake = stage.folder("fake")?;
        for target in [
            "/proc",
            "/proc/self",
            "/proc/sys/kernel",
            "/proc/../proc/self",
        ] {
            let bundle = stage
                .bundle()?
                .bind(&fake, target, &["rbind"])
                .shell("echo started");
            let out = stage.run(&bundle)?;
            ensure!(out.code() != 0, "a volume at {target} was accepted");
            assert_eq!(out.stdout(), "");
        }
        Ok(())
    })
}

#[test]
fn cve_2021_30465_mount_target_symlink_stays_inside() -> Result<()> {
    on_stage(|stage| {
        let outside = victim(stage)?;
        let climbing = PathBuf::from(format!("/../../../../../..{}/made", outside.display()));
        for link in [
            outside.clone(),
            outside.join("made"),
            climbing,
            PathBuf::from("/proc/1/root"),
        ] {
            let bundle = stage
                .bundle()?
                .mount("/data/inner", "tmpfs", "inside", &[])
                .bind(&stage.folder("volume")?, "/bound/inner", &["rbind"])
                .shell("grep -c ' - tmpfs inside ' /proc/self/mountinfo");
            replace(&bundle, "data", &link)?;
            replace(&bundle, "bound", &link)?;
            let seen = unharmed(stage, &bundle, &outside)?;
            ensure!(
                seen.is_empty() || seen == "1\n",
                "the mount went elsewhere: {link:?} {seen}"
            );
        }
        Ok(())
    })
}

#[test]
fn cve_2026_41579_dev_as_symlink_and_every_other_standard_folder() -> Result<()> {
    on_stage_of_hostrun(
        "runc 1.1.5 has this hole without a tmpfs at /dev",
        |stage| {
            let outside = victim(stage)?;
            for name in [
                "dev",
                "dev/pts",
                "dev/shm",
                "dev/mqueue",
                "proc",
                "sys",
                "etc",
                "tmp",
                "root",
            ] {
                for bare in [true, false] {
                    let bundle = stage.bundle()?.shell("ls /dev | head -30");
                    let bundle = if bare { without_dev(bundle) } else { bundle };
                    replace(&bundle, name, &outside)?;
                    unharmed(stage, &bundle, &outside)?;
                }
            }
            Ok(())
        },
    )
}

#[test]
fn cve_2025_31133_dev_null_swapped_does_not_unmask() -> Result<()> {
    on_stage_of_hostrun("runc 1.1.5 has this hole", |stage| {
        let outside = victim(stage)?;
        for link in [
            outside.join("secret").as_path(),
            Path::new("/proc/sys/kernel/core_pattern"),
        ] {
            let mut bundle = stage
                .bundle()?
                .set("/linux/maskedPaths", json!(["/proc/cpuinfo"]))
                .shell("cat /proc/cpuinfo; stat -c %F /proc/cpuinfo");
            bundle = without_dev(bundle);
            replace(&bundle, "dev/null", link)?;
            let seen = unharmed(stage, &bundle, &outside)?;
            ensure!(
                seen.is_empty() || seen == "character special file\n",
                "{link:?}: {seen}"
            );
        }
        Ok(())
    })
}

#[test]
fn cve_2025_52565_console_as_symlink_does_not_reach_out() -> Result<()> {
    on_stage_of_hostrun("runc 1.1.5 has this hole", |stage| {
        let outside = victim(stage)?;
        let before = tree_digest(&outside)?;
        let mut bundle = stage
            .bundle()?
            .set("/process/terminal", json!(true))
            .shell("echo started; sleep 0.2");
        bundle = without_dev(bundle);
        for name in ["dev/console", "dev/ptmx"] {
            replace(&bundle, name, &outside.join("console"))?;
        }
        let run = Pty::open()?.spawn(stage.run_call(&bundle)?)?;
        run.wait()?;
        assert_eq!(tree_digest(&outside)?, before);
        Ok(())
    })
}
