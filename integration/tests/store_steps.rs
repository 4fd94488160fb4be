//! The store meets a kill, a full disk, a broken disk and an interruption at every system call of
//! what changes it. Afterwards every image that is there is whole, and `gc` leaves nothing else.
//!
//! One call goes wrong each time, of whichever process: what tells of it does not. The command runs on
//! one processor, so that it has as few threads as it can, and nearly the same steps each time.

use std::ffi::c_long;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use hostrun_integration::runtime::Call;
use hostrun_integration::trace::{Fault, Trace, changes_files};
use hostrun_integration::{Stage, on_stage_of_hostrun};
use nix::errno::Errno;
use nix::libc;
use serde_json::Value;

/// `make test` tries one step of so many, another one for each fault; `make test-long` tries all.
fn stride() -> usize {
    match std::env::var("HOSTRUN_TEST_CHURN") {
        Ok(_) => 1,
        Err(_) => 11,
    }
}

/// Which calls a fault is for.
type Counted = fn(c_long) -> bool;

/// What becomes of a call, and of which. A futex(2) that did nothing would let a thread sleep for ever, which
/// no disk does.
const FAULTS: [(Fault, Counted); 4] = [
    (Fault::Kill, |_| true),
    (Fault::Error(Errno::ENOSPC), is_on_files),
    (Fault::Error(Errno::EIO), is_on_files),
    (Fault::Error(Errno::EINTR), is_on_files),
];

/// Whether a call fails for a full or broken disk.
fn is_on_files(call: c_long) -> bool {
    let others = [
        libc::SYS_open,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_read,
        libc::SYS_pread64,
        libc::SYS_flock,
        libc::SYS_getdents64,
        libc::SYS_statfs,
        libc::SYS_fstatfs,
        libc::SYS_readlinkat,
    ];
    changes_files(call) || others.contains(&call)
}

fn trace(stage: &Stage, words: &[&str]) -> Trace {
    Trace::of(stage.call(words).words()).after(["taskset", "-c", "0"])
}

fn run(words: &[&str]) -> Result<()> {
    let (program, rest) = words.split_first().context("no program")?;
    let out = Call::new(Path::new(program), rest).run()?;
    out.ok().map(drop)
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A layout with an image of a few entries of every kind.
fn layout(stage: &Stage, version: &str) -> Result<String> {
    let root = stage.folder(&format!("root-{version}"))?;
    for dir in ["etc", "opt/deep"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::write(root.join("etc/version"), version)?;
    fs::write(root.join("opt/deep/data"), vec![7; 40_000])?;
    fs::hard_link(root.join("etc/version"), root.join("opt/hard"))?;
    std::os::unix::fs::symlink("version", root.join("etc/link"))?;
    fs::write(root.join("opt/.wh.gone"), "")?;
    let (tar, layout) = (stage.dir().join("root.tar"), stage.dir().join(version));
    run(&["tar", "-C", &shown(&root), "-czf", &shown(&tar), "."])?;
    let import = ["import", &shown(&tar), "app:1"];
    stage.call(import).run()?.ok()?;
    let save = [
        "save",
        "--format",
        "oci-dir",
        "-o",
        &shown(&layout),
        "app:1",
    ];
    stage.call(save).run()?.ok()?;
    fs::remove_dir_all(stage.store())?;
    Ok(format!("oci:{}", shown(&layout)))
}

fn names_in(stage: &Stage, folder: &str) -> Result<usize> {
    Ok(fs::read_dir(stage.store().join("store").join(folder))?.count())
}

/// Every image is whole, and after a collection nothing is there that no image needs.
fn is_whole(stage: &Stage) -> Result<usize> {
    stage.call(["verify", "--deep"]).run()?.ok()?;
    stage.call(["gc"]).run()?.ok()?;
    stage.call(["verify", "--deep"]).run()?.ok()?;
    for folder in ["tmp", "trash"] {
        ensure!(
            names_in(stage, folder)? == 0,
            "something is left in {folder}"
        );
    }
    let listed = stage.call(["images", "--format", "json"]).run()?.ok()?;
    let images: Vec<Value> = serde_json::from_str(&listed)?;
    let layers = images
        .iter()
        .filter_map(|image| image.get("layers")?.as_array());
    let mut layers: Vec<&Value> = layers.flatten().collect();
    layers.sort_by_key(ToString::to_string);
    layers.dedup();
    ensure!(
        names_in(stage, "layers")? == layers.len(),
        "a layer is left"
    );
    let blobs = names_in(stage, "blobs/sha256")?;
    ensure!(
        blobs <= 2 * images.len(),
        "{blobs} blobs of {} images",
        images.len()
    );
    Ok(images.len())
}

/// How calls ended.
#[derive(Debug, Default)]
struct Ends {
    done: usize,
    refused: usize,
    killed: usize,
}

impl Ends {
    /// Ends well, with one line that says why not, or by the kill.
    fn count(&mut self, code: i32, told: &str, done: impl Fn() -> Result<bool>) -> Result<()> {
        match code {
            0 => {
                self.done += 1;
                ensure!(done()?, "it says it is done and it is not");
            }
            125 | 1 => {
                self.refused += 1;
                let told = told.lines().filter(|line| line.starts_with("hostrun: "));
                ensure!(told.count() == 1, "no single line");
            }
            137 => self.killed += 1,
            code => bail!("exit code {code}"),
        }
        Ok(())
    }
}

/// The steps of a call that have their turn with one of the faults.
fn chosen(steps: &[c_long], fault: usize) -> impl Iterator<Item = (usize, c_long)> {
    let turn = move |index: usize| (index + 3 * fault).is_multiple_of(stride());
    let steps = steps.iter().copied().enumerate();
    steps.filter(move |(index, _)| turn(*index))
}

/// One call with every fault at every step. `prepare` makes the store it is called on, `done` says
/// whether it did what it says.
fn at_every_step(
    prepare: impl Fn(&Stage) -> Result<Vec<String>>,
    done: impl Fn(&Stage) -> Result<bool>,
) -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let words = prepare(stage)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (store, kept) = (shown(&stage.store()), shown(&stage.dir().join("kept")));
        fs::create_dir_all(&store)?;
        run(&["cp", "-a", &store, &kept])?;
        let told = stage.dir().join("told");
        let mut ends = Ends::default();
        for (number, (fault, counted)) in FAULTS.into_iter().enumerate() {
            fs::remove_dir_all(&store)?;
            run(&["cp", "-a", &kept, &store])?;
            let steps = trace(stage, &words).calls(counted)?;
            for (index, call) in chosen(&steps, number) {
                fs::remove_dir_all(&store)?;
                run(&["cp", "-a", &kept, &store])?;
                let traced = trace(stage, &words).errors_to(&told);
                let code = traced.fault(counted, index, fault)?.context("no end")?;
                let told = fs::read_to_string(&told)?;
                let ended = ends.count(code, &told, || done(stage));
                ended.and_then(|()| is_whole(stage)).with_context(|| {
                    let all = steps.len();
                    format!(
                        "{words:?} with {fault:?} at step {index} of {all}, call {call}: {told}"
                    )
                })?;
            }
        }
        ensure!(ends.refused > 4 && ends.killed > 2, "{ends:?}");
        Ok(())
    })
}

fn has(stage: &Stage, name: &str) -> Result<bool> {
    Ok(stage.call(["history", name]).run()?.code() == 0)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_load_is_done_or_not_whatever_happens_at_any_step() -> Result<()> {
    at_every_step(
        |stage| Ok(words(&["load", "-q", &layout(stage, "v1")?])),
        |stage| has(stage, "app:1"),
    )
}

#[test]
fn a_load_of_mounted_layers_is_done_or_not_whatever_happens_at_any_step() -> Result<()> {
    let erofs = ["--storage-driver", "erofs", "load", "-q"];
    at_every_step(
        |stage| Ok(words(&[&erofs[..], &[&layout(stage, "v1")?]].concat())),
        |stage| has(stage, "app:1"),
    )
}

#[test]
fn a_load_over_another_image_is_done_or_not_whatever_happens_at_any_step() -> Result<()> {
    at_every_step(
        |stage| {
            let (one, two) = (layout(stage, "v1")?, layout(stage, "v2")?);
            stage.call(["load", "-q", &one]).run()?.ok()?;
            Ok(words(&["load", "-q", &two]))
        },
        |stage| has(stage, "app:1"),
    )
}

#[test]
fn a_removal_is_done_or_not_whatever_happens_at_any_step() -> Result<()> {
    at_every_step(
        |stage| {
            stage
                .call(["load", "-q", &layout(stage, "v1")?])
                .run()?
                .ok()?;
            Ok(words(&["rmi", "app:1"]))
        },
        |stage| Ok(!has(stage, "app:1")?),
    )
}

#[test]
fn a_collection_is_done_or_not_whatever_happens_at_any_step() -> Result<()> {
    at_every_step(
        |stage| {
            for source in [layout(stage, "v1")?, layout(stage, "v2")?] {
                stage.call(["load", "-q", &source]).run()?.ok()?;
            }
            Ok(words(&["prune"]))
        },
        |stage| Ok(is_whole(stage)? == 1),
    )
}

#[test]
fn a_rollback_is_done_or_not_whatever_happens_at_any_step() -> Result<()> {
    at_every_step(
        |stage| {
            for source in [layout(stage, "v1")?, layout(stage, "v2")?] {
                stage.call(["load", "-q", &source]).run()?.ok()?;
            }
            Ok(words(&["generations", "rollback"]))
        },
        |stage| {
            let listed = stage
                .call(["generations", "list", "--format", "json"])
                .run()?
                .ok()?;
            let listed: Vec<Value> = serde_json::from_str(&listed)?;
            let is_current = |one: &Value| one.get("current") == Some(&Value::Bool(true));
            Ok(listed.first().is_some_and(is_current))
        },
    )
}

#[test]
fn a_switch_to_another_version_is_done_or_not_whatever_happens_at_any_step() -> Result<()> {
    at_every_step(
        |stage| {
            let sources = [layout(stage, "v1")?, layout(stage, "v2")?];
            for (source, version) in sources.iter().zip(["A", "B"]) {
                stage.call(["generations", "follow", version]).run()?.ok()?;
                stage.call(["load", "-q", source]).run()?.ok()?;
            }
            Ok(words(&["generations", "follow", "A"]))
        },
        |stage| {
            let again = ["generations", "follow", "A"];
            Ok(stage.call(again).run()?.ok()?.is_empty())
        },
    )
}
