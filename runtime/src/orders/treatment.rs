//! What the kernel, its security modules and Landlock make of a process.

use crate::plan::process::ProcessPlan;
use crate::plan::treatment as plan;
use hostrun_inside::orders::{
    Affinity, Labels, Landlock, LandlockPath, LandlockPort, MemoryPolicy, Treatment,
};

/// A new container runs wherever its cgroup lets it; one that joins may be told where.
pub(super) fn treatment(plan: &plan::Treatment) -> Treatment<'_> {
    Treatment {
        affinity: match &plan.affinity {
            None => Affinity::All,
            Some(affinity) => affinity
                .last
                .as_ref()
                .map_or(Affinity::Inherited, Affinity::Only),
        },
        memory: plan.memory.as_ref().map(|policy| MemoryPolicy {
            mode: policy.mode,
            nodes: &policy.nodes,
        }),
        personality: plan.personality,
        io_priority: plan.io_priority,
        scheduler: plan.scheduler,
    }
}

/// The labels, borrowed from the plan.
pub(super) fn labels(process: &ProcessPlan) -> Labels<'_> {
    Labels {
        apparmor: process.labels.apparmor.as_deref(),
        selinux: process.labels.selinux.as_deref(),
    }
}

/// The lists of Landlock's rules.
#[derive(Debug, Default)]
pub(super) struct Rules<'a> {
    paths: Vec<LandlockPath<'a>>,
    ports: Vec<LandlockPort>,
}

impl<'a> Rules<'a> {
    pub(super) fn of(process: &'a ProcessPlan) -> Rules<'a> {
        let Some(rules) = &process.landlock else {
            return Rules::default();
        };
        let paths = rules.allowed_paths.iter().map(|allowed| LandlockPath {
            path: &allowed.path,
            access: allowed.access,
        });
        let ports = rules.allowed_ports.iter().map(|allowed| LandlockPort {
            number: allowed.port,
            access: allowed.access,
        });
        Rules {
            paths: paths.collect(),
            ports: ports.collect(),
        }
    }

    pub(super) fn landlock(&'a self, process: &ProcessPlan) -> Option<Landlock<'a>> {
        process.landlock.as_ref().map(|rules| Landlock {
            files: rules.files,
            ports: rules.ports,
            scopes: rules.scopes,
            allowed_paths: &self.paths,
            allowed_ports: &self.ports,
        })
    }
}
