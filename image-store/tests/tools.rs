//! Images other tools made, and what those tools make of the same layers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    clippy::too_many_lines,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "tests panic on purpose and share a fixture"
)]

mod fixture;

use std::path::Path;
use std::process::Command;

use fixture::{Host, is_root};
use hostrun_image_store::{RootOptions, Source};

fn run(words: &[&str]) -> String {
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .expect(words[0]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn has(tool: &str) -> bool {
    let there = Command::new("sh")
        .args(["-c", &format!("command -v {tool}")])
        .output();
    let there = there.is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("SKIPPED: {tool} is not installed");
    }
    there
}

/// A layout of two layers with a whiteout, an opaque directory, links, setuid and a capability.
fn make(dir: &Path) -> String {
    let layout = format!("{}/busy", dir.display());
    let image = format!("{layout}:v1");
    let bundle = format!("{}/bundle", dir.display());
    let root = format!("{bundle}/rootfs");
    run(&["umoci", "init", "--layout", &layout]);
    run(&["umoci", "new", "--image", &image]);
    run(&["umoci", "unpack", "--image", &image, &bundle]);
    let first = "mkdir -p bin etc tmp/sub data && chmod 1777 tmp && cp /bin/busybox bin/busybox && \
        ln bin/busybox bin/sh && ln -s busybox bin/ls && echo one >etc/one && echo gone >etc/gone && \
        chmod 4755 bin/busybox && touch data/a data/b && mkfifo pipe && \
        truncate -s 10M sparse && printf x | dd of=sparse bs=1 seek=5000000 conv=notrunc 2>/dev/null";
    run(&["sh", "-c", &format!("cd {root} && {first}")]);
    run(&[
        "umoci",
        "repack",
        "--refresh-bundle",
        "--image",
        &image,
        &bundle,
    ]);
    run(&[
        "sh",
        "-c",
        &format!(
            "cd {root} && rm etc/gone && rm -r data && mkdir data && touch data/c && echo two >etc/two"
        ),
    ]);
    run(&["umoci", "repack", "--image", &image, &bundle]);
    run(&[
        "umoci",
        "config",
        "--image",
        &image,
        "--config.cmd",
        "/bin/sh",
        "--config.env",
        "A=b",
    ]);
    layout
}

/// Names, kinds, modes, owners, sizes, times and contents below a directory.
fn listing(root: &str) -> String {
    let script = format!(
        "cd {root} && find . -mindepth 1 -printf '%P %y %m %U %G %s %l %T@\\n' | \
         sed '/ d /s/ [0-9]* *[0-9.]*$//' | sort && find . -type f | sort | xargs sha256sum"
    );
    run(&["sh", "-c", &script])
}

#[test]
fn images_of_umoci_and_skopeo_load_in_every_form_and_look_the_same() {
    if !is_root() || !has("umoci") || !has("skopeo") || !Path::new("/bin/busybox").exists() {
        return;
    }
    let host = Host::new();
    let layout = make(host.dir.path());
    let from = format!("oci:{layout}:v1");
    let archive = host.path("archive.tar").display().to_string();
    run(&[
        "skopeo",
        "copy",
        &from,
        &format!("oci-archive:{archive}:v1"),
    ]);
    let docker = host.path("docker.tar").display().to_string();
    run(&[
        "skopeo",
        "copy",
        &from,
        &format!("docker-archive:{docker}:example.org/busy:v2"),
    ]);

    let mut all = Vec::new();
    for text in [
        from.clone(),
        format!("oci-archive:{archive}"),
        format!("docker-archive:{docker}"),
    ] {
        let source: Source = text.parse().unwrap();
        all.push(host.load(&source).unwrap().remove(0));
    }
    assert_eq!(all[0].layers(), all[1].layers());
    assert_eq!(all[0].layers(), all[2].layers());
    for name in ["busy:v1", "archive:v1", "example.org/busy:v2"] {
        assert!(host.store.resolve(name).is_ok(), "{name}");
    }
    host.assert_clean();

    let theirs = host.path("theirs").display().to_string();
    run(&[
        "umoci",
        "raw",
        "unpack",
        "--image",
        &format!("{layout}:v1"),
        &theirs,
    ]);
    let ours = merged(&host);
    assert_eq!(ours, listing(&theirs));
    assert!(ours.contains("data/c") && !ours.contains("data/a") && !ours.contains("etc/gone"));
}

/// The listing of a container's root, attached for a moment in a namespace of its own.
fn merged(host: &Host) -> String {
    let image = host.store.resolve("busy:v1").unwrap();
    let container = host.store.create_container("c", &image).unwrap();
    let root = container
        .mount_root(&RootOptions::default().with_read_only(true))
        .unwrap();
    let at = host.path("mnt");
    std::fs::create_dir(&at).unwrap();
    let apart = |root: std::os::fd::OwnedFd, at: std::path::PathBuf| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let private = rustix::mount::MountPropagationFlags::PRIVATE
            | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        let flags = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&root, "", rustix::fs::CWD, &at, flags).unwrap();
        listing(at.to_str().unwrap())
    };
    std::thread::spawn(move || apart(root, at)).join().unwrap()
}
