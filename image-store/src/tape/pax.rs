//! PAX extended headers: `LENGTH KEY=VALUE\n`, read without a grain of tolerance.

use super::Time;
use super::header::Fault;

/// Longest extended header we hold in memory, in bytes.
pub(super) const HEADER_MAX: u64 = 1024 * 1024;

/// What an extended header says about the next entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseKeys,
}

/// The `GNU.sparse.*` keys of the three PAX sparse formats.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SparseKeys {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// `realsize` (1.0) or `size` (0.0, 0.1): the length of the expanded file.
    pub(super) real_size: Option<u64>,
    /// Offsets and lengths in turn: `map` of 0.1, or `offset` and `numbytes` of 0.0.
    pub(super) map: Option<Vec<u64>>,
}

/// Reads a whole extended header.
pub(super) fn parse(data: &[u8]) -> Result<Extensions, Fault> {
    let mut extensions = Extensions::default();
    for record in Records(data) {
        let (key, value) = record?;
        apply(&mut extensions, key, value)?;
    }
    Ok(extensions)
}

fn apply(extensions: &mut Extensions, key: &[u8], value: &[u8]) -> Result<(), Fault> {
    match key {
        b"path" => extensions.path = Some(name(value)?),
        b"linkpath" => extensions.link = Some(name(value)?),
        b"size" => extensions.size = Some(decimal(value)?),
        b"uid" => extensions.uid = Some(decimal(value)?),
        b"gid" => extensions.gid = Some(decimal(value)?),
        b"mtime" => extensions.mtime = Some(time(value)?),
        b"hdrcharset" if value != b"BINARY" && value != b"ISO-IR 10646 2000 UTF-8" => {
            return Err("unknown character set in extended header");
        }
        _ => {
            if let Some(attribute) = key.strip_prefix(b"SCHILY.xattr.") {
                extensions.set_xattr(attribute, value)?;
            } else if let Some(sparse) = key.strip_prefix(b"GNU.sparse.") {
                extensions.sparse.apply(sparse, value)?;
            }
            // Times of access, names of owners, comments and other vendors' keys carry nothing
            // that an image keeps.
        }
    }
    Ok(())
}

impl Extensions {
    fn set_xattr(&mut self, attribute: &[u8], value: &[u8]) -> Result<(), Fault> {
        if attribute.is_empty() || attribute.len() > 255 || value.len() > 64 * 1024 {
            return Err("bad extended attribute");
        }
        // POSIX: of a key given twice, the last counts.
        self.xattrs.retain(|(known, _)| known != attribute);
        self.xattrs.push((attribute.to_vec(), value.to_vec()));
        Ok(())
    }
}

impl SparseKeys {
    fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        match key {
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"name" => self.name = Some(name(value)?),
            b"realsize" | b"size" => self.real_size = Some(decimal(value)?),
            b"map" => {
                let numbers = value.split(|b| *b == b',');
                self.map = Some(numbers.map(decimal).collect::<Result<_, _>>()?);
            }
            b"offset" => {
                let map = self.map.get_or_insert_with(Vec::new);
                if !map.len().is_multiple_of(2) {
                    return Err("sparse offset without length");
                }
                map.push(decimal(value)?);
            }
            b"numbytes" => match &mut self.map {
                Some(map) if map.len() % 2 == 1 => map.push(decimal(value)?),
                _ => return Err("sparse length without offset"),
            },
            b"numblocks" => drop(decimal(value)?),
            _ => return Err("unknown sparse key"),
        }
        Ok(())
    }

    /// Whether the entry is sparse in any of the formats.
    pub(super) fn is_present(&self) -> bool {
        *self != Self::default()
    }
}

struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = split_record(self.0);
        // After a fault the rest means nothing.
        self.0 = split.as_ref().map_or(&[], |(_, _, rest)| *rest);
        Some(split.map(|(key, value, _)| (key, value)))
    }
}

type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn split_record(data: &[u8]) -> Result<Record<'_>, Fault> {
    const BAD: Fault = "malformed extended header";
    let space = data.iter().take(20).position(|b| *b == b' ').ok_or(BAD)?;
    let digits = data.get(..space).ok_or(BAD)?;
    let length = usize::try_from(decimal(digits)?)
        .ok()
        .filter(|n| *n > space)
        .ok_or(BAD)?;
    let (record, rest) = data.split_at_checked(length).ok_or(BAD)?;
    let body = record
        .get(space + 1..)
        .and_then(|body| body.strip_suffix(b"\n"))
        .ok_or(BAD)?;
    let equals = body.iter().position(|b| *b == b'=').ok_or(BAD)?;
    let (key, value) = body.split_at(equals);
    if key.is_empty() || key.contains(&0) {
        return Err(BAD);
    }
    Ok((key, value.get(1..).ok_or(BAD)?, rest))
}

fn name(value: &[u8]) -> Result<Vec<u8>, Fault> {
    if value.is_empty() || value.contains(&0) {
        return Err("empty name or NUL in extended header");
    }
    Ok(value.to_vec())
}

/// Digits and nothing else, within `i64`.
pub(super) fn decimal(digits: &[u8]) -> Result<u64, Fault> {
    const BAD: Fault = "bad number in extended header";
    if digits.is_empty() || digits.len() > 19 || (digits.len() > 1 && digits.starts_with(b"0")) {
        return Err(BAD);
    }
    let sum = digits.iter().try_fold(0_u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    });
    sum.filter(|n| i64::try_from(*n).is_ok()).ok_or(BAD)
}

/// `[-]SECONDS[.FRACTION]`; digits beyond nanoseconds are cut off.
fn time(value: &[u8]) -> Result<Time, Fault> {
    const BAD: Fault = "bad time in extended header";
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |b| *b == b'.');
    let seconds = i64::try_from(decimal(parts.next().ok_or(BAD)?)?).map_err(|_large| BAD)?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) || fraction.len() > 64 {
        return Err(BAD);
    }
    let digits = fraction
        .iter()
        .map(|b| u32::from(b - b'0'))
        .chain(std::iter::repeat(0));
    let nanoseconds = digits.take(9).fold(0, |sum, digit| sum * 10 + digit);
    Ok(match (negative, nanoseconds) {
        (false, _) => Time {
            seconds,
            nanoseconds,
        },
        (true, 0) => Time {
            seconds: -seconds,
            nanoseconds: 0,
        },
        (true, _) => Time {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length = body + length.to_string().len();
        }
        let mut out = format!("{length} {key}=").into_bytes();
        out.extend_from_slice(value);
        out.push(b'\n');
        out
    }

    #[test]
    fn records_are_read() {
        let mut data = record("path", b"a\nb=c\xff");
        data.extend(record("mtime", b"-1.5"));
        data.extend(record("SCHILY.xattr.user.x", b"\0\n"));
        data.extend(record("comment", b""));
        let read = parse(&data).unwrap();
        assert_eq!(read.path.unwrap(), b"a\nb=c\xff");
        assert_eq!(
            read.mtime.unwrap(),
            Time {
                seconds: -2,
                nanoseconds: 500_000_000
            }
        );
        assert_eq!(read.xattrs, [(b"user.x".to_vec(), b"\0\n".to_vec())]);
    }

    #[test]
    fn malformed_records_are_refused() {
        for data in [
            &b"x"[..],
            b"11 path=abc",
            b"12 path=abc",
            b"12 path=abcde\n",
            b"011 path=ab\n",
            b"+11 path=ab\n",
            b"-1 path=a\n",
            b"3 \n",
            b"6 =ab\n",
            b"8 pathx\n",
            b"8 path=\n",
            b"10 path=\0\n",
            b"99999999999999999999 path=a\n",
            b"9 uid=-1\n",
            b"10 size=-1\n",
            b"9 uid=1x\n",
            b"12 mtime=x.1\n",
            b"13 mtime=1.-1\n",
            b"20 GNU.sparse.map=1,\n",
            b"23 GNU.sparse.numbytes=1\n",
            b"11 path=ab\n\0\0\0\0",
        ] {
            assert!(parse(data).is_err(), "{}", String::from_utf8_lossy(data));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(data: Vec<u8>) {
            drop(parse(&data));
        }

        #[test]
        fn any_value_round_trips(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            let read = parse(&record("SCHILY.xattr.user.a", &value)).unwrap();
            prop_assert_eq!(&read.xattrs[0].1, &value);
        }

        #[test]
        fn almost_records_never_panic(data in "([0-9]{1,3} (path|size|GNU\\.sparse\\.map|mtime)=[0-9.,-]{0,9}\n){0,4}") {
            drop(parse(data.as_bytes()));
        }
    }
}
