//! What the container sees below `/`: mounts, devices, and what is hidden or read-only.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use hostrun_integration::runtime::Call;
use hostrun_integration::{Stage, on_stage};
use serde_json::json;

fn shell(stage: &Stage, script: &str) -> Result<String> {
    stage.run(&stage.bundle()?.shell(script))?.ok()
}

/// A folder of the machine that is a shared mount of its own, gone with the value.
struct SharedMount<'a>(&'a Path);

impl<'a> SharedMount<'a> {
    fn new(dir: &'a Path) -> Result<Self> {
        let path = dir.to_string_lossy();
        for words in [
            ["--bind", &path, &path].as_slice(),
            &["--make-shared", &path],
        ] {
            Call::new(Path::new("mount"), words).run()?.ok()?;
        }
        Ok(Self(dir))
    }
}

impl Drop for SharedMount<'_> {
    fn drop(&mut self) {
        let words = ["--recursive", "--lazy", &self.0.to_string_lossy()].map(str::to_owned);
        drop(Call::new(Path::new("umount"), words).run());
    }
}

#[test]
fn the_default_mounts_are_there_with_their_options() -> Result<()> {
    on_stage(|stage| {
        let table = shell(stage, "cat /proc/self/mounts")?;
        for (target, kind, options) in [
            ("/proc", "proc", "rw"),
            ("/dev", "tmpfs", "rw,nosuid,size=65536k,mode=755"),
            (
                "/dev/pts",
                "devpts",
                "nosuid,noexec,gid=5,mode=620,ptmxmode=666",
            ),
            ("/dev/shm", "tmpfs", "nosuid,nodev,noexec,size=65536k"),
            ("/dev/mqueue", "mqueue", "nosuid,nodev,noexec"),
            ("/sys", "sysfs", "ro,nosuid,nodev,noexec"),
            ("/sys/fs/cgroup", "cgroup2", "ro,nosuid,nodev,noexec"),
        ] {
            let mut found = table
                .lines()
                .map(|line| line.split(' ').collect::<Vec<_>>());
            let line = found
                .rfind(|line| line.get(1) == Some(&target))
                .unwrap_or_default();
            assert_eq!(line.get(2), Some(&kind), "{target}: {table}");
            let has: Vec<&str> = line.get(3).unwrap_or(&"").split(',').collect();
            for option in options.split(',') {
                ensure!(has.contains(&option), "{target} lacks {option}: {has:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn the_machines_own_tree_is_out_of_reach() -> Result<()> {
    on_stage(|stage| {
        let table = shell(stage, "cat /proc/self/mountinfo; ls /..")?;
        let outside = stage.dir().to_string_lossy().into_owned();
        ensure!(
            !table
                .lines()
                .any(|line| line.split(' ').nth(4) == Some(&outside)),
            "{table}"
        );
        ensure!(
            !table.contains("oldroot") && !table.contains("put_old"),
            "{table}"
        );
        Ok(())
    })
}

#[test]
fn the_default_devices_are_there_and_work() -> Result<()> {
    on_stage(|stage| {
        let list = shell(
            stage,
            "for d in null zero full random urandom tty; do stat -c '%n %F %a %t,%T' /dev/$d; done
             head -c4 /dev/zero | wc -c; echo gone >/dev/null; head -c3 /dev/urandom | wc -c
             for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done",
        )?;
        let all = [
            ("null", 3),
            ("zero", 5),
            ("full", 7),
            ("random", 8),
            ("urandom", 9),
        ];
        let line = |(name, minor)| format!("/dev/{name} character special file 666 1,{minor}\n");
        let mut expected: String = all.into_iter().map(line).collect();
        expected += "/dev/tty character special file 666 5,0\n4\n3\n";
        expected += "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n";
        assert_eq!(list, expected);
        Ok(())
    })
}

#[test]
fn devices_asked_for_are_made_with_mode_and_owner() -> Result<()> {
    on_stage(|stage| {
        let device = json!([{"path": "/dev/mine", "type": "c", "major": 1, "minor": 5,
                             "fileMode": 0o640, "uid": 7, "gid": 8}]);
        let bundle = stage
            .bundle()?
            .set("/linux/devices", device)
            .set(
                "/linux/resources/devices/-",
                json!({"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"}),
            )
            .shell("stat -c '%F %a %u %g %t,%T' /dev/mine; head -c2 /dev/mine | wc -c");
        assert_eq!(
            stage.run(&bundle)?.ok()?,
            "character special file 640 7 8 1,5\n2\n"
        );
        Ok(())
    })
}

#[test]
fn a_device_that_is_not_allowed_cannot_be_opened() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .capabilities(&["CAP_MKNOD", "CAP_DAC_OVERRIDE"])
            .shell("mknod /tmp/kmsg c 1 11; head -c1 /tmp/kmsg; echo opened $?; head -c1 /dev/zero | wc -c");
        let out = stage.run(&bundle)?;
        ensure!(out.stdout().ends_with("opened 1\n1\n"), "{}", out.stdout());
        ensure!(out.stderr().contains("not permitted"), "{}", out.stderr());
        Ok(())
    })
}

#[test]
fn a_read_only_root_refuses_writes_and_keeps_its_mounts_writable() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set("/root/readonly", json!(true))
            .shell("touch /new 2>/dev/null; echo $?; touch /dev/shm/new && echo written");
        assert_eq!(stage.run(&bundle)?.ok()?, "1\nwritten\n");
        Ok(())
    })
}

#[test]
fn masked_paths_show_nothing() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .set("/linux/maskedPaths", json!(["/proc/cpuinfo", "/proc/tty", "/proc/not-there"]))
            .shell("wc -c </proc/cpuinfo; ls -A /proc/tty | wc -l; (echo >>/proc/tty/x) 2>&1 | grep -o 'Read.*'");
        assert_eq!(stage.run(&bundle)?.ok()?, "0\n0\nRead-only file system\n");
        Ok(())
    })
}

#[test]
fn read_only_paths_refuse_writes_even_to_root() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"])
            .shell(
                "for f in /proc/sys/kernel/msgmax /proc/irq/default_smp_affinity; do
                 (echo 1 >$f) 2>&1 | grep -o 'Read-only.*'; done",
            );
        assert_eq!(
            stage.run(&bundle)?.ok()?,
            "Read-only file system\nRead-only file system\n"
        );
        Ok(())
    })
}

#[test]
fn tmpfs_has_the_size_and_mode_asked_for() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .mount("/scratch", "tmpfs", "tmpfs", &["size=1m", "mode=0750", "nosuid"])
            .shell("stat -c %a /scratch; dd if=/dev/zero of=/scratch/f bs=1k count=2000 2>/dev/null; echo $?; stat -c %s /scratch/f");
        assert_eq!(stage.run(&bundle)?.ok()?, "750\n1\n1048576\n");
        Ok(())
    })
}

#[test]
fn mounts_are_made_in_the_order_of_the_list() -> Result<()> {
    on_stage(|stage| {
        let volume = stage.folder("volume")?;
        fs::write(volume.join("file"), "")?;
        let (outer, inner) = (("/a", "tmpfs"), ("/a/b", "bind"));
        for (list, seen) in [([outer, inner], "file\n"), ([inner, outer], "")] {
            let mut bundle = stage.bundle()?.shell("ls /a/b 2>/dev/null; true");
            for (target, kind) in list {
                bundle = bundle.mount(
                    target,
                    kind,
                    &volume.to_string_lossy(),
                    &["rbind"][..usize::from(kind == "bind")],
                );
            }
            assert_eq!(stage.run(&bundle)?.ok()?, seen, "{list:?}");
        }
        Ok(())
    })
}

#[test]
fn a_bind_mount_shows_the_machines_folder_and_ro_protects_it() -> Result<()> {
    on_stage(|stage| {
        let shared = stage.folder("shared")?;
        fs::write(shared.join("hello"), "from outside\n")?;
        let bundle = stage
            .bundle()?
            .bind(&shared, "/rw", &["rbind", "rw"])
            .bind(&shared, "/ro", &["bind", "ro"])
            .bind(&shared.join("hello"), "/one/file", &["bind"])
            .shell(
                "cat /ro/hello /one/file; echo back >/rw/back; touch /ro/no 2>/dev/null; echo $?",
            );
        assert_eq!(stage.run(&bundle)?.ok()?, "from outside\nfrom outside\n1\n");
        assert_eq!(fs::read_to_string(shared.join("back"))?, "back\n");
        Ok(())
    })
}

#[test]
fn bind_takes_one_mount_and_rbind_all_below() -> Result<()> {
    on_stage(|stage| {
        let outer = stage.folder("outer")?;
        let held = SharedMount::new(&outer)?;
        fs::create_dir(outer.join("inner"))?;
        let inner = outer.join("inner").to_string_lossy().into_owned();
        Call::new(Path::new("mount"), ["-t", "tmpfs", "tmpfs", &inner])
            .run()?
            .ok()?;
        fs::write(outer.join("inner/deep"), "x")?;
        for (option, seen) in [("bind", "0\n"), ("rbind", "1\n")] {
            let bundle = stage
                .bundle()?
                .bind(&outer, "/v", &[option])
                .shell("ls /v/inner | wc -l");
            assert_eq!(stage.run(&bundle)?.ok()?, seen, "{option}");
        }
        drop(held);
        Ok(())
    })
}

#[test]
fn recursive_read_only_reaches_the_mounts_below() -> Result<()> {
    on_stage(|stage| {
        let outer = stage.folder("outer")?;
        let held = SharedMount::new(&outer)?;
        fs::create_dir(outer.join("inner"))?;
        let inner = outer.join("inner").to_string_lossy().into_owned();
        Call::new(Path::new("mount"), ["-t", "tmpfs", "tmpfs", &inner])
            .run()?
            .ok()?;
        for (options, refused) in [(["rbind", "ro"], "0\n"), (["rbind", "rro"], "1\n")] {
            let bundle = stage
                .bundle()?
                .bind(&outer, "/v", &options)
                .shell("touch /v/inner/file 2>/dev/null; echo $?");
            assert_eq!(stage.run(&bundle)?.ok()?, refused, "{options:?}");
        }
        drop(held);
        Ok(())
    })
}

#[test]
fn mounts_inside_do_not_spread_unless_the_bind_is_shared() -> Result<()> {
    on_stage(|stage| {
        let shared = stage.folder("shared")?;
        fs::create_dir(shared.join("point"))?;
        let held = SharedMount::new(&shared)?;
        let target = format!("{}/point ", shared.display());
        for (root, option, spreads) in [
            ("rslave", "rprivate", false),
            ("rslave", "rslave", false),
            ("rshared", "rshared", true),
        ] {
            let bundle = stage
                .bundle()?
                .set("/linux/rootfsPropagation", json!(root))
                .capabilities(&["CAP_SYS_ADMIN"])
                .bind(&shared, "/v", &["rbind", option])
                .shell("mount -t tmpfs tmpfs /v/point && echo mounted");
            assert_eq!(stage.run(&bundle)?.ok()?, "mounted\n");
            let table = stage.mounts()?;
            let seen = table.iter().any(|line| line.contains(&target));
            assert_eq!(seen, spreads, "{option}");
        }
        drop(held);
        Ok(())
    })
}

#[test]
fn a_mount_of_the_machine_reaches_a_slave_bind() -> Result<()> {
    on_stage(|stage| {
        let shared = stage.folder("shared")?;
        fs::create_dir(shared.join("point"))?;
        let held = SharedMount::new(&shared)?;
        let bundle = stage
            .bundle()?
            .set("/linux/rootfsPropagation", json!("rslave"))
            .bind(&shared, "/v", &["rbind", "rslave"])
            .shell("echo ready; while [ ! -e /v/point/late ]; do sleep 0.05; done; echo seen");
        let mut run = stage.run_call(&bundle)?.spawn()?;
        run.wait_for("ready")?;
        let point = shared.join("point").to_string_lossy().into_owned();
        Call::new(Path::new("mount"), ["-t", "tmpfs", "tmpfs", &point])
            .run()?
            .ok()?;
        fs::write(shared.join("point/late"), "")?;
        run.wait_for("seen")?;
        assert_eq!(run.wait()?.code(), 0);
        drop(held);
        Ok(())
    })
}

#[test]
fn a_host_mount_point_inside_a_private_root_does_not_spread_out() -> Result<()> {
    on_stage(|stage| {
        let before = stage.mounts()?;
        let bundle = stage
            .bundle()?
            .mount("/a", "tmpfs", "tmpfs", &[])
            .shell("echo ready; cat");
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mut run = stage.run_call(&bundle)?.stdin(read).spawn()?;
        run.wait_for("ready")?;
        let during = stage.mounts()?;
        let new: Vec<_> = during
            .iter()
            .filter(|line| !before.contains(line) && line.contains(&stage.cgroup()[1..]))
            .collect();
        ensure!(
            new.is_empty(),
            "the machine sees mounts of the container: {new:?}"
        );
        drop(write);
        run.wait()?;
        Ok(())
    })
}
