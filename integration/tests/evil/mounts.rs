//! Mounts that show or change what is the machine's (D1, D4).

use anyhow::Result;
use hostrun_integration::field::{Attack, Field, Saw};
use hostrun_integration::host::Mounted;
use hostrun_integration::{Bundle, cgroup};
use serde_json::json;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "cve_2024_21626_cwd_of_a_leaked_descriptor",
        how: "the working directory is /proc/self/fd/N of a folder that was left open",
        fight: leaked_cwd,
    },
    Attack {
        name: "cve_2024_21626_exec_cwd",
        how: "the same in exec",
        fight: leaked_cwd_of_exec,
    },
    Attack {
        name: "cve_2024_21626_program_of_a_leaked_descriptor",
        how: "the program is /proc/self/fd/N/evil of such a folder",
        fight: leaked_program,
    },
    Attack {
        name: "mount_target_climbs",
        how: "a mount's target climbs out of the root",
        fight: |field| {
            let target = format!("{}{}", "/..".repeat(16), field.victim().display());
            let bundle = field.bundle()?.mount(&target, "tmpfs", "inside", &[]);
            field.must_see_nothing(&bundle)
        },
    },
    Attack {
        name: "shared_volume_propagates",
        how: "a mount made in a shared volume appears on the machine",
        fight: shared_volume,
    },
    Attack {
        name: "shared_root_propagates",
        how: "a mount made below a root that is shared appears on the machine",
        fight: shared_root,
    },
    Attack {
        name: "cve_2023_25809_cgroup_tree_without_a_namespace",
        how: "without a cgroup namespace the whole tree is there to be written",
        fight: |field| {
            let bundle = field.bundle()?.without_namespace("cgroup");
            cgroup_is_closed(field, bundle)
        },
    },
    Attack {
        name: "cve_2022_0492_release_agent",
        how: "the container makes a cgroup and asks for a program of its own to be run",
        fight: |field| {
            let script = "mkdir /x; mount -t cgroup -o memory cgroup /x && echo /evil >/x/release_agent && echo through; echo";
            let out = field.run(&field.bundle()?.shell(script))?;
            Ok(Saw::through_if(out.stdout().contains("through"), || {
                "it set a release agent".into()
            }))
        },
    },
    Attack {
        name: "cgroup_path_climbs",
        how: "the cgroup's path climbs out of its parent",
        fight: cgroup_path_climbs,
    },
    Attack {
        name: "exec_cgroup_of_a_sibling",
        how: "exec into a cgroup beside the container's own, whose name begins like it",
        fight: exec_into_sibling,
    },
    Attack {
        name: "unified_key_climbs",
        how: "the name of a cgroup setting is a path to a file of the machine",
        fight: |field| {
            let up = "../".repeat(16);
            let key = format!("{up}{}", field.in_victim("null").display());
            let bundle = field.bundle()?;
            let bundle = bundle.set("/linux/resources/unified", json!({key: "written"}));
            field.must_see_nothing(&bundle)
        },
    },
    Attack {
        name: "id_is_a_path",
        how: "the container's id is a path to the machine",
        fight: |field| {
            let bundle = field.bundle()?;
            let dir = bundle.write()?.to_string_lossy().into_owned();
            let id = format!("{}{}", "../".repeat(16), field.in_victim("made").display());
            let out = field.stage().call(["run", "--bundle", &dir, &id]).run()?;
            Ok(Saw::through_if(out.stdout().contains("started"), || {
                "it was accepted".into()
            }))
        },
    },
];

/// A shell that leaves folders of the machine open and becomes the runtime.
fn leaking(field: &Field) -> Vec<String> {
    let victim = field.victim();
    let open = format!(
        "for n in 3 4 5 6 7 8 9; do eval \"exec $n<{}\"; done",
        victim.display()
    );
    ["sh", "-c", &format!("{open}; exec \"$@\""), "leak"]
        .map(str::to_owned)
        .to_vec()
}

const SEARCH: &str = "cat secret ../victim/secret 2>/dev/null; echo";

fn leaked_cwd(field: &Field) -> Result<Saw> {
    for number in 3..24 {
        let cwd = json!(format!("/proc/self/fd/{number}"));
        let bundle = field.bundle()?.shell(SEARCH).set("/process/cwd", cwd);
        let out = field.run_call(&bundle)?.under(leaking(field)).run()?;
        let saw = hostrun_integration::field::look(&out);
        if matches!(saw, Saw::Through(_)) {
            return Ok(saw);
        }
    }
    Ok(Saw::Refused)
}

fn leaked_cwd_of_exec(field: &Field) -> Result<Saw> {
    let container = field.start(&field.bundle()?.shell("sleep 60"))?;
    for number in 3..24 {
        let cwd = format!("/proc/self/fd/{number}");
        let words = [
            "exec",
            "--cwd",
            &cwd,
            &container.id,
            "/bin/sh",
            "-c",
            SEARCH,
        ];
        let out = field.stage().call(words).under(leaking(field)).run()?;
        let saw = hostrun_integration::field::look(&out);
        if matches!(saw, Saw::Through(_)) {
            container.delete()?;
            return Ok(saw);
        }
    }
    container.delete()?;
    Ok(Saw::Refused)
}

fn leaked_program(field: &Field) -> Result<Saw> {
    for number in 3..12 {
        let program = format!("/proc/self/fd/{number}/evil");
        let bundle = field.bundle()?.args(&[&program]);
        let out = field.run_call(&bundle)?.under(leaking(field)).run()?;
        let saw = hostrun_integration::field::look(&out);
        if matches!(saw, Saw::Through(_)) {
            return Ok(saw);
        }
    }
    Ok(Saw::Refused)
}

fn shared_volume(field: &Field) -> Result<Saw> {
    let shared = Mounted::tmpfs(&field.stage().folder("shared")?, &[])?;
    shared.propagation("shared")?;
    std::fs::create_dir(shared.at().join("inner"))?;
    let before = field.stage().mounts()?;
    let script = "mount -t tmpfs inner /volume/inner; sleep 0.2";
    let bundle = field.bundle()?.capabilities(&["CAP_SYS_ADMIN"]).bind(
        shared.at(),
        "/volume",
        &["rbind", "rshared"],
    );
    let run = field.run_call(&bundle.shell(script))?.spawn()?;
    std::thread::sleep(std::time::Duration::from_millis(150));
    let during = field.stage().mounts()?;
    run.wait()?;
    let after = field.stage().mounts()?;
    let leaked = after != before || during.iter().any(|line| line.contains(" - tmpfs inner "));
    let _gone = std::process::Command::new("umount")
        .args(["--lazy".as_ref(), shared.at().join("inner").as_os_str()])
        .stderr(std::process::Stdio::null())
        .status()?;
    Ok(Saw::through_if(leaked, || {
        "its mount is on the machine".into()
    }))
}

fn shared_root(field: &Field) -> Result<Saw> {
    let bundle = field.bundle()?;
    let shared = Mounted::again(bundle.dir())?;
    shared.propagation("shared")?;
    let before = field.stage().mounts()?;
    let bundle = bundle
        .mount("/data", "tmpfs", "inner", &[])
        .shell("echo started");
    let out = field.run(&bundle)?;
    let leaked = field.stage().mounts()? != before;
    Ok(match (leaked, out.stdout().is_empty()) {
        (true, _) => Saw::Through("its mount is on the machine".into()),
        (false, true) => Saw::Refused,
        (false, false) => Saw::Contained,
    })
}

fn cgroup_is_closed(field: &Field, bundle: Bundle) -> Result<Saw> {
    let script = "mkdir /sys/fs/cgroup/made && echo through; echo";
    let out = field.run(&bundle.shell(script))?;
    Ok(Saw::through_if(out.stdout().contains("through"), || {
        "it made a cgroup".into()
    }))
}

fn cgroup_path_climbs(field: &Field) -> Result<Saw> {
    let own = field.bundle()?.cgroup()?;
    let outside = format!("{own}-outside");
    let up = "/..".repeat(16);
    let bundle = field
        .bundle()?
        .set(
            "/linux/cgroupsPath",
            json!(format!(
                "{own}{up}{outside}/../../escaped{}",
                outside.replace('/', "-")
            )),
        )
        .without_namespace("cgroup")
        .shell("cat /proc/self/cgroup");
    let out = field.run(&bundle)?;
    // relative to the machine's root, and with no .. in it, a path is where it says
    let through = out.stdout().contains("..");
    for path in cgroup::below("/") {
        if path.to_string_lossy().contains("escaped") {
            std::fs::remove_dir(&path).unwrap_or_default();
        }
    }
    Ok(if out.stdout().is_empty() {
        Saw::Refused
    } else {
        Saw::through_if(through, || out.stdout())
    })
}

fn exec_into_sibling(field: &Field) -> Result<Saw> {
    let bundle = field
        .bundle()?
        .without_namespace("cgroup")
        .shell("sleep 60");
    let own = bundle.cgroup()?;
    let sibling = format!("{own}-evil");
    std::fs::create_dir_all(cgroup::dir(&sibling))?;
    let container = field.start(&bundle)?;
    let mut saw = Saw::Refused;
    let name = sibling.rsplit('/').next().unwrap_or_default().to_owned();
    for path in [format!("../{name}"), sibling.clone(), format!("/../{name}")] {
        let out = field.exec(
            &["--cgroup", &path],
            &container,
            &["/bin/cat", "/proc/self/cgroup"],
        )?;
        if out.stdout().contains("-evil") {
            saw = Saw::Through(out.stdout().trim().to_owned());
        }
    }
    container.delete()?;
    cgroup::remove(&sibling)?;
    Ok(saw)
}
