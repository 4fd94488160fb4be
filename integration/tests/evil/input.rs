//! Input that is too large, endless, or data that is taken for orders (D7, D11, D13).

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use hostrun_integration::Bundle;
use hostrun_integration::field::{Attack, Field, Saw};
use serde_json::{Value, json};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "cve_2021_43784_maps_longer_than_sixteen_bits",
        how: "id maps of more than 64 KiB overflow a length, and what follows is taken for settings",
        fight: long_maps,
    },
    Attack {
        name: "cve_2022_31030_passwd_is_a_fifo",
        how: "/etc/passwd of the image is a FIFO that nobody writes to",
        fight: |field| odd_passwd(field, &["p"]),
    },
    Attack {
        name: "cve_2022_31030_passwd_is_a_device",
        how: "/etc/passwd of the image is a device that gives zeroes for ever",
        fight: |field| odd_passwd(field, &["c", "1", "5"]),
    },
    Attack {
        name: "cve_2026_47262_group_file_of_half_a_gigabyte",
        how: "/etc/group of the image is half a gigabyte of one line",
        fight: |field| {
            let bundle = ordinary(field.bundle()?);
            fs::File::create(bundle.rootfs().join("etc/group"))?.set_len(512 << 20)?;
            within_memory(field, &bundle)
        },
    },
    Attack {
        name: "cve_2026_53488_annotation_is_an_order",
        how: "an annotation of the image names a file of the machine to write to",
        fight: |field| {
            let made = field.in_victim("made");
            let bundle = field.bundle()?.set(
                "/annotations",
                json!({"run.oci.hooks.stdout": made, "run.oci.hooks.stderr": made, "run.oci.seccomp_bpf_file": made}),
            );
            let hook = json!([{"path": "/bin/echo", "args": ["echo", "hook"]}]);
            field.must_see_nothing(&bundle.set("/hooks/createRuntime", hook))
        },
    },
    Attack {
        name: "config_of_a_hundred_thousand_levels",
        how: "a config so deeply nested that its reader runs out of stack",
        fight: |field| {
            let bundle = field.bundle()?;
            let deep = "[".repeat(100_000);
            let text = serde_json::to_string(bundle.config())?;
            let text = text.replacen('{', &format!("{{\"annotations2\":{deep},"), 1);
            let dir = bundle.write_raw(&text)?.to_string_lossy().into_owned();
            let id = field.stage().id();
            let out = field.stage().call(["run", "--bundle", &dir, &id]).run()?;
            Ok(Saw::through_if(out.code() >= 1000, || "it crashed".into()))
        },
    },
    Attack {
        name: "hostname_with_control_characters",
        how: "a hostname that writes to the terminal of whoever reads the log",
        fight: |field| {
            let bundle = field
                .bundle()?
                .set("/hostname", json!("\u{1b}]0;evil\u{7}".repeat(20)));
            let out = field.run(&bundle)?;
            Ok(Saw::through_if(out.stderr().contains('\u{1b}'), || {
                "its control characters are in the error".into()
            }))
        },
    },
];

/// As a user whose groups and home have to be looked up.
fn ordinary(bundle: Bundle) -> Bundle {
    bundle
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set("/process/env", json!(["PATH=/bin"]))
}

fn long_maps(field: &Field) -> Result<Saw> {
    let line = |number: u32| json!({"containerID": number, "hostID": 100_000 + number, "size": 1});
    let maps: Vec<Value> = (0..6000).map(line).collect();
    let bundle = field
        .bundle()?
        .namespace("user", None)
        .set("/linux/uidMappings", json!(maps))
        .set("/linux/gidMappings", json!(maps))
        .without_mount("/sys/fs/cgroup")
        .shell("echo started; cat /proc/self/uid_map");
    bundle.give_away()?;
    let out = field.run(&bundle)?;
    let text = out.stdout();
    let host_root = text.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1) == Some(&"0")
    });
    Ok(match (host_root, text.is_empty()) {
        (true, _) => Saw::Through("root in there is root of the machine".into()),
        (false, true) => Saw::Refused,
        (false, false) => Saw::Contained,
    })
}

fn odd_passwd(field: &Field, node: &[&str]) -> Result<Saw> {
    let bundle = ordinary(field.bundle()?);
    let passwd = bundle.rootfs().join("etc/passwd");
    fs::remove_file(&passwd)?;
    let made = Command::new("mknod").arg(&passwd).args(node).status()?;
    ensure!(made.success(), "mknod");
    within_memory(field, &bundle)
}

/// Runs a bundle and looks at how much memory that took at the most.
fn within_memory(field: &Field, bundle: &Bundle) -> Result<Saw> {
    const LIMIT: u64 = 200 << 10;
    let peak = field.stage().dir().join("peak");
    let script = format!(
        "\"$@\" & child=$!; max=0
         while [ -r /proc/$child/status ]; do
            now=$(sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$child/status 2>/dev/null)
            [ \"${{now:-0}}\" -gt $max ] && max=$now; sleep 0.01; [ \"$now\" = '' ] && break
         done; wait $child; echo $max >{}",
        peak.display()
    );
    let out = field
        .run_call(bundle)?
        .under(["sh", "-c", &script, "watch"])
        .run()?;
    let peak: u64 = fs::read_to_string(&peak)?.trim().parse().unwrap_or(0);
    Ok(if peak > LIMIT {
        Saw::Through(format!("it takes {} MiB", peak >> 10))
    } else if out.stdout().is_empty() {
        Saw::Refused
    } else {
        Saw::Contained
    })
}
