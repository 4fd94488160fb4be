//! Hooks of all six kinds: when they run, where, as whom, with what; and what becomes of a container
//! whose hooks fail. Config "POSIX-platform Hooks", runtime "Lifecycle".

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host::wait_for;
use hostrun_integration::refusal::refused;
use hostrun_integration::{Bundle, Stage, cgroup, on_stage, on_stage_of_hostrun};
use serde_json::{Value, json};

const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook that is a line of shell.
fn shell(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

fn with(bundle: Bundle, kind: &str, hook: Value) -> Bundle {
    let pointer = format!("/hooks/{kind}");
    let mut list = bundle.config().pointer(&pointer).cloned();
    let list = list.get_or_insert_with(|| json!([]));
    list.as_array_mut()
        .map(|list| list.push(hook))
        .unwrap_or_default();
    bundle.set(&pointer, list.clone())
}

/// A bundle with a folder that hooks on the host and inside can both write to, at the same path.
fn noted(stage: &Stage) -> Result<(Bundle, PathBuf)> {
    let notes = stage.folder("notes")?;
    let at = notes.to_string_lossy().into_owned();
    Ok((stage.bundle()?.bind(&notes, &at, &["rbind"]), notes))
}

fn read(notes: &Path, name: &str) -> Result<String> {
    fs::read_to_string(notes.join(name)).with_context(|| format!("no note of {name}"))
}

/// Everything ran that could have, and nothing of it is left.
fn gone(stage: &Stage, bundle: &Bundle, what: &str) -> Result<()> {
    let state = stage.root();
    let left = fs::read_dir(&state).map_or(0, Iterator::count);
    ensure!(left == 0, "{what}: state is left");
    let group = cgroup::dir(&bundle.cgroup()?);
    // runc 1.1 now and then leaves that of a start that failed
    ensure!(
        stage.runtime().is_runc() || !group.exists(),
        "{what}: its cgroup is left"
    );
    Ok(())
}

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
fn a_hook_without_an_environment_has_the_path_or_inside_the_programs() -> Result<()> {
    on_stage_of_hostrun("runc hands hooks its caller's environment", |stage| {
        let (mut bundle, notes) = noted(stage)?;
        let dir = notes.display();
        for kind in KINDS {
            let script = format!("exec 9</proc/self/environ; cat <&9 >{dir}/{kind}; true");
            bundle = with(bundle, kind, shell(&script));
        }
        let bundle = bundle.set("/process/env", json!(["PATH=/bin", "HOME=/", "ONE=1"]));
        stage
            .run_call(&bundle.shell("sleep 0.2"))?
            .under(["env", "LD_PRELOAD=", "CALLERS=1", "PATH=/usr/bin:/bin"])
            .run()?
            .ok()?;
        for kind in KINDS {
            let wanted = match kind {
                "startContainer" => "PATH=/bin\0HOME=/\0ONE=1\0",
                _ => "PATH=/usr/bin:/bin\0",
            };
            assert_eq!(read(&notes, kind)?, wanted, "{kind}");
        }
        Ok(())
    })
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
fn the_failing_hook_is_named_and_nothing_of_the_container_is_left() -> Result<()> {
    on_stage(|stage| {
        for verb in ["create", "run"] {
            for kind in &KINDS[..5] {
                if verb == "create" && ["startContainer", "poststart"].contains(kind) {
                    continue;
                }
                let (bundle, notes) = noted(stage)?;
                let after = notes.join("after");
                let late = format!("echo ran >>{}", after.display());
                let stopped = format!("cat >{}/stopped", notes.display());
                let bundle = with(bundle, kind, json!({"path": "/bin/true"}));
                let bundle = with(bundle, kind, shell("echo told you >&2; exit 3"));
                let bundle = with(bundle, kind, shell(&late));
                let bundle = with(bundle, "poststop", shell(&stopped)).shell("sleep 60");
                let dir = bundle.write()?.to_string_lossy().into_owned();
                let out = stage.call([verb, "--bundle", &dir, &stage.id()]).run()?;
                let code = if verb == "run" { 125 } else { 1 };
                let line = refused(stage, kind, &out, code)?;
                let words = format!("error running {kind} hook #1: exit status 3");
                // runc 1.1 does not say which kind, later ones do
                ensure!(
                    stage.runtime().is_runc() || line.contains(&words),
                    "{verb}: {line}"
                );
                ensure!(line.contains("told you"), "{verb} {kind}: {line}");
                ensure!(!after.exists(), "{verb} {kind}: the hook after it ran");
                ensure!(
                    notes.join("stopped").exists(),
                    "{verb} {kind}: no poststop hook ran"
                );
                fs::remove_dir_all(&notes)?;
                gone(stage, &bundle, kind)?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_hook_that_cannot_run_says_why() -> Result<()> {
    on_stage(|stage| {
        let plain = stage.dir().join("plain");
        fs::write(&plain, "#!/bin/sh\n")?;
        let plain = plain.to_string_lossy().into_owned();
        for (path, words) in [
            ("/no/such/hook", "no such file or directory"),
            (plain.as_str(), "permission denied"),
            ("/etc", "permission denied"),
        ] {
            for kind in &KINDS[..5] {
                let inside = *kind == "startContainer";
                if inside && path == plain {
                    continue;
                }
                let bundle = with(stage.bundle()?, kind, json!({"path": path}));
                let line = refused(stage, kind, &stage.run(&bundle.shell("sleep 60"))?, 125)?;
                ensure!(line.contains(words), "{kind} {path}: {line}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_hook_that_hangs_is_killed_with_what_it_started_when_its_time_is_up() -> Result<()> {
    on_stage_of_hostrun("runc waits for whatever holds a hook's output", |stage| {
        for kind in &KINDS[..5] {
            let (bundle, notes) = noted(stage)?;
            let script = format!("sleep 600 & echo $! >{}/pid; wait", notes.display());
            let mut hook = shell(&script);
            hook["timeout"] = json!(1);
            let bundle = with(bundle, kind, hook).shell("sleep 60");
            let begun = std::time::Instant::now();
            let line = refused(stage, kind, &stage.run(&bundle)?, 125)?;
            let took = begun.elapsed().as_secs();
            ensure!((1..20).contains(&took), "{kind}: it took {took} s");
            let words = format!("error running {kind} hook #0: ");
            ensure!(
                line.contains(&words) && line.contains("in time"),
                "{kind}: {line}"
            );
            let pid = read(&notes, "pid")?;
            // that of a process inside is another one's here
            let inside = kind.ends_with("Container");
            let gone = || inside || !Path::new("/proc").join(pid.trim()).join("exe").exists();
            wait_for("the end of what the hook started", gone)?;
        }
        Ok(())
    })
}

#[test]
fn hooks_that_are_wrong_are_refused_by_their_path_in_the_config() -> Result<()> {
    on_stage_of_hostrun("runc takes a relative path and no time at all", |stage| {
        let mut bundle = stage.bundle()?.shell("echo it ran");
        for kind in KINDS {
            bundle = with(bundle, kind, json!({"path": "/bin/true"}));
            bundle = with(bundle, kind, json!({"path": "bin/true", "timeout": 0}));
        }
        let line = refused(stage, "hooks", &stage.run(&bundle)?, 125)?;
        for kind in KINDS {
            for key in ["path", "timeout"] {
                let path = format!("hooks.{kind}[1].{key}: ");
                ensure!(line.contains(&path), "no {path}: {line}");
            }
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
        let table = hostrun_integration::host::mounts()?;
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
fn a_poststart_hook_that_fails_ends_the_container() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 lets it live, later ones do not", |stage| {
        let (bundle, notes) = noted(stage)?;
        let stopped = format!("echo stopped >>{}/stopped", notes.display());
        let bundle = with(bundle, "poststart", json!({"path": "/bin/false"}));
        let bundle = with(bundle, "poststop", shell(&stopped)).shell("sleep 600");
        let container = stage.create(&bundle)?;
        let out = container.call("start", &[])?;
        let line = refused(stage, "start", &out, 1)?;
        ensure!(
            line.contains("error running poststart hook #0: exit status 1"),
            "{line}"
        );
        ensure!(
            container.call("state", &[])?.code() != 0,
            "it is still there"
        );
        assert_eq!(read(&notes, "stopped")?, "stopped\n");
        gone(stage, &bundle, "start")
    })
}

#[test]
fn all_poststop_hooks_run_and_their_failures_are_warnings() -> Result<()> {
    on_stage(|stage| {
        let (bundle, notes) = noted(stage)?;
        let script = format!("echo ran >>{}/stopped", notes.display());
        let bundle = with(bundle, "poststop", json!({"path": "/bin/false"}));
        let bundle = with(bundle, "poststop", json!({"path": "/no/such"}));
        let bundle = with(bundle, "poststop", shell(&script));
        let container = stage.start(&bundle.clone().shell("sleep 60"))?;
        container.kill("KILL")?;
        container.wait_until("stopped")?;
        let warned = |what: &str, text: &str| -> Result<()> {
            if stage.runtime().is_runc() {
                return Ok(());
            }
            for words in [
                "warning: error running poststop hook #0: poststop hook failed with exit code 1",
                "warning: error running poststop hook #1: no such file or directory",
            ] {
                ensure!(text.contains(words), "{what}: {text}");
            }
            Ok(())
        };
        let delete = container.call("delete", &[])?;
        delete.ok()?;
        warned("delete", &delete.stderr())?;
        let run = stage.run(&bundle.clone().shell("exit 7"))?;
        assert_eq!(run.code(), 7, "{}", run.stderr());
        warned("run", &run.stderr())?;
        // runc 1.1 stops at the first that fails
        ensure!(
            stage.runtime().is_runc() || read(&notes, "stopped")? == "ran\nran\n",
            "the last hook did not run each time"
        );
        gone(stage, &bundle, "poststop")
    })
}

#[test]
fn a_container_is_seen_to_be_created_while_its_hooks_run_and_nobody_gets_in() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 says that there is no such container", |stage| {
        for kind in ["createRuntime", "createContainer"] {
            let (bundle, notes) = noted(stage)?;
            let (begun, go) = (notes.join("begun"), notes.join("go"));
            let wait = format!(
                "echo >{}; until [ -e {} ]; do sleep 0.05; done",
                begun.display(),
                go.display()
            );
            let bundle = with(bundle, kind, shell(&wait)).shell("sleep 60");
            let (id, dir) = (stage.id(), bundle.write()?.to_string_lossy().into_owned());
            let create = stage.call(["create", "--bundle", &dir, &id]).spawn()?;
            wait_for("the hook", || begun.exists())?;
            let state: Value = serde_json::from_str(&stage.call(["state", &id]).run()?.ok()?)?;
            assert_eq!(state["status"], "creating", "{kind}");
            ensure!(state["pid"].as_i64().is_some_and(|pid| pid > 0), "{state}");
            ensure!(stage.call(["list"]).run()?.ok()?.contains("creating"));
            for words in [
                &["start", &id][..],
                &["exec", &id, "true"],
                &["kill", &id, "KILL"],
                &["delete", &id],
            ] {
                let out = stage.call(words).run()?;
                ensure!(out.code() != 0, "{kind}: {words:?} went through");
            }
            fs::write(&go, "")?;
            create.wait()?.ok()?;
            let state: Value = serde_json::from_str(&stage.call(["state", &id]).run()?.ok()?)?;
            assert_eq!(state["status"], "created");
            stage.call(["delete", "--force", &id]).run()?.ok()?;
            fs::remove_dir_all(&notes)?;
        }
        Ok(())
    })
}

#[test]
fn a_container_can_be_deleted_by_force_while_its_hooks_hang() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 knows no container then", |stage| {
        for kind in ["prestart", "createContainer"] {
            let (bundle, notes) = noted(stage)?;
            let begun = notes.join("begun");
            let hang = format!("echo $$ >{}; exec sleep 600", begun.display());
            let bundle = with(bundle, kind, shell(&hang)).shell("sleep 60");
            let (id, dir) = (stage.id(), bundle.write()?.to_string_lossy().into_owned());
            let create = stage.call(["create", "--bundle", &dir, &id]).spawn()?;
            wait_for("the hook", || begun.exists())?;
            stage.call(["delete", "--force", &id]).run()?.ok()?;
            gone(stage, &bundle, kind)?;
            if kind == "prestart" {
                // its maker still waits for the hook, and dies with it when told
                create.signal(rustix::process::Signal::KILL)?;
            }
            let out = create.wait()?;
            ensure!(out.code() != 0, "{kind}: it was created");
            let pid = read(&notes, "begun")?;
            let inside = kind == "createContainer";
            wait_for("the end of the hook", || {
                inside || !Path::new("/proc").join(pid.trim()).join("exe").exists()
            })?;
            fs::remove_dir_all(&notes)?;
            gone(stage, &bundle, kind)?;
        }
        Ok(())
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
fn a_hook_that_kills_the_container_ends_it_and_nothing_else() -> Result<()> {
    on_stage(|stage| {
        let kill = "kill -9 $(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')";
        for kind in ["prestart", "createRuntime"] {
            let bundle = with(stage.bundle()?, kind, shell(kill)).shell("echo it ran");
            refused(stage, kind, &stage.run(&bundle)?, 125)?;
            gone(stage, &bundle, kind)?;
        }
        if stage.runtime().is_runc() {
            // it runs poststart hooks before there is anything to kill
            return Ok(());
        }
        let bundle = with(stage.bundle()?, "poststart", shell(kill)).shell("sleep 60");
        let out = stage.run(&bundle)?;
        assert_eq!(out.code(), 137, "{}", out.stderr());
        gone(stage, &bundle, "poststart")?;
        let container = stage.create(&bundle)?;
        container.start()?;
        container.wait_until("stopped")?;
        container.delete()
    })
}

#[test]
fn a_second_start_during_start_container_hooks_is_refused_and_asking_never_hangs() -> Result<()> {
    on_stage_of_hostrun("runc waits for its fifo", |stage| {
        let (bundle, notes) = noted(stage)?;
        let (begun, go) = (notes.join("begun"), notes.join("go"));
        let wait = format!(
            "echo >{}; until [ -e {} ]; do sleep 0.05; done",
            begun.display(),
            go.display()
        );
        let bundle = with(bundle, "startContainer", shell(&wait)).shell("sleep 60");
        let container = stage.create(&bundle)?;
        let start = stage.call(["start", &container.id]).spawn()?;
        wait_for("the hook", || begun.exists())?;
        for _ in 0..20 {
            assert_eq!(container.state()?["status"], "running");
        }
        let second = container.call("start", &[])?;
        ensure!(second.code() != 0, "started twice");
        fs::write(&go, "")?;
        start.wait()?.ok()?;
        container.delete()
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
