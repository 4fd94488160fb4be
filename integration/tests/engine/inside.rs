//! What a container looks like from within.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::client::engine::{Engine, Kind};

/// The value of a line of /proc/self/status.
fn status(engine: &Engine<'_>, flags: &[&str], key: &str) -> Result<String> {
    let text = engine.shell(flags, "cat /proc/self/status")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    Ok(line.context("no such line")?.trim().to_owned())
}

pub(crate) fn volumes(engine: &Engine<'_>) -> Result<()> {
    let folder = engine.world().dir().join(engine.name());
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("here"), "from the machine\n")?;
    let dir = folder.display();
    let flags = [
        &format!("-v={dir}:/data"),
        &format!("-v={dir}:/fixed:ro"),
        "--tmpfs=/scratch:size=1m",
    ];
    let script = "cat /data/here; echo new >/data/there; touch /fixed/x 2>/dev/null || echo fixed;
        stat -f -c %T /scratch; dd if=/dev/zero of=/scratch/f bs=1k count=2000 2>/dev/null || echo full";
    let out = engine.shell(&flags, script)?;
    assert_eq!(out, "from the machine\nfixed\ntmpfs\nfull\n");
    assert_eq!(fs::read_to_string(folder.join("there"))?, "new\n");

    let volume = engine.name();
    engine.ok(&["volume", "create", &volume])?;
    let mount = format!("{volume}:/data");
    engine.shell(&["-v", &mount], "echo kept >/data/file")?;
    assert_eq!(engine.shell(&["-v", &mount], "cat /data/file")?, "kept\n");
    engine.ok(&["volume", "rm", &volume]).map(drop)
}

pub(crate) fn readonly(engine: &Engine<'_>) -> Result<()> {
    let script = "touch /file 2>/dev/null || echo no; touch /bin/file 2>/dev/null || echo no;
        echo data >/dev/null && echo null; mkdir /tmp/x 2>/dev/null || echo no tmp";
    let out = engine.shell(&["--read-only"], script)?;
    ensure!(out.starts_with("no\nno\nnull\n"), "{out}");
    let out = engine.shell(
        &["--read-only", "--tmpfs", "/tmp"],
        "touch /tmp/file && echo yes",
    )?;
    assert_eq!(out, "yes\n");
    Ok(())
}

pub(crate) fn users(engine: &Engine<'_>) -> Result<()> {
    let ids = "id -u; id -g; echo $HOME; grep ^Groups: /proc/self/status";
    let out = engine.shell(&["--user", "user"], ids)?;
    ensure!(out.starts_with("1000\n1000\n/home/user\n"), "{out}");
    let out = engine.shell(&["--user", "1000:2000", "--group-add", "3000"], ids)?;
    ensure!(
        out.starts_with("1000\n2000\n") && out.contains("3000"),
        "{out}"
    );
    let effective = status(engine, &["--user", "1000"], "CapEff")?;
    assert_eq!(effective, "0000000000000000");
    ensure!(
        engine
            .call(&["run", "--rm", "--user", "nobody-here"])
            .run()?
            .code()
            != 0,
        "a user that is not there"
    );
    Ok(())
}

pub(crate) fn privileges(engine: &Engine<'_>) -> Result<()> {
    let bounding = |flags: &[&str]| -> Result<u64> {
        Ok(u64::from_str_radix(&status(engine, flags, "CapBnd")?, 16)?)
    };
    let usual = bounding(&[])?;
    ensure!(
        usual.count_ones() > 5 && usual.count_ones() < 20,
        "{usual:x}"
    );
    assert_eq!(bounding(&["--cap-drop", "all"])?, 0);
    assert_eq!(bounding(&["--cap-drop", "all", "--cap-add", "chown"])?, 1);
    assert_eq!(
        bounding(&["--cap-drop", "chown"])?.count_ones(),
        usual.count_ones() - 1
    );
    assert_eq!(status(engine, &[], "Seccomp")?, "2");
    let unconfined = ["--security-opt", "seccomp=unconfined"];
    assert_eq!(status(engine, &unconfined, "Seccomp")?, "0");
    if engine.kind() == Kind::Docker {
        // podman's profile lets user namespaces be
        let out = engine.shell(&[], "unshare -U true 2>/dev/null || echo refused")?;
        assert_eq!(out, "refused\n");
    }
    let quiet = ["--security-opt", "no-new-privileges"];
    assert_eq!(status(engine, &quiet, "NoNewPrivs")?, "1");
    Ok(())
}

pub(crate) fn privileged(engine: &Engine<'_>) -> Result<()> {
    let script = "grep -E 'CapBnd|Seccomp:' /proc/self/status; ls /dev | wc -l;
        mkdir /tmp/m && mount -t tmpfs x /tmp/m && echo mounted; touch /proc/sys/kernel/x 2>&1 | grep -c Read-only; true";
    let out = engine.shell(&["--privileged"], script)?;
    ensure!(
        out.contains("Seccomp:\t0") && out.contains("mounted\n0\n"),
        "{out}"
    );
    Ok(())
}

pub(crate) fn settings(engine: &Engine<'_>) -> Result<()> {
    let flags = [
        "--hostname=marvin",
        "--sysctl=net.ipv4.ip_forward=1",
        "--ulimit=nofile=100:200",
        "--ulimit=nproc=1000:1000",
        "--env=COLOUR=green",
        "--workdir=/tmp",
        "--oom-score-adj=500",
        "--shm-size=1m",
        "--device=/dev/null:/dev/hole:rw",
        "--network=none",
    ];
    let script = "hostname; cat /proc/sys/net/ipv4/ip_forward; ulimit -Sn; ulimit -Hn; echo $COLOUR;
        pwd; cat /proc/self/oom_score_adj; df -k /dev/shm | tail -n 1 | awk '{print $2}'; echo x >/dev/hole;
        stat -c %F /dev/hole";
    let out = engine.shell(&flags, script)?;
    let expected = "marvin\n1\n100\n200\ngreen\n/tmp\n500\n1024\ncharacter special file\n";
    assert_eq!(out, expected);
    Ok(())
}

pub(crate) fn namespaces(engine: &Engine<'_>) -> Result<()> {
    let namespace = |kind: &str| format!("readlink /proc/self/ns/{kind}");
    let own = |kind: &str| -> Result<String> {
        engine
            .world()
            .call(["readlink", &format!("/proc/self/ns/{kind}")])
            .run()?
            .ok()
    };
    for (flag, kind) in [
        ("--network=host", "net"),
        ("--pid=host", "pid"),
        ("--ipc=host", "ipc"),
        ("--uts=host", "uts"),
    ] {
        assert_eq!(engine.shell(&[flag], &namespace(kind))?, own(kind)?);
        ensure!(engine.shell(&[], &namespace(kind))? != own(kind)?, "{kind}");
    }
    let first = engine.background(&["--ipc=shareable"], "sleep 60")?;
    for kind in ["network", "pid", "ipc"] {
        let short = kind.trim_end_matches("work");
        let flag = format!("--{kind}=container:{first}");
        let script = namespace(short);
        let theirs = engine.ok(&["exec", &first, "sh", "-c", &script])?;
        assert_eq!(engine.shell(&[&flag], &script)?, theirs, "{kind}");
    }
    engine.remove(&[&first])?;
    // a process of its own, which the kernel kills with the first one
    let script = "ps -o pid,comm | grep -c .; echo $$";
    let out = engine.shell(&[], script)?;
    ensure!(out.ends_with("\n1\n"), "{out}");
    Ok(())
}

pub(crate) fn same_facts(engine: &Engine<'_>) -> Result<()> {
    const FACTS: &str = "grep -E 'Cap|Seccomp:|NoNewPrivs|Groups|^SigBlk|^SigCgt' /proc/self/status;
        awk '{ print $4, $5, ($4 == \"/null\" ? \"\" : $6) }' /proc/self/mountinfo |
        sed 's/[0-9a-f]\\{20,\\}/ID/g' | sort;
        ls -l /dev | awk '{print $1, $3, $4, $5, $6, $NF}' | sort; ls /proc/self/fd | wc -l; ulimit -a; umask;
        cat /proc/self/oom_score_adj; env | sort; cat /proc/1/cgroup | tail -n 1; pwd; id";
    let folder = engine.world().dir();
    for (number, flags) in [&[][..], &["--read-only"], &["--user=1000", "--init"]]
        .iter()
        .enumerate()
    {
        let flags = [*flags, &["--hostname=facts", "--name=facts"]].concat();
        let facts = engine.shell(&flags, FACTS)?;
        let facts = facts
            .replace("/runtimes/hostrun", "")
            .replace("/runtimes/runc", "");
        let file = folder.join(format!("facts-{number}"));
        if engine.journal().name() == "runc" {
            fs::write(&file, facts)?;
            continue;
        }
        let theirs = fs::read_to_string(&file)?;
        let different = |a: &str, b: &str| -> Vec<String> {
            let known: Vec<&str> = b.lines().collect();
            a.lines()
                .filter(|line| !known.contains(line))
                .map(str::to_owned)
                .collect()
        };
        let (more, less) = (different(&facts, &theirs), different(&theirs, &facts));
        ensure!(
            more.is_empty() && less.is_empty(),
            "{flags:?}\nonly here: {more:#?}\nonly on runc: {less:#?}"
        );
    }
    Ok(())
}
