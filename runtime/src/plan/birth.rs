//! When an executed process comes into the container's pid namespace: last, where that can be, so that
//! whoever may stop it there finds nothing in it that is not the payload's own.

use super::ExecPlan;
use super::namespaces::Kind;
use oci_spec::runtime::LinuxSeccomp;

/// What it still does behind its filter.
const AFTER_BIRTH: [&str; 20] = [
    "capset",
    "close",
    "execve",
    "exit_group",
    "fchdir",
    "ioctl",
    "newfstatat",
    "openat2",
    "ppoll",
    "prctl",
    "prlimit64",
    "read",
    "rt_sigaction",
    "rt_sigprocmask",
    "sendmsg",
    "sendto",
    "setresgid",
    "setresuid",
    "setsid",
    "umask",
];

/// The flags of the clone: bits that only ask for a pidfd and for the same parent.
const CLONE: u64 = (libc::CLONE_PARENT | libc::CLONE_PIDFD) as u64;

/// When an executed process is born.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Birth {
    /// As soon as its maker is in all namespaces.
    Early,
    /// With all given up that its program does not get.
    Late,
    /// And behind its filter.
    BehindFilter,
}

impl Birth {
    pub(crate) fn is_late(self) -> bool {
        self != Birth::Early
    }
}

impl ExecPlan {
    /// Can all that takes more than the payload may be done before it is born?
    ///
    /// Not where the parent has to answer on the way, for it may stand still until the birth; nor
    /// with a scheduler, which some do not hand down. In a user namespace of its own the process is
    /// out of the reach of all others there anyway, and what it leaves behind at its border it could
    /// not do without.
    pub(super) fn when_to_be_born(&self, profile: Option<&LinuxSeccomp>) -> Birth {
        let asks = self.listener.is_some() || self.process.treatment.scheduler.is_some();
        if asks || !self.owns(Kind::Pid) || self.owns(Kind::User) {
            return Birth::Early;
        }
        match profile {
            None => Birth::Late,
            Some(profile) if leaves_enough(profile) => Birth::BehindFilter,
            // Who has given up all privileges needs none to install a filter.
            Some(_) if self.process.no_new_privileges => Birth::Late,
            Some(_) => Birth::Early,
        }
    }
}

fn leaves_enough(profile: &LinuxSeccomp) -> bool {
    hostrun_seccomp_profiles::allows(profile, &AFTER_BIRTH)
        && hostrun_seccomp_profiles::allows_call(profile, "clone", &[CLONE, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_leaves_enough_and_one_that_asks_for_the_user_does_not() {
        let mut profile = hostrun_seccomp_profiles::default_profile(&[]);
        assert!(leaves_enough(&profile));
        let rules = profile.syscalls().clone().unwrap_or_default();
        let without = rules.into_iter().map(|mut rule| {
            let mut names = rule.names().clone();
            names.retain(|name| name != "setresuid");
            rule.set_names(names);
            rule
        });
        let without = without.collect();
        profile.set_syscalls(Some(without));
        assert!(!leaves_enough(&profile));
    }
}
