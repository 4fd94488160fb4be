//! How large hostrun is: on disk, in memory, beside a container, and in instructions before a short
//! verb does anything. Only the release build is held to these.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::trace::{Trace, is_below};
use hostrun_integration::{Stage, elf, on_stage, on_stage_of_hostrun};
use procfs::process::Process;
use serde_json::Value;

/// Bytes of the binary.
const BINARY: u64 = 4_000_000;

/// Bytes of containerd's shim.
const SHIM: u64 = 2_600_000;

/// KiB resident at a time while a bundle is run from memory; the aim is 1,946.
const RUN: usize = 2_600;

/// Goes on with a copy of `$0` on a read-only file system in memory at `$1`. How much of a file the kernel
/// maps around a page that was touched depends on the sizes its page cache has it in, and those on the
/// file system and on who read it before; in memory it is the same on every machine.
const IN_MEMORY: &str =
    "mount -t tmpfs none $1 && cp $0 $1/program && mount -o remount,ro $1 && shift && exec \"$@\"";

/// Private KiB of the one process that stays beside a container of `run -d`, to keep its log.
const MONITOR: u64 = 1_024;

/// Instructions of a verb that finds no container, and `CPUID`s among them: what every short verb
/// spends before its work.
const BEGINNING: (usize, usize) = (225_000, 0);

fn is_released(stage: &Stage) -> bool {
    stage.runtime().is_hostrun() && !is_below(stage.runtime().program(), "debug")
}

/// Words of a call, with the state root of the stage.
fn words<'a>(stage: &'a Stage, root: &'a OsStr, rest: &'a [&'a str]) -> Vec<&'a OsStr> {
    let program = stage.runtime().program().as_os_str();
    let mut words = vec![program, OsStr::new("--root"), root];
    words.extend(rest.iter().map(OsStr::new));
    words
}

#[test]
fn the_binary_is_small() -> Result<()> {
    on_stage(|stage| {
        let bytes = fs::metadata(stage.runtime().program())?.size();
        if stage.runtime().is_runc() {
            // three times as large, and dynamically linked where Debian builds it
            ensure!(bytes > BINARY, "{bytes}");
        } else if is_released(stage) {
            ensure!(bytes <= BINARY, "{bytes} bytes, at most {BINARY}");
            let shim = fs::metadata(hostrun_integration::shim::binary()?)?.size();
            ensure!(shim <= SHIM, "{shim} bytes of the shim, at most {SHIM}");
        }
        Ok(())
    })
}

#[test]
fn a_run_needs_little_memory() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .file("/bin/nothing", 0o755, &elf::exit(0))?
            .args(&["/bin/nothing"]);
        let dir = bundle.write()?.to_string_lossy().into_owned();
        let (root, id) = (stage.root(), stage.id());
        let memory = stage.dir().join("memory");
        fs::create_dir(&memory)?;
        let copy = memory.join("program");
        let run = ["run", "--bundle", &dir, &id];
        let mut run = words(stage, root.as_os_str(), &run);
        if let Some(program) = run.first_mut() {
            *program = copy.as_os_str();
        }
        let shell = ["unshare", "--mount", "sh", "-c", IN_MEMORY].map(OsStr::new);
        let there = [stage.runtime().program().as_os_str(), memory.as_os_str()];
        // The kernel counts pages for each processor, and adds them up by 32 or more: a process that was moved about on a
        // busy machine seems larger by as much.
        let mut peak = usize::MAX;
        for _ in 0..12 {
            let call = shell.iter().chain(&there).copied();
            peak = peak.min(Trace::of(run.clone()).after(call).count()?.peak);
        }
        if stage.runtime().is_runc() {
            ensure!(peak > RUN, "{peak} KiB");
        } else if is_released(stage) {
            ensure!(peak <= RUN, "{peak} KiB, at most {RUN}");
        }
        Ok(())
    })
}

#[test]
fn a_short_verb_begins_without_delay() -> Result<()> {
    on_stage_of_hostrun("of its own code", |stage| {
        // the verb succeeds where there is nothing to delete
        let (root, id) = (stage.root(), stage.id());
        let delete = ["delete", "--force", &id];
        let steps = Trace::of(words(stage, root.as_os_str(), &delete)).step()?;
        if is_released(stage) {
            let (instructions, cpuids) = BEGINNING;
            ensure!(
                steps.instructions <= instructions && steps.cpuids <= cpuids,
                "{steps:?}, at most {BEGINNING:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn the_process_beside_a_container_in_the_background_is_small() -> Result<()> {
    on_stage_of_hostrun("runc leaves none, and keeps no log", |stage| {
        let image = Image::new(stage.dir())?;
        let name = stage.call(["load", "-q", &image.source()]).run()?.ok()?;
        let call = stage.image_call(["-d", name.trim(), "sleep", "1000"]);
        let id = call.run()?.ok()?;
        let state: Value = serde_json::from_str(&stage.call(["state", id.trim()]).run()?.ok()?)?;
        let pid = state.get("pid").and_then(Value::as_i64).context("no pid")?;
        let monitor = Process::new(i32::try_from(pid)?)?.stat()?.ppid;
        let private = Process::new(monitor)?
            .status()?
            .rssanon
            .context("no RssAnon")?;
        stage.call(["rm", "--force", id.trim()]).run()?.ok()?;
        if is_released(stage) {
            ensure!(private <= MONITOR, "{private} KiB, at most {MONITOR}");
        }
        Ok(())
    })
}
