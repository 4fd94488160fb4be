//! Points in time as text: RFC 3339 in UTC, and how long ago for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time since 1970, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant {
    seconds: u64,
    nanos: u32,
}

/// Now.
pub(crate) fn now() -> Instant {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Instant {
        seconds: since.as_secs(),
        nanos: since.subsec_nanos(),
    }
}

/// A whole second.
pub(crate) fn since_epoch(seconds: u64) -> Instant {
    Instant { seconds, nanos: 0 }
}

impl Instant {
    /// `2024-01-02T03:04:05.123456789Z`, always with nine digits.
    pub(crate) fn to_rfc3339(self) -> String {
        format!("{}.{:09}Z", self.date_and_time(), self.nanos)
    }

    /// `2024-01-02T03:04:05Z`.
    pub(crate) fn to_rfc3339_seconds(self) -> String {
        format!("{}Z", self.date_and_time())
    }

    fn date_and_time(self) -> String {
        let (days, rest) = (self.seconds / 86_400, self.seconds % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }

    /// Reads what [`Instant::to_rfc3339`] writes, any number of digits after the second, and offsets.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (date, clock) = text.split_once(['T', 't', ' '])?;
        let (clock, offset) = split_offset(clock)?;
        let mut date = date.splitn(3, '-').map(number);
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let mut parts = clock.splitn(3, ':').map(number);
        let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
        let in_range = (1970..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 61;
        if !in_range || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let nanos = format!("{fraction:0<9}").parse().ok()?;
        let local = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        Some(Self {
            seconds: local.checked_add_signed(-offset)?,
            nanos,
        })
    }

    /// Reads a moment as `--since` takes it: a date, seconds since 1970, or a span back from `now`.
    pub(crate) fn parse_since(text: &str, now: Self) -> Option<Self> {
        if let Some(instant) = Self::parse(text) {
            return Some(instant);
        }
        if let Some(seconds) = number(text) {
            return Some(Self { seconds, nanos: 0 });
        }
        let mut total: u64 = 0;
        let mut digits = String::new();
        for c in text.chars() {
            let unit = match c {
                '0'..='9' => {
                    digits.push(c);
                    continue;
                }
                's' => 1,
                'm' => 60,
                'h' => 3_600,
                'd' => 86_400,
                _ => return None,
            };
            total = total.checked_add(number(&std::mem::take(&mut digits))?.checked_mul(unit)?)?;
        }
        (digits.is_empty() && !text.is_empty()).then(|| Self {
            seconds: now.seconds.saturating_sub(total),
            nanos: now.nanos,
        })
    }

    /// So long before.
    pub(crate) fn before(self, span: Duration) -> Self {
        let since = Duration::new(self.seconds, self.nanos).saturating_sub(span);
        Self {
            seconds: since.as_secs(),
            nanos: since.subsec_nanos(),
        }
    }

    /// The time from this point to a later one; zero if it is not later.
    pub(crate) fn until(self, later: Self) -> Duration {
        Duration::new(later.seconds, later.nanos)
            .saturating_sub(Duration::new(self.seconds, self.nanos))
    }
}

/// A span as a person says it: `3 minutes`.
pub(crate) fn roughly(span: Duration) -> String {
    let seconds = span.as_secs();
    let (amount, unit) = match seconds {
        0 => return "Less than a second".to_owned(),
        1..=89 => (seconds, "second"),
        90..=5_399 => ((seconds + 30) / 60, "minute"),
        5_400..=129_599 => ((seconds + 1_800) / 3_600, "hour"),
        _ => ((seconds + 43_200) / 86_400, "day"),
    };
    format!("{amount} {unit}{}", if amount == 1 { "" } else { "s" })
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn split_offset(clock: &str) -> Option<(&str, i64)> {
    if let Some(utc) = clock.strip_suffix(['Z', 'z']) {
        return Some((utc, 0));
    }
    let at = clock.rfind(['+', '-'])?;
    let (clock, offset) = clock.split_at_checked(at)?;
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let seconds = i64::try_from(hours * 3_600 + minutes * 60).ok()?;
    (hours < 24 && minutes < 60).then_some((clock, sign * seconds))
}

/// Days since 1970 to year, month, day; years begin in March, so that leap days come last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The reverse of [`civil`], from 1970 on.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments_are_written_right() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_704_164_645, "2024-01-02T03:04:05Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (seconds, text) in cases {
            let instant = Instant { seconds, nanos: 0 };
            assert_eq!(instant.to_rfc3339_seconds(), text);
            assert_eq!(Instant::parse(text), Some(instant));
        }
    }

    #[test]
    fn offsets_are_subtracted() {
        assert_eq!(
            Instant::parse("2024-01-02T05:04:05+02:00"),
            Instant::parse("2024-01-02T03:04:05Z")
        );
        assert_eq!(Instant::parse("2024-01-02T03:04:05"), None);
        assert_eq!(Instant::parse("2024-13-02T03:04:05Z"), None);
    }

    #[test]
    fn since_takes_dates_seconds_and_spans() {
        let now = Instant {
            seconds: 100_000,
            nanos: 5,
        };
        assert_eq!(Instant::parse_since("90", now).unwrap().seconds, 90);
        assert_eq!(Instant::parse_since("1h30m", now).unwrap().seconds, 94_600);
        assert_eq!(Instant::parse_since("", now), None);
        assert_eq!(Instant::parse_since("5x", now), None);
        assert_eq!(Instant::parse_since("m", now), None);
    }

    #[test]
    fn spans_are_said_roughly() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (120, "2 minutes"),
            (7_200, "2 hours"),
            (172_800, "2 days"),
        ] {
            assert_eq!(roughly(Duration::from_secs(seconds)), text);
        }
    }

    proptest! {
        #[test]
        fn any_moment_survives_text(seconds in 0_u64..250_000_000_000, nanos in 0_u32..1_000_000_000) {
            let instant = Instant { seconds, nanos };
            prop_assert_eq!(Instant::parse(&instant.to_rfc3339()), Some(instant));
        }

        #[test]
        fn no_text_panics(text in "[0-9T:.Z+-]{0,35}|.*") {
            let now = Instant { seconds: 1, nanos: 0 };
            prop_assert!(Instant::parse_since(&text, now).is_none_or(|at| at.nanos < 1_000_000_000));
        }
    }
}
