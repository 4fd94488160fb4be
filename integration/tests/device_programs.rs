//! Device programs that are kept in bpffs: found again, and only where nobody else can have put them.

use anyhow::{Result, ensure};
use hostrun_integration::runtime::Call;
use hostrun_integration::{Stage, elf, on_stage};
use std::fs;

/// Runs a payload twice in mounts where bpffs is as on a host of systemd's, `between` the two this
/// script of the shell; how many programs the second run loaded.
fn loaded_by_the_second(stage: &Stage, between: &str) -> Result<usize> {
    let bundle = stage
        .bundle()?
        .file("/bin/nothing", 0o755, &elf::exit(0))?
        .args(&["/bin/nothing"]);
    let trace = stage.dir().join("trace");
    let words = || -> Result<String> {
        let call = stage.run_call(&bundle)?;
        let quoted = call
            .words()
            .iter()
            .map(|word| format!("'{}'", word.display()));
        Ok(quoted.collect::<Vec<_>>().join(" "))
    };
    let script = format!(
        "set -e; mount -t bpf -o mode=700 bpf /sys/fs/bpf; {}; {between}; exec strace -f -qq -e trace=bpf -o {} {}",
        words()?,
        trace.display(),
        words()?,
    );
    let words = ["--mount", "--propagation", "private", "sh", "-c", &script];
    Call::new("unshare".as_ref(), words).run()?.ok()?;
    let trace = fs::read_to_string(&trace)?;
    Ok(trace.matches("BPF_PROG_LOAD").count())
}

#[test]
fn the_kernel_checks_a_device_program_once() -> Result<()> {
    on_stage(|stage| {
        let loaded = loaded_by_the_second(stage, ":")?;
        // the oracle shows that loading is seen: it tries what the kernel can do first, and tries again
        // when a signal of its own comes between
        let runc = stage.runtime().is_runc();
        ensure!((loaded > 0) == runc, "{loaded} programs loaded");
        Ok(())
    })
}

#[test]
fn a_pinned_program_that_others_can_have_put_there_is_not_used() -> Result<()> {
    on_stage(|stage| {
        for change in [
            "chmod 770 /sys/fs/bpf/hostrun",
            "chown 1 /sys/fs/bpf/hostrun",
            "mv /sys/fs/bpf/hostrun /sys/fs/bpf/other && ln -s other /sys/fs/bpf/hostrun",
        ] {
            let change = if stage.runtime().is_runc() {
                ":"
            } else {
                change
            };
            let loaded = loaded_by_the_second(stage, change)?;
            let runc = stage.runtime().is_runc();
            ensure!(
                loaded == 1 || runc && loaded > 1,
                "{change}: {loaded} programs loaded"
            );
        }
        Ok(())
    })
}
