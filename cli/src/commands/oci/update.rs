//! `update`.

use super::{Act, container, told};
use crate::args::update::Update;
use crate::flags::memory;
use crate::globals::Globals;
use crate::report::{self, usage};
use anyhow::{Context, Result};
use hostrun_runtime::document;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use std::io::Read;
use std::str::FromStr;

/// Runs the verb.
///
/// # Errors
/// When there is no such container, or a limit cannot be applied.
pub(crate) fn main(globals: &Globals, args: &Update) -> Result<u8> {
    told(globals, Act::Other, updated(globals, args))
}

fn updated(globals: &Globals, args: &Update) -> Result<u8> {
    let container = container(globals, &args.id)?;
    let resources = match &args.resources {
        Some(file) => read(file)?,
        None => of_flags(args)?,
    };
    let schema = |text: &Option<String>| text.clone().unwrap_or_default();
    let (cache, bandwidth) = (schema(&args.l3_cache_schema), schema(&args.mem_bw_schema));
    if !(cache.is_empty() && bandwidth.is_empty()) {
        container.update_class_of_service(&cache, &bandwidth)?;
    }
    container.update(&resources)?;
    Ok(0)
}

fn read(file: &str) -> Result<LinuxResources> {
    let mut bytes = Vec::new();
    if file == "-" {
        std::io::stdin()
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
    } else {
        bytes = std::fs::read(file).with_context(|| format!("open {file}"))?;
    }
    let (resources, unknown) = document::resources(&bytes, file)?;
    for key in unknown {
        report::warn(&format!("{file}: nobody reads the key '{key}'"));
    }
    Ok(resources)
}

/// What the flags ask for. A flag that is not given changes nothing.
fn of_flags(args: &Update) -> Result<LinuxResources> {
    for (flag, value) in [
        ("kernel-memory", &args.kernel_memory),
        ("kernel-memory-tcp", &args.kernel_memory_tcp),
    ] {
        if value.is_some() {
            report::warn(&format!("Setting --{flag} is ignored and will be removed"));
        }
    }
    let mut resources = LinuxResources::default();
    resources.set_cpu(cpu(args)?).set_memory(memory(args)?);
    if args.blkio_weight != 0 {
        let mut block = LinuxBlockIo::default();
        block.set_weight(Some(args.blkio_weight));
        resources.set_block_io(Some(block));
    }
    if args.pids_limit != 0 {
        let mut pids = LinuxPids::default();
        pids.set_limit(args.pids_limit);
        resources.set_pids(Some(pids));
    }
    Ok(resources)
}

fn cpu(args: &Update) -> Result<Option<LinuxCpu>> {
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(number("cpu-share", args.cpu_share.as_deref())?)
        .set_quota(number("cpu-quota", args.cpu_quota.as_deref())?)
        .set_burst(number("cpu-burst", args.cpu_burst.as_deref())?)
        .set_period(number("cpu-period", args.cpu_period.as_deref())?)
        .set_realtime_period(number("cpu-rt-period", args.cpu_rt_period.as_deref())?)
        .set_realtime_runtime(number("cpu-rt-runtime", args.cpu_rt_runtime.as_deref())?)
        .set_idle(number("cpu-idle", args.cpu_idle.as_deref())?)
        .set_cpus(text(args.cpuset_cpus.as_deref()))
        .set_mems(text(args.cpuset_mems.as_deref()));
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

fn memory(args: &Update) -> Result<Option<LinuxMemory>> {
    let limit = bytes("memory", args.memory.as_deref())?;
    let mut swap = bytes("memory-swap", args.memory_swap.as_deref())?;
    if limit == Some(-1) && swap.is_none() {
        // Who lifts the limit of memory means that of swap, too.
        swap = Some(-1);
    }
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(limit)
        .set_swap(swap)
        .set_reservation(bytes(
            "memory-reservation",
            args.memory_reservation.as_deref(),
        )?);
    Ok((memory != LinuxMemory::default()).then_some(memory))
}

/// Empty is not given.
fn text(value: Option<&str>) -> Option<String> {
    value.filter(|value| !value.is_empty()).map(str::to_owned)
}

fn number<T: FromStr>(flag: &str, value: Option<&str>) -> Result<Option<T>> {
    let value = value.filter(|value| !value.is_empty());
    value
        .map(|value| {
            let wrong = |_error| usage(format!("invalid value for {flag}: {value:?} is no number"));
            value.parse().map_err(wrong)
        })
        .transpose()
}

fn bytes(flag: &str, value: Option<&str>) -> Result<Option<i64>> {
    let value = value.filter(|value| !value.is_empty());
    value
        .map(|value| {
            memory::bytes_or_unlimited(value)
                .map_err(|why| usage(format!("invalid value for {flag}: {why}")))
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn of(line: &str) -> serde_json::Value {
        let args = Update::try_parse_from(line.split_whitespace()).unwrap();
        serde_json::to_value(of_flags(&args).unwrap()).unwrap()
    }

    #[test]
    fn each_flag_has_its_place_and_may_stand_behind_the_id() {
        let line = "update id --cpu-period 900000 --cpu-quota -1 --cpu-share 200 --cpu-burst 5 --cpu-idle 1 \
                    --cpuset-cpus 0-1 --cpuset-mems 0 --memory 50M --memory-reservation 1024 \
                    --memory-swap -1 --pids-limit -1 --blkio-weight 500 --cpu-rt-period 7 --cpu-rt-runtime 8";
        let resources = of(line);
        for (pointer, value) in [
            ("/cpu/period", 900_000),
            ("/cpu/quota", -1),
            ("/cpu/shares", 200),
            ("/cpu/burst", 5),
            ("/cpu/idle", 1),
            ("/cpu/realtimePeriod", 7),
            ("/cpu/realtimeRuntime", 8),
            ("/memory/limit", 50 << 20),
            ("/memory/reservation", 1024),
            ("/memory/swap", -1),
            ("/pids/limit", -1),
            ("/blockIO/weight", 500),
        ] {
            assert_eq!(resources.pointer(pointer), Some(&value.into()), "{pointer}");
        }
        assert_eq!(resources["cpu"]["cpus"], "0-1");
        assert_eq!(resources["cpu"]["mems"], "0");
    }

    #[test]
    fn a_flag_that_is_not_given_changes_nothing() {
        assert_eq!(of("update id"), serde_json::json!({}));
        assert_eq!(
            of("update --memory -1 id")["memory"],
            serde_json::json!({"limit": -1, "swap": -1})
        );
    }

    #[test]
    fn what_is_no_number_is_named() {
        let args = Update::try_parse_from(["update", "--cpu-quota", "much", "id"]).unwrap();
        let error = of_flags(&args).unwrap_err().to_string();
        assert!(error.contains("invalid value for cpu-quota"), "{error}");
    }
}
