//! Symbolic links of the image where the runtime makes or opens something (D1, D3).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use hostrun_integration::field::{Attack, Field, Saw};
use hostrun_integration::pty::Pty;
use serde_json::json;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "cve_2019_18837_mount_target_link",
        how: "a mount's target is an absolute link to a folder of the machine",
        fight: |field| mount_through(field, &field.victim()),
    },
    Attack {
        name: "cve_2021_30465_link_in_a_volume",
        how: "the target is below a link inside a shared volume",
        fight: link_in_a_volume,
    },
    Attack {
        name: "cve_2024_45310_folder_made_through_a_link",
        how: "a missing target is made below a link that leads to the machine",
        fight: |field| mount_through(field, &field.in_victim("made")),
    },
    Attack {
        name: "cve_2024_45310_climbing_link",
        how: "the same by a link of many ..",
        fight: |field| {
            let up = "../".repeat(16);
            let victim = field.in_victim("made");
            let path = victim.to_string_lossy().into_owned();
            mount_through(field, Path::new(&format!("/{up}{path}")))
        },
    },
    Attack {
        name: "cve_2026_41579_dev_is_a_link",
        how: "/dev of the image leads to the machine; devices and ptmx are made there",
        fight: |field| standard_link(field, "dev"),
    },
    Attack {
        name: "cve_2026_47766_dev_shm_is_a_link",
        how: "/dev/shm of the image leads to the machine",
        fight: |field| standard_link(field, "dev/shm"),
    },
    Attack {
        name: "cve_2026_47766_dev_pts_is_a_link",
        how: "/dev/pts of the image leads to the machine",
        fight: |field| standard_link(field, "dev/pts"),
    },
    Attack {
        name: "cve_2026_47766_etc_is_a_link",
        how: "/etc of the image leads to the machine",
        fight: |field| standard_link(field, "etc"),
    },
    Attack {
        name: "cve_2025_31133_null_is_a_link",
        how: "/dev/null of the image is a setting of the kernel, and masks are made of it",
        fight: |field| masked_by(field, Path::new("/proc/sys/kernel/core_pattern")),
    },
    Attack {
        name: "cve_2025_31133_null_leads_nowhere",
        how: "/dev/null of the image leads nowhere, and masking is skipped",
        fight: |field| masked_by(field, Path::new("/not/there")),
    },
    Attack {
        name: "cve_2025_31133_null_is_a_file_of_the_machine",
        how: "/dev/null of the image is a secret of the machine",
        fight: |field| masked_by(field, &field.in_victim("secret")),
    },
    Attack {
        name: "cve_2025_52565_console_is_a_link",
        how: "/dev/console of the image leads to the machine and is covered by the terminal",
        fight: |field| terminal(field, &["dev/console"]),
    },
    Attack {
        name: "cve_2025_52565_ptmx_is_a_link",
        how: "/dev/ptmx of the image leads to a file of the machine that the runtime opens or removes",
        fight: |field| terminal(field, &["dev/console", "dev/ptmx"]),
    },
    Attack {
        name: "ghsa_3q8j_readonly_path_is_a_link",
        how: "a read-only path is a link to the machine, bound into the container",
        fight: |field| special_path(field, "/linux/readonlyPaths"),
    },
    Attack {
        name: "masked_path_is_a_link",
        how: "a masked path is a link to the machine, which is covered there",
        fight: |field| special_path(field, "/linux/maskedPaths"),
    },
    Attack {
        name: "device_is_a_link",
        how: "a device's path is a link to a file of the machine, which gets its owner and mode",
        fight: device_is_a_link,
    },
    Attack {
        name: "device_below_a_link",
        how: "a device is to be made below a link that leads to the machine",
        fight: |field| device(field, "/link/made", "link"),
    },
    Attack {
        name: "device_with_a_climbing_path",
        how: "a device's path climbs out of the root",
        fight: |field| {
            let path = format!(
                "/dev{}{}",
                "/..".repeat(16),
                field.in_victim("made").display()
            );
            device(field, &path, "unused")
        },
    },
    Attack {
        name: "cve_2025_24965_handler_config",
        how: "the file a handler's config is written to is a link to the machine",
        fight: |field| {
            let bundle = field
                .bundle()?
                .set("/annotations", json!({"run.oci.handler": "krun"}));
            field.replace(&bundle, ".krun_config.json", field.in_victim("made"))?;
            field.replace(&bundle, ".krun_vm.json", field.in_victim("made"))?;
            field.must_see_nothing(&bundle)
        },
    },
    Attack {
        name: "cve_2024_9407_copied_folder_is_a_link",
        how: "a tmpfs that copies up what it covers is put over a link to the machine",
        fight: |field| {
            let options = ["tmpcopyup"];
            let bundle = field.bundle()?.mount("/data", "tmpfs", "tmpfs", &options);
            field.replace(&bundle, "data", field.victim())?;
            field.must_see_nothing(&bundle.shell("cat /data/secret; echo"))
        },
    },
    Attack {
        name: "cve_2024_1753_bind_source_below_the_root_is_a_link",
        how: "a bind mount's target file is a link to a file of the machine",
        fight: |field| {
            let file = field.volume()?.join("file");
            fs::write(&file, "volume\n")?;
            let bundle = field.bundle()?.bind(&file, "/etc/hosts", &["rbind"]);
            field.replace(&bundle, "etc/hosts", field.in_victim("secret"))?;
            field.must_see_nothing(&bundle.shell("cat /etc/hosts; echo"))
        },
    },
    Attack {
        name: "cwd_is_a_link",
        how: "the working directory is a link to the machine and is made or entered there",
        fight: |field| {
            let bundle = field.bundle()?.set("/process/cwd", json!("/srv/made"));
            field.replace(&bundle, "srv", field.victim())?;
            field.must_see_nothing(&bundle.shell("cat ../secret; echo"))
        },
    },
];

fn mount_through(field: &Field, link: &Path) -> Result<Saw> {
    let bundle = field
        .bundle()?
        .mount("/data/inner", "tmpfs", "inside", &[])
        .bind(&field.volume()?, "/bound/inner", &["rbind"]);
    field.replace(&bundle, "data", link)?;
    field.replace(&bundle, "bound", link)?;
    field.must_see_nothing(&bundle)
}

fn link_in_a_volume(field: &Field) -> Result<Saw> {
    let volume = field.volume()?;
    std::os::unix::fs::symlink("/", volume.join("link"))?;
    let target = format!("/volume/link{}", field.victim().display());
    let bundle =
        field
            .bundle()?
            .bind(&volume, "/volume", &["rbind"])
            .mount(&target, "tmpfs", "inside", &[]);
    field.must_see_nothing(&bundle)
}

fn standard_link(field: &Field, name: &str) -> Result<Saw> {
    let script = "cat /dev/secret /etc/secret; echo";
    let bundle = field.bundle_without_dev()?.shell(script);
    field.replace(&bundle, name, field.victim())?;
    let first = field.must_see_nothing(&bundle)?;
    if matches!(first, Saw::Through(_)) {
        return Ok(first);
    }
    let bundle = field.bundle()?.shell(script);
    field.replace(&bundle, name, field.victim())?;
    field.must_see_nothing(&bundle)
}

fn masked_by(field: &Field, link: &Path) -> Result<Saw> {
    let bundle = field
        .bundle_without_dev()?
        .set("/linux/maskedPaths", json!(["/proc/cpuinfo"]))
        .shell("cat /proc/cpuinfo; stat -c %F /proc/cpuinfo");
    field.replace(&bundle, "dev/null", link)?;
    let out = field.run(&bundle)?;
    let text = out.stdout();
    if text.is_empty() {
        return Ok(Saw::Refused);
    }
    Ok(Saw::through_if(text != "character special file\n", || {
        format!(
            "the mask is {:?}",
            text.chars().take(40).collect::<String>()
        )
    }))
}

fn terminal(field: &Field, links: &[&str]) -> Result<Saw> {
    let bundle = field
        .bundle_without_dev()?
        .set("/process/terminal", json!(true))
        .shell("echo started; sleep 0.1");
    for link in links {
        field.replace(&bundle, link, field.in_victim("console"))?;
    }
    // what happens to the machine's files is looked at by the field
    Pty::open()?.spawn(field.run_call(&bundle)?)?.wait()?;
    Ok(Saw::Contained)
}

fn special_path(field: &Field, list: &str) -> Result<Saw> {
    let bundle = field
        .bundle()?
        .set(list, json!(["/link", "/volume/link"]))
        .bind(&field.volume()?, "/volume", &["rbind"])
        .shell("cat /link/secret /volume/link/secret; echo");
    field.replace(&bundle, "link", field.victim())?;
    let link = field.volume()?.join("link");
    if !link.is_symlink() {
        std::os::unix::fs::symlink(field.victim(), link)?;
    }
    field.must_see_nothing(&bundle)
}

fn fuse(path: &str) -> serde_json::Value {
    json!([{"path": path, "type": "c", "major": 10, "minor": 229, "fileMode": 0o666, "uid": 3, "gid": 4}])
}

fn device_is_a_link(field: &Field) -> Result<Saw> {
    let bundle = field.bundle_without_dev()?;
    let bundle = bundle.set("/linux/devices", fuse("/dev/fuse"));
    field.replace(&bundle, "dev/fuse", field.in_victim("fuse"))?;
    field.must_see_nothing(&bundle)
}

fn device(field: &Field, path: &str, link: &str) -> Result<Saw> {
    let bundle = field.bundle()?.set("/linux/devices", fuse(path));
    let victim: PathBuf = field.victim();
    field.replace(&bundle, link, victim)?;
    field.must_see_nothing(&bundle)
}
