//! An engine of one file: brings an image in, makes a container of it, and mounts its root.
//!
//! ```console
//! # cargo run --example engine -- /var/lib/engine oci:./app:v1
//! ```
//!
//! Nothing is left behind: the mount is attached nowhere, the container and the image are removed.
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::collections::BTreeMap;
use std::error::Error;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Mutex;

use hostrun_image_store::{LoadOptions, Progress, RootOptions, Source, Store, Trust};
use rustix::fs::{Dir, Mode, OFlags, openat};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let usage = "embed STORE SOURCE";
    let (dir, source) = (words.next().ok_or(usage)?, words.next().ok_or(usage)?);

    // What this host demands of images: policy.json, pins.
    let trust = Trust::of_host(Path::new("/"));
    let store = Store::open(Path::new(&dir))?.with_trust(trust);
    let name = bring_in(&store, &source.parse()?)?;

    // What the name means now; an id or a beginning of one would do as well.
    let image = store.resolve(&name)?;
    println!("{name} has {} layers", image.layers().len());

    // A writable layer, and a lease: as long as the container is there, the image is.
    let container = store.create_container("embedded", &image)?;
    println!("removable: {}", store.remove(&name).is_ok());

    // Attached to no mount namespace: gone when the descriptor is, also if we crash.
    let root = container.mount_root(&RootOptions::default())?;
    println!("root: {}", list(&root)?.join(" "));
    drop(root);

    store.remove_container("embedded")?;
    store.remove(&name)?;
    // What only forgotten generations, or loads that were cut off, had.
    store.collect()?;
    // All is out of sight; this gives the room back, now or when there is time.
    store.empty_trash()?;
    println!("images: {}", store.images()?.len());
    Ok(())
}

/// Loads an image, tells of each layer when it is done, and gives the image's name.
fn bring_in(store: &Store, source: &Source) -> Result<String, Box<dyn Error>> {
    let sizes = Mutex::new(BTreeMap::new());
    let options = LoadOptions::default().with_progress(move |progress| {
        // Called from the threads that unpack.
        let Ok(mut sizes) = sizes.lock() else { return };
        match progress {
            Progress::LayerStarted { diff_id, size, .. } => {
                sizes.insert((*diff_id).clone(), *size);
            }
            Progress::LayerDone { diff_id } => {
                let size = sizes.remove(diff_id).unwrap_or(0);
                println!("layer {} of {size} bytes is done", diff_id.short());
            }
            _ => {}
        }
    });
    let images = store.load(source, &options)?;
    let name = images.first().and_then(|image| image.names().first());
    Ok(name.ok_or("the source has no image")?.to_string())
}

fn list(root: &impl AsFd) -> Result<Vec<String>, Box<dyn Error>> {
    // The descriptor stands for the place alone; to read it, it is opened.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(root, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(opened)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend((!name.starts_with('.')).then_some(name));
    }
    names.sort();
    Ok(names)
}
