//! `hostrun save`.

use crate::args::images::{Save, SaveFormat};
use crate::globals::Globals;
use crate::report::{self, Failure};
use anyhow::{Context, Result};
use hostrun_image_store::{SaveOptions, Store};
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Runs the verb.
///
/// # Errors
/// When an image is not there or not whole, or what is written cannot be. Nothing half written stays.
pub(crate) fn main(globals: &Globals, args: &Save) -> Result<u8> {
    let store = globals.open_store()?;
    let images: Vec<&str> = args.images.iter().map(String::as_str).collect();
    let options = SaveOptions::default().with_gzip(args.compress);
    match (&args.output, args.format) {
        (None, SaveFormat::OciDir) => {
            return Err(report::usage("a directory needs a name: -o DIR"));
        }
        (Some(dir), SaveFormat::OciDir) => {
            if let Err(error) = store.save_layout(&images, options, dir) {
                // What stood there before we came is not ours.
                if error.kind() != hostrun_image_store::ErrorKind::AlreadyExists {
                    drop(std::fs::remove_dir_all(dir));
                }
                return Err(error.into());
            }
        }
        (Some(path), _) => to_file(&store, &images, options, path)?,
        (None, _) => to_standard_output(&store, &images, options)?,
    }
    Ok(0)
}

fn to_standard_output(store: &Store, images: &[&str], options: SaveOptions) -> Result<()> {
    let out = std::io::stdout();
    if out.is_terminal() {
        let failure = Failure::new("standard output is a terminal, no place for an archive");
        return Err(failure.hint("name a file with -o, or pipe it on").into());
    }
    let mut out = BufWriter::with_capacity(256 * 1024, out);
    store.save(images, options, &mut out)?;
    out.flush().context("cannot write to standard output")
}

/// Under another name until it is whole and on the disk.
fn to_file(store: &Store, images: &[&str], options: SaveOptions, path: &Path) -> Result<()> {
    let shown = path.display();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(name);
    let file = File::create_new(&temporary).with_context(|| format!("cannot create '{shown}'"))?;
    let write = || -> Result<()> {
        let mut out = BufWriter::with_capacity(256 * 1024, &file);
        store.save(images, options, &mut out)?;
        out.flush()
            .with_context(|| format!("cannot write '{shown}'"))?;
        drop(out);
        file.sync_all()
            .with_context(|| format!("cannot write '{shown}'"))?;
        std::fs::rename(&temporary, path).with_context(|| format!("cannot create '{shown}'"))
    };
    let written = write();
    if written.is_err() {
        drop(std::fs::remove_file(&temporary));
    }
    written
}
