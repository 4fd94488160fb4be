//! Containers on the kind of host that hostrun is for: systemd is process 1, the root is read-only, and what
//! is kept is below `/var`. `make test-host` boots one and runs these inside, on the `hostrun` in its `/usr`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host::wait_for;
use hostrun_integration::runtime::Call;

mod apparmor;
mod containerd;
mod health;
mod memory;
mod units;
mod users;

const HOSTRUN: &str = "/usr/bin/hostrun";

/// An image that the system came with.
const APP: &str = "system/app:1";

fn ok(words: &[&str]) -> Result<String> {
    let (program, rest) = words.split_first().context("no program")?;
    let out = Call::new(Path::new(program), rest).run()?.ok()?;
    Ok(out.trim_end().to_owned())
}

fn hostrun(words: &[&str]) -> Result<String> {
    ok(&[&[HOSTRUN], words].concat())
}

/// A property of a unit, as systemd knows it.
fn show(unit: &str, property: &str) -> Result<String> {
    ok(&["systemctl", "show", "--value", "-p", property, unit])
}

/// A service, gone with the test.
struct Service {
    name: String,
}

impl Service {
    /// Of a container that a shell runs in; `settings` are more lines of its section.
    fn new(name: &str, settings: &str, options: &str, script: &str) -> Result<Self> {
        let service = Self {
            name: format!("{name}.service"),
        };
        let text = format!(
            "[Service]\nDelegate=yes\nKillMode=mixed\nTimeoutSec=30\n{settings}\n\
             ExecStart={HOSTRUN} run --rm --cgroups split --name {name} {options} {APP} sh -c '{script}'\n"
        );
        fs::write(service.file(), text)?;
        ok(&["systemctl", "daemon-reload"])?;
        Ok(service)
    }

    fn file(&self) -> PathBuf {
        Path::new("/run/systemd/system").join(&self.name)
    }

    fn call(&self, verb: &str) -> Result<String> {
        ok(&["systemctl", verb, &self.name])
    }

    /// A property, as systemd knows it.
    fn is(&self, property: &str) -> Result<String> {
        show(&self.name, property)
    }

    fn awaits(&self, property: &str, value: &str) -> Result<()> {
        let is = || self.is(property).is_ok_and(|is| is == value);
        wait_for(&format!("{property} to be {value}"), is)
    }

    /// What it wrote, as the journal has it.
    fn journal(&self) -> Result<String> {
        ok(&["journalctl", "--sync"])?;
        ok(&["journalctl", "--no-pager", "-o", "cat", "-u", &self.name])
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.call("stop").unwrap_or_default();
        fs::remove_file(self.file()).unwrap_or_default();
        for verb in ["daemon-reload", "reset-failed"] {
            ok(&["systemctl", verb]).unwrap_or_default();
        }
    }
}

/// No container, no cgroup and no process of ours is there.
fn nothing_is_left() -> Result<()> {
    assert_eq!(hostrun(&["ps", "-a", "-q"])?, "");
    let state = fs::read_dir("/run/hostrun").into_iter().flatten();
    let names: Vec<_> = state.flatten().map(|entry| entry.file_name()).collect();
    let left = names.iter().filter(|name| {
        Path::new("/run/hostrun")
            .join(name)
            .join("state.json")
            .exists()
    });
    ensure!(left.count() == 0, "left in /run/hostrun: {names:?}");
    let processes = fs::read_dir("/proc")?.flatten();
    for process in processes {
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        ensure!(
            name.trim() != "hostrun",
            "{} runs",
            process.path().display()
        );
    }
    Ok(())
}

/// What is below these folders, each with when it was changed last.
fn snapshot(folders: &[&str]) -> BTreeMap<PathBuf, (i64, i64)> {
    let mut seen = BTreeMap::new();
    let mut open: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            if data.is_dir() {
                open.push(entry.path());
            }
            seen.insert(entry.path(), (data.ctime(), data.ctime_nsec()));
        }
    }
    seen
}

#[test]
fn the_root_is_read_only_and_nothing_on_it_installs() -> Result<()> {
    for place in ["/usr/bin/x", "/x", "/usr/share/hostrun/store/x"] {
        let error = fs::write(place, "").err().context("it can be written to")?;
        ensure!(
            error.kind() == std::io::ErrorKind::ReadOnlyFilesystem,
            "{error}"
        );
    }
    for program in ["apt", "apt-get", "dpkg", "rpm"] {
        let there = ["/usr/bin", "/bin", "/usr/sbin"].map(|dir| Path::new(dir).join(program));
        ensure!(!there.iter().any(|path| path.exists()), "{program}");
    }
    Ok(())
}

#[test]
fn an_image_of_the_system_runs_from_where_it_is() -> Result<()> {
    let mounts = hostrun(&["run", "--rm", APP, "cat", "/proc/self/mountinfo"])?;
    let root = mounts.lines().find(|line| line.contains(" / / "));
    let root = root.context("no root")?;
    ensure!(root.contains("overlay"), "{root}");
    let layers = fs::read_dir("/var/lib/hostrun/store/layers");
    ensure!(
        layers.into_iter().flatten().count() == 0,
        "a layer was copied"
    );
    nothing_is_left()
}

#[test]
fn what_is_written_is_below_var_lib_hostrun_and_run_hostrun() -> Result<()> {
    let all = [
        "/etc", "/var", "/run", "/tmp", "/root", "/home", "/srv", "/dev/shm",
    ];
    let before = snapshot(&all);
    hostrun(&["run", "--rm", "-m", "64m", APP, "sh", "-c", "echo x > /y"])?;
    hostrun(&["run", "-d", "--name", "traced", APP, "sleep", "60"])?;
    hostrun(&["exec", "traced", "touch", "/z"])?;
    hostrun(&["logs", "traced"])?;
    hostrun(&["inspect", "traced"])?;
    hostrun(&["stop", "-t", "1", "traced"])?;
    hostrun(&["rm", "traced"])?;
    let archive = "/var/lib/hostrun/archive.tar";
    hostrun(&["save", "-o", archive, APP])?;
    hostrun(&["load", "-q", "-i", archive])?;
    hostrun(&["tag", APP, "own:1"])?;
    hostrun(&["rmi", "own:1"])?;
    hostrun(&["gc"])?;
    fs::remove_file(archive)?;
    let after = snapshot(&all);
    let ours = ["/var/lib/hostrun", "/run/hostrun"];
    // systemd's own: its journal, its notes on units, and what runs this test
    let others = [
        "/var/log/journal",
        "/run/log/journal",
        "/run/systemd",
        "/run/udev",
    ];
    let changed = after
        .iter()
        .filter(|(path, when)| before.get(*path) != Some(*when));
    let gone = before.iter().filter(|(path, _)| !after.contains_key(*path));
    let elsewhere: Vec<&PathBuf> = changed
        .chain(gone)
        .map(|(path, _)| path)
        .filter(|path| {
            !ours
                .iter()
                .chain(&others)
                .any(|place| path.starts_with(place))
        })
        .collect();
    ensure!(elsewhere.is_empty(), "{elsewhere:?}");
    nothing_is_left()
}

#[test]
fn a_service_ends_as_its_container_does() -> Result<()> {
    let service = Service::new("code", "", "", "exit 7")?;
    service.call("start")?;
    service.awaits("SubState", "failed")?;
    assert_eq!(service.is("Result")?, "exit-code");
    assert_eq!(service.is("ExecMainStatus")?, "7");
    nothing_is_left()
}

#[test]
fn what_a_service_may_use_its_container_may_use_at_most() -> Result<()> {
    // a buffer in memory of its own, larger than the service may have
    let script = "dd if=/dev/zero of=/dev/null bs=80M count=1";
    let settings = "MemoryMax=40M\nMemorySwapMax=0\nOOMPolicy=stop";
    let service = Service::new("bounded", settings, "--pids-limit 50", script)?;
    service.call("start")?;
    service.awaits("ActiveState", "failed")?;
    assert_eq!(service.is("Result")?, "oom-kill");
    nothing_is_left()
}

#[test]
fn what_a_container_writes_is_in_the_journal_of_its_service() -> Result<()> {
    let service = Service::new("talk", "Type=oneshot", "", "echo said; echo told >&2")?;
    service.call("start")?;
    assert_eq!(service.journal()?.matches("said").count(), 1);
    ensure!(
        service.journal()?.contains("told"),
        "{}",
        service.journal()?
    );
    nothing_is_left()
}

#[test]
fn a_service_that_is_stopped_asks_its_container_to_end() -> Result<()> {
    let script = "trap \"echo asked; exit 0\" TERM; echo up; while :; do sleep 1 & wait; done";
    let service = Service::new("asked", "", "", script)?;
    service.call("start")?;
    wait_for("the container to be up", || {
        service.journal().is_ok_and(|text| text.contains("up"))
    })?;
    service.call("stop")?;
    ensure!(
        service.journal()?.contains("asked"),
        "{}",
        service.journal()?
    );
    assert_eq!(service.is("Result")?, "success");
    nothing_is_left()
}

/// The payload of the services below: this program, in a container.
#[test]
#[ignore = "started by the tests below, in a container"]
fn payload_inside() -> Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(std::env::var("NOTIFY_SOCKET")?)?;
    sleep(Duration::from_secs(1));
    socket.send(b"STATUS=at work\nREADY=1")?;
    let beats: u32 = std::env::var("BEATS")?.parse()?;
    for _ in 0..beats {
        socket.send(b"WATCHDOG=1")?;
        sleep(Duration::from_secs(1));
    }
    // and says nothing more
    sleep(Duration::from_mins(10));
    Ok(())
}

fn payload(name: &str, settings: &str, beats: u32) -> Result<Service> {
    let program = std::env::current_exe()?;
    // process 1 of a container ends by no signal that it does not ask for: an init does
    let options = format!(
        "--init -e BEATS={beats} -v {}:/payload:ro",
        program.display()
    );
    let script = "exec /payload --exact --ignored payload_inside";
    Service::new(
        name,
        &format!("Type=notify\nNotifyAccess=all\n{settings}"),
        &options,
        script,
    )
}

#[test]
fn a_service_is_ready_when_its_container_says_so() -> Result<()> {
    let service = payload("ready", "", 0)?;
    service.call("start")?;
    assert_eq!(service.is("SubState")?, "running");
    service.call("stop")?;
    nothing_is_left()
}

#[test]
fn a_service_whose_container_falls_silent_is_started_anew() -> Result<()> {
    // hostrun hands the signal on, and takes away what is left of the container
    let settings = "WatchdogSec=8\nWatchdogSignal=SIGTERM\nRestart=on-watchdog\nRestartSec=1";
    let service = payload("silent", settings, 1)?;
    service.call("start")?;
    service.awaits("NRestarts", "1")?;
    service.awaits("SubState", "running")?;
    service.call("stop")?;
    nothing_is_left()
}

/// Of the machine's own clock, which counts instructions: a figure for docs/host.md.
#[test]
fn the_first_container_is_up_with_the_system() -> Result<()> {
    let of = |unit: &str, property: &str| -> Result<u64> {
        let text = ok(&["systemctl", "show", "--value", "-p", property, unit])?;
        text.parse()
            .with_context(|| format!("{property} of {unit}: {text}"))
    };
    let idle = of("basic.target", "ActiveEnterTimestampMonotonic")?;
    let (from, to) = (
        of("first.service", "ExecMainStartTimestampMonotonic")?,
        of("first.service", "ExecMainExitTimestampMonotonic")?,
    );
    let ready = of("multi-user.target", "ActiveEnterTimestampMonotonic")?;
    println!(
        "FIGURE basic.target {idle} us, container {from} to {to} us, multi-user.target {ready} us"
    );
    assert_eq!(
        ok(&[
            "systemctl",
            "show",
            "--value",
            "-p",
            "Result",
            "first.service"
        ])?,
        "success"
    );
    nothing_is_left()
}
