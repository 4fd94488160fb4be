//! Container engines as their users run them, with the runtime under test below them: podman,
//! Docker, containerd, each in a [`World`] of its own.
//!
//! A case is a function of an engine. It is played on runc first, which tells a wrong test or a
//! machine that cannot from a wrong runtime, then on hostrun. Cases of a test binary share a world
//! and its daemon; when the last one is done, nothing may be left in it but the daemon.

pub mod containerd;
pub mod cri;
pub mod engine;
pub mod journal;
pub mod shared;
pub mod task;
pub mod ttrpc;
pub mod world;

pub use containerd::Containerd;
pub use cri::Cri;
pub use engine::Engine;
pub use shared::{
    on_containerd, on_cri, on_cri_alone, on_docker, on_docker_with_shim, on_podman, on_shim,
    on_shim_alone,
};
pub use world::World;
