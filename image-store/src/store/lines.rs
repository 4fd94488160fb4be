//! What a cell tells, a line of JSON each: one kind of line, of which each meaning uses a part.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bench::{Product, Tale};
use super::record::{LayerRecord, PathBytes};
use crate::error::Error;
use crate::unpack::Warnings;

const STARTED: u8 = 1;
const WARNING: u8 = 2;
const DONE: u8 = 3;
const PRODUCT: u8 = 4;
const NO_PRODUCT: u8 = 5;
const ERROR: u8 = 6;
const FETCHED: u8 = 7;
const WAITING: u8 = 8;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    what: u8,
    /// Of a task; of warnings that were left out.
    number: u64,
    /// Bytes that have come; milliseconds of a pause.
    amount: u64,
    texts: Vec<String>,
    record: Option<LayerRecord>,
    opaque: Vec<PathBytes>,
}

/// What a line says.
#[derive(Debug)]
pub(super) enum Meaning {
    Tale(usize, Tale),
    /// Of the next task.
    Product(Option<Box<Product>>),
    /// Of all.
    Error(Error),
}

impl Line {
    pub(super) fn tale(number: usize, tale: Tale) -> Self {
        let (what, amount, texts) = match tale {
            Tale::Started => (STARTED, 0, Vec::new()),
            Tale::Warning(text) => (WARNING, 0, vec![text]),
            Tale::Fetched(bytes) => (FETCHED, bytes, Vec::new()),
            Tale::Waiting(pause, cause) => {
                let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                (WAITING, pause, vec![cause])
            }
            Tale::Done => (DONE, 0, Vec::new()),
        };
        Self {
            what,
            number: number as u64,
            amount,
            texts,
            ..Self::default()
        }
    }

    pub(super) fn product(product: Option<Product>) -> Self {
        let Some(product) = product else {
            return Self {
                what: NO_PRODUCT,
                ..Self::default()
            };
        };
        let mut texts = vec![product.name, product.form.name().to_owned()];
        texts.extend(product.warnings.texts);
        Self {
            what: PRODUCT,
            number: product.warnings.more,
            amount: 0,
            texts,
            record: Some(product.record),
            opaque: product.opaque.into_iter().map(PathBytes).collect(),
        }
    }

    pub(super) fn error(error: Error) -> Self {
        Self {
            what: ERROR,
            texts: error.into_words(),
            ..Self::default()
        }
    }

    pub(super) fn write(&self, sink: &mut dyn Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        sink.write_all(&line)
    }

    /// The next line; none at the end, or where there is anything else.
    pub(super) fn read(source: &mut impl BufRead) -> Option<Self> {
        let mut line = Vec::new();
        source.read_until(b'\n', &mut line).ok()?;
        serde_json::from_slice(&line).ok()
    }

    /// None where it says nothing that makes sense.
    pub(super) fn meaning(self) -> Option<Meaning> {
        let number = || usize::try_from(self.number).ok();
        let mut texts = self.texts.into_iter();
        Some(match self.what {
            STARTED => Meaning::Tale(number()?, Tale::Started),
            WARNING => Meaning::Tale(number()?, Tale::Warning(texts.next()?)),
            FETCHED => Meaning::Tale(number()?, Tale::Fetched(self.amount)),
            WAITING => {
                let pause = Duration::from_millis(self.amount);
                Meaning::Tale(number()?, Tale::Waiting(pause, texts.next()?))
            }
            DONE => Meaning::Tale(number()?, Tale::Done),
            NO_PRODUCT => Meaning::Product(None),
            PRODUCT => Meaning::Product(Some(Box::new(Product {
                // A name in the load's own directory, and nothing else.
                name: texts.next().filter(|name| !name.contains(['/', '.']))?,
                form: texts.next()?.parse().ok()?,
                warnings: Warnings {
                    texts: texts.collect(),
                    more: self.number,
                },
                record: self.record?,
                opaque: self.opaque.into_iter().map(|path| path.0).collect(),
            }))),
            ERROR => Meaning::Error(Error::of_words(texts)?),
            _ => return None,
        })
    }
}

/// All that is told, to its end or to the first line without a meaning.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(mut lines: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(meaning) = Line::read(&mut lines).and_then(Line::meaning) {
        if let Meaning::Product(Some(product)) = meaning {
            names.push(product.name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::DriverName;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    fn again(line: &Line) -> Meaning {
        let mut bytes = Vec::new();
        line.write(&mut bytes).unwrap();
        assert_eq!(bytes.split(|byte| *byte == b'\n').count(), 2);
        let line = Line::read(&mut bytes.as_slice()).unwrap();
        line.meaning().unwrap()
    }

    #[test]
    fn what_is_told_is_understood() {
        let error = Error::new(ErrorKind::TooLarge, "unpack", "entry \"x\"", "too\nmuch");
        match again(&Line::error(error.with_hint("less"))) {
            Meaning::Error(error) => {
                assert_eq!(error.kind(), ErrorKind::TooLarge);
                assert_eq!(error.to_string(), "unpack entry \"x\": too much");
                assert_eq!(error.hint(), Some("less"));
            }
            other => panic!("{other:?}"),
        }
        let digits = "0".repeat(64);
        let record = format!(
            r#"{{"version":2,"diff_id":"sha256:{digits}","entries":3,"bytes":9,"root":null,"opaque_root":false}}"#
        );
        let product = Product {
            name: "w1+".to_owned(),
            form: DriverName::Erofs,
            record: serde_json::from_str(&record).unwrap(),
            opaque: vec![b"a/\xff".to_vec()],
            warnings: Warnings {
                texts: vec!["dropped".to_owned()],
                more: 2,
            },
        };
        match again(&Line::product(Some(product))) {
            Meaning::Product(Some(product)) => {
                assert_eq!(product.name, "w1+");
                assert_eq!(product.form, DriverName::Erofs);
                assert_eq!((product.record.entries, product.warnings.more), (3, 2));
                assert_eq!(product.opaque, [b"a/\xff".to_vec()]);
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            again(&Line::product(None)),
            Meaning::Product(None)
        ));
        let tale = Line::tale(7, Tale::Warning("w".to_owned()));
        assert!(matches!(again(&tale), Meaning::Tale(7, Tale::Warning(text)) if text == "w"));
        let tale = Line::tale(0, Tale::Fetched(u64::MAX));
        assert!(matches!(
            again(&tale),
            Meaning::Tale(0, Tale::Fetched(u64::MAX))
        ));
        let pause = Duration::from_millis(1500);
        let tale = Line::tale(1, Tale::Waiting(pause, "busy".to_owned()));
        match again(&tale) {
            Meaning::Tale(1, Tale::Waiting(told, cause)) => {
                assert_eq!((told, &*cause), (pause, "busy"));
            }
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn anything_else_is_nothing(bytes: Vec<u8>, what: u8, texts: Vec<String>) {
            drop(Line::read(&mut bytes.as_slice()).map(Line::meaning));
            let line = Line { what, texts, ..Line::default() };
            if let Some(Meaning::Product(Some(product))) = line.meaning() {
                prop_assert!(!product.name.contains('/'));
            }
        }
    }
}
