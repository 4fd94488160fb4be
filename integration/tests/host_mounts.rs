//! A container without a mount namespace of its own: it has the machine's, and its own root in it.

use anyhow::{Result, ensure};
use hostrun_integration::host::command;
use hostrun_integration::pty::Pty;
use hostrun_integration::refusal::refuse;
use hostrun_integration::{Bundle, Stage, namespace, on_stage, on_stage_of_hostrun};
use serde_json::json;

const LEAVES_MOUNTS: &str = "runc mounts on the machine, and leaves it there";

/// Without what runc refuses there.
fn bare(stage: &Stage) -> Result<Bundle> {
    Ok(stage
        .bundle()?
        .without_namespace("mount")
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([])))
}

/// runc leaves its mounts.
fn tidy_up(stage: &Stage, bundle: &Bundle) -> Result<()> {
    if stage.runtime().is_runc() {
        command("umount", ["-R", "-l"], [bundle.rootfs()])?;
    }
    Ok(())
}

#[test]
fn it_is_in_the_machines_mount_namespace_and_in_its_own_root_and_hooks_run() -> Result<()> {
    on_stage(|stage| {
        let script =
            "readlink /proc/self/ns/mnt; pwd; cat /etc/passwd | head -n 1; echo x >/dev/null
            echo /proc/[0-9]*; touch /tmp/new";
        let mark = stage.dir().join("hooked");
        let touch = format!("echo ran >>{}", mark.display());
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", touch]});
        let bundle = bare(stage)?
            .set("/hooks", json!({"createRuntime": [hook]}))
            .shell(script);
        let text = stage.run(&bundle)?.ok()?;
        let namespace = namespace::own("mnt")?;
        let root = "root:x:0:0:root:/root:/bin/sh";
        assert_eq!(text, format!("{namespace}\n/\n{root}\n/proc/1\n"));
        ensure!(
            bundle.rootfs().join("tmp/new").exists(),
            "another root than the bundle's"
        );
        let hooked = std::fs::read_to_string(mark)?;
        // runc 1.1 ran them twice there
        ensure!(
            hooked == "ran\n" || stage.runtime().is_runc(),
            "hooks: {hooked:?}"
        );
        tidy_up(stage, &bundle)
    })
}

#[test]
fn who_joins_it_is_in_its_root() -> Result<()> {
    on_stage_of_hostrun("who joins with runc is in the machine's root", |stage| {
        let bundle = bare(stage)?
            .set("/process/cwd", json!("/home/user"))
            .shell("sleep 60");
        let container = stage.start(&bundle)?;
        let script = "readlink /proc/self/ns/mnt; pwd; ls -d /home/*; cd /; ls -d ../home/*; tty";
        let seen = container.exec(&["sh", "-c", script])?.stdout();
        let namespace = namespace::own("mnt")?;
        assert_eq!(
            seen,
            format!("{namespace}\n/home/user\n/home/user\n../home/user\nnot a tty\n")
        );
        container.delete()
    })
}

#[test]
fn nothing_of_it_is_mounted_on_the_machine_and_its_masks_hold() -> Result<()> {
    on_stage_of_hostrun(LEAVES_MOUNTS, |stage| {
        let before = stage.mounts()?;
        let script = "wc -c </proc/keys; ls /sys/firmware; echo 1 >/proc/sys/kernel/shm_next_id
            touch /new; echo done";
        let bundle = stage
            .bundle()?
            .without_namespace("mount")
            .set("/root/readonly", json!(true));
        let container = stage.start(&bundle.shell("sleep 60"))?;
        let out = container.exec(&["sh", "-c", script])?;
        assert_eq!(out.stdout(), "0\ndone\n");
        assert_eq!(out.stderr().matches("Read-only file system").count(), 2);
        assert_eq!(stage.mounts()?, before);
        container.delete()?;
        assert_eq!(stage.mounts()?, before);
        Ok(())
    })
}

#[test]
fn a_change_of_root_inside_does_not_lead_to_the_machines() -> Result<()> {
    on_stage_of_hostrun(LEAVES_MOUNTS, |stage| {
        // the classic way out of chroot(2): a directory that is held open while the root moves below
        let bundle = stage
            .bundle()?
            .without_namespace("mount")
            .mount("/tmp/jail/proc", "proc", "proc", &[])
            .capabilities(&["CAP_SYS_CHROOT", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"])
            .shell(
                "mkdir -p /tmp/jail/bin; cp /bin/busybox /tmp/jail/bin/busybox; echo mark >/mark
                 exec 3</; exec chroot /tmp/jail /bin/busybox sh -c \
                 'cd -P /proc/self/fd/3/../../../../../..; /bin/busybox ls'",
            );
        let out = stage.run(&bundle)?.ok()?;
        let names: Vec<&str> = out.lines().collect();
        ensure!(names.contains(&"mark"), "{names:?}");
        Ok(())
    })
}

#[test]
fn its_terminal_has_a_name() -> Result<()> {
    on_stage_of_hostrun(LEAVES_MOUNTS, |stage| {
        let script = "tty; test -t 0 -a -c \"$(readlink /proc/self/fd/0)\"; echo code $?";
        let bundle = stage
            .bundle()?
            .without_namespace("mount")
            .set("/process/terminal", json!(true))
            .shell(script);
        let mut pty = Pty::open()?;
        let run = pty.spawn(stage.run_call(&bundle)?)?;
        let screen = pty.wait_for("code 0")?;
        ensure!(screen.contains("/dev/console"), "{screen:?}");
        assert_eq!(run.wait()?.code(), 0);
        Ok(())
    })
}

#[test]
fn what_needs_a_mount_namespace_is_refused_by_its_path() -> Result<()> {
    on_stage_of_hostrun("runc goes by the machine's namespace there", |stage| {
        let bare = || bare(stage);
        let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let cases = [
            (
                "linux.namespaces",
                bare()?
                    .namespace("user", None)
                    .set("/linux/uidMappings", mapping.clone())
                    .set("/linux/gidMappings", mapping),
            ),
            (
                "linux.rootfsPropagation",
                bare()?.set("/linux/rootfsPropagation", json!("rshared")),
            ),
            (
                "mounts[7].options",
                bare()?.bind(stage.dir(), "/v", &["rbind", "rslave"]),
            ),
        ];
        for (path, bundle) in cases {
            let line = refuse(stage, path, &bundle)?;
            ensure!(line.contains(path), "{path}: {line}");
        }
        Ok(())
    })
}
