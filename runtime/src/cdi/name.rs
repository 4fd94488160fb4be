//! `vendor.com/class=name`.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// The full name of a device: who makes it, what it is, and which one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName {
    kind: String,
    name: String,
}

impl DeviceName {
    /// Reads a name.
    ///
    /// # Errors
    /// `InvalidSpec` for what is none.
    pub fn parse(text: &str) -> Result<DeviceName> {
        let parsed = || {
            let (kind, name) = text
                .split_once('=')
                .ok_or_else(|| "is not VENDOR/CLASS=NAME".to_owned())?;
            check_kind(kind)?;
            check_name(name)?;
            Ok(DeviceName::new(kind, name))
        };
        parsed().map_err(|why: String| {
            Error::new(
                ErrorKind::InvalidSpec,
                "use CDI device",
                format!("{text:?}"),
            )
            .because(why)
        })
    }

    pub(super) fn new(kind: &str, name: &str) -> DeviceName {
        DeviceName {
            kind: kind.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.name)
    }
}

/// `vendor/class`; both begin with a letter.
pub(super) fn check_kind(kind: &str) -> std::result::Result<(), String> {
    let wrong = || format!("{kind:?} is not VENDOR/CLASS");
    let (vendor, class) = kind.split_once('/').ok_or_else(wrong)?;
    let letter = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic());
    let valid = letter(vendor)
        && letter(class)
        && vendor.len() <= 253
        && class.len() <= 63
        && is_word(vendor, "-_.")
        && is_word(class, "-_.");
    if valid { Ok(()) } else { Err(wrong()) }
}

/// Which one of its kind.
pub(super) fn check_name(name: &str) -> std::result::Result<(), String> {
    if is_word(name, "-_.:") {
        Ok(())
    } else {
        Err(format!("{name:?} is no name of a device"))
    }
}

/// Letters and digits, and between them these as well.
fn is_word(text: &str, between: &str) -> bool {
    let end = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(end)
        && text.ends_with(end)
        && text.chars().all(|c| end(c) || between.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_those_of_the_specification() {
        for text in [
            "vendor.com/device=foo",
            "foo.bar.baz/foo-bar123.B_az=0",
            "nvidia.com/gpu=GPU-1:2",
            "v/c=9a",
        ] {
            assert_eq!(DeviceName::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "=",
            "vendor.com/device",
            "vendor.com=foo",
            "/device=foo",
            "vendor.com/=foo",
            "vendor.com/a/b=foo",
            "vendor.com/device=",
            "vendor.com/device=-a",
            "1v/c=a",
            "v/1c=a",
            "v/c=a=b",
            "../c=a",
            "v/..=a",
            "v/c=../a",
            "v /c=a",
            "v/c=a\n",
        ] {
            let error = DeviceName::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidSpec, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_told_as_it_was(text in "[a-c./=_:0-9 -]{0,12}") {
            if let Ok(name) = DeviceName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
