//! What a flag's value means: strict parsers from one string to one typed value.
//!
//! Every constructor here is the only check of its value. A refusal is one line that says what was wrong;
//! the caller adds the name of the flag.

pub(crate) mod capability;
pub(crate) mod device;
pub(crate) mod duration;
pub(crate) mod environment;
pub(crate) mod filter;
pub(crate) mod hostname;
pub(crate) mod memory;
pub(crate) mod mount;
pub(crate) mod namespace;
pub(crate) mod pair;
pub(crate) mod path;
pub(crate) mod security;
pub(crate) mod ulimit;

#[cfg(test)]
mod tests;
