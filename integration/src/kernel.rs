//! An older kernel: system calls that came later answer ENOSYS, as they would have.
//!
//! A filter on one thread of the test; every process started from it has the filter, too.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// A version of Linux, as far as it differs in what is called here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its number.
    pub version: &'static str,
    /// The first system call it does not have. From 424 on all architectures count alike.
    first_unknown: i64,
    /// Has `close_range(2)` `CLOSE_RANGE_CLOEXEC`?
    closes_on_exec: bool,
}

/// The last number refused: enough for years to come.
const LAST: i64 = 511;

/// `close_range(2)`.
const CLOSE_RANGE: i64 = 436;

const ENOSYS: u32 = 38;
const EINVAL: u32 = 22;

/// From new to old: what each step loses is in its comment.
pub const STEPS: [Kernel; 6] = [
    // open_tree_attr
    Kernel {
        version: "6.14",
        first_unknown: 467,
        closes_on_exec: true,
    },
    // statmount, listmount, lsm_get_self_attr
    Kernel {
        version: "6.7",
        first_unknown: 457,
        closes_on_exec: true,
    },
    // fchmodat2, cachestat
    Kernel {
        version: "6.4",
        first_unknown: 451,
        closes_on_exec: true,
    },
    // memfd_secret, futex_waitv
    Kernel {
        version: "5.13",
        first_unknown: 447,
        closes_on_exec: true,
    },
    // landlock, and with it mount_setattr: the first with neither is 5.11
    Kernel {
        version: "5.11",
        first_unknown: 442,
        closes_on_exec: true,
    },
    Kernel {
        version: "5.10",
        first_unknown: 441,
        closes_on_exec: false,
    },
];

impl Kernel {
    /// Does something where this is the kernel.
    ///
    /// # Errors
    /// What it fails with, or that the filter cannot be had.
    pub fn pretend<T: Send>(self, test: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let name = std::thread::current().name().unwrap_or("test").to_owned();
            let thread = std::thread::Builder::new().name(name);
            let running = thread.spawn_scoped(scope, || {
                for filter in self.filters()? {
                    apply_filter(&filter).context("install a filter")?;
                }
                test()
            });
            let ended = running?.join();
            ended.map_err(|_panic| anyhow!("the test panicked"))?
        })
        .with_context(|| format!("as on Linux {}", self.version))
    }

    fn filters(self) -> Result<Vec<BpfProgram>> {
        let unknown = (self.first_unknown..=LAST).map(|number| (number, vec![]));
        let mut filters = vec![filter(unknown.collect(), ENOSYS)?];
        if !self.closes_on_exec {
            let masked = SeccompCmpOp::MaskedEq(4);
            let flag = SeccompCondition::new(2, SeccompCmpArgLen::Dword, masked, 4)?;
            let rules = [(CLOSE_RANGE, vec![SeccompRule::new(vec![flag])?])];
            filters.push(filter(rules.into(), EINVAL)?);
        }
        Ok(filters)
    }
}

fn filter(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: u32) -> Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into()?;
    let errno = SeccompAction::Errno(errno);
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, errno, arch)?.try_into()?)
}
