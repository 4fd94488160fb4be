//! `delete`: what is left of a container whose shim is gone. containerd calls this after every shim's end,
//! so mostly nothing is left.

use crate::arguments::Arguments;
use crate::messages::task::DeleteResponse;
use crate::rootfs;
use crate::service::create::STATE;
use hostrun_runtime::{ContainerId, ErrorKind, Runtime};
use prost::Message;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file in the bundle that says where state is kept, if not at the usual place.
pub(crate) const ROOT: &str = "hostrun-root";

/// A file in the bundle that says where the shim listens.
pub(crate) const ADDRESS: &str = "address";

/// 128 and SIGKILL.
const KILLED: u32 = 137;

/// Kills it, removes it, unmounts its root; the answer that containerd reads.
///
/// # Errors
/// A sentence, where anything was there and could not be removed.
pub(crate) fn run(arguments: &Arguments, bundle: &Path) -> Result<Vec<u8>, String> {
    let id = ContainerId::new(&arguments.id).map_err(|error| error.to_string())?;
    let root = std::fs::read(bundle.join(ROOT))
        .ok()
        .map(std::ffi::OsString::from_vec);
    let root = root.map_or_else(|| PathBuf::from(STATE), PathBuf::from);
    let root = root.join(&arguments.namespace);
    let mut pid = 0;
    if root.is_dir() {
        let runtime = Runtime::open(&root).map_err(|error| error.to_string())?;
        match runtime.container(&id) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.to_string()),
            Ok(container) => {
                // Of one that was being made there may be no more than a name.
                pid = container.state().map_or(0, |state| state.pid);
                match container.delete(true) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(error.to_string());
                    }
                    _ => {}
                }
            }
        }
    }
    rootfs::dismantle(&bundle.join("rootfs"));
    remove_socket(bundle);
    let answer = DeleteResponse {
        pid: u32::try_from(pid).unwrap_or(0),
        exit_status: KILLED,
        exited_at: Some(SystemTime::now().into()),
    };
    Ok(answer.encode_to_vec())
}

/// A shim that was killed has left its socket. One that still has other containers of a pod listens there.
fn remove_socket(bundle: &Path) {
    let Ok(address) = std::fs::read_to_string(bundle.join(ADDRESS)) else {
        return;
    };
    let Some(socket) = address.trim().strip_prefix("unix://") else {
        return;
    };
    let heard = UnixStream::connect(socket);
    if heard.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
        std::fs::remove_file(socket).unwrap_or_default();
    }
}
