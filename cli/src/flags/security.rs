//! `--security-opt`.

use std::path::PathBuf;

/// One security option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecurityOption {
    /// No system call filter.
    SeccompUnconfined,
    /// The filter of this file.
    SeccompFile(PathBuf),
    /// The built-in filter, said aloud.
    SeccompDefault,
    /// Whether execve may gain privileges.
    NoNewPrivileges(bool),
    /// Nothing masked or read-only below /proc and /sys.
    SystemPathsUnconfined,
    /// An option that changes nothing on this host, such as `label=disable`.
    Nothing,
}

/// Reads one option, with `=` or docker's older `:` between name and value.
///
/// # Errors
/// When the option is unknown, or asks for a module this build does not drive.
pub(crate) fn security_option(text: &str) -> Result<SecurityOption, String> {
    let (name, value) = match text.find(['=', ':']) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
        None => (text, None),
    };
    match (name, value) {
        ("seccomp", Some("unconfined")) => Ok(SecurityOption::SeccompUnconfined),
        ("seccomp", Some("builtin" | "default")) => Ok(SecurityOption::SeccompDefault),
        ("seccomp", Some(file)) if !file.is_empty() => {
            Ok(SecurityOption::SeccompFile(PathBuf::from(file)))
        }
        ("seccomp", _) => Err("seccomp needs a file or 'unconfined'".to_owned()),
        ("no-new-privileges", None | Some("true")) => Ok(SecurityOption::NoNewPrivileges(true)),
        ("no-new-privileges", Some("false")) => Ok(SecurityOption::NoNewPrivileges(false)),
        ("systempaths", Some("unconfined")) => Ok(SecurityOption::SystemPathsUnconfined),
        ("label", Some("disable")) | ("apparmor", Some("unconfined")) => {
            Ok(SecurityOption::Nothing)
        }
        ("label" | "apparmor", _) => Err(format!(
            "'{text}': labels and profiles of security modules are not built in"
        )),
        _ => Err(format!(
            "'{text}' is not a security option; known: seccomp, no-new-privileges, systempaths"
        )),
    }
}
