//! Kernels without the newest system calls, in steps down to Linux 5.10.

use std::fs;

use anyhow::{Result, ensure};
use hostrun_integration::host::{Mounted, wait_for};
use hostrun_integration::kernel::{Kernel, STEPS};
use hostrun_integration::refusal::{loud, refuse};
use hostrun_integration::{Stage, on_stage};
use serde_json::json;

/// One test on every step.
fn on_each(test: impl Fn(&Stage, Kernel) -> Result<()> + Sync) -> Result<()> {
    for kernel in STEPS {
        kernel.pretend(|| on_stage(|stage| test(stage, kernel)))?;
    }
    Ok(())
}

#[test]
fn the_kernel_is_as_old_as_it_pretends() -> Result<()> {
    let oldest = STEPS[STEPS.len() - 1];
    oldest.pretend(|| {
        let root = fs::File::open("/")?;
        let answer =
            rustix::mount::open_tree(&root, "", rustix::mount::OpenTreeFlags::AT_EMPTY_PATH);
        ensure!(answer.is_ok(), "open_tree(2) is of 5.2: {answer:?}");
        let trace = hostrun_integration::runtime::Call::new(
            "strace".as_ref(),
            [
                "-e",
                "trace=mount_setattr",
                "mount",
                "--make-rprivate",
                "/proc",
            ],
        );
        let text = trace.run()?.stderr();
        ensure!(
            !text.contains("mount_setattr") || text.contains("ENOSYS"),
            "mount_setattr(2) is of 5.12: {text}"
        );
        Ok(())
    })
}

#[test]
fn a_container_lives_its_life_on_each_kernel() -> Result<()> {
    on_each(|stage, _| {
        let bundle = stage
            .bundle()?
            .shell("cat /proc/self/status | grep Seccomp; sleep 60");
        let container = stage.start(&bundle)?;
        assert_eq!(container.state()?["status"], "running");
        assert_eq!(container.exec(&["/bin/echo", "hello"])?.ok()?, "hello\n");
        container.kill("KILL")?;
        container.wait_until("stopped")?;
        container.delete()
    })
}

#[test]
fn what_is_hidden_and_read_only_is_so_on_each_kernel() -> Result<()> {
    on_each(|stage, kernel| {
        let volume = stage.folder("volume")?;
        fs::write(volume.join("file"), "volume\n")?;
        let bundle = stage
            .bundle()?
            .capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"])
            .set("/root/readonly", json!(true))
            .bind(&volume, "/volume", &["rbind", "ro", "nosuid", "nodev"])
            .bind(&volume, "/writable", &["rbind", "rw"])
            .shell(
                "cat /volume/file
                 for file in /made /volume/made /proc/sys/kernel/made /proc/sysrq-trigger; do
                    (echo x >$file) 2>/dev/null && echo $file was written
                 done
                 echo x >/writable/made && echo written
                 grep -o ' /volume [^ ]*' /proc/self/mountinfo
                 ls /sys/firmware | wc -l; stat -c %F /proc/timer_list",
            );
        fs::create_dir_all(bundle.rootfs().join("volume"))?;
        fs::create_dir_all(bundle.rootfs().join("writable"))?;
        let text = stage.run(&bundle)?.ok()?;
        assert_eq!(
            text, "volume\nwritten\n /volume ro,nosuid,nodev,relatime\n0\ncharacter special file\n",
            "Linux {}",
            kernel.version
        );
        Ok(())
    })
}

#[test]
fn hooks_run_on_each_kernel() -> Result<()> {
    on_each(|stage, kernel| {
        let hook = |script| json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        let bundle = stage
            .bundle()?
            .set("/hooks/createRuntime", hook("echo host >rootfs/host"))
            .set("/hooks/startContainer", hook("echo inside >/inside"))
            .shell("cat /host /inside");
        let call = stage.run_call(&bundle)?.in_dir(bundle.dir());
        let text = call.run()?.ok()?;
        assert_eq!(text, "host\ninside\n", "Linux {}", kernel.version);
        Ok(())
    })
}

#[test]
fn a_user_namespace_works_on_each_kernel() -> Result<()> {
    on_each(|stage, _| {
        let volume = stage.folder("volume")?;
        let bundle = stage.bundle()?.mapped()?;
        let bundle = bundle.bind(&volume, "/volume", &["rbind", "ro"]);
        let script = "cat /proc/self/uid_map; (echo x >/volume/made) 2>/dev/null || echo refused";
        let text = stage.run(&bundle.shell(script))?.ok()?;
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words, ["0", "100000", "65536", "refused"]);
        Ok(())
    })
}

#[test]
fn mounts_do_not_show_on_the_machine_on_each_kernel() -> Result<()> {
    on_each(|stage, _| {
        let shared = Mounted::tmpfs(&stage.folder("shared")?, &[])?;
        shared.propagation("shared")?;
        fs::create_dir(shared.at().join("inner"))?;
        let before = stage.mounts()?;
        let bundle = stage
            .bundle()?
            .capabilities(&["CAP_SYS_ADMIN"])
            .bind(shared.at(), "/volume", &["rbind", "rshared"])
            .shell("mount -t tmpfs inner /volume/inner; grep -c ' - tmpfs inner ' /proc/self/mountinfo >/seen; sleep 60");
        let container = stage.start(&bundle)?;
        let seen = bundle.rootfs().join("seen");
        wait_for("its mount", || {
            fs::read_to_string(&seen).is_ok_and(|seen| seen == "1\n")
        })?;
        assert_eq!(stage.mounts()?, before);
        container.delete()?;
        assert_eq!(stage.mounts()?, before);
        Ok(())
    })
}

#[test]
fn what_an_old_kernel_cannot_do_is_refused_in_words() -> Result<()> {
    let oldest = STEPS[STEPS.len() - 1];
    oldest.pretend(|| {
        on_stage(|stage| {
            let volume = stage.folder("volume")?;
            // recursive attributes are of 5.12
            let bundle = loud(stage)?.bind(&volume, "/volume", &["rbind", "rro"]);
            if stage.runtime().is_runc() {
                return Ok(());
            }
            let line = refuse(stage, "rro", &bundle)?;
            ensure!(line.contains("5.12"), "{line}");
            Ok(())
        })
    })
}
