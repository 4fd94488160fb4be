//! The features document: complete, and true.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::{Runtime, on_stage};
use serde_json::Value;

fn features(runtime: &Runtime) -> Result<Value> {
    Ok(serde_json::from_str(
        &runtime.call(["features"]).run()?.ok()?,
    )?)
}

fn words(document: &Value, pointer: &str) -> Result<BTreeSet<String>> {
    let list = document.pointer(pointer).and_then(Value::as_array);
    let list = list.with_context(|| format!("no {pointer}"))?;
    let words = list.iter().filter_map(Value::as_str).map(str::to_owned);
    Ok(words.collect())
}

#[test]
fn whatever_runc_names_is_named() -> Result<()> {
    on_stage(|stage| {
        let (own, oracle) = (features(stage.runtime())?, features(&Runtime::oracle()?)?);
        for pointer in [
            "/linux/namespaces",
            "/linux/capabilities",
            "/linux/seccomp/actions",
            "/linux/seccomp/operators",
        ] {
            let (own, runcs) = (words(&own, pointer)?, words(&oracle, pointer)?);
            let missing: Vec<&String> = runcs.difference(&own).collect();
            ensure!(missing.is_empty(), "{pointer}: {missing:?}");
        }
        Ok(())
    })
}

#[test]
fn a_mount_option_that_is_named_is_taken() -> Result<()> {
    on_stage(|stage| {
        if stage.runtime().is_runc() {
            return Ok(());
        }
        let options = words(&features(stage.runtime())?, "/mountOptions")?;
        ensure!(options.len() >= 50, "{} options", options.len());
        for option in ["ro", "rro", "nosuid", "rbind", "rprivate", "noatime"] {
            ensure!(options.contains(option), "{option} is not named");
        }
        Ok(())
    })
}

#[test]
fn asking_takes_no_state_and_leaves_none() -> Result<()> {
    on_stage(|stage| {
        let root = stage.dir().join("nowhere");
        let words = ["--root", &root.to_string_lossy(), "features"];
        stage
            .runtime()
            .call(words)
            .in_dir(stage.dir())
            .run()?
            .ok()?;
        ensure!(!root.exists(), "a state directory was made");
        Ok(())
    })
}
