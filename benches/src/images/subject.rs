//! Who loads images: hostrun, other tools that are installed, and the floor.

use super::{Cost, measured};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Load = fn(&Subject, &Path, &Path, &Path) -> Result<Cost>;

/// One that is measured.
pub(super) struct Subject {
    pub(super) name: &'static str,
    program: PathBuf,
    /// Of containerd: the client of the same version.
    client: PathBuf,
    /// Loads a layout or an archive into an empty directory.
    pub(super) load: Load,
}

/// Those of this machine, and why others are not.
pub(super) fn all(
    hostrun: &Path,
    floor: Option<&Path>,
    peers: Option<&Path>,
) -> (Vec<Subject>, Vec<String>) {
    let told = |name, program: &Path, load| Subject {
        name,
        program: program.to_owned(),
        client: program.with_file_name("ctr"),
        load,
    };
    let mut subjects = vec![
        told("hostrun", hostrun, hostrun_all as Load),
        told("hostrun-1", hostrun, hostrun_one),
        told("hostrun-erofs", hostrun, hostrun_erofs),
    ];
    let mut absent = Vec::new();
    match floor {
        Some(program) => subjects.push(told("floor", program, floor_load)),
        None => absent.push("the floor, for want of --floor".to_owned()),
    }
    let others: [(&'static str, Load); 3] = [
        ("umoci", umoci),
        ("podman", podman),
        ("containerd", containerd),
    ];
    for (name, load) in others {
        match find(name) {
            Some(program) => subjects.push(told(name, &program, load)),
            None => absent.push(format!("{name} is not here")),
        }
    }
    // The newest there is, beside the one that the distribution has.
    let newest = peers.map(|dir| dir.join("containerd"));
    match newest.filter(|program| program.is_file()) {
        Some(program) => subjects.push(told("containerd-new", &program, containerd)),
        None => absent.push("a newer containerd, which make peers fetches".to_owned()),
    }
    (subjects, absent)
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut paths = std::env::split_paths(&path).map(|dir| dir.join(name));
    paths.find(|path| path.is_file())
}

/// The layout as one file, for those who take no directory.
pub(super) fn archive(layout: &Path, to: &Path) -> Result<()> {
    let out = Command::new("tar")
        .arg("-C")
        .arg(layout)
        .arg("-cf")
        .arg(to)
        .args(["oci-layout", "index.json", "blobs"])
        .output()?;
    ensure!(out.status.success(), "tar failed");
    Ok(())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn hostrun_all(subject: &Subject, layout: &Path, _: &Path, at: &Path) -> Result<Cost> {
    hostrun(&[], subject, &[], layout, at)
}

/// Layers as the kernel mounts them.
fn hostrun_erofs(subject: &Subject, layout: &Path, _: &Path, at: &Path) -> Result<Cost> {
    hostrun(&[], subject, &["--storage-driver", "erofs"], layout, at)
}

/// On one processor, and so with one thread.
fn hostrun_one(subject: &Subject, layout: &Path, _: &Path, at: &Path) -> Result<Cost> {
    hostrun(&["taskset", "-c", "0"], subject, &[], layout, at)
}

fn hostrun(
    wrapper: &[&str],
    subject: &Subject,
    options: &[&str],
    layout: &Path,
    at: &Path,
) -> Result<Cost> {
    let (program, store) = (text(&subject.program), text(at));
    let source = format!("oci:{}:latest", text(layout));
    let program = [program.as_str(), "--store", &store];
    measured(&[wrapper, &program, options, &["load", "-q", &source]].concat())
}

fn floor_load(subject: &Subject, layout: &Path, _: &Path, _: &Path) -> Result<Cost> {
    measured(&[text(&subject.program), text(layout)])
}

fn umoci(subject: &Subject, layout: &Path, _: &Path, at: &Path) -> Result<Cost> {
    let image = format!("{}:latest", text(layout));
    let (program, at) = (text(&subject.program), text(&at.join("rootfs")));
    measured(&[program.as_str(), "raw", "unpack", "--image", &image, &at])
}

fn podman(subject: &Subject, _: &Path, archive: &Path, at: &Path) -> Result<Cost> {
    let (program, root, run) = (
        text(&subject.program),
        text(&at.join("root")),
        text(&at.join("run")),
    );
    let archive = text(archive);
    let store = [
        "--root",
        &root,
        "--runroot",
        &run,
        "--storage-driver",
        "overlay",
    ];
    let load = ["load", "-q", "-i", &archive];
    let cost = measured(&[&[program.as_str()], store.as_slice(), &load].concat());
    // It leaves a mount of its own there.
    drop(Command::new("umount").arg(at.join("root/overlay")).output());
    cost
}

/// The daemon's time and its client's, from when it answers to the end of the import.
fn containerd(subject: &Subject, _: &Path, archive: &Path, at: &Path) -> Result<Cost> {
    let socket = at.join("socket");
    let config = at.join("config.toml");
    let (root, state, address) = (
        text(&at.join("root")),
        text(&at.join("state")),
        text(&socket),
    );
    fs::write(
        &config,
        format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = {address:?}\n"
        ),
    )?;
    let mut daemon = Command::new(&subject.program)
        .arg("-c")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let cost = import(&subject.client, &daemon, &address, archive);
    daemon.kill()?;
    daemon.wait()?;
    cost
}

fn import(client: &Path, daemon: &Child, address: &str, archive: &Path) -> Result<Cost> {
    let ctr = |words: &[&str]| {
        Command::new(client)
            .args(["-a", address])
            .args(words)
            .output()
    };
    let end = Instant::now() + Duration::from_secs(30);
    while !ctr(&["version"])?.status.success() {
        ensure!(Instant::now() < end, "the daemon does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    let before = cpu_of(daemon.id())?;
    let (archive, client) = (text(archive), text(client));
    let import = [
        client.as_str(),
        "-a",
        address,
        "images",
        "import",
        "--snapshotter",
        "overlayfs",
        "--base-name",
        "image",
        &archive,
    ];
    let client = measured(&import)?;
    let after = cpu_of(daemon.id())?;
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id()))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(Cost {
        cpu: client.cpu + after.saturating_sub(before),
        peak_kib: peak.unwrap_or(client.peak_kib),
        ..client
    })
}

/// User and system time of a process and of its children that ended: proc_pid_stat(5).
fn cpu_of(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("no fields")?;
    let ticks = rest.split(' ').skip(11).take(4);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    // The kernel tells times in hundredths of a second whatever its own tick is.
    Ok(Duration::from_millis(ticks * 10))
}
