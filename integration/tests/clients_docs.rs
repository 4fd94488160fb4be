//! docs/shim-clients.md: the configurations it shows are given to those they are for, and used.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::client::World;
use hostrun_integration::client::containerd::Release;
use hostrun_integration::client::engine::IMAGE;
use hostrun_integration::client::journal::{Journal, SHIM};
use hostrun_integration::image::Image;
use hostrun_integration::runtime::{Call, Running, Runtime};
use hostrun_integration::{cgroup, host};
use serde_json::Value;

const PAGE: &str = include_str!("../../docs/shim-clients.md");
const BIN: &str = "/usr/local/bin";
const USUAL: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The block of a language that has these words in it.
fn block(language: &str, words: &str) -> Result<&'static str> {
    let fence = format!("```{language}\n");
    let blocks = PAGE.split(fence.as_str()).skip(1);
    let mut blocks = blocks.filter_map(|rest| rest.split("```").next());
    let found = blocks.find(|block| block.contains(words));
    found.with_context(|| format!("no {language} with {words}"))
}

/// A world where hostrun and its shim are in a folder of programs.
struct Place {
    world: World,
    bin: PathBuf,
}

impl Place {
    fn new(release: Release) -> Result<Option<Self>> {
        let missing = release.usr().err().or_else(|| Journal::ours().err());
        if let Some(missing) = missing {
            let thread = std::thread::current();
            host::skip(thread.name().unwrap_or_default(), &missing.to_string())?;
            return Ok(None);
        }
        let world = World::with_programs(release.usr()?.as_deref())?;
        let bin = world.dir().join("bin");
        fs::create_dir(&bin)?;
        symlink(Runtime::hostrun()?.program(), bin.join("hostrun"))?;
        symlink(Journal::ours()?.program()?, bin.join(SHIM))?;
        Ok(Some(Self { world, bin }))
    }

    fn dir(&self) -> &Path {
        self.world.dir()
    }

    /// What the page says, of programs that are here.
    fn here(&self, text: &str) -> String {
        text.replace(BIN, &self.bin.to_string_lossy())
    }

    fn call(&self, words: &[&str]) -> Call {
        let path = format!("PATH={}:{USUAL}", self.bin.display());
        let home = format!("HOME={}", self.dir().display());
        let env = ["env", &path, &home];
        self.world.call(env.iter().chain(words).copied())
    }

    fn image(&self, kind: &str) -> Result<String> {
        let archive = self.dir().join("image.tar").to_string_lossy().into_owned();
        Image::new(self.dir())?.convert(&format!("{kind}:{archive}:{IMAGE}"))?;
        Ok(archive)
    }

    fn containerd(&self, socket: &str, config: &str) -> Result<Running> {
        let file = self.dir().join("containerd.toml");
        let dir = self.dir().display();
        let own = format!(
            "root = \"{dir}/containerd\"\nstate = \"/run/containerd-test\"\n\
             [grpc]\naddress = \"{socket}\"\n[ttrpc]\naddress = \"{socket}.ttrpc\"\n"
        );
        // its first line is the version, which goes before everything
        let (version, rest) = config.split_once('\n').context("one line")?;
        fs::write(&file, format!("{version}\n{own}{}", self.here(rest)))?;
        let file = file.to_string_lossy();
        let dump = self.call(&["containerd", "--config", &file, "config", "dump"]);
        let dump = dump.run()?.ok()?;
        let ours = dump.contains("io.containerd.hostrun.v1");
        ensure!(ours && dump.contains("SystemdCgroup = true"), "{dump}");
        let running = self.call(&["containerd", "--config", &file]).spawn()?;
        let answers = || {
            let plugins = self.call(&["ctr", "-a", socket, "plugins", "ls"]).run();
            plugins.is_ok_and(|told| told.code() == 0)
        };
        host::wait_for("containerd", answers).with_context(|| running.stderr())?;
        Ok(running)
    }
}

fn with_containerd(release: Release, version: &str) -> Result<()> {
    const SOCKET: &str = "/run/containerd-test.sock";
    let Some(place) = Place::new(release)? else {
        return Ok(());
    };
    let daemon = place.containerd(SOCKET, block("toml", version)?)?;
    let archive = place.image("oci-archive")?;
    let ctr = ["ctr", "-a", SOCKET];
    let import = [&ctr[..], &["images", "import", &archive]].concat();
    place.call(&import).run()?.ok()?;
    let lines = block("console", "ctr run")?.lines();
    for (number, line) in lines.enumerate() {
        let name = format!("docs-{number}");
        let line = place.here(line).replace("IMAGE", IMAGE);
        let line = line.replace("NAME", &name);
        let words = line.strip_prefix("# ctr run").context("a line of ctr")?;
        let mut all = [&ctr[..], &["run"]].concat();
        if !cgroup::has_controller("cpu") {
            all.extend(["--cpu-shares", "0"]);
        }
        all.extend(words.split_whitespace());
        assert_eq!(place.call(&all).run()?.ok()?, "hello\n", "{line}");
    }
    drop(daemon);
    place.world.end()
}

#[test]
fn what_is_said_of_containerd_1_is_taken_and_runs() -> Result<()> {
    with_containerd(Release::Machine, "version = 2")
}

#[test]
fn what_is_said_of_containerd_2_is_taken_and_runs() -> Result<()> {
    with_containerd(Release::Sid, "version = 3")
}

#[test]
fn what_is_said_of_docker_is_taken_and_runs() -> Result<()> {
    let Some(place) = Place::new(Release::Machine)? else {
        return Ok(());
    };
    let mut config: Value = serde_json::from_str(&place.here(block("json", "\"path\"")?))?;
    let dir = place.dir().display();
    let more = serde_json::json!({
        "data-root": format!("{dir}/docker"), "exec-root": "/run/docker-exec",
        "pidfile": "/run/docker-test.pid", "hosts": ["unix:///run/docker-test.sock"],
        "bridge": "none", "iptables": false, "ip6tables": false, "storage-driver": "overlay2",
        "exec-opts": ["native.cgroupdriver=cgroupfs"], "default-runtime": "hostrun",
    });
    let config = config.as_object_mut().context("no object")?;
    config.extend(more.as_object().context("no object")?.clone());
    let file = place.dir().join("daemon.json");
    fs::write(&file, serde_json::to_vec(config)?)?;
    let socket = "/run/docker-test.sock";
    let path = format!("PATH={USUAL}");
    let words = [
        "env",
        &path,
        "dockerd",
        "--config-file",
        &file.to_string_lossy(),
    ];
    let daemon = place.world.daemon(&words, socket)?;
    let docker = ["docker", "-H", "unix:///run/docker-test.sock"];
    let archive = place.image("docker-archive")?;
    let load = [&docker[..], &["load", "-q", "-i", &archive]].concat();
    place.call(&load).run()?.ok()?;
    for chosen in [&["--runtime", "hostrun"][..], &[]] {
        let run = ["run", "--rm", "--network", "none"];
        let words = [&docker[..], &run, chosen, &[IMAGE, "echo", "hello"]].concat();
        assert_eq!(place.call(&words).run()?.ok()?, "hello\n");
    }
    drop(daemon);
    place.world.end()
}

#[test]
fn what_is_said_of_podman_is_taken_and_runs() -> Result<()> {
    let Some(place) = Place::new(Release::Machine)? else {
        return Ok(());
    };
    let told = place.here(block("toml", "[engine.runtimes]")?);
    let dir = place.dir().display();
    let pids = if cgroup::has_controller("pids") {
        ""
    } else {
        "pids_limit = 0\n"
    };
    let machine = format!(
        "[containers]\n{pids}default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n"
    );
    let told = told.replacen("[engine]\n", "", 1);
    let file = place.dir().join("containers.conf");
    fs::write(&file, format!("{machine}{told}"))?;
    let archive = place.image("docker-archive")?;
    let conf = format!("CONTAINERS_CONF={}", file.display());
    let (root, run_root) = (format!("{dir}/podman"), "/run/podman");
    let podman = [
        "env",
        &conf,
        "podman",
        "--root",
        &root,
        "--runroot",
        run_root,
    ];
    let podman = [
        &podman[..],
        &["--tmpdir", "/run/podman-tmp", "--storage-driver", "overlay"],
    ]
    .concat();
    let words = [&podman[..], &["load", "-q", "-i", &archive]].concat();
    place.call(&words).run()?.ok()?;
    let info = [
        &podman[..],
        &["info", "--format", "{{.Host.OCIRuntime.Name}}"],
    ]
    .concat();
    assert_eq!(place.call(&info).run()?.ok()?, "hostrun\n");
    let run = ["run", "--rm", "--network", "none", IMAGE, "echo", "hello"];
    let words = [&podman[..], &run].concat();
    assert_eq!(place.call(&words).run()?.ok()?, "hello\n");
    place.world.end()
}

#[test]
fn every_json_of_the_page_is_json() -> Result<()> {
    for text in PAGE
        .split("```json\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
    {
        let _: Value = serde_json::from_str(text).with_context(|| text.to_owned())?;
    }
    Ok(())
}
