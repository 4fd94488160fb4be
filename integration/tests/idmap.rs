//! Idmapped mounts: with and without a user namespace, with maps of their own or implied.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host::{Mounted, command};
use hostrun_integration::namespace::Held;
use hostrun_integration::refusal::{loud, refuse};
use hostrun_integration::{Bundle, Stage, on_stage_of_hostrun};
use serde_json::{Value, json};

const NEW: &str = "idmapped mounts came with runc 1.2";

/// A folder with a file of these ids.
fn source(stage: &Stage, name: &str, uid: u32, gid: u32) -> Result<PathBuf> {
    let dir = stage.folder(name)?;
    fs::write(dir.join("file"), "content\n")?;
    std::os::unix::fs::chown(dir.join("file"), Some(uid), Some(gid))?;
    Ok(dir)
}

fn map(inside: u32, outside: u32, size: u32) -> Value {
    json!([{"containerID": inside, "hostID": outside, "size": size}])
}

/// Adds a bind with maps.
fn idmapped(
    bundle: Bundle,
    source: &Path,
    target: &str,
    options: &[&str],
    maps: [Value; 2],
) -> Bundle {
    let [uids, gids] = maps;
    let mount = json!({"destination": target, "source": source, "options": options,
                       "uidMappings": uids, "gidMappings": gids});
    bundle.set("/mounts/-", mount)
}

fn same(map: Value) -> [Value; 2] {
    [map.clone(), map]
}

#[test]
fn a_mount_shows_the_ids_of_its_maps() -> Result<()> {
    on_stage_of_hostrun(NEW, |stage| {
        let dir = source(stage, "source", 0, 0)?;
        let script = "stat -c %u:%g /v/file; touch /v/new && stat -c %u:%g /v/new || echo refused";
        let all = || same(map(0, 100_000, 65536));
        let plain = idmapped(stage.bundle()?.shell(script), &dir, "/v", &["bind"], all());
        // files made by a user whom the map does not know are refused
        assert_eq!(stage.run(&plain)?.ok()?, "100000:100000\nrefused\n");
        let mapped = idmapped(stage.bundle()?.shell(script), &dir, "/v", &["bind"], all());
        assert_eq!(stage.run(&mapped.mapped()?)?.ok()?, "0:0\n0:0\n");
        let made = fs::metadata(dir.join("new"))?;
        assert_eq!((made.uid(), made.gid()), (0, 0));
        Ok(())
    })
}

#[test]
fn maps_of_several_mounts_differ_beside_plain_binds() -> Result<()> {
    on_stage_of_hostrun(NEW, |stage| {
        let dir = source(stage, "source", 100, 211)?;
        let mut bundle = stage
            .bundle()?
            .shell("stat -c %u:%g /a/file /b/file /plain/file /c/file")
            .bind(&dir, "/plain", &["bind"]);
        for (target, uids, gids) in [
            ("/a", map(100, 100_000, 100), map(200, 100_000, 100)),
            ("/b", map(100, 101_000, 100), map(200, 102_000, 100)),
            ("c", map(100, 102_000, 1), map(211, 103_000, 1)),
        ] {
            bundle = idmapped(
                bundle,
                Path::new("../source"),
                target,
                &["bind"],
                [uids, gids],
            );
        }
        assert_eq!(
            stage.run(&bundle.mapped()?)?.ok()?,
            "0:11\n1000:2011\n65534:65534\n2000:3000\n"
        );
        Ok(())
    })
}

#[test]
fn idmap_is_of_one_mount_and_ridmap_of_all_below() -> Result<()> {
    on_stage_of_hostrun(NEW, |stage| {
        let outer = source(stage, "outer", 100, 200)?;
        let held = Mounted::again(&outer)?;
        let inner = source(stage, "inner", 101, 201)?;
        fs::create_dir(outer.join("below"))?;
        command("mount", ["--bind"], [&inner, &outer.join("below")])?;
        let seen = |words: &[&str], mapped: bool| -> Result<String> {
            let bundle = stage.bundle()?.shell("stat -c %u:%g /v/file /v/below/file");
            let maps = [map(100, 101_000, 2), map(200, 102_000, 2)];
            let bundle = idmapped(bundle, &outer, "/v", words, maps);
            let bundle = if mapped { bundle.mapped()? } else { bundle };
            stage.run(&bundle)?.ok()
        };
        for words in [&["rbind"][..], &["rbind", "idmap"]] {
            assert_eq!(seen(words, false)?, "101000:102000\n101:201\n", "{words:?}");
            assert_eq!(seen(words, true)?, "1000:2000\n65534:65534\n", "{words:?}");
        }
        assert_eq!(
            seen(&["rbind", "ridmap"], false)?,
            "101000:102000\n101001:102001\n"
        );
        assert_eq!(seen(&["rbind", "ridmap"], true)?, "1000:2000\n1001:2001\n");
        command("umount", ["--lazy"], [outer.join("below")])?;
        drop(held);
        Ok(())
    })
}

#[test]
fn without_maps_those_of_the_user_namespace_count() -> Result<()> {
    on_stage_of_hostrun(NEW, |stage| {
        let dir = source(stage, "source", 100, 211)?;
        let script = "stat -c %u:%g /v/file; grep -c ' shared:' /proc/self/mountinfo";
        let made = stage
            .bundle()?
            .shell(script)
            .bind(&dir, "/v", &["bind", "idmap", "shared"]);
        assert_eq!(stage.run(&made.mapped()?)?.ok()?, "100:211\n1\n");
        let held = Held::new(&["--user"], "user")?;
        let process = held.path().ancestors().nth(2).context("no process")?;
        for file in ["uid_map", "gid_map"] {
            fs::write(process.join(file), "0 100000 65536\n")?;
        }
        let joined = stage
            .bundle()?
            .shell("stat -c %u:%g /v/file")
            .namespace("user", Some(held.path()))
            .without_mount("/sys/fs/cgroup")
            .bind(&dir, "/v", &["bind", "ridmap"]);
        joined.give_away()?;
        assert_eq!(stage.run(&joined)?.ok()?, "100:211\n");
        Ok(())
    })
}

#[test]
fn nothing_of_the_mapping_stays_open_and_no_process_stays_behind() -> Result<()> {
    on_stage_of_hostrun(NEW, |stage| {
        let dir = source(stage, "source", 0, 0)?;
        for mapped in [false, true] {
            let bundle = stage.bundle()?.shell("ls /proc/self/fd | wc -l");
            let bundle = idmapped(bundle, &dir, "/v", &["bind"], same(map(0, 100_000, 65536)));
            let bundle = if mapped { bundle.mapped()? } else { bundle };
            // the standard ones and that of the list itself
            assert_eq!(stage.run(&bundle)?.ok()?, "4\n");
        }
        Ok(())
    })
}

#[test]
fn maps_that_make_no_sense_are_refused_by_path() -> Result<()> {
    on_stage_of_hostrun(NEW, |stage| {
        let dir = source(stage, "source", 0, 0)?;
        let whole = || same(map(0, 100_000, 65536));
        let none = loud(stage)?.bind(&dir, "/v", &["bind", "idmap"]);
        let line = refuse(stage, "no maps", &none)?;
        ensure!(line.contains("mounts[7].uidMappings"), "{line}");
        let no_bind = loud(stage)?.set(
            "/mounts/-",
            json!({"destination": "/v", "type": "tmpfs", "source": "tmpfs",
                   "uidMappings": whole()[0], "gidMappings": whole()[1]}),
        );
        let line = refuse(stage, "no bind", &no_bind)?;
        ensure!(line.contains("only supported for bind-mounts"), "{line}");
        let empty = idmapped(loud(stage)?, &dir, "/v", &["bind"], same(map(0, 1, 0)));
        let line = refuse(stage, "an empty map", &empty)?;
        ensure!(line.contains("mounts[7].uidMappings[0]"), "{line}");
        Ok(())
    })
}

#[test]
fn a_file_system_without_ids_to_map_is_named() -> Result<()> {
    on_stage_of_hostrun(NEW, |stage| {
        for mapped in [false, true] {
            let whole = same(map(0, 100_000, 65536));
            let bundle = idmapped(loud(stage)?, Path::new("/proc/sys"), "/v", &["bind"], whole);
            let bundle = if mapped { bundle.mapped()? } else { bundle };
            let line = refuse(stage, "procfs", &bundle)?;
            ensure!(line.contains("/proc/sys does not support idmap"), "{line}");
        }
        Ok(())
    })
}
