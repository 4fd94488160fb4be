//! `--ulimit NAME=SOFT[:HARD]`.

use oci_spec::runtime::PosixRlimitType;

/// One limit of the container's first process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ulimit {
    pub(crate) kind: PosixRlimitType,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// Reads one limit; `-1` and `unlimited` mean no limit, a missing hard limit is the soft one.
///
/// # Errors
/// When the name is unknown, a number is not one, or the soft limit is above the hard one.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let refuse = || format!("'{text}' is not NAME=SOFT[:HARD], such as nofile=1024:4096");
    let (name, values) = text.split_once('=').ok_or_else(refuse)?;
    let kind = kind(name).ok_or_else(|| format!("'{name}' is not a resource that has a limit"))?;
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (value(soft), value(hard)),
        None => (value(values), value(values)),
    };
    let (Some(soft), Some(hard)) = (soft, hard) else {
        return Err(refuse());
    };
    if soft > hard {
        return Err(format!("'{text}' has a soft limit above its hard limit"));
    }
    Ok(Ulimit { kind, soft, hard })
}

fn value(text: &str) -> Option<u64> {
    match text {
        "-1" | "unlimited" => Some(u64::MAX),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    }
}

fn kind(name: &str) -> Option<PosixRlimitType> {
    Some(match name {
        "as" => PosixRlimitType::RlimitAs,
        "core" => PosixRlimitType::RlimitCore,
        "cpu" => PosixRlimitType::RlimitCpu,
        "data" => PosixRlimitType::RlimitData,
        "fsize" => PosixRlimitType::RlimitFsize,
        "locks" => PosixRlimitType::RlimitLocks,
        "memlock" => PosixRlimitType::RlimitMemlock,
        "msgqueue" => PosixRlimitType::RlimitMsgqueue,
        "nice" => PosixRlimitType::RlimitNice,
        "nofile" => PosixRlimitType::RlimitNofile,
        "nproc" => PosixRlimitType::RlimitNproc,
        "rss" => PosixRlimitType::RlimitRss,
        "rtprio" => PosixRlimitType::RlimitRtprio,
        "rttime" => PosixRlimitType::RlimitRttime,
        "sigpending" => PosixRlimitType::RlimitSigpending,
        "stack" => PosixRlimitType::RlimitStack,
        _ => return None,
    })
}
