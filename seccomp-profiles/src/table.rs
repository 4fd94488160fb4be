//! Names and numbers of system calls.
//!
//! The data is `tables/syscalls.txt`: one call a line, sorted by name, one column an interface. It
//! holds what Linux 7.0 knows; what is newer stands in no profile either.

use crate::abi::Abi;

/// The numbers of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers([Option<u32>; 5]);

impl Numbers {
    /// The number on `abi` as a filter sees it; none where the interface lacks the call.
    pub(crate) fn on(self, abi: Abi) -> Option<u32> {
        let number = *self.0.get(abi.column())?;
        number.map(|number| number + abi.offset())
    }
}

/// The table, ready to be searched.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<(&'static str, Numbers)>,
}

impl Table {
    /// Reads the table that was compiled in.
    pub(crate) fn read() -> Self {
        let text = include_str!("../tables/syscalls.txt");
        let rows = text.lines().filter(|line| !line.starts_with('#'));
        Self {
            rows: rows.filter_map(row).collect(),
        }
    }

    /// The numbers of the call `name` on all interfaces; none where no interface has it.
    pub(crate) fn numbers(&self, name: &str) -> Option<Numbers> {
        let found = self.rows.binary_search_by(|(known, _)| (*known).cmp(name));
        self.rows.get(found.ok()?).map(|(_, numbers)| *numbers)
    }

    /// Every name with its number on one interface.
    #[cfg(test)]
    pub(crate) fn calls(&self, abi: Abi) -> impl Iterator<Item = (&'static str, u32)> {
        let numbers = self
            .rows
            .iter()
            .map(move |(name, numbers)| (*name, numbers.on(abi)));
        numbers.filter_map(|(name, number)| Some((name, number?)))
    }
}

/// `name x86_64 x86 x32 aarch64 arm`, a dash for none.
fn row(line: &'static str) -> Option<(&'static str, Numbers)> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let mut numbers = [None; 5];
    for number in &mut numbers {
        *number = words.next()?.parse().ok();
    }
    Some((name, Numbers(numbers)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_complete_and_unique() {
        let table = Table::read();
        let lines = include_str!("../tables/syscalls.txt").lines().count();
        assert_eq!(table.rows.len(), lines - 1);
        assert!(table.rows.is_sorted_by(|a, b| a.0 < b.0));
        for abi in Abi::ALL {
            assert!(table.calls(abi).count() > 300);
        }
    }

    #[test]
    fn numbers_agree_with_the_headers_this_was_built_with() {
        let table = Table::read();
        for (name, number) in [
            ("read", libc::SYS_read),
            ("execve", libc::SYS_execve),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("seccomp", libc::SYS_seccomp),
            ("mseal", libc::SYS_mseal),
        ] {
            let ours = table
                .numbers(name)
                .and_then(|numbers| numbers.on(crate::NATIVE));
            let ours = ours.map(i64::from);
            assert_eq!(ours, Some(number), "{name}");
        }
    }

    #[test]
    fn x32_numbers_carry_its_bit_and_unknown_names_have_none() {
        let table = Table::read();
        let number = |name, abi| table.numbers(name).and_then(|numbers| numbers.on(abi));
        assert_eq!(number("read", Abi::X32), Some(0x4000_0000));
        assert_eq!(number("ioctl", Abi::X32), Some(0x4000_0202));
        assert_eq!(number("socketcall", Abi::X86_64), None);
        assert_eq!(number("no_such_call", Abi::X86_64), None);
        assert_eq!(number("# name", Abi::X86_64), None);
    }
}
