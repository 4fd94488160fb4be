//! Images go out: [`Store::save`] and [`Store::save_layout`].

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::Store;
use super::content::Hashing;
use super::shelf::Shelf;
use super::workspace::Workspace;
use crate::digest::Digest;
use crate::error::{At, Result};
use crate::image::Image;
use crate::reference::Reference;
use crate::save::{ALGORITHM, LayerFile, SaveOptions, Saver, Target, refuse_nothing};

impl Store {
    /// Writes images as one tar, an OCI layout with the `manifest.json` of docker archives, so
    /// that every image tool can read it. An image named by a name is saved under that name only,
    /// one named by id under all of its names.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`, `Invalid`, `Corrupt` when a layer is not what was loaded, `Io`.
    pub fn save(
        &self,
        images: &[&str],
        options: SaveOptions,
        out: &mut (dyn Write + Send),
    ) -> Result<()> {
        self.save_to(images, options, Target::Archive(out))
    }

    /// Writes images as an OCI layout into a directory that is not there yet.
    ///
    /// # Errors
    /// As [`Store::save`]; `AlreadyExists`.
    pub fn save_layout(&self, images: &[&str], options: SaveOptions, dir: &Path) -> Result<()> {
        self.save_to(images, options, Target::Layout(dir.to_owned()))
    }

    fn save_to(&self, names: &[&str], options: SaveOptions, target: Target<'_>) -> Result<()> {
        refuse_nothing(names)?;
        // Held to the end, and shared with everything but removals.
        let _lock = self.lock_shared()?;
        let images: Vec<Image> = names
            .iter()
            .map(|name| self.image_to_save(name))
            .collect::<Result<_>>()?;
        let work = Workspace::new(&self.tmp)?;
        let mut saver = Saver::new(target)?;
        for image in &images {
            let (shelf, record) = self.shelf_of(image.id())?;
            let layers = record.layers.iter().map(|layer| {
                let saved = save_layer(shelf, layer, options, &work, &mut saver);
                saved.map_err(|error| error.within(&format!("image {}", image.id())))
            });
            let layers: Vec<LayerFile> = layers.collect::<Result<_>>()?;
            let config = shelf.blob(image.id())?;
            saver.blob(&config.digest, &config.bytes)?;
            saver.image(image, config.bytes.len() as u64, &layers)?;
        }
        saver.finish()
    }

    fn image_to_save(&self, name: &str) -> Result<Image> {
        let found = self.find(name)?;
        let mut image = self.image(&found.id)?;
        if let Some(name) = found.name {
            image.names = vec![name];
        }
        image.names.retain(|name: &Reference| name.tag().is_some());
        Ok(image)
    }
}

fn save_layer(
    shelf: &Shelf,
    layer: &Digest,
    options: SaveOptions,
    work: &Workspace,
    saver: &mut Saver<'_>,
) -> Result<LayerFile> {
    if options.gzip {
        return save_compressed(shelf, layer, work, saver);
    }
    let size = shelf.layer_size(layer)?;
    if !saver.has(layer) {
        saver.stream(layer, size, |sink| {
            shelf.layer_tar(layer, None, sink).map(drop)
        })?;
    }
    Ok(LayerFile {
        digest: layer.clone(),
        size,
        gzip: false,
    })
}

fn save_compressed(
    shelf: &Shelf,
    layer: &Digest,
    work: &Workspace,
    saver: &mut Saver<'_>,
) -> Result<LayerFile> {
    let (saved, mut file) = compressed(shelf, layer, work)?;
    if !saver.has(&saved.digest) {
        saver.copy(&saved, &mut file)?;
    }
    Ok(saved)
}

/// A layer with gzip. Its size and digest are known only when it is done, so it is made in the store.
pub(super) fn compressed(
    shelf: &Shelf,
    layer: &Digest,
    work: &Workspace,
) -> Result<(LayerFile, File)> {
    let file = work.file()?;
    let hashed = Hashing::new(ALGORITHM, file);
    // No name and no time in the header: the same layer always gives the same bytes.
    let encoder = flate2::write::GzEncoder::new(hashed, flate2::Compression::default());
    let encoder = shelf.layer_tar(layer, None, encoder)?;
    let (digest, file) = encoder.finish().at("write", "layer")?.finish();
    let size = file.metadata().at("stat", "layer")?.len();
    let gzip = true;
    Ok((LayerFile { digest, size, gzip }, file))
}
