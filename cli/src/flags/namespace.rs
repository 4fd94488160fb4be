//! `--pid`, `--ipc`, `--uts`, `--userns`, `--network`: whose namespace a container lives in.

/// Whose namespace it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Sharing {
    /// One of its own.
    #[default]
    Own,
    /// The host's.
    Host,
    /// Another container's, by its name or id.
    Container(String),
}

fn sharing(text: &str, own: &[&str], allowed: &str) -> Result<Sharing, String> {
    if own.contains(&text) {
        return Ok(Sharing::Own);
    }
    match text.split_once(':') {
        None if text == "host" => Ok(Sharing::Host),
        Some(("container", id)) if !id.is_empty() => Ok(Sharing::Container(id.to_owned())),
        _ => Err(format!("'{text}' is not one of {allowed}")),
    }
}

/// `--pid`.
///
/// # Errors
/// When the value is none of the known ones.
pub(crate) fn pid(text: &str) -> Result<Sharing, String> {
    sharing(text, &["private", ""], "private, host, container:ID")
}

/// `--ipc`.
///
/// # Errors
/// When the value is none of the known ones.
pub(crate) fn ipc(text: &str) -> Result<Sharing, String> {
    sharing(
        text,
        &["private", "shareable", ""],
        "private, host, container:ID",
    )
}

/// `--network`.
///
/// # Errors
/// When the value is none of the known ones; networks with addresses are not here yet.
pub(crate) fn network(text: &str) -> Result<Sharing, String> {
    if text == "bridge" || text == "default" {
        return Err(format!(
            "'{text}' networks are not built in; use none, host or container:ID"
        ));
    }
    sharing(text, &["none", "private"], "none, host, container:ID")
}

/// `--uts`.
///
/// # Errors
/// When the value is none of the known ones.
pub(crate) fn uts(text: &str) -> Result<Sharing, String> {
    match text {
        "private" | "" => Ok(Sharing::Own),
        "host" => Ok(Sharing::Host),
        _ => Err(format!("'{text}' is not one of private, host")),
    }
}

/// `--userns`: only the host's for now, so that nobody believes in a mapping that is not there.
///
/// # Errors
/// When anything but `host` is asked for.
pub(crate) fn userns(text: &str) -> Result<Sharing, String> {
    match text {
        "host" | "" => Ok(Sharing::Host),
        _ => Err(format!("'{text}' is not built in; only host is")),
    }
}
