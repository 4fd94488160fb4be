//! Processors of the calling thread, for the moment in which it makes a process that is to begin on
//! others.

use crate::error::{At, Result};
use crate::plan::treatment::numbers;
use hostrun_inside::orders::Cpus;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The calling thread, bound to some processors; as free as before when dropped.
#[derive(Debug)]
pub(crate) struct Bound {
    before: CpuSet,
}

impl Bound {
    /// Binds the calling thread, and no other.
    pub(crate) fn to(cpus: &Cpus) -> Result<Bound> {
        let operation = "set initial CPU affinity";
        let before = sched_getaffinity(None).at(operation, "")?;
        let mut set = CpuSet::new();
        for cpu in 0..CpuSet::MAX_CPU {
            let word = cpus.get(cpu / 64).copied().unwrap_or(0);
            if word >> (cpu % 64) & 1 == 1 {
                set.set(cpu);
            }
        }
        sched_setaffinity(None, &set).at(operation, "")?;
        Ok(Bound { before })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // It was there a moment ago; if a processor went away meanwhile, the kernel chose already.
        sched_setaffinity(None, &self.before).unwrap_or_default();
    }
}

/// The mask of a list such as `0-3,7`, as tools print it (`0x8f`); `None` where it is empty or no
/// list. For a caller who logs what `execCPUAffinity` says.
pub fn mask(list: &str) -> Option<String> {
    let words = numbers(list).ok()??;
    let digits = words.iter().rev().fold(String::new(), |digits, word| {
        digits + &format!("{word:016x}")
    });
    let digits = digits.trim_start_matches('0');
    Some(format!(
        "0x{}",
        if digits.is_empty() { "0" } else { digits }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_printed_without_leading_zeroes() {
        assert_eq!(mask("0-3,7").as_deref(), Some("0x8f"));
        assert_eq!(mask("64").as_deref(), Some("0x10000000000000000"));
        assert_eq!((mask(""), mask("x")), (None, None));
    }

    #[test]
    fn a_bound_thread_is_free_again() {
        let before = sched_getaffinity(None).unwrap();
        let mut one = [0; hostrun_inside::orders::CPU_WORDS];
        one[0] = 1;
        let bound = Bound::to(&one).unwrap();
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
        drop(bound);
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
