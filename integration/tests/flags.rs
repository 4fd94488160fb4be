//! Flags of `hostrun run IMAGE`: they mean what they mean to docker and podman.

use std::fs;

use anyhow::{Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::{Outcome, Stage, namespace, on_stage_of_hostrun};

/// A test on hostrun with a fresh image that is not loaded yet.
fn with_image(test: impl FnOnce(&Stage, &Image) -> Result<()>) -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        test(stage, &Image::new(stage.dir())?)
    })
}

/// Loads and returns the name to run it by.
fn load(stage: &Stage, source: &str) -> Result<String> {
    Ok(stage
        .call(["load", "-q", source])
        .run()?
        .ok()?
        .trim()
        .to_owned())
}

fn run(stage: &Stage, words: &[&str]) -> Result<Outcome> {
    stage.image_call([&["--rm"], words].concat()).run()
}

/// Flags, a line of shell, and what it prints.
type Case<'a> = (&'a [&'a str], &'a str, &'a str);

fn check(stage: &Stage, name: &str, cases: &[Case<'_>]) -> Result<()> {
    let mut wrong = Vec::new();
    for (flags, script, wanted) in cases {
        let out = run(
            stage,
            &[flags, [name, "sh", "-c", script].as_slice()].concat(),
        )?;
        if out.stdout() != *wanted {
            wrong.push(format!(
                "{flags:?}: {:?} instead of {wanted:?} {}",
                out.stdout(),
                out.stderr()
            ));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn flags_about_the_process_mean_what_they_mean_elsewhere() -> Result<()> {
    with_image(|stage, image| {
        let name = load(stage, &image.source())?;
        let env = stage.dir().join("env");
        fs::write(&env, "# comment\nFROM_FILE=yes\n")?;
        let env_file = env.to_string_lossy().into_owned();
        let cases: [Case<'_>; 6] = [
            (&["--env-file", &env_file], "echo $FROM_FILE", "yes\n"),
            (&["-h", "box"], "hostname", "box\n"),
            (&["--group-add", "2000"], "id -G", "0 2000\n"),
            (
                &["--ulimit", "nofile=99:100"],
                "ulimit -n; ulimit -Hn",
                "99\n100\n",
            ),
            (&["--init"], "test $$ -gt 1; echo $?", "0\n"),
            (&[], "echo $$; hostname | wc -c", "1\n13\n"),
        ];
        check(stage, &name, &cases)
    })
}

#[test]
fn flags_about_files_mean_what_they_mean_elsewhere() -> Result<()> {
    with_image(|stage, image| {
        let name = load(stage, &image.source())?;
        let shared = stage.folder("shared")?;
        fs::write(shared.join("hello"), "from outside\n")?;
        let volume = format!("{}:/v:ro", shared.display());
        let mount = format!("type=bind,source={},target=/m", shared.display());
        let read = "cat /v/hello; touch /v/x 2>/dev/null; echo $?";
        let size = "df -k /t | awk 'END { print $2 }'";
        let cases: [Case<'_>; 6] = [
            (&["-v", &volume], read, "from outside\n1\n"),
            (
                &["--mount", &mount],
                "cat /m/hello; echo hi >/m/back",
                "from outside\n",
            ),
            (&["--tmpfs", "/t:size=64k"], size, "64\n"),
            (
                &["--shm-size", "1m"],
                "df -k /dev/shm | awk 'END { print $2 }'",
                "1024\n",
            ),
            (&["--read-only"], "touch /x 2>/dev/null; echo $?", "1\n"),
            (
                &["--device", "/dev/null:/dev/nothing"],
                "stat -c %t,%T /dev/nothing",
                "1,3\n",
            ),
        ];
        check(stage, &name, &cases)?;
        assert_eq!(fs::read_to_string(shared.join("back"))?, "hi\n");
        Ok(())
    })
}

#[test]
fn flags_about_isolation_mean_what_they_mean_elsewhere() -> Result<()> {
    with_image(|stage, image| {
        let name = load(stage, &image.source())?;
        let status = |key: &str| format!("grep {key}: /proc/self/status | tr '\\t' ' '");
        let (bounding, effective) = (status("CapBnd"), status("CapEff"));
        let (privileges, filter) = (status("NoNewPrivs"), status("Seccomp"));
        let cases: [Case<'_>; 7] = [
            (
                &["--cap-drop", "ALL"],
                &bounding,
                "CapBnd: 0000000000000000\n",
            ),
            (
                &["--cap-drop", "ALL", "--cap-add", "KILL"],
                &effective,
                "CapEff: 0000000000000020\n",
            ),
            (
                &["--sysctl", "kernel.msgmax=4242"],
                "cat /proc/sys/kernel/msgmax",
                "4242\n",
            ),
            (
                &["--security-opt", "no-new-privileges"],
                &privileges,
                "NoNewPrivs: 1\n",
            ),
            (
                &["--security-opt", "seccomp=unconfined"],
                &filter,
                "Seccomp: 0\n",
            ),
            (&[], &filter, "Seccomp: 2\n"),
            (&[], "ls /sys/class/net", "lo\n"),
        ];
        check(stage, &name, &cases)?;
        let mut wrong = Vec::new();
        for (flag, kind) in [
            ("--network", "net"),
            ("--pid", "pid"),
            ("--ipc", "ipc"),
            ("--uts", "uts"),
        ] {
            let path = format!("/proc/self/ns/{kind}");
            let out = run(stage, &[flag, "host", &name, "readlink", &path])?;
            if out.stdout().trim() != namespace::own(kind)? {
                wrong.push(format!("{flag} host: {}{}", out.stdout(), out.stderr()));
            }
        }
        ensure!(
            wrong.is_empty(),
            "{}",
            wrong.join(
                "
"
            )
        );
        Ok(())
    })
}

#[test]
fn privileged_takes_the_walls_down() -> Result<()> {
    with_image(|stage, image| {
        let name = load(stage, &image.source())?;
        let script = "grep -E '^(Seccomp|CapEff):' /proc/self/status; test -w /proc/sys/kernel/msgmax; echo $?";
        let text = run(stage, &["--privileged", &name, "sh", "-c", script])?.ok()?;
        ensure!(
            text.contains("Seccomp:\t0") && text.ends_with("0\n"),
            "{text}"
        );
        let own = fs::read_to_string("/proc/self/status")?;
        let bounding = own
            .lines()
            .find_map(|line| line.strip_prefix("CapBnd:\t"))
            .unwrap_or_default();
        ensure!(
            text.contains(&format!("CapEff:\t{bounding}")),
            "{text} but {bounding}"
        );
        Ok(())
    })
}
