//! A procfs that is not one, and settings of the kernel (D2, D11).

use std::fs;
use std::path::Path;

use anyhow::Result;
use hostrun_integration::field::{Attack, Field, Saw};
use serde_json::json;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "cve_2019_19921_proc_is_a_link",
        how: "/proc of the image is a link to a folder of fake label files",
        fight: |field| fake(field, "proc"),
    },
    Attack {
        name: "cve_2023_28642_sys_is_a_link",
        how: "/sys of the image is a link",
        fight: |field| fake(field, "sys"),
    },
    Attack {
        name: "cve_2023_27561_proc_is_a_link_into_a_volume",
        how: "/proc of the image is a link into a shared volume",
        fight: |field| {
            let volume = field.volume()?;
            fs::create_dir_all(volume.join("proc/self/attr"))?;
            let bundle = field.bundle()?.bind(&volume, "/volume", &["rbind"]);
            field.replace(&bundle, "proc", "/volume/proc")?;
            field.must_not_start(&bundle)
        },
    },
    Attack {
        name: "cve_2025_54867_proc_and_sys_are_links_to_each_other",
        how: "/sys is a link to /proc, so that one mount covers the other",
        fight: |field| {
            let bundle = field.bundle()?;
            field.replace(&bundle, "sys", "/proc")?;
            field.must_not_start(&bundle)
        },
    },
    Attack {
        name: "cve_2019_16884_volume_over_proc",
        how: "a volume of the image covers /proc, and labels are written to its files",
        fight: |field| volume_over(field, "/proc"),
    },
    Attack {
        name: "cve_2019_16884_volume_over_proc_self",
        how: "the same over a part of it",
        fight: |field| volume_over(field, "/proc/self/attr"),
    },
    Attack {
        name: "cve_2025_52881_volume_over_proc_sys",
        how: "a volume covers /proc/sys, and settings are written elsewhere",
        fight: |field| volume_over(field, "/proc/sys"),
    },
    Attack {
        name: "cve_2019_16884_volume_over_a_link_into_proc",
        how: "the volume's target is a link of the image into /proc",
        fight: |field| {
            let bundle = field.bundle()?.bind(&field.volume()?, "/link", &["rbind"]);
            field.replace(&bundle, "link", "/proc/sys")?;
            field.must_not_start(&bundle)
        },
    },
    Attack {
        name: "cve_2022_0811_plus_in_a_sysctl",
        how: "a value with a + that sets another setting",
        fight: |field| {
            let value = "1+kernel.core_pattern=|/bin/evil";
            sysctl(field, "kernel.shm_rmid_forced", value)
        },
    },
    Attack {
        name: "sysctl_of_the_machine",
        how: "a setting that has no namespace",
        fight: |field| sysctl(field, "kernel.core_pattern", "|/bin/evil"),
    },
    Attack {
        name: "sysctl_key_climbs",
        how: "a setting of the container's network whose name climbs out of it",
        fight: |field| sysctl(field, "net.ipv4/../../kernel/core_pattern", "|/bin/evil"),
    },
    Attack {
        name: "sysctl_of_the_machines_network",
        how: "a network setting, where the network is the machine's",
        fight: |field| {
            let bundle = field.bundle()?.without_namespace("network");
            // what it is not now
            let now = fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?;
            let other = if now.trim() == "1" { "0" } else { "1" };
            let bundle = bundle.set("/linux/sysctl", json!({"net.ipv4.ip_forward": other}));
            field.must_not_start(&bundle)
        },
    },
];

fn fake(field: &Field, name: &str) -> Result<Saw> {
    let bundle = field.bundle()?;
    let attributes = bundle.rootfs().join("fake/self/attr");
    fs::create_dir_all(&attributes)?;
    fs::write(attributes.join("exec"), "")?;
    field.replace(&bundle, name, Path::new("/fake"))?;
    field.must_not_start(&bundle)
}

fn volume_over(field: &Field, target: &str) -> Result<Saw> {
    let bundle = field.bundle()?;
    let bundle = bundle.bind(&field.volume()?, target, &["rbind"]);
    field.must_not_start(&bundle)
}

fn sysctl(field: &Field, key: &str, value: &str) -> Result<Saw> {
    let bundle = field.bundle()?;
    let bundle = bundle.set("/linux/sysctl", json!({key: value}));
    let out = field.run(&bundle)?;
    Ok(if out.stdout().is_empty() {
        Saw::Refused
    } else {
        Saw::Contained
    })
}
