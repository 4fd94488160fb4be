//! Many containers in one shim: what it needs does not grow, and nothing is left of any.

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::shim::message::{Field, text};
use hostrun_integration::shim::{binary, memory, with_shims};
use hostrun_integration::{cgroup, host};
use std::fs;
use std::time::{Duration, Instant};

/// How many, unless HOSTRUN_TEST_CHURN says otherwise.
const USUAL: usize = 300;

fn wanted() -> usize {
    let asked = std::env::var("HOSTRUN_TEST_CHURN").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(USUAL)
}

fn descriptors(pid: i32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// No cgroup of these is left.
fn nothing_of(group: &str) -> Result<()> {
    let name = group.rsplit('/').next().context("no name")?;
    let left = cgroup::below("/");
    let of = |path: &std::path::PathBuf| path.to_string_lossy().contains(&format!("{name}-"));
    ensure!(!left.iter().any(of), "{left:?}");
    Ok(())
}

#[test]
fn containers_come_and_go_in_one_shim_and_it_stays_as_it_is() -> Result<()> {
    with_shims(|shims| {
        let bundle = shims.stage.bundle()?.args(&["/bin/true"]);
        let mut keeper = shims.run(&shims.stage.bundle()?.shell("sleep 600"), &[])?;
        let pid = shims.pid_of(&mut keeper.client)?;
        let group = bundle.cgroup()?;
        let mut deletions = Vec::new();
        let mut round = |number: usize| -> Result<()> {
            let id = format!("{}-{number}", keeper.id);
            let own = format!("{group}-{number}");
            let bundle = bundle.clone().set("/linux/cgroupsPath", own.into());
            bundle.write()?;
            let client = &mut keeper.client;
            client.ok("Create", &shims.create(&id, &bundle, &[]))?;
            client.ok("Start", &[(1, text(&id))])?;
            assert_eq!(client.ok("Wait", &[(1, text(&id))])?.number(1), 0);
            let asked = Instant::now();
            client.ok("Delete", &[(1, text(&id))])?;
            deletions.push(asked.elapsed());
            Ok(())
        };
        let total = wanted();
        // what is made once is made by then
        for number in 0..total / 3 {
            round(number)?;
        }
        std::thread::sleep(Duration::from_millis(500));
        let (before, open) = (memory(pid)?, descriptors(pid)?);
        for number in total / 3..total {
            round(number)?;
        }
        std::thread::sleep(Duration::from_millis(500));
        let (after, still) = (memory(pid)?, descriptors(pid)?);
        assert_eq!(open, still, "descriptors");
        deletions.sort();
        let median = deletions.get(total / 2).context("no deletion")?;
        host::say(&format!("Delete: {median:?} of {total}\n"))?;
        ensure!(*median < Duration::from_millis(50), "{median:?}");
        // a few pages of noise for whatever the allocator does
        ensure!(
            after.1 <= before.1 + 64,
            "own memory: {before:?} {after:?} KiB"
        );
        let threads = fs::read_dir(format!("/proc/{pid}/task"))?.count();
        ensure!(threads <= 3, "{threads} threads");
        host::wait_for("the events", || {
            let told = shims.sink.borrow().told().len();
            told == total * 4 + 2
        })?;
        nothing_of(&group)?;
        keeper.kill(9)?;
        keeper.wait()?;
        keeper.delete().map(drop)
    })
}

#[test]
fn a_pod_costs_little_and_each_further_container_less() -> Result<()> {
    with_shims(|shims| {
        let mut first = shims.run(&shims.stage.bundle()?.shell("sleep 600"), &[])?;
        let pid = shims.pid_of(&mut first.client)?;
        let settle = || std::thread::sleep(Duration::from_millis(600));
        settle();
        let one = memory(pid)?;
        let mut ids = Vec::new();
        for _ in 0..10 {
            let bundle = shims.stage.bundle()?.shell("sleep 600");
            bundle.write()?;
            let id = shims.stage.id();
            first
                .client
                .ok("Create", &shims.create(&id, &bundle, &[]))?;
            first.client.ok("Start", &[(1, text(&id))])?;
            ids.push(id);
        }
        settle();
        let eleven = memory(pid)?;
        let more = eleven.1.saturating_sub(one.1) / 10;
        host::say(&format!(
            "a pod of one: {} KiB resident, {} its own; {more} for each further container\n",
            one.0, one.1
        ))?;
        // most of what is resident is code: a build without optimisation has ten times as much
        let shipped = fs::metadata(binary()?)?.len() < 8 << 20;
        ensure!(!shipped || one.0 <= 5120, "{one:?} KiB");
        ensure!(one.1 <= 1024, "{one:?} KiB");
        ensure!(more <= 64, "{more} KiB");
        for id in ids {
            first
                .client
                .ok("Kill", &[(1, text(&id)), (3, Field::Number(9))])?;
            first.client.ok("Wait", &[(1, text(&id))])?;
            first.client.ok("Delete", &[(1, text(&id))])?;
        }
        first.kill(9)?;
        first.wait()?;
        first.delete().map(drop)
    })
}
