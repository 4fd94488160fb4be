//! The store meets a kill, a full disk, a broken disk and an interruption at every system call of
//! what changes it. Afterwards every image that is there is whole, and `gc` leaves nothing else.
//!
//! The command runs on one processor, so that it has one thread and the same steps each time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use hostrun_integration::runtime::Call;
use hostrun_integration::{Outcome, Stage, on_stage_of_hostrun};
use serde_json::Value;

/// `make test` tries one step of so many, another one for each fault; `make test-long` tries all.
fn stride() -> usize {
    match std::env::var("HOSTRUN_TEST_CHURN") {
        Ok(_) => 1,
        Err(_) => 11,
    }
}

/// What strace does to a call, and whether only to those on files.
const FAULTS: [(&str, bool); 4] = [
    ("signal=KILL", false),
    ("error=ENOSPC", true),
    ("error=EIO", true),
    ("error=EINTR", true),
];

/// Calls that fail for a full or broken disk.
const ON_FILES: [&str; 33] = [
    "open",
    "openat",
    "openat2",
    "read",
    "pread64",
    "write",
    "pwrite64",
    "writev",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "rmdir",
    "symlinkat",
    "linkat",
    "unlink",
    "unlinkat",
    "mknodat",
    "fsync",
    "syncfs",
    "flock",
    "fchmod",
    "fchown",
    "fchownat",
    "fchmodat",
    "utimensat",
    "fsetxattr",
    "getdents64",
    "ftruncate",
    "statfs",
    "fstatfs",
    "readlinkat",
];

/// A system call: its name, and the how many-th of that name it is.
type Step = (String, usize);

fn strace<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["taskset", "-c", "0", "strace", "-f", "-qq"], words].concat()
}

fn steps(stage: &Stage, words: &[&str]) -> Result<Vec<Step>> {
    let path = stage.dir().join("trace").to_string_lossy().into_owned();
    let call = stage.call(words);
    call.under(strace(&["-s", "0", "-o", &path])).run()?.ok()?;
    let mut counts = BTreeMap::<String, usize>::new();
    let text = fs::read_to_string(&path)?;
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let names = lines.filter_map(|(_pid, call)| call.trim().split_once('('));
    let names = names.filter(|(name, _)| name.chars().all(|c| c.is_alphanumeric() || c == '_'));
    let step = |(name, _): (&str, &str)| {
        let count = counts.entry(name.to_owned()).or_default();
        *count += 1;
        (name.to_owned(), *count)
    };
    Ok(names.map(step).collect())
}

fn with_fault(stage: &Stage, words: &[&str], fault: &str, step: &Step) -> Result<Outcome> {
    let inject = format!("inject={}:{fault}:when={}", step.0, step.1);
    let wrapper = strace(&["-o", "/dev/null", "-e", &inject]);
    stage.call(words).under(wrapper).run()
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
    fn count(&mut self, out: &Outcome, fault: &str, done: impl Fn() -> Result<bool>) -> Result<()> {
        match out.code() {
            0 => {
                self.done += 1;
                ensure!(done()?, "it says it is done and it is not");
            }
            125 | 1 => {
                self.refused += 1;
                let told = out.stderr();
                let told = told.lines().filter(|line| line.starts_with("hostrun: "));
                ensure!(told.count() == 1, "no single line");
            }
            _ if fault.contains("KILL") => self.killed += 1,
            code => bail!("exit code {code}"),
        }
        Ok(())
    }
}

/// The steps of a call that have their turn with one of the faults.
fn chosen(steps: &[Step], fault: usize, on_files: bool) -> impl Iterator<Item = &Step> {
    let turn = move |index: usize| (index + 3 * fault).is_multiple_of(stride());
    let fits = move |step: &Step| !on_files || ON_FILES.contains(&step.0.as_str());
    let steps = steps.iter().enumerate();
    steps
        .filter(move |(index, step)| turn(*index) && fits(step))
        .map(|(_, step)| step)
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
        let steps = steps(stage, &words)?;
        let mut ends = Ends::default();
        for (number, (fault, on_files)) in FAULTS.into_iter().enumerate() {
            for step in chosen(&steps, number, on_files) {
                fs::remove_dir_all(&store)?;
                run(&["cp", "-a", &kept, &store])?;
                let out = with_fault(stage, &words, fault, step)?;
                let ended = ends.count(&out, fault, || done(stage));
                ended.and_then(|()| is_whole(stage)).with_context(|| {
                    format!("{words:?} with {fault} at {step:?}: {}", out.stderr())
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
