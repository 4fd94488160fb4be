//! What every engine must do with the runtime below it, in the words podman and Docker share.

pub(crate) mod inside;
pub(crate) mod life;
pub(crate) mod terminal;
pub(crate) mod watch;
