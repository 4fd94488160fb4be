//! Stands in for the `regex` crate. oci-spec asks it whether a list of processors has
//! the form `0-3,7`, and all of it would be linked for that: half a megabyte, and half of the addresses
//! that every start of the command has to set right.

#![forbid(unsafe_code)]

pub use regex_lite::{Error, Regex, RegexBuilder};
