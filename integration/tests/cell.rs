//! The process that layers are unpacked in: what it can see and what it may do, looked at from outside
//! while it works.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::registry::faulty::Truth;
use hostrun_integration::registry::{Body, FaultyRegistry, Request};
use hostrun_integration::runtime::{Call, Running};
use hostrun_integration::{Stage, on_stage_of_hostrun};
use rustix::process::{Pid, Signal, kill_process};

/// chown, dac_override, fowner, fsetid, mknod, setfcap
const CAPABILITIES: &str = "000000008800001b";

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn run(words: &[&str]) -> Result<()> {
    let (program, rest) = words.split_first().context("no program")?;
    Call::new(Path::new(program), rest).run()?.ok().map(drop)
}

/// A layout whose one layer takes a moment to unpack.
fn layout(stage: &Stage) -> Result<String> {
    let root = stage.folder("root")?;
    let large = format!("of={}", shown(&root.join("large")));
    run(&[
        "dd",
        "if=/dev/urandom",
        &large,
        "bs=1M",
        "count=96",
        "status=none",
    ])?;
    fs::write(root.join("small"), "content")?;
    let (tar, layout) = (stage.dir().join("root.tar"), stage.dir().join("layout"));
    run(&["tar", "-C", &shown(&root), "-cf", &shown(&tar), "."])?;
    stage.call(["import", &shown(&tar), "app:1"]).run()?.ok()?;
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

/// A process that is stopped while it is looked at.
struct Stopped {
    proc: PathBuf,
    pid: Pid,
}

impl Stopped {
    /// The child of a load that unpacks, once it has its filter.
    fn child_of(load: &Running) -> Result<Self> {
        let end = Instant::now() + Duration::from_secs(20);
        let parent = load.pid();
        loop {
            let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
            for pid in children.unwrap_or_default().split_whitespace() {
                let proc = PathBuf::from(format!("/proc/{pid}"));
                let status = fs::read_to_string(proc.join("status")).unwrap_or_default();
                // the one that talks to registries has a filter, too, and no rights
                if status.contains("Seccomp:\t2") && status.contains(CAPABILITIES) {
                    let pid = Pid::from_raw(pid.parse()?).context("no pid")?;
                    kill_process(pid, Signal::STOP)?;
                    return Ok(Self { proc, pid });
                }
            }
            ensure!(Instant::now() < end, "no child was seen: {}", load.stderr());
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn text(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.proc.join(name)).context(name.to_owned())
    }

    fn status(&self) -> Result<BTreeMap<String, String>> {
        let text = self.text("status")?;
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Ok(pairs
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect())
    }

    fn namespace(&self, kind: &str) -> Result<PathBuf> {
        Ok(fs::read_link(self.proc.join("ns").join(kind))?)
    }

    fn go_on(self) -> Result<()> {
        Ok(kill_process(self.pid, Signal::CONT)?)
    }
}

fn load(stage: &Stage, source: &str) -> Result<Running> {
    stage.call(["load", "-q", source]).spawn()
}

#[test]
fn layers_are_unpacked_by_a_process_without_network_host_or_rights() -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let source = layout(stage)?;
        let load = load(stage, &source)?;
        let child = Stopped::child_of(&load)?;
        has_no_rights(&child)?;
        sees_only_its_directory(&child, stage)?;
        holds_only_what_it_needs(&child, &[source.trim_start_matches("oci:")])?;
        let limits = child.text("limits")?;
        for (name, most) in [("Max core file size", "0"), ("Max locked memory", "0")] {
            let line = limits.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|line| line.split_whitespace().next());
            assert_eq!(value, Some(most), "{name}");
        }
        child.go_on()?;
        assert_eq!(load.wait()?.ok()?.trim(), "app:1");
        stage.call(["verify", "--deep"]).run()?.ok()?;
        Ok(())
    })
}

fn has_no_rights(child: &Stopped) -> Result<()> {
    let status = child.status()?;
    let of = |name: &str| status.get(name).map(String::as_str).unwrap_or_default();
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(of(set), CAPABILITIES, "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(of(set), "0000000000000000", "{set}");
    }
    assert_eq!((of("NoNewPrivs"), of("Seccomp")), ("1", "2"));
    for kind in ["net", "mnt", "ipc"] {
        let own = fs::read_link(format!("/proc/self/ns/{kind}"))?;
        ensure!(
            child.namespace(kind)? != own,
            "it is in our {kind} namespace"
        );
    }
    let devices = child.text("net/dev")?;
    let devices: Vec<&str> = devices.lines().skip(2).collect();
    ensure!(
        devices.iter().all(|line| line.trim().starts_with("lo:")),
        "{devices:?}"
    );
    Ok(())
}

fn sees_only_its_directory(child: &Stopped, stage: &Stage) -> Result<()> {
    let mounts = child.text("mountinfo")?;
    let lines: Vec<&str> = mounts.lines().collect();
    let fields: Vec<&str> = lines.first().context("no mount")?.split(' ').collect();
    let field = |at: usize| fields.get(at).copied().unwrap_or_default();
    ensure!(lines.len() == 1, "it sees other mounts: {mounts}");
    let work = format!("{}/store/tmp/", shown(&stage.store()));
    ensure!(
        field(3).contains("/store/tmp/"),
        "its root is {}, not in {work}",
        field(3)
    );
    for flag in ["nosuid", "nodev", "noexec"] {
        ensure!(
            field(5).split(',').any(|word| word == flag),
            "no {flag}: {}",
            field(5)
        );
    }
    let names = fs::read_dir(child.proc.join("root"))?.flatten();
    let names: Vec<String> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    ensure!(
        names.iter().all(|name| name.starts_with('w')),
        "it sees {names:?}"
    );
    for host in ["etc", "proc", "dev", "usr"] {
        ensure!(
            !child.proc.join("root").join(host).exists(),
            "it sees /{host}"
        );
    }
    assert_eq!(fs::read_link(child.proc.join("cwd"))?, Path::new("/"));
    Ok(())
}

/// The null device, the pipe to its parent, its directory, and what begins like this.
fn holds_only_what_it_needs(child: &Stopped, blobs: &[&str]) -> Result<()> {
    for entry in fs::read_dir(child.proc.join("fd"))? {
        let link = fs::read_link(entry?.path())?;
        let text = shown(&link);
        let is_own = text.starts_with("/w") || text == "/" || text == "/dev/null";
        ensure!(
            is_own
                || text.starts_with("pipe:")
                || blobs.iter().any(|begin| text.starts_with(begin)),
            "it holds {text}"
        );
    }
    Ok(())
}

/// What a registry gives is fetched and unpacked there, too, by a socket to who talks to the registry.
#[test]
fn layers_of_a_pull_are_unpacked_by_such_a_process() -> Result<()> {
    const CAME: usize = 50_000;
    on_stage_of_hostrun("runc knows no images", |stage| {
        let truth = Truth::new(Path::new(&Image::new(stage.dir())?.layout()));
        let largest = truth.layers()?.first().cloned().context("no layers")?;
        let digest = largest.clone();
        let server = FaultyRegistry::start(move |request| {
            let reply = truth.answer(request);
            let is_first = request.path.ends_with(&digest) && request.before == 0;
            if is_first {
                reply.coming(Body::Stall(CAME))
            } else {
                reply
            }
        })?;
        let name = server.name("box:1");
        let words = ["pull", "-q", "--tls-verify=false", &name];
        let pull = stage.call(words).spawn()?;
        let digits = largest.replace("sha256:", "");
        let partial = stage.store().join("store/partial");
        let end = Instant::now() + Duration::from_secs(20);
        let came = || fs::metadata(partial.join(format!("sha256-{digits}")));
        while came().map_or(0, |file| file.len()) < CAME as u64 {
            ensure!(Instant::now() < end, "nothing comes: {}", pull.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
        let child = Stopped::child_of(&pull)?;
        has_no_rights(&child)?;
        sees_only_its_directory(&child, stage)?;
        holds_only_what_it_needs(&child, &["socket:", &shown(&partial)])?;
        kill_process(child.pid, Signal::KILL)?;
        let out = pull.wait()?;
        assert_eq!(out.code(), 125, "{}", out.stderr());
        ensure!(
            out.stderr().contains("ended by signal 9"),
            "{}",
            out.stderr()
        );
        // what it had fetched is not fetched again
        stage.call(words).run()?.ok()?;
        let mut asked = server.asked();
        asked.retain(|request| request.path.ends_with(&largest));
        let offsets: Vec<usize> = asked.iter().map(Request::offset).collect();
        assert_eq!(offsets, [0, CAME]);
        stage.call(["verify", "--deep"]).run()?.ok().map(drop)
    })
}

/// A load needs no network: what it has in work is not fetched meanwhile.
#[test]
fn a_pull_leaves_to_a_load_what_that_unpacks() -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let source = layout(stage)?;
        let truth = Truth::new(Path::new(source.trim_start_matches("oci:")));
        let layer = truth.layers()?.first().cloned().context("no layers")?;
        let server = FaultyRegistry::start(move |request| truth.answer(request))?;
        let name = server.name("box:1");
        let load = load(stage, &source)?;
        let child = Stopped::child_of(&load)?;
        let words = ["pull", "--tls-verify=false", "--progress=plain", &name];
        let pull = stage.call(words).spawn()?;
        let end = Instant::now() + Duration::from_secs(20);
        while !pull
            .stderr()
            .contains("another pull or load has it in work")
        {
            ensure!(
                Instant::now() < end,
                "it waits for nobody: {}",
                pull.stderr()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        child.go_on()?;
        load.wait()?.ok()?;
        pull.wait()?.ok()?;
        let asked = server.asked();
        ensure!(
            !asked.iter().any(|request| request.path.ends_with(&layer)),
            "it was fetched"
        );
        stage.call(["verify", "--deep"]).run()?.ok().map(drop)
    })
}

#[test]
fn it_ends_with_its_parent_and_a_load_without_it_fails_in_one_line() -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let source = layout(stage)?;
        let first = load(stage, &source)?;
        let child = Stopped::child_of(&first)?;
        let proc = child.proc.clone();
        first.signal(Signal::KILL)?;
        first.wait()?;
        child.go_on().unwrap_or_default();
        let end = Instant::now() + Duration::from_secs(5);
        while proc.join("root").exists() {
            ensure!(Instant::now() < end, "it lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
        let second = load(stage, &source)?;
        let child = Stopped::child_of(&second)?;
        kill_process(child.pid, Signal::KILL)?;
        let out = second.wait()?;
        assert_eq!(out.code(), 125, "{}", out.stderr());
        let told = out.stderr();
        ensure!(
            told.contains("ended by signal 9") && told.lines().count() == 1,
            "{told}"
        );
        stage.call(["gc"]).run()?.ok()?;
        ensure!(
            fs::read_dir(stage.store().join("store/tmp"))?
                .next()
                .is_none(),
            "something is left"
        );
        stage.call(["load", "-q", &source]).run()?.ok()?;
        Ok(())
    })
}
