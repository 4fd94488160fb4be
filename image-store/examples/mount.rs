//! Loads an image and mounts a container's root: `mount STORE SOURCE ID`.
#![allow(clippy::print_stdout, reason = "an example talks")]

use std::path::Path;
use std::time::Instant;

use hostrun_image_store::{LoadOptions, RootOptions, Source, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [store, source, id] = words.as_slice() else {
        return Err("usage: mount STORE SOURCE ID".into());
    };
    let store = Store::open(Path::new(store))?;
    let name = if Source::is_source(source) {
        let begun = Instant::now();
        let images = store.load(&source.parse()?, &LoadOptions::default())?;
        println!("loaded in {:?}", begun.elapsed());
        images
            .first()
            .map(|image| image.id().to_string())
            .unwrap_or_default()
    } else {
        source.clone()
    };
    let begun = Instant::now();
    let image = store.resolve(&name)?;
    let container = store.create_container(id, &image)?;
    let root = container.mount_root(&RootOptions::default())?;
    println!(
        "{} with {} layers mounted in {:?}",
        image.id(),
        image.layers().len(),
        begun.elapsed()
    );
    drop(root);
    store.remove_container(id)?;
    Ok(())
}
