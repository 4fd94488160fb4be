//! The two processes of a pull: killed, side by side, and what they have.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::registry::debian::Kind;
use hostrun_integration::registry::faulty::Truth;
use hostrun_integration::registry::{Body, FaultyRegistry};
use hostrun_integration::runtime::Call;
use hostrun_integration::trace::is_below;
use hostrun_integration::{Stage, on_stage_of_hostrun};
use rustix::process::{Pid, Signal, kill_process};

use super::{PLAIN, REASON, pull, shown, with_registry};

/// The files of blobs that have begun to come.
fn partial(stage: &Stage) -> Vec<PathBuf> {
    let entries = fs::read_dir(stage.store().join("store/partial"));
    let paths = entries.into_iter().flatten().flatten();
    paths.map(|entry| entry.path()).collect()
}

/// A server whose largest blob stops after so many bytes, the first time; and that blob's digits.
fn stalling(truth: &Truth, after: usize) -> Result<(FaultyRegistry, String)> {
    let largest = truth.layers()?.first().cloned().context("no layers")?;
    let (own, digest) = (truth.clone(), largest.clone());
    let server = FaultyRegistry::start(move |request| {
        let reply = own.answer(request);
        if request.path.ends_with(&digest) && request.before == 0 {
            return reply.coming(Body::Stall(after));
        }
        reply
    })?;
    Ok((server, largest.replace("sha256:", "")))
}

/// The process that talks to the network for a call.
fn helper_of(pid: i32) -> Result<i32> {
    children_of(pid)?.first().copied().context("no child")
}

/// The oldest first; none of a process that is gone.
fn children_of(pid: i32) -> Result<Vec<i32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace();
    children.map(|child| Ok(child.parse()?)).collect()
}

/// Waits until a blob has come so far.
fn wait_for(stage: &Stage, digits: &str, bytes: u64) -> Result<()> {
    let file = stage.store().join(format!("store/partial/sha256-{digits}"));
    let end = Instant::now() + Duration::from_secs(20);
    while fs::metadata(&file).map_or(0, |file| file.len()) < bytes {
        ensure!(Instant::now() < end, "{} has not come", file.display());
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn a_pull_that_was_killed_goes_on_where_it_ended() -> Result<()> {
    const CAME: usize = 50_000;
    on_stage_of_hostrun(REASON, |stage| {
        let truth = Truth::new(Path::new(&Image::new(stage.dir())?.layout()));
        for whom in ["hostrun", "its helper"] {
            let (server, largest) = stalling(&truth, CAME)?;
            let name = server.name("box:1");
            let words = ["pull", "-q", PLAIN, "--retry=0", &name];
            let running = stage.call(words).spawn()?;
            wait_for(stage, &largest, CAME as u64)?;
            let helper = helper_of(running.pid())?;
            let victim = if whom == "hostrun" {
                running.pid()
            } else {
                helper
            };
            kill_process(Pid::from_raw(victim).context("no pid")?, Signal::KILL)?;
            let out = running.wait()?;
            if whom == "hostrun" {
                let end = Instant::now() + Duration::from_secs(5);
                while Path::new(&format!("/proc/{helper}/fd")).exists() && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(10));
                }
                let state =
                    fs::read_to_string(format!("/proc/{helper}/status")).unwrap_or_default();
                ensure!(state.is_empty() || state.contains("Z (zombie)"), "{state}");
            } else {
                ensure!(
                    out.stderr().contains("has ended before its time"),
                    "{}",
                    out.stderr()
                );
            }
            pull(stage, &[PLAIN, &name])?.ok()?;
            let asked = server.asked();
            let offsets: Vec<usize> = asked
                .iter()
                .filter(|request| request.path.ends_with(&largest))
                .map(hostrun_integration::registry::Request::offset)
                .collect();
            assert_eq!(offsets, [0, CAME], "{whom}");
            ensure!(partial(stage).is_empty(), "{:?}", partial(stage));
            stage.call(["verify", "--deep"]).run()?.ok()?;
            stage.call(["rmi", &name]).run()?.ok()?;
            stage.call(["gc"]).run()?.ok()?;
        }
        Ok(())
    })
}

#[test]
fn a_beginning_that_is_not_right_is_fetched_anew() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let truth = Truth::new(Path::new(&Image::new(stage.dir())?.layout()));
        let (server, largest) = stalling(&truth, 50_000)?;
        let name = server.name("box:1");
        let running = stage.call(["pull", "-q", PLAIN, &name]).spawn()?;
        wait_for(stage, &largest, 50_000)?;
        drop(running);
        // as a power cut may leave it
        let file = stage
            .store()
            .join(format!("store/partial/sha256-{largest}"));
        fs::write(&file, vec![0; 50_000])?;
        pull(stage, &[PLAIN, &name])?.ok()?;
        stage.call(["verify", "--deep"]).run()?.ok().map(drop)
    })
}

#[test]
fn pulls_side_by_side_fetch_each_blob_once() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let truth = Truth::new(Path::new(&Image::new(stage.dir())?.layout()));
        let own = truth.clone();
        let server = FaultyRegistry::start(move |request| {
            if request.path.contains("/blobs/") {
                std::thread::sleep(Duration::from_millis(300));
            }
            own.answer(request)
        })?;
        let names = ["box:1", "box:2", "other:1", "box:1"].map(|name| server.name(name));
        let pulls = names
            .each_ref()
            .map(|name| stage.call(["pull", "-q", PLAIN, name]).spawn());
        for running in pulls {
            running?.wait()?.ok()?;
        }
        for layer in truth.layers()? {
            let asked = server.asked();
            let reads = asked
                .iter()
                .filter(|request| request.path.ends_with(&layer));
            assert_eq!(reads.count(), 1, "{layer}");
        }
        stage.call(["verify", "--deep"]).run()?.ok().map(drop)
    })
}

#[test]
fn pulls_kills_removals_and_collections_lose_nothing() -> Result<()> {
    with_registry(Kind::default(), |stage, registry, image| {
        let file = stage.dir().join("noise");
        let noise = fs::File::open("/dev/urandom")?;
        let mut some = std::io::Read::take(noise, 6 << 20);
        std::io::copy(&mut some, &mut fs::File::create(&file)?)?;
        image.insert(&file, "/noise")?;
        registry.put(image, "large:1")?;
        let (small, large) = (registry.name("box:1"), registry.name("large:1"));
        let store = shown(&stage.store());
        let program = stage.runtime().program().to_owned();
        let work = |worker: usize| -> Result<()> {
            for round in 0..10 {
                let words: &[&str] = match (worker + round) % 5 {
                    0 => &["pull", "-q", PLAIN, &small],
                    1 => &["rmi", "-f", &large],
                    3 => &["gc"],
                    _ => &["pull", "-q", PLAIN, &large],
                };
                let call = Call::new(&program, [&["--store", &store], words].concat());
                if (worker + round) % 5 == 4 {
                    let after = format!("0.{}", 1 + (worker * 7 + round) % 9);
                    call.under(["timeout", "-s", "KILL", &after]).run()?;
                } else {
                    call.run()?.ok()?;
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let work = &work;
            let workers: Vec<_> = (0..6).map(|n| scope.spawn(move || work(n))).collect();
            let ended = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
            ended.flatten().collect::<Result<()>>()
        })?;
        pull(stage, &[PLAIN, &large])?.ok()?;
        stage.call(["verify", "--deep"]).run()?.ok()?;
        stage.call(["gc"]).run()?.ok()?;
        ensure!(partial(stage).is_empty(), "{:?}", partial(stage));
        Ok(())
    })
}

#[test]
fn a_pull_takes_over_from_one_that_dies() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let truth = Truth::new(Path::new(&Image::new(stage.dir())?.layout()));
        let (server, largest) = stalling(&truth, 50_000)?;
        let name = server.name("box:1");
        let first = stage.call(["pull", "-q", PLAIN, &name]).spawn()?;
        wait_for(stage, &largest, 50_000)?;
        let second = stage
            .call(["pull", "--progress=json", PLAIN, &name])
            .spawn()?;
        let end = Instant::now() + Duration::from_secs(10);
        while !second
            .stderr()
            .contains("another pull or load has it in work")
        {
            ensure!(
                Instant::now() < end,
                "it does not wait: {}",
                second.stderr()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(first);
        second.wait()?.ok()?;
        stage.call(["verify", "--deep"]).run()?.ok().map(drop)
    })
}

#[test]
fn who_talks_to_the_network_has_no_rights() -> Result<()> {
    on_stage_of_hostrun(REASON, |stage| {
        let truth = Truth::new(Path::new(&Image::new(stage.dir())?.layout()));
        let (server, largest) = stalling(&truth, 1000)?;
        let secret = fs::File::open("/etc/passwd")?;
        let call = stage.call(["pull", "-q", PLAIN, &server.name("box:1")]);
        let running = call.stdin(secret).spawn()?;
        wait_for(stage, &largest, 1000)?;
        let helper = helper_of(running.pid())?;
        let status = fs::read_to_string(format!("/proc/{helper}/status"))?;
        let field = |name: &str| {
            let mut lines = status.lines();
            let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        let user = 2_000_000_000 + helper;
        assert_eq!(field("Uid"), [user; 4].map(|id| id.to_string()).join(" "));
        assert_eq!(field("Gid"), [user; 4].map(|id| id.to_string()).join(" "));
        assert_eq!(field("Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        assert_eq!(
            (field("NoNewPrivs"), field("Seccomp")),
            ("1".to_owned(), "2".to_owned())
        );
        let mut open = Vec::new();
        for entry in fs::read_dir(format!("/proc/{helper}/fd"))? {
            open.push(shown(&fs::read_link(entry?.path())?));
        }
        let is_ours = |path: &String| {
            path.starts_with("socket:") || path == "/dev/null" || path.starts_with("anon_inode:")
        };
        ensure!(open.iter().all(is_ours), "{open:?}");
        let limits = fs::read_to_string(format!("/proc/{helper}/limits"))?;
        let file_size = limits
            .lines()
            .find(|line| line.starts_with("Max file size"));
        let file_size = file_size.unwrap_or_default();
        ensure!(
            file_size.split_whitespace().nth(3) == Some("0"),
            "{file_size}"
        );
        Ok(())
    })
}

/// KiB that a process has had resident at most.
fn peak(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_pull_over_tls_stays_small() -> Result<()> {
    const MOST: u64 = 40 * 1024;
    let kind = Kind {
        secure: true,
        ..Kind::default()
    };
    with_registry(kind, |stage, registry, image| {
        // what nobody can compress, in several layers that come side by side
        for number in 0..4 {
            let file = stage.dir().join(format!("noise{number}"));
            let noise = fs::File::open("/dev/urandom")?;
            let mut some = std::io::Read::take(noise, 24 << 20);
            std::io::copy(&mut some, &mut fs::File::create(&file)?)?;
            image.insert(&file, &format!("/noise{number}"))?;
        }
        registry.put(image, "large:1")?;
        let certificates = stage.folder("certificates")?;
        fs::copy(registry.authority(), certificates.join("ca.crt"))?;
        let certificates = shown(&certificates);
        let name = registry.name("large:1");
        let words = ["pull", "-q", "--cert-dir", &certificates, &name];
        let running = stage.call(words).spawn()?;
        // it, who talks to the registry, and who unpacks
        let mut peaks = BTreeMap::new();
        // at its end there is nothing left to read it from
        while let Some(now) = peak(running.pid()) {
            peaks.insert(running.pid(), now);
            for pid in children_of(running.pid())? {
                peaks.extend(peak(pid).map(|now| (pid, now)));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        running.wait()?.ok()?;
        let sum: u64 = peaks.values().sum();
        println!("peak resident: {sum} KiB, of {peaks:?}");
        let released = !is_below(stage.runtime().program(), "debug");
        ensure!(peaks.len() == 3, "not all were seen: {peaks:?}");
        ensure!(!released || sum <= MOST, "{peaks:?} KiB");
        Ok(())
    })
}
