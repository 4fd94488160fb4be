//! One world for all cases of a test binary: made by the first, ended by the last.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::{Context as _, Error, Result, bail, ensure};

use super::containerd::{self, Containerd, Release};
use super::cri::{self, Cri};
use super::engine::{Engine, IMAGE, Kind};
use super::journal::Journal;
use super::world::World;
use crate::host;
use crate::image::Image;
use crate::runtime::{Running, Runtime};

/// A world with its engine running and the image loaded.
#[derive(Debug)]
struct Scene {
    world: World,
    daemon: Option<Running>,
    journals: Vec<Journal>,
    before: Vec<String>,
    state_roots: Vec<PathBuf>,
}

/// Where containerd and shims keep what they know of containers, one folder for each namespace.
const STATE: [&str; 3] = [
    "/run/containerd-test/io.containerd.runtime.v2.task",
    "/run/containerd/runc",
    "/run/containerd/hostrun",
];

static SHARED: Mutex<(usize, Option<Arc<Scene>>)> = Mutex::new((0, None));

/// Plays a case on podman with runc below it, then with hostrun.
///
/// # Errors
/// The case's own on hostrun, or what was left behind.
pub fn on_podman(case: fn(&Engine<'_>) -> Result<()>) -> Result<()> {
    on_engine(Kind::Podman, runtimes, case)
}

/// Plays a case on Docker with runc below it, then with hostrun.
///
/// # Errors
/// The case's own on hostrun, or what was left behind.
pub fn on_docker(case: fn(&Engine<'_>) -> Result<()>) -> Result<()> {
    on_engine(Kind::Docker, runtimes, case)
}

/// Plays a case on containerd with runc below its own shim, then with hostrun.
///
/// # Errors
/// The case's own on hostrun, or what was left behind.
pub fn on_containerd(case: fn(&Containerd<'_>) -> Result<()>) -> Result<()> {
    let make = || Scene::containerd(Release::Machine, runtimes);
    on_scene(make, |scene, journal| {
        case(&Containerd::new(&scene.world, journal))
    })
}

/// Plays a case on a containerd with its own shim and runc below it, then with our shim.
///
/// # Errors
/// The case's own on our shim, or what was left behind.
pub fn on_shim(release: Release, case: fn(&Containerd<'_>) -> Result<()>) -> Result<()> {
    if let Some(missing) = missing(release)? {
        return skip(&missing);
    }
    on_scene(
        || Scene::containerd(release, shims),
        |scene, journal| case(&Containerd::new(&scene.world, journal)),
    )
}

/// Who kills the daemon that serves CRI has it alone.
static KILLERS: RwLock<()> = RwLock::new(());

/// Plays a case by CRI on containerd's own shim and runc, then on our shim.
///
/// # Errors
/// The case's own on our shim, or what was left behind.
pub fn on_cri(release: Release, case: fn(&Cri<'_>) -> Result<()>) -> Result<()> {
    let _beside = KILLERS.read().unwrap_or_else(PoisonError::into_inner);
    by_cri(release, case)
}

/// The same for a case that kills the daemon: nobody else has it.
///
/// # Errors
/// The case's own on our shim, or what was left behind.
pub fn on_cri_alone(release: Release, case: fn(&Cri<'_>) -> Result<()>) -> Result<()> {
    let _alone = KILLERS.write().unwrap_or_else(PoisonError::into_inner);
    by_cri(release, case)
}

fn by_cri(release: Release, case: fn(&Cri<'_>) -> Result<()>) -> Result<()> {
    if let Some(missing) = missing(release)? {
        return skip(&missing);
    }
    on_scene(
        || Scene::cri(release),
        |scene, journal| case(&Cri::new(&scene.world, journal)),
    )
}

/// What shims are tried with that is not here.
fn missing(release: Release) -> Result<Option<Error>> {
    if let Err(missing) = release.usr() {
        return Ok(Some(missing));
    }
    let oracle_alone = Runtime::under_test()?.is_runc();
    Ok(Journal::ours().err().filter(|_| !oracle_alone))
}

/// The same for a case that kills the daemon: nobody else has it.
///
/// # Errors
/// The case's own on our shim, or what was left behind.
pub fn on_shim_alone(release: Release, case: fn(&Containerd<'_>) -> Result<()>) -> Result<()> {
    // two daemons with their clients at a time are enough for a small machine
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    on_shim(release, case)
}

/// Says why the test that runs does nothing.
fn skip(reason: &Error) -> Result<()> {
    let thread = std::thread::current();
    let reason = format!("{reason:#}").replace('\n', " ");
    host::skip(thread.name().unwrap_or("a case"), &reason)
}

/// Plays a case on a Docker that has our shim for all its containers.
///
/// # Errors
/// The case's own, or what was left behind.
pub fn on_docker_with_shim(case: fn(&Engine<'_>) -> Result<()>) -> Result<()> {
    match Journal::ours() {
        Ok(_) => on_engine(Kind::Docker, |_| Ok(vec![Journal::ours()?]), case),
        Err(missing) => skip(&missing),
    }
}

fn on_engine(
    kind: Kind,
    below: fn(&World) -> Result<Vec<Journal>>,
    case: fn(&Engine<'_>) -> Result<()>,
) -> Result<()> {
    on_scene(
        || Scene::engine(kind, below),
        |scene, journal| case(&Engine::new(&scene.world, kind, journal)),
    )
}

fn on_scene(
    make: impl FnOnce() -> Result<Scene>,
    play: impl Fn(&Scene, &Journal) -> Result<()>,
) -> Result<()> {
    let scene = enter(make)?;
    let played = scene.journals.iter().try_for_each(|journal| {
        // a case that panics must leave the world too
        let result = catch_unwind(AssertUnwindSafe(|| play(&scene, journal)));
        match result.unwrap_or_else(|panic| Err(told(&*panic))) {
            Err(error) if journal.name() == "runc" && scene.journals.len() > 1 => {
                Err(error.context("not on runc either"))
            }
            Err(error) => {
                let (name, calls) = (journal.name(), journal.last_calls());
                bail!("on {name}: {error:#}\n{name} was last called with:\n  {calls}")
            }
            Ok(()) => Ok(()),
        }
    });
    let ended = leave(scene);
    match played {
        Err(error) if error.to_string() == "not on runc either" => {
            skip(&error)?;
        }
        other => other?,
    }
    ended
}

/// What a failed assertion said.
fn told(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    Error::msg(text.unwrap_or("a panic without words").to_owned())
}

fn enter(make: impl FnOnce() -> Result<Scene>) -> Result<Arc<Scene>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let scene = match &shared.1 {
        Some(scene) => Arc::clone(scene),
        None => Arc::new(make()?),
    };
    *shared = (shared.0 + 1, Some(Arc::clone(&scene)));
    Ok(scene)
}

/// The last one out looks for what was left and ends the world.
fn leave(scene: Arc<Scene>) -> Result<()> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.0 = shared.0.saturating_sub(1);
    if shared.0 > 0 {
        // before the lock is given back: the last one out must be the only one to hold it
        drop(scene);
        return Ok(());
    }
    drop(shared.1.take());
    let scene = Arc::into_inner(scene).context("a case still holds the world")?;
    let left = scene.nothing_left_behind();
    let ended = scene.world.end();
    left.and(ended)
}

impl Scene {
    fn engine(kind: Kind, below: fn(&World) -> Result<Vec<Journal>>) -> Result<Self> {
        let world = World::new()?;
        let journals = below(&world)?;
        let daemon = kind.start(&world, &journals)?;
        let archive = world.dir().join("image.tar");
        let archive = archive.to_string_lossy();
        let image = Image::new(world.dir())?;
        image.convert(&format!("docker-archive:{archive}:{IMAGE}"))?;
        for journal in journals.iter().take(1) {
            Engine::new(&world, kind, journal).ok(&["load", "-q", "-i", &archive])?;
        }
        let roots: &[&str] = match kind {
            Kind::Podman => &["/run/runc", "/run/hostrun"],
            Kind::Docker => &["/run/docker-exec/runtime-runc/moby"],
        };
        Ok(Self {
            before: world.mounts()?,
            state_roots: roots.iter().map(|root| world.path(root)).collect(),
            world,
            daemon,
            journals,
        })
    }

    fn containerd(release: Release, below: fn(&World) -> Result<Vec<Journal>>) -> Result<Self> {
        let world = World::with_programs(release.usr()?.as_deref())?;
        let journals = below(&world)?;
        let daemon = containerd::start(&world)?;
        let archive = world.dir().join("image.tar");
        let archive = archive.to_string_lossy();
        let image = Image::new(world.dir())?;
        image.convert(&format!("oci-archive:{archive}:{IMAGE}"))?;
        for journal in journals.iter().take(1) {
            Containerd::new(&world, journal).ok(&["images", "import", &archive])?;
        }
        Ok(Self {
            before: world.mounts()?,
            state_roots: states(&world, "default"),
            world,
            daemon: Some(daemon),
            journals,
        })
    }

    fn cri(release: Release) -> Result<Self> {
        let world = World::with_programs(release.usr()?.as_deref())?;
        let journals = shims(&world)?;
        let daemon = cri::start(&world)?;
        let archive = world.dir().join("image.tar");
        let archive = archive.to_string_lossy();
        let image = Image::new(world.dir())?;
        // pods are held by a program that does nothing but that
        image.insert(Path::new("/usr/bin/catatonit"), "/bin/catatonit")?;
        image.config(&[
            "--config.entrypoint",
            "/bin/catatonit",
            "--config.entrypoint",
            "-P",
        ])?;
        image.convert(&format!("oci-archive:{archive}:{IMAGE}"))?;
        for journal in journals.iter().take(1) {
            let import = ["--namespace", cri::NAMESPACE, "images", "import", &archive];
            Containerd::new(&world, journal).ok(&import)?;
            Cri::new(&world, journal).wait_until_ready()?;
        }
        Ok(Self {
            before: world.mounts()?,
            state_roots: states(&world, cri::NAMESPACE),
            world,
            daemon: Some(daemon),
            journals,
        })
    }

    /// The engine's daemon and what it keeps; everything else is a leftover.
    fn nothing_left_behind(&self) -> Result<()> {
        let mut left = Vec::new();
        // engines clean up after they have answered
        let clean = host::wait_for("a world with nothing left in it", || {
            left = self
                .left_behind()
                .unwrap_or_else(|error| vec![error.to_string()]);
            left.is_empty()
        });
        let said = self
            .daemon
            .as_ref()
            .map(Running::stderr)
            .unwrap_or_default();
        let tail: Vec<&str> = said.lines().rev().take(20).collect();
        clean.with_context(|| format!("left behind:\n  {}\n{tail:#?}", left.join("\n  ")))
    }

    fn left_behind(&self) -> Result<Vec<String>> {
        const DAEMONS: [&str; 3] = ["dockerd", "containerd ", "nsenter"];
        // made once, for all containers to come
        const PARENTS: [&str; 6] = [
            "docker",
            "default",
            "hostrun",
            cri::NAMESPACE,
            "libpod_parent",
            "libpod_parent/conmon",
        ];
        let mounts = self.world.mounts()?.into_iter();
        let mounts = mounts.filter(|line| !self.before.contains(line));
        // where Docker and podman keep network namespaces
        let mounts = mounts
            .filter(|line| !line.contains("/netns/default ") && !line.contains(" /run/netns "));
        let mut left: Vec<String> = mounts.map(|line| format!("mount {line}")).collect();
        for (pid, words) in self.world.processes()? {
            if !DAEMONS.iter().any(|daemon| words.starts_with(daemon)) {
                left.push(format!("process {pid} {words}"));
            }
        }
        let groups = self.world.cgroups().into_iter();
        let groups = groups.filter(|group| !PARENTS.contains(&group.as_str()));
        left.extend(groups.map(|group| format!("cgroup {group}")));
        for root in &self.state_roots {
            for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
                // filters that are kept for the next container
                if entry.file_name() != "@filters" {
                    left.push(format!("state {}", entry.path().display()));
                }
            }
        }
        Ok(left)
    }
}

/// Where containers of a namespace are known.
fn states(world: &World, namespace: &str) -> Vec<PathBuf> {
    let roots = STATE.map(|root| world.path(root).join(namespace));
    roots.to_vec()
}

/// runc, and the runtime under test when it is another.
fn runtimes(world: &World) -> Result<Vec<Journal>> {
    let dir = world.dir().join("runtimes");
    std::fs::create_dir_all(&dir)?;
    let mut journals = vec![Journal::new(&dir, &Runtime::oracle()?)?];
    let tested = Runtime::under_test()?;
    if !tested.is_runc() {
        journals.push(Journal::new(&dir, &tested)?);
    }
    ensure!(!journals.is_empty(), "no runtime");
    Ok(journals)
}

/// runc below containerd's own shim, and ours unless the oracle is asked for alone.
fn shims(world: &World) -> Result<Vec<Journal>> {
    let dir = world.dir().join("runtimes");
    std::fs::create_dir_all(&dir)?;
    let mut journals = vec![Journal::new(&dir, &Runtime::oracle()?)?];
    if !Runtime::under_test()?.is_runc() {
        journals.push(Journal::ours()?);
    }
    Ok(journals)
}
