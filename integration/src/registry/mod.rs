//! Registries to talk to: Debian's, as it is, and one of our own that does everything wrong.

pub mod debian;
pub mod faulty;
pub mod proxy;

pub use debian::Debian;
pub use faulty::{Body, FaultyRegistry, Reply, Request};
pub use proxy::Proxy;

use std::net::TcpListener;

use anyhow::Result;

/// A port of the loopback interface that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
