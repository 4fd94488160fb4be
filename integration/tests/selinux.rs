//! Containers where SELinux is in force: each has categories of its own, and reads no other's files.
//! `integration/host/confined` boots such a machine, whose root is labelled, and runs these inside.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::Outcome;
use hostrun_integration::runtime::Call;
use serde_json::{Value, json};

const HOSTRUN: &str = "/usr/bin/hostrun";
/// An image that the system came with.
const APP: &str = "system/app:1";

fn hostrun(words: &[&str]) -> Result<Outcome> {
    Call::new(Path::new(HOSTRUN), words).run()
}

fn ok(words: &[&str]) -> Result<String> {
    Ok(hostrun(words)?.ok()?.trim_end().to_owned())
}

/// A container that runs until the test is over.
struct Running(String);

impl Running {
    fn new(name: &str, options: &[&str]) -> Result<Self> {
        ok(&[
            &["run", "-d", "--name", name][..],
            options,
            &[APP, "sleep", "600"],
        ]
        .concat())?;
        Ok(Self(name.to_owned()))
    }

    /// Of its configuration, as a JSON pointer.
    fn configured(&self, pointer: &str) -> Result<String> {
        let all: Value = serde_json::from_str(&ok(&["inspect", &self.0])?)?;
        let found = all.pointer(&format!("/0/config{pointer}"));
        Ok(found.and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    fn exec(&self, script: &str) -> Result<Outcome> {
        hostrun(&["exec", &self.0, "sh", "-c", script])
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(ok(&["rm", "-f", &self.0]));
    }
}

fn level(label: &str) -> &str {
    label.splitn(4, ':').nth(3).unwrap_or_default()
}

fn chcon(path: &Path, label: &str) -> Result<()> {
    let value = rustix::fs::XattrFlags::empty();
    Ok(rustix::fs::setxattr(
        path,
        "security.selinux",
        label.as_bytes(),
        value,
    )?)
}

fn labelled(path: &Path) -> Result<String> {
    let mut label = vec![0; 256];
    let count = rustix::fs::getxattr(path, "security.selinux", &mut label)?;
    label.truncate(count);
    Ok(String::from_utf8(label)?.trim_end_matches('\0').to_owned())
}

/// A folder of the host, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let path = Path::new("/var/lib").join(name);
        fs::create_dir_all(&path)?;
        fs::write(path.join("file"), "read\n")?;
        Ok(Self(path))
    }

    fn volume(&self, options: &str) -> String {
        format!("{}:/volume{options}", self.0.display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn the_policy_is_enforced() -> Result<()> {
    assert_eq!(fs::read_to_string("/sys/fs/selinux/enforce")?, "1");
    Ok(())
}

#[test]
fn a_container_has_the_policys_labels_and_categories_of_its_own() -> Result<()> {
    let (one, other) = (Running::new("one", &[])?, Running::new("other", &[])?);
    let process = one.configured("/process/selinuxLabel")?;
    ensure!(
        process.starts_with("system_u:system_r:container_t:s0:c"),
        "{process}"
    );
    let files = one.configured("/linux/mountLabel")?;
    assert_eq!(level(&process), level(&files));
    ensure!(level(&process) != level(&other.configured("/process/selinuxLabel")?));
    // the kernel's word for it, of the first process and of one that joins
    let pid = ok(&["inspect", "one"])?;
    let pid: Value = serde_json::from_str(&pid)?;
    let pid = pid
        .pointer("/0/state/pid")
        .and_then(Value::as_i64)
        .context("no pid")?;
    let own = fs::read_to_string(format!("/proc/{pid}/attr/current"))?;
    assert_eq!(own.trim_end_matches('\0'), process);
    let joined = one.exec("cat /proc/self/attr/current")?.ok()?;
    assert_eq!(joined.trim_end_matches('\0'), process);
    // what it was given is its own: root, memory, files of /etc
    let script = "echo x >/made && echo x >/dev/shm/made && cat /etc/hosts >/dev/null && echo x >/dev/null && echo fine";
    assert_eq!(one.exec(script)?.ok()?, "fine\n");
    let root = ok(&["exec", "one", "cat", "/proc/self/mountinfo"])?;
    let labelled = root
        .lines()
        .filter(|line| line.contains(&format!("context=\"{files}\"")));
    ensure!(labelled.count() >= 3, "{root}");
    Ok(())
}

/// The pairs of categories that somebody has.
fn held() -> Result<Vec<String>> {
    let entries = fs::read_dir("/run/hostrun/@categories")?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    Ok(names)
}

#[test]
fn a_pair_of_categories_is_nobody_elses_as_long_as_its_container_is_there() -> Result<()> {
    let one = Running::new("one", &[])?;
    let chosen = ["--security-opt", "label=level:s0:c900,c800"];
    let other = Running::new("other", &chosen)?;
    // who shares another's memory has its categories
    let third = Running::new("third", &["--ipc", "container:one"])?;
    let files = one.configured("/linux/mountLabel")?;
    assert_eq!(files, third.configured("/linux/mountLabel")?);
    let pair = level(&files).trim_start_matches("s0:").to_owned();
    let mut both = vec![pair.clone(), "c800,c900".to_owned()];
    both.sort();
    assert_eq!(held()?, both);
    drop((one, other));
    assert_eq!(held()?, [pair]);
    drop(third);
    // one that fails, and one that ends by itself
    let run = |program| hostrun(&["run", "--rm", APP, program]);
    ensure!(run("no-such-program")?.code() != 0);
    run("true")?.ok()?;
    ensure!(held()?.is_empty(), "{:?}", held()?);
    Ok(())
}

#[test]
fn a_container_does_not_read_anothers_files() -> Result<()> {
    let folder = Folder::new("volumes-of-one")?;
    let one = Running::new("one", &["-v", &folder.volume(":Z")])?;
    assert_eq!(
        one.exec("cat /volume/file && echo x >/volume/made && echo wrote")?
            .ok()?,
        "read\nwrote\n"
    );
    assert_eq!(
        labelled(&folder.0.join("file"))?,
        one.configured("/linux/mountLabel")?
    );
    let other = Running::new("other", &["-v", &folder.volume("")])?;
    let denied = other.exec("cat /volume/file")?;
    ensure!(
        denied.code() != 0 && denied.stderr().contains("Permission denied"),
        "{}",
        denied.stderr()
    );
    // with the word for what all share both do
    let third = Running::new("third", &["-v", &folder.volume(":z")])?;
    for container in [&one, &other, &third] {
        assert_eq!(container.exec("cat /volume/file")?.ok()?, "read\n");
    }
    Ok(())
}

#[test]
fn what_is_not_labelled_for_containers_is_out_of_reach() -> Result<()> {
    let folder = Folder::new("not-for-containers")?;
    let volume = folder.volume("");
    let run = |options: &[&str]| {
        let words = ["run", "--rm", "-v", &volume];
        hostrun(&[&words[..], options, &[APP, "cat", "/volume/file"]].concat())
    };
    ensure!(run(&[])?.code() != 0, "it was read");
    // and is not, for who says so
    assert_eq!(run(&["--security-opt", "label=disable"])?.ok()?, "read\n");
    assert_eq!(run(&["--privileged"])?.ok()?, "read\n");
    Ok(())
}

#[test]
fn labels_can_be_chosen_and_one_that_the_policy_has_not_is_refused() -> Result<()> {
    let chosen = ["--security-opt", "label=level:s0:c700,c800"];
    let current = ["cat", "/proc/self/attr/current"];
    let seen = ok(&[&["run", "--rm"][..], &chosen, &[APP], &current].concat())?;
    assert_eq!(
        seen.trim_end_matches('\0'),
        "system_u:system_r:container_t:s0:c700,c800"
    );
    let out = hostrun(&[
        "run",
        "--rm",
        "--security-opt",
        "label=type:no_such_t",
        APP,
        "true",
    ])?;
    assert_eq!(out.code(), 125);
    ensure!(
        out.stderr().contains("no_such_t") && out.stderr().contains("hint: "),
        "{}",
        out.stderr()
    );
    Ok(())
}

#[test]
fn volumes_that_the_machine_needs_are_not_labelled_anew() -> Result<()> {
    for place in ["/", "/etc", "/usr/bin", "/var/lib"] {
        let before = labelled(Path::new(place))?;
        let volume = format!("{place}:/volume:Z");
        let out = hostrun(&["run", "--rm", "-v", &volume, APP, "true"])?;
        ensure!(
            out.code() == 125 && out.stderr().contains("label"),
            "{place}: {}",
            out.stderr()
        );
        assert_eq!(labelled(Path::new(place))?, before);
    }
    Ok(())
}

/// A bundle with a root of the image's busybox; its container goes with the test.
struct Bundle(Folder, String);

impl Bundle {
    fn new(id: &str, level: &str) -> Result<Self> {
        let folder = Folder::new(&format!("bundle-{id}"))?;
        let dir = &folder.0;
        fs::create_dir_all(dir.join("rootfs/bin"))?;
        for place in ["proc", "sys", "dev"] {
            fs::create_dir_all(dir.join("rootfs").join(place))?;
        }
        fs::copy("/bin/busybox", dir.join("rootfs/bin/busybox"))?;
        fs::write(dir.join("rootfs/secret"), "read\n")?;
        let bundle = dir.to_string_lossy();
        ok(&["spec", "--bundle", &bundle])?;
        let path = dir.join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let process = format!("system_u:system_r:container_t:{level}");
        let files = format!("system_u:object_r:container_file_t:{level}");
        for (section, key, value) in [
            ("/process", "terminal", json!(false)),
            ("/process", "args", json!(["/bin/busybox", "sleep", "600"])),
            ("/process", "selinuxLabel", json!(process)),
            ("/linux", "mountLabel", json!(files)),
        ] {
            let section = config.pointer_mut(section).and_then(Value::as_object_mut);
            section.context("no section")?.insert(key.to_owned(), value);
        }
        fs::write(&path, config.to_string())?;
        for place in [
            "rootfs",
            "rootfs/bin",
            "rootfs/bin/busybox",
            "rootfs/proc",
            "rootfs/sys",
            "rootfs/dev",
            "rootfs/secret",
        ] {
            chcon(&dir.join(place), &files)?;
        }
        Ok(Self(folder, id.to_owned()))
    }

    fn run(&self) -> Result<Outcome> {
        let dir = self.0.0.to_string_lossy();
        hostrun(&["run", "-d", "--bundle", &dir, &self.1])
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        drop(hostrun(&["delete", "--force", &self.1]));
    }
}

#[test]
fn a_bundles_labels_are_its_processes_and_its_mounts() -> Result<()> {
    let bundle = Bundle::new("labels", "s0:c1,c2")?;
    bundle.run()?.ok()?;
    let exec = |words: &[&str]| hostrun(&[&["exec", "labels", "/bin/busybox"], words].concat());
    let seen = exec(&["cat", "/proc/self/attr/current"])?.ok()?;
    assert_eq!(
        seen.trim_end_matches('\0'),
        "system_u:system_r:container_t:s0:c1,c2"
    );
    let mounts = exec(&["cat", "/proc/self/mountinfo"])?.ok()?;
    let labelled = mounts.matches("container_file_t:s0:c1,c2").count();
    ensure!(labelled >= 3, "{mounts}");
    assert_eq!(exec(&["cat", "/secret"])?.ok()?, "read\n");
    // a file of other categories is another container's, whoever is root
    let secret = bundle.0.0.join("rootfs/secret");
    chcon(&secret, "system_u:object_r:container_file_t:s0:c3,c4")?;
    let denied = exec(&["cat", "/secret"])?;
    ensure!(
        denied.code() != 0 && denied.stderr().contains("Permission denied"),
        "{}",
        denied.stderr()
    );
    Ok(())
}

#[test]
fn a_label_that_is_none_is_an_error_of_the_start() -> Result<()> {
    let bundle = Bundle::new("nolabel", "s0:c1,c2")?;
    let path = bundle.0.0.join("config.json");
    let text = fs::read_to_string(&path)?.replace("container_t", "no_such_t");
    fs::write(&path, text)?;
    let out = bundle.run()?;
    ensure!(
        out.code() != 0 && out.stderr().contains("label"),
        "{}",
        out.stderr()
    );
    assert_eq!(ok(&["ps", "-a", "-q"])?, "");
    Ok(())
}
