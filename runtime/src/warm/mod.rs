//! Starts that were prepared before anybody asked for them, for programs that live long: a
//! containerd shim, a function runner.
//!
//! | what | made before | left for the start |
//! |---|---|---|
//! | [`MountTemplate`] | a mount namespace with next to nothing in it | all but the copy of the host's mounts |
//! | [`Networks`] | network namespaces, loopback up | all but `CLONE_NEWNET` |
//! | [`Sandboxes`] | whole containers, parked before `execve(2)` | a program, an id, one message |
//!
//! Nothing here runs by itself: a pool is filled by whoever calls its `refill`, or by a
//! [`Refiller`], a thread that ends when it is dropped. No pool grows beyond its bound, and what was
//! taken out of one never comes back. `docs/warm.md` says what may differ at the time of a start.

mod class;
mod difference;
mod message;
mod networks;
mod page;
mod parked;
mod refiller;
mod sandboxes;
mod source;
mod template;

pub use networks::Networks;
pub(crate) use page::Page;
pub use refiller::{Refill, Refiller};
pub use sandboxes::Sandboxes;
pub use template::MountTemplate;
