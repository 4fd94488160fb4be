//! Which blobs are known to give a layer: a blob that is marked need only be hashed again.

use super::disk::Folder;
use super::shelf::Shelf;
use super::workspace::Workspace;
use crate::candidate::LayerBlob;
use crate::error::Result;

/// The file in a layer's `from` that says: this blob, read this way, gave this diffID.
pub(super) fn mark_name(layer: &LayerBlob) -> Option<String> {
    let digest = layer.digest.as_ref()?;
    Some(format!(
        "{}.{}",
        digest.file_name(),
        layer.compression.name()
    ))
}

impl Shelf {
    pub(super) fn is_marked(&self, layer: &LayerBlob) -> Result<bool> {
        let from = self.layer_path(&layer.diff_id).join("from");
        match (mark_name(layer), Folder::look(from)?) {
            (Some(mark), Ok(folder)) => folder.contains(&mark),
            _ => Ok(false),
        }
    }

    /// The blob gave the layer that the store has.
    pub(super) fn mark(&self, layer: &LayerBlob, work: &Workspace) -> Result<()> {
        let from = self.layer_path(&layer.diff_id).join("from");
        // Without the directory the layer was removed meanwhile, and will be unpacked; or it is one
        // of this load and has its mark.
        match (mark_name(layer), Folder::look(from)?) {
            (Some(mark), Ok(folder)) => folder.stage(&mark, b"", work)?.commit(work),
            _ => Ok(()),
        }
    }
}
