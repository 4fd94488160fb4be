//! `--filter KEY=VALUE` of image lists, with docker's keys.

use super::duration::duration;
use crate::clock::{self, Instant};
use std::str::FromStr;

/// What an image must be to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Whether it has no name.
    Dangling(bool),
    /// A label it has, perhaps with this value.
    Label(String, Option<String>),
    /// A label it has not, or not with this value.
    NoLabel(String, Option<String>),
    /// A pattern one of its names fits; of several, one.
    Reference(String),
    /// An image that was built later.
    Before(String),
    /// An image that was built earlier.
    Since(String),
    /// A point in time it was built before.
    Until(Instant),
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
            ("label" | "label!", label) if !label.is_empty() => {
                let (label, value) = match label.split_once('=') {
                    Some((label, value)) => (label.to_owned(), Some(value.to_owned())),
                    None => (label.to_owned(), None),
                };
                Ok(match key {
                    "label" => Self::Label(label, value),
                    _ => Self::NoLabel(label, value),
                })
            }
            ("reference", pattern) if !pattern.is_empty() => {
                Ok(Self::Reference(pattern.to_owned()))
            }
            ("before", image) if !image.is_empty() => Ok(Self::Before(image.to_owned())),
            ("since" | "after", image) if !image.is_empty() => Ok(Self::Since(image.to_owned())),
            ("until", time) => point_in_time(time).map(Self::Until),
            _ => Err(format!(
                "'{text}' is not dangling=true|false, label=, label!=, reference=, before=, since= or until="
            )),
        }
    }
}

/// As docker's users write one: seconds since 1970, how long ago, or a date, perhaps with a time, which is
/// in UTC where it does not say in what zone.
fn point_in_time(text: &str) -> Result<Instant, String> {
    let seconds = text.split_once('.').map_or(text, |(seconds, _)| seconds);
    if let Ok(seconds) = seconds.parse() {
        return Ok(clock::since_epoch(seconds));
    }
    if let Ok(span) = duration(text) {
        return Ok(clock::now().before(span));
    }
    let ends = ["", "Z", ":00Z", "T00:00:00Z"];
    let mut read = ends
        .iter()
        .filter_map(|end| Instant::parse(&format!("{text}{end}")));
    read.next()
        .ok_or_else(|| format!("'{text}' is no point in time: write 24h, 2026-01-02 or 1767312000"))
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
    fn points_in_time_are_written_in_many_ways() {
        let written = |text| point_in_time(text).map(Instant::to_rfc3339_seconds);
        for text in [
            "1767312000",
            "1767312000.5",
            "2026-01-02",
            "2026-01-02T00:00",
            "2026-01-02T00:00:00",
            "2026-01-02T01:00:00+01:00",
        ] {
            assert_eq!(
                written(text).as_deref(),
                Ok("2026-01-02T00:00:00Z"),
                "{text}"
            );
        }
        assert!(point_in_time("1h30m").unwrap() < clock::now());
        for wrong in ["", "yesterday", "2026-13-01", "-1h"] {
            assert!(point_in_time(wrong).is_err(), "{wrong}");
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
