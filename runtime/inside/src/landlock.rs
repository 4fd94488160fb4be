//! Landlock, `landlock(7)`: rules of the process for itself and all that come after it.

use crate::orders::{Fd, LandlockPath, Orders};
use crate::paths;
use crate::report::{Failure, Step};
use crate::sys;

/// The rights that mean something for a file that is no directory; the kernel refuses the others.
const OF_FILES: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15;

/// Restricts ourselves. After the last mount, which a restricted process may not make; while there
/// are privileges, so that `no_new_privs` is not needed for it.
pub(crate) fn restrict(orders: &Orders<'_>) -> Result<(), Failure> {
    let Some(landlock) = &orders.landlock else {
        return Ok(());
    };
    let fail = |errno| Step::Landlock.failed(errno);
    let rules = sys::landlock_ruleset(landlock.files, landlock.ports, landlock.scopes);
    let rules = rules.map_err(fail)?;
    let root = sys::openat2(Fd(libc::AT_FDCWD), c"/".as_ptr(), libc::O_PATH, 0).map_err(fail)?;
    for (index, path) in landlock.allowed_paths.iter().enumerate() {
        let allowed = allow(rules, root, path);
        allowed.map_err(|errno| Step::LandlockPath.failed_at(index, errno))?;
    }
    for port in landlock.allowed_ports {
        sys::landlock_allow_port(rules, port.number, port.access).map_err(fail)?;
    }
    sys::landlock_restrict(rules).map_err(fail)?;
    sys::close(rules);
    sys::close(root);
    Ok(())
}

/// By descriptor, inside the root and through no magic link: a rule for the wrong file is a hole.
fn allow(rules: Fd, root: Fd, path: &LandlockPath<'_>) -> sys::Result<()> {
    let name = if path.path.is_empty() {
        c"."
    } else {
        path.path
    };
    let file = paths::find(root, name)?;
    let directory = sys::stat(file, c"")?.mode & libc::S_IFMT == libc::S_IFDIR;
    let access = if directory {
        path.access
    } else {
        path.access & OF_FILES
    };
    let allowed = sys::landlock_allow_path(rules, file, access);
    sys::close(file);
    allowed.map(drop)
}
