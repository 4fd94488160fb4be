//! `linux.intelRdt`: a class of service of the processor's caches and memory bus, config-linux
//! "IntelRdt". The kernel calls it resctrl, and other makers' processors have it, too.

use super::refusal::Refusals;
use crate::id::ContainerId;
use crate::resctrl::Schemata;
use oci_spec::runtime::{Linux, LinuxIntelRdt};

const PATH: &str = "linux.intelRdt";

/// The section as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RdtPlan {
    pub(crate) class: Class,
    /// What the class must have.
    pub(crate) schemata: Schemata,
    /// Name of the monitoring group below the class, where one is to be made.
    pub(crate) monitor: Option<String>,
}

/// Which class of service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The one that everything on the machine is in until it is moved.
    Default,
    /// One that containers share, by its name.
    Shared(String),
    /// One of the container's own, by the container's id.
    Own(String),
}

/// What this machine has of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RdtFacts {
    /// resctrl is mounted.
    pub(crate) mounted: bool,
    /// The L3 cache can be divided.
    pub(crate) cache: bool,
    /// The memory's bandwidth can be divided.
    pub(crate) bandwidth: bool,
    /// Use can be measured.
    pub(crate) monitoring: bool,
}

/// Reads the section. That it is there asks for something, however little it says: a class of the
/// container's own.
pub(crate) fn plan(
    id: &ContainerId,
    linux: &Linux,
    facts: RdtFacts,
    refusals: &mut Refusals,
) -> Option<RdtPlan> {
    let rdt = linux.intel_rdt().as_ref()?;
    refuse_what_the_machine_lacks(rdt, facts, refusals);
    let given = rdt.clos_id().as_deref().filter(|id| !id.is_empty());
    let class = match given {
        Some("/") => Class::Default,
        Some(name) => Class::Shared(name.to_owned()),
        None => Class::Own(id.to_string()),
    };
    match &class {
        Class::Shared(name) if !is_valid(name) => {
            let why = format!("invalid intelRdt.ClosID {name:?}");
            refusals.refuse(format!("{PATH}.closID"), why);
        }
        Class::Own(name) if !is_valid(name) => {
            let why = format!("the id {name:?} can be no class of service: name one by closID");
            refusals.refuse(format!("{PATH}.closID"), why);
        }
        _ => {}
    }
    Some(RdtPlan {
        class,
        schemata: schemata(rdt, refusals),
        monitor: rdt
            .enable_monitoring()
            .unwrap_or(false)
            .then(|| id.to_string()),
    })
}

fn refuse_what_the_machine_lacks(rdt: &LinuxIntelRdt, facts: RdtFacts, refusals: &mut Refusals) {
    if !facts.mounted {
        let why =
            "intelRdt is specified in config, but Intel RDT is not enabled: no resctrl is mounted";
        return refusals.unsupported(PATH, why);
    }
    let some = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    for (key, asked, there, what) in [
        (
            "l3CacheSchema",
            some(rdt.l3_cache_schema()),
            facts.cache,
            "Intel RDT/CAT is not enabled",
        ),
        (
            "memBwSchema",
            some(rdt.mem_bw_schema()),
            facts.bandwidth,
            "Intel RDT/MBA is not enabled",
        ),
        (
            "enableMonitoring",
            rdt.enable_monitoring().unwrap_or(false),
            facts.monitoring,
            "this machine monitors nothing",
        ),
    ] {
        if asked && !there {
            let why = format!("intelRdt.{key} is specified in config, but {what}");
            refusals.unsupported(format!("{PATH}.{key}"), why);
        }
    }
}

fn schemata(rdt: &LinuxIntelRdt, refusals: &mut Refusals) -> Schemata {
    let cache = rdt.l3_cache_schema().as_deref().unwrap_or_default();
    let bandwidth = rdt.mem_bw_schema().as_deref().unwrap_or_default();
    let lines = rdt.schemata().as_deref().unwrap_or_default();
    for (index, line) in lines.iter().enumerate() {
        if line.contains('\n') {
            refusals.refuse(format!("{PATH}.schemata[{index}]"), "is more than one line");
        }
    }
    let schemata = Schemata::new(cache, bandwidth, lines);
    if let Err(why) = schemata.check() {
        refusals.refuse(PATH, why);
    }
    schemata
}

/// Can it be the name of a directory that the kernel makes a class of, and not one of its own files?
pub(crate) fn is_valid(name: &str) -> bool {
    const KERNELS: [&str; 11] = [
        ".",
        "..",
        "info",
        "mon_groups",
        "mon_data",
        "cpus",
        "cpus_list",
        "tasks",
        "schemata",
        "mode",
        "size",
    ];
    name.len() <= 255
        && !KERNELS.contains(&name)
        && !name.bytes().any(|byte| matches!(byte, b'/' | b'\n' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: RdtFacts = RdtFacts {
        mounted: true,
        cache: true,
        bandwidth: true,
        monitoring: true,
    };

    fn read(json: &str, facts: RdtFacts) -> crate::error::Result<Option<RdtPlan>> {
        let rdt: LinuxIntelRdt = serde_json::from_str(json).unwrap();
        let mut linux = Linux::default();
        linux.set_intel_rdt(Some(rdt));
        let mut refusals = Refusals::default();
        let id = ContainerId::new("web").unwrap();
        let plan = plan(&id, &linux, facts, &mut refusals);
        refusals.finish().map(|()| plan)
    }

    #[test]
    fn a_class_is_shared_by_name_the_machines_or_the_containers_own() {
        for (json, class) in [
            (r#"{"closID":"gold"}"#, Class::Shared("gold".into())),
            (r#"{"closID":"/"}"#, Class::Default),
            (r#"{"closID":""}"#, Class::Own("web".into())),
            ("{}", Class::Own("web".into())),
        ] {
            let plan = read(json, ALL).unwrap().unwrap();
            assert_eq!((plan.class, plan.monitor), (class, None));
        }
        let plan = read(r#"{"closID":"/","enableMonitoring":true}"#, ALL).unwrap();
        assert_eq!(plan.unwrap().monitor.as_deref(), Some("web"));
    }

    #[test]
    fn a_name_that_leads_elsewhere_or_is_the_kernels_is_refused() {
        for name in [
            ".",
            "..",
            "../x",
            "a/b",
            "//",
            "a\\n",
            "info",
            "mon_groups",
            "mon_data",
            "tasks",
        ] {
            let error = read(&format!(r#"{{"closID":"{name}"}}"#), ALL).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("invalid intelRdt.ClosID"), "{said}");
        }
        let long = "x".repeat(256);
        assert!(read(&format!(r#"{{"closID":"{long}"}}"#), ALL).is_err());
    }

    #[test]
    fn what_the_machine_lacks_is_said_before_anything_exists() {
        let error = read("{}", RdtFacts::default()).unwrap_err().to_string();
        assert!(error.contains("Intel RDT is not enabled"), "{error}");
        let bare = RdtFacts {
            mounted: true,
            ..RdtFacts::default()
        };
        let json = r#"{"l3CacheSchema":"L3:0=f","memBwSchema":"MB:0=20","enableMonitoring":true}"#;
        let error = read(json, bare).unwrap_err().to_string();
        for key in ["l3CacheSchema", "memBwSchema", "enableMonitoring"] {
            assert!(error.contains(&format!("linux.intelRdt.{key}")), "{error}");
        }
    }

    #[test]
    fn an_element_of_the_schemata_is_one_line() {
        let error = read(r#"{"schemata":["L3:0=f\nMB:0=10"]}"#, ALL).unwrap_err();
        assert!(error.to_string().contains("schemata[0]"), "{error}");
    }

    proptest! {
        #[test]
        fn a_name_that_is_taken_is_one_component(name in ".*") {
            if is_valid(&name) && !name.is_empty() {
                let mut parts = std::path::Path::new(&name).components();
                prop_assert!(matches!(parts.next(), Some(std::path::Component::Normal(_))));
                prop_assert!(parts.next().is_none());
            }
        }
    }
}
