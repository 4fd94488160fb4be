//! Devices that their vendors describe, through `hostrun run --device VENDOR/CLASS=NAME`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::ordinary::Ordinary;
use hostrun_integration::refusal::refused;
use hostrun_integration::{Outcome, Stage, host, on_stage_of_hostrun};
use serde_json::{Value, json};

/// A loaded image and a directory for vendors' files.
struct Scene<'a> {
    stage: &'a Stage,
    image: String,
}

impl Scene<'_> {
    fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.stage.dir().join(name);
        if !dir.exists() {
            fs::create_dir(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        }
        Ok(dir)
    }

    /// Writes a file that describes `vendor.com/dev=a`.
    fn describe(&self, dir: &str, edits: &Value) -> Result<PathBuf> {
        let path = self.dir(dir)?.join("vendor.json");
        let device = json!({"name": "a", "containerEdits": edits});
        let document =
            json!({"cdiVersion": "1.0.0", "kind": "vendor.com/dev", "devices": [device]});
        fs::write(&path, document.to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        Ok(path)
    }

    fn run(&self, dirs: &[&str], device: &str, script: &str) -> Result<Outcome> {
        let mut words = vec!["--rm".to_owned()];
        for dir in dirs {
            words.push("--cdi-spec-dir".to_owned());
            words.push(self.dir(dir)?.to_string_lossy().into_owned());
        }
        let rest = ["--device", device, &self.image, "sh", "-c", script];
        words.extend(rest.map(str::to_owned));
        self.stage.image_call(words).run()
    }
}

fn with_scene(test: impl FnOnce(&Scene<'_>) -> Result<()>) -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let source = Image::new(stage.dir())?.source();
        let name = stage.call(["load", "-q", &source]).run()?.ok()?;
        test(&Scene {
            stage,
            image: name.trim().to_owned(),
        })
    })
}

fn refuse(scene: &Scene<'_>, dirs: &[&str], device: &str) -> Result<String> {
    let out = scene.run(dirs, device, "echo it ran")?;
    refused(scene.stage, device, &out, 125)
}

#[test]
fn a_container_gets_all_that_belongs_to_the_device() -> Result<()> {
    with_scene(|scene| {
        let library = scene.stage.folder("library")?;
        fs::write(library.join("driver"), "a driver\n")?;
        let told = scene.stage.dir().join("told");
        let hook = format!("cat > {}", told.display());
        let edits = json!({
            "env": ["DRIVER=one"],
            "deviceNodes": [
                {"path": "/dev/vendor0", "hostPath": "/dev/zero", "permissions": "rw", "gid": 44},
                {"path": "/dev/vendor1", "hostPath": "/dev/kmsg", "permissions": "w"},
            ],
            "mounts": [{"hostPath": library, "containerPath": "/opt/driver", "options": ["ro", "bind"]}],
            "hooks": [{"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", hook]}],
            "additionalGids": [4321],
        });
        scene.describe("cdi", &edits)?;
        let script = "echo $DRIVER; cat /opt/driver/driver; touch /opt/driver/x 2>/dev/null || echo sealed; \
                      stat -c '%t,%T %g' /dev/vendor0; head -c 2 /dev/vendor0 | od -An -tx1; \
                      head -c 1 /dev/vendor1 2>/dev/null || echo not read; id -G";
        let out = scene.run(&["cdi"], "vendor.com/dev=a", script)?.ok()?;
        let lines: Vec<&str> = out.lines().map(str::trim).collect();
        let wanted = [
            "one", "a driver", "sealed", "1,5 44", "00 00", "not read", "0 4321",
        ];
        assert_eq!(lines, wanted);
        let told: Value = serde_json::from_str(&fs::read_to_string(&told)?)?;
        assert_eq!(told["status"], "created");
        Ok(())
    })
}

#[test]
fn a_later_directory_goes_before_an_earlier_one() -> Result<()> {
    with_scene(|scene| {
        scene.describe("vendor", &json!({"env": ["FROM=vendor"]}))?;
        scene.describe("admin", &json!({"env": ["FROM=admin"]}))?;
        for (dirs, from) in [
            (["vendor", "admin"], "admin\n"),
            (["admin", "vendor"], "vendor\n"),
        ] {
            let out = scene.run(&dirs, "vendor.com/dev=a", "echo $FROM")?;
            assert_eq!(out.ok()?, from);
        }
        Ok(())
    })
}

#[test]
fn devices_that_nobody_describes_are_refused_by_name() -> Result<()> {
    with_scene(|scene| {
        scene.describe("cdi", &json!({"env": ["X=1"]}))?;
        for device in ["vendor.com/dev=b", "other.com/dev=a"] {
            let line = refuse(scene, &["cdi"], device)?;
            ensure!(line.contains("unresolvable CDI devices"), "{line}");
            ensure!(line.contains(device), "{line}");
        }
        let line = refuse(scene, &["nowhere"], "vendor.com/dev=a")?;
        ensure!(line.contains("vendor.com/dev=a"), "{line}");
        let list = scene.stage.call(["ps", "--all", "--quiet"]).run()?.ok()?;
        assert_eq!(list, "", "something was left");
        Ok(())
    })
}

#[test]
fn what_other_users_may_write_says_nothing_about_containers() -> Result<()> {
    with_scene(|scene| {
        let path = scene.describe("cdi", &json!({"env": ["X=1"]}))?;
        let passed_over = |why: &str| -> Result<()> {
            let out = scene.run(&["cdi"], "vendor.com/dev=a", "echo it ran")?;
            let (said, code) = (out.stderr(), out.code());
            ensure!(code == 125 && out.stdout().is_empty(), "{why}: {said}");
            ensure!(said.contains(why), "{said}");
            Ok(())
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        passed_over("others may write to it")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        chown(&path, Some(12345), None)?;
        passed_over("it belongs to user 12345")?;
        chown(&path, Some(0), None)?;
        let aside = scene.stage.dir().join("aside.json");
        fs::rename(&path, &aside)?;
        std::os::unix::fs::symlink(&aside, &path)?;
        passed_over("symbolic link")?;
        fs::rename(&aside, &path)?;
        let dir = scene.dir("cdi")?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
        passed_over("others may write to it")?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        let out = scene.run(&["cdi"], "vendor.com/dev=a", "echo it ran")?;
        assert_eq!(out.ok()?, "it ran\n");
        Ok(())
    })
}

#[test]
fn annotations_name_no_device() -> Result<()> {
    with_scene(|scene| {
        scene.describe("cdi", &json!({"env": ["X=1"]}))?;
        let dir = scene.dir("cdi")?;
        let words = [
            "--rm",
            "--cdi-spec-dir",
            &path(&dir),
            "--annotation",
            "cdi.k8s.io/x=vendor.com/dev=a",
            &scene.image,
            "sh",
            "-c",
            "echo ${X:-nothing}",
        ];
        let out = scene.stage.image_call(words).run()?;
        assert_eq!(out.ok()?, "nothing\n");
        Ok(())
    })
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn an_ordinary_user_gets_what_the_machine_describes_and_nothing_of_other_users() -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let user = Ordinary::new(stage)?;
        let image = Image::new(stage.dir())?;
        host::command("chmod", ["-R", "a+rX"], [image.layout()])?;
        let scene = Scene {
            stage,
            image: image.source(),
        };
        let file = scene.describe("vendors", &json!({"env": ["SEEN=yes"]}))?;
        let file = file.to_string_lossy();
        // in the machine's own folder, of this test alone
        let usual = "mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/cdi && cp \"$0\" /run/cdi && exec \"$@\"";
        let words = ["run", "--rm", "--device", "vendor.com/dev=a", &scene.image];
        let call = user.call(&[&words[..], &["sh", "-c", "echo $SEEN"]].concat());
        let call = call.under(["unshare", "--mount", "sh", "-c", usual, &file]);
        assert_eq!(call.run()?.ok()?, "yes\n");
        // in the folder of the user's choice another's file counts for nothing
        let dir = scene.dir("vendors")?;
        let dir = dir.to_string_lossy();
        let words = [
            "run",
            "--rm",
            "--cdi-spec-dir",
            &dir,
            "--device",
            "vendor.com/dev=a",
        ];
        let out = user
            .call(&[&words[..], &[&scene.image, "true"]].concat())
            .run()?;
        ensure!(
            out.code() == 125 && out.stderr().contains("belongs to"),
            "{}",
            out.stderr()
        );
        Ok(())
    })
}
