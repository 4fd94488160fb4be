//! Builds, starts and tears down OCI containers.
//!
//! A start is one straight line: a [`Spec`](oci_spec::runtime::Spec) becomes a plan (all refusals
//! at once), the plan becomes orders (flat plain data), one `clone3(2)` makes the process straight
//! in its cgroup, and the process follows the orders until it is the payload. `docs/architecture.md`
//! shows the way through the files.
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
//! let running = runtime.run(&id, Request::from_bundle(bundle))?;
//! let exit = running.wait()?;
//! for warning in runtime.container(&id)?.delete(false)?.warnings() {
//!     eprintln!("{warning}");
//! }
//! println!("exit status {}", exit.status());
//! # Ok(())
//! # }
//! ```

pub mod affinity;
mod agent;
mod attend;
mod bundle;
pub mod cdi;
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
mod hooks;
mod host;
mod id;
mod kernel;
mod lookup;
mod members;
mod mounting;
mod netdevices;
mod orders;
mod parking;
mod plan;
mod prepare;
mod program;
mod request;
mod resctrl;
mod running;
mod runtime;
pub mod seal;
mod signal;
mod start;
mod state;
mod supply;
mod sys;
mod timings;
mod update;
pub mod users;
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
pub use kernel::Kernel;
pub use oci_spec;
pub use request::{ExecRequest, Request, Stdio, Stream};
pub use resctrl::{BandwidthInfo, CacheInfo, CacheMonitor, MonitorStats, RdtStats};
pub use running::{Created, Exit, Running};
pub use runtime::Runtime;
pub use signal::Signal;
pub use state::{State, Status};
pub use timings::Timings;
pub use watch::{Event, Watch};
