//! Anonymous volumes: a directory beside the record that begins as a copy of what the image has there.

use super::copy;
use crate::args::run::Run;
use crate::flags::mount::Kind;
use crate::flags::path::ContainerPath;
use crate::record::Record;
use crate::report::Failure;
use crate::spec::{self, Volume};
use anyhow::{Context, Result};
use oci_spec::image::Config;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// More volumes than any image needs.
const MOST: usize = 128;

/// Makes the volumes of flags and image. A flag's mount at the same place leaves nothing for the image to say.
///
/// # Errors
/// When an image asks for a volume over the kernel's file systems, or a copy fails.
pub(super) fn make(
    flags: &Run,
    image: &Config,
    record: &Record,
    root: BorrowedFd<'_>,
) -> Result<Vec<Volume>> {
    let mut wanted: BTreeMap<ContainerPath, Vec<String>> = BTreeMap::new();
    for text in image.volumes().iter().flatten() {
        wanted.insert(of_image(text)?, Vec::new());
    }
    for flag in spec::mount_flags(flags) {
        if flag.kind == Kind::Volume {
            wanted.insert(flag.destination.clone(), flag.options.clone());
        } else {
            wanted.remove(&flag.destination);
        }
    }
    if wanted.len() > MOST {
        return Err(Failure::new(format!("more than {MOST} volumes")).into());
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let parent = record.dir().join("volumes");
    std::fs::create_dir(&parent)
        .with_context(|| format!("cannot create '{}'", parent.display()))?;
    let numbered = wanted.into_iter().enumerate();
    numbered
        .map(|(number, (destination, options))| {
            // Numbered, so that no word of the image becomes a path on the host.
            let source = parent.join(number.to_string());
            std::fs::create_dir(&source)
                .with_context(|| format!("cannot create '{}'", source.display()))?;
            let target = openat(
                CWD,
                &source,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .with_context(|| format!("cannot open '{}'", source.display()))?;
            fill(root, &destination, &target)
                .with_context(|| format!("cannot fill the volume '{}'", destination.as_str()))?;
            Ok(Volume {
                destination,
                source,
                options,
            })
        })
        .collect()
}

fn of_image(text: &str) -> Result<ContainerPath> {
    let refuse = |why: String| {
        Failure::new(format!(
            "the image's volume {text:?} cannot be honoured: {why}"
        ))
    };
    let path = ContainerPath::below_root(&format!("/{text}")).map_err(refuse)?;
    // A volume over /proc would let the image fake what the kernel says there (CVE-2019-16884).
    match ["/proc", "/sys", "/dev"]
        .iter()
        .find(|dir| path.is_within(dir))
    {
        Some(dir) => Err(refuse(format!("it lies in {dir}")).into()),
        None => Ok(path),
    }
}

/// Copies what the image has at a path. The path is resolved inside the image's root, once, and only the descriptor is
/// used afterwards: no link of the image can lead to a file of the host (CVE-2022-23648).
fn fill(root: BorrowedFd<'_>, path: &ContainerPath, target: &OwnedFd) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let plain = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(root, path.relative(), flags, Mode::empty(), plain) {
        Ok(source) => copy::tree(&source, target),
        Err(Errno::LOOP) => copy::tree(&through_links(root, path)?, target),
        // Nothing there, or a file: the volume begins empty.
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(error) => Err(error).context("cannot open it in the image"),
    }
}

/// A path with links on it means where they lead, inside the root; that may be no directory of the kernel's either
/// (CVE-2019-16884).
fn through_links(root: BorrowedFd<'_>, path: &ContainerPath) -> Result<OwnedFd> {
    let refuse = |why: &str| {
        anyhow::Error::from(Failure::new(format!(
            "the image's volume '{}' cannot be honoured: a link of the image leads it {why}",
            path.as_str()
        )))
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let source = openat2(root, path.relative(), flags, Mode::empty(), inside)
        .map_err(|_errno| refuse("nowhere"))?;
    let real = place(source.as_fd())?;
    let real = real.strip_prefix(place(root)?).unwrap_or(&real);
    let kernels = ["proc", "sys", "dev"]
        .into_iter()
        .find(|dir| real.starts_with(dir));
    match kernels {
        Some(dir) => Err(refuse(&format!("into /{dir}"))),
        None => Ok(source),
    }
}

/// Where the kernel says a descriptor is.
fn place(fd: BorrowedFd<'_>) -> Result<PathBuf> {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    std::fs::read_link(&link).with_context(|| format!("cannot read '{link}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_over_the_kernels_files_are_refused() {
        for text in [
            "/proc",
            "/proc/1",
            "sys/fs",
            "/dev/shm",
            "/x/../proc",
            "/",
            "",
        ] {
            assert!(of_image(text).is_err(), "{text}");
        }
        assert_eq!(of_image("data/../db").unwrap().as_str(), "/db");
    }

    #[test]
    fn cve_2022_23648_a_link_out_of_the_image_is_resolved_inside_it() {
        let host = tempfile::tempdir().unwrap();
        std::fs::write(host.path().join("secret"), "host").unwrap();
        let image = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(host.path(), image.path().join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../../..", image.path().join("relative")).unwrap();
        let root = std::fs::File::open(image.path()).unwrap();
        for path in [
            "/absolute".to_owned(),
            format!("/relative{}", host.path().display()),
        ] {
            let volume = tempfile::tempdir().unwrap();
            let target = OwnedFd::from(std::fs::File::open(volume.path()).unwrap());
            // Refused, because inside the image the links lead nowhere.
            fill(root.as_fd(), &ContainerPath::new(&path).unwrap(), &target).unwrap_err();
            assert_eq!(
                std::fs::read_dir(volume.path()).unwrap().count(),
                0,
                "{path}"
            );
        }
    }

    #[test]
    fn a_volume_through_a_link_is_where_the_link_leads_unless_that_is_the_kernels() {
        let image = tempfile::tempdir().unwrap();
        for dir in ["run/app", "dev/pts"] {
            std::fs::create_dir_all(image.path().join(dir)).unwrap();
        }
        std::fs::write(image.path().join("run/app/file"), "text").unwrap();
        std::os::unix::fs::symlink("/run", image.path().join("var-run")).unwrap();
        std::os::unix::fs::symlink("dev", image.path().join("hidden")).unwrap();
        let root = std::fs::File::open(image.path()).unwrap();
        let volume = tempfile::tempdir().unwrap();
        let target = OwnedFd::from(std::fs::File::open(volume.path()).unwrap());
        let fill = |path: &str| fill(root.as_fd(), &ContainerPath::new(path).unwrap(), &target);
        fill("/var-run/app").unwrap();
        assert!(volume.path().join("file").exists());
        for path in ["/hidden", "/hidden/pts"] {
            let error = fill(path).unwrap_err().to_string();
            assert!(error.contains("into /dev"), "{error}");
        }
    }

    #[test]
    fn a_volume_begins_as_what_the_image_has() {
        let image = tempfile::tempdir().unwrap();
        let data = image.path().join("data");
        std::fs::create_dir_all(data.join("sub")).unwrap();
        std::fs::write(data.join("sub/file"), "text").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", data.join("link")).unwrap();
        let root = std::fs::File::open(image.path()).unwrap();
        let volume = tempfile::tempdir().unwrap();
        let target = OwnedFd::from(std::fs::File::open(volume.path()).unwrap());
        fill(root.as_fd(), &ContainerPath::new("/data").unwrap(), &target).unwrap();
        assert_eq!(
            std::fs::read_to_string(volume.path().join("sub/file")).unwrap(),
            "text"
        );
        assert_eq!(
            std::fs::read_link(volume.path().join("link"))
                .unwrap()
                .to_str(),
            Some("/etc/passwd")
        );
    }
}
