//! Container images on disk: loaded, verified, unpacked once, mounted by descriptor.
//!
//! ```no_run
//! use hostrun_image_store::{LoadOptions, RootOptions, Store};
//!
//! # fn main() -> hostrun_image_store::Result<()> {
//! let store = Store::open("/var/lib/hostrun".as_ref())?;
//! store.load(&"oci:./busybox:latest".parse()?, &LoadOptions::default())?;
//! let image = store.resolve("busybox")?;
//! let container = store.create_container("web-1", &image)?;
//! let root = container.mount_root(&RootOptions::default())?; // attach with move_mount(2)
//! # drop(root);
//! # Ok(()) }
//! ```
//!
//! The way of an image, module by module: [`Source`] > `blobs` (where the bytes lie) > `layout`
//! or `docker`, with `manifest` and `config` (which image, which layers) > `candidate` > `store`
//! (the order of commit), which sends each layer through `decode` (inflate, both digests), `tape`
//! (a strict stream of entries) and `unpack` (a directory for overlayfs) > [`Image`] >
//! [`Container`] > `overlay` (the mount).
//!
//! Calls block; progress comes by callback. Nothing here changes the process: no working
//! directory, no umask, no signal, no output.

#![forbid(unsafe_code)]

mod blobs;
mod candidate;
mod cell;
mod config;
mod container;
mod decode;
mod digest;
mod docker;
mod driver;
mod erofs;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod image;
mod layout;
mod limits;
mod load;
mod manifest;
mod mountpoints;
mod overlay;
mod platform;
mod recipe;
mod reference;
pub mod registry;
mod save;
mod source;
mod store;
mod tape;
mod trust;
mod unpack;

pub use cell::Cell;
pub use container::Container;
pub use digest::{Algorithm, Digest};
pub use driver::DriverName;
pub use error::{Error, ErrorKind, Result};
pub use image::{Image, Removed};
pub use limits::Limits;
pub use load::{LoadOptions, Progress};
pub use oci_spec;
pub use overlay::RootOptions;
pub use platform::Platform;
pub use reference::Reference;
pub use registry::{PushOptions, Registry, RegistryOptions};
pub use save::SaveOptions;
pub use source::Source;
pub use store::{
    Change, Collected, Damage, Followed, GenerationInfo, Part, Repaired, Store, Usage, Verified,
};
pub use trust::Trust;
