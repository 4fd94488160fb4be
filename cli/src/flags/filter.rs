//! `--filter KEY=VALUE` of image lists, with docker's keys.

use std::str::FromStr;

/// What an image must be to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Whether it has no name.
    Dangling(bool),
    /// A label it has, perhaps with this value.
    Label(String, Option<String>),
    /// A pattern one of its names fits.
    Reference(String),
    /// An image that was built later.
    Before(String),
    /// An image that was built earlier.
    Since(String),
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| format!("'{text}' is not KEY=VALUE"))?;
        match (key, value) {
            ("dangling", "true" | "1") => Ok(Self::Dangling(true)),
            ("dangling", "false" | "0") => Ok(Self::Dangling(false)),
            ("label", label) if !label.is_empty() => Ok(match label.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(label.to_owned(), None),
            }),
            ("reference", pattern) if !pattern.is_empty() => {
                Ok(Self::Reference(pattern.to_owned()))
            }
            ("before" | "until", image) if !image.is_empty() => Ok(Self::Before(image.to_owned())),
            ("since" | "after", image) if !image.is_empty() => Ok(Self::Since(image.to_owned())),
            _ => Err(format!(
                "'{text}' is not dangling=true|false, label=, reference=, before= or since="
            )),
        }
    }
}

/// Whether a name fits a pattern in which `*` stands for anything but `/`, and `?` for one such
/// letter.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where to go on when what came after the last star does not fit.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let (want, have) = (pattern.get(p), name.get(n));
        match (want, have) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                star = Some((p + 1, n));
                p += 1;
            }
            (Some(want), Some(have)) if want == have || (*want == b'?' && *have != b'/') => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((after, from)) if name.get(from).is_some_and(|byte| *byte != b'/') => {
                    star = Some((after, from + 1));
                    (p, n) = (after, from + 1);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_docker_s() {
        let parse = |text: &str| text.parse::<Filter>();
        assert_eq!(parse("dangling=true"), Ok(Filter::Dangling(true)));
        assert_eq!(
            parse("label=a=b=c"),
            Ok(Filter::Label("a".into(), Some("b=c".into())))
        );
        assert_eq!(parse("label=a"), Ok(Filter::Label("a".into(), None)));
        assert_eq!(parse("reference=a*"), Ok(Filter::Reference("a*".into())));
        for wrong in ["", "dangling", "dangling=x", "label=", "name=x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_stop_at_slashes() {
        for (pattern, name) in [
            ("*", "web"),
            ("web:*", "web:v1"),
            ("*b:v?", "web:v1"),
            ("a/*/c", "a/b/c"),
            ("w**b", "web"),
            ("*a*a*", "banana"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*", "a/b"),
            ("web", "web:v1"),
            ("?", ""),
            ("a?b", "a/b"),
            ("*x", "web"),
            ("", "a"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
        // no pattern takes more than a moment
        assert!(!fits(&"*a".repeat(50), &"a".repeat(49)));
    }
}
