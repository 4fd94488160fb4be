//! Hooks of all six kinds: when they run, where, as whom and with what. Config "POSIX-platform
//! Hooks", runtime "Lifecycle".

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use hostrun_integration::hook::{KINDS, noted, read, shell, with};
use hostrun_integration::refusal::refused;
use hostrun_integration::{on_stage, on_stage_of_hostrun};
use serde_json::{Value, json};

#[test]
fn hooks_run_in_the_order_of_the_spec_with_the_state_on_their_stdin() -> Result<()> {
    on_stage(|stage| {
        let (mut bundle, notes) = noted(stage)?;
        let dir = notes.display();
        for kind in KINDS {
            for number in [1, 2] {
                let script = format!("echo {kind} {number} >>{dir}/order; cat >{dir}/{kind}");
                bundle = with(bundle, kind, shell(&script));
            }
        }
        let annotated = json!({"org.example.key": "a \"value\"\n"});
        let bundle = bundle.set("/annotations", annotated.clone());
        let ran = |kinds: &[&str]| -> Result<()> {
            let lines: Vec<String> = kinds
                .iter()
                .flat_map(|kind| [format!("{kind} 1"), format!("{kind} 2")])
                .collect();
            assert_eq!(read(&notes, "order")?.lines().collect::<Vec<_>>(), lines);
            Ok(())
        };
        let container = stage.create(&bundle.shell("sleep 60"))?;
        let pid = container.pid()?;
        // runc 1.1 runs poststart hooks before there is a start
        if !stage.runtime().is_runc() {
            ran(&KINDS[..3])?;
        }
        container.start()?;
        if !stage.runtime().is_runc() {
            ran(&KINDS[..5])?;
        }
        let id = container.id.clone();
        container.delete()?;
        if !stage.runtime().is_runc() {
            ran(&KINDS)?;
        }
        for kind in KINDS {
            let state: Value = serde_json::from_str(&read(&notes, kind)?)?;
            assert_eq!(state["id"], id.as_str(), "{kind}");
            assert_eq!(state["annotations"], annotated, "{kind}");
            let bundle = stage.dir().join("bundle-1");
            assert_eq!(state["bundle"], bundle.to_string_lossy().as_ref(), "{kind}");
            let (status, number) = match kind {
                "poststart" => ("running", pid),
                "poststop" => ("stopped", 0),
                // in its own namespace it is the first
                "createContainer" | "startContainer" => ("created", 1),
                _ => ("created", pid),
            };
            // runc says creating where the namespaces are created already, and no pid of the dead
            if !stage.runtime().is_runc() {
                assert_eq!(state["status"], status, "{kind}");
                assert_eq!(state["ociVersion"], "1.3.0", "{kind}");
            }
            assert_eq!(
                state["pid"].as_i64().unwrap_or(0),
                i64::from(number),
                "{kind}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_hook_gets_its_arguments_as_they_are_and_only_its_own_environment() -> Result<()> {
    on_stage(|stage| {
        let (mut bundle, notes) = noted(stage)?;
        let dir = notes.display();
        for kind in KINDS {
            let script = format!(
                "exec 8</proc/self/cmdline 9</proc/self/environ; \
                 cat <&8 >{dir}/{kind}.args; cat <&9 >{dir}/{kind}.env; true"
            );
            let sh = if kind == "startContainer" {
                "/bin/ash"
            } else {
                "/bin/sh"
            };
            let hook =
                json!({"path": sh, "args": ["sh", "-c", script, "a b", ""], "env": ["A=b", "C="]});
            bundle = with(bundle, kind, hook);
        }
        let bundle = bundle.set("/process/env", json!(["PATH=/bin", "SECRET=1"]));
        stage
            .run_call(&bundle.shell("sleep 0.2"))?
            .under(["env", "CALLERS=1"])
            .run()?
            .ok()?;
        for kind in KINDS {
            assert_eq!(read(&notes, &format!("{kind}.env"))?, "A=b\0C=\0", "{kind}");
            let args = read(&notes, &format!("{kind}.args"))?;
            ensure!(args.starts_with("sh\0-c\0"), "{kind}: {args}");
            ensure!(args.ends_with("\0a b\0\0"), "{kind}: {args}");
        }
        Ok(())
    })
}

#[test]
fn a_hook_without_an_environment_has_its_callers_or_in_the_root_the_programs() -> Result<()> {
    on_stage_of_hostrun(
        "the oracle's createContainer hooks get the program's",
        |stage| {
            let (mut bundle, notes) = noted(stage)?;
            let dir = notes.display();
            for kind in KINDS {
                let script = format!("exec 9</proc/self/environ; cat <&9 >{dir}/{kind}; true");
                bundle = with(bundle, kind, shell(&script));
            }
            let bundle = bundle.set("/process/env", json!(["PATH=/bin", "HOME=/", "ONE=1"]));
            stage
                .run_call(&bundle.shell("sleep 0.2"))?
                .under([
                    "env",
                    "--ignore-environment",
                    "CALLERS=1",
                    "PATH=/usr/bin:/bin",
                ])
                .run()?
                .ok()?;
            for kind in KINDS {
                let wanted = match kind {
                    "startContainer" => "PATH=/bin\0HOME=/\0ONE=1\0",
                    // neither of the host's variables is for a process in the container's namespaces
                    "createContainer" => "",
                    _ => "CALLERS=1\0PATH=/usr/bin:/bin\0",
                };
                assert_eq!(read(&notes, kind)?, wanted, "{kind}");
            }
            Ok(())
        },
    )
}

#[test]
fn a_hook_stands_in_the_bundle_or_in_the_root_and_holds_three_descriptors() -> Result<()> {
    on_stage(|stage| {
        let (mut bundle, notes) = noted(stage)?;
        let dir = notes.display();
        for kind in KINDS {
            let script = format!(
                "pwd -P >{dir}/{kind}; for n in 0 1 2 3 4 5 6 7 8 9; do \
                 [ -e /proc/self/fd/$n ] && echo $n; done >{dir}/{kind}.fds; true"
            );
            bundle = with(bundle, kind, shell(&script));
        }
        let leak = [
            "sh",
            "-c",
            "exec 3</ 5</proc 9</etc/passwd; exec \"$@\"",
            "leak",
        ];
        let call = stage.run_call(&bundle.clone().shell("sleep 0.2"))?;
        // runc looks for the bundle where it is called
        call.in_dir(bundle.dir()).under(leak).run()?.ok()?;
        let home = bundle.dir().canonicalize()?;
        for kind in KINDS {
            let cwd = match kind {
                "createContainer" => home.join("rootfs"),
                "startContainer" => PathBuf::from("/"),
                _ => home.clone(),
            };
            assert_eq!(
                read(&notes, kind)?.trim_end(),
                cwd.to_string_lossy(),
                "{kind}"
            );
            let fds = read(&notes, &format!("{kind}.fds"))?;
            // runc lets what its caller leaked through
            ensure!(
                stage.runtime().is_runc() || fds == "0\n1\n2\n",
                "{kind}: {fds}"
            );
        }
        Ok(())
    })
}

#[test]
fn what_hooks_mount_before_the_root_is_entered_is_there_inside() -> Result<()> {
    on_stage(|stage| {
        let library = stage.dir().join("library");
        fs::write(&library, "of the machine\n")?;
        let bundle = stage.bundle()?;
        let rootfs = bundle.rootfs();
        fs::create_dir(rootfs.join("lib"))?;
        for name in ["one", "two"] {
            fs::write(rootfs.join("lib").join(name), "of the image\n")?;
        }
        let (library, rootfs) = (library.display(), rootfs.display());
        // as an engine's hooks do it: from outside through the pid, and from inside
        let outside = format!(
            "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); \
             nsenter -m -t $pid mount --bind {library} {rootfs}/lib/one"
        );
        let inside = format!("test -e {rootfs}/proc/self && mount --bind {library} ./lib/two");
        let bundle = with(bundle, "createRuntime", shell(&outside));
        let bundle = with(bundle, "createContainer", shell(&inside));
        for readonly in [false, true] {
            let bundle = bundle.clone().set("/root/readonly", json!(readonly));
            let bundle = bundle.shell("cat /lib/one /lib/two; ls /");
            let out = stage.run(&bundle)?.ok()?;
            ensure!(out.starts_with("of the machine\nof the machine\n"), "{out}");
            ensure!(out.contains("home"), "{out}");
        }
        let table = stage.mounts()?;
        let seen = table.iter().filter(|line| line.contains("/lib/")).count();
        ensure!(
            seen == 0 || !table.iter().any(|line| line.contains("library")),
            "the machine sees the mount"
        );
        Ok(())
    })
}

#[test]
fn a_start_container_hook_is_what_the_program_is() -> Result<()> {
    on_stage(|stage| {
        for no_new_privileges in [false, true] {
            let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]});
            let (bundle, notes) = noted(stage)?;
            fs::set_permissions(&notes, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
            let look = "mkdir /tmp/x 2>/dev/null && echo made; id -u; id -g; hostname; \
                 grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
            let script = format!("({look}) >{}/hook", notes.display());
            let bundle = with(bundle, "startContainer", shell(&script))
                .set("/linux/seccomp", filter)
                .set("/process/user", json!({"uid": 1000, "gid": 1001}))
                .set("/process/noNewPrivileges", json!(no_new_privileges))
                .capabilities(&["CAP_KILL"])
                .shell(look);
            let program = stage.run(&bundle)?.ok()?;
            assert_eq!(read(&notes, "hook")?, program);
            ensure!(
                program.contains("Seccomp:\t2") && program.starts_with("1000\n1001\nstage\n"),
                "{program}"
            );
            fs::remove_dir_all(&notes)?;
        }
        Ok(())
    })
}

#[test]
fn cve_2019_5736_a_start_container_hook_cannot_be_the_runtime_itself() -> Result<()> {
    on_stage_of_hostrun("runc starts a copy of itself", |stage| {
        let script: &[u8] = b"#!/proc/self/exe\n";
        for hook in ["/proc/self/exe", "/entry"] {
            let bundle = stage.bundle()?.file("/entry", 0o755, script)?;
            let bundle = with(bundle, "startContainer", json!({"path": hook}));
            let line = refused(stage, hook, &stage.run(&bundle.shell("echo it ran"))?, 125)?;
            ensure!(line.contains("magic link"), "{line}");
        }
        Ok(())
    })
}

#[test]
fn a_start_container_hook_finds_no_folder_of_the_machine_open_in_the_first_process() -> Result<()> {
    on_stage(|stage| {
        let look = "[ -e /proc/1/fd/0 ] && echo seen; \
             for n in $(seq 3 99); do [ -e /proc/1/fd/$n/. ] && echo $n; done";
        let (bundle, notes) = noted(stage)?;
        let script = format!("({look}) >{}/hook; true", notes.display());
        let bundle = with(bundle, "startContainer", shell(&script));
        let bundle = bundle.capabilities(&["CAP_SYS_PTRACE"]).shell("true");
        stage.run(&bundle)?.ok()?;
        assert_eq!(read(&notes, "hook")?, "seen\n");
        Ok(())
    })
}

#[test]
fn poststart_hooks_run_once_the_program_runs() -> Result<()> {
    on_stage(|stage| {
        let (bundle, notes) = noted(stage)?;
        let script = format!(
            "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); readlink /proc/$pid/exe >{}/exe",
            notes.display()
        );
        let bundle = with(bundle, "poststart", shell(&script)).shell("sleep 60");
        let container = stage.create(&bundle)?;
        // runc 1.1 runs it then, and later ones a moment too early
        ensure!(
            stage.runtime().is_runc() || !notes.join("exe").exists(),
            "it ran at create"
        );
        container.start()?;
        let exe = read(&notes, "exe")?;
        ensure!(
            stage.runtime().is_runc() || exe == "/bin/busybox\n",
            "it ran before the program: {exe}"
        );
        container.delete()
    })
}

#[test]
fn a_hook_may_ignore_its_stdin_or_talk_without_end() -> Result<()> {
    on_stage(|stage| {
        let mut bundle = stage.bundle()?;
        for kind in KINDS {
            bundle = with(bundle, kind, shell("exec <&-; true"));
            let talk = "i=0; while [ $i -lt 2000 ]; do echo $0 $i 0123456789012345678901234567890123456789012345678901234567890123456789; i=$((i+1)); done; echo done >&2";
            bundle = with(bundle, kind, shell(talk));
        }
        // more than a pipe holds
        let long = "x".repeat(200_000);
        let bundle = bundle.set("/annotations", json!({"long": long}));
        let out = stage.run(&bundle.shell("echo ran; sleep 0.1"))?;
        assert_eq!(out.ok()?, "ran\n");
        Ok(())
    })
}

#[test]
fn hooks_run_in_user_namespaces_and_with_a_process_namespace_of_others() -> Result<()> {
    on_stage(|stage| {
        let (bundle, notes) = noted(stage)?;
        fs::set_permissions(&notes, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
        let note = |name: &str| format!("cat /proc/self/uid_map >{}/{name}; true", notes.display());
        let mut mapped = bundle;
        for kind in &KINDS[..4] {
            mapped = with(mapped, kind, shell(&note(kind)));
        }
        let out = stage.run(&mapped.mapped()?.shell("cat /proc/self/uid_map"))?;
        let inside = out.ok()?;
        for kind in &KINDS[..4] {
            let same = read(&notes, kind)? == inside;
            assert_eq!(same, kind.ends_with("Container"), "{kind}");
        }
        let shared = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        let namespace = PathBuf::from(format!("/proc/{}/ns/pid", shared.pid()?));
        let mut joined = stage.bundle()?.namespace("pid", Some(&namespace));
        for kind in KINDS {
            joined = with(joined, kind, shell("cat"));
        }
        let out = stage.run(&joined.shell("echo ran"))?;
        assert_eq!(out.ok()?, "ran\n");
        shared.delete()
    })
}
