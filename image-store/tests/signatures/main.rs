//! Which images a host lets in: signatures by openssl in documents as cosign writes them, pins, and
//! the many ways in which they can be wrong. Each on a fresh store and on one that has the layer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    clippy::too_many_lines,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "tests panic on purpose and share a fixture"
)]

#[path = "../fixture/mod.rs"]
mod fixture;

mod bench;
mod demands;
mod forged;
mod honest;
mod pinned;
