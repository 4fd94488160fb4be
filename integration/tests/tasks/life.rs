//! From run to rm.

use std::fs;

use anyhow::{Result, ensure};
use hostrun_integration::client::Containerd;
use hostrun_integration::host;

use super::{end, exec};

pub(crate) fn runs_to_the_end_and_tells_the_exit_code(containerd: &Containerd<'_>) -> Result<()> {
    assert_eq!(containerd.shell(&[], "echo hello")?, "hello\n");
    for (words, expected) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["not-there"], 1),
        (&["/etc/passwd"], 1),
    ] {
        let run = containerd.run(&["--rm"], &containerd.name(), words);
        let out = run.run()?;
        assert_eq!(out.code(), expected, "{words:?}: {}", out.stderr());
        let text = match words {
            ["not-there"] => "executable file not found in $PATH",
            ["/etc/passwd"] => "permission denied",
            _ => "",
        };
        ensure!(out.stderr().contains(text), "{words:?}: {}", out.stderr());
    }
    Ok(())
}

pub(crate) fn pauses_and_goes_on(containerd: &Containerd<'_>) -> Result<()> {
    let name = containerd.background(&[], "sleep 60")?;
    containerd.ok(&["task", "pause", &name])?;
    assert_eq!(containerd.status(&name)?, "PAUSED");
    let refused = exec(containerd, &[], &name, &["true"]).run()?;
    ensure!(refused.code() != 0, "exec in a paused container");
    containerd.ok(&["task", "resume", &name])?;
    assert_eq!(containerd.status(&name)?, "RUNNING");
    end(containerd, &name)
}

pub(crate) fn sends_signals(containerd: &Containerd<'_>) -> Result<()> {
    let folder = containerd.world().dir().join(containerd.name());
    let uri = format!("file://{}", folder.display());
    let script =
        "trap 'echo again' USR1; trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let name = containerd.background(&["--log-uri", &uri], script)?;
    let says = |text: &str| {
        let said = || fs::read_to_string(&folder).is_ok_and(|log| log.contains(text));
        host::wait_for(text, said)
    };
    says("ready")?;
    containerd.ok(&["task", "kill", "-s", "SIGUSR1", &name])?;
    says("again")?;
    containerd.ok(&["task", "kill", "-s", "SIGTERM", &name])?;
    containerd.wait_until(&name, "STOPPED")?;
    let removed = containerd.call(&["task", "rm", &name]).run()?;
    ensure!(
        removed.stderr().contains("non-zero exit code 3") || removed.code() == 3,
        "{removed:?}"
    );
    containerd.ok(&["container", "rm", &name]).map(drop)
}

pub(crate) fn kills_every_process_of_a_container_in_the_hosts_pid_namespace(
    containerd: &Containerd<'_>,
) -> Result<()> {
    let name = containerd.name();
    let script = "sleep 60 & sleep 60 & wait";
    let flags = ["--detach", "--with-ns", "pid:/proc/1/ns/pid"];
    containerd
        .run(&flags, &name, &["sh", "-c", script])
        .run()?
        .ok()?;
    containerd.ok(&["task", "kill", "--all", "-s", "SIGKILL", &name])?;
    containerd.wait_until(&name, "STOPPED")?;
    containerd.call(&["task", "rm", &name]).run()?;
    containerd.ok(&["container", "rm", &name]).map(drop)
}

pub(crate) fn gives_what_is_asked_for(containerd: &Containerd<'_>) -> Result<()> {
    let status = |flags: &[&str], key: &str| -> Result<String> {
        let script =
            format!("grep ^{key}: /proc/self/status | tr -s '[:space:]' ' ' | cut -d ' ' -f 2");
        Ok(containerd.shell(flags, &script)?.trim().to_owned())
    };
    let usual = u64::from_str_radix(&status(&[], "CapBnd")?, 16)?;
    let less = u64::from_str_radix(&status(&["--cap-drop", "CAP_CHOWN"], "CapBnd")?, 16)?;
    assert_eq!(usual ^ less, 1);
    assert_eq!(status(&["--seccomp"], "Seccomp")?, "2");
    assert_eq!(status(&[], "NoNewPrivs")?, "1");
    // nothing of what a shim does with its own signals
    assert_eq!(status(&[], "SigBlk")?, "0000000000000000");
    assert_eq!(containerd.shell(&["--cwd", "/tmp"], "pwd")?, "/tmp\n");
    let out = containerd.shell(&["--read-only"], "touch /file 2>/dev/null || echo no")?;
    assert_eq!(out, "no\n");
    let folder = containerd.world().dir().join(containerd.name());
    fs::create_dir(&folder)?;
    let mount = format!(
        "type=bind,src={},dst=/data,options=rbind:rw",
        folder.display()
    );
    containerd.shell(&["--mount", &mount], "echo kept >/data/file")?;
    assert_eq!(fs::read_to_string(folder.join("file"))?, "kept\n");
    let out = containerd.shell(&["--env", "COLOUR=green"], "echo $COLOUR")?;
    assert_eq!(out, "green\n");
    let out = containerd.shell(&["--net-host"], "readlink /proc/self/ns/net")?;
    let own = containerd
        .world()
        .call(["readlink", "/proc/self/ns/net"])
        .run()?
        .ok()?;
    assert_eq!(out, own);
    let script = "mkdir /tmp/m; mount -t tmpfs x /tmp/m && echo mounted";
    assert_eq!(containerd.shell(&["--privileged"], script)?, "mounted\n");
    Ok(())
}

pub(crate) fn removes_what_still_runs(containerd: &Containerd<'_>) -> Result<()> {
    let name = containerd.background(&[], "trap '' TERM; sleep 60 & sleep 60 & wait")?;
    ensure!(
        containerd.call(&["container", "rm", &name]).run()?.code() != 0,
        "removed while it runs"
    );
    containerd.call(&["task", "rm", "--force", &name]).run()?;
    containerd.ok(&["container", "rm", &name])?;
    assert_eq!(containerd.status(&name)?, "");
    Ok(())
}

pub(crate) fn kills_what_is_paused(containerd: &Containerd<'_>) -> Result<()> {
    let name = containerd.background(&[], "sleep 60 & sleep 60 & wait")?;
    containerd.ok(&["task", "pause", &name])?;
    assert_eq!(containerd.status(&name)?, "PAUSED");
    containerd.ok(&["task", "kill", "-s", "SIGKILL", &name])?;
    containerd.wait_until(&name, "STOPPED")?;
    super::remove(containerd, &name)
}

pub(crate) fn has_every_exit_code_of_a_crowd(containerd: &Containerd<'_>) -> Result<()> {
    let mut runs = Vec::new();
    for code in 0..12 {
        let script = format!("exit {code}");
        let run = containerd.run(&["--rm"], &containerd.name(), &["sh", "-c", &script]);
        runs.push((code, run.spawn()?));
    }
    for (code, run) in runs {
        let out = run.wait()?;
        assert_eq!(out.code(), code, "{}", out.stderr());
    }
    let name = containerd.background(&[], "sleep 60")?;
    let mut runs = Vec::new();
    for code in 20..32 {
        let (script, id) = (format!("exit {code}"), format!("code-{code}"));
        let words = ["task", "exec", "--exec-id", &id, &name, "sh", "-c", &script];
        runs.push((code, containerd.call(&words).spawn()?));
    }
    for (code, run) in runs {
        let out = run.wait()?;
        assert_eq!(out.code(), code, "{}", out.stderr());
    }
    end(containerd, &name)
}
