//! Overlay mounts made by descriptor, attached nowhere.
//!
//! Since Linux 6.8 each layer is a parameter of its own (`lowerdir+`) and their number is no
//! concern. Older kernels take one `lowerdir=` string: 255 bytes through `fsconfig(2)`, a page
//! through `mount(2)`. There the mount is made by `mount(2)` in a mount namespace of its own, on a
//! thread that lives no longer than that, and cloned out of it by `open_tree(2)`; the host's
//! namespace does not see it either.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    mount, mount_change, open_tree,
};

use crate::driver::Lower;
use crate::error::{Error, ErrorKind, Result, errno_text, quoted};
use crate::store::Attributes;

/// Longest value of an `fsconfig(2)` string, NUL not counted.
const VALUE_MAX: usize = 255;

/// How a container's root is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RootOptions {
    /// Nothing can be written; the writable layer is still there below.
    pub read_only: bool,
    /// Device files do not work. Off by default, as containers may make them with CAP_MKNOD and
    /// the device rules of their cgroup decide.
    pub no_devices: bool,
    /// Below all layers lie the directories and files a runtime mounts on: `/dev`, `/proc`, `/sys`,
    /// and `hostname`, `hosts` and `resolv.conf` in `/etc`. An image that has them shows its own.
    pub mount_points: bool,
    /// What is written there need not outlive a crash of the machine: when the root goes, the kernel
    /// does not sync the file system of the store. It cannot be mounted a second time.
    pub volatile: bool,
    /// SELinux' label of every file of it, whatever the files below are labelled (`context=`, mount(8)).
    pub label: Option<String>,
}

impl RootOptions {
    /// Mounts read-only.
    #[must_use]
    pub fn with_read_only(mut self, yes: bool) -> Self {
        self.read_only = yes;
        self
    }

    /// Mounts without working device files.
    #[must_use]
    pub fn with_no_devices(mut self, yes: bool) -> Self {
        self.no_devices = yes;
        self
    }

    /// Puts what a runtime mounts on below all layers.
    #[must_use]
    pub fn with_mount_points(mut self, yes: bool) -> Self {
        self.mount_points = yes;
        self
    }

    /// For a writable layer that is removed when its container ends.
    #[must_use]
    pub fn with_volatile(mut self, yes: bool) -> Self {
        self.volatile = yes;
        self
    }

    /// Labels every file.
    #[must_use]
    pub fn with_label(mut self, label: &str) -> Self {
        self.label = Some(label.to_owned());
        self
    }

    fn attributes(&self) -> MountAttrFlags {
        let mut flags = MountAttrFlags::MOUNT_ATTR_RELATIME;
        flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, self.read_only);
        flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, self.no_devices);
        flags
    }

    fn flags(&self) -> MountFlags {
        let mut flags = MountFlags::RELATIME;
        flags.set(MountFlags::RDONLY, self.read_only);
        flags.set(MountFlags::NODEV, self.no_devices);
        flags
    }
}

/// The parts of an overlay.
#[derive(Debug)]
pub(crate) struct Overlay<'a> {
    /// Highest first.
    pub(crate) lower: &'a [Lower],
    pub(crate) upper: &'a Path,
    pub(crate) work: &'a Path,
    /// A directory to mount on where the kernel cannot do without one.
    pub(crate) target: &'a Path,
    /// Where it finds and leaves its own words.
    pub(crate) attributes: Attributes,
}

impl Overlay<'_> {
    pub(crate) fn mount(&self, options: &RootOptions) -> Result<OwnedFd> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| self.failed(errno, None))?;
        let errno = match self.mount_by_layers(&context, options) {
            Ok(root) => return Ok(root),
            Err(errno) => errno,
        };
        let failed = self.failed(errno, kernel_words(&context));
        if errno != Errno::INVAL {
            return Err(failed);
        }
        // Before 6.8 there is no such parameter. Some kernels say so at once; those whose overlay
        // still takes one string, up to 6.4, collect any parameter and complain at the end.
        self.mount_by_string(options).map_err(|_same| failed)
    }

    /// The way of newer kernels.
    fn mount_by_layers(
        &self,
        context: &OwnedFd,
        options: &RootOptions,
    ) -> std::result::Result<OwnedFd, Errno> {
        self.add_layers(context)?;
        set(context, "upperdir", self.upper)?;
        set(context, "workdir", self.work)?;
        if options.volatile {
            fsconfig_set_flag(context, "volatile")?;
        }
        if self.attributes == Attributes::User {
            fsconfig_set_flag(context, "userxattr")?;
        }
        if let Some(label) = &options.label {
            fsconfig_set_string(context, "context", label)?;
        }
        fsconfig_create(context)?;
        fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, options.attributes())
    }

    fn add_layers(&self, context: &OwnedFd) -> std::result::Result<(), Errno> {
        self.lower.iter().try_for_each(|layer| match layer {
            Lower::Directory(path) => set(context, "lowerdir+", path),
            Lower::Mount(fd) => fsconfig_set_fd(context, "lowerdir+", fd.as_fd()),
        })
    }

    /// The way of older kernels.
    fn mount_by_string(&self, options: &RootOptions) -> Result<OwnedFd> {
        let made = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .spawn_scoped(scope, || self.mount_apart(options))
                .map_err(|error| errno_of(&error))?;
            thread.join().unwrap_or(Err(Errno::IO))
        });
        made.map_err(|errno| self.failed(errno, None))
    }

    /// Runs on a thread of its own, whose mount namespace ends with it.
    fn mount_apart(&self, options: &RootOptions) -> std::result::Result<OwnedFd, Errno> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
            .map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
        // Before anything else: what is mounted here must not travel to the host.
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private)?;
        // Opened only now: a descriptor from the other namespace is no place to mount on or from.
        let lower = self.lower.iter().map(|layer| match layer {
            Lower::Directory(path) => open_path(path),
            // Kernels that need this way do not mount such layers at all.
            Lower::Mount(_) => Err(Errno::OPNOTSUPP),
        });
        let lower: Vec<OwnedFd> = lower.collect::<std::result::Result<_, Errno>>()?;
        let (upper, work) = (open_path(self.upper)?, open_path(self.work)?);
        let target = open_path(self.target)?;
        let names: Vec<String> = lower.iter().map(descriptor_path).collect();
        let data = format!(
            "lowerdir={},upperdir={},workdir={}{}{}{}",
            names.join(":"),
            descriptor_path(&upper),
            descriptor_path(&work),
            if options.volatile { ",volatile" } else { "" },
            match self.attributes {
                Attributes::Trusted => "",
                Attributes::User => ",userxattr",
            },
            // its commas are no separators between quotes
            options
                .label
                .as_ref()
                .map_or(String::new(), |label| format!(",context=\"{label}\""))
        );
        let data = CString::new(data).map_err(|_nul| Errno::INVAL)?;
        mount(
            "overlay",
            descriptor_path(&target),
            "overlay",
            options.flags(),
            data.as_c_str(),
        )?;
        // By its path, which now leads to what was mounted over it.
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(CWD, self.target, clone)
    }

    fn failed(&self, errno: Errno, words: Option<Vec<u8>>) -> Error {
        let subject = format!("overlay with {} layers", self.lower.len());
        let mut cause = errno_text(errno.raw_os_error());
        if let Some(words) = words {
            cause = format!("{cause}, kernel says {}", quoted(OsStr::from_bytes(&words)));
        }
        let (kind, hint) = match errno {
            Errno::NODEV => (
                ErrorKind::Unsupported,
                "this kernel has no overlayfs; modprobe overlay",
            ),
            Errno::PERM | Errno::ACCESS => (ErrorKind::Denied, "mounting needs root"),
            Errno::INVAL | Errno::OPNOTSUPP => (
                ErrorKind::Unsupported,
                "the store's file system must be able to carry an overlay: ext4, xfs, btrfs, tmpfs",
            ),
            Errno::NOENT => (ErrorKind::NotFound, "a layer is gone; load the image again"),
            Errno::NOSPC => (ErrorKind::NoSpace, "free space in the store"),
            _ => (ErrorKind::Io, "see the kernel's log"),
        };
        Error::new(kind, "mount", subject, cause).with_hint(hint)
    }
}

/// A path that is too long for the kernel, or holds what overlayfs takes for an escape, goes by the
/// name of its descriptor.
fn set(context: &OwnedFd, key: &str, path: &Path) -> std::result::Result<(), Errno> {
    let plain = !path.as_os_str().as_encoded_bytes().contains(&b'\\');
    if plain && path.as_os_str().len() <= VALUE_MAX {
        return fsconfig_set_string(context, key, path);
    }
    let fd = open_path(path)?;
    fsconfig_set_string(context, key, descriptor_path(&fd))
}

fn errno_of(error: &std::io::Error) -> Errno {
    error
        .raw_os_error()
        .map_or(Errno::IO, Errno::from_raw_os_error)
}

fn open_path(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn descriptor_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// The last message the kernel left in the context: `e overlay: …`.
pub(crate) fn kernel_words(context: &OwnedFd) -> Option<Vec<u8>> {
    let mut last = None;
    let mut buffer = vec![0; 512];
    while let Ok(count) = rustix::io::read(context, &mut buffer) {
        let line = buffer.get(..count).filter(|line| !line.is_empty())?;
        last = Some(line.trim_ascii_end().to_vec());
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// The way of kernels before 6.8, walked on this one.
    #[test]
    fn many_layers_mount_by_string_without_a_trace_on_the_host() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: this test needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let paths: Vec<_> = (0..140).map(|n| make(&format!("layer,{n}:x"))).collect();
        for (n, path) in paths.iter().enumerate() {
            std::fs::write(path.join("top"), n.to_string()).unwrap();
            std::fs::write(path.join(format!("f{n}")), "").unwrap();
        }
        let lower: Vec<_> = paths.into_iter().map(Lower::Directory).collect();
        let (upper, work) = (make("upper"), make("work"));
        let overlay = Overlay {
            lower: &lower,
            upper: &upper,
            work: &work,
            target: dir.path(),
            attributes: Attributes::Trusted,
        };
        let root = overlay.mount_by_string(&RootOptions::default()).unwrap();
        let open = |name: &str| {
            rustix::fs::openat(&root, name, OFlags::RDONLY, Mode::empty()).map(std::fs::File::from)
        };
        let mut text = String::new();
        open("top").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "0");
        assert!(open("f139").is_ok() && open("f140").is_err());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(dir.path().to_str().unwrap()));
    }

    #[test]
    fn file_system_that_cannot_carry_an_overlay_is_one_clear_line() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: this test needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let lower = [Lower::Directory(dir.path().to_owned())];
        let proc = Path::new("/proc/self");
        let overlay = Overlay {
            lower: &lower,
            upper: proc,
            work: proc,
            target: dir.path(),
            attributes: Attributes::Trusted,
        };
        let error = overlay.mount(&RootOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.hint().is_some() && !error.to_string().contains('\n'));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(dir.path().to_str().unwrap()));
    }

    #[test]
    fn missing_layer_is_one_clear_line() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: this test needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let lower = [Lower::Directory(dir.path().join("gone"))];
        let overlay = Overlay {
            lower: &lower,
            upper: dir.path(),
            work: dir.path(),
            target: dir.path(),
            attributes: Attributes::Trusted,
        };
        let error = overlay.mount(&RootOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.hint().is_some() && !error.to_string().contains('\n'));
    }
}
