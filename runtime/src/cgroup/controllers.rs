//! Which controllers a cgroup has, and handing them down. A container without limits gets none, because
//! every enabled controller makes each cgroup below dearer to create and remove. One with a limit gets all
//! there are, as with runc: who limits one thing reads the statistics of the others, and limits them later.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::dir;
use super::error::{CgroupError, CgroupErrorKind, Result};
use super::mount::CgroupRoot;
use super::path::CgroupPath;

/// A set of controller names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Controllers(BTreeSet<String>);

impl Controllers {
    /// From the text of `cgroup.controllers` or `cgroup.subtree_control`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut names = BTreeSet::new();
        names.extend(text.split_whitespace().map(str::to_owned));
        Self(names)
    }

    /// Whether the controller is among them.
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.0.contains(controller)
    }
}

/// A controller and the first setting that asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// `memory`, `cpu`, ...
    pub(crate) controller: String,
    /// JSON path of the setting.
    pub(crate) setting: String,
}

/// Makes the needed controllers available in `leaf`, top down along its ancestors; then, without a word
/// where that fails, the others that the hierarchy offers.
///
/// # Errors
/// `ControllerMissing` naming setting, controller and way out; `Permission` where a `cgroup.subtree_control`
/// is not ours to write.
pub(crate) fn enable(
    root: &CgroupRoot,
    path: &CgroupPath,
    leaf: BorrowedFd<'_>,
    needs: &[Need],
) -> Result<()> {
    let here = dir::read(leaf, "cgroup.controllers")
        .map(|text| Controllers::parse(&text))
        .map_err(|errno| {
            CgroupError::sys("read", format!("cgroup.controllers of {path}"), errno)
        })?;
    let offered = root.controllers()?;
    if offered.0.is_subset(&here.0) && needs.iter().all(|need| here.has(&need.controller)) {
        return Ok(());
    }
    let missing: Vec<&Need> = needs
        .iter()
        .filter(|need| !here.has(&need.controller))
        .collect();
    if let Some(need) = missing.iter().find(|need| !offered.has(&need.controller)) {
        return Err(absent(root, need));
    }
    let needed = plus(missing.iter().map(|need| &*need.controller));
    let others = offered.0.difference(&here.0).map(String::as_str);
    let others: Vec<String> = others.map(|name| plus([name])).collect();
    for ancestor in std::iter::once("").chain(path.ancestors()) {
        let file = [ancestor, "cgroup.subtree_control"].join("/");
        let file = file.trim_start_matches('/');
        if let Some(first) = missing.first() {
            match dir::write(root.as_fd(), file, &needed) {
                // Not ours, but its owner handed down what we need.
                Err(Errno::PERM | Errno::ACCESS | Errno::ROFS)
                    if hands_down(root, file, &missing) => {}
                answer => answer.map_err(|errno| not_enabled(ancestor, &needed, first, errno))?,
            }
        }
        // In one write, or one by one where one of them is not to be had.
        if dir::write(root.as_fd(), file, &others.join(" ")).is_err() {
            for other in &others {
                dir::write(root.as_fd(), file, other).unwrap_or_default();
            }
        }
    }
    Ok(())
}

fn hands_down(root: &CgroupRoot, subtree_control: &str, needs: &[&Need]) -> bool {
    let text = dir::read(root.as_fd(), subtree_control).unwrap_or_default();
    let handed = Controllers::parse(&text);
    needs.iter().all(|need| handed.has(&need.controller))
}

fn plus<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("+{name}")).collect();
    names.join(" ")
}

fn absent(root: &CgroupRoot, need: &Need) -> CgroupError {
    let Need {
        controller,
        setting,
    } = need;
    let place = root.path().display();
    CgroupError::new(
        "enable",
        format!("cgroup controller {controller}"),
        CgroupErrorKind::ControllerMissing,
        format!(
            "the requested cgroup controller `{controller}` is not available in the cgroup2 \
             hierarchy at {place}"
        ),
    )
    .setting(setting)
    .hint(way_out(
        controller,
        &std::fs::read_to_string("/proc/cgroups").unwrap_or_default(),
        dir::read(root.as_fd(), "cgroup.type").is_ok(),
    ))
}

/// What is to be done where the hierarchy lacks a controller: who has it instead is in `/proc/cgroups` (`cgroups(7)`).
/// A cgroup that is `below` another, as the root of a namespace is, has what that one's `cgroup.subtree_control` says.
fn way_out(controller: &str, cgroups: &str, below: bool) -> String {
    let mut lines = cgroups.lines().map(str::split_whitespace);
    let held = lines.any(|mut fields| {
        // the one that version 2 calls io
        let named = fields
            .next()
            .is_some_and(|name| name == controller || (name, controller) == ("blkio", "io"));
        named && fields.next() != Some("0")
    });
    let way = if held {
        format!(
            "boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1={controller} so that no cgroup v1 mount holds it"
        )
    } else if below {
        format!(
            "have it handed down: the cgroup.subtree_control above does not list {controller} (systemd: Delegate=yes)"
        )
    } else {
        format!("boot a kernel that has it, without cgroup_disable={controller}")
    };
    format!("drop the limit, or {way}")
}

fn not_enabled(ancestor: &str, wanted: &str, need: &Need, errno: Errno) -> CgroupError {
    let error = CgroupError::sys(
        "write",
        format!("{wanted:?} to cgroup.subtree_control of cgroup /{ancestor}"),
        errno,
    )
    .setting(&need.setting);
    match errno {
        Errno::BUSY => error.kind(CgroupErrorKind::ControllerMissing).hint(format!(
            "cgroup /{ancestor} has processes of its own, so it cannot hand controllers down: \
             move them to a sub-cgroup or choose another linux.cgroupsPath"
        )),
        Errno::NOENT | Errno::OPNOTSUPP => {
            error.kind(CgroupErrorKind::ControllerMissing).hint(format!(
                "cgroup /{ancestor} was not given that controller or is threaded"
            ))
        }
        Errno::PERM | Errno::ACCESS | Errno::ROFS => error.hint(
            "choose a linux.cgroupsPath below a cgroup that is delegated to this user (systemd: Delegate=yes)",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_list_is_parsed() {
        let set = Controllers::parse("cpuset cpu io memory\n");
        assert!(set.has("cpu") && set.has("memory"));
        assert!(!set.has("cpus") && !set.has(""));
        assert_eq!(Controllers::parse("\n"), Controllers::default());
    }

    #[test]
    fn a_missing_controller_is_looked_for_where_it_is() {
        let header = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n";
        let cgroups = format!("{header}blkio\t3\t1\t1\nmemory\t0\t60\t0\npids\t0\t60\t1\n");
        let says = |controller, below, word: &str| {
            let hint = way_out(controller, &cgroups, below);
            assert!(hint.contains(word), "{controller}: {hint}");
        };
        // another hierarchy has it, whoever is above
        says("io", false, "cgroup_no_v1=io");
        says("io", true, "cgroup_no_v1=io");
        // turned off, or not built at all, which later kernels do not list
        says("memory", false, "without cgroup_disable=memory");
        says("hugetlb", false, "without cgroup_disable=hugetlb");
        // there, and not handed down
        says("pids", true, "subtree_control above does not list pids");
        says("memory", true, "subtree_control above does not list memory");
    }
}
