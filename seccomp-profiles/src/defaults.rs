//! What the default profile is made for.

use crate::document::Kernel;
use oci_spec::runtime::Capability;

/// When the default profile was last looked over, as `year-month-day`.
pub const PROFILE_DATE: &str = "2026-11-22";

/// The kernel whose calls the default profile knows. What came later gives `ENOSYS`.
pub const PROFILE_KERNEL: Kernel = Kernel(6, 13);

/// The kernel that conditions of a profile are evaluated for where the caller does not say: the
/// oldest on which hostrun runs (`cgroup.kill`, Linux 5.14).
pub const OLDEST_KERNEL: Kernel = Kernel(5, 14);

/// The bounding set of a container for which nothing else was asked, the same as docker's. For it the
/// default profile is compiled ahead.
pub const DEFAULT_CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];
