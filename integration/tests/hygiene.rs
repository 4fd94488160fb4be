//! Old attacks that need no path: our binary (D5), descriptors and the working directory (D4),
//! credentials (D6), modes of state (D10), numbers (D11). One test a class, named after its first CVE.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use hostrun_integration::{Stage, on_stage, on_stage_of_hostrun};
use serde_json::json;

/// A folder of the machine that nothing in a container may see.
fn outside(stage: &Stage) -> Result<PathBuf> {
    let dir = stage.folder("victim")?;
    fs::write(dir.join("secret"), "the machine's\n")?;
    Ok(dir)
}

fn fingerprint(program: &Path) -> Result<(u64, i64, Vec<u8>)> {
    let meta = fs::metadata(program)?;
    Ok((meta.ino(), meta.mtime_nsec(), fs::read(program)?))
}

#[test]
fn cve_2019_5736_entrypoint_proc_self_exe_is_refused() -> Result<()> {
    on_stage(|stage| {
        let before = fingerprint(stage.runtime().program())?;
        let script: &[u8] = b"#!/proc/self/exe\n";
        let direct = stage.bundle()?.args(&["/proc/self/exe"]);
        let script = stage
            .bundle()?
            .file("/entry", 0o755, script)?
            .args(&["/entry"]);
        for bundle in [direct, script] {
            let out = stage.run(&bundle)?;
            // runc starts a copy of itself here; a copy is harmless, but nothing at all is better
            ensure!(
                stage.runtime().is_runc() || out.code() != 0,
                "the runtime ran inside"
            );
        }
        ensure!(
            fingerprint(stage.runtime().program())? == before,
            "the binary changed"
        );
        Ok(())
    })
}

#[test]
fn cve_2019_5736_exec_cannot_be_caught_and_rewritten() -> Result<()> {
    on_stage(|stage| {
        let before = fingerprint(stage.runtime().program())?;
        // waits for any process that is not busybox and writes to its program
        let hunter = "while :; do for p in /proc/[0-9]*; do
            exe=$(readlink $p/exe) || continue; [ \"$exe\" = /bin/busybox ] && continue
            [ -n \"$exe\" ] && (exec 3<$p/exe && while [ -d $p ]; do :; done; echo x >/proc/self/fd/3) 2>/dev/null
            done; done";
        let container = stage.start(&stage.bundle()?.shell(hunter))?;
        for _ in 0..20 {
            container.exec(&["/bin/true"])?;
        }
        ensure!(
            fingerprint(stage.runtime().program())? == before,
            "the binary changed"
        );
        container.delete()
    })
}

#[test]
fn cve_2024_21626_cwd_through_leaked_fd_is_refused() -> Result<()> {
    on_stage(|stage| {
        let outside = outside(stage)?;
        let bundle = stage
            .bundle()?
            .shell("cat secret ./victim/secret 2>/dev/null; ls -a ..");
        // the caller leaks folders of the machine on 3 to 9, which a shell can open
        let leak = format!(
            "for n in 3 4 5 6 7 8 9; do eval \"exec $n<{}\"; done; exec \"$@\"",
            outside.display()
        );
        // a start of runc takes long, so the oracle tries fewer
        let numbers = if stage.runtime().is_runc() {
            0..24
        } else {
            0..1024
        };
        for number in numbers {
            let bundle = bundle
                .clone()
                .set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
            let out = stage
                .run_call(&bundle)?
                .under(["sh", "-c", &leak, "leak"])
                .run()?;
            ensure!(
                !out.stdout().contains("the machine's"),
                "fd {number}: escaped: {}",
                out.stdout()
            );
            ensure!(
                !out.stdout().contains("secret"),
                "fd {number}: escaped: {}",
                out.stdout()
            );
            ensure!(
                out.code() != 0 || out.stdout().contains("busybox") || number < 3,
                "fd {number} as cwd went through: {}",
                out.stdout()
            );
        }
        Ok(())
    })
}

#[test]
fn cve_2024_21626_the_payload_has_only_its_three_streams() -> Result<()> {
    on_stage(|stage| {
        let outside = outside(stage)?;
        let leak = format!("exec 3<{0} 4<{0} 9<{0}; exec \"$@\"", outside.display());
        let call = stage.run_call(&stage.bundle()?.shell("ls /proc/1/fd; true"))?;
        assert_eq!(
            call.under(["sh", "-c", &leak, "leak"]).run()?.ok()?,
            "0\n1\n2\n"
        );
        let container = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        let listing = stage.call(["exec", &container.id, "sh", "-c", "ls /proc/$$/fd; true"]);
        assert_eq!(
            listing.under(["sh", "-c", &leak, "leak"]).run()?.ok()?,
            "0\n1\n2\n"
        );
        container.delete()
    })
}

#[test]
fn cve_2025_52881_settings_of_the_kernel_are_out_of_reach() -> Result<()> {
    on_stage(|stage| {
        let pattern = "/proc/sys/kernel/core_pattern";
        let before = fs::read_to_string(pattern)?;
        let mut keys = vec![
            "kernel.core_pattern",
            "vm.swappiness",
            "kernel.hostname",
            "kernel.hostname.x",
        ];
        if !stage.runtime().is_runc() {
            // runc turns dots into slashes before it looks, so these are for hostrun alone
            keys.extend([
                "net/../kernel/core_pattern",
                "net.ipv4/../../kernel/core_pattern",
            ]);
        }
        for key in keys {
            let bundle = stage
                .bundle()?
                .set("/linux/sysctl", json!({key: "|/bin/evil"}));
            ensure!(stage.run(&bundle)?.code() != 0, "sysctl {key} was accepted");
            let now = fs::read_to_string(pattern)?;
            if now != before {
                fs::write(pattern, &before)?;
            }
            assert_eq!(now, before, "sysctl {key} reached the machine");
        }
        Ok(())
    })
}

#[test]
fn cve_2022_29162_inheritable_caps_are_empty() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage.bundle()?.shell("grep CapInh /proc/self/status");
        // a caller whose own set is not empty must not pass it on
        let caller = ["setpriv", "--inh-caps", "+chown,+kill"];
        let none = "CapInh:\t0000000000000000\n";
        assert_eq!(stage.run_call(&bundle)?.under(caller).run()?.ok()?, none);
        let container = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        let words = ["exec", &container.id, "grep", "CapInh", "/proc/self/status"];
        assert_eq!(stage.call(words).under(caller).run()?.ok()?, none);
        container.delete()
    })
}

#[test]
fn cve_2023_25809_the_cgroup_tree_is_read_only_inside() -> Result<()> {
    on_stage(|stage| {
        let script = "mkdir /sys/fs/cgroup/made 2>/dev/null; echo $?; ls /sys/fs/cgroup";
        let bundle = stage
            .bundle()?
            .capabilities(&["CAP_SYS_ADMIN"])
            .shell(script);
        for bundle in [bundle.clone(), bundle.without_namespace("cgroup")] {
            let text = stage.run(&bundle)?.ok()?;
            ensure!(
                text.starts_with("1\n") && text.contains("cgroup.procs"),
                "{text}"
            );
            // runc 1.1 shows the whole tree without a cgroup namespace, if only to look at
            let all = text.contains("hostrun-it");
            ensure!(
                !all || stage.runtime().is_runc(),
                "the whole tree is there: {text}"
            );
        }
        Ok(())
    })
}

#[test]
fn cve_2021_41103_state_is_closed_to_other_users() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 leaves its state file readable", |stage| {
        let container = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        let mut open = vec![stage.root()];
        while let Some(path) = open.pop() {
            let meta = fs::symlink_metadata(&path)?;
            let mode = meta.permissions().mode() & 0o777;
            let allowed = if meta.is_dir() { 0o711 } else { 0o600 };
            ensure!(mode & !allowed == 0, "{} has mode {mode:o}", path.display());
            assert_eq!(meta.uid(), 0);
            if meta.is_dir() {
                for entry in fs::read_dir(&path)? {
                    open.push(entry?.path());
                }
            }
        }
        container.delete()
    })
}

#[test]
fn cve_2024_40635_numbers_that_wrap_to_root_are_refused() -> Result<()> {
    on_stage(|stage| {
        let fields = [
            "/process/user/uid",
            "/process/user/gid",
            "/process/user/additionalGids/-",
        ];
        for field in fields {
            for number in [
                "4294967296",
                "-1",
                "18446744073709551616",
                "1.5",
                "\"0\"",
                "4294967295",
            ] {
                // the oracle takes the one number that means "no change"
                if stage.runtime().is_runc() && number == "4294967295" {
                    continue;
                }
                let bundle = stage
                    .bundle()?
                    .set(field, json!("HERE"))
                    .shell("echo started; id");
                let text = serde_json::to_string(bundle.config())?.replace("\"HERE\"", number);
                let dir = bundle.write_raw(&text)?.to_string_lossy().into_owned();
                let out = stage.call(["run", "--bundle", &dir, &stage.id()]).run()?;
                ensure!(
                    out.code() != 0,
                    "{field} {number} was accepted: {}",
                    out.stdout()
                );
            }
        }
        Ok(())
    })
}
