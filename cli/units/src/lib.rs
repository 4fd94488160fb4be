//! Quadlet's files as services of systemd.
//!
//! A `.container`, `.pod`, `.volume`, `.network` or `.image` is read as podman's generator reads it, and
//! becomes a service in which hostrun does the work. What hostrun does not do is refused with file and line; a
//! key is never passed over (podman-systemd.unit(5), systemd.generator(7)).

mod container;
pub mod health;
mod install;
mod keys;
mod others;
mod problem;
mod service;
mod source;
mod syntax;
pub mod trial;
mod words;

pub use problem::Problem;
pub use service::Service;
pub use source::{Kind, SYSTEM, Source, find, read};
pub use words::split;

use std::io;
use std::path::{Path, PathBuf};

/// What must be mounted before a container runs.
pub(crate) const STORE: &str = "/var/lib/hostrun";

/// All files that know of each other, and where our programs are.
#[derive(Debug)]
pub struct Neighbours {
    sources: Vec<Source>,
    prefix: PathBuf,
}

impl Neighbours {
    /// These files, and programs below `prefix`, such as `/usr`.
    #[must_use]
    pub fn new(sources: Vec<Source>, prefix: &Path) -> Neighbours {
        Neighbours {
            sources,
            prefix: prefix.to_owned(),
        }
    }

    /// The command that services call.
    pub(crate) fn hostrun(&self) -> String {
        self.prefix.join("bin/hostrun").display().to_string()
    }

    /// Ourselves, where services find us.
    pub(crate) fn units(&self) -> String {
        let place = self.prefix.join("libexec/hostrun/hostrun-units");
        place.display().to_string()
    }

    pub(crate) fn find(&self, name: &str, kind: Kind) -> Option<&Source> {
        let of_kind = self.sources.iter().filter(|source| source.kind == kind);
        let mut named = of_kind.filter(|source| {
            name.strip_suffix(kind.extension())
                .and_then(|stem| stem.strip_suffix('.'))
                == Some(&source.stem)
        });
        named.next()
    }
}

/// Makes the service of one file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn convert(source: &Source, neighbours: &Neighbours) -> Result<Service, Vec<Problem>> {
    let (service, mut problems) = match source.kind {
        Kind::Container => container::convert(source, neighbours),
        Kind::Pod => others::pod(source, neighbours),
        Kind::Volume => others::volume(source, neighbours),
        Kind::Network => others::network(source, neighbours),
        Kind::Image => others::image(source, neighbours),
    };
    problems.extend(unknown(source));
    problems.extend(source.problems.iter().cloned());
    problems.sort_by_key(|problem| (problem.file.clone(), problem.line));
    if problems.is_empty() {
        Ok(service)
    } else {
        Err(problems)
    }
}

/// Makes services of all files below some directories, in another directory: what a generator does. What is wrong
/// with the others is returned; those that are right are there all the same.
///
/// # Errors
/// When the directory cannot be written.
pub fn generate(from: &[PathBuf], to: &Path, prefix: &Path) -> io::Result<Vec<Problem>> {
    let (sources, mut problems) = find(from);
    let neighbours = Neighbours::new(sources, prefix);
    for source in &neighbours.sources {
        match convert(source, &neighbours) {
            Ok(service) => install::write(&service, to)?,
            Err(wrong) => problems.extend(wrong),
        }
    }
    Ok(problems)
}

/// What is wrong with all files below some directories: what [`generate`] would tell.
#[must_use]
pub fn problems(from: &[PathBuf], prefix: &Path) -> Vec<Problem> {
    let (sources, mut problems) = find(from);
    let neighbours = Neighbours::new(sources, prefix);
    let wrong = neighbours.sources.iter();
    problems.extend(
        wrong
            .filter_map(|source| convert(source, &neighbours).err())
            .flatten(),
    );
    problems
}

/// Keys of the sections that are the generator's own business, whatever the file is about.
fn unknown(source: &Source) -> Vec<Problem> {
    let known = |entry: &syntax::Entry| match entry.section.as_str() {
        "Quadlet" => entry.key == "DefaultDependencies",
        "Install" => install::KEYS.contains(&entry.key.as_str()),
        _ => true,
    };
    let entries = source.document.entries.iter();
    let unknown = entries.filter(|entry| !known(entry) && !entry.key.starts_with("X-"));
    unknown
        .map(|entry| entry.problem("means nothing to a generator", None))
        .collect()
}

/// `[Quadlet] DefaultDependencies=`.
pub(crate) fn has_default_dependencies(source: &Source, problems: &mut Vec<Problem>) -> bool {
    let entry = source.document.last("Quadlet", "DefaultDependencies");
    entry.is_none_or(|entry| keys::truth(entry, problems))
}
