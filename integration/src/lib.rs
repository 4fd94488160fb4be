//! What the root tests are written with: bundles, images, terminals, namespaces and the runtime
//! under test, which is hostrun or, as the oracle, Debian's runc.
//!
//! A test is a closure on a [`Stage`]. The stage gives it a folder, container names and a cgroup
//! that nobody else has, and when the closure is done it looks for what was left behind. Run the
//! tests with `make test-root` and `make oracle`: they need root and a mount namespace of their own.

pub mod bundle;
pub mod cgroup;
pub mod client;
pub mod elf;
pub mod example;
pub mod field;
pub mod hook;
pub mod host;
pub mod image;
pub mod kernel;
pub mod leaks;
pub mod namespace;
pub mod oracle;
pub mod ordinary;
pub mod program;
pub mod pty;
pub mod refusal;
pub mod registry;
pub mod runtime;
pub mod shim;
pub mod socket;
pub mod sources;
pub mod stage;
pub mod trace;
pub mod warm;

pub use bundle::Bundle;
pub use runtime::{Outcome, Runtime};
pub use stage::{Container, Stage, on_stage, on_stage_of_hostrun};
