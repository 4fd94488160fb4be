//! A hostile neighbour swaps a folder and a symlink in a shared volume while containers start.
//!
//! CVE-2021-30465, CVE-2019-19921, CVE-2024-45310: whoever looks at a path twice loses.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host::{mounts, tree_digest};
use hostrun_integration::on_stage;
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Starts in `make test`; `make test-long` asks for more.
const STARTS: u32 = 200;

/// Swaps two names until told to stop, and counts.
fn swap(one: &Path, other: &Path, stop: &AtomicBool, swaps: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        if renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok() {
            swaps.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn race(target: &str, link: impl Fn(&Path) -> PathBuf) -> Result<()> {
    on_stage(|stage| {
        // under a runtime that is known to lose such races, a handful shows that the test runs
        let starts = match std::env::var("HOSTRUN_TEST_CHURN") {
            _ if stage.runtime().is_runc() => 20,
            Ok(more) => more.parse()?,
            Err(_) => STARTS,
        };
        let volume = stage.folder("volume")?;
        let outside = stage.folder("outside")?;
        fs::write(outside.join("secret"), "the machine's\n")?;
        fs::create_dir(volume.join("target"))?;
        symlink(link(&outside), volume.join("link"))?;
        let bundle = stage
            .bundle()?
            .bind(&volume, "/volume", &["rbind"])
            .mount(target, "tmpfs", "inside", &["size=64k"])
            .shell("grep -c ' - tmpfs inside ' /proc/self/mountinfo; cat /volume/target/secret");
        let (before, table) = (tree_digest(&outside)?, mounts()?);
        let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
        let (one, other) = (volume.join("target"), volume.join("link"));
        let started = std::thread::scope(|scope| -> Result<u32> {
            scope.spawn(|| swap(&one, &other, &stop, &swaps));
            let result = (0..starts).try_fold(0, |started, number| {
                let out = stage
                    .run(&bundle)
                    .with_context(|| format!("start {number}"))?;
                let text = out.stdout();
                ensure!(
                    !text.contains("the machine's"),
                    "start {number} read the machine's file"
                );
                ensure!(
                    text.is_empty() || text == "1\n",
                    "start {number}: mounted elsewhere: {text}"
                );
                Ok(started + u32::from(text == "1\n"))
            });
            stop.store(true, Ordering::Relaxed);
            result
        })?;
        assert_eq!(
            tree_digest(&outside)?,
            before,
            "the machine's files changed"
        );
        assert_eq!(mounts()?, table, "the machine's mounts changed");
        // a race that never swapped, or in which nothing ever started, proves nothing
        ensure!(
            swaps.load(Ordering::Relaxed) > u64::from(starts),
            "too few swaps"
        );
        ensure!(
            started > 0 || stage.runtime().is_runc(),
            "no container started"
        );
        Ok(())
    })
}

#[test]
fn cve_2021_30465_mount_target_swapped_for_a_symlink_to_the_machine() -> Result<()> {
    race("/volume/target", Path::to_owned)
}

#[test]
fn cve_2024_45310_folders_are_not_made_through_a_swapped_symlink() -> Result<()> {
    race("/volume/target/deep/er", |outside| outside.join("made"))
}
