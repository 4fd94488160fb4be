//! What a layer came to, against what its source says of it.

use crate::candidate::LayerBlob;
use crate::decode::Sums;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// Both digests and the size.
pub(super) fn check(layer: &LayerBlob, sums: &Sums) -> Result<()> {
    check_blob(layer, &sums.blob, sums.blob_size)?;
    if sums.diff != layer.diff_id {
        let cause = format!(
            "content is {}, the config says {}",
            sums.diff, layer.diff_id
        );
        return Err(Error::corrupt("verify", "diffID", cause));
    }
    Ok(())
}

/// The blob alone.
pub(super) fn check_blob(layer: &LayerBlob, found: &Digest, size: u64) -> Result<()> {
    if size != layer.size {
        let cause = format!("{size} bytes, {} announced", layer.size);
        return Err(Error::corrupt("verify", "size", cause));
    }
    match &layer.digest {
        Some(digest) if digest != found => Err(Error::corrupt(
            "verify",
            "digest",
            format!("the bytes are {found}"),
        )),
        _ => Ok(()),
    }
}
