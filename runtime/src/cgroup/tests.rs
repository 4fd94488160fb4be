//! Tests on the real cgroup2 mount, below one own parent each. Without root or cgroup2 they say so and pass.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::error::Result;
use super::*;

mod leaf;
mod life;
mod limits;

const SOON: Duration = Duration::from_secs(10);

/// A cgroup of this test alone; whatever is left in it is killed and removed at the end.
struct Parent {
    root: CgroupRoot,
    name: String,
}

impl Parent {
    fn new(test: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED {test}: needs root");
            return None;
        }
        let root = match CgroupRoot::find() {
            Ok(root) => root,
            Err(error) => {
                eprintln!("SKIPPED {test}: {error}");
                return None;
            }
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hostrun-test-{}-{number}", std::process::id());
        if let Err(errno) = dir::make(root.as_fd(), &name) {
            eprintln!("SKIPPED {test}: cannot make /{name}: {errno}");
            return None;
        }
        Some(Self { root, name })
    }

    fn path(&self, below: &str) -> CgroupPath {
        CgroupPath::parse(format!("{}/{below}", self.name).as_bytes()).unwrap()
    }

    fn leaf(&self, below: &str, resources: &str) -> Result<Leaf> {
        let spec = serde_json::from_str(resources).unwrap();
        let resources = Resources::from_spec(Some(&spec)).unwrap();
        Leaf::create(&self.root, &self.path(below), &resources)
    }

    /// A committed leaf.
    fn cgroup(&self, below: &str) -> Cgroup {
        self.leaf(below, "{}").unwrap().commit()
    }

    fn exists(&self, below: &str) -> bool {
        dir::open(self.root.as_fd(), &format!("{}/{below}", self.name)).is_ok()
    }

    fn write(&self, file: &str, value: &str) {
        dir::write(self.root.as_fd(), &format!("{}/{file}", self.name), value).unwrap();
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let path = CgroupPath::parse(self.name.as_bytes()).unwrap();
        if let Some(cgroup) = Cgroup::open(&self.root, &path).unwrap() {
            dir::write(cgroup.as_fd(), "cgroup.freeze", "0").unwrap();
            cgroup.kill().unwrap();
            cgroup.remove(SOON).unwrap();
        }
    }
}

/// A shell that waits for a line, so that it can be moved before it runs its script.
struct Shell(Child, Option<ChildStdin>);

impl Shell {
    fn inside(cgroup: &Cgroup, script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read line; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        dir::write(cgroup.as_fd(), "cgroup.procs", &pid).unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"go\n").unwrap();
        Self(child, Some(input))
    }

    fn finish(mut self) -> (bool, String) {
        drop(self.1.take());
        let mut out = String::new();
        self.0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        (self.0.wait().unwrap().success(), out)
    }

    fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }
}
