//! The store: plain directories and small files, no daemon, no database.
//!
//! `docs/store.md` describes what is on disk. Registries, parallel unpacking, garbage collection
//! and generations will come in beside [`ingest`] and [`removal`]; the layout already has their
//! places.

mod disk;
mod ingest;
mod record;
mod removal;

pub(crate) use disk::{Folder, empty, is_no_directory};
pub(crate) use record::ImageRecord;

use std::path::{Path, PathBuf};

use crate::candidate::{self, Wish};
use crate::config;
use crate::container::{Container, ContainerId};
use crate::digest::{Digest, is_lower_hex};
use crate::error::{At, Error, ErrorKind, Result, quoted};
use crate::image::{Image, Removed};
use crate::load::LoadOptions;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::source::Source;
use disk::{Lock, Workspace};
use ingest::Ingest;
use record::{Format, LayerRecord};

/// Shortest id a person may type, in digits.
const SHORT_ID: usize = 3;
/// Largest record or configuration of ours, in bytes: with room over what a load lets in.
const RECORD_MAX: u64 = 64 << 20;

/// An image store. Several processes and threads may use one at a time.
#[derive(Debug)]
pub struct Store {
    top: Folder,
    blobs: Folder,
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
        let store = Self {
            blobs: folder("blobs")?,
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
            let work = Workspace::new(&self.tmp)?;
            self.top
                .write("format", &record::encode(&Format::current())?, &work)?;
            self.top.sync()?;
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
    /// or `Io`; the store is then as it was before.
    pub fn load(&self, source: &Source, options: &LoadOptions) -> Result<Vec<Image>> {
        self.sweep()?;
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
        let mut images: Vec<Image> = ids.iter().map(|id| self.image(id)).collect::<Result<_>>()?;
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

    fn find(&self, text: &str) -> Result<Found> {
        let reference = Reference::parse(text);
        if let Ok(reference) = &reference
            && let Some(id) = self.name_target(reference)?
        {
            return Ok(Found {
                id,
                name: Some(reference.clone()),
            });
        }
        if let Some(digest) = reference.as_ref().ok().and_then(Reference::digest)
            && let Some(id) = self.by_digest(digest)?
        {
            return Ok(Found { id, name: None });
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() >= SHORT_ID && is_lower_hex(digits) {
            let mut ids = self.image_ids()?;
            ids.retain(|id| id.hex().starts_with(digits));
            match ids.as_slice() {
                [id] => {
                    return Ok(Found {
                        id: id.clone(),
                        name: None,
                    });
                }
                [] => {}
                _ => {
                    let cause = format!("{} images begin with it", ids.len());
                    return Err(Error::new(
                        ErrorKind::Ambiguous,
                        "find",
                        quoted(text),
                        cause,
                    ));
                }
            }
        } else {
            reference?;
        }
        Err(Error::new(
            ErrorKind::NotFound,
            "find",
            quoted(text),
            "no such image in the store",
        )
        .with_hint("load it first: oci:DIR, oci-archive:FILE or docker-archive:FILE"))
    }

    fn by_digest(&self, digest: &Digest) -> Result<Option<Digest>> {
        for id in self.image_ids()? {
            if id == *digest || self.image_record(&id)?.manifest.as_ref() == Some(digest) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    fn name_target(&self, name: &Reference) -> Result<Option<Digest>> {
        let link = self.refs.read_link(&name.file_name())?;
        link.map(|target| image_of_link(&target)).transpose()
    }

    /// Every name with the image it points at.
    fn all_names(&self) -> Result<Vec<(Reference, Digest)>> {
        let mut all = Vec::new();
        for file in self.refs.names()? {
            let Some(name) = Reference::from_file_name(&file) else {
                continue;
            };
            if let Some(id) = self.name_target(&name)? {
                all.push((name, id));
            }
        }
        all.sort();
        Ok(all)
    }

    fn image_ids(&self) -> Result<Vec<Digest>> {
        let names = self.images.names()?;
        let mut ids: Vec<Digest> = names
            .iter()
            .filter_map(|name| Digest::from_file_name(name))
            .collect();
        ids.sort();
        Ok(ids)
    }

    fn image_record(&self, id: &Digest) -> Result<ImageRecord> {
        let bytes = self.images.read(&id.file_name(), RECORD_MAX)?;
        record::decode(&bytes).map_err(|error| error.within(&format!("image {id}")))
    }

    fn layer_record(&self, diff_id: &Digest) -> Result<LayerRecord> {
        let folder = Folder::open(self.layer_path(diff_id))?;
        let bytes = folder.read("meta.json", RECORD_MAX)?;
        record::decode(&bytes).map_err(|error| error.within(&format!("layer {diff_id}")))
    }

    fn image(&self, id: &Digest) -> Result<Image> {
        let record = self.image_record(id)?;
        let folder = self.blob_folder(id)?;
        let bytes = folder.read(id.hex(), RECORD_MAX)?;
        let blob = candidate::Blob {
            digest: id.clone(),
            bytes,
        };
        crate::layout::verify(&blob)?;
        let config = config::parse(&blob.bytes)?.image;
        let names = self.all_names()?;
        let names = names
            .into_iter()
            .filter(|(_, target)| target == id)
            .map(|(name, _)| name);
        Ok(Image {
            record,
            names: names.collect(),
            config,
        })
    }

    /// `blobs/sha256/ab`
    fn blob_folder(&self, digest: &Digest) -> Result<Folder> {
        let file_name = digest.file_name();
        let algorithm = file_name.split('-').next().unwrap_or_default();
        let first = Folder::open_or_make(self.blobs.path().join(algorithm))?;
        Folder::open_or_make(first.path().join(digest.hex().get(..2).unwrap_or_default()))
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

/// What a name or id led to.
#[derive(Debug)]
struct Found {
    id: Digest,
    /// None when it was found by id.
    name: Option<Reference>,
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
