//! `linux.resources.memory`.

use oci_spec::runtime::LinuxMemory;

use rustix::io::Errno;

use super::{Reader, UsageCheck};

const LIMIT: &str = "memory.limit";
const SWAP: &str = "memory.swap";
const RESERVATION: &str = "memory.reservation";

/// `vm.swappiness` of a fresh kernel, sent by clients that fill every field.
const DEFAULT_SWAPPINESS: u64 = 60;

impl Reader {
    pub(super) fn memory(&mut self, memory: &LinuxMemory) {
        let limit = self.bytes(LIMIT, memory.limit());
        let swap = self.bytes(SWAP, memory.swap());
        let reservation = self.bytes(RESERVATION, memory.reservation());
        let mut lib = LinuxMemory::default();
        if let Some(limit) = limit.filter(|limit| *limit > 0) {
            lib.set_limit(Some(limit));
            self.lib("memory", LIMIT, "memory.max", limit);
        }
        if let Some(reservation) = reservation.filter(|reservation| *reservation > 0) {
            lib.set_reservation(Some(reservation));
            self.lib("memory", RESERVATION, "memory.low", reservation);
        }
        // After the limit, so that a missing controller is told by the setting people know; it is
        // written before it.
        self.swap(limit, swap);
        if self.live {
            self.lift(limit, reservation);
            self.check(memory, limit, swap);
        }
        if lib != LinuxMemory::default() {
            self.out.lib.set_memory(Some(lib));
        }
        self.memory_of_v1(memory);
    }

    /// What is unlimited now may have been limited.
    fn lift(&mut self, limit: Option<i64>, reservation: Option<i64>) {
        if limit == Some(-1) {
            self.own("memory", LIMIT, "memory.max", "max");
        }
        if reservation == Some(-1) {
            // memory.low protects: unlimited reservation is none of it.
            self.own("memory", RESERVATION, "memory.low", 0);
        }
    }

    fn check(&mut self, memory: &LinuxMemory, limit: Option<i64>, swap: Option<i64>) {
        let limits = UsageCheck {
            limit: limit.unwrap_or(0),
            total: swap.unwrap_or(0),
        };
        let asked = memory.check_before_update().unwrap_or(false);
        if asked && (limits.limit > 0 || limits.total > 0) {
            self.out.check = Some(limits);
        }
    }

    /// 0 is not set, -1 unlimited.
    fn bytes(&mut self, path: &str, value: Option<i64>) -> Option<i64> {
        match value {
            None | Some(0) => None,
            Some(value) if value >= -1 => Some(value),
            Some(value) => {
                self.refuse(
                    path,
                    format!("{value} is neither a size nor -1 for unlimited"),
                );
                None
            }
        }
    }

    /// The spec counts memory and swap together, cgroup v2 counts swap alone. A kernel without swap has
    /// no such file, which is what none and unlimited ask for.
    fn swap(&mut self, limit: Option<i64>, swap: Option<i64>) {
        let unlimited = swap == Some(-1) || (limit == Some(-1) && swap.is_none());
        if unlimited && self.live {
            self.first("memory", SWAP, "memory.swap.max", "max", Errno::NOENT);
        }
        let Some(swap) = swap.filter(|swap| *swap > 0) else {
            return;
        };
        match limit.filter(|limit| *limit > 0) {
            None => self.refuse(
                SWAP,
                "unable to set swap limit without memory limit: it is memory plus swap, and cgroup v2 limits swap alone",
            ),
            Some(limit) if swap < limit => self.refuse(
                SWAP,
                format!("memory+swap limit {swap} should be >= memory limit {limit}"),
            ),
            Some(limit) if swap == limit => {
                self.first("memory", SWAP, "memory.swap.max", 0, Errno::NOENT);
            }
            Some(limit) => {
                self.need("memory", SWAP);
                let write = super::written("memory.swap.max", swap - limit, SWAP);
                self.out.first.push(write);
            }
        }
    }

    #[allow(deprecated, reason = "the field must be read to be refused")]
    fn memory_of_v1(&mut self, memory: &LinuxMemory) {
        let kernel = memory.kernel().unwrap_or(0);
        self.only_v1("memory.kernel", matches!(kernel, 0 | -1));
        let kernel_tcp = memory.kernel_tcp().unwrap_or(0);
        self.only_v1("memory.kernelTCP", matches!(kernel_tcp, 0 | -1));
        let swappiness = memory.swappiness().unwrap_or(DEFAULT_SWAPPINESS);
        self.only_v1("memory.swappiness", swappiness == DEFAULT_SWAPPINESS);
        let no_oom = memory.disable_oom_killer().unwrap_or(false);
        self.only_v1("memory.disableOOMKiller", !no_oom);
    }
}
