//! Checkpoint and restore through the program `criu`: what a container is made of, in criu's terms.
//!
//! criu does the work; it is told where the container's parts come from. Nothing here is on the way
//! of an ordinary start. The images a container is restored from decide what its processes are, as
//! its program would; they decide nothing else: config, mounts and namespaces come from the bundle.

mod criu;
mod dump;
mod external;
mod images;
mod points;
mod restore;
mod rpc;

use crate::error::{Error, ErrorKind, Result};
use images::Images;
use oci_spec::runtime::Spec;
use rpc::{Cgroups, Options};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The annotation that names criu's own configuration file; empty for none.
const CONFIG: &str = "org.criu.config";

/// Where criu's settings for containers are by default, the same place for every runtime.
const DEFAULT_CONFIG: &str = "/etc/criu/runc.conf";

/// What becomes of cgroups, criu's `--manage-cgroups-mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CgroupsMode {
    /// What criu does by itself.
    #[default]
    Default,
    /// Restored where they are not there.
    Soft,
    /// Restored as they were.
    Full,
    /// An error where they are there.
    Strict,
    /// Left alone.
    Ignore,
}

/// How a container is written to images, or read from them. All but the path of the images is off.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Directory of the images.
    pub image_path: PathBuf,
    /// Directory of criu's log and other files of its work; that of the images by default.
    pub work_path: Option<PathBuf>,
    /// Directory of the images of the pre-dump before, relative to that of the images.
    pub parent_path: Option<PathBuf>,
    /// Let the container go on after a dump.
    pub leave_running: bool,
    /// Established TCP connections are saved.
    pub tcp_established: bool,
    /// TCP connections that are being made are left out.
    pub tcp_skip_in_flight: bool,
    /// Files that were deleted get a name again while their content is saved.
    pub link_remap: bool,
    /// Unix sockets may lead out of the container.
    pub external_unix_sockets: bool,
    /// The container is part of the session of a terminal.
    pub shell_job: bool,
    /// File locks are saved.
    pub file_locks: bool,
    /// Memory only, and the container goes on.
    pub pre_dump: bool,
    /// Memory that is written is dropped from the parent's images.
    pub auto_dedup: bool,
    /// Memory is fetched when it is touched.
    pub lazy_pages: bool,
    /// Gets one zero byte when a lazy dump is ready to serve memory.
    pub status: Option<OwnedFd>,
    /// Memory goes to a page server: address and port.
    pub page_server: Option<(String, u16)>,
    /// What becomes of cgroups.
    pub cgroups: CgroupsMode,
    /// At a restore, the LSM profile in place of the saved one: `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// At a restore, the mount context in place of the saved one.
    pub lsm_mount_context: Option<String>,
}

impl Checkpoint {
    /// To or from this directory.
    pub fn new(image_path: &Path) -> Checkpoint {
        Checkpoint {
            image_path: image_path.to_owned(),
            ..Checkpoint::default()
        }
    }

    /// The options that dump and restore share.
    fn options(&self, images: &Images, spec: &Spec, log: &str) -> Options {
        /// New network namespaces are made empty: what is in them is not a runtime's.
        const EMPTY: i32 = libc::CLONE_NEWNET;
        let mode = match self.cgroups {
            CgroupsMode::Default => Cgroups::Default,
            CgroupsMode::Soft => Cgroups::Soft,
            CgroupsMode::Full => Cgroups::Full,
            CgroupsMode::Strict => Cgroups::Strict,
            CgroupsMode::Ignore => Cgroups::Ignore,
        };
        Options {
            images_dir_fd: images.number(),
            log_level: Some(4),
            log_file: Some(log.to_owned()),
            manage_cgroups: Some(true),
            manage_cgroups_mode: Some(mode as i32),
            notify_scripts: Some(true),
            shell_job: Some(self.shell_job),
            tcp_established: Some(self.tcp_established),
            ext_unix_sk: Some(self.external_unix_sockets),
            file_locks: Some(self.file_locks),
            empty_ns: Some(EMPTY.cast_unsigned()),
            orphan_pts_master: Some(true),
            auto_dedup: Some(self.auto_dedup),
            lazy_pages: Some(self.lazy_pages),
            config_file: config_file(spec),
            ..Options::default()
        }
    }

    /// Where criu's log goes, if not to the images.
    fn work(&self) -> Result<Option<Images>> {
        self.work_path.as_deref().map(Images::make).transpose()
    }

    /// The path of the parent's images, checked.
    fn parent(&self) -> Result<Option<String>> {
        let Some(parent) = &self.parent_path else {
            return Ok(None);
        };
        let refuse =
            |why: &str| Error::new(ErrorKind::InvalidSpec, "use", "--parent-path").because(why);
        if parent.is_absolute() {
            return Err(refuse("--parent-path must be relative"));
        }
        let real = self.image_path.join(parent);
        if !real.is_dir() {
            let why = format!("invalid --parent-path: {} is no directory", real.display());
            return Err(refuse(&why));
        }
        Ok(Some(parent.to_string_lossy().into_owned()))
    }
}

/// The file the config names, or the default one; it need not exist.
fn config_file(spec: &Spec) -> Option<String> {
    let annotations = spec.annotations().as_ref();
    let named = annotations.and_then(|annotations| annotations.get(CONFIG));
    match named.map(String::as_str) {
        Some("") => None,
        Some(file) => Some(file.to_owned()),
        None => Some(DEFAULT_CONFIG.to_owned()),
    }
}

/// What [`crate::fuzzing`] reaches of checkpoints.
#[cfg(feature = "fuzzing")]
pub(crate) mod doors {
    use super::{images, rpc};
    use prost::Message as _;

    pub(crate) fn is_answer(bytes: &[u8]) -> bool {
        rpc::Response::decode(bytes).is_ok_and(|answer| !answer.kind().name().is_empty())
    }

    pub(crate) fn pipes(json: &[u8]) -> Vec<(i32, String)> {
        images::pipes_of(json).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_config_names_a_file_of_settings_or_none() {
        let mut spec = Spec::default();
        assert_eq!(config_file(&spec).as_deref(), Some(DEFAULT_CONFIG));
        let mut with = |value: &str| {
            spec.set_annotations(Some(HashMap::from([(CONFIG.into(), value.into())])));
            config_file(&spec)
        };
        assert_eq!(with("/some/file").as_deref(), Some("/some/file"));
        assert_eq!(with(""), None);
    }

    #[test]
    fn a_parent_is_a_directory_relative_to_the_images() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("first")).unwrap();
        let mut checkpoint = Checkpoint::new(&dir.path().join("second"));
        std::fs::create_dir(&checkpoint.image_path).unwrap();
        checkpoint.parent_path = Some("../first".into());
        assert_eq!(checkpoint.parent().unwrap().as_deref(), Some("../first"));
        for wrong in [dir.path().join("first"), "../third".into()] {
            checkpoint.parent_path = Some(wrong);
            assert!(checkpoint.parent().is_err());
        }
    }
}
