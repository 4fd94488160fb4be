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
    /// No label of SELinux.
    NoLabel,
    /// Another user, role, type, level or filetype in the labels of SELinux.
    Label(&'static str, String),
    /// A profile of AppArmor's, or none.
    Apparmor(Option<String>),
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
        ("label", Some("disable")) => Ok(SecurityOption::NoLabel),
        ("label", Some(value)) => label(value),
        ("apparmor", Some("unconfined")) => Ok(SecurityOption::Apparmor(None)),
        ("apparmor", Some(profile)) if is_word(profile) => {
            Ok(SecurityOption::Apparmor(Some(profile.to_owned())))
        }
        ("label" | "apparmor", _) => Err(format!("'{text}' names no label or profile")),
        _ => Err(format!(
            "'{text}' is not a security option; known: seccomp, label, apparmor, no-new-privileges, systempaths"
        )),
    }
}

/// `PART:VALUE`; a level has colons of its own.
fn label(text: &str) -> Result<SecurityOption, String> {
    const PARTS: [&str; 5] = ["user", "role", "type", "level", "filetype"];
    let known = text.split_once([':', '=']).and_then(|(part, value)| {
        let part = PARTS.into_iter().find(|known| *known == part)?;
        let plain = part == "level" || !value.contains(':');
        (plain && is_word(value)).then(|| SecurityOption::Label(part, value.to_owned()))
    });
    known.ok_or_else(|| {
        format!("'label={text}' is none of disable, user:, role:, type:, level: and filetype: with a value")
    })
}

/// The kernel ends a label or a profile at such a character.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"')
}
