//! Where output goes, as a string that may come from far: containerd checks who may say what, and here
//! only two schemes mean anything, both with absolute paths.

use crate::wire::status::{Answer, Failure};
use std::path::PathBuf;

/// Where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A pipe, or nothing: the string as it is.
    Path,
    /// To the end of a file.
    File(PathBuf),
    /// To a program.
    Binary(Program),
}

/// A program, and what it is called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
}

/// Reads a destination.
///
/// # Errors
/// `InvalidArgument` for another scheme, a host, or a path that does not begin at the root.
pub(crate) fn parse(text: &str) -> Answer<Destination> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(Destination::Path);
    };
    if text.starts_with('/') {
        return Ok(Destination::Path);
    }
    let refuse = |why: &str| Err(Failure::invalid(format!("log uri {text:?}: {why}")));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let Some(path) = decode(path) else {
        return refuse("its path is not encoded as paths of URIs are");
    };
    let is_plain = |part: &str| part != ".." && part != ".";
    if !path.starts_with('/') || path.contains('\0') || !path.split('/').all(is_plain) {
        return refuse("its path is not an absolute one");
    }
    match scheme {
        "file" => Ok(Destination::File(path.into())),
        "binary" => match arguments(query) {
            Some(args) => Ok(Destination::Binary(Program {
                path: path.into(),
                args,
            })),
            None => refuse("its query is not encoded as queries of URIs are"),
        },
        _ => refuse("the scheme is neither file nor binary"),
    }
}

/// Each key, then its value where it has one.
fn arguments(query: &str) -> Option<Vec<String>> {
    let mut args = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        for word in [key, value] {
            let word = decode(&word.replace('+', " "))?;
            if word.contains('\0') {
                return None;
            }
            args.push(word);
        }
    }
    Some(args)
}

/// `%41` is `A`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::status::Code;
    use proptest::prelude::*;

    #[test]
    fn two_schemes_mean_something_and_a_path_is_a_path() {
        let file = |path: &str| Destination::File(path.into());
        assert_eq!(parse("").unwrap(), Destination::Path);
        assert_eq!(parse("/run/fifo/1-stdout").unwrap(), Destination::Path);
        assert_eq!(parse("/run/odd://name").unwrap(), Destination::Path);
        assert_eq!(
            parse("file:///var/log/a%20b").unwrap(),
            file("/var/log/a b")
        );
        let program = Program {
            path: "/usr/bin/logger".into(),
            args: ["id", "7", "flag", "", "text", "a b&c"]
                .map(String::from)
                .to_vec(),
        };
        assert_eq!(
            parse("binary:///usr/bin/logger?id=7&flag&text=a+b%26c").unwrap(),
            Destination::Binary(program)
        );
    }

    #[test]
    fn cve_2026_53488_what_else_a_label_may_say_is_refused() {
        for text in [
            "http://example/x",
            "exec:///bin/sh",
            "binary://host/bin/sh",
            "binary://bin/sh",
            "binary://",
            "file://etc/passwd",
            "file:///var/log/../../etc/passwd",
            "file:///var/%2e%2e/etc",
            "file:///a%00b",
            "binary:///bin/sh?a=%00",
            "binary:///bin/sh?a=%zz",
            "file:///a%",
            "BINARY:///bin/sh",
        ] {
            let refused = parse(text).unwrap_err();
            assert_eq!(refused.code, Code::InvalidArgument, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_has_an_absolute_path(text in "[a-z]{0,8}(://)?[ -~]{0,40}") {
            match parse(&text) {
                Ok(Destination::File(path)) => prop_assert!(path.is_absolute()),
                Ok(Destination::Binary(program)) => prop_assert!(program.path.is_absolute()),
                _ => {}
            }
        }
    }
}
