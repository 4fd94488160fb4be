//! Spans of time as Go writes them: `5s`, `100ms`, `1m30s`, `1.5h`.

use std::time::Duration;

const UNITS: [(&str, f64); 7] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("\u{b5}s", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Reads a span.
///
/// # Errors
/// When it is none, or not above zero.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no span of time: write 5s, 100ms or 1m30s");
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, more) = rest.split_at(digits.ok_or_else(wrong)?);
        let end = more.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, more) = more.split_at(end.unwrap_or(more.len()));
        let number: f64 = number.parse().map_err(|_error| wrong())?;
        let scale = UNITS.iter().find(|(name, _)| *name == unit);
        seconds += number * scale.ok_or_else(wrong)?.1;
        rest = more;
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if !span.is_zero() => Ok(span),
        Ok(_) => Err("duration interval must be greater than 0".to_owned()),
        Err(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_go_writes_them() {
        for (text, milliseconds) in [
            ("5s", 5000),
            ("100ms", 100),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
        ] {
            assert_eq!(
                duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "0", "0s", "5", "s", "1x", "-1s", "1.2.3s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
