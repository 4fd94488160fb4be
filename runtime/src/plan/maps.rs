//! `linux.uidMappings` and `linux.gidMappings`: the identity maps of a new user namespace.

use super::refusal::Refusals;
use oci_spec::runtime::LinuxIdMapping;
use std::fmt::Write as _;

/// How many lines the kernel takes, `user_namespaces(7)`.
const MAX_LINES: usize = 340;

/// What the kernel takes in the one write that a map allows: less than a page, on every
/// architecture.
const MAX_TEXT: usize = 4095;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// The first id inside.
    pub(crate) inside: u32,
    /// The first id outside.
    pub(crate) outside: u32,
    /// How many.
    pub(crate) size: u32,
}

impl Range {
    /// The end of neither side leaves the range of ids: 2^32-1 is none, it means "leave alone".
    fn is_valid(self) -> bool {
        let ends = |start: u32| start.checked_add(self.size).is_some();
        self.size > 0 && ends(self.inside) && ends(self.outside)
    }

    fn overlaps(self, other: Range) -> bool {
        let meet = |one: u32, another: u32| {
            one < another.saturating_add(other.size) && another < one.saturating_add(self.size)
        };
        meet(self.inside, other.inside) || meet(self.outside, other.outside)
    }
}

/// A map of users or of groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdMap(Vec<Range>);

impl IdMap {
    /// Reads the list at JSON path `path`; all its problems are refused.
    pub(crate) fn plan(path: &str, listed: &[LinuxIdMapping], refusals: &mut Refusals) -> IdMap {
        let mut ranges: Vec<Range> = Vec::with_capacity(listed.len().min(MAX_LINES));
        if listed.len() > MAX_LINES {
            let why = format!("has more than {MAX_LINES} mappings, which is all the kernel takes");
            refusals.refuse(path, why);
        }
        for (index, map) in listed.iter().enumerate().take(MAX_LINES) {
            let range = Range {
                inside: map.container_id(),
                outside: map.host_id(),
                size: map.size(),
            };
            let json = format!("{path}[{index}]");
            if !range.is_valid() {
                refusals.refuse(&json, "is empty or leaves the range of ids");
            } else if ranges.iter().any(|other| range.overlaps(*other)) {
                refusals.refuse(&json, "maps an id a second time");
            }
            ranges.push(range);
        }
        let map = IdMap(ranges);
        if map.text().len() > MAX_TEXT {
            let why = format!("is longer than {MAX_TEXT} bytes, which is all the kernel takes");
            refusals.refuse(path, why);
        }
        map
    }

    /// One id, which is root inside.
    pub(crate) fn to_root(outside: u32) -> IdMap {
        IdMap(vec![Range {
            inside: 0,
            outside,
            size: 1,
        }])
    }

    /// A user's own id, which is root inside, and behind it the ranges given to that user, each its first
    /// id and how many. `None` where they overlap or there are more than the kernel takes.
    pub(crate) fn of_user(own: u32, given: &[(u32, u32)]) -> Option<IdMap> {
        let mut map = IdMap::to_root(own);
        let mut inside: u32 = 1;
        for &(outside, size) in given {
            let range = Range {
                inside,
                outside,
                size,
            };
            if !range.is_valid() || map.0.iter().any(|other| range.overlaps(*other)) {
                return None;
            }
            inside = inside.checked_add(size)?;
            map.0.push(range);
        }
        (map.0.len() <= MAX_LINES && map.text().len() <= MAX_TEXT).then_some(map)
    }

    /// As written to `uid_map` and `gid_map`.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for range in &self.0 {
            let (inside, outside, size) = (range.inside, range.outside, range.size);
            // Writing to a String cannot fail.
            if writeln!(text, "{inside} {outside} {size}").is_err() {
                break;
            }
        }
        text
    }

    /// As `newuidmap(1)` wants them.
    pub(crate) fn words(&self) -> impl Iterator<Item = String> {
        let numbers = self.0.iter();
        numbers
            .flat_map(|range| [range.inside, range.outside, range.size])
            .map(|number| number.to_string())
    }

    /// Has this id inside a place outside?
    pub(crate) fn covers(&self, id: u32) -> bool {
        self.outside(id).is_some()
    }

    /// The id outside of one inside.
    pub(crate) fn outside(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let distance = id.checked_sub(range.inside)?;
            (distance < range.size)
                .then(|| range.outside.checked_add(distance))
                .flatten()
        })
    }

    /// Is this id outside all it maps?
    pub(crate) fn is_only(&self, outside: u32) -> bool {
        matches!(self.0[..], [range] if range.outside == outside && range.size == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(ranges: &[(u32, u32, u32)]) -> (IdMap, crate::error::Result<()>) {
        let listed: Vec<LinuxIdMapping> = ranges
            .iter()
            .map(|(inside, outside, size)| {
                serde_json::from_value(serde_json::json!(
                    {"containerID": inside, "hostID": outside, "size": size}
                ))
                .unwrap()
            })
            .collect();
        let mut refusals = Refusals::default();
        let map = IdMap::plan("linux.uidMappings", &listed, &mut refusals);
        (map, refusals.finish())
    }

    fn refusal(ranges: &[(u32, u32, u32)]) -> String {
        read(ranges).1.unwrap_err().to_string()
    }

    #[test]
    fn a_map_is_written_as_the_kernel_reads_it() {
        let (map, result) = read(&[(0, 1000, 1), (1, 100_000, 65_535)]);
        result.unwrap();
        assert_eq!(map.text(), "0 1000 1\n1 100000 65535\n");
        assert_eq!(
            map.words().collect::<Vec<_>>().join(" "),
            "0 1000 1 1 100000 65535"
        );
        assert_eq!(map.outside(65_535), Some(165_534));
        assert!(map.covers(0) && !map.covers(65_536));
        assert!(!map.is_only(1000) && read(&[(7, 1000, 1)]).0.is_only(1000));
    }

    #[test]
    fn cve_2024_40635_a_map_that_wraps_around_is_refused() {
        for range in [
            (0, 0, u32::MAX),
            (1, 0, u32::MAX),
            (u32::MAX, 0, 1),
            (0, u32::MAX, 1),
            (4_000_000_000, 0, 400_000_000),
            (5, 5, 0),
        ] {
            let fits = range == (0, 0, u32::MAX);
            assert_eq!(read(&[range]).1.is_ok(), fits, "{range:?}");
        }
        assert!(refusal(&[(0, 0, 0)]).contains("linux.uidMappings[0]: is empty"));
    }

    #[test]
    fn an_id_mapped_twice_is_refused_on_either_side() {
        for second in [(5, 900, 1), (900, 1005, 1), (0, 1000, 10)] {
            let text = refusal(&[(0, 1000, 10), second]);
            assert!(
                text.contains("linux.uidMappings[1]: maps an id a second"),
                "{text}"
            );
        }
        read(&[(0, 1000, 10), (10, 1010, 10)]).1.unwrap();
    }

    #[test]
    fn cve_2021_43784_a_map_longer_than_the_kernel_takes_is_refused() {
        let many = |count: u32| -> Vec<_> { (0..count).map(|at| (at, at, 1)).collect() };
        read(&many(340)).1.unwrap();
        assert!(refusal(&many(341)).contains("more than 340"));
        // Past 64 KiB, where a length of 16 bits would begin anew.
        assert!(refusal(&many(20_000)).contains("more than 340"));
        let wide: Vec<_> = (0..340)
            .map(|at| (3_000_000_000 + at, 3_000_000_000 + at, 1))
            .collect();
        assert!(refusal(&wide).contains("longer than 4095 bytes"));
    }

    proptest! {
        #[test]
        fn an_accepted_map_is_one_to_one_and_stays_in_the_range_of_ids(
            ranges in proptest::collection::vec((edge(), edge(), edge()), 1..6), id in edge()) {
            let (map, result) = read(&ranges);
            if result.is_ok() {
                let outside = map.outside(id);
                prop_assert_ne!(outside, Some(u32::MAX));
                let places = ranges.iter().filter(|(inside, _, size)| {
                    (u64::from(*inside)..u64::from(*inside) + u64::from(*size)).contains(&u64::from(id))
                });
                prop_assert_eq!(places.count(), usize::from(outside.is_some()));
                for (inside, outside, size) in ranges {
                    prop_assert!(size > 0 && inside.checked_add(size).is_some() && outside.checked_add(size).is_some());
                }
            }
        }
    }

    /// Ids that lie where arithmetic goes wrong.
    fn edge() -> impl Strategy<Value = u32> {
        prop_oneof![
            0..20_u32,
            (u32::MAX - 20)..=u32::MAX,
            0x7fff_fff0..0x8000_0010_u32,
            any::<u32>()
        ]
    }
}
