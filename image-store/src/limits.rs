//! How much a foreign image may make us do.

/// Limits on what is loaded. The defaults fit every image we have met and stop bombs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most bytes of an index, manifest or configuration.
    pub document_bytes: u64,
    /// Most layers of an image; overlayfs ends at 500.
    pub layers: usize,
    /// Most entries of one layer.
    pub entries: u64,
    /// Most bytes of directory names of one layer: they are kept in memory to its end.
    pub directory_bytes: u64,
    /// Most uncompressed bytes of one layer.
    pub layer_bytes: u64,
    /// Most uncompressed bytes for each compressed byte, once `ratio_free_bytes` have come out.
    pub ratio: u64,
    /// Bytes of a layer that come out without a look at the ratio.
    pub ratio_free_bytes: u64,
    /// Most extended attributes of one entry.
    pub xattrs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_bytes: 4 << 20,
            layers: 500,
            entries: 5_000_000,
            directory_bytes: 16 << 20,
            layer_bytes: 256 << 30,
            ratio: 100,
            ratio_free_bytes: 256 << 20,
            xattrs: 256,
        }
    }
}

impl Limits {
    /// For what was let in under the limits of its time.
    pub(crate) fn none() -> Self {
        Self {
            entries: u64::MAX,
            directory_bytes: u64::MAX,
            layer_bytes: u64::MAX,
            ratio_free_bytes: u64::MAX,
            xattrs: usize::MAX,
            ..Self::default()
        }
    }

    /// Most bytes that may come out of a blob of this size.
    pub(crate) fn output_of(&self, blob_size: u64) -> u64 {
        let by_ratio = blob_size
            .saturating_mul(self.ratio)
            .max(self.ratio_free_bytes);
        by_ratio.min(self.layer_bytes)
    }
}
