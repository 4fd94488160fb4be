//! What a hostile review found, and old attacks it found again: a container against the runtime.
//!
//! The others it found, which take no hostile container, are in lifecycle.rs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host::{self, Mounted, slow, wait_for};
use hostrun_integration::refusal::{loud, refuse, refused};
use hostrun_integration::{Bundle, Runtime, Stage, cgroup, on_stage, on_stage_of_hostrun};
use serde_json::json;

/// A file of the machine that nothing in a container may read.
fn secret(stage: &Stage) -> Result<PathBuf> {
    let path = stage.dir().join("secret");
    fs::write(&path, "the machine's\n")?;
    Ok(path)
}

#[test]
fn cve_2019_5736_scripts_that_name_the_runtime_as_interpreter_are_refused() -> Result<()> {
    on_stage(|stage| {
        let direct: &[u8] = b"#!/proc/self/exe --version\n";
        let blanks: &[u8] = b"#! \t/proc/self/exe\t--version\n";
        let thread: &[u8] = b"#!/proc/thread-self/exe --version";
        for script in [direct, blanks, thread] {
            let bundle = stage.bundle()?.file("/entry", 0o755, script)?;
            let out = stage.run(&bundle.args(&["/entry"]))?;
            refused(stage, &String::from_utf8_lossy(script), &out, 126)?;
        }
        let bundle = stage
            .bundle()?
            .file("/entry", 0o755, b"#!/script2\n")?
            .file("/script2", 0o755, b"#!/script3\n")?
            .file("/script3", 0o755, direct)?
            .shell("sleep 60");
        let nested = bundle.clone().args(&["/entry"]);
        refused(stage, "nested", &stage.run(&nested)?, 126)?;
        let container = stage.start(&bundle)?;
        // every failure of exec but the command's own has this code
        refused(stage, "exec", &container.exec(&["/entry"])?, 255)?;
        container.delete()
    })
}

/// Creates a container with a runtime that is a copy of the one under test, and gives its id.
fn create_with(stage: &Stage, runtime: &Runtime, bundle: &Bundle) -> Result<String> {
    let (id, dir) = (stage.id(), bundle.write()?.to_string_lossy().into_owned());
    let words = ["create", "--bundle", &dir, &id];
    stage.call_of(runtime, words).run()?.ok()?;
    Ok(id)
}

#[test]
fn cve_2019_5736_a_neighbour_in_the_pid_namespace_cannot_write_to_the_binary() -> Result<()> {
    on_stage(|stage| {
        let copy = stage.runtime().copy_to(&stage.folder("copy")?)?;
        let before = fs::read(copy.program())?;
        // keeps whatever is not busybox open, and writes to it when it does not run any more; what it
        // saw may be gone when it opens it, which ends a shell that execs without `command`
        let hunter = "held=3; while :; do
            for p in /proc/[0-9]*; do
                exe=$(readlink $p/exe) || continue
                [ -n \"$exe\" ] && [ \"$exe\" != /bin/busybox ] || continue
                true >>$p/exe
                if [ ! -e /caught/${p#/proc/} ] && [ $held -lt 9 ] && eval \"command exec $held<$p/exe\"; then
                    held=$((held+1))
                    true >/caught/${p#/proc/}
                fi
            done
            for fd in 3 4 5 6 7 8; do [ -e /proc/$$/fd/$fd ] && echo x >>/proc/$$/fd/$fd; done
            done 2>/dev/null";
        let rights = [
            "CAP_SYS_PTRACE",
            "CAP_DAC_OVERRIDE",
            "CAP_DAC_READ_SEARCH",
            "CAP_KILL",
        ];
        let hunting = stage.bundle()?.capabilities(&rights).shell(hunter);
        let caught = hunting.rootfs().join("caught");
        fs::create_dir(&caught)?;
        let neighbour = stage.start(&hunting)?;
        let path = format!("/proc/{}/ns/pid", neighbour.pid()?);
        let joining = stage.bundle()?.namespace("pid", Some(Path::new(&path)));
        for number in 0..20 {
            let id = create_with(stage, &copy, &joining)?;
            if number < 2 {
                // parked, it is still hostrun, and there to be seen
                wait_for("the hunter sees it", || {
                    fs::read_dir(&caught).is_ok_and(|list| list.count() > number)
                })?;
            }
            stage.call_of(&copy, ["start", &id]).run()?.ok()?;
            let delete = ["delete", "--force", &id];
            stage.call_of(&copy, delete).run()?.ok()?;
            ensure!(
                fs::read(copy.program())? == before,
                "start {number}: the binary changed"
            );
        }
        // nobody runs the copy now, so nothing but its seal keeps the hunter from writing to it
        std::thread::sleep(Duration::from_millis(500));
        ensure!(
            fs::read(copy.program())? == before,
            "the binary changed in the end"
        );
        assert_eq!(neighbour.state()?["status"], "running", "the hunter died");
        neighbour.delete()
    })
}

#[test]
fn cve_2019_5736_the_binary_is_sealed_while_a_container_is_made() -> Result<()> {
    on_stage(|stage| {
        let copy = stage.runtime().copy_to(&stage.folder("copy")?)?;
        let neighbour = stage.start(&stage.bundle()?.shell("sleep 60"))?;
        let path = format!("/proc/{}/ns/pid", neighbour.pid()?);
        let joined = stage.bundle()?.namespace("pid", Some(Path::new(&path)));
        let shared = stage.bundle()?.without_namespace("pid");
        // maps that do not know the file's owner bind nobody who was in that namespace before
        let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        let mapped = stage
            .bundle()?
            .namespace("pid", Some(Path::new(&path)))
            .namespace("user", None)
            .set("/linux/uidMappings", maps.clone())
            .set("/linux/gidMappings", maps)
            .without_mount("/proc");
        // runc makes none without a procfs in it
        let mapped = (!stage.runtime().is_runc()).then_some(mapped);
        for bundle in [stage.bundle()?, joined, shared].into_iter().chain(mapped) {
            let id = create_with(stage, &copy, &bundle)?;
            let state = stage.call(["state", &id]).run()?.ok()?;
            let state: serde_json::Value = serde_json::from_str(&state)?;
            assert_eq!(state["status"], "created", "it must still be hostrun");
            let exe = format!("/proc/{}/exe", state["pid"]);
            // it is busy while it runs; a mount that is read-only is asked before that, if it is
            // to be truncated
            let mut options = File::options();
            let error = options.write(true).truncate(true).open(&exe).err();
            assert_eq!(
                error.context("it can be opened")?.kind(),
                io::ErrorKind::ReadOnlyFilesystem
            );
            stage.call(["delete", "--force", &id]).run()?.ok()?;
        }
        neighbour.delete()
    })
}

#[test]
fn a_container_that_is_still_being_created_is_not_there_for_others() -> Result<()> {
    on_stage_of_hostrun("the delayed system call is hostrun's", |stage| {
        let secret = secret(stage)?.to_string_lossy().into_owned();
        let bundle = stage.bundle()?.shell("sleep 60");
        let group = bundle.cgroup()?;
        let (id, dir) = (stage.id(), bundle.write()?.to_string_lossy().into_owned());
        // with mount(2) the child leaves the host's root; until then it is in the host's files
        let create = stage.call(["create", "--bundle", &dir, &id]);
        let create = create.under(slow("mount", 6000)).spawn()?;
        wait_for("a process in the cgroup", || {
            cgroup::read(&group, "cgroup.procs").is_ok_and(|list| !list.is_empty())
        })?;
        for words in [vec!["exec", &id, "/bin/cat", &secret], vec!["start", &id]] {
            let code = if words[0] == "exec" { 255 } else { 1 };
            let line = refused(stage, words[0], &stage.call(&words).run()?, code)?;
            ensure!(line.contains("creat"), "{}: {line}", words[0]);
        }
        let state = stage.call(["state", &id]).run()?.ok()?;
        ensure!(state.contains("\"creating\""), "{state}");
        ensure!(
            !stage.root().join(&id).join("state.json").exists(),
            "it was created too soon to tell"
        );
        wait_for("it is created", || {
            let state = stage.call(["state", &id]).run();
            state.is_ok_and(|state| state.stdout().contains("\"status\": \"created\""))
        })?;
        stage.call(["start", &id]).run()?.ok()?;
        let exec = stage.call(["exec", &id, "/bin/cat", &secret]).run()?;
        assert_eq!((exec.code(), exec.stdout().as_str()), (1, ""));
        stage.call(["delete", "--force", &id]).run()?.ok()?;
        create.wait().map(drop)
    })
}

#[test]
fn a_container_that_may_trace_never_reaches_the_machine_through_an_exec() -> Result<()> {
    on_stage(|stage| {
        let secret = secret(stage)?;
        let hunter = format!(
            "while :; do for p in /proc/[0-9]*; do
                read x <$p/root{0} && echo \"$x\" >/caught
                for fd in $p/fd/*; do
                    read x <$fd/{1}/root{0} && echo \"$x\" >/caught
                done
                [ $p != /proc/1 ] && [ $p != /proc/$$ ] && read x <$p/root/etc/passwd && true >/seen
            done; done 2>/dev/null",
            secret.display(),
            std::process::id()
        );
        let rights = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"];
        let bundle = stage.bundle()?.capabilities(&rights).shell(&hunter);
        let container = stage.start(&bundle)?;
        for number in 0..50 {
            let words = ["exec", &container.id, "/bin/sleep", "0.01"];
            let exec = stage.call(words);
            // some have to wait, while they join and when they are born among the others there, with
            // all the time in the world for a hunter
            let exec = match number % 10 {
                4 => exec.under(slow("setsid", 300)),
                9 => exec.under(slow("setns", 300)),
                _ => exec,
            };
            exec.run()?.ok()?;
            ensure!(
                !bundle.rootfs().join("caught").exists(),
                "exec {number}: the machine's file was read"
            );
        }
        ensure!(
            bundle.rootfs().join("seen").exists(),
            "the hunter saw nobody"
        );
        container.delete()
    })
}

#[test]
fn mounts_in_a_shared_volume_do_not_appear_on_the_machine() -> Result<()> {
    on_stage(|stage| {
        let shared = Mounted::tmpfs(&stage.folder("shared")?, &[])?;
        shared.propagation("shared")?;
        fs::create_dir(shared.at().join("inner"))?;
        let before = stage.mounts()?;
        let bundle = stage
            .bundle()?
            .capabilities(&["CAP_SYS_ADMIN"])
            .bind(shared.at(), "/volume", &["rbind", "rshared"])
            .shell("mount -t tmpfs inner /volume/inner; grep -c ' - tmpfs inner ' /proc/self/mountinfo >/seen; sleep 60");
        let container = stage.start(&bundle)?;
        let seen = bundle.rootfs().join("seen");
        wait_for("its mount", || {
            fs::read_to_string(&seen).is_ok_and(|seen| seen == "1\n")
        })?;
        assert_eq!(stage.mounts()?, before);
        container.delete()?;
        assert_eq!(stage.mounts()?, before);
        Ok(())
    })
}

#[test]
fn cve_2019_16884_a_volume_on_a_link_of_the_image_into_proc_is_refused() -> Result<()> {
    on_stage(|stage| {
        let volume = stage.folder("volume")?;
        fs::create_dir_all(volume.join("kernel"))?;
        for (link, target) in [
            ("/proc", "/link"),
            ("/proc", "/link/fs"),
            ("/proc/sys", "/link"),
            ("../../proc", "/link/sys/kernel"),
        ] {
            let bundle = loud(stage)?.bind(&volume, target, &["rbind"]);
            std::os::unix::fs::symlink(link, bundle.rootfs().join("link"))?;
            refuse(stage, &format!("{target} by {link}"), &bundle)?;
        }
        Ok(())
    })
}

#[test]
fn nothing_but_a_regular_file_of_an_image_is_opened() -> Result<()> {
    on_stage_of_hostrun("runc reads what is there until it is too much", |stage| {
        let user = json!({"uid": 1000, "gid": 1000});
        for node in [["c", "1", "7"].as_slice(), &["p"]] {
            let bundle = stage.bundle()?.set("/process/user", user.clone());
            let bundle = bundle.shell("sleep 60");
            let passwd = bundle.rootfs().join("etc/passwd");
            fs::remove_file(&passwd)?;
            host::command("mknod", [passwd.as_os_str()], node)?;
            let trace = stage.dir().join("trace");
            let traced = [
                "strace",
                "-f",
                "-qq",
                "-e",
                "trace=open,openat,openat2",
                "-o",
            ];
            let mut traced: Vec<String> = traced.map(str::to_owned).to_vec();
            traced.push(trace.to_string_lossy().into_owned());
            let run = stage.run_call(&bundle.clone().args(&["/bin/true"]))?;
            run.under(&traced).run()?.ok()?;
            let mut text = fs::read_to_string(&trace)?;
            let container = stage.start(&bundle)?;
            let exec = stage.call(["exec", &container.id, "/bin/true"]);
            exec.under(&traced).run()?.ok()?;
            text += &fs::read_to_string(&trace)?;
            let looks: Vec<&str> = text
                .lines()
                .filter(|line| line.contains("passwd"))
                .collect();
            ensure!(looks.len() >= 2, "nobody looked: {text}");
            for line in looks {
                ensure!(line.contains("O_PATH"), "{node:?} was opened: {line}");
            }
            // what is regular is opened anew in this way
            ensure!(!text.contains("\"/proc/self/fd/"), "{node:?}: {text}");
            container.delete()?;
        }
        Ok(())
    })
}

#[test]
fn a_sysctl_of_the_callers_own_network_is_refused() -> Result<()> {
    on_stage(|stage| {
        let bundle = loud(stage)?
            .namespace("network", Some(Path::new("/proc/self/ns/net")))
            .set("/linux/sysctl", json!({"net.ipv4.ip_default_ttl": "99"}));
        // a network that nobody would miss
        let caller = "ttl=/proc/sys/net/ipv4/ip_default_ttl; before=$(cat $ttl); \"$@\"; code=$?
            [ $before != 99 ] && [ $(cat $ttl) = $before ] || echo changed; exit $code";
        let call = stage.run_call(&bundle)?;
        let out = call.under(["unshare", "-n", "sh", "-c", caller, "caller"]);
        refused(stage, "the caller's own network", &out.run()?, 125).map(drop)
    })
}
