//! AppArmor's profiles, on a machine where it is in force: what they deny is denied, beside something they allow.

use super::{APP, HOSTRUN, hostrun, nothing_is_left, ok};
use anyhow::{Result, ensure};
use hostrun_integration::runtime::Call;
use std::fs;
use std::path::Path;

/// A profile that is loaded until the test is over.
struct Profile(String);

impl Profile {
    fn load(path: &str) -> Result<Self> {
        ok(&["apparmor_parser", "--replace", "--skip-cache", path])?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        drop(ok(&["apparmor_parser", "--remove", &self.0]));
    }
}

const OWN: &str = "profile hostrun-test flags=(attach_disconnected,mediate_deleted) {
  file, signal, network, capability,
  deny /secret r,
}
";

const READS: &str =
    "cat /proc/self/attr/current; echo open >/open; echo hidden >/secret; cat /open; cat /secret";

#[test]
fn what_a_profile_denies_is_denied_in_a_container_and_in_exec() -> Result<()> {
    let path = "/tmp/hostrun-test.profile";
    fs::write(path, OWN)?;
    let profile = Profile::load(path)?;
    let chosen = ["--security-opt", "apparmor=hostrun-test"];
    let words = [&["run", "--rm"][..], &chosen, &[APP, "sh", "-c", READS]].concat();
    let out = Call::new(Path::new(HOSTRUN), words).run()?;
    assert_eq!(out.stdout(), "hostrun-test (enforce)\nopen\n");
    ensure!(
        out.stderr().contains("Permission denied"),
        "{}",
        out.stderr()
    );
    let words = [
        &["run", "-d", "--name", "kept"][..],
        &chosen,
        &[APP, "sleep", "60"],
    ]
    .concat();
    hostrun(&words)?;
    let out = Call::new(Path::new(HOSTRUN), ["exec", "kept", "sh", "-c", READS]).run()?;
    assert_eq!(out.stdout(), "hostrun-test (enforce)\nopen\n");
    hostrun(&["rm", "-f", "kept"])?;
    drop(profile);
    fs::remove_file(path)?;
    // one that is not loaded is not passed over
    let words = [&["run", "--rm"][..], &chosen, &[APP, "true"]].concat();
    let out = Call::new(Path::new(HOSTRUN), words).run()?;
    ensure!(
        out.code() != 0 && out.stderr().contains("apparmor"),
        "{}",
        out.stderr()
    );
    nothing_is_left()
}

#[test]
fn who_names_no_profile_gets_ours_where_it_is_loaded() -> Result<()> {
    let current = |options: &[&str]| {
        let words = [
            &["run", "--rm"][..],
            options,
            &[APP, "cat", "/proc/self/attr/current"],
        ];
        hostrun(&words.concat())
    };
    assert_eq!(current(&[])?, "unconfined");
    let profile = Profile::load("/etc/apparmor.d/hostrun-default")?;
    assert_eq!(current(&[])?, "hostrun-default (enforce)");
    assert_eq!(
        current(&["--security-opt", "apparmor=unconfined"])?,
        "unconfined"
    );
    assert_eq!(current(&["--privileged"])?, "unconfined");
    // where nothing is masked, it is the profile that keeps the kernel's settings
    let script = "(echo x >/proc/sysrq-trigger) 2>/dev/null && echo written
        (echo 1 >/proc/sys/vm/swappiness) 2>/dev/null && echo set
        echo x >/file && cat /proc/sys/vm/swappiness >/dev/null && echo fine";
    let open = [
        "--security-opt",
        "systempaths=unconfined",
        "--cap-add",
        "SYS_ADMIN",
    ];
    let words = [&["run", "--rm"][..], &open, &[APP, "sh", "-c", script]].concat();
    assert_eq!(hostrun(&words)?, "fine");
    drop(profile);
    nothing_is_left()
}
