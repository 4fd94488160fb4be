//! A user of the machine with nothing but a name and ranges of ids.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};

use anyhow::Result;

use crate::Stage;
use crate::runtime::Call;

/// The user's number, and that of its group.
pub const USER: u32 = 12345;

/// The helpers are setuid programs, which the bounding set must let be root. Of the groups none may reach a container.
const AS_USER: [&str; 4] = ["setpriv", "--reuid=12345", "--regid=12345", "--groups=4,24"];

/// A name and ranges for the user, over the machine's for the programs a test runs; in the folder `$0`.
const NAMED: &str = "
    mount -t tmpfs tmpfs $0 && mkdir $0/upper $0/work &&
    mount -t overlay -o lowerdir=/etc,upperdir=$0/upper,workdir=$0/work overlay /etc &&
    echo 'tester:x:12345:12345::/:/bin/sh' >>/etc/passwd && echo \"$1\" >/etc/subuid &&
    cp /etc/subuid /etc/subgid && shift && exec \"$@\"
";

const PATH: &str = "PATH=/usr/bin:/bin:/usr/sbin:/sbin";

/// The user, to whom state and store of a stage belong.
#[derive(Debug)]
pub struct Ordinary<'a> {
    /// Where it stands.
    pub stage: &'a Stage,
    folder: String,
    ranges: &'static str,
}

impl<'a> Ordinary<'a> {
    /// One with 65536 ids from 200000 on.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn new(stage: &'a Stage) -> Result<Self> {
        for dir in [stage.root(), stage.store()] {
            fs::create_dir_all(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
            chown(&dir, Some(USER), Some(USER))?;
        }
        Ok(Self {
            stage,
            folder: stage.folder("etc")?.to_string_lossy().into_owned(),
            ranges: "tester:200000:65536",
        })
    }

    /// What `/etc/subuid` and `/etc/subgid` say from now on.
    pub fn give(&mut self, ranges: &'static str) {
        self.ranges = ranges;
    }

    /// A call as this user.
    pub fn under(&self, call: Call) -> Call {
        let named = ["unshare", "--mount", "sh", "-c", NAMED, &self.folder];
        call.under(AS_USER)
            .under(named.into_iter().chain([self.ranges]))
    }

    /// A call of the runtime as this user.
    pub fn call(&self, words: &[&str]) -> Call {
        let home = format!("HOME={}", self.stage.root().display());
        self.under(self.stage.call(words).under(["env", "-i", PATH, &home]))
    }

    /// Runs it to its end; what it wrote.
    ///
    /// # Errors
    /// When it failed.
    pub fn ok(&self, words: &[&str]) -> Result<String> {
        self.call(words).run()?.ok()
    }
}

impl Drop for Ordinary<'_> {
    /// Tidies up after a test that failed; root cannot, for the store is not root's.
    fn drop(&mut self) {
        for id in self.ok(&["ps", "-a", "-q"]).unwrap_or_default().lines() {
            drop(self.ok(&["rm", "-f", id]));
        }
    }
}
