//! Every namespace: made anew, joined by path, or shared with the machine.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::namespace::{self, Held};
use hostrun_integration::runtime::Call;
use hostrun_integration::{Bundle, Stage, on_stage, on_stage_of_hostrun};
use serde_json::json;

/// The identity of the container's namespace as its own process sees it.
fn inside(stage: &Stage, bundle: Bundle, kind: &str) -> Result<String> {
    let out = stage.run(&bundle.shell(&format!("readlink /proc/self/ns/{kind}")))?;
    Ok(out.ok()?.trim().to_owned())
}

/// Makes a tree belong to the first user of the mappings below.
fn give_away(root: &Path) -> Result<()> {
    let words = [Path::new("-R"), Path::new("100000:100000"), root];
    Call::new(Path::new("chown"), words).run()?.ok().map(drop)
}

#[test]
fn every_namespace_is_new_by_default() -> Result<()> {
    on_stage(|stage| {
        for kind in ["pid", "mnt", "ipc", "uts", "net", "cgroup"] {
            let seen = inside(stage, stage.bundle()?, kind)?;
            ensure!(seen != namespace::own(kind)?, "{kind} is the machine's");
        }
        Ok(())
    })
}

#[test]
fn a_namespace_left_out_is_shared_with_the_machine() -> Result<()> {
    on_stage(|stage| {
        for (kind, file) in [
            ("ipc", "ipc"),
            ("network", "net"),
            ("cgroup", "cgroup"),
            ("pid", "pid"),
        ] {
            let mut bundle = stage.bundle()?.without_namespace(kind);
            if kind == "network" {
                // a new sysfs shows the network of its maker, which may not be the machine's
                bundle = bundle.without_mount("/sys").without_mount("/sys/fs/cgroup");
            }
            assert_eq!(
                inside(stage, bundle, file)?,
                namespace::own(file)?,
                "{kind}"
            );
        }
        Ok(())
    })
}

#[test]
fn namespaces_are_joined_by_path() -> Result<()> {
    on_stage(|stage| {
        for (kind, option, file) in [
            ("network", "--net", "net"),
            ("ipc", "--ipc", "ipc"),
            ("uts", "--uts", "uts"),
            ("cgroup", "--cgroup", "cgroup"),
        ] {
            let held = Held::new(&[option], file)?;
            let bundle = stage
                .bundle()?
                .namespace(kind, Some(held.path()))
                .unset("/hostname");
            assert_eq!(inside(stage, bundle, file)?, held.identity()?, "{kind}");
        }
        Ok(())
    })
}

#[test]
fn a_pid_namespace_is_joined_by_path() -> Result<()> {
    on_stage(|stage| {
        let held = Held::new(&["--pid", "--fork", "--kill-child"], "pid_for_children")?;
        let bundle = stage.bundle()?.namespace("pid", Some(held.path()));
        assert_eq!(inside(stage, bundle, "pid")?, held.identity()?);
        Ok(())
    })
}

#[test]
fn a_pid_namespace_whose_first_process_has_ended_is_said_to_be_dead() -> Result<()> {
    on_stage(|stage| {
        let first = stage.start(&stage.bundle()?.shell("sleep 600"))?;
        let dead = fs::File::open(format!("/proc/{}/ns/pid", first.pid()?))?;
        first.delete()?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), dead.as_raw_fd());
        let bundle = stage.bundle()?.namespace("pid", Some(Path::new(&path)));
        let out = stage.run(&bundle)?;
        ensure!(out.code() != 0, "nobody can be born in there");
        ensure!(
            stage.runtime().is_runc()
                || out
                    .stderr()
                    .contains("the first process of the joined pid namespace has ended"),
            "{}",
            out.stderr()
        );
        Ok(())
    })
}

#[test]
fn the_payload_is_process_one() -> Result<()> {
    on_stage(|stage| {
        let out = stage.run(&stage.bundle()?.shell("echo $$; ls -d /proc/[0-9]*; true"))?;
        assert_eq!(out.ok()?, "1\n/proc/1\n");
        Ok(())
    })
}

#[test]
fn a_new_network_has_only_a_loopback_that_is_up() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .shell("ls /sys/class/net; ip -o addr; ping -c1 -w5 127.0.0.1");
        let text = stage.run(&bundle.capabilities(&["CAP_NET_RAW"]))?.ok()?;
        ensure!(text.starts_with("lo\n"), "{text}");
        ensure!(text.contains("inet 127.0.0.1/8"), "{text}");
        ensure!(text.contains("1 packets received"), "{text}");
        Ok(())
    })
}

#[test]
fn user_namespace_maps_root_to_an_ordinary_user() -> Result<()> {
    on_stage(|stage| {
        let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let mut bundle = stage
            .bundle()?
            .namespace("user", None)
            .set("/linux/uidMappings", mapping.clone())
            .set("/linux/gidMappings", mapping)
            .shell("readlink /proc/self/ns/user; cat /proc/self/uid_map; id -u; touch /tmp/mine");
        bundle = bundle.without_mount("/sys/fs/cgroup");
        give_away(&bundle.rootfs())?;
        let text = stage.run(&bundle)?.ok()?;
        let lines: Vec<&str> = text.lines().collect();
        ensure!(
            lines.first() != Some(&namespace::own("user")?.as_str()),
            "{text}"
        );
        let map: Vec<&str> = lines.get(1).unwrap_or(&"").split_whitespace().collect();
        assert_eq!(map, ["0", "100000", "65536"]);
        assert_eq!(lines.get(2), Some(&"0"));
        let made = fs::metadata(bundle.rootfs().join("tmp/mine"))?;
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 100_000);
        Ok(())
    })
}

#[test]
fn a_user_namespace_without_maps_has_the_caller_for_its_root() -> Result<()> {
    on_stage_of_hostrun("it is crun's way; runc refuses", |stage| {
        // the group of terminals is not mapped
        let bundle = stage
            .bundle()?
            .namespace("user", None)
            .without_mount("/dev/pts")
            .without_mount("/sys/fs/cgroup");
        let script = "cat /proc/self/uid_map /proc/self/gid_map; id -u; touch /tmp/mine";
        let text = stage.run(&bundle.shell(script))?.ok()?;
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words, ["0", "0", "1", "0", "0", "1", "0"]);
        let stranger = stage.bundle()?.namespace("user", None);
        let stranger = stranger.set("/process/user", json!({"uid": 7, "gid": 0}));
        let out = stage.run(&stranger)?;
        ensure!(
            out.stderr().contains("process.user.uid"),
            "{}",
            out.stderr()
        );
        Ok(())
    })
}

#[test]
fn a_user_namespace_is_joined_by_path() -> Result<()> {
    on_stage_of_hostrun(
        "runc 1.1 demands the mappings of a joined user namespace again",
        |stage| {
            let held = Held::new(&["--user"], "user")?;
            let process = held.path().ancestors().nth(2).context("no process")?;
            for map in ["uid_map", "gid_map"] {
                fs::write(process.join(map), "0 100000 65536\n")?;
            }
            let bundle = stage
                .bundle()?
                .namespace("user", Some(held.path()))
                .without_mount("/sys/fs/cgroup");
            give_away(&bundle.rootfs())?;
            assert_eq!(inside(stage, bundle, "user")?, held.identity()?);
            Ok(())
        },
    )
}

#[test]
fn time_namespace_has_its_offsets_before_the_payload_starts() -> Result<()> {
    on_stage_of_hostrun("time namespaces came with runc 1.2", |stage| {
        let bundle = stage
            .bundle()?
            .namespace("time", None)
            .set(
                "/linux/timeOffsets",
                json!({"boottime": {"secs": 1_000_000, "nanosecs": 0}}),
            )
            .shell("readlink /proc/self/ns/time; cut -d. -f1 /proc/uptime");
        let text = stage.run(&bundle)?.ok()?;
        let (identity, uptime) = text.trim().split_once('\n').unwrap_or_default();
        ensure!(identity != namespace::own("time")?, "{text}");
        ensure!(uptime.parse::<u64>()? >= 1_000_000, "{text}");
        Ok(())
    })
}

#[test]
fn a_time_namespace_is_joined_by_path() -> Result<()> {
    on_stage_of_hostrun("time namespaces came with runc 1.2", |stage| {
        let held = Held::new(&["--time", "--fork", "--kill-child"], "time_for_children")?;
        let bundle = stage.bundle()?.namespace("time", Some(held.path()));
        assert_eq!(inside(stage, bundle, "time")?, held.identity()?);
        Ok(())
    })
}

#[test]
fn hostname_is_the_containers_own() -> Result<()> {
    on_stage(|stage| {
        let out = stage.run(
            &stage
                .bundle()?
                .shell("hostname")
                .set("/hostname", json!("inner")),
        )?;
        assert_eq!(out.ok()?, "inner\n");
        let machine = fs::read_to_string("/proc/sys/kernel/hostname")?;
        ensure!(machine != "inner\n", "the machine's name was changed");
        Ok(())
    })
}

#[test]
fn domainname_is_set() -> Result<()> {
    on_stage_of_hostrun("domainname came with runc 1.2", |stage| {
        let bundle = stage.bundle()?.set("/domainname", json!("inner.example"));
        let out = stage.run(&bundle.shell("cat /proc/sys/kernel/domainname"))?;
        assert_eq!(out.ok()?, "inner.example\n");
        Ok(())
    })
}

#[test]
fn the_cgroup_namespace_has_the_containers_cgroup_as_its_root() -> Result<()> {
    on_stage(|stage| {
        let out = stage.run(
            &stage
                .bundle()?
                .shell("cat /proc/self/cgroup; ls /sys/fs/cgroup"),
        )?;
        let text = out.ok()?;
        ensure!(text.lines().any(|line| line == "0::/"), "{text}");
        ensure!(text.contains("cgroup.procs"), "{text}");
        Ok(())
    })
}

#[test]
fn sysctl_changes_the_container_and_not_the_machine() -> Result<()> {
    on_stage(|stage| {
        let before = fs::read_to_string("/proc/sys/kernel/msgmax")?;
        let bundle = stage
            .bundle()?
            .set(
                "/linux/sysctl",
                json!({"kernel.msgmax": "4242", "net.ipv4.ip_forward": "1"}),
            )
            .shell("cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward");
        assert_eq!(stage.run(&bundle)?.ok()?, "4242\n1\n");
        assert_eq!(fs::read_to_string("/proc/sys/kernel/msgmax")?, before);
        Ok(())
    })
}
