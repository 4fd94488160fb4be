//! Lines of a `schemata` file: what is written to a new class, and whether one that exists has what
//! is asked for. Pure.
//!
//! A line is `RESOURCE:DOMAIN=VALUE;DOMAIN=VALUE...`, kernel documentation "resctrl".

use std::collections::BTreeMap;

/// What a class of service must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schemata {
    /// Of `l3CacheSchema` and `memBwSchema`.
    older: Vec<String>,
    /// Of `schemata`, written afterwards: where both speak of one domain, this holds.
    newer: Vec<String>,
}

/// A domain of a resource, and its value in the one form in which two can be compared.
type Settings<'a> = BTreeMap<(&'a str, &'a str), String>;

impl Schemata {
    /// Of the three keys of a config. With a bandwidth of its own, lines of bandwidth among those of
    /// the cache are passed over.
    pub(crate) fn new(cache: &str, bandwidth: &str, lines: &[String]) -> Schemata {
        let said = |text: &&str| !text.trim().is_empty();
        let of_cache = cache.lines().filter(said);
        let of_cache = of_cache.filter(|line| bandwidth.is_empty() || !line.starts_with("MB:"));
        let older = of_cache.chain(bandwidth.lines().filter(said));
        let newer = lines.iter().filter(|line| said(&line.as_str()));
        Schemata {
            older: older.map(str::to_owned).collect(),
            newer: newer.cloned().collect(),
        }
    }

    /// Do they ask for nothing?
    pub(crate) fn is_empty(&self) -> bool {
        self.older.is_empty() && self.newer.is_empty()
    }

    /// What is written, one text a `write(2)`: the kernel refuses a domain that one write sets twice.
    pub(crate) fn writes(&self) -> impl Iterator<Item = String> {
        let texts = [&self.older, &self.newer].into_iter();
        let texts = texts.filter(|lines| !lines.is_empty());
        texts.map(|lines| {
            let mut text = lines.join("\n");
            text.push('\n');
            text
        })
    }

    /// Can every line be read?
    ///
    /// # Errors
    /// What is wrong with the first that cannot.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.settings().map(drop)
    }

    /// Has a class with these lines all that is asked for?
    ///
    /// # Errors
    /// What it has not.
    pub(crate) fn compare(&self, existing: &str) -> Result<(), String> {
        let mut there = Settings::new();
        for line in existing.lines().filter(|line| !line.trim().is_empty()) {
            read(line, &mut there)?;
        }
        for ((resource, domain), value) in self.settings()? {
            match there.get(&(resource, domain)) {
                Some(other) if *other == value => {}
                Some(other) => {
                    return Err(format!(
                        "{resource}:{domain} is {other} there and {value} in the config"
                    ));
                }
                None => return Err(format!("there is no {resource}:{domain}")),
            }
        }
        Ok(())
    }

    fn settings(&self) -> Result<Settings<'_>, String> {
        let mut settings = Settings::new();
        for line in self.older.iter().chain(&self.newer) {
            read(line, &mut settings)?;
        }
        Ok(settings)
    }
}

fn read<'a>(line: &'a str, into: &mut Settings<'a>) -> Result<(), String> {
    let no_line = || format!("{line:?} is not RESOURCE:DOMAIN=VALUE;...");
    let (resource, rest) = line.split_once(':').ok_or_else(no_line)?;
    let resource = resource.trim();
    if resource.is_empty() || line.contains('\0') {
        return Err(no_line());
    }
    for token in rest.split(';').filter(|token| !token.trim().is_empty()) {
        let (domain, value) = token.split_once('=').ok_or_else(no_line)?;
        let (domain, value) = (domain.trim(), value.trim());
        if domain.is_empty() || value.is_empty() || value.contains('=') {
            return Err(no_line());
        }
        into.insert((resource, domain), normal(resource, value));
    }
    Ok(())
}

/// Masks are hexadecimal, with or without leading zeros; bandwidths are decimal. What is neither is
/// the kernel's to judge.
fn normal(resource: &str, value: &str) -> String {
    if matches!(resource, "MB" | "SMBA") {
        let number = value.parse::<u64>();
        return number.map_or_else(|_| value.to_owned(), |number| number.to_string());
    }
    let mask = value.strip_prefix("0x").unwrap_or(value);
    let mask = u64::from_str_radix(mask, 16);
    mask.map_or_else(|_| value.to_owned(), |mask| format!("{mask:x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schemata(cache: &str, bandwidth: &str, lines: &[&str]) -> Schemata {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        Schemata::new(cache, bandwidth, &lines)
    }

    fn writes(schemata: &Schemata) -> Vec<String> {
        schemata.writes().collect()
    }

    #[test]
    fn both_older_keys_are_one_text_and_bandwidth_has_one_source() {
        let both = schemata("L3:0=f;1=f0\nMB:0=10", "MB:0=20", &[]);
        assert_eq!(writes(&both), ["L3:0=f;1=f0\nMB:0=20\n"]);
        let cache = schemata("L3:0=f\nMB:0=10\n", "", &[]);
        assert_eq!(writes(&cache), ["L3:0=f\nMB:0=10\n"]);
        assert!(writes(&schemata("", "", &[])).is_empty());
        assert!(schemata("", "\n", &[""]).is_empty());
    }

    #[test]
    fn the_newer_key_is_written_last_and_as_it_is() {
        let all = schemata("L3:0=f", "", &["L3:0=ff", "L2:0=3"]);
        assert_eq!(writes(&all), ["L3:0=f\n", "L3:0=ff\nL2:0=3\n"]);
        all.compare("L3:0=0ff;1=fff\nL2:0=3;1=3\n").unwrap();
    }

    #[test]
    fn a_class_that_exists_is_compared_by_value() {
        let asked = schemata("L3:0=00f;1=F0", "MB:0=20", &[]);
        asked
            .compare("    MB:0= 20;1=100\n    L3:0=f;1=f0\n")
            .unwrap();
        for (existing, said) in [
            ("L3:0=f;1=ff\nMB:0=20", "L3:1 is ff there and f0"),
            ("L3:0=f;1=f0\nMB:0=30", "MB:0 is 30 there and 20"),
            ("L3:0=f\nMB:0=20", "there is no L3:1"),
            ("", "there is no L3:0"),
        ] {
            let why = asked.compare(existing).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for line in [
            "L3", "L3:0", "L3:=f", "L3:0=", ":0=f", "L3:0=f=f", "L3:0=\0",
        ] {
            assert!(schemata("", "", &[line]).check().is_err(), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(ours in ".*", theirs in "[L3MB:0-9a-f=; \n]*") {
            let asked = schemata(&ours, &theirs, &[&theirs]);
            asked.compare(&theirs).unwrap_or_default();
            asked.compare(&ours).unwrap_or_default();
        }

        #[test]
        fn whatever_was_written_is_found_equal(masks in proptest::collection::vec(1_u32.., 1..4)) {
            let tokens: Vec<String> = masks.iter().enumerate().map(|(i, m)| format!("{i}={m:x}")).collect();
            let line = format!("L3:{}", tokens.join(";"));
            let asked = schemata(&line, "", &[]);
            prop_assert!(asked.compare(&writes(&asked).concat()).is_ok());
        }
    }
}
