//! An image of the store.

use oci_spec::image::ImageConfiguration;

use crate::digest::Digest;
use crate::reference::Reference;
use crate::store::ImageRecord;

/// An image that is whole in the store.
///
/// Its id is the digest of its configuration, what docker and podman show as IMAGE ID: the same
/// image has the same id whichever way it came and however its layers were compressed.
#[derive(Debug, Clone)]
pub struct Image {
    pub(crate) record: ImageRecord,
    pub(crate) names: Vec<Reference>,
    pub(crate) config: ImageConfiguration,
    pub(crate) shipped: bool,
}

impl Image {
    /// The digest of the configuration.
    pub fn id(&self) -> &Digest {
        &self.record.config
    }

    /// The digest of the manifest it was loaded by; none for docker archives.
    pub fn manifest(&self) -> Option<&Digest> {
        self.record.manifest.as_ref()
    }

    /// All names it has, sorted.
    pub fn names(&self) -> &[Reference] {
        &self.names
    }

    /// The configuration. Data of a stranger: none of it is safe to use as a path or an argument
    /// of anything on the host.
    pub fn config(&self) -> &ImageConfiguration {
        &self.config
    }

    /// The diffIDs, lowest layer first.
    pub fn layers(&self) -> &[Digest] {
        &self.record.layers
    }

    /// Bytes of file data in all layers, unpacked.
    pub fn size(&self) -> u64 {
        self.record.size
    }

    /// Whether it came with the system, in the second store that is only read.
    pub fn is_shipped(&self) -> bool {
        self.shipped
    }

    /// When it was built, RFC 3339, if the configuration says so.
    pub fn created(&self) -> Option<&str> {
        self.config.created().as_deref()
    }
}

/// What [`Store::remove`](crate::Store::remove) took away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<Reference>,
    /// The image, when that was its last name.
    pub image: Option<Digest>,
    /// Layers no other image uses.
    pub layers: Vec<Digest>,
    /// Bytes of file data in them.
    pub bytes: u64,
    /// Files, directories and links in them: how long [`Store::empty_trash`](crate::Store::empty_trash) will take.
    pub entries: u64,
}
