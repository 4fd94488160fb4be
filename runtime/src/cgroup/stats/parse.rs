//! The kernel's formats for cgroup files. What does not parse is skipped: newer kernels add lines.

use std::collections::BTreeMap;

use super::{DeviceIo, Pressure, Stall};

/// A file of one number.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A file of one number or `max`, which is `None`.
pub(super) fn limit(text: &str) -> Option<u64> {
    number(text)
}

/// Lines of `key value`.
pub(super) fn flat(text: &str) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let mut table = BTreeMap::new();
    table.extend(pairs.filter_map(|(key, value)| Some((key.to_owned(), number(value)?))));
    table
}

/// Lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`.
pub(super) fn nested(text: &str) -> Vec<DeviceIo> {
    text.lines().filter_map(device).collect()
}

fn device(line: &str) -> Option<DeviceIo> {
    let mut fields = line.split_whitespace();
    let (major, minor) = fields.next()?.split_once(':')?;
    let mut io = DeviceIo {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        ..DeviceIo::default()
    };
    for (key, value) in fields.filter_map(|field| field.split_once('=')) {
        let place = match key {
            "rbytes" => &mut io.read_bytes,
            "wbytes" => &mut io.write_bytes,
            "rios" => &mut io.reads,
            "wios" => &mut io.writes,
            "dbytes" => &mut io.discard_bytes,
            "dios" => &mut io.discards,
            _ => continue,
        };
        *place = value.parse().unwrap_or(0);
    }
    Some(io)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
pub(super) fn pressure(text: &str) -> Option<Pressure> {
    let line = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| Some(stall(line.strip_prefix(name)?)))
    };
    Some(Pressure {
        some: line("some ")?,
        full: line("full "),
    })
}

fn stall(fields: &str) -> Stall {
    let mut stall = Stall::default();
    for (key, value) in fields
        .split_whitespace()
        .filter_map(|field| field.split_once('='))
    {
        match key {
            "avg10" => stall.avg10 = value.parse().unwrap_or(0.0),
            "avg60" => stall.avg60 = value.parse().unwrap_or(0.0),
            "avg300" => stall.avg300 = value.parse().unwrap_or(0.0),
            "total" => stall.total_usec = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    stall
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_number_or_max() {
        assert_eq!(limit("4096\n"), Some(4096));
        assert_eq!(limit("max\n"), None);
    }

    #[test]
    fn flat_tables_skip_what_is_not_a_number() {
        let table = flat("usage_usec 12\nuser_usec 5\nodd line here\nlone\n");
        assert_eq!(table.len(), 2);
        assert_eq!(table.get("usage_usec"), Some(&12));
    }

    #[test]
    fn io_lines_with_unknown_keys_and_devices_without_numbers() {
        let devices = nested(
            "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=7\n253:1 \nloop 1\n",
        );
        assert_eq!(devices.len(), 2);
        assert_eq!(
            devices[0],
            DeviceIo {
                major: 254,
                minor: 0,
                read_bytes: 1,
                write_bytes: 2,
                reads: 3,
                writes: 4,
                discard_bytes: 5,
                discards: 6,
            }
        );
    }

    #[test]
    fn pressure_with_and_without_full() {
        let some = "some avg10=1.50 avg60=0.25 avg300=0.00 total=42\n";
        let parsed = pressure(some).unwrap();
        assert!((parsed.some.avg10 - 1.5).abs() < f64::EPSILON);
        assert_eq!((parsed.some.total_usec, parsed.full), (42, None));
        let both = format!("{some}full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
        assert_eq!(pressure(&both).unwrap().full.unwrap().total_usec, 7);
        assert_eq!(pressure(""), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[a-z0-9:= .\n]{0,120}|\\PC{0,40}") {
            flat(&text);
            nested(&text);
            pressure(&text);
            limit(&text);
        }
    }
}
