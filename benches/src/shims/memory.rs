//! What a shim holds in memory, for pods of several sizes.

use super::{label, remove};
use crate::measure::{Row, Sample, Table};
use crate::say;
use anyhow::{Context as _, Result};
use hostrun_integration::client::Containerd;
use hostrun_integration::client::task::{self, Connected, Tasks};
use serde_json::{Value, json};
use std::fs;

/// Containers that share a shim.
const SIZES: [usize; 3] = [1, 4, 16];

/// KiB, and a number.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// What would be free if it ended.
    uss: u64,
    rss: u64,
    threads: u64,
}

/// A table of private memory, in KiB, for the picture, and everything for programs.
pub(super) fn measure(version: &str, all: &[Containerd<'_>]) -> Result<(Table, Vec<Value>)> {
    let mut facts = Vec::new();
    let title = format!("containerd {version}: private memory of a pod of one, KiB");
    let name = format!("memory-{version}");
    let mut table = Table::new(&name, &title, all.iter().map(label));
    say(&format!(
        "\ncontainerd {version}: what the shim of a pod holds\n{:<22}{:>12}{:>12}{:>12}{:>9}{:>16}\n",
        "", "containers", "USS KiB", "RSS KiB", "threads", "KiB a further"
    ))?;
    for containerd in all {
        let mut first: Option<Held> = None;
        for size in SIZES {
            let held = hold(containerd, size)?;
            let base = *first.get_or_insert(held);
            let more = u64::try_from(size - 1)?;
            let further = held.uss.saturating_sub(base.uss).checked_div(more);
            say(&format!(
                "{:<22}{size:>12}{:>12}{:>12}{:>9}{:>16}\n",
                label(containerd),
                held.uss,
                held.rss,
                held.threads,
                further.map_or(String::new(), |kib| kib.to_string()),
            ))?;
            facts.push(json!({
                "containerd": version, "shim": label(containerd), "containers": size,
                "uss_kib": held.uss, "rss_kib": held.rss, "threads": held.threads,
                "further_kib": further,
            }));
        }
        let row: &mut Row = table.row_mut(label(containerd)).context("no row")?;
        let held = first.context("no pod")?;
        row.samples.push(Some(Sample {
            #[allow(clippy::cast_precision_loss, reason = "KiB of a process")]
            milliseconds: held.uss as f64,
            ..Sample::default()
        }));
    }
    Ok((table, facts))
}

/// Makes a pod, looks, and takes it away.
fn hold(containerd: &Containerd<'_>, size: usize) -> Result<Held> {
    let mut names: Vec<String> = Vec::new();
    for _ in 0..size {
        let name = containerd.name();
        let first = names.first().unwrap_or(&name);
        let mark = format!("io.containerd.runc.v2.group={first}");
        let flags = ["--detach", "--annotation", &mark];
        let call = containerd.run(&flags, &name, &["sleep", "600"]);
        call.run()?.ok()?;
        names.push(name);
    }
    let first = names.first().context("no pod")?;
    let mut tasks = Tasks::of(containerd.world(), first)?;
    let connected: Connected = tasks.call("Connect", &task::container(first))?;
    let dir = containerd
        .world()
        .path(&format!("/proc/{}", connected.shim_pid));
    let rollup = fs::read_to_string(dir.join("smaps_rollup")).context("smaps_rollup")?;
    let kib = |key: &str| -> u64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(key));
        let word = line.and_then(|line| line.split_whitespace().next());
        word.and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    let held = Held {
        uss: kib("Private_Clean:") + kib("Private_Dirty:"),
        rss: kib("Rss:"),
        threads: u64::try_from(fs::read_dir(dir.join("task"))?.count())?,
    };
    names.iter().try_for_each(|name| remove(containerd, name))?;
    Ok(held)
}
