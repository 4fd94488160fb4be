//! containerd of the system, which starts containers of ours: it is there and begins nothing at boot.

use super::{nothing_is_left, ok};
use anyhow::{Result, ensure};
use hostrun_integration::host::wait_for;
use hostrun_integration::runtime::Call;
use std::fs;
use std::path::Path;

/// An image of it, out of a file.
const IMAGE: &str = "docker.io/library/app:1";

/// containerd's service, which stops with the test.
struct Containerd;

impl Containerd {
    fn start() -> Result<Self> {
        assert_eq!(
            super::show("containerd.service", "ActiveState")?,
            "inactive"
        );
        ok(&["systemctl", "start", "containerd.service"])?;
        let started = Self;
        let archive = "/var/lib/app.tar";
        super::hostrun(&["save", "-o", archive, super::APP])?;
        ok(&["ctr", "image", "import", "--index-name", IMAGE, archive])?;
        fs::remove_file(archive)?;
        Ok(started)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        drop(ok(&["ctr", "image", "rm", IMAGE]));
        drop(ok(&["systemctl", "stop", "containerd.service"]));
    }
}

/// Programs that run, by the file that each is of.
fn running(program: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut files = processes.filter_map(|process| fs::read_link(process.path().join("exe")).ok());
    files.any(|file| file.ends_with(program))
}

const SHIM: &str = "containerd-shim-hostrun-v1";
const OURS: [&str; 2] = ["--runtime", "io.containerd.hostrun.v1"];

fn ctr(words: &[&[&str]]) -> Result<String> {
    ok(&[&["ctr"], words.concat().as_slice()].concat())
}

#[test]
fn containerd_starts_containers_of_ours_by_its_configuration() -> Result<()> {
    let containerd = Containerd::start()?;
    let config = ok(&["containerd", "config", "dump"])?;
    ensure!(
        config.contains("default_runtime_name = \"hostrun\""),
        "{config}"
    );
    let plugins = ctr(&[&["plugins", "ls"]])?;
    let cri = plugins.lines().find(|line| line.contains(" cri "));
    ensure!(
        cri.is_some_and(|line| line.trim_end().ends_with("ok")),
        "{plugins}"
    );
    // our shim
    assert_eq!(
        ctr(&[&["run", "--rm"], &OURS, &[IMAGE, "one", "echo", "hello"]])?,
        "hello"
    );
    ctr(&[&["run", "-d"], &OURS, &[IMAGE, "two", "sleep", "600"]])?;
    ensure!(running(SHIM), "containerd started another shim");
    let said = ctr(&[&["task", "exec", "--exec-id", "x", "two", "echo", "inside"]])?;
    assert_eq!(said, "inside");
    ctr(&[&["task", "kill", "-s", "KILL", "two"]])?;
    ctr(&[&["task", "delete", "two"]])?;
    ctr(&[&["container", "delete", "two"]])?;
    // its own, which executes what is called runc
    ensure!(
        ok(&["runc", "--version"])?.contains("hostrun"),
        "runc is another's"
    );
    assert_eq!(
        ctr(&[&["run", "--rm", IMAGE, "three", "echo", "hello"]])?,
        "hello"
    );
    let named = ["--runc-binary", "/usr/bin/hostrun"];
    assert_eq!(
        ctr(&[&["run", "--rm"], &named, &[IMAGE, "four", "echo", "hello"]])?,
        "hello"
    );
    drop(containerd);
    wait_for("the end of the shims", || !running(SHIM))?;
    nothing_is_left()
}

#[test]
fn containerd_hears_of_a_container_that_is_killed_for_memory() -> Result<()> {
    let containerd = Containerd::start()?;
    let mut events = Call::new(Path::new("/usr/bin/ctr"), ["events"]).spawn()?;
    let limited = ["--memory-limit", "25165824"];
    let words = [
        &["run", "-d"][..],
        &OURS,
        &limited,
        &[IMAGE, "small", "sleep", "600"],
    ];
    ctr(&words)?;
    let group = Path::new("/sys/fs/cgroup/default/small/memory.max");
    assert_eq!(fs::read_to_string(group)?, "25165824\n");
    ctr(&[&["task", "delete", "--force", "small"]])?;
    ctr(&[&["container", "delete", "small"]])?;
    let hungry = ["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"];
    let words = [
        &["run", "--rm"][..],
        &OURS,
        &limited,
        &[IMAGE, "hungry"],
        &hungry,
    ]
    .concat();
    let out = Call::new(Path::new("/usr/bin/ctr"), words).run()?;
    assert_eq!(out.code(), 137, "{}", out.stderr());
    events.wait_for("/tasks/oom {\"container_id\":\"hungry\"}")?;
    drop(events);
    drop(containerd);
    nothing_is_left()
}
