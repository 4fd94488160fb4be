//! What others in a container find in a process that is executed there before it is its program: they
//! may stop it, where they hold CAP_SYS_PTRACE, and use what it has.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::host::{slow, wait_for};
use hostrun_integration::runtime::Call;
use hostrun_integration::{Bundle, Stage, on_stage_of_hostrun};
use serde_json::json;

const CAP_KILL: u64 = 1 << 5;
const CAP_SYS_PTRACE: u64 = 1 << 19;
/// What becoming another user takes.
const CAP_SETGID_AND_SETUID: u64 = 1 << 6 | 1 << 7;

/// Writes down, once each, the sets of capabilities of every process that is not its own, and whether
/// it has a filter (2) or none (0).
const HUNTER: &str = "echo >/ready; old=
    while :; do for p in /proc/[0-9]*; do
        [ $p = /proc/1 ] || while read name value; do
            case $name in CapPrm:|CapEff:|CapBnd:|Seccomp:) case $old in *$name$value*) ;;
                *) echo $name$value >>/seen; old=\"$old $name$value\";; esac;; esac
        done <$p/status
    done; done 2>/dev/null";

/// What the hunter has seen by the end of some executions, each held up where it has just been born,
/// where it is about to change its user, and behind that.
#[derive(Debug)]
struct Seen {
    sets: BTreeSet<u64>,
    without_filter: bool,
}

fn seen(stage: &Stage, bundle: &Bundle, words: &[&str]) -> Result<Seen> {
    let rights = ["CAP_SYS_PTRACE", "CAP_KILL"];
    let bundle = bundle.clone().capabilities(&rights).shell(HUNTER);
    let file = |name: &str| fs::read_to_string(bundle.rootfs().join(name)).unwrap_or_default();
    // the hunter of another case may have had this root
    for name in ["ready", "seen"] {
        fs::write(bundle.rootfs().join(name), "")?;
    }
    let container = stage.start(&bundle)?;
    wait_for("the hunter", || file("ready") == "\n")?;
    for held in ["setsid", "setresuid", "openat2", "execve"] {
        let all = [&["exec"], words, &[&container.id, "/bin/true"]].concat();
        stage.call(all).under(slow(held, 300)).run()?.ok()?;
    }
    container.delete()?;
    let text = file("seen");
    let lines = || text.lines().filter_map(|line| line.split_once(':'));
    let sets = lines().filter(|(name, _)| name.starts_with("Cap"));
    let sets = sets.map(|(_, set)| u64::from_str_radix(set, 16));
    Ok(Seen {
        sets: sets.collect::<Result<_, _>>().context(text.clone())?,
        without_filter: lines().any(|line| line == ("Seccomp", "0")),
    })
}

fn shows_nothing_but(stage: &Stage, bundle: &Bundle, words: &[&str], more: u64) -> Result<()> {
    let seen = seen(stage, bundle, words)?;
    ensure!(!seen.sets.is_empty(), "the hunter saw nobody");
    let most = CAP_SYS_PTRACE | CAP_KILL | more;
    for set in &seen.sets {
        ensure!(set & !most == 0, "a process had {set:x}, not {most:x}");
    }
    let filter = bundle.config().pointer("/linux/seccomp");
    ensure!(
        seen.without_filter == filter.is_none(),
        "a process was seen without a filter: {}",
        seen.without_filter
    );
    Ok(())
}

const REASON: &str = "runc's process has all of its parent's while it joins";

/// Lets everything through but what has nothing to do with it, and asks for the flags of a clone.
fn profile() -> serde_json::Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["ptrace", "mount"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {"names": ["clone"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": 0x1000_0000, "valueTwo": 0x1000_0000, "op": "SCMP_CMP_MASKED_EQ"}]}
    ]})
}

#[test]
fn an_executed_process_never_has_more_than_its_program_gets() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let open = json!(false);
        let bundle = stage
            .bundle()?
            .set("/process/noNewPrivileges", open.clone());
        shows_nothing_but(stage, &bundle, &[], 0).context("without a filter")?;
        let filtered = stage
            .bundle()?
            .set("/linux/seccomp", profile())
            .set("/process/noNewPrivileges", open);
        shows_nothing_but(stage, &filtered, &[], 0).context("behind a filter")?;
        let strict = filtered.set("/process/noNewPrivileges", json!(true));
        shows_nothing_but(stage, &strict, &[], 0).context("without new privileges")
    })
}

#[test]
fn what_becomes_another_user_has_what_that_takes_and_nothing_else() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let bundle = stage
            .bundle()?
            .set("/linux/seccomp", profile())
            .set("/process/noNewPrivileges", json!(false));
        let user = ["--user", "1000:1000"];
        shows_nothing_but(stage, &bundle, &user, CAP_SETGID_AND_SETUID)
    })
}

/// Sends 200 descriptors to nobody, and keeps the socket: `sendmsg(2)`, laid out as `cmsg(3)` says.
const KEEPER: &str = r#"use Socket; $| = 1;
    socketpair(my $from, my $to, AF_UNIX, SOCK_STREAM, 0) or die;
    my $rights = pack('Q l l l200', 816, 1, 1, (0) x 200);
    my $part = pack('PQ', 'x', 1);
    my $message = pack('QQ PQ PQ Q', 0, 0, $part, 1, $rights, length $rights, 0);
    syscall(46, fileno $from, $message, 0) == 1 or die "sendmsg: $!";
    print "ready\n"; sleep 600"#;

/// The kernel counts descriptors in sockets by user, and root of every container without a user namespace
/// is one user: a container that keeps many there must not keep others from being joined.
#[test]
fn descriptors_that_others_keep_in_sockets_do_not_stop_an_execution() -> Result<()> {
    on_stage_of_hostrun("runc's process sends none by then", |stage| {
        let container = stage.start(&stage.bundle()?.shell("sleep 600"))?;
        let mut keeper = Call::new("perl".as_ref(), ["-e", KEEPER]).spawn()?;
        keeper.wait_for("ready\n")?;
        for id in ["0:0", "1000:1000"] {
            let words = ["exec", "--user", id, &container.id, "/bin/echo", "inside"];
            let call = stage.call(words).under(["prlimit", "--nofile=64:"]);
            assert_eq!(call.run()?.ok()?, "inside\n");
            let words = ["exec", "--user", id, &container.id, "/not/there"];
            let call = stage.call(words).under(["prlimit", "--nofile=64:"]);
            let out = call.run()?;
            assert_eq!(out.code(), 255);
            ensure!(out.stderr().contains("no such file"), "{}", out.stderr());
        }
        container.delete()
    })
}
