//! Many starts of a payload that is gone at once: the shortest life shows every race at the end.

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::{cgroup, elf, on_stage};

/// Starts in `make test`; `make test-long` sets HOSTRUN_TEST_CHURN to 10,000.
const STARTS: u32 = 300;

fn starts() -> Result<u32> {
    std::env::var("HOSTRUN_TEST_CHURN").map_or(Ok(STARTS), |text| {
        text.parse()
            .with_context(|| format!("HOSTRUN_TEST_CHURN={text}"))
    })
}

#[test]
fn payloads_that_exit_at_once_leave_nothing_and_never_hang() -> Result<()> {
    on_stage(|stage| {
        let bundle = stage
            .bundle()?
            .file("/bin/nothing", 0o755, &elf::exit(7))?
            .args(&["/bin/nothing"]);
        let mounts = stage.mounts()?.len();
        for number in 0..starts()? {
            let call = stage.run_call(&bundle)?;
            let out = call.run().with_context(|| format!("start {number}"))?;
            ensure!(
                out.code() == 7,
                "start {number}: {} {}",
                out.code(),
                out.stderr()
            );
        }
        ensure!(stage.mounts()?.len() == mounts, "the mount table grew");
        ensure!(
            cgroup::below(&stage.cgroup()).len() <= 1,
            "cgroups are left"
        );
        Ok(())
    })
}

#[test]
fn containers_side_by_side_do_not_meet() -> Result<()> {
    on_stage(|stage| {
        let mut runs = Vec::new();
        for number in 0..16 {
            let bundle = stage
                .bundle()?
                .shell(&format!("hostname; echo {number}; exit {number}"));
            let bundle = bundle.set("/hostname", format!("host-{number}").into());
            runs.push((number, stage.run_call(&bundle)?.spawn()?));
        }
        for (number, run) in runs {
            let out = run.wait()?;
            assert_eq!(out.stdout(), format!("host-{number}\n{number}\n"));
            assert_eq!(out.code(), number);
        }
        Ok(())
    })
}
