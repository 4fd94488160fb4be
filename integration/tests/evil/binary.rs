//! The runtime's own binary, and programs of the image that it could run by mistake (D5, D12).

use std::fs;

use anyhow::Result;
use hostrun_integration::field::{Attack, Field, SECRET, Saw};
use serde_json::json;

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "cve_2019_5736_program_is_the_runtime",
        how: "the program is /proc/self/exe, which another process then writes to",
        fight: |field| {
            let bundle = field.bundle()?.args(&["/proc/self/exe", "--version"]);
            ran_itself(field, &bundle)
        },
    },
    Attack {
        name: "cve_2019_5736_interpreter_is_the_runtime",
        how: "the program is a script whose interpreter is /proc/self/exe",
        fight: |field| {
            let script = b"#!/proc/self/exe --version\n";
            let bundle = field.bundle()?.file("/entry", 0o755, script)?;
            ran_itself(field, &bundle.args(&["/entry"]))
        },
    },
    Attack {
        name: "cve_2019_5736_exec_is_caught",
        how: "the container waits for an exec and writes to /proc/PID/exe",
        fight: hunted_exec,
    },
    Attack {
        name: "cve_2016_9962_exec_is_traced",
        how: "the container waits for an exec and reads the machine's files through /proc/PID",
        fight: traced_exec,
    },
    Attack {
        name: "cve_2022_1227_ps_of_the_image",
        how: "listing the container's processes runs the image's own ps",
        fight: |field| {
            let evil = b"#!/bin/sh\ntrue >/caught\n";
            let bundle = field.bundle()?.shell("sleep 60");
            fs::remove_file(bundle.rootfs().join("bin/ps"))?;
            let bundle = bundle.file("/bin/ps", 0o755, evil)?;
            let container = field.start(&bundle)?;
            container.call("ps", &[])?;
            let caught = bundle.rootfs().join("caught").exists();
            container.delete()?;
            Ok(Saw::through_if(caught, || "the image's program ran".into()))
        },
    },
    Attack {
        name: "cve_2025_23266_hook_with_the_images_environment",
        how: "a hook of the machine gets LD_PRELOAD of the image",
        fight: |field| hook_sees(field, "LD_PRELOAD=/evil.so"),
    },
    Attack {
        name: "hook_with_the_images_path",
        how: "a hook of the machine gets PATH of the image",
        fight: |field| hook_sees(field, "PATH=/evil"),
    },
];

fn ran_itself(field: &Field, bundle: &hostrun_integration::Bundle) -> Result<Saw> {
    let out = field.run(bundle)?;
    let text = out.stdout();
    // one that runs a copy of itself inside gives nothing away but its version
    Ok(if text.is_empty() {
        Saw::Refused
    } else {
        Saw::Contained
    })
}

const RIGHTS: [&str; 4] = [
    "CAP_SYS_PTRACE",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_KILL",
];

fn hunted_exec(field: &Field) -> Result<Saw> {
    let hunter = "while :; do for p in /proc/[0-9]*; do
        exe=$(readlink $p/exe) || continue; [ \"$exe\" = /bin/busybox ] && continue
        [ -n \"$exe\" ] && (exec 3<$p/exe && while [ -d $p ]; do :; done; echo x >/proc/self/fd/3) 2>/dev/null
        done; done";
    let bundle = field.bundle()?.capabilities(&RIGHTS).shell(hunter);
    let container = field.start(&bundle)?;
    for _ in 0..10 {
        field.exec(&[], &container, &["/bin/true"])?;
    }
    container.delete()?;
    Ok(Saw::Contained)
}

fn traced_exec(field: &Field) -> Result<Saw> {
    let secret = field.in_victim("secret");
    let hunter = format!(
        "while :; do for p in /proc/[0-9]*; do
            read x <$p/root{0} && echo \"$x\" >/caught
            for fd in $p/fd/*; do read x <$fd/secret && echo \"$x\" >/caught; done
        done; done 2>/dev/null",
        secret.display()
    );
    let bundle = field.bundle()?.capabilities(&RIGHTS).shell(&hunter);
    let container = field.start(&bundle)?;
    for _ in 0..20 {
        field.exec(&[], &container, &["/bin/true"])?;
    }
    let caught = fs::read_to_string(bundle.rootfs().join("caught")).unwrap_or_default();
    container.delete()?;
    Ok(Saw::through_if(caught.contains(SECRET), || {
        "it read a file of the machine".into()
    }))
}

/// Runs a bundle with one more variable and a hook that writes its environment down.
fn hook_sees(field: &Field, variable: &str) -> Result<Saw> {
    let seen = field.stage().dir().join("hook-environment");
    let words = ["sh", "-c", &format!("env >{}", seen.display())].map(str::to_owned);
    let hooks = json!([{"path": "/bin/sh", "args": words}]);
    let bundle = field
        .bundle()?
        .set("/process/env/-", json!(variable))
        .set("/hooks/createRuntime", hooks.clone())
        .set("/hooks/createContainer", hooks);
    let out = field.run(&bundle)?;
    let environment = fs::read_to_string(&seen).unwrap_or_default();
    if environment.contains(variable) {
        return Ok(Saw::Through("it is in the hook's environment".into()));
    }
    Ok(if out.stdout().is_empty() {
        Saw::Refused
    } else {
        Saw::Contained
    })
}
