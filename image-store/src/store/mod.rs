//! The store: plain directories and small files, no daemon, no database.
//!
//! `docs/store.md` describes what is on disk. Registries, parallel unpacking, garbage collection
//! and generations will come in beside [`ingest`] and [`removal`]; the layout already has their
//! places.

mod disk;
mod heritage;
mod ingest;
mod lookup;
pub(crate) mod record;
mod removal;

pub(crate) use disk::{Folder, empty, is_no_directory};
pub(crate) use record::{Heir, ImageRecord};

use std::path::{Path, PathBuf};

use crate::candidate::{self, Wish};
use crate::container::{Container, ContainerId};
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Error, ErrorKind, Result, quoted};
use crate::image::{Image, Removed};
use crate::load::LoadOptions;
use crate::platform::Platform;
use crate::source::Source;
use disk::{Lock, Workspace};
use ingest::Ingest;
use record::Format;

/// Largest record or configuration of ours, in bytes: with room over what a load lets in.
const RECORD_MAX: u64 = 128 << 20;

/// An image store. Several processes and threads may use one at a time.
#[derive(Debug)]
pub struct Store {
    top: Folder,
    sha256: Folder,
    sha512: Folder,
    layers: Folder,
    images: Folder,
    refs: Folder,
    containers: Folder,
    tmp: Folder,
    trash: Folder,
}

impl Store {
    /// Opens the store in `<root>/store`, made when missing, and closed to other users.
    ///
    /// # Errors
    /// `Denied` without the right to write there, `Unsupported` for a store of another version,
    /// `Corrupt`, `NoSpace`, `Io`.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_at(root).map_err(|error| match error.kind() {
            ErrorKind::Denied => error.with_hint("run as root, or name another store"),
            _ => error,
        })
    }

    fn open_at(root: &Path) -> Result<Self> {
        if is_no_directory(root) {
            let cause = "not a directory";
            return Err(Error::new(
                ErrorKind::Invalid,
                "open store",
                quoted(root),
                cause,
            ));
        }
        make_ancestors(root)?;
        let root = std::fs::canonicalize(root).at("open", root)?;
        let top = Folder::open_or_make(root.join("store"))?;
        top.make_private()?;
        let folder = |name: &str| Folder::open_or_make(top.path().join(name));
        folder("blobs")?;
        let store = Self {
            sha256: folder("blobs/sha256")?,
            sha512: folder("blobs/sha512")?,
            layers: folder("layers")?,
            images: folder("images")?,
            refs: folder("refs")?,
            containers: folder("containers")?,
            tmp: folder("tmp")?,
            trash: folder("trash")?,
            top,
        };
        store.check_format()?;
        Ok(store)
    }

    fn check_format(&self) -> Result<()> {
        if !self.top.contains("format")? {
            let _lock = Lock::shared(&self.top)?;
            let work = Workspace::new(&self.tmp)?;
            let format = record::encode(&Format::current())?;
            self.top.stage("format", &format, &work)?.commit(&work)?;
        }
        let bytes = self.top.read("format", RECORD_MAX)?;
        let format: Format = record::decode(&bytes)
            .map_err(|error| error.within(&quoted(self.top.path().join("format"))))?;
        format.check()
    }

    /// Loads the images of a source: each blob verified, each layer unpacked once, each image
    /// visible under its names when this returns, and not before.
    ///
    /// The name is, in this order: the annotation `io.containerd.image.name`; the annotation
    /// `org.opencontainers.image.ref.name` when it is more than a tag; the `RepoTags` of a docker
    /// archive; the source's own file name with the annotation, or `latest`, as tag.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `TooLarge`, `Unsupported`, `WrongArchitecture`, `NoSpace`, `Denied`
    /// or `Io`. The store is then as it was before, except for images that stand before the bad
    /// one in the source.
    pub fn load(&self, source: &Source, options: &LoadOptions) -> Result<Vec<Image>> {
        self.sweep()?;
        let loaded = self.load_shared(source, options);
        if loaded.is_err() {
            // A failure between two renames, which a full disk can still cause.
            if let Ok(Some(_lock)) = Lock::try_exclusive(&self.top) {
                self.drop_unused().ok();
            }
        }
        loaded
    }

    fn load_shared(&self, source: &Source, options: &LoadOptions) -> Result<Vec<Image>> {
        let _lock = Lock::shared(&self.top)?;
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let wish = Wish {
            platform,
            limits: &options.limits,
        };
        let (blobs, candidates) = candidate::find(source, &wish)?;
        let mut images = Vec::new();
        for candidate in &candidates {
            let ingest = Ingest::new(self, &blobs, options)?;
            let id = ingest
                .image(candidate)
                .map_err(|error| error.within(&source.to_string()))?;
            images.push(id);
        }
        images.iter().map(|id| self.image(id)).collect()
    }

    /// Finds an image by name, by id, or by a beginning of its id that no other image shares.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`, or `Invalid` when it can be neither name nor id.
    pub fn resolve(&self, name_or_id: &str) -> Result<Image> {
        let _lock = Lock::shared(&self.top)?;
        self.image(&self.find(name_or_id)?.id)
    }

    /// All images, newest build first.
    ///
    /// # Errors
    /// `Corrupt` or `Io`.
    pub fn images(&self) -> Result<Vec<Image>> {
        let _lock = Lock::shared(&self.top)?;
        let ids = self.image_ids()?;
        let names = self.all_names()?;
        let images = ids.iter().map(|id| self.named_image(id, &names));
        let mut images: Vec<Image> = images.collect::<Result<_>>()?;
        images.sort_by(|a, b| {
            b.created()
                .cmp(&a.created())
                .then_with(|| a.id().cmp(b.id()))
        });
        Ok(images)
    }

    /// Takes a name away; with its last name the image goes, and the layers no other image uses.
    /// Given an id, the image goes if it has one name or none.
    ///
    /// # Errors
    /// `InUse` while a container was made from the image or, for an id, when it has several names;
    /// `NotFound`, `Ambiguous`, `Invalid`, `Io`.
    pub fn remove(&self, name_or_id: &str) -> Result<Removed> {
        let _lock = Lock::exclusive(&self.top)?;
        self.remove_locked(name_or_id)
    }

    /// Makes the files of a container: its writable layer, and a lease that keeps the image.
    ///
    /// # Errors
    /// `Invalid` for a bad id, `AlreadyExists`, `NotFound` when the image was removed meanwhile.
    pub fn create_container(&self, id: &str, image: &Image) -> Result<Container> {
        let id = ContainerId::parse(id)?;
        let _lock = Lock::shared(&self.top)?;
        let record = self.image_record(image.id())?;
        Container::create(&self.containers, id, &record, self.lower(&record))
    }

    /// A container made before.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Corrupt`.
    pub fn container(&self, id: &str) -> Result<Container> {
        let id = ContainerId::parse(id)?;
        let _lock = Lock::shared(&self.top)?;
        let image = self.lease(id.as_str())?.ok_or_else(|| {
            let cause = "no such container in the store";
            Error::new(ErrorKind::NotFound, "find", quoted(id.as_str()), cause)
        })?;
        let record = self.image_record(&image)?;
        Ok(Container::existing(
            &self.containers,
            &id,
            &record,
            self.lower(&record),
        ))
    }

    /// The ids of all containers.
    ///
    /// # Errors
    /// `Io`.
    pub fn containers(&self) -> Result<Vec<String>> {
        let mut names = self.containers.names()?;
        names.retain(|name| ContainerId::parse(name).is_ok());
        names.sort();
        Ok(names)
    }

    /// Removes a container's files, its writable layer included. Its root must not be mounted.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Io`.
    pub fn remove_container(&self, id: &str) -> Result<()> {
        let id = ContainerId::parse(id)?;
        let _lock = Lock::shared(&self.top)?;
        let trash = Workspace::new(&self.trash)?;
        self.containers.discard(id.as_str(), &trash)
    }

    /// What a crash left in `tmp` and `trash`, when nobody else works in the store.
    fn sweep(&self) -> Result<()> {
        let empty_now = |folder: &Folder| Ok(folder.names()?.is_empty());
        if empty_now(&self.tmp)? && empty_now(&self.trash)? {
            return Ok(());
        }
        if let Some(_lock) = Lock::try_exclusive(&self.top)? {
            empty(&self.tmp)?;
            empty(&self.trash)?;
        }
        Ok(())
    }

    /// `blobs/sha256`, as in an OCI layout.
    fn blob_folder(&self, digest: &Digest) -> &Folder {
        match digest.algorithm() {
            Algorithm::Sha256 => &self.sha256,
            Algorithm::Sha512 => &self.sha512,
        }
    }

    fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.layers.path().join(diff_id.file_name())
    }

    /// The directories of an image, highest first, without those a higher one hides whole.
    fn lower(&self, record: &ImageRecord) -> Vec<PathBuf> {
        let shown = record.layers.iter().skip(record.hidden).rev();
        shown
            .map(|diff_id| self.layer_path(diff_id).join("fs"))
            .collect()
    }

    /// The image a container keeps; none when there is no such container.
    fn lease(&self, container: &str) -> Result<Option<Digest>> {
        if !self.containers.contains(container)? {
            return Ok(None);
        }
        let folder = Folder::open(self.containers.path().join(container))?;
        let link = folder.read_link("lease")?.ok_or_else(|| {
            let cause = "it has no lease; its creation was cut off";
            Error::corrupt("find container", quoted(container), cause)
                .with_hint("remove the container")
        })?;
        image_of_link(&link).map(Some)
    }
}

/// `../images/sha256-…` and `../../images/sha256-…` are what our links look like.
fn image_of_link(target: &str) -> Result<Digest> {
    let name = target
        .rsplit_once("images/")
        .map(|(_, name)| name)
        .unwrap_or_default();
    Digest::from_file_name(name)
        .ok_or_else(|| Error::corrupt("read", quoted(target), "not a link to an image"))
}

fn make_ancestors(root: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(root)
        .at("make directory", root)
}
