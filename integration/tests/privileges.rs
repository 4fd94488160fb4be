//! What a payload is given and what it may do, where that is more than a value to be copied.

use anyhow::{Result, ensure};
use hostrun_integration::refusal::{loud, refuse};
use hostrun_integration::{elf, on_stage, on_stage_of_hostrun};
use serde_json::json;

/// The value behind `key:` in a status file.
fn status(text: &str, key: &str) -> String {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or("missing").trim().to_owned()
}

#[test]
fn a_program_without_its_users_bit_runs_for_who_may_override_that() -> Result<()> {
    on_stage(|stage| {
        for (capabilities, runs) in [(&["CAP_DAC_OVERRIDE"][..], true), (&[], false)] {
            let bundle = stage
                .bundle()?
                .file("/bin/tool", 0o744, &elf::exit(9))?
                .set("/process/user", json!({"uid": 1000, "gid": 0}))
                .capabilities(capabilities)
                .args(&["/bin/tool"]);
            let code = stage.run(&bundle)?.code();
            assert_eq!(code == 9, runs, "{capabilities:?}: {code}");
        }
        Ok(())
    })
}

#[test]
fn an_ambient_capability_that_cannot_be_is_a_warning() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set("/process/capabilities/ambient", json!(["CAP_KILL"]))
            .shell("grep ^CapAmb /proc/self/status");
        let out = stage.run(&bundle)?;
        assert_eq!(status(&out.ok()?, "CapAmb"), "0000000000000000");
        let text = "can't raise ambient capability CAP_KILL: operation not permitted";
        // 1.1 says nothing
        let quiet = stage.runtime().is_runc();
        ensure!(quiet || out.stderr().contains(text), "{}", out.stderr());
        Ok(())
    })
}

#[test]
fn an_environment_is_taken_as_it_is_or_refused() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set(
                "/process/env",
                json!(["PATH=/bin", "A=1", "B=two\nlines", "A=3", "HOME="]),
            )
            .shell("echo $A; echo \"$B\"; echo $HOME");
        assert_eq!(stage.run(&bundle)?.ok()?, "3\ntwo\nlines\n/root\n");
        let zero = loud(stage)?.set("/process/env", json!(["PATH=/bin", "A=\u{0}"]));
        refuse(stage, "a zero byte", &zero)?;
        if stage.runtime().is_runc() {
            // 1.1 passes over what is no variable, later ones refuse it
            return Ok(());
        }
        for (entry, why) in [("X", "missing '='"), ("=X", "name cannot be empty")] {
            let wrong = loud(stage)?.set("/process/env", json!(["PATH=/bin", entry]));
            let line = refuse(stage, entry, &wrong)?;
            let words = format!("process.env[1]: invalid environment variable: {why}");
            ensure!(line.contains(&words), "{line}");
        }
        Ok(())
    })
}

#[test]
fn a_hard_limit_that_cannot_be_raised_is_an_error_of_its_own() -> Result<()> {
    on_stage(|stage| {
        let own = std::fs::read_to_string("/proc/self/status")?;
        let held = u64::from_str_radix(&status(&own, "CapEff"), 16)?;
        if held >> 24 & 1 == 1 {
            return hostrun_integration::host::skip("rlimits", "CAP_SYS_RESOURCE is there");
        }
        let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 1_048_576, "hard": 1_048_577}]);
        let line = refuse(
            stage,
            "raise",
            &loud(stage)?.set("/process/rlimits", limits),
        )?;
        ensure!(line.contains("error setting rlimit type 7"), "{line}");
        let limits = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
        if stage.runtime().is_runc() {
            // 1.1 sets one after the other
            return Ok(());
        }
        let line = refuse(
            stage,
            "twice",
            &loud(stage)?.set("/process/rlimits", limits),
        )?;
        ensure!(line.contains("process.rlimits[1]"), "{line}");
        Ok(())
    })
}

/// Where AppArmor is in force: in the guest (`integration/vm/labels`), not on every machine.
#[test]
fn apparmors_profile_is_applied_in_the_container_and_in_exec() -> Result<()> {
    on_stage(|stage| {
        if !std::fs::exists("/sys/kernel/security/apparmor")? {
            return hostrun_integration::host::skip("apparmor", "it is not in force here");
        }
        let bundle = stage
            .bundle()?
            .set("/process/apparmorProfile", json!("unconfined"))
            .shell("cat /proc/self/attr/current; sleep 60");
        let container = stage.start(&bundle)?;
        let seen = container.exec(&["cat", "/proc/self/attr/current"])?.ok()?;
        assert_eq!(seen, "unconfined\n");
        // A profile that is not loaded is refused by the kernel, which shows that it was asked.
        let words = [
            "exec",
            "--apparmor",
            "hostrun-not-loaded",
            &container.id,
            "true",
        ];
        let out = stage.call(words).run()?;
        ensure!(out.code() != 0, "a profile that is not there was applied");
        container.delete()?;
        let bundle = loud(stage)?.set("/process/apparmorProfile", json!("hostrun-not-loaded"));
        let line = refuse(stage, "not loaded", &bundle)?;
        ensure!(line.contains("unable to apply apparmor profile"), "{line}");
        Ok(())
    })
}

#[test]
fn the_callers_groups_stay_where_the_annotation_says_so() -> Result<()> {
    on_stage_of_hostrun("it is crun's annotation, which podman sets", |stage| {
        for (value, kept) in [("1", "4 27"), ("0", "2000")] {
            let bundle = stage
                .bundle()?
                .set(
                    "/process/user",
                    json!({"uid": 0, "gid": 0, "additionalGids": [2000]}),
                )
                .set(
                    "/annotations",
                    json!({"run.oci.keep_original_groups": value}),
                )
                .shell("cat /proc/self/status");
            let call = stage.run_call(&bundle)?;
            let text = call.under(["setpriv", "--groups", "4,27"]).run()?.ok()?;
            assert_eq!(status(&text, "Groups"), kept, "{value}");
        }
        Ok(())
    })
}
