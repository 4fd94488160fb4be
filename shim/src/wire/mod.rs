//! ttrpc: frames over a socket, and the codes of answers.

pub(crate) mod connection;
pub(crate) mod frame;
pub(crate) mod status;
