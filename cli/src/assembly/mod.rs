//! Putting a container together out of an image and flags: record, root, user, volumes, files of /etc, configuration.
//!
//! Whatever was made is taken away again unless [`Assembly::keep`] is reached.

mod categories;
mod cgroup;
mod copy;
mod etc;
mod facts;
mod labels;
mod relabel;
mod volumes;

pub(crate) use etc::remove as remove_etc;
pub(crate) use facts::{identity, own_environment, read_variables};

use crate::args::run::{Cgroups, Run};
use crate::flags::mount::MountFlag;
use crate::globals::Globals;
use crate::record::{Meta, Record, Records};
use crate::stopwatch::Stopwatch;
use crate::{clock, report, spec};
use anyhow::{Context, Result};
use hostrun_image_store::{Image, RootOptions, Store};
use hostrun_runtime::{Signal, cdi};
use oci_spec::image::Config;
use oci_spec::runtime::Spec;
use std::mem::take;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// A container that is ready to be started.
#[derive(Debug)]
pub(crate) struct Assembly {
    pub(crate) record: Record,
    pub(crate) spec: Spec,
    /// The same as its record has it.
    pub(crate) written: Vec<u8>,
    /// The root, mounted but nowhere attached.
    pub(crate) root: OwnedFd,
    scaffold: Scaffold,
}

/// What a container has that others may have after it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    name: Option<String>,
    /// Of its files.
    label: Option<String>,
}

/// Takes an unfinished container away again.
#[derive(Debug)]
pub(crate) struct Scaffold {
    globals: Globals,
    record: Record,
    held: Held,
    keep: bool,
}

impl Drop for Scaffold {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = remove(&self.globals, &self.record) {
            report::warn(&format!("{error:#}"));
        }
        if let Some(name) = &self.held.name {
            Records::of(&self.globals.store).release(name, self.record.id());
        }
        if let Some(label) = &self.held.label {
            labels::give_back(&self.globals, label, self.record.id());
        }
    }
}

impl Assembly {
    /// From here on the container is removed only when somebody asks for it.
    pub(crate) fn keep(mut self) -> (Record, Held) {
        self.scaffold.keep = true;
        (self.record, take(&mut self.scaffold.held))
    }
}

/// Builds a container.
///
/// # Errors
/// When the flags contradict each other or the image, or the store or the host cannot do it. Nothing is left behind.
pub(crate) fn build(
    globals: &Globals,
    store: &Store,
    flags: &Run,
    image: &Image,
    watch: &mut Stopwatch,
) -> Result<Assembly> {
    let config = image.config().config().clone().unwrap_or_default();
    let stop_signal = check(flags, &config)?;
    let record = Records::of(&globals.store).create(flags.name.as_deref())?;
    let mut scaffold = Scaffold {
        globals: globals.clone(),
        record: record.clone(),
        held: Held {
            name: flags.name.clone(),
            label: None,
        },
        keep: false,
    };
    let container = store.create_container(record.id(), image)?;
    watch.mark("container");
    let labels = labels::choose(globals, flags, &record)?;
    scaffold.held.label = labels.as_ref().map(|labels| labels.files.clone());
    let mut options = RootOptions::default()
        .with_mount_points(true)
        .with_volatile(flags.rm);
    if let Some(labels) = &labels {
        options = options.with_label(&labels.files);
    }
    let root = container.mount_root(&options)?;
    watch.mark("root mount");
    let mut facts = facts::gather(globals, flags, &config, &record, &root)?;
    if let Some(labels) = &labels {
        labels::give(&labels.files, flags, &facts)?;
    }
    facts.labels = labels;
    let mut spec = spec::generate(flags, &config, &facts)?;
    add_cdi_devices(flags, &mut spec)?;
    if flags.limits.cgroups == Cgroups::Split {
        cgroup::split(record.id(), &mut spec)?;
    }
    let written = serde_json::to_vec(&spec).context("cannot write the configuration as JSON")?;
    record.write_config(&written)?;
    record.write_meta(&meta(flags, image, &spec, stop_signal))?;
    watch.mark("configuration");
    Ok(Assembly {
        record,
        spec,
        written,
        root,
        scaffold,
    })
}

/// What vendors say belongs to their devices. Named by flags alone: no image and no annotation has a say.
fn add_cdi_devices(flags: &Run, spec: &mut Spec) -> Result<()> {
    let names = flags.files.cdi_devices();
    if names.is_empty() {
        return Ok(());
    }
    let usual = cdi::DIRS.map(PathBuf::from);
    let dirs = match flags.files.cdi_spec_dirs.as_slice() {
        [] => usual.as_slice(),
        given => given,
    };
    let devices = cdi::Devices::load(dirs)?;
    for (path, why) in devices.passed_over() {
        report::warn(&format!("CDI: {} is passed over: {why}", path.display()));
    }
    Ok(devices.inject(&names, spec)?)
}

/// What can be refused before anything exists.
fn check(flags: &Run, config: &Config) -> Result<String> {
    spec::check_limits(&flags.limits)?;
    let dev = |flag: &MountFlag| flag.destination.as_str() == "/dev";
    if flags.process.init && spec::mount_flags(flags).any(dev) {
        // The init is mounted below /dev; in somebody else's directory that would leave a file behind.
        return Err(report::usage(
            "--init and a mount over /dev do not go together",
        ));
    }
    spec::command(flags, config)?;
    spec::working_dir(flags, config)?;
    let signal = spec::stop_signal(flags, config);
    Signal::parse(&signal).with_context(|| format!("the stop signal '{signal}' is not one"))?;
    Ok(signal)
}

fn meta(flags: &Run, image: &Image, spec: &Spec, stop_signal: String) -> Meta {
    let command = spec
        .process()
        .as_ref()
        .and_then(|process| process.args().clone())
        .unwrap_or_default();
    let skip = if flags.process.init { 3 } else { 0 };
    let mut labels = std::collections::BTreeMap::new();
    let own = image.config().labels_of_config().into_iter().flatten();
    labels.extend(own.map(|(k, v)| (k.clone(), v.clone())));
    labels.extend(
        flags
            .labels
            .iter()
            .map(|pair| (pair.key.clone(), pair.value.clone())),
    );
    Meta {
        name: flags.name.clone(),
        image: flags.words.first().cloned().unwrap_or_default(),
        image_id: image.id().to_string(),
        command: command.into_iter().skip(skip).collect(),
        created: clock::now().to_rfc3339(),
        labels,
        stop_signal,
        auto_remove: flags.rm,
        detached: flags.detach,
        terminal: flags.tty,
        interactive: flags.interactive,
        health: flags.health.written(),
        mount_label: spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.mount_label().clone()),
    }
}

/// Takes a container's directories away: its layer, its record, its name.
///
/// # Errors
/// When something of it cannot be removed.
pub(crate) fn remove(globals: &Globals, record: &Record) -> Result<()> {
    let meta = record.meta().unwrap_or_default();
    let held = Held {
        name: meta.name,
        label: meta.mount_label,
    };
    remove_held(globals, &Store::open(&globals.store)?, record, &held)
}

/// The same with the store at hand, and known what it holds.
///
/// # Errors
/// As [`remove`].
pub(crate) fn remove_held(
    globals: &Globals,
    store: &Store,
    record: &Record,
    held: &Held,
) -> Result<()> {
    etc::remove(globals, record)?;
    match store.remove_container(record.id()) {
        Err(error) if error.kind() != hostrun_image_store::ErrorKind::NotFound => {
            return Err(error.into());
        }
        _ => {}
    }
    Records::of(&globals.store).remove(record, held.name.as_deref())?;
    if let Some(label) = &held.label {
        labels::give_back(globals, label, record.id());
    }
    Ok(())
}
