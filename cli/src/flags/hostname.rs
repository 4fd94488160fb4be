//! `--hostname`: a name that is safe to write into a hosts file.

/// The kernel's limit (sethostname(2)).
const LONGEST: usize = 64;

/// Takes letters, digits, `-`, `_` and `.`, beginning with a letter or digit.
///
/// # Errors
/// When the name is empty, too long, or could be more than one word of a file.
pub(crate) fn hostname(text: &str) -> Result<String, String> {
    let spelled = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let begins = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    if spelled && begins && text.len() <= LONGEST {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "'{}' cannot be the name of a host",
            text.escape_debug()
        ))
    }
}
