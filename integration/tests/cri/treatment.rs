//! What a container may do and see.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::client::Cri;
use hostrun_integration::client::cri::message::{
    Capabilities, ContainerConfig, Device, Namespaces, Number, Profile, Security, of,
};
use hostrun_integration::oracle::{Facts, same};

use super::{STAYS, plain, usual};

/// What a process can see of itself and its container.
const FACTS: &str = include_str!("../facts.sh");

/// The lines of `/proc/self/status` with these names.
fn status(cri: &Cri<'_>, names: &str, change: fn(&mut Security)) -> Result<Vec<String>> {
    let pod = cri.pod(plain)?;
    let script = format!("grep -E '^({names}):' /proc/self/status");
    let told = pod.told(&script, |_, security| change(security))?;
    pod.remove()?;
    let lines = told.lines();
    let value = |line: &str| {
        line.split_once(':')
            .map(|(_, value)| value.trim().to_owned())
    };
    Ok(lines.filter_map(value).collect())
}

/// The facts of a container, as far as they are not another container's alone.
fn facts(cri: &Cri<'_>, network: i32) -> Result<Facts> {
    let pod = cri.pod(|config, security| {
        // the machine's name is nobody's to change
        if network == of::POD {
            "facts".clone_into(&mut config.hostname);
        }
        security.namespaces = Some(Namespaces {
            network,
            pid: of::CONTAINER,
            ..Namespaces::default()
        });
    })?;
    let container = pod.start(FACTS, usual)?;
    assert_eq!(container.wait()?.exit_code, 0);
    let address = pod.status()?.network.unwrap_or_default().address;
    let told = container.wrote()?;
    let told = told.replace(&pod.id, "POD");
    let told = told.replace(&container.id, "CONTAINER");
    pod.remove()?;
    let lines = told.lines().filter_map(|line| line.split_once('\t'));
    let own = |key: &str, value: &str| {
        let names = ["namespace ", "net", "in /", "mount /\0", "sockets "];
        // pods that come and go change the machine's
        let names = names
            .iter()
            .chain((network == of::NODE).then_some(&"sysctl net/"));
        let key = format!("{key}\0");
        // runc 1.1 leaves the flags of a mount that it is to bind `rw`; from 1.2 on it sets all of them, as we do
        key == "mount /dev/shm\0"
            // they are the caller's; of those that libcs keep a runtime in Go resets others than one in Rust
            || key == "status SigIgn\0"
            || names.copied().any(|name| key.starts_with(name))
            || (!address.is_empty() && value.contains(&address))
    };
    let lines = lines.filter(|(key, value)| !own(key, value));
    let lines = lines.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Ok(lines.collect())
}

pub(crate) fn is_treated_as_under_runc(cri: &Cri<'_>) -> Result<()> {
    for network in [of::NODE, of::POD] {
        let found = facts(cri, network)?;
        ensure!(found.len() > 60, "only {} facts", found.len());
        let kept = cri.world().dir().join(format!("facts-{network}"));
        if cri.journal().is_shim() {
            let theirs = serde_json::from_slice(&fs::read(&kept)?)?;
            same(&found, &theirs)?;
        } else {
            fs::write(&kept, serde_json::to_vec(&found)?)?;
        }
    }
    Ok(())
}

pub(crate) fn is_the_user_it_shall_be(cri: &Cri<'_>) -> Result<()> {
    let as_user = |security: &mut Security| {
        security.user = Some(Number { value: 1000 });
        security.group = Some(Number { value: 3000 });
        security.groups = vec![4000, 5000];
    };
    let told = status(cri, "Uid|Gid|Groups|CapEff", as_user)?;
    let ids = |id: &str| [id; 4].join("\t");
    let [uid, gid, groups, capabilities] = &told[..] else {
        anyhow::bail!("{told:?}");
    };
    assert_eq!((uid, gid), (&ids("1000"), &ids("3000")));
    let groups: Vec<&str> = groups.split_whitespace().collect();
    ensure!(groups.contains(&"4000") && groups.contains(&"5000"));
    assert_eq!(capabilities, "0000000000000000");
    let by_name = |security: &mut Security| "user".clone_into(&mut security.user_name);
    assert_eq!(status(cri, "Uid", by_name)?, [ids("1000")]);
    Ok(())
}

pub(crate) fn has_the_capabilities_it_shall_have(cri: &Cri<'_>) -> Result<()> {
    let only = |security: &mut Security| {
        security.capabilities = Some(Capabilities {
            add: vec!["NET_BIND_SERVICE".to_owned()],
            drop: vec!["ALL".to_owned()],
        });
    };
    let one = "0000000000000400".to_owned();
    let told = status(cri, "CapPrm|CapEff|CapBnd", only)?;
    assert_eq!(told, [one.clone(), one.clone(), one]);
    let without = |security: &mut Security| {
        security.capabilities = Some(Capabilities {
            add: vec!["NET_ADMIN".to_owned()],
            drop: vec!["CHOWN".to_owned()],
        });
    };
    let told = status(cri, "CapEff", without)?;
    let set = u64::from_str_radix(told.first().context("no set")?, 16)?;
    assert_eq!((set & 1, set & 1 << 12), (0, 1 << 12), "{set:x}");
    Ok(())
}

pub(crate) fn has_the_filter_the_daemon_makes(cri: &Cri<'_>) -> Result<()> {
    let names = "NoNewPrivs|Seccomp";
    assert_eq!(status(cri, names, |_| ())?, ["0", "0"]);
    let usual = |security: &mut Security| {
        security.seccomp = Some(Profile::default());
        security.no_new_privileges = true;
    };
    assert_eq!(status(cri, names, usual)?, ["1", "2"]);
    let pod = cri.pod(plain)?;
    let script = "unshare -U true 2>&1 || echo refused";
    let told = pod.told(script, |_, security| {
        security.seccomp = Some(Profile::default());
    })?;
    ensure!(told.ends_with("refused\n"), "{told}");

    let file = cri.world().dir().join(format!("filter-{}", pod.id));
    let filter = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122}]}"#;
    fs::write(&file, filter)?;
    let told = pod.told("mkdir /tmp/x 2>&1 || echo refused", |_, security| {
        security.seccomp = Some(Profile {
            kind: 2,
            file: format!("localhost/{}", file.display()),
        });
    });
    // from 1.6 to 2.x the file's name has lost its first part
    let told = told.or_else(|_| {
        pod.told("mkdir /tmp/x 2>&1 || echo refused", |_, security| {
            security.seccomp = Some(Profile {
                kind: 2,
                file: file.to_string_lossy().into_owned(),
            });
        })
    })?;
    ensure!(told.contains("uota exceeded"), "{told}");
    pod.remove()
}

pub(crate) fn has_what_of_its_files_is_closed_closed(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let script = "touch /new; touch /tmp/new && echo scratch; cat /proc/version | wc -c; \
        echo 1 >/proc/sys/kernel/shm_rmid_forced; touch /dev/shm/new && echo shared";
    let script = format!("({script}) 2>&1");
    let scratch = cri.world().dir().join(format!("scratch-{}", pod.id));
    fs::create_dir(&scratch)?;
    let closed = |config: &mut ContainerConfig, security: &mut Security| {
        security.readonly = true;
        security.masked = vec!["/proc/version".to_owned(), "/not/there".to_owned()];
        security.read_only_paths = vec!["/proc/sys".to_owned()];
        config
            .mounts
            .push(hostrun_integration::client::cri::message::Mount {
                container: "/tmp".to_owned(),
                host: scratch.to_string_lossy().into_owned(),
                ..Default::default()
            });
    };
    let told = pod.told(&script, closed)?;
    ensure!(told.contains("Read-only file system\nscratch\n"), "{told}");
    ensure!(told.contains("scratch\n0\n"), "{told}");
    ensure!(told.ends_with("shared\n"), "{told}");
    ensure!(told.matches("Read-only file system").count() == 2, "{told}");
    pod.remove()
}

pub(crate) fn has_devices_of_the_machine(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(plain)?;
    let script = "stat -c %F /dev/mine; (: </dev/mine) && echo read; (: >/dev/mine) || echo no write; \
        mknod /tmp/kmsg c 1 11; (: </tmp/kmsg) || echo no kmsg";
    let told = pod.told(&format!("({script}) 2>/dev/null"), |config, _| {
        config.devices.push(Device {
            container: "/dev/mine".to_owned(),
            host: "/dev/fuse".to_owned(),
            permissions: "r".to_owned(),
        });
    })?;
    assert_eq!(told, "character special file\nread\nno write\nno kmsg\n");
    pod.remove()
}

pub(crate) fn may_all_when_privileged(cri: &Cri<'_>) -> Result<()> {
    let pod = cri.pod(|_, security| security.privileged = true)?;
    let container = pod.start(STAYS, |_, security| security.privileged = true)?;
    let own = "grep CapEff /proc/self/status";
    let all = cri.world().call(["sh", "-c", own]).run()?.ok()?;
    assert_eq!(container.shell(own)?, all);
    container.shell("mkdir /tmp/x && mount -t tmpfs tmpfs /tmp/x && umount /tmp/x")?;
    container
        .shell("mknod /tmp/full c 1 7 && ! echo x >/tmp/full && head -c 1 /tmp/full >/dev/null")?;
    container
        .shell("echo 0 >/proc/sys/kernel/shm_rmid_forced && test -e /dev/fuse -o -e /dev/full")?;
    pod.remove()
}
