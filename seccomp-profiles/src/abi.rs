//! The system call interfaces a process can use, and how they number their calls.
//!
//! One processor has several: an x86-64 kernel also runs 32-bit and x32 programs. The kernel tells a
//! filter which one by an `AUDIT_ARCH_*` value (`linux/audit.h`), except that x32 hides behind the
//! value of x86-64 and a bit in the number.

use oci_spec::runtime::Arch;

/// The bit that marks a number as one of x32 (`asm/unistd.h`, `__X32_SYSCALL_BIT`).
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// One interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    /// 64-bit programs on x86.
    X86_64,
    /// 32-bit programs on x86 (i386).
    X86,
    /// 64-bit x86 programs with 32-bit pointers.
    X32,
    /// 64-bit programs on ARM.
    Aarch64,
    /// 32-bit programs on ARM (EABI).
    Arm,
}

/// A range of numbers that grows on its own: new calls take the numbers after its last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    /// The first number, as a filter sees it.
    pub(crate) first: u32,
    /// The last number.
    pub(crate) last: u32,
}

impl Block {
    const fn new(first: u32, last: u32) -> Self {
        Self { first, last }
    }
}

impl Abi {
    /// Every interface this crate has a table of.
    pub const ALL: [Self; 5] = [Self::X86_64, Self::X86, Self::X32, Self::Aarch64, Self::Arm];

    /// The interface that OCI calls `arch`; none for one without a table.
    pub(crate) fn from_oci(arch: Arch, native: Self) -> Option<Self> {
        match arch {
            Arch::ScmpArchNative => Some(native),
            Arch::ScmpArchX86_64 => Some(Self::X86_64),
            Arch::ScmpArchX86 => Some(Self::X86),
            Arch::ScmpArchX32 => Some(Self::X32),
            Arch::ScmpArchAarch64 => Some(Self::Aarch64),
            Arch::ScmpArchArm => Some(Self::Arm),
            _ => None,
        }
    }

    /// What OCI calls it.
    pub fn to_oci(self) -> Arch {
        match self {
            Self::X86_64 => Arch::ScmpArchX86_64,
            Self::X86 => Arch::ScmpArchX86,
            Self::X32 => Arch::ScmpArchX32,
            Self::Aarch64 => Arch::ScmpArchAarch64,
            Self::Arm => Arch::ScmpArchArm,
        }
    }

    /// What moby's profiles call it, after Go.
    pub(crate) fn go_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// The `AUDIT_ARCH_*` value by which the kernel reports it.
    pub fn audit_arch(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether one kernel can run programs of both.
    pub(crate) fn shares_kernel_with(self, other: Self) -> bool {
        let arm = |abi| matches!(abi, Self::Aarch64 | Self::Arm);
        arm(self) == arm(other)
    }

    /// Whether its arguments are 32 bits wide. x32 programs have the wide registers.
    pub(crate) fn is_narrow(self) -> bool {
        matches!(self, Self::X86 | Self::Arm)
    }

    /// The place of its numbers in a line of the table.
    pub(crate) fn column(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::X86 => 1,
            Self::X32 => 2,
            Self::Aarch64 => 3,
            Self::Arm => 4,
        }
    }

    /// What is added to a number of the table.
    pub(crate) fn offset(self) -> u32 {
        if self == Self::X32 { X32_BIT } else { 0 }
    }

    /// The blocks in which its numbers grow.
    ///
    /// x32 has a closed block of its own from 512 on, and 32-bit ARM its private calls far above;
    /// in both cases the newest ordinary call stands below, not at the end.
    pub(crate) fn blocks(self) -> &'static [Block] {
        match self {
            Self::X86_64 => const { &[Block::new(0, X32_BIT - 1)] },
            Self::X32 => {
                const {
                    &[
                        Block::new(X32_BIT, X32_BIT + 511),
                        // The number -1 is no call but what a tracer leaves to skip one.
                        Block::new(X32_BIT + 512, u32::MAX - 1),
                    ]
                }
            }
            Self::X86 | Self::Aarch64 => const { &[Block::new(0, u32::MAX)] },
            Self::Arm => {
                const {
                    &[
                        Block::new(0, 0x000e_ffff),
                        Block::new(0x000f_0000, u32::MAX),
                    ]
                }
            }
        }
    }
}
