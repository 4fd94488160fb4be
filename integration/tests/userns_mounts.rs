//! Mounts of a container in a user namespace: what its root may not see of the host it cannot
//! uncover, and what the host restricts stays restricted.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Result, ensure};
use hostrun_integration::host::{Mounted, command};
use hostrun_integration::namespace::Held;
use hostrun_integration::refusal::refuse;
use hostrun_integration::{Bundle, Stage, on_stage, on_stage_of_hostrun};
use serde_json::json;

const RUNC_OF_OLD: &str = "runc 1.1 keeps or clears other flags of a bind than runc 1.2 does";

/// A bundle in a user namespace that reads a file of each of the binds at /v1, /v2 and so on.
fn mapped(stage: &Stage, script: &str) -> Result<Bundle> {
    stage.bundle()?.shell(script).mapped()
}

/// Options of the topmost mount at /v, as the container sees them.
fn options(stage: &Stage, bundle: Bundle) -> Result<Vec<String>> {
    let script = "awk '$2 == \"/v\" { print $4 }' /proc/self/mounts";
    let text = stage.run(&bundle.shell(script))?.ok()?;
    Ok(text.trim().split(',').map(str::to_owned).collect())
}

fn bind(stage: &Stage, mapped: bool, source: &Path, words: &[&str]) -> Result<Bundle> {
    let bundle = stage.bundle()?.bind(source, "/v", words);
    if mapped { bundle.mapped() } else { Ok(bundle) }
}

/// A tmpfs of the machine with exactly these flags.
fn restricted(stage: &Stage, name: &str, flags: &str) -> Result<Mounted> {
    let dir = stage.folder(name)?;
    let mounted = Mounted::tmpfs(
        &dir,
        &["-o", "rw,suid,dev,exec,diratime,strictatime,mode=755"],
    )?;
    let again = ["--bind", "-o", "remount,diratime,strictatime"];
    command("mount", again, [&dir])?;
    command(
        "mount",
        ["--bind", "-o", &format!("remount,{flags}")],
        [&dir],
    )?;
    Ok(mounted)
}

#[test]
fn binds_of_what_the_mapped_root_may_not_reach_work_and_are_seen_by_exec() -> Result<()> {
    on_stage(|stage| {
        let mut bundle = mapped(stage, "cat /v1/file /v2/file; sleep 60")?;
        for number in [1, 2] {
            let hidden = stage.folder(&format!("hidden{number}"))?;
            fs::create_dir(hidden.join("dir"))?;
            fs::write(hidden.join("dir/file"), format!("{number}\n"))?;
            fs::set_permissions(&hidden, fs::Permissions::from_mode(0o700))?;
            // not even its owner, who is nobody the container knows
            command("chown", ["7:7"], [&hidden])?;
            bundle = bundle.bind(&hidden.join("dir"), &format!("/v{number}"), &["bind"]);
        }
        let container = stage.start(&bundle)?;
        let seen = container.exec(&["cat", "/v1/file", "/v2/file"])?.ok()?;
        assert_eq!(seen, "1\n2\n");
        container.delete()
    })
}

#[test]
fn restrictions_of_the_host_cannot_be_lifted_from_inside() -> Result<()> {
    on_stage(|stage| {
        let source = restricted(stage, "ro", "ro,nosuid,nodev,noexec")?;
        let bundle = bind(stage, true, source.at(), &["bind"])?
            .capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"])
            .shell(
                "mount -o remount,bind,rw /v && echo lifted
                 mount -o remount,bind,ro,suid,exec /v && echo lifted
                 touch /v/file && echo written; true",
            );
        assert_eq!(stage.run(&bundle)?.stdout(), "");
        Ok(())
    })
}

#[test]
fn what_the_host_covers_cannot_be_uncovered_from_inside() -> Result<()> {
    on_stage(|stage| {
        let outer = stage.folder("outer")?;
        fs::create_dir(outer.join("secret"))?;
        fs::write(outer.join("secret/key"), "the machine's\n")?;
        let held = Mounted::again(&outer)?;
        let cover = Mounted::tmpfs(&outer.join("secret"), &[])?;
        let bundle = bind(stage, true, &outer, &["rbind"])?
            .capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"])
            .shell(
                "umount /v/secret; umount -l /v/secret; mkdir /tmp/b; mount --bind /v /tmp/b
                 cat /v/secret/key /tmp/b/secret/key; true",
            );
        let text = stage.run(&bundle)?.stdout();
        ensure!(!text.contains("the machine's"), "{text}");
        drop(cover);
        drop(held);
        Ok(())
    })
}

#[test]
fn a_read_only_mount_below_the_root_stays_read_only() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"])
            .shell("echo up; mount -o remount,bind,rw / && echo lifted; touch /new && echo written; true")
            .mapped()?;
        let held = Mounted::again(&bundle.rootfs())?;
        command("mount", ["-o", "remount,bind,ro"], [held.at()])?;
        assert_eq!(stage.run(&bundle)?.stdout(), "up\n");
        Ok(())
    })
}

#[test]
fn a_bare_bind_keeps_the_flags_of_its_source() -> Result<()> {
    on_stage_of_hostrun(RUNC_OF_OLD, |stage| {
        let source = restricted(stage, "source", "ro,noexec,nosymfollow,nodiratime")?;
        for mapped in [false, true] {
            let seen = options(stage, bind(stage, mapped, source.at(), &["bind"])?)?;
            for flag in ["ro", "noexec", "nosymfollow", "nodiratime"] {
                ensure!(
                    seen.contains(&flag.to_owned()),
                    "{flag}, {mapped}: {seen:?}"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn a_bind_that_names_a_flag_clears_the_others_but_for_locked_ones() -> Result<()> {
    on_stage_of_hostrun(RUNC_OF_OLD, |stage| {
        let source = restricted(stage, "source", "ro,noexec,nosymfollow,nodiratime")?;
        let has = |seen: &[String], flag: &str| seen.iter().any(|option| option == flag);
        let seen = options(stage, bind(stage, false, source.at(), &["bind", "dev"])?)?;
        for (flag, kept) in [
            ("ro", false),
            ("rw", true),
            ("noexec", false),
            ("nosymfollow", false),
            ("nodiratime", true),
        ] {
            assert_eq!(has(&seen, flag), kept, "{flag}: {seen:?}");
        }
        let seen = options(stage, bind(stage, true, source.at(), &["bind", "dev"])?)?;
        for (flag, kept) in [
            ("ro", true),
            ("noexec", true),
            ("nodiratime", true),
            ("nosymfollow", false),
        ] {
            assert_eq!(has(&seen, flag), kept, "locked {flag}: {seen:?}");
        }
        Ok(())
    })
}

#[test]
fn a_locked_flag_that_is_named_to_be_cleared_is_refused() -> Result<()> {
    on_stage_of_hostrun(RUNC_OF_OLD, |stage| {
        for (number, (flags, words)) in [
            ("ro", ["bind", "rw", "nosuid"]),
            ("nodev,nosuid,noatime", ["bind", "dev", "suid"]),
            ("relatime", ["bind", "strictatime", "nodev"]),
            ("noatime", ["bind", "relatime", "nodev"]),
            ("nodiratime", ["bind", "noatime", "nodev"]),
        ]
        .into_iter()
        .enumerate()
        {
            let source = restricted(stage, &format!("source{number}"), flags)?;
            let free = stage.run(&bind(stage, false, source.at(), &words)?)?;
            ensure!(free.code() == 0, "{flags}: {}", free.stderr());
            let out = stage.run(&bind(stage, true, source.at(), &words)?)?;
            let line = out.stderr();
            ensure!(out.code() != 0, "{flags} {words:?}: accepted");
            ensure!(line.contains("error mounting"), "{flags}: {line}");
            ensure!(line.contains("operation not permitted"), "{flags}: {line}");
        }
        Ok(())
    })
}

#[test]
fn access_times_are_those_named_or_those_of_the_source() -> Result<()> {
    on_stage_of_hostrun(RUNC_OF_OLD, |stage| {
        for (number, (flags, words, has, lacks)) in [
            ("noatime", "", "noatime", "relatime"),
            ("noatime", "norelatime", "noatime", "relatime"),
            ("noatime", "atime", "noatime", "relatime"),
            ("noatime", "relatime", "relatime", "noatime"),
            ("noatime", "nodiratime", "nodiratime", "noatime"),
            ("noatime", "nodiratime", "relatime", "noatime"),
            ("nodiratime", "strictatime", "rw", "nodiratime"),
            (
                "noatime",
                "nodiratime,strictatime",
                "nodiratime",
                "relatime",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let source = restricted(stage, &format!("source{number}"), flags)?;
            let mut all = vec!["bind"];
            all.extend(words.split(',').filter(|word| !word.is_empty()));
            let seen = options(stage, bind(stage, false, source.at(), &all)?)?;
            ensure!(seen.contains(&has.to_owned()), "{flags} {words}: {seen:?}");
            ensure!(
                !seen.contains(&lacks.to_owned()),
                "{flags} {words}: {seen:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn mounts_below_come_along_recursively() -> Result<()> {
    on_stage(|stage| {
        let outer = stage.folder("outer")?;
        let held = Mounted::again(&outer)?;
        fs::create_dir(outer.join("inner"))?;
        let inner = Mounted::tmpfs(&outer.join("inner"), &["-o", "mode=755"])?;
        fs::write(outer.join("inner/deep"), "deep\n")?;
        symlink("outer", stage.dir().join("link"))?;
        let bundle = mapped(stage, "cat /v/inner/deep")?.bind(
            &stage.dir().join("link"),
            "/v",
            &["rbind", "ro"],
        );
        assert_eq!(stage.run(&bundle)?.ok()?, "deep\n");
        drop(inner);
        drop(held);
        Ok(())
    })
}

#[test]
fn a_bind_that_would_leave_out_what_covers_files_is_refused() -> Result<()> {
    on_stage(|stage| {
        let outer = stage.folder("outer")?;
        let cover = Mounted::tmpfs(&stage.folder("outer/secret")?, &[])?;
        let bundle = bind(stage, true, &outer, &["bind"])?.shell("echo it ran");
        let line = refuse(stage, "mounts below", &bundle)?;
        ensure!(
            stage.runtime().is_runc() || line.contains("use rbind"),
            "{line}"
        );
        drop(cover);
        Ok(())
    })
}

#[test]
fn devices_are_the_machines_own() -> Result<()> {
    on_stage(|stage| {
        let script = "for d in null zero full random urandom tty; do stat -c %t,%T /dev/$d; done
            echo x >/dev/null; head -c3 /dev/zero | wc -c; mknod /tmp/n c 1 3 2>/dev/null || echo no";
        let text = stage.run(&mapped(stage, script)?)?.ok()?;
        assert_eq!(text, "1,3\n1,5\n1,7\n1,8\n1,9\n5,0\n3\nno\n");
        Ok(())
    })
}

/// A device of the machine that is not called so there.
fn odd(stage: &Stage, path: &str) -> Result<Bundle> {
    let device = json!({"path": path, "type": "c", "major": 1, "minor": 5,
        "fileMode": 0o157, "uid": 10, "gid": 11});
    Ok(stage.bundle()?.set("/linux/devices", json!([device])).set(
        "/linux/resources/devices/-",
        json!({"allow": true, "access": "rwm"}),
    ))
}

#[test]
fn a_device_is_exactly_the_one_described() -> Result<()> {
    on_stage_of_hostrun("runc binds the machine's device of that name", |stage| {
        let script = "stat -c '%F %t,%T %a %u:%g' /dev/odd /dev/deep/odd; head -c2 /dev/odd | wc -c
            mount | grep -c /tmp/; ls /dev/odd/.. 2>/dev/null; rm /dev/odd 2>/dev/null || echo held";
        let expected = "character special file 1,5 157 10:11\n".repeat(2) + "2\n0\nheld\n";
        let bundle = odd(stage, "/dev/odd")?.shell(script);
        let deep = json!({"path": "/dev/deep/odd", "type": "c", "major": 1, "minor": 5,
            "fileMode": 0o157, "uid": 10, "gid": 11});
        let bundle = bundle.set("/linux/devices/-", deep).mapped()?;
        assert_eq!(stage.run(&bundle)?.ok()?, expected);
        Ok(())
    })
}

#[test]
fn a_device_covers_a_file_of_the_image_and_what_is_not_allowed_stays_closed() -> Result<()> {
    on_stage_of_hostrun("runc binds the machine's device of that name", |stage| {
        // kept for experiments: no driver answers for it
        let device = json!([{"path": "/var/odd", "type": "c", "major": 240, "minor": 77}]);
        let closed = json!([{"allow": false, "access": "rwm"}]);
        let open = json!([{"allow": true, "access": "rwm"}]);
        for (rules, answer) in [
            (closed, "Operation not permitted"),
            (open, "No such device or address"),
        ] {
            let bundle = odd(stage, "/var/odd")?
                .file("/var/odd", 0o644, b"a file\n")?
                .set("/linux/devices", device.clone())
                .set("/linux/resources/devices", rules)
                .shell("stat -c %t,%T /var/odd; cat /var/odd")
                .mapped()?;
            let out = stage.run(&bundle)?;
            assert_eq!(out.stdout(), "f0,4d\n");
            ensure!(out.stderr().contains(answer), "{}", out.stderr());
        }
        Ok(())
    })
}

#[test]
fn sysfs_is_the_machines_where_the_network_is() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 fails to mount one", |stage| {
        let bundle = mapped(
            stage,
            "ls -d /sys/kernel; awk '$2 == \"/sys\" {print $3, $4}' /proc/mounts",
        )?
        .without_namespace("network");
        let text = stage.run(&bundle)?.ok()?;
        ensure!(text.starts_with("/sys/kernel\nsysfs ro,"), "{text}");
        Ok(())
    })
}

#[test]
fn a_joined_user_namespace_binds_and_keeps_restrictions() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 demands the mappings again", |stage| {
        let held = Held::new(&["--user"], "user")?;
        let process = held.path().parent().and_then(Path::parent);
        for map in ["uid_map", "gid_map"] {
            let file = process.map(|process| process.join(map)).unwrap_or_default();
            fs::write(file, "0 100000 65536\n")?;
        }
        let source = restricted(stage, "source", "ro")?;
        let bundle = stage
            .bundle()?
            .namespace("user", Some(held.path()))
            .without_mount("/sys/fs/cgroup")
            .bind(source.at(), "/v", &["bind"])
            .capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"])
            .shell("mount -o remount,bind,rw /v 2>/dev/null || echo locked");
        bundle.give_away()?;
        assert_eq!(stage.run(&bundle)?.ok()?, "locked\n");
        Ok(())
    })
}

#[test]
fn mappings_that_differ_per_mount_are_refused_when_half_is_missing() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 has no idmapped mounts of its own", |stage| {
        let half = json!([{"containerID": 0, "hostID": 100_000, "size": 1}]);
        for (json_path, value) in [
            ("uidMappings", json!({"uidMappings": half})),
            ("gidMappings", json!({"gidMappings": half})),
        ] {
            let mut mount = value;
            mount["destination"] = json!("/v");
            mount["source"] = json!("/etc");
            mount["options"] = json!(["bind"]);
            let out = stage.run(&stage.bundle()?.set("/mounts/-", mount))?;
            ensure!(out.code() != 0, "{json_path} alone: accepted");
            ensure!(out.stderr().contains("invalid mount"), "{}", out.stderr());
        }
        Ok(())
    })
}

#[test]
fn cve_2019_16884_a_device_over_a_file_of_the_procfs_is_refused() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 binds it there", |stage| {
        // in a user namespace nodes are mounts; through a link of the image one would cover a file of the procfs
        let nodes = stage.folder("nodes")?;
        let node = nodes.join("loadavg");
        command("mknod", [node.as_path()], ["c", "1", "3"])?;
        let bundle = mapped(stage, "cat /proc/loadavg")?;
        let inside = bundle.rootfs().join(nodes.strip_prefix("/")?);
        fs::create_dir_all(inside.parent().unwrap_or(&inside))?;
        symlink("/proc", &inside)?;
        let device = json!([{"path": node, "type": "c", "major": 1, "minor": 3}]);
        let line = refuse(
            stage,
            "a node over a file of the procfs",
            &bundle.set("/linux/devices", device),
        )?;
        ensure!(line.contains("operation not permitted"), "{line}");
        ensure!(line.contains("loadavg"), "not named: {line}");
        Ok(())
    })
}
