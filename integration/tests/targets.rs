//! Where mounts go: links, missing folders, the root itself; and what they begin with.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Result, ensure};
use hostrun_integration::host::{self, Mounted, tree_digest};
use hostrun_integration::refusal::{loud, refuse};
use hostrun_integration::{Bundle, Stage, on_stage, on_stage_of_hostrun};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

#[test]
fn links_that_lead_nowhere_lead_inside_the_root() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 makes the target in another way", |stage| {
        let file = stage.dir().join("file");
        fs::write(&file, "bound\n")?;
        for (number, (links, target, real)) in [
            (
                &[("etc/hosts", "/tmp/hosts")][..],
                "/etc/hosts",
                "/tmp/hosts",
            ),
            (
                &[("jump", "/tmp/foo/bar"), ("etc/hosts", "/jump/baz/hosts")],
                "/etc/hosts",
                "/tmp/foo/bar/baz/hosts",
            ),
            (&[("etc/up", "../../../../tmp/x")], "/etc/up/y", "/tmp/x/y"),
            (&[("a", "b/"), ("b", "./etc//new")], "/a/z", "/etc/new/z"),
        ]
        .into_iter()
        .enumerate()
        {
            let bundle = stage.bundle()?.bind(&file, target, &["bind"]);
            for (name, text) in links {
                symlink(text, bundle.rootfs().join(name))?;
            }
            let script = format!("cat {target}; grep -c ' {real} ' /proc/self/mountinfo");
            assert_eq!(
                stage.run(&bundle.shell(&script))?.ok()?,
                "bound\n1\n",
                "{number}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_link_that_leads_to_itself_is_an_error_and_not_a_loop() -> Result<()> {
    on_stage_of_hostrun("runc's words differ", |stage| {
        let bundle = loud(stage)?.mount("/a/b", "tmpfs", "tmpfs", &[]);
        symlink("b", bundle.rootfs().join("a"))?;
        symlink("a", bundle.rootfs().join("b"))?;
        let line = refuse(stage, "a loop", &bundle)?;
        ensure!(line.contains("ELOOP"), "{line}");
        Ok(())
    })
}

#[test]
fn a_destination_may_be_relative_and_may_begin_with_the_roots_path() -> Result<()> {
    on_stage_of_hostrun(
        "runc 1.1 makes the folder and then looks for it elsewhere",
        |stage| {
            let bundle = stage.bundle()?;
            let long = bundle.rootfs().join("deep/er");
            let bundle = bundle
                .mount("a/b", "tmpfs", "tmpfs", &[])
                .mount(&long.to_string_lossy(), "tmpfs", "tmpfs", &[])
                .shell("grep -c -e ' /a/b ' -e ' /deep/er ' /proc/self/mountinfo");
            assert_eq!(stage.run(&bundle)?.ok()?, "2\n");
            Ok(())
        },
    )
}

#[test]
fn a_source_may_lie_in_an_earlier_mount_of_the_list() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 looks for the source before", |stage| {
        let volume = stage.folder("volume")?;
        fs::create_dir_all(volume.join("a/x"))?;
        fs::write(volume.join("a/x/file"), "a/x\n")?;
        set_mode(&volume, 0o700)?;
        for (mapped, words) in [(false, "rbind"), (true, "rbind"), (false, "bind")] {
            let bundle = stage.bundle()?;
            let inside = |path: &str| bundle.rootfs().join(path);
            let (earlier, file) = (inside("mnt/x"), inside("mnt/x/file"));
            let bundle = bundle
                .clone()
                .bind(&volume.join("a"), "/mnt", &["rbind"])
                .bind(&earlier, "/final", &[words, "ro"])
                .bind(&file, "/one", &["bind"])
                .shell("cat /final/file /one; touch /final/new 2>/dev/null || echo read-only");
            let bundle = if mapped { bundle.mapped()? } else { bundle };
            assert_eq!(
                stage.run(&bundle)?.ok()?,
                "a/x\na/x\nread-only\n",
                "{mapped} {words}"
            );
        }
        Ok(())
    })
}

#[test]
fn folders_made_for_a_mount_inherit_the_group() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .mount("/setgid/a/b", "tmpfs", "tmpfs", &["ro"]);
        let top = bundle.rootfs().join("setgid");
        fs::create_dir(&top)?;
        set_mode(&top, 0o7755)?;
        stage.run(&bundle)?.ok()?;
        for name in ["a", "a/b"] {
            assert_eq!(mode(&top.join(name))?, 0o2755, "{name}");
        }
        Ok(())
    })
}

#[test]
fn a_tmpfs_has_the_mode_of_what_it_covers_or_its_own() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 gives a new folder's mode", |stage| {
        let bundle = stage
            .bundle()?
            .mount("/covered", "tmpfs", "tmpfs", &[])
            .mount("/named", "tmpfs", "tmpfs", &["mode=1500"])
            .mount("/new/folder", "tmpfs", "tmpfs", &[])
            .shell("stat -c %a /covered /named /new/folder; grep /new/folder /proc/self/mounts");
        for name in ["covered", "named"] {
            fs::create_dir(bundle.rootfs().join(name))?;
            set_mode(&bundle.rootfs().join(name), 0o710)?;
        }
        let text = stage.run(&bundle)?.ok()?;
        ensure!(text.starts_with("710\n1500\n1777\n"), "{text}");
        ensure!(!text.contains("mode="), "{text}");
        assert_eq!(mode(&bundle.rootfs().join("named"))?, 0o710);
        assert_eq!(mode(&bundle.rootfs().join("new/folder"))?, 0o755);
        Ok(())
    })
}

#[test]
fn a_folder_mounted_over_the_root_is_the_root() -> Result<()> {
    on_stage_of_hostrun("runc mounts below what the process sees", |stage| {
        let other = stage.bundle()?.file("/other", 0o644, b"here\n")?;
        let mut bundle = stage
            .bundle()?
            .shell("cat /other; ls -d /proc/self /dev/null");
        let mount = json!({"destination": "/", "type": "bind", "source": other.rootfs(),
                           "options": ["bind"]});
        let mounts = bundle.config()["mounts"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mounts: Vec<_> = std::iter::once(mount).chain(mounts).collect();
        bundle = bundle.set("/mounts", json!(mounts));
        assert_eq!(stage.run(&bundle)?.ok()?, "here\n/dev/null\n/proc/self\n");
        Ok(())
    })
}

#[test]
fn a_root_of_a_dot_is_the_bundle() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage.bundle()?.set("/root/path", json!("rootfs/."));
        assert_eq!(stage.run(&bundle.shell("echo up"))?.ok()?, "up\n");
        Ok(())
    })
}

#[test]
fn extensions_for_links_do_what_they_say() -> Result<()> {
    on_stage_of_hostrun("these are crun's", |stage| {
        let link = stage.dir().join("broken");
        symlink("nowhere", &link)?;
        let file = stage.dir().join("file");
        fs::write(&file, "bound\n")?;
        let bundle = stage
            .bundle()?
            .bind(&link, "/deep/copy", &["rbind", "copy-symlink"])
            .bind(&file, "/here", &["bind", "dest-nofollow", "src-nofollow"])
            .shell("readlink /deep/copy; cat /here; cat /elsewhere; true");
        symlink("/elsewhere", bundle.rootfs().join("here"))?;
        fs::write(bundle.rootfs().join("elsewhere"), "untouched\n")?;
        let out = stage.run(&bundle)?;
        ensure!(out.stdout().starts_with("nowhere\n"), "{}", out.stderr());
        ensure!(out.stdout().ends_with("untouched\n"), "{}", out.stdout());
        Ok(())
    })
}

#[test]
fn cve_2019_16884_no_option_leads_through_a_link_over_the_procfs() -> Result<()> {
    on_stage_of_hostrun("runc knows no such options", |stage| {
        let folder = stage.folder("folder")?;
        let source = folder.to_string_lossy().into_owned();
        for options in [&["bind", "dest-nofollow"][..], &["remount", "bind", "ro"]] {
            let bundle = loud(stage)?.mount("/a/sys", "none", &source, options);
            symlink("/proc", bundle.rootfs().join("a"))?;
            let line = refuse(stage, "a link to /proc", &bundle)?;
            ensure!(line.contains("EPERM"), "{options:?}: {line}");
        }
        Ok(())
    })
}

/// A folder with every kind of file.
fn furnished(bundle: &Bundle) -> Result<()> {
    let dir = bundle.rootfs().join("dir");
    fs::create_dir_all(dir.join("below/deep"))?;
    set_mode(&dir.join("below"), 0o777)?;
    fs::write(dir.join("below/deep/file"), vec![b'x'; 3_000_000])?;
    fs::write(dir.join("tool"), "")?;
    std::os::unix::fs::chown(dir.join("tool"), Some(7), Some(8))?;
    set_mode(&dir.join("tool"), 0o4711)?;
    symlink("/etc/passwd", dir.join("link"))?;
    host::command("mkfifo", ["-m", "622"], [dir.join("fifo")])
}

#[test]
fn tmpcopyup_begins_with_what_is_covered() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 fails at a FIFO", |stage| {
        let bundle = stage
            .bundle()?
            .mount("/dir", "tmpfs", "tmpfs", &["tmpcopyup"])
            .shell(
                "stat -c '%a %u:%g %s %F' /dir/below /dir/below/deep/file /dir/tool /dir/fifo | sed 's/ [0-9]* dir/ dir/'
                 readlink /dir/link; grep -c ' /dir tmpfs' /proc/mounts; rm -r /dir/*",
            );
        furnished(&bundle)?;
        let before = tree_digest(&bundle.rootfs().join("dir"))?;
        let text = stage.run(&bundle)?.ok()?;
        let expected = "777 0:0 directory\n644 0:0 3000000 regular file\n\
             4711 7:8 0 regular empty file\n622 0:0 0 fifo\n/etc/passwd\n1\n";
        assert_eq!(text, expected);
        assert_eq!(tree_digest(&bundle.rootfs().join("dir"))?, before);
        Ok(())
    })
}

#[test]
fn tmpcopyup_works_in_a_user_namespace_and_says_when_there_is_no_room() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 fails there", |stage| {
        let bundle = stage
            .bundle()?
            .mount("/dir", "tmpfs", "tmpfs", &["tmpcopyup"])
            .shell("stat -c '%a %u:%g' /dir/below/deep/file /dir/tool");
        furnished(&bundle)?;
        // some of it belongs to nobody the container knows
        let mapped = bundle.mapped()?;
        std::os::unix::fs::chown(mapped.rootfs().join("dir/tool"), Some(100_007), Some(8))?;
        set_mode(&mapped.rootfs().join("dir/tool"), 0o755)?;
        let text = stage.run(&mapped)?.ok()?;
        ensure!(text.starts_with("644 0:0\n755 "), "{text}");
        let small = loud(stage)?.mount("/dir", "tmpfs", "tmpfs", &["tmpcopyup", "size=64k"]);
        furnished(&small)?;
        let line = refuse(stage, "too small", &small)?;
        ensure!(
            line.contains("tmpcopyup") && line.contains("ENOSPC"),
            "{line}"
        );
        Ok(())
    })
}

/// Swaps two names while a bundle is started again and again; how many starts succeeded.
fn swapped(
    stage: &Stage,
    one: &Path,
    other: &Path,
    starts: u32,
    bundle: &Bundle,
) -> Result<Vec<String>> {
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let result = std::thread::scope(|scope| -> Result<Vec<String>> {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok() {
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let texts = (0..starts)
            .map(|_| Ok(stage.run(bundle)?.stdout()))
            .collect();
        stop.store(true, Ordering::Relaxed);
        texts
    })?;
    ensure!(
        swaps.load(Ordering::Relaxed) > u64::from(starts),
        "too few swaps"
    );
    Ok(result)
}

#[test]
fn cve_2018_15664_tmpcopyup_copies_nothing_through_a_swapped_link() -> Result<()> {
    on_stage_of_hostrun("runc copies by path", |stage| {
        let outside = stage.folder("outside")?;
        fs::write(outside.join("secret"), "the machine's\n")?;
        let bundle = stage
            .bundle()?
            .mount("/dir", "tmpfs", "tmpfs", &["tmpcopyup"])
            .shell("echo up; cat /dir/one/secret /dir/secret /dir/two/secret");
        let dir = bundle.rootfs().join("dir");
        fs::create_dir_all(dir.join("one"))?;
        symlink(&outside, dir.join("two"))?;
        let before = tree_digest(&outside)?;
        let texts = swapped(stage, &dir.join("one"), &dir.join("two"), 60, &bundle)?;
        for text in &texts {
            ensure!(
                !text.contains("the machine's"),
                "the machine's file was copied"
            );
        }
        ensure!(
            texts.iter().any(|text| text == "up\n"),
            "no container started"
        );
        assert_eq!(tree_digest(&outside)?, before);
        Ok(())
    })
}

#[test]
fn cve_2024_45310_a_dangling_link_that_is_swapped_makes_nothing_outside() -> Result<()> {
    on_stage_of_hostrun("runc walks by path", |stage| {
        let outside = stage.folder("outside")?;
        let volume = stage.folder("volume")?;
        // two links that lead nowhere inside; one of them leads to the machine's folder outside
        symlink("/volume/not/there", volume.join("one"))?;
        symlink(outside.join("made"), volume.join("two"))?;
        let bundle = stage
            .bundle()?
            .bind(&volume, "/volume", &["rbind"])
            .mount("/volume/one/deep", "tmpfs", "inside", &["size=64k"])
            .shell("grep -c ' - tmpfs inside ' /proc/self/mountinfo");
        let table = stage.mounts()?;
        let texts = swapped(stage, &volume.join("one"), &volume.join("two"), 60, &bundle)?;
        ensure!(
            texts.iter().any(|text| text == "1\n"),
            "no container started"
        );
        assert_eq!(fs::read_dir(&outside)?.count(), 0, "made on the machine");
        assert_eq!(stage.mounts()?, table, "the machine's mounts changed");
        Ok(())
    })
}

#[test]
fn remount_changes_what_is_there() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 takes no remount of a tmpfs", |stage| {
        let volume = Mounted::tmpfs(&stage.folder("volume")?, &["-o", "mode=755"])?;
        let bundle = stage
            .bundle()?
            .bind(volume.at(), "/v", &["bind"])
            .mount("/v", "none", "none", &["bind", "remount", "ro", "nosuid"])
            .mount("/t", "tmpfs", "tmpfs", &["size=64k", "mode=700"])
            .mount("/t", "tmpfs", "tmpfs", &["remount", "size=128k", "noexec"])
            .shell("grep -e ' /v ' -e ' /t ' /proc/mounts");
        let text = stage.run(&bundle)?.ok()?;
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        ensure!(lines[0].contains(" ro,nosuid"), "{text}");
        ensure!(
            lines[1].contains("noexec") && lines[1].contains("size=128k"),
            "{text}"
        );
        ensure!(mode(volume.at())? == 0o755 && fs::write(volume.at().join("f"), "").is_ok());
        Ok(())
    })
}

#[test]
fn a_file_system_says_which_option_it_refuses_and_an_unknown_one_is_named() -> Result<()> {
    on_stage_of_hostrun("runc says only: invalid argument", |stage| {
        let bundle = loud(stage)?.mount("/v", "tmpfs", "tmpfs", &["size=banana"]);
        let line = refuse(stage, "an option", &bundle)?;
        ensure!(
            line.contains("error mounting") && line.contains("size"),
            "{line}"
        );
        ensure!(line.contains("Bad value"), "{line}");
        let bundle = loud(stage)?.mount("/v", "floppyfs", "none", &[]);
        let line = refuse(stage, "a type", &bundle)?;
        ensure!(
            line.contains("\"floppyfs\"") && line.contains("no such device"),
            "{line}"
        );
        Ok(())
    })
}
