//! A hostile neighbour swaps a folder and a symlink in a shared volume while containers start.
//!
//! CVE-2021-30465, CVE-2019-19921, CVE-2024-45310, CVE-2025-31133, CVE-2025-52565,
//! GHSA-3q8j-pf29-vwv8: whoever looks at a path twice loses.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host::tree_digest;
use hostrun_integration::pty::Pty;
use hostrun_integration::{Bundle, Stage, on_stage};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

/// Starts in `make test`; `make test-long` asks for more.
const STARTS: u32 = 120;

const SECRET: &str = "the machine's";

/// Swaps two names until told to stop, and counts.
fn swap(one: &Path, other: &Path, stop: &AtomicBool, swaps: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        if renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok() {
            swaps.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A place that is fought over: a folder or file of the volume, and a link that takes its name.
struct Place<'a> {
    stage: &'a Stage,
    /// Shared with the container, at /volume.
    volume: PathBuf,
    /// What the machine has.
    outside: PathBuf,
}

impl<'a> Place<'a> {
    /// `volume/target` is a folder, `volume/link` leads to a folder of the machine.
    fn new(stage: &'a Stage, link: impl Fn(&Path) -> PathBuf) -> Result<Self> {
        let volume = stage.folder("volume")?;
        let outside = stage.folder("outside")?;
        fs::write(outside.join("secret"), format!("{SECRET}\n"))?;
        fs::create_dir(volume.join("target"))?;
        symlink(link(&outside), volume.join("link"))?;
        Ok(Self {
            stage,
            volume,
            outside,
        })
    }

    /// Beside the running swaps, starts `start` again and again: it says whether something ran, and
    /// fails where the machine was reached.
    fn race(&self, share: u32, start: impl Fn() -> Result<bool>) -> Result<()> {
        let runc = self.stage.runtime().is_runc();
        // under a runtime that is known to lose such races, a handful shows that the test runs
        let starts = match std::env::var("HOSTRUN_TEST_CHURN") {
            _ if runc => 20,
            Ok(more) => more.parse()?,
            Err(_) => STARTS / share,
        };
        let binary = fs::metadata(self.stage.runtime().program())?;
        let (before, table) = (tree_digest(&self.outside)?, self.stage.mounts()?);
        let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
        let (one, other) = (self.volume.join("target"), self.volume.join("link"));
        let started = std::thread::scope(|scope| -> Result<u32> {
            scope.spawn(|| swap(&one, &other, &stop, &swaps));
            let result = (0..starts).try_fold(0, |started, number| {
                let ran = start().with_context(|| format!("start {number}"))?;
                Ok(started + u32::from(ran))
            });
            stop.store(true, Ordering::Relaxed);
            result
        })?;
        let after = tree_digest(&self.outside)?;
        // Debian 12's runc loses some of these (CVE-2024-45310), which is no failure of ours
        if runc && after != before {
            return Ok(());
        }
        assert_eq!(after, before, "the machine's files changed");
        assert_eq!(self.stage.mounts()?, table, "the machine's mounts changed");
        let now = fs::metadata(self.stage.runtime().program())?;
        let same = (now.ctime(), now.ctime_nsec()) == (binary.ctime(), binary.ctime_nsec());
        ensure!(same, "the binary changed");
        // a race that never swapped, or in which nothing ever started, proves nothing
        let swaps = swaps.load(Ordering::Relaxed);
        ensure!(swaps > u64::from(starts), "only {swaps} swaps");
        ensure!(started > 0 || runc, "no container started");
        Ok(())
    }

    /// What a bundle prints: nothing of the machine, and nothing else than one of `expected`.
    fn prints(&self, bundle: &Bundle, expected: &[&str]) -> Result<bool> {
        let text = self.stage.run(bundle)?.stdout();
        ensure!(!text.contains(SECRET), "it read the machine's file");
        let known = text.is_empty() || expected.contains(&text.as_str());
        ensure!(known || self.stage.runtime().is_runc(), "elsewhere: {text}");
        Ok(!text.is_empty())
    }

    /// A bundle with the volume at /volume.
    fn bundle(&self) -> Result<Bundle> {
        Ok(self
            .stage
            .bundle()?
            .bind(&self.volume, "/volume", &["rbind"]))
    }

    /// A bundle whose /dev is the volume's `target`, which is swapped: all devices are made there.
    fn bundle_with_dev(&self) -> Result<Bundle> {
        let bundle = ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"]
            .into_iter()
            .fold(self.bundle()?, Bundle::without_mount);
        fs::remove_dir_all(bundle.rootfs().join("dev"))?;
        symlink("/volume/target", bundle.rootfs().join("dev"))?;
        Ok(bundle)
    }
}

fn mount_race(target: &str, link: impl Fn(&Path) -> PathBuf) -> Result<()> {
    on_stage(|stage| {
        let place = Place::new(stage, link)?;
        let bundle = place
            .bundle()?
            .mount(target, "tmpfs", "inside", &["size=64k"])
            .shell("grep -c ' - tmpfs inside ' /proc/self/mountinfo; cat /volume/target/secret");
        place.race(1, || place.prints(&bundle, &["1\n"]))
    })
}

#[test]
fn cve_2021_30465_mount_target_swapped_for_a_symlink_to_the_machine() -> Result<()> {
    mount_race("/volume/target", Path::to_owned)
}

#[test]
fn cve_2024_45310_folders_are_not_made_through_a_swapped_symlink() -> Result<()> {
    mount_race("/volume/target/deep/er", |outside| outside.join("made"))
}

#[test]
fn cve_2019_19921_mount_target_swapped_for_a_symlink_into_proc() -> Result<()> {
    mount_race("/volume/target", |_| PathBuf::from("/proc/self"))
}

#[test]
fn cve_2021_30465_bind_target_swapped_for_a_symlink_to_the_machine() -> Result<()> {
    on_stage(|stage| {
        let place = Place::new(stage, Path::to_owned)?;
        let file = stage.folder("more")?.join("file");
        fs::write(&file, "bound\n")?;
        let bundle = place
            .bundle()?
            .bind(&file, "/volume/target/file", &["rbind"])
            .shell("cat /volume/target/file /volume/target/secret 2>/dev/null; echo ran");
        place.race(2, || place.prints(&bundle, &["bound\nran\n", "ran\n"]))
    })
}

#[test]
fn cve_2026_41579_device_folder_swapped_while_devices_are_made() -> Result<()> {
    on_stage(|stage| {
        let place = Place::new(stage, Path::to_owned)?;
        let bundle = place.bundle_with_dev()?;
        let bundle = bundle.shell("cat /dev/secret 2>/dev/null; echo ran");
        if stage.runtime().is_runc() {
            // it loses this one and removes ptmx of the machine's folder
            return Ok(());
        }
        place.race(2, || place.prints(&bundle, &["ran\n"]))
    })
}

#[test]
fn cve_2025_31133_masked_path_swapped_for_a_symlink_to_the_machine() -> Result<()> {
    on_stage(|stage| {
        let place = Place::new(stage, Path::to_owned)?;
        let bundle = place
            .bundle()?
            .set(
                "/linux/maskedPaths",
                json!(["/volume/target", "/volume/target/secret"]),
            )
            .shell("cat /volume/target/secret 2>/dev/null; echo ran");
        place.race(2, || place.prints(&bundle, &["ran\n"]))
    })
}

#[test]
fn cve_2025_31133_null_swapped_while_paths_are_masked() -> Result<()> {
    on_stage(|stage| {
        let place = Place::new(stage, |_| PathBuf::from("/proc/sys/kernel/core_pattern"))?;
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
        let null = Path::new("target");
        fs::remove_dir(place.volume.join(null))?;
        fs::write(place.volume.join(null), "")?;
        let bundle = place
            .bundle()?
            .set("/linux/maskedPaths", json!(["/proc/cpuinfo"]))
            .shell("stat -c %F /proc/cpuinfo");
        let bundle = bundle.without_mount("/dev").without_mount("/dev/pts");
        let bundle = bundle
            .without_mount("/dev/shm")
            .without_mount("/dev/mqueue");
        symlink("/volume/target", bundle.rootfs().join("dev/null"))?;
        if stage.runtime().is_runc() {
            return Ok(());
        }
        // nothing can start here: what stands at /dev/null is never the null device
        let starts = std::cell::Cell::new(0);
        place.race(2, || {
            starts.set(starts.get() + 1);
            let text = stage.run(&bundle)?.stdout();
            ensure!(
                text.is_empty() || text == "character special file\n",
                "not masked: {text}"
            );
            Ok(true)
        })?;
        assert_eq!(
            fs::read_to_string("/proc/sys/kernel/core_pattern")?,
            pattern
        );
        Ok(())
    })
}

#[test]
fn ghsa_3q8j_readonly_path_swapped_for_a_symlink_to_the_machine() -> Result<()> {
    on_stage(|stage| {
        let place = Place::new(stage, Path::to_owned)?;
        let bundle = place
            .bundle()?
            .set("/linux/readonlyPaths", json!(["/volume/target"]))
            .shell("cat /volume/target/secret 2>/dev/null; echo ran");
        place.race(2, || place.prints(&bundle, &["ran\n"]))
    })
}

#[test]
fn cve_2024_21626_working_directory_swapped_for_a_symlink_to_the_machine() -> Result<()> {
    on_stage(|stage| {
        let place = Place::new(stage, Path::to_owned)?;
        let bundle = place
            .bundle()?
            .set("/process/cwd", json!("/volume/target"))
            .shell("cat secret ../outside/secret 2>/dev/null; echo ran");
        place.race(2, || place.prints(&bundle, &["ran\n"]))
    })
}

#[test]
fn cve_2025_52565_console_swapped_for_a_symlink_to_the_machine() -> Result<()> {
    on_stage(|stage| {
        let place = Place::new(stage, Path::to_owned)?;
        for name in ["console", "ptmx", "pts"] {
            fs::write(place.outside.join(name), "")?;
        }
        let bundle = place
            .bundle_with_dev()?
            .mount(
                "/dev/pts",
                "devpts",
                "devpts",
                &["newinstance", "ptmxmode=0666"],
            )
            .set("/process/terminal", json!(true))
            .shell("echo ran");
        if stage.runtime().is_runc() {
            return Ok(());
        }
        place.race(4, || {
            let mut pty = Pty::open()?;
            let run = pty.spawn(stage.run_call(&bundle)?)?;
            let out = run.wait()?;
            let screen = if out.code() == 0 {
                pty.wait_for("ran")?
            } else {
                String::new()
            };
            ensure!(!screen.contains(SECRET), "it read the machine's file");
            Ok(out.code() == 0)
        })
    })
}
