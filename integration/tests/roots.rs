//! The root of a container, its devices and its masks.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Result, ensure};
use hostrun_integration::host::wait_for;
use hostrun_integration::{on_stage, on_stage_of_hostrun};
use serde_json::json;

#[test]
fn without_a_pivot_the_machines_proc_is_no_leave_to_mount_one() -> Result<()> {
    on_stage(|stage| {
        let run = |script: &str| -> Result<String> {
            let rights = ["CAP_SYS_ADMIN", "CAP_SETFCAP", "CAP_SYS_CHROOT"];
            let bundle = stage.bundle()?.capabilities(&rights).shell(script);
            let dir = bundle.write()?.to_string_lossy().into_owned();
            let id = stage.id();
            let out = stage
                .call(["run", "--no-pivot", "--bundle", &dir, &id])
                .run()?;
            Ok(out.stdout() + &out.stderr())
        };
        assert_eq!(
            run("ls -d /home /etc/passwd; pwd")?,
            "/etc/passwd\n/home\n/\n"
        );
        let text = run("unshare -mrpf sh -c 'mount -t proc none /proc && echo mounted'; true")?;
        ensure!(!text.contains("mounted"), "{text}");
        Ok(())
    })
}

#[test]
fn without_a_pivot_and_with_a_hook_nothing_leads_out_of_the_root() -> Result<()> {
    on_stage(|stage| {
        let secret = stage.dir().join("secret").display().to_string();
        fs::write(&secret, "of the machine")?;
        // from below another root, the first one is a place like any other
        let up = format!("/1/root{}{secret}", "/..".repeat(20));
        let script =
            format!("chroot /proc /1/root/bin/busybox cat {up} >/out 2>&1; ls / >/seen; sleep 60");
        let bundle = stage
            .bundle()?
            .capabilities(&["CAP_SYS_CHROOT"])
            .file("/out", 0o644, b"")?
            .set("/hooks/createRuntime", json!([{"path": "/bin/true"}]))
            .shell(&script);
        let dir = bundle.write()?.to_string_lossy().into_owned();
        let id = stage.id();
        let call = |words: &[&str]| stage.call(words).run()?.ok();
        call(&["create", "--no-pivot", "--bundle", &dir, &id])?;
        call(&["start", &id])?;
        let read = |name| fs::read_to_string(bundle.rootfs().join(name)).unwrap_or_default();
        wait_for("its root", || read("seen").contains("seen"))?;
        ensure!(read("out").contains("No such file"), "{}", read("out"));
        assert_eq!(call(&["exec", &id, "/bin/ls", "/"])?, read("seen"));
        call(&["delete", "--force", &id]).map(drop)
    })
}

#[test]
fn the_root_has_the_propagation_asked_for() -> Result<()> {
    let reason = "runc 1.1 applies it to the old tree only, and fails with unbindable";
    on_stage_of_hostrun(reason, |stage| {
        for (kind, has) in [
            ("shared", " shared:"),
            ("rshared", " shared:"),
            ("unbindable", " unbindable"),
            ("runbindable", " unbindable"),
            ("private", " - "),
            ("rprivate", " - "),
        ] {
            let bundle = stage
                .bundle()?
                .set("/linux/rootfsPropagation", json!(kind))
                .shell(
                    "grep ' / / ' /proc/self/mountinfo || grep '/rootfs / ' /proc/self/mountinfo",
                );
            let text = stage.run(&bundle)?.ok()?;
            let line = text.lines().next().unwrap_or_default();
            ensure!(line.contains(has), "{kind}: {line}");
            ensure!(!line.contains("master:"), "{kind}: {line}");
        }
        Ok(())
    })
}

#[test]
fn devices_of_any_kind_are_made_and_what_stands_there_already_stays() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set(
                "/linux/devices",
                json!([
                    {"path": "/dev/pipe", "type": "p", "fileMode": 0o622, "uid": 3, "gid": 4},
                    {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0},
                    {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
                    {"path": "/etc/passwd", "type": "c", "major": 1, "minor": 3},
                ]),
            )
            .shell("stat -c '%F %a %u:%g' /dev/pipe; readlink /dev/ptmx; head -c5 /etc/passwd");
        assert_eq!(stage.run(&bundle)?.ok()?, "fifo 622 3:4\npts/ptmx\nroot:");
        if !stage.runtime().is_runc() {
            // in a user namespace nodes are made outside and mounted, over what stands there, too
            let mapped = bundle.clone().mapped()?;
            assert_eq!(stage.run(&mapped)?.ok()?, "fifo 622 3:4\npts/ptmx\n");
            let mapped = bundle
                .set("/linux/devices/3/path", json!("/dev/null"))
                .shell("stat -c %F /dev/pipe; stat -c %t,%T /dev/tty")
                .mapped()?;
            assert_eq!(stage.run(&mapped)?.ok()?, "fifo\n5,0\n");
        }
        Ok(())
    })
}

#[test]
fn a_mask_of_a_file_is_not_to_be_changed_and_the_image_stays_as_it_is() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .file("/secret", 0o600, b"hidden\n")?
            .set("/root/readonly", json!(true))
            .set("/linux/maskedPaths", json!(["/secret", "/home", "/root", "/secret", "/home/"]))
            .shell(
                "cat /secret; ls -A /home /root | grep -v : ; grep -c ' /secret ' /proc/self/mountinfo
                 [ \"$(stat -c %d /home)\" = \"$(stat -c %d /root)\" ] && echo one
                 chmod 777 /secret 2>/dev/null || echo refused; stat -c %a /dev/null",
            );
        let text = stage.run(&bundle)?.ok()?;
        if !stage.runtime().is_runc() {
            assert_eq!(text.trim_start(), "1\none\nrefused\n666\n");
        }
        assert_eq!(fs::read(bundle.rootfs().join("secret"))?, b"hidden\n");
        assert_eq!(
            fs::metadata(bundle.rootfs().join("secret"))?.mode() & 0o777,
            0o600
        );
        Ok(())
    })
}
