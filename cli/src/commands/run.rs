//! `hostrun run IMAGE`: find or load the image, put the container together, start it, stay with it.

use super::{foreground, oci, pidfile};
use crate::args::run::{Run, When};
use crate::assembly;
use crate::attend::Attention;
use crate::globals::Globals;
use crate::stopwatch::Stopwatch;
use crate::target::Target;
use crate::{entrance, monitor, output, report};
use anyhow::{Context, Result};
use hostrun_image_store::{ErrorKind, Image, Platform, Source, Store};
use hostrun_runtime::seal;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Runs the verb.
///
/// # Errors
/// When the container could not be started; the message says why.
pub(crate) fn main(globals: &Globals, args: &Run) -> Result<u8> {
    let here = args.handover.names_config().then_some(Path::new("."));
    if let Some(bundle) = args.bundle.as_deref().or(here) {
        return oci::make::run(globals, args, bundle);
    }
    refuse_contradictions(args)?;
    entrance::pass(globals)?;
    if args.isolation.pid.is_some()
        || !args.files.volumes.is_empty()
        || !args.files.mounts.is_empty()
        || !args.files.cdi_devices().is_empty()
    {
        // Others in that pid namespace could reach for our own binary; and others who share a
        // volume could swap the program in it while we start it. A root of its own nobody shares.
        seal::ensure()?;
    }
    let mut watch = Stopwatch::begin();
    let cidfile = args.cidfile.as_deref().map(create_cidfile).transpose()?;
    match start(globals, args, &mut watch, cidfile) {
        Ok(status) => Ok(status),
        Err(error) => {
            if let Some(path) = &args.cidfile {
                // Nothing was made; the file we created promises an id that will never come.
                drop(std::fs::remove_file(path));
            }
            Err(error)
        }
    }
}

fn refuse_contradictions(args: &Run) -> Result<()> {
    if args.keep || args.handover.is_any() {
        let failure = report::Failure::new("an option that only bundles have needs --bundle DIR");
        return Err(failure
            .hint("'hostrun run --help' lists them under Bundles")
            .into());
    }
    if args.preserve_fds > 0 && args.detach {
        return Err(report::usage(
            "--preserve-fds and --detach do not go together",
        ));
    }
    if args.process.init && args.isolation.pid.is_some() {
        return Err(report::usage(
            "--init and --pid do not go together: an init must be process 1",
        ));
    }
    Ok(())
}

fn start(
    globals: &Globals,
    args: &Run,
    watch: &mut Stopwatch,
    cidfile: Option<File>,
) -> Result<u8> {
    let store = globals.open_store()?;
    let image = find(&store, args)?;
    watch.mark("image");
    // From here on a signal waits until somebody can clean up after it.
    let attention = Attention::begin(args.tty)?;
    let assembly = assembly::build(globals, &store, args, &image, watch)?;
    if let Some(mut file) = cidfile {
        file.write_all(assembly.record.id().as_bytes())
            .context("cannot write the cidfile")?;
    }
    if !args.detach {
        return foreground::main(globals, &store, args, assembly, &attention, watch);
    }
    let root = assembly
        .root
        .try_clone()
        .context("cannot duplicate the root's descriptor")?;
    let pid = monitor::launch(globals, &assembly.record, root)?;
    let (record, _) = assembly.keep();
    if let Some(path) = &args.pidfile
        && let Err(error) = pidfile::write(path, pid)
    {
        // A caller that gets no pid gets no container either.
        super::rm::by_force(&Target::of_record(globals, record)?, globals)?;
        return Err(error);
    }
    if args.timings {
        watch.mark("monitor and start");
        watch.print();
    }
    output::line(record.id())?;
    Ok(0)
}

/// The image of the command line: loaded if it is a source, else one the store has.
fn find(store: &Store, args: &Run) -> Result<Image> {
    let name = args.words.first().map(String::as_str).unwrap_or_default();
    let platform = args
        .platform
        .as_deref()
        .map(str::parse::<Platform>)
        .transpose()?;
    if Source::is_source(name) {
        let source: Source = name.parse()?;
        // A layout in a folder called `oci` gives names that look like sources themselves.
        return match store.resolve(name) {
            Ok(image) if !source.path().exists() => Ok(image),
            _ => load(store, name, platform, args.quiet),
        };
    }
    let image = match store.resolve(name) {
        Ok(image) if args.pull != When::Always => image,
        Ok(_) => super::pull::for_run(store, name, platform.clone(), (args.quiet, false))?,
        Err(error) if args.pull == When::Never => return Err(missing(error, name)),
        Err(error) => fetched(store, args, name, platform.clone(), error)?,
    };
    if let Some(platform) = platform {
        check_platform(&image, &platform, name)?;
    }
    Ok(image)
}

fn load(store: &Store, name: &str, platform: Option<Platform>, quiet: bool) -> Result<Image> {
    let source: Source = name.parse()?;
    let options = super::load::options(platform, quiet);
    let images = store.load(&source, &options)?;
    match images.as_slice() {
        [image] => Ok(image.clone()),
        several => {
            let failure = report::Failure::new(format!("'{name}' holds {} images", several.len()));
            Err(failure
                .hint("name one: oci:DIR:TAG, oci-archive:FILE:TAG, docker-archive:FILE:NAME")
                .into())
        }
    }
}

/// An image the store does not have, if it may be one of a registry: an id is of none.
fn fetched(
    store: &Store,
    args: &Run,
    name: &str,
    platform: Option<Platform>,
    error: hostrun_image_store::Error,
) -> Result<Image> {
    if error.kind() != ErrorKind::NotFound || name.starts_with("sha256:") {
        return Err(missing(error, name));
    }
    let only_missing = args.pull == When::Missing;
    super::pull::for_run(store, name, platform, (args.quiet, only_missing))
}

fn missing(error: hostrun_image_store::Error, name: &str) -> anyhow::Error {
    if error.kind() != ErrorKind::NotFound {
        return error.into();
    }
    let failure = report::Failure::new(format!("no image '{name}' in the store"));
    failure
        .hint("'hostrun images' lists them; 'hostrun load oci:DIR' brings one in")
        .into()
}

fn check_platform(image: &Image, wanted: &Platform, name: &str) -> Result<()> {
    let config = image.config();
    let has = Platform::new(
        &config.os().to_string(),
        &config.architecture().to_string(),
        config.variant().as_deref(),
    );
    // A wish without a variant is met by any.
    let same =
        has.to_string() == wanted.to_string() || has.to_string().starts_with(&format!("{wanted}/"));
    if same {
        Ok(())
    } else {
        Err(report::usage(format!(
            "the image '{name}' is for {has}, not {wanted}"
        )))
    }
}

fn create_cidfile(path: &Path) -> Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let file = rustix::fs::open(path, flags, mode)
        .with_context(|| format!("cannot create the cidfile '{}'", path.display()))?;
    Ok(File::from(file))
}
