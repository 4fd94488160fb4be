//! Kernels without the newest system calls, in steps down to Linux 5.10.

use anyhow::{Result, ensure};
use hostrun_integration::kernel::{Kernel, STEPS};
use hostrun_integration::{Stage, on_stage};

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
        let root = std::fs::File::open("/")?;
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
