//! The capabilities there are, in the one list that all crates go by.

use oci_spec::runtime::Capability;

/// From one list: the array, and numbers for every capability the spec's types know.
macro_rules! in_kernel_order {
    ($($name:ident),* $(,)?) => {
        #[derive(Clone, Copy)]
        enum Number {
            $($name),*
        }

        /// Every capability in the order of its number (capabilities(7), linux/capability.h).
        pub const CAPABILITIES: [Capability; [$(Number::$name),*].len()] = [$(Capability::$name),*];

        /// The kernel's number of a capability, which is its place in [`CAPABILITIES`].
        pub fn capability_number(capability: Capability) -> u32 {
            match capability {
                $(Capability::$name => Number::$name as u32),*
            }
        }
    };
}

in_kernel_order! {
    Chown,
    DacOverride,
    DacReadSearch,
    Fowner,
    Fsetid,
    Kill,
    Setgid,
    Setuid,
    Setpcap,
    LinuxImmutable,
    NetBindService,
    NetBroadcast,
    NetAdmin,
    NetRaw,
    IpcLock,
    IpcOwner,
    SysModule,
    SysRawio,
    SysChroot,
    SysPtrace,
    SysPacct,
    SysAdmin,
    SysBoot,
    SysNice,
    SysResource,
    SysTime,
    SysTtyConfig,
    Mknod,
    Lease,
    AuditWrite,
    AuditControl,
    Setfcap,
    MacOverride,
    MacAdmin,
    Syslog,
    WakeAlarm,
    BlockSuspend,
    AuditRead,
    Perfmon,
    Bpf,
    CheckpointRestore,
}
