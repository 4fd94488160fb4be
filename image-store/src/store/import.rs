//! A root file system out of a tar becomes an image of one layer.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use oci_spec::image::{ImageConfiguration, RootFsBuilder};

use super::Store;
use super::ingest::Ingest;
use super::workspace::Workspace;
use crate::blobs::{Blobs, Magic, Member, Section};
use crate::candidate::{self, Blob, Candidate, LayerBlob};
use crate::config;
use crate::decode::{Compression, LayerStream, drain};
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Error, Result};
use crate::image::Image;
use crate::load::LoadOptions;
use crate::reference::Reference;
use crate::trust::{Origin, Transport};

const MEMBER: &str = "layer";

impl Store {
    /// Loads the images of an archive of either kind, also one that is compressed as a whole or
    /// comes through a pipe. Images without a name are called `base`.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_archive(
        &self,
        archive: File,
        base: &str,
        options: &LoadOptions,
    ) -> Result<Vec<Image>> {
        self.load_from(
            |wish| {
                let work = Workspace::new(&self.tmp)?;
                let (mut file, size) = seekable(archive, &work)?;
                let file_of = Arc::new(file.try_clone().at("open", "archive")?);
                match compression(&file_of, size)? {
                    Compression::None => {}
                    packed => file = inflated(&file_of, size, packed, options, &work)?,
                }
                candidate::find_any(file, base, options.archive.as_deref(), wish)
            },
            options,
        )
    }

    /// Makes an image of a tar with a root file system, plain or compressed. What is to be run in
    /// it is the caller's word: everything of `config` but its `rootfs` is kept.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn import(
        &self,
        tar: File,
        config: ImageConfiguration,
        names: &[Reference],
        options: &LoadOptions,
    ) -> Result<Image> {
        self.empty_trash()?;
        let work = Workspace::new(&self.tmp)?;
        let (file, size) = seekable(tar, &work)?;
        let file = Arc::new(file);
        let compression = compression(&file, size)?;
        let diff_id = diff_id(
            Section::whole(Arc::clone(&file), size),
            compression,
            options,
        )?;
        let member = Member::Data { offset: 0, size };
        let blobs = Blobs::Archive {
            file,
            members: BTreeMap::from([(MEMBER.to_owned(), member)]),
        };
        let config_blob = config_blob(config, &diff_id)?;
        let candidate = Candidate {
            names: names.to_vec(),
            label: None,
            lineage: Vec::new(),
            manifest: None,
            config: config::parse(&config_blob.bytes)?,
            config_blob,
            layers: vec![LayerBlob {
                member: MEMBER.to_owned(),
                digest: None,
                size,
                compression,
                diff_id,
            }],
        };
        let origin = Origin::new(Transport::Tarball, None);
        self.let_in(&blobs, std::slice::from_ref(&candidate), &origin, options)?;
        Ingest::new(self, &blobs, options)?.image(&candidate)
    }
}

/// What cannot be read twice, such as a pipe, is copied into the store first.
fn seekable(mut tar: File, work: &Workspace) -> Result<(File, u64)> {
    let metadata = tar.metadata().at("stat", "tar")?;
    if metadata.is_file() {
        return Ok((tar, metadata.len()));
    }
    let mut copy = work.file()?;
    let size = io::copy(&mut tar, &mut copy).at("copy", "tar")?;
    Ok((copy, size))
}

/// The archive itself, in the store for as long as it is read.
fn inflated(
    file: &Arc<File>,
    size: u64,
    compression: Compression,
    options: &LoadOptions,
    work: &Workspace,
) -> Result<File> {
    let failed = |error| Error::from_io("read", "archive".to_owned(), error);
    let section = Section::whole(Arc::clone(file), size);
    let algorithms = (Algorithm::Sha256, Algorithm::Sha256);
    let mut stream = LayerStream::new(section, size, compression, algorithms, &options.limits)?;
    let mut plain = work.file()?;
    io::copy(&mut stream, &mut plain).map_err(failed)?;
    stream.finish()?;
    Ok(plain)
}

fn compression(file: &Arc<File>, size: u64) -> Result<Compression> {
    let mut head = Vec::new();
    let mut section = Section::whole(Arc::clone(file), size).take(4);
    section.read_to_end(&mut head).at("read", "tar")?;
    Ok(match Magic::of(&head) {
        Magic::None => Compression::None,
        Magic::Gzip => Compression::Gzip,
        Magic::Zstd => Compression::Zstd,
    })
}

/// Nobody has said what comes out, so it is read once for that alone.
fn diff_id(section: Section, compression: Compression, options: &LoadOptions) -> Result<Digest> {
    let failed = |error| Error::from_io("read", "tar".to_owned(), error);
    let algorithms = (Algorithm::Sha256, Algorithm::Sha256);
    let size = section.length();
    let mut stream = LayerStream::new(section, size, compression, algorithms, &options.limits)?;
    drain(&mut stream).map_err(failed)?;
    Ok(stream.finish()?.diff)
}

fn config_blob(mut config: ImageConfiguration, diff_id: &Digest) -> Result<Blob> {
    let failed = |cause: String| Error::corrupt("write", "config", cause);
    let rootfs = RootFsBuilder::default()
        .typ("layers")
        .diff_ids(vec![diff_id.to_string()])
        .build()
        .map_err(|error| failed(error.to_string()))?;
    config.set_rootfs(rootfs);
    let bytes = serde_json::to_vec(&config).map_err(|error| failed(error.to_string()))?;
    Ok(Blob {
        digest: Digest::of(&bytes),
        bytes,
    })
}
