//! `KEY=VALUE` flags: labels, annotations, sysctls.

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// `KEY=VALUE`; the value may be empty and may contain `=`.
///
/// # Errors
/// When there is no `=` or no key.
pub(crate) fn required(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok(Pair {
            key: key.to_owned(),
            value: value.to_owned(),
        }),
        _ => Err(format!("'{text}' is not KEY=VALUE")),
    }
}

/// `KEY` or `KEY=VALUE`, as docker takes labels.
///
/// # Errors
/// When there is no key.
pub(crate) fn label(text: &str) -> Result<Pair, String> {
    if text.contains('=') {
        required(text)
    } else if text.trim().is_empty() {
        Err("a label needs a name".to_owned())
    } else {
        Ok(Pair {
            key: text.to_owned(),
            value: String::new(),
        })
    }
}

/// A sysctl: names of lower-case words with dots or slashes, nothing that could climb out of /proc/sys.
///
/// # Errors
/// When the name has an empty, `..` or oddly spelled part (CVE-2022-0811 hid a second sysctl behind a `+`).
pub(crate) fn sysctl(text: &str) -> Result<Pair, String> {
    let pair = required(text)?;
    let spelled = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b':')
    };
    if !pair.key.split(['.', '/']).all(spelled) {
        return Err(format!(
            "'{}' is not the name of a sysctl such as net.core.somaxconn",
            pair.key
        ));
    }
    if pair.value.bytes().any(|b| b == b'\n' || b == 0) {
        return Err(format!(
            "the value of sysctl '{}' must be one line",
            pair.key
        ));
    }
    Ok(pair)
}
