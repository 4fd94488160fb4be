//! The place a test plays on: names nobody else has, and a look behind the curtain at the end.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::bundle::Bundle;
use crate::runtime::{Call, Outcome, PATIENCE, Runtime};
use crate::{cgroup, host, leaks};

/// What the names of all stages begin with.
const PREFIX: &str = "hostrun-it-";

/// Runs a test on the runtime under test, cleans up after it and fails if anything was left behind.
///
/// # Errors
/// The test's own, or what it left behind.
pub fn on_stage(test: impl FnOnce(&Stage) -> Result<()>) -> Result<()> {
    let stage = Stage::new(Runtime::under_test()?)?;
    test(&stage)?;
    stage.nothing_left_behind()
}

/// The same for what runc has not, or has otherwise: on the oracle it is skipped, with the reason.
///
/// # Errors
/// The test's own, or what it left behind.
pub fn on_stage_of_hostrun(reason: &str, test: impl FnOnce(&Stage) -> Result<()>) -> Result<()> {
    if Runtime::under_test()?.is_runc() {
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        return host::skip(&name, &format!("not on runc: {reason}"));
    }
    on_stage(test)
}

/// A folder, a state root, a cgroup and container names of one test.
#[derive(Debug)]
pub struct Stage {
    runtime: Runtime,
    folder: tempfile::TempDir,
    token: String,
    count: Cell<u32>,
    containers: RefCell<Vec<String>>,
}

impl Stage {
    /// A stage for any runtime; [`on_stage`] is the usual way.
    ///
    /// # Errors
    /// When the machine is not prepared for root tests.
    pub fn new(runtime: Runtime) -> Result<Self> {
        host::require_private_mounts()?;
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
        // images and bundles are read by other users than root
        fs::set_permissions(
            folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
        let token = folder
            .path()
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        Ok(Self {
            runtime,
            token: token.context("a folder without a name")?,
            folder,
            count: Cell::new(0),
            containers: RefCell::new(Vec::new()),
        })
    }

    /// The runtime under test.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A folder for the test's own files.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The state root handed to the runtime.
    pub fn root(&self) -> PathBuf {
        self.dir().join("state")
    }

    /// The image store handed to hostrun.
    pub fn store(&self) -> PathBuf {
        self.dir().join("store")
    }

    /// The cgroup all containers of this test are in.
    pub fn cgroup(&self) -> String {
        format!("/{}", self.token)
    }

    /// The machine's mount table, without what tests beside this one have in their folders.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn mounts(&self) -> Result<Vec<String>> {
        let mut table = host::mounts()?;
        table.retain(|line| !line.contains(PREFIX) || line.contains(&self.token));
        Ok(table)
    }

    /// A container name nobody has; force-deleted at the end.
    pub fn id(&self) -> String {
        self.count.set(self.count.get() + 1);
        let id = format!("{}-{}", self.token, self.count.get());
        self.containers.borrow_mut().push(id.clone());
        id
    }

    /// A bundle that runs `true`, with a cgroup of its own.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn bundle(&self) -> Result<Bundle> {
        self.count.set(self.count.get() + 1);
        let name = format!("bundle-{}", self.count.get());
        let group = format!("{}/{name}", self.cgroup());
        Bundle::new(&self.dir().join(name), &group)
    }

    /// A folder with `name` in the test's own.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir().join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// A call of the runtime under test with its state root set.
    pub fn call<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Call {
        self.call_of(&self.runtime, args)
    }

    /// A call of any runtime with this stage's state root.
    pub fn call_of<S: AsRef<OsStr>>(
        &self,
        runtime: &Runtime,
        args: impl IntoIterator<Item = S>,
    ) -> Call {
        let mut words = vec![
            OsStr::new("--root").to_owned(),
            self.root().into_os_string(),
        ];
        if runtime.is_hostrun() {
            words.extend([
                OsStr::new("--store").to_owned(),
                self.store().into_os_string(),
            ]);
        }
        words.extend(args.into_iter().map(|word| word.as_ref().to_owned()));
        runtime.call(words)
    }

    /// `run --bundle DIR ID`, ready to be spawned or run.
    ///
    /// # Errors
    /// When config.json cannot be written.
    pub fn run_call(&self, bundle: &Bundle) -> Result<Call> {
        let dir = bundle.write()?;
        Ok(self.call([
            OsStr::new("run"),
            OsStr::new("--bundle"),
            dir.as_os_str(),
            OsStr::new(&self.id()),
        ]))
    }

    /// Runs a bundle in the foreground to its end.
    ///
    /// # Errors
    /// When the runtime cannot be started or hangs.
    pub fn run(&self, bundle: &Bundle) -> Result<Outcome> {
        self.run_call(bundle)?.run()
    }

    /// `run --cidfile FILE FLAGS... IMAGE COMMAND...` of hostrun; what is left of the container at
    /// the end of the test is found by the id in the file.
    pub fn image_call<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Call {
        self.count.set(self.count.get() + 1);
        let file = self.dir().join(format!("cid-{}", self.count.get()));
        let mut all = vec!["run".into(), "--cidfile".into(), file.into_os_string()];
        all.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self.call(all)
    }

    /// The ids of the containers made by [`Stage::image_call`], oldest first.
    pub fn image_containers(&self) -> Vec<String> {
        let files = (0..=self.count.get()).map(|number| self.dir().join(format!("cid-{number}")));
        let ids = files.filter_map(|file| fs::read_to_string(file).ok());
        ids.map(|id| id.trim().to_owned())
            .filter(|id| !id.is_empty())
            .collect()
    }

    /// The containers hostrun's store knows, running or not.
    fn known_containers(&self) -> Vec<String> {
        if !self.runtime.is_hostrun() || !self.store().exists() {
            return Vec::new();
        }
        let list = self.call(["ps", "-a", "-q", "--no-trunc"]).run();
        let ids = list.map(|list| list.stdout()).unwrap_or_default();
        ids.lines().map(str::to_owned).collect()
    }

    /// Creates a container, which waits for its start.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub fn create(&self, bundle: &Bundle) -> Result<Container<'_>> {
        let id = self.id();
        let dir = bundle.write()?;
        let words = [
            OsStr::new("create"),
            OsStr::new("--bundle"),
            dir.as_os_str(),
            OsStr::new(&id),
        ];
        self.call(words).run()?.ok()?;
        Ok(Container { stage: self, id })
    }

    /// Creates and starts a container.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub fn start(&self, bundle: &Bundle) -> Result<Container<'_>> {
        let container = self.create(bundle)?;
        container.start()?;
        Ok(container)
    }

    /// Fails when a mount, a cgroup, a process or a state directory of this test is still there.
    ///
    /// # Errors
    /// With the list of them.
    pub fn nothing_left_behind(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = self.left_behind()?;
            if left.is_empty() {
                return Ok(());
            }
            // the kernel takes a moment to free the last process of a container
            ensure!(
                Instant::now() < end,
                "left behind:\n  {}",
                left.join("\n  ")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn left_behind(&self) -> Result<Vec<String>> {
        let mut ids = self.containers.borrow().clone();
        ids.extend(self.image_containers());
        let mut left = leaks::of(&self.token, &ids, &[self.root(), self.store()])?;
        if self.runtime.is_runc() {
            // runc 1.1 now and then leaves the cgroup of a start that failed; dropping the stage
            // removes it.
            left.retain(|what| !what.starts_with("cgroup "));
        }
        left.extend(
            self.known_containers()
                .into_iter()
                .map(|id| format!("container {id}")),
        );
        Ok(left)
    }
}

impl Drop for Stage {
    /// Tidies up after a test that failed; after one that passed there is nothing to do.
    fn drop(&mut self) {
        for id in self.containers.borrow().iter() {
            let known = fs::exists(self.root().join(id)).unwrap_or(true);
            if known {
                drop(self.call(["delete", "--force", id]).run());
            }
        }
        for id in self.known_containers() {
            drop(self.call(["rm", "--force", &id]).run());
        }
        drop(cgroup::remove(&self.cgroup()));
    }
}

/// A container that was created and not yet deleted.
#[derive(Debug)]
pub struct Container<'a> {
    stage: &'a Stage,
    /// Its name.
    pub id: String,
}

impl Container<'_> {
    /// `VERB ID WORDS...`
    ///
    /// # Errors
    /// When the runtime cannot be started or hangs.
    pub fn call(&self, verb: &str, words: &[&str]) -> Result<Outcome> {
        let mut all = vec![verb, self.id.as_str()];
        all.extend(words);
        self.stage.call(all).run()
    }

    /// Lets the payload go.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub fn start(&self) -> Result<()> {
        self.call("start", &[])?.ok().map(drop)
    }

    /// Its state as JSON.
    ///
    /// # Errors
    /// When the runtime refuses or prints something else.
    pub fn state(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.call("state", &[])?.ok()?)?)
    }

    /// The process id of its first process.
    ///
    /// # Errors
    /// When it has none.
    pub fn pid(&self) -> Result<i32> {
        let state = self.state()?;
        let pid = state
            .get("pid")
            .and_then(Value::as_i64)
            .filter(|pid| *pid > 0);
        Ok(i32::try_from(
            pid.with_context(|| format!("no pid in {state}"))?,
        )?)
    }

    /// Waits until its state has this status.
    ///
    /// # Errors
    /// When it does not in a minute.
    pub fn wait_until(&self, status: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let state = self.state()?;
            if state.get("status").is_some_and(|now| now == status) {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "{} is not {status} but {state}",
                self.id
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `kill ID SIGNAL`
    ///
    /// # Errors
    /// When the runtime refuses.
    pub fn kill(&self, signal: &str) -> Result<()> {
        self.call("kill", &[signal])?.ok().map(drop)
    }

    /// Runs words inside it.
    ///
    /// # Errors
    /// When the runtime cannot be started or hangs.
    pub fn exec(&self, words: &[&str]) -> Result<Outcome> {
        self.call("exec", words)
    }

    /// Kills it and deletes it.
    ///
    /// # Errors
    /// When the runtime refuses.
    pub fn delete(self) -> Result<()> {
        self.stage
            .call(["delete", "--force", &self.id])
            .run()?
            .ok()
            .map(drop)
    }
}
