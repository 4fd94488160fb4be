//! Landlock by annotation: what is denied although user and capabilities would allow it.

use anyhow::{Result, ensure};
use hostrun_integration::refusal::{loud, refuse};
use hostrun_integration::{Bundle, Stage, host, on_stage_of_hostrun};
use serde_json::{Value, json};

const OURS: &str = "no other runtime has it";

/// The version of the kernel's interface that a test needs is there.
fn on_stage(least: u32, test: impl FnOnce(&Stage) -> Result<()>) -> Result<()> {
    on_stage_of_hostrun(OURS, |stage| {
        let bundle = with(
            stage.bundle()?,
            &json!({"abi": least, "scopes": [], "bestEffort": true}),
        );
        let out = stage.run(&bundle)?;
        if out.stderr().contains("run.hostrun.landlock\"].abi") {
            return host::skip("landlock", &format!("the kernel lacks ABI {least}"));
        }
        out.ok()?;
        test(stage)
    })
}

fn with(bundle: Bundle, document: &Value) -> Bundle {
    bundle.set(
        "/annotations/run.hostrun.landlock",
        json!(document.to_string()),
    )
}

fn files() -> Value {
    json!({"filesystem": {"readOnly": ["/etc", "/proc"], "readWrite": ["/tmp", "/dev/null"],
        "execute": ["/bin", "/lib"]}})
}

/// The machine's busybox may be linked to libraries or not; `/lib` is there either way.
fn furnished(stage: &Stage) -> Result<Bundle> {
    let bundle = stage.bundle()?;
    std::fs::create_dir_all(bundle.rootfs().join("lib"))?;
    bundle.file("/secret", 0o644, b"seen\n")
}

#[test]
fn files_that_no_list_names_are_denied_to_root() -> Result<()> {
    on_stage(1, |stage| {
        let script = "cat /etc/group >/dev/null && echo read; cat /secret; ls /root;
            echo x >/etc/new; echo made >/tmp/new && cat /tmp/new; rm /tmp/new && echo removed";
        for privileges in [false, true] {
            let bundle = furnished(stage)?
                .set("/process/noNewPrivileges", json!(!privileges))
                .shell(script);
            let out = stage.run(&with(bundle, &files()))?;
            assert_eq!(out.stdout(), "read\nmade\nremoved\n", "{}", out.stderr());
            for denied in ["/secret", "/root", "/etc/new"] {
                let line = out.stderr();
                let line = line.lines().find(|line| line.contains(denied));
                let line = line.unwrap_or_default().to_lowercase();
                ensure!(
                    line.contains("permission denied"),
                    "{denied}: {}",
                    out.stderr()
                );
            }
        }
        Ok(())
    })
}

#[test]
fn programs_that_no_list_names_do_not_run() -> Result<()> {
    on_stage(1, |stage| {
        let script = "cp /bin/busybox /tmp/tool && /tmp/tool true";
        let out = stage.run(&with(furnished(stage)?.shell(script), &files()))?;
        assert_eq!(out.code(), 126, "{}", out.stderr());
        let document = json!({"filesystem": {"readOnly": ["/"]}});
        let out = stage.run(&with(furnished(stage)?.shell("true"), &document))?;
        assert_eq!(out.code(), 126, "{}", out.stderr());
        Ok(())
    })
}

#[test]
fn the_rules_hold_for_a_created_container_and_who_joins_it() -> Result<()> {
    on_stage(1, |stage| {
        let bundle = with(furnished(stage)?.shell("sleep 60"), &files());
        let container = stage.start(&bundle)?;
        ensure!(container.exec(&["cat", "/secret"])?.code() != 0, "read");
        assert_eq!(container.exec(&["cat", "/etc/group"])?.code(), 0);
        container.delete()
    })
}

#[test]
fn the_rules_hold_in_a_user_namespace() -> Result<()> {
    on_stage(1, |stage| {
        let bundle = furnished(stage)?.shell("cat /etc/group >/dev/null && echo read; cat /secret");
        let out = stage.run(&with(bundle.mapped()?, &files()))?;
        assert_eq!(out.stdout(), "read\n", "{}", out.stderr());
        Ok(())
    })
}

#[test]
fn a_path_of_the_rules_does_not_lead_out_of_the_root() -> Result<()> {
    on_stage(1, |stage| {
        let bundle = furnished(stage)?.shell("cat /etc/group");
        std::os::unix::fs::symlink("/../../../etc", bundle.rootfs().join("out"))?;
        let document = json!({"filesystem": {"readOnly": ["/out"], "execute": ["/bin", "/lib"]}});
        let out = stage.run(&with(bundle, &document))?;
        ensure!(out.ok()?.starts_with("root:x:0:"), "another group file");
        let document = json!({"filesystem": {"readOnly": ["/proc/self/root"]}});
        let line = refuse(stage, "magic link", &with(loud(stage)?, &document))?;
        ensure!(line.contains("/proc/self/root"), "{line}");
        let document = json!({"filesystem": {"readOnly": ["/not-there"]}});
        let line = refuse(stage, "missing", &with(loud(stage)?, &document))?;
        ensure!(line.contains("/not-there: no such file"), "{line}");
        Ok(())
    })
}

#[test]
fn ports_that_no_list_names_are_denied() -> Result<()> {
    on_stage(4, |stage| {
        for (document, port, denied) in [
            (json!({"network": {"bindTcp": [8001]}}), 8001, false),
            (json!({"network": {"bindTcp": [8001]}}), 8002, true),
            (json!({"network": {"connectTcp": []}}), 8002, false),
        ] {
            // one that is denied ends by itself
            let patience = if denied { 60 } else { 1 };
            let script = format!("timeout {patience} nc -l -p {port} -w 1 </dev/null; echo $?");
            let out = stage.run(&with(stage.bundle()?.shell(&script), &document))?;
            let said = out.stderr().to_lowercase().contains("permission denied");
            assert_eq!(said, denied, "{document}: {}", out.stderr());
        }
        let document = json!({"network": {"connectTcp": []}});
        let bundle = stage.bundle()?.shell("nc -w 1 127.0.0.1 8001 </dev/null");
        let out = stage.run(&with(bundle, &document))?;
        let said = out.stderr().to_lowercase();
        ensure!(said.contains("permission denied"), "{said}");
        Ok(())
    })
}

#[test]
fn signals_do_not_leave_the_scope() -> Result<()> {
    on_stage(6, |stage| {
        let bundle = with(
            stage.bundle()?.shell("sleep 60"),
            &json!({"scopes": ["signal"]}),
        );
        let container = stage.start(&bundle)?;
        // Who joins has rules of its own, and the first process is not below them.
        let out = container.exec(&["sh", "-c", "kill -0 $$ && kill -0 1"])?;
        let said = out.stderr().to_lowercase();
        ensure!(said.contains("not permitted"), "{said}");
        container.delete()
    })
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place() -> Result<()> {
    on_stage_of_hostrun(OURS, |stage| {
        for (text, place) in [
            ("not json", "annotations[\"run.hostrun.landlock\"]: "),
            ("{}", "restricts nothing"),
            (
                r#"{"filesystem":{"readonly":["/"]}}"#,
                "annotations[\"run.hostrun.landlock\"].filesystem.readonly: unknown field",
            ),
            (
                r#"{"filesystem":{"execute":["bin"]}}"#,
                "annotations[\"run.hostrun.landlock\"].filesystem.execute[0]: must be an absolute path",
            ),
            (
                r#"{"abi":4096,"filesystem":{}}"#,
                "annotations[\"run.hostrun.landlock\"].abi: the kernel has",
            ),
        ] {
            let bundle = loud(stage)?.set("/annotations/run.hostrun.landlock", json!(text));
            let line = refuse(stage, text, &bundle)?;
            ensure!(line.contains(place), "{line}");
        }
        Ok(())
    })
}
