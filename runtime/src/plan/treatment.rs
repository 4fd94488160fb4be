//! How the kernel treats the process: scheduler, I/O priority, processors, memory nodes, personality.
//!
//! Scheduler, priority and processors stand at the process; memory policy and personality at the
//! container, for all its processes.

use super::refusal::Refusals;
use hostrun_inside::orders::{CPU_WORDS, Cpus, Scheduler};
use oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxPersonalityDomain, LinuxResources, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, MemoryPolicyFlagType, MemoryPolicyModeType, Process,
};

/// What is asked for; nothing of it costs a plain process a call.
#[derive(Debug, Default)]
pub(crate) struct Treatment {
    pub(crate) scheduler: Option<Scheduler>,
    pub(crate) io_priority: Option<i32>,
    pub(crate) memory: Option<MemoryPolicy>,
    pub(crate) personality: Option<u32>,
    pub(crate) affinity: Option<Affinity>,
    /// Its cgroup is bound to processors, which some scheduling policies do not bear.
    pub(crate) has_cpuset: bool,
}

/// For `set_mempolicy(2)`.
#[derive(Debug)]
pub(crate) struct MemoryPolicy {
    /// With its flags.
    pub(crate) mode: i32,
    /// One bit a node; empty where no nodes are named.
    pub(crate) nodes: Vec<u64>,
}

/// Where a process that joins a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Affinity {
    /// Until it is in the container's cgroup.
    pub(crate) initial: Option<Cpus>,
    /// From then on.
    pub(crate) last: Option<Cpus>,
}

/// Reads it all. The affinity of `process` is for processes that join a container.
pub(crate) fn plan(process: &Process, linux: &Linux, refusals: &mut Refusals) -> Treatment {
    let cpu = linux.resources().as_ref().map(LinuxResources::cpu);
    let cpus = cpu.and_then(|cpu| cpu.as_ref()?.cpus().as_ref());
    Treatment {
        scheduler: scheduler(process, refusals),
        io_priority: io_priority(process, refusals),
        memory: memory_policy(linux, refusals),
        personality: personality(linux, refusals),
        affinity: affinity(process, refusals),
        has_cpuset: cpus.is_some_and(|cpus| !cpus.is_empty()),
    }
}

/// For `sched_setattr(2)`. The texts are those callers of OCI runtimes look for.
fn scheduler(process: &Process, refusals: &mut Refusals) -> Option<Scheduler> {
    let asked = process.scheduler().as_ref()?;
    let mut refuse = |key: &str, why: String| {
        refusals.refuse(format!("process.scheduler.{key}"), why);
    };
    let policy = match asked.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => {
            refuse("policy", "SCHED_ISO is in no Linux kernel".into());
            4
        }
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let nice = asked.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        refuse("nice", format!("invalid scheduler.nice: {nice}"));
    }
    let real_time = matches!(policy, 1 | 2);
    let priority = asked.priority().unwrap_or(0);
    if !real_time && priority != 0 {
        let why = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy";
        refuse("priority", why.into());
    }
    if real_time && !(1..=99).contains(&priority) {
        let why = format!("invalid scheduler.priority: {priority} is not from 1 to 99");
        refuse("priority", why);
    }
    let [runtime, deadline, period] = [asked.runtime(), asked.deadline(), asked.period()]
        .map(|nanoseconds| nanoseconds.unwrap_or(0));
    if policy != 6 && [runtime, deadline, period] != [0; 3] {
        let why =
            "scheduler runtime/deadline/period can only be specified for SchedDeadline policy";
        refuse("runtime", why.into());
    }
    // A period of nothing is the deadline, sched(7).
    let whole = if period == 0 { deadline } else { period };
    if policy == 6 && !(runtime > 0 && runtime <= deadline && deadline <= whole) {
        let why = "it must be above 0, at most the deadline, and that at most the period";
        refuse("runtime", why.into());
    }
    Some(Scheduler {
        policy,
        flags: scheduler_flags(asked.flags().as_deref().unwrap_or_default()),
        nice,
        priority: priority.unsigned_abs(),
        runtime,
        deadline,
        period,
    })
}

fn scheduler_flags(flags: &[LinuxSchedulerFlag]) -> u64 {
    let bit = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    flags.iter().fold(0, |bits, flag| bits | bit(flag))
}

/// For `ioprio_set(2)`: class and level in one number.
fn io_priority(process: &Process, refusals: &mut Refusals) -> Option<i32> {
    const CLASS_SHIFT: i32 = 13;
    let asked = process.io_priority().as_ref()?;
    let class = match asked.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = i32::try_from(asked.priority()).ok();
    let level = level.filter(|level| (0..8).contains(level));
    if level.is_none() {
        let why = format!("invalid ioPriority.Priority: {}", asked.priority());
        refusals.refuse("process.ioPriority.priority", why);
    }
    Some(class << CLASS_SHIFT | level.unwrap_or(0))
}

fn memory_policy(linux: &Linux, refusals: &mut Refusals) -> Option<MemoryPolicy> {
    let asked = linux.memory_policy().as_ref()?;
    let mode = match asked.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flags = asked.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
                MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
                MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
            }
    });
    let text = asked.nodes().as_deref().unwrap_or_default();
    let nodes = numbers(text).unwrap_or_else(|why| {
        let why = format!("invalid memory policy nodes {text:?}: {why}");
        refusals.refuse("linux.memoryPolicy.nodes", why);
        None
    });
    Some(MemoryPolicy {
        mode: mode | flags,
        nodes: nodes.map(Vec::from).unwrap_or_default(),
    })
}

/// For `personality(2)`.
fn personality(linux: &Linux, refusals: &mut Refusals) -> Option<u32> {
    let asked = linux.personality().as_ref()?;
    if asked
        .flags()
        .as_ref()
        .is_some_and(|flags| !flags.is_empty())
    {
        refusals.unsupported("linux.personality.flags", "the spec has no flag yet");
    }
    Some(match asked.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

fn affinity(process: &Process, refusals: &mut Refusals) -> Option<Affinity> {
    let asked = process.exec_cpu_affinity().as_ref()?;
    let mut read = |key: &str, text: Option<&String>| {
        numbers(text?).unwrap_or_else(|why| {
            refusals.refuse(format!("process.execCPUAffinity.{key}"), why);
            None
        })
    };
    Some(Affinity {
        initial: read("initial", asked.initial().as_ref()),
        last: read("final", asked.cpu_affinity_final().as_ref()),
    })
}

/// The bits of a list such as `0-3,7`; `None` where it is empty.
pub(crate) fn numbers(list: &str) -> Result<Option<Cpus>, String> {
    if list.trim().is_empty() {
        return Ok(None);
    }
    let number = |text: &str| -> Result<usize, String> {
        let parsed = text.trim().parse().ok();
        let known = parsed.filter(|number| *number < CPU_WORDS * 64);
        known.ok_or_else(|| format!("{text:?} is not a number below {}", CPU_WORDS * 64))
    };
    let mut bits = [0; CPU_WORDS];
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("the range {range:?} runs backward"));
        }
        for bit in first..=last {
            if let Some(word) = bits.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
    }
    Ok(Some(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn planned(process: &str, linux: &str) -> Result<Treatment, String> {
        let process = crate::document::process(process.as_bytes(), "-").unwrap().0;
        let linux: Linux = serde_json::from_str(linux).unwrap();
        let mut refusals = Refusals::default();
        let plan = plan(&process, &linux, &mut refusals);
        refusals
            .finish()
            .map(|()| plan)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn lists_of_processors_are_read() {
        let bits = |list| numbers(list).unwrap().map(|bits: Cpus| bits[0]);
        assert_eq!(bits(""), None);
        assert_eq!(bits("0-3,7"), Some(0b1000_1111));
        assert_eq!(bits("1"), Some(2));
        assert_eq!(numbers("1023").unwrap().unwrap()[15], 1 << 63);
        for wrong in ["1024", "3-1", "a", "1-", "-1", ",", "0,", "0-9876543210"] {
            assert!(numbers(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn schedulers_are_checked_with_their_path() {
        for (scheduler, expected) in [
            (r#"{"policy":"SCHED_BATCH","nice":19}"#, ""),
            (r#"{"policy":"SCHED_FIFO","priority":1}"#, ""),
            (
                r#"{"policy":"SCHED_DEADLINE","runtime":42000,"deadline":100000,"period":1000000}"#,
                "",
            ),
            (
                r#"{"policy":"SCHED_OTHER","nice":20}"#,
                "process.scheduler.nice: invalid scheduler.nice: 20",
            ),
            (
                r#"{"policy":"SCHED_BATCH","priority":1}"#,
                "process.scheduler.priority: scheduler.priority can only be specified for SchedFIFO",
            ),
            (
                r#"{"policy":"SCHED_RR"}"#,
                "process.scheduler.priority: invalid scheduler.priority: 0",
            ),
            (
                r#"{"policy":"SCHED_IDLE","period":1}"#,
                "process.scheduler.runtime: scheduler runtime/deadline/period can only be",
            ),
            (
                r#"{"policy":"SCHED_DEADLINE","runtime":3,"deadline":2}"#,
                "process.scheduler.runtime: it must be above 0",
            ),
            (r#"{"policy":"SCHED_ISO"}"#, "process.scheduler.policy"),
        ] {
            let process = format!(r#"{{"cwd":"/","scheduler":{scheduler}}}"#);
            let said = planned(&process, "{}").err().unwrap_or_default();
            assert!(said.contains(expected), "{scheduler}: {said}");
            assert_eq!(said.is_empty(), expected.is_empty(), "{scheduler}: {said}");
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        let process = r#"{"cwd":"/","ioPriority":{"class":"IOPRIO_CLASS_BE","priority":4}}"#;
        let linux = r#"{"personality":{"domain":"LINUX32"},"memoryPolicy":{"mode":"MPOL_BIND","nodes":"0,64","flags":["MPOL_F_STATIC_NODES"]}}"#;
        let plan = planned(process, linux).unwrap();
        assert_eq!(plan.io_priority, Some(2 << 13 | 4));
        assert_eq!(plan.personality, Some(8));
        let memory = plan.memory.unwrap();
        assert_eq!((memory.mode, &memory.nodes[..2]), (0x8002, &[1, 1][..]));
        let process = r#"{"cwd":"/","ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8}}"#;
        let said = planned(process, "{}").unwrap_err();
        assert!(said.contains("invalid ioPriority.Priority: 8"), "{said}");
        let linux = r#"{"memoryPolicy":{"mode":"MPOL_BIND","nodes":"0-9876543210"}}"#;
        let said = planned(r#"{"cwd":"/"}"#, linux).unwrap_err();
        assert!(said.contains("invalid memory policy nodes"), "{said}");
    }

    proptest! {
        #[test]
        fn no_list_makes_the_reader_panic(list in "[-0-9, a]{0,20}") {
            drop(numbers(&list));
        }
    }
}
