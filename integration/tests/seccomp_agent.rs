//! Calls that a filter leaves to an agent, config-linux "Seccomp": who is asked, what it is told, and
//! what becomes of a call nobody answers.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::refusal::{loud, refuse};
use hostrun_integration::runtime::{Call, Running};
use hostrun_integration::{Bundle, Stage, on_stage, on_stage_of_hostrun};
use serde_json::{Value, json};

const AGENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/seccomp-agent");

/// An agent that listens; killed when dropped.
struct Agent {
    running: Running,
    path: PathBuf,
}

impl Agent {
    fn new(stage: &Stage, answer: &str) -> Result<Self> {
        let path = stage.dir().join(format!("agent-{answer}"));
        std::fs::remove_file(&path).ok();
        let words = [path.as_os_str(), answer.as_ref()];
        let mut running = Call::new(AGENT.as_ref(), words).spawn()?;
        running.wait_for("ready\n")?;
        Ok(Self { running, path })
    }

    /// The documents it was sent so far.
    fn states(&self) -> Result<Vec<Value>> {
        let text = self.running.stdout();
        let lines = text.lines().filter(|line| *line != "ready");
        lines
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }
}

fn asking(bundle: Bundle, agent: &std::path::Path, calls: &[&str]) -> Bundle {
    bundle.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": agent,
            "listenerMetadata": "bar",
            "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_X86_64"],
            "syscalls": [{"names": calls, "action": "SCMP_ACT_NOTIFY"}]
        }),
    )
}

#[test]
fn the_agent_gets_the_listener_and_the_state_and_answers() -> Result<()> {
    on_stage(|stage| {
        for privileges in [false, true] {
            // ENOMEDIUM, which no kernel answers to chmod
            let agent = Agent::new(stage, "123")?;
            let bundle = stage
                .bundle()?
                .set("/process/noNewPrivileges", json!(!privileges))
                .set("/annotations", json!({"org.example": "yes"}))
                .shell("touch /tmp/file && chmod 700 /tmp/file");
            let bundle = asking(bundle, &agent.path, &["chmod", "fchmod", "fchmodat"]);
            let out = stage.run(&bundle)?;
            ensure!(out.stderr().contains("No medium found"), "{}", out.stderr());
            let states = agent.states()?;
            let [told] = states.as_slice() else {
                anyhow::bail!("{states:?}")
            };
            assert_eq!(told["fds"], json!(["seccompFd"]));
            assert_eq!(told["metadata"], "bar");
            ensure!(told["ociVersion"].is_string(), "{told}");
            ensure!(told["pid"].as_i64().is_some_and(|pid| pid > 1), "{told}");
            assert_eq!(told["state"]["pid"], told["pid"]);
            assert_eq!(told["state"]["status"], "creating");
            assert_eq!(told["state"]["bundle"], json!(bundle.dir()));
            assert_eq!(told["state"]["annotations"]["org.example"], "yes");
            ensure!(told["state"]["id"].is_string(), "{told}");
        }
        Ok(())
    })
}

#[test]
fn a_created_container_and_who_joins_it_ask_the_agent_too() -> Result<()> {
    on_stage(|stage| {
        for privileges in [false, true] {
            let agent = Agent::new(stage, "123")?;
            let bundle = stage
                .bundle()?
                .set("/process/noNewPrivileges", json!(!privileges))
                .shell("sleep 60");
            let container = stage.start(&asking(bundle, &agent.path, &["mkdir", "mkdirat"]))?;
            let out = container.exec(&["mkdir", "/tmp/made"])?;
            ensure!(out.stderr().contains("No medium found"), "{}", out.stderr());
            let states = agent.states()?;
            let [first, second] = states.as_slice() else {
                anyhow::bail!("{states:?}")
            };
            assert_eq!(first["pid"], json!(container.pid()?));
            assert_eq!(second["state"]["pid"], first["pid"]);
            ensure!(second["pid"] != first["pid"], "{second}");
            assert_eq!(second["state"]["status"], "running");
            assert_eq!(second["state"]["id"], container.id.as_str());
            container.delete()?;
        }
        Ok(())
    })
}

#[test]
fn calls_between_the_filter_and_the_program_can_be_asked_about() -> Result<()> {
    on_stage(|stage| {
        for privileges in [false, true] {
            let agent = Agent::new(stage, "continue")?;
            let bundle = stage
                .bundle()?
                .set("/process/noNewPrivileges", json!(!privileges))
                .shell("echo it ran");
            let calls = ["execve", "openat", "open", "read", "close", "capset"];
            let bundle = asking(bundle, &agent.path, &calls);
            assert_eq!(stage.run(&bundle)?.ok()?, "it ran\n");
        }
        Ok(())
    })
}

#[test]
fn calls_of_an_agent_that_went_away_do_not_exist() -> Result<()> {
    on_stage(|stage| {
        let agent = Agent::new(stage, "leave")?;
        let bundle = stage.bundle()?.shell("sleep 1; mkdir /tmp/made");
        let out = stage.run(&asking(bundle, &agent.path, &["mkdir", "mkdirat"]))?;
        ensure!(out.code() != 0, "made");
        let text = out.stderr();
        ensure!(text.contains("Function not implemented"), "{text}");
        Ok(())
    })
}

#[test]
fn nobody_to_ask_is_an_error() -> Result<()> {
    on_stage(|stage| {
        let text = "failed to connect with seccomp agent";
        let socket = stage.dir().join("stale");
        drop(std::os::unix::net::UnixListener::bind(&socket)?);
        for path in ["/not/there.sock", "/etc/passwd", &socket.to_string_lossy()] {
            let bundle = asking(loud(stage)?, path.as_ref(), &["mkdir"]);
            let line = refuse(stage, path, &bundle)?;
            ensure!(line.contains(text), "{line}");
        }
        if stage.runtime().is_runc() {
            return Ok(());
        }
        // What waits for its start finds a stale socket out when it is started, and lives on.
        let bundle = asking(stage.bundle()?, &socket, &["mkdir"]);
        let container = stage.create(&bundle)?;
        let out = container.call("start", &[])?;
        ensure!(out.stderr().contains(text), "{}", out.stderr());
        assert_eq!(container.state()?["status"], "created");
        container.delete()
    })
}

#[test]
fn a_path_that_is_none_is_refused() -> Result<()> {
    on_stage(|stage| {
        for path in ["", "@abstract", "relative.sock"] {
            let bundle = asking(loud(stage)?, path.as_ref(), &["mkdir"]);
            let line = refuse(stage, path, &bundle)?;
            let named = line.contains("linux.seccomp.listenerPath");
            ensure!(stage.runtime().is_runc() || named, "{line}");
        }
        Ok(())
    })
}

#[test]
fn a_path_without_a_rule_that_asks_is_not_used() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage.bundle()?.shell("echo it ran").set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/not/there.sock"}),
        );
        assert_eq!(stage.run(&bundle)?.ok()?, "it ran\n");
        Ok(())
    })
}

#[test]
fn calls_by_which_the_agent_hears_of_the_listener_cannot_be_asked_about() -> Result<()> {
    on_stage(|stage| {
        let agent = Agent::new(stage, "continue")?;
        let bundle = asking(loud(stage)?, &agent.path, &["write"]);
        let line = refuse(stage, "write", &bundle)?;
        let text = "SCMP_ACT_NOTIFY cannot be used for the write syscall";
        ensure!(line.contains(text), "{line}");
        let all = json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": agent.path});
        let line = refuse(stage, "all", &loud(stage)?.set("/linux/seccomp", all))?;
        let text = "SCMP_ACT_NOTIFY cannot be used as default action";
        ensure!(line.contains(text), "{line}");
        Ok(())
    })
}

#[test]
fn a_profile_that_keeps_the_listener_from_the_agent_is_refused() -> Result<()> {
    on_stage_of_hostrun("runc hands it over by another call", |stage| {
        let agent = Agent::new(stage, "continue")?;
        let bundle = asking(loud(stage)?, &agent.path, &["sendmsg"]);
        let line = refuse(stage, "sendmsg", &bundle)?;
        ensure!(line.contains("for the sendmsg syscall"), "{line}");
        let deny = json!({"names": ["sendmsg"], "action": "SCMP_ACT_ERRNO"});
        let bundle =
            asking(loud(stage)?, &agent.path, &["mkdir"]).set("/linux/seccomp/syscalls/-", deny);
        let line = refuse(stage, "sendmsg denied", &bundle)?;
        ensure!(
            line.contains("needs the sendmsg syscall to be allowed"),
            "{line}"
        );
        Ok(())
    })
}

#[test]
fn waiting_killably_is_for_those_who_wait() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 does not know the flag", |stage| {
        let flags = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
        let alone = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags});
        let line = refuse(stage, "alone", &loud(stage)?.set("/linux/seccomp", alone))?;
        ensure!(line.contains("flags[0]"), "{line}");
        let agent = Agent::new(stage, "123")?;
        let bundle = stage.bundle()?.shell("mkdir /tmp/made");
        let bundle = asking(bundle, &agent.path, &["mkdir", "mkdirat"]);
        let out = stage.run(&bundle.set("/linux/seccomp/flags", flags))?;
        ensure!(out.stderr().contains("No medium found"), "{}", out.stderr());
        Ok(())
    })
}
