//! Pods where there is something to limit.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::client::Cri;
use hostrun_integration::client::cri::answer::{AboutUse, Empty, state};
use hostrun_integration::client::cri::message::{ContainerConfig, Resources, Update};
use hostrun_integration::host;

use super::{STAYS, plain, usual};

/// More than any limit here.
const HUNGRY: &str = "dd if=/dev/zero of=/dev/null bs=100M count=2";

fn limit(config: &mut ContainerConfig, resources: Resources) {
    if let Some(linux) = &mut config.linux {
        linux.resources = Some(resources);
    }
}

pub(crate) fn keeps_to_limits_that_change(cri: &Cri<'_>) -> Result<()> {
    let parent = format!("/pods/{}", cri.handler());
    let pod = cri.pod(|config, _| {
        if let Some(linux) = &mut config.linux {
            linux.cgroup.clone_from(&parent);
        }
    })?;
    let container = pod.start(STAYS, |config, _| {
        let resources = Resources {
            cpu_period: 100_000,
            cpu_quota: 20_000,
            cpu_shares: 512,
            memory: 64 << 20,
            ..Resources::default()
        };
        limit(config, resources);
    })?;
    let group = cri.world().path("/sys/fs/cgroup");
    let group = group.join(parent.trim_start_matches('/'));
    let has = |file: &str| -> Result<String> {
        let path = group.join(&container.id).join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(text.trim().to_owned())
    };
    assert_eq!(has("memory.max")?, "67108864");
    assert_eq!(has("cpu.max")?, "20000 100000");
    // runc before 1.3.2 has the first for 512 shares, all others the second
    let weight = has("cpu.weight")?;
    ensure!(["20", "59"].contains(&&*weight), "{weight}");

    let update = Update {
        id: container.id.clone(),
        resources: Some(Resources {
            cpu_period: 50_000,
            cpu_quota: 25_000,
            memory: 96 << 20,
            ..Resources::default()
        }),
    };
    cri.call::<Empty>("UpdateContainerResources", &update)?;
    assert_eq!(has("memory.max")?, "100663296");
    assert_eq!(has("cpu.max")?, "25000 50000");
    assert_eq!(has("cpu.weight")?, weight);
    assert_eq!(container.shell("echo here")?, "here\n");

    let about: AboutUse = cri.call("ContainerStats", &container.named())?;
    let stats = about.stats.context("no statistics")?;
    let memory = stats.memory.and_then(|memory| memory.working_set);
    ensure!(memory.is_some_and(|memory| memory.value > 0), "{stats:?}");
    pod.remove()?;
    fs::remove_dir(&group)?;
    // the other runtime's is beside it
    fs::remove_dir(group.with_file_name("")).or(Ok(()))
}

pub(crate) fn tells_that_memory_ran_out(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let container = pod.start(&format!("exec {HUNGRY}"), |config, _| {
        let resources = Resources {
            memory: 32 << 20,
            ..Resources::default()
        };
        limit(config, resources);
    })?;
    let status = container.wait()?;
    assert_eq!(status.exit_code, 137);
    // told by another way than the end, which may be faster
    host::wait_for("the reason", || {
        container
            .status()
            .is_ok_and(|status| status.reason == "OOMKilled")
    })?;
    assert_eq!(container.status()?.state, state::EXITED);
    let beside = pod.start("exit 3", usual)?;
    assert_eq!(beside.wait()?.reason, "Error");
    pod.remove()
}
