//! The record of a container on disk, and what it says together with the kernel.

use crate::cgroup::systemd::Whose;
use crate::error::{Error, ErrorKind, Result};
use crate::outline::Outline;
use crate::resctrl::Made;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where a container is in its life, runtime-spec "State".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// Being made.
    Creating,
    /// Made; its program waits to be started.
    Created,
    /// Its program runs.
    Running,
    /// Frozen.
    Paused,
    /// Its first process is gone.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// The state document, as other runtimes print it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct State {
    /// Version of the runtime-spec this document follows.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Pid of its first process in the caller's pid namespace; 0 once stopped.
    pub pid: i32,
    /// Where it is in its life.
    pub status: Status,
    /// Absolute path of its bundle.
    pub bundle: PathBuf,
    /// Absolute path of its root, empty where it was brought as a mount.
    pub rootfs: PathBuf,
    /// When it was made, RFC 3339 in UTC.
    pub created: String,
    /// The config's annotations.
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    pub annotations: HashMap<String, String>,
    /// Name of the user who made it.
    pub owner: String,
}

/// The version of the spec that state documents follow.
pub(crate) const OCI_VERSION: &str = "1.3.0";

/// What is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// Of this format.
    pub(crate) version: u32,
    pub(crate) id: String,
    pub(crate) pid: i32,
    /// With the pid it names one process for ever.
    pub(crate) start_time: u64,
    /// Pid of the process that makes it: its parent until it stands, or that one is dead.
    #[serde(default)]
    pub(crate) creator: u32,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) created: String,
    /// Below the root of the hierarchy; empty where the container has none of its own.
    pub(crate) cgroup: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<Unit>,
    /// Its class of service of the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rdt: Option<Made>,
    #[serde(default)]
    pub(crate) annotations: HashMap<String, String>,
    /// It has the session keyring of its creator.
    #[serde(default)]
    pub(crate) shares_keyring: bool,
    /// What its own keyring is named after, where that is not its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keyring: Option<String>,
    /// It is nobody's yet: a pool of its creator's has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) parked: bool,
    /// Absent where whoever wrote this did not know of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outline: Option<Outline>,
}

/// The unit of systemd's that a container is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Unit {
    pub(crate) name: String,
    /// Of the manager of the user's session, and not of the machine's.
    pub(crate) user: bool,
}

impl Unit {
    pub(crate) fn whose(&self) -> Whose {
        if self.user {
            Whose::Users
        } else {
            Whose::Machines
        }
    }
}

impl Record {
    pub(crate) const VERSION: u32 = 1;

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| {
            Error::new(ErrorKind::System, "write state of", &*self.id).caused_by(error)
        })
    }

    pub(crate) fn from_bytes(id: &str, bytes: &[u8]) -> Result<Record> {
        let mut record: Record = serde_json::from_slice(bytes)
            .map_err(|error| Error::new(ErrorKind::System, "read state of", id).caused_by(error))?;
        if record.version == Record::VERSION {
            // It was found under this one; a sandbox that is taken changes its name before its record.
            id.clone_into(&mut record.id);
            return Ok(record);
        }
        Err(
            Error::new(ErrorKind::Unsupported, "read state of", id).because(format!(
                "it has version {}, this hostrun knows {}",
                record.version,
                Record::VERSION
            )),
        )
    }
}

/// Now, as RFC 3339 with nanoseconds.
pub(crate) fn now() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    rfc3339(since.as_secs(), since.subsec_nanos())
}

/// Civil date of a day count, by the era arithmetic of the proleptic Gregorian calendar.
fn rfc3339(seconds: u64, nanoseconds: u32) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_399, 5), "2000-02-28T23:59:59.000000005Z");
        assert_eq!(rfc3339(951_782_400, 0), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(
            rfc3339(1_704_067_199, 999_999_999),
            "2023-12-31T23:59:59.999999999Z"
        );
        assert_eq!(rfc3339(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z");
    }

    #[test]
    fn a_record_of_another_version_is_refused() {
        let record = Record {
            version: 2,
            id: "a".into(),
            pid: 1,
            start_time: 1,
            creator: 1,
            bundle: "/b".into(),
            rootfs: "/r".into(),
            created: now(),
            cgroup: "c".into(),
            unit: None,
            rdt: None,
            annotations: HashMap::new(),
            shares_keyring: false,
            keyring: None,
            parked: false,
            outline: None,
        };
        assert_eq!(
            Record::from_bytes("a", &record.to_bytes().unwrap())
                .unwrap_err()
                .kind(),
            ErrorKind::Unsupported
        );
    }
}
