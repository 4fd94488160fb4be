//! Several containers in one shim.

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::client::{Containerd, task};
use hostrun_integration::host;

use super::{end, exec};

/// What Kubernetes and containerd's own clients write on the containers of a pod.
const KUBERNETES: &str = "io.kubernetes.cri.sandbox-id";
const GROUP: &str = "io.containerd.runc.v2.group";

/// A pod of so many containers; the first has the pod's name.
fn pod(containerd: &Containerd<'_>, annotation: &str, count: usize) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for _ in 0..count {
        let name = containerd.name();
        let mark = format!("{annotation}={}", names.first().unwrap_or(&name));
        let flags = ["--detach", "--annotation", &mark];
        let words = [
            "sh",
            "-c",
            "trap 'exit 5' TERM; while :; do sleep 0.05; done",
        ];
        containerd.run(&flags, &name, &words).run()?.ok()?;
        names.push(name);
    }
    Ok(names)
}

/// The shims that serve any of these containers.
fn shims(containerd: &Containerd<'_>, names: &[String]) -> Result<Vec<i32>> {
    let serves = |words: &str| names.iter().any(|name| words.contains(name.as_str()));
    let all = containerd.world().processes()?.into_iter();
    let shims = all.filter(|(_, words)| words.contains("containerd-shim") && serves(words));
    Ok(shims.map(|(pid, _)| pid).collect())
}

pub(crate) fn shares_one_shim_among_the_containers_of_a_pod(
    containerd: &Containerd<'_>,
) -> Result<()> {
    for annotation in [KUBERNETES, GROUP] {
        let names = pod(containerd, annotation, 4)?;
        assert_eq!(shims(containerd, &names)?.len(), 1, "{annotation}");
        let (first, rest) = names.split_first().context("no pod")?;
        let address = task::address(containerd.world(), first)?;
        for name in rest {
            assert_eq!(task::address(containerd.world(), name)?, address);
            let out = exec(containerd, &[], name, &["hostname"]).run()?;
            ensure!(out.code() == 0, "{out:?}");
        }
        // one ends by itself, one by force, the others do not notice
        let [_, by_itself, by_force, last] = names.as_slice() else {
            anyhow::bail!("not four");
        };
        containerd.ok(&["task", "kill", "-s", "SIGTERM", by_itself])?;
        containerd.wait_until(by_itself, "STOPPED")?;
        let removed = containerd.call(&["task", "rm", by_itself]).run()?;
        let told = removed.stderr();
        ensure!(
            told.contains("exit code 5") || removed.code() == 5,
            "{told}"
        );
        containerd.ok(&["container", "rm", by_itself])?;
        end(containerd, by_force)?;
        assert_eq!(containerd.status(last)?, "RUNNING");
        assert_eq!(shims(containerd, &names)?.len(), 1, "{annotation}");
        end(containerd, first)?;
        let out = exec(containerd, &[], last, &["echo", "still here"]).run()?;
        assert_eq!(out.ok()?, "still here\n");
        end(containerd, last)?;
        host::wait_for("the shim's end", || {
            shims(containerd, &names).is_ok_and(|all| all.is_empty())
        })?;
    }
    Ok(())
}

pub(crate) fn ends_a_pod_when_its_shim_is_killed(containerd: &Containerd<'_>) -> Result<()> {
    let names = pod(containerd, KUBERNETES, 3)?;
    super::trouble::kill(&shims(containerd, &names)?)?;
    for name in &names {
        host::wait_for("no task", || {
            let status = containerd.status(name);
            status.is_ok_and(|now| now.is_empty() || now == "UNKNOWN")
        })?;
        containerd.call(&["task", "rm", "--force", name]).run()?;
        containerd.ok(&["container", "rm", name])?;
    }
    Ok(())
}
