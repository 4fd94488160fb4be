//! The part of a store that holds what images are made of, and their names: the host's own, or a
//! second one that comes with the system and is only read.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::RECORD_MAX;
use super::attributes::Attributes;
use super::disk::Folder;
use super::record::{self, Format, Generation, ImageRecord, LayerRecord};
use crate::candidate::Blob;
use crate::config;
use crate::digest::{Algorithm, Digest};
use crate::driver::DriverName;
use crate::error::{At, Error, ErrorKind, Result, quoted};
use crate::image::Image;
use crate::reference::Reference;

/// The link to the generation that holds.
pub(super) const CURRENT: &str = "current";

/// Images, layers, blobs, names.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(super) sha256: Folder,
    pub(super) sha512: Folder,
    pub(super) layers: Folder,
    pub(super) images: Folder,
    pub(super) generations: Folder,
}

impl Shelf {
    /// The host's own, made where it is missing.
    pub(super) fn open_or_make(top: &Path) -> Result<Self> {
        let folder = |name: &str| Folder::open_or_make(top.join(name));
        if let Ok(shelf) = Self::open(top) {
            return Ok(shelf);
        }
        folder("blobs")?;
        Ok(Self {
            sha256: folder("blobs/sha256")?,
            sha512: folder("blobs/sha512")?,
            layers: folder("layers")?,
            images: folder("images")?,
            generations: folder("generations")?,
        })
    }

    fn open(top: &Path) -> Result<Self> {
        let folder = |name: &str| Folder::open(top.join(name));
        Ok(Self {
            sha256: folder("blobs/sha256")?,
            sha512: folder("blobs/sha512")?,
            layers: folder("layers")?,
            images: folder("images")?,
            generations: folder("generations")?,
        })
    }

    /// One that comes with the system, in `<root>/store`; none where there is none.
    pub(super) fn shipped(root: &Path) -> Result<Option<Self>> {
        let Ok(top) = Folder::look(root.join("store"))? else {
            return Ok(None);
        };
        let stat = rustix::fs::fstat(top.fd()).at("stat", top.path())?;
        // Whoever may write there decides what runs, and setuid files of images must be out of
        // other users' reach here, too (CVE-2024-25621).
        let own = rustix::process::geteuid().as_raw();
        if (stat.st_uid != 0 && stat.st_uid != own) || stat.st_mode & 0o077 != 0 {
            let cause = "a store must belong to root and be closed to others (mode 0700)";
            let subject = quoted(top.path());
            return Err(Error::new(ErrorKind::Denied, "open", subject, cause));
        }
        read_format(&top)?;
        Self::open(top.path()).map(Some)
    }

    /// The names as they are.
    pub(super) fn generation(&self) -> Result<Generation> {
        match self.generations.read_through_link(CURRENT, RECORD_MAX) {
            Ok(bytes) => decode(&bytes, CURRENT),
            // None was made so far; or the power was cut between two renames, and the file system
            // kept the second of them only.
            Err(error) if error.kind() == ErrorKind::NotFound => match self.numbers()?.last() {
                Some(newest) => self.generation_of(*newest),
                None => Ok(Generation::none()),
            },
            Err(error) => Err(error),
        }
    }

    /// The numbers of all generations there are, in order.
    pub(super) fn numbers(&self) -> Result<Vec<u64>> {
        let names = self.generations.names()?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) fn generation_of(&self, number: u64) -> Result<Generation> {
        let name = number.to_string();
        let bytes = self.generations.read(&name, RECORD_MAX)?;
        decode(&bytes, &name)
    }

    /// `blobs/sha256`, as in an OCI layout.
    pub(super) fn blob_folder(&self, digest: &Digest) -> &Folder {
        match digest.algorithm() {
            Algorithm::Sha256 => &self.sha256,
            Algorithm::Sha512 => &self.sha512,
        }
    }

    /// A configuration or manifest, its bytes checked against its digest.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Blob> {
        let blob = Blob {
            digest: digest.clone(),
            bytes: self.blob_folder(digest).read(digest.hex(), RECORD_MAX)?,
        };
        crate::layout::verify(&blob)?;
        Ok(blob)
    }

    pub(super) fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.layers.path().join(diff_id.file_name())
    }

    /// The layers of an image, highest first, without those a higher one hides whole. One that comes
    /// twice counts where it is highest: overlayfs takes no directory twice, and all that is in the
    /// lower one, the higher one says again.
    pub(super) fn lower(&self, record: &ImageRecord) -> Vec<PathBuf> {
        let mut shown: Vec<&Digest> = Vec::new();
        for diff_id in record.layers.iter().skip(record.hidden).rev() {
            if !shown.contains(&diff_id) {
                shown.push(diff_id);
            }
        }
        let path = |diff_id| self.layer_path(diff_id);
        shown.into_iter().map(path).collect()
    }

    pub(super) fn image_ids(&self) -> Result<Vec<Digest>> {
        digests(&self.images)
    }

    pub(super) fn layer_ids(&self) -> Result<Vec<Digest>> {
        digests(&self.layers)
    }

    pub(super) fn image_record(&self, id: &Digest) -> Result<ImageRecord> {
        let bytes = self.images.read(&id.file_name(), RECORD_MAX)?;
        record::decode(&bytes).map_err(|error| error.within(&format!("image {id}")))
    }

    pub(super) fn layer_record(&self, diff_id: &Digest) -> Result<LayerRecord> {
        let folder = Folder::open(self.layer_path(diff_id))?;
        let bytes = folder.read("meta.json", RECORD_MAX)?;
        record::decode(&bytes).map_err(|error| error.within(&format!("layer {diff_id}")))
    }

    /// An image with those of these names that mean it.
    pub(super) fn image(&self, id: &Digest, names: &Generation) -> Result<Image> {
        let record = self.image_record(id)?;
        let config = config::parse(&self.blob(id)?.bytes)?.image;
        let own = names.names.iter().filter(|(_, target)| *target == id);
        let names: Vec<Reference> = own.map(|(name, _)| name.clone()).collect();
        Ok(Image {
            record,
            names,
            config,
            shipped: false,
        })
    }
}

/// What new layers become; refuses a store some other version made.
pub(super) fn read_format(top: &Folder) -> Result<(DriverName, Attributes)> {
    let bytes = top.read("format", RECORD_MAX)?;
    let format: Format =
        record::decode(&bytes).map_err(|error| error.within(&quoted(top.path().join("format"))))?;
    format.check()
}

fn digests(folder: &Folder) -> Result<Vec<Digest>> {
    let names = folder.names()?;
    let mut ids: Vec<Digest> = names
        .iter()
        .filter_map(|name| Digest::from_file_name(name))
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

fn decode(bytes: &[u8], name: &str) -> Result<Generation> {
    record::decode(bytes).map_err(|error| error.within(&format!("generation {name}")))
}

/// Whether a path is there and not a directory.
pub(super) fn is_no_directory(path: &Path) -> bool {
    let stat = rustix::fs::statat(rustix::fs::CWD, path, rustix::fs::AtFlags::empty());
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory)
}
