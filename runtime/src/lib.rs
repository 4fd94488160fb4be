//! Builds, starts and tears down OCI containers.
//!
//! A start is one straight line: a [`Spec`](oci_spec::runtime::Spec) becomes a plan (all refusals
//! at once), the plan becomes orders (flat plain data), one `clone3(2)` makes the process straight
//! in its cgroup, and the process follows the orders until it is the payload. `docs/architecture.md`
//! shows the way through the files.
//!
//! A container that a program makes goes through three types, each made of the one before:
//! [`Created`] waits, [`Running`] runs, [`Stopped`] has ended and says how; only what has ended can be
//! deleted without force. One that another program made, or that this one has forgotten, is a
//! [`Container`]: what it is doing is asked for each time.
//!
//! The library keeps no global state, installs no signal handler, changes neither the working
//! directory nor the umask, and may be called from any thread of a program with many.
//!
//! ```no_run
//! use hostrun_runtime::{Bundle, ContainerId, Request, Runtime};
//!
//! # fn main() -> Result<(), hostrun_runtime::Error> {
//! let runtime = Runtime::open("/run/example".as_ref())?;
//! let id = ContainerId::new("hello")?;
//! let bundle = Bundle::load("/path/to/bundle".as_ref())?;
//! let stopped = runtime.run(&id, Request::from_bundle(bundle))?.into_stopped()?;
//! println!("exit status {}", stopped.exit().status());
//! for warning in stopped.delete()?.warnings() {
//!     eprintln!("{warning}");
//! }
//! # Ok(())
//! # }
//! ```

pub mod affinity;
mod agent;
mod attend;
mod bundle;
pub mod cdi;
pub mod cell;
mod cgroup;
mod checkpoint;
mod clone;
mod container;
mod control;
mod deletion;
pub mod document;
mod error;
mod exec;
mod failure;
mod features;
mod filters;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod grant;
mod held;
mod hooks;
mod host;
mod id;
mod idmapping;
mod kernel;
mod lookup;
mod members;
mod mounting;
mod netdevices;
mod orders;
mod outline;
mod parking;
mod plan;
mod prepare;
mod program;
mod release;
mod remains;
mod request;
mod resctrl;
pub mod rootless;
mod running;
mod runtime;
pub mod seal;
mod signal;
mod start;
mod state;
mod stopped;
mod supply;
mod sys;
mod timings;
mod update;
pub mod users;
pub mod warm;
mod watch;

pub use bundle::Bundle;
pub use cgroup::{CpuStats, DeviceIo, HugePages, MemoryStats, PidsStats, Pressure, Stall, Stats};
pub use checkpoint::{CgroupsMode, Checkpoint};
pub use container::Container;
pub use deletion::Deleted;
pub use error::{Error, ErrorKind, Result};
pub use features::features;
pub use host::warnings as host_warnings;
pub use id::ContainerId;
pub use idmapping::IdMapping;
pub use kernel::Kernel;
pub use oci_spec;
pub use request::{ExecRequest, Request, Stdio, Stream};
pub use resctrl::{BandwidthInfo, CacheInfo, CacheMonitor, MonitorStats, RdtStats};
pub use running::{Created, Exit, Running};
pub use runtime::Runtime;
pub use signal::Signal;
pub use state::{State, Status};
pub use stopped::Stopped;
pub use timings::Timings;
pub use watch::{Event, Watch};
