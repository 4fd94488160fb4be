//! Collects everything that is wrong with a config, so that its author hears of all of it at once.

use crate::error::{Error, ErrorKind, Result};
use std::ffi::{CString, NulError};
use std::fmt::Display;

/// What was refused so far.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    found: Vec<(String, String)>,
    unsupported: bool,
}

impl Refusals {
    /// The value at this JSON path is wrong.
    pub(crate) fn refuse(&mut self, path: impl Display, why: impl Display) {
        self.found.push((path.to_string(), why.to_string()));
    }

    /// The value at this JSON path is right, but not supported here.
    pub(crate) fn unsupported(&mut self, path: impl Display, why: impl Display) {
        self.unsupported = true;
        self.refuse(path, why);
    }

    /// A C string, or a refusal: no path, argument or name of the spec can hold a zero byte.
    pub(crate) fn c_string(&mut self, path: impl Display, text: impl Into<Vec<u8>>) -> CString {
        CString::new(text).unwrap_or_else(|_zero: NulError| {
            self.refuse(path, "contains a zero byte");
            CString::default()
        })
    }

    /// Nothing was refused, or one error that names it all.
    pub(crate) fn finish(self) -> Result<()> {
        if self.found.is_empty() {
            return Ok(());
        }
        let kind = if self.unsupported {
            ErrorKind::Unsupported
        } else {
            ErrorKind::InvalidSpec
        };
        let list: Vec<String> = self
            .found
            .into_iter()
            .map(|(path, why)| format!("{path}: {why}"))
            .collect();
        Err(Error::new(kind, "accept config", "").because(list.join("; ")))
    }
}
