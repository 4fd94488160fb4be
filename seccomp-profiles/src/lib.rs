//! Seccomp for containers: a default profile as data, and a compiler from OCI profiles to the classic
//! BPF that `seccomp(2)` takes.
//!
//! ```
//! use hostrun_seccomp_profiles::{DEFAULT_CAPABILITIES, compile, default_profile};
//!
//! let profile = default_profile(&DEFAULT_CAPABILITIES);
//! let filter = compile(&profile)?;
//! assert!(filter.program().len() <= 4096);
//! # Ok::<(), hostrun_seccomp_profiles::Error>(())
//! ```
//!
//! The way of a profile, one module a step:
//!
//! | module | from | to |
//! |---|---|---|
//! | `document` | a file in moby's or OCI's format | `LinuxSeccomp` |
//! | `policy` | `LinuxSeccomp` | checked rules, actions as the kernel's numbers |
//! | `decision` | rules, `table`, `multiplexer` | for each interface (`abi`), ranges of numbers with what happens |
//! | `program` | ranges | instructions, written backward by `assembler` |
//! | `builtin` | the default profile | the same, done when the crate was built |
//! | `fingerprint` | `LinuxSeccomp` | bytes to find its program by, for those who keep programs |
//!
//! Nothing here makes a system call, reads a file or looks at the environment. Why the compiler is our
//! own: `docs/decisions/0002-seccomp-compiler.md`.
#![forbid(unsafe_code)]

mod abi;
mod assembler;
mod builtin;
mod capability;
mod decision;
mod defaults;
mod document;
mod error;
mod filter;
mod fingerprint;
mod multiplexer;
mod native;
mod policy;
mod program;
mod table;

pub use abi::Abi;
pub use builtin::{default_profile, is_default};
pub use capability::{CAPABILITIES, capability_number};
pub use defaults::{DEFAULT_CAPABILITIES, OLDEST_KERNEL, PROFILE_DATE, PROFILE_KERNEL};
pub use document::{Kernel, Target, load_for};
pub use error::{Error, ErrorKind};
pub use filter::{Filter, allows, allows_call, compile, compile_for};
pub use fingerprint::{fingerprint, with_program};
pub use native::{NATIVE, load};
