//! The files that are read, and what their names say.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::problem::Problem;
use crate::syntax::{self, Document};

/// Where Quadlet's files are, the first of them going before the others.
pub const SYSTEM: [&str; 3] = [
    "/run/containers/systemd",
    "/etc/containers/systemd",
    "/usr/share/containers/systemd",
];

/// What a file is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A container as a service.
    Container,
    /// A network that several containers share.
    Pod,
    /// A directory that outlives its containers.
    Volume,
    /// A network namespace.
    Network,
    /// An image that is fetched before it is used.
    Image,
}

impl Kind {
    const ALL: [Kind; 5] = [
        Kind::Container,
        Kind::Pod,
        Kind::Volume,
        Kind::Network,
        Kind::Image,
    ];

    /// By a file's extension.
    pub(crate) fn of(path: &Path) -> Option<Kind> {
        let extension = path.extension()?.to_str()?;
        Kind::ALL
            .into_iter()
            .find(|kind| kind.extension() == extension)
    }

    pub(crate) fn extension(self) -> &'static str {
        match self {
            Kind::Container => "container",
            Kind::Pod => "pod",
            Kind::Volume => "volume",
            Kind::Network => "network",
            Kind::Image => "image",
        }
    }

    /// The section that is about it.
    pub(crate) fn section(self) -> &'static str {
        match self {
            Kind::Container => "Container",
            Kind::Pod => "Pod",
            Kind::Volume => "Volume",
            Kind::Network => "Network",
            Kind::Image => "Image",
        }
    }
}

/// A file with its drop-ins, read.
#[derive(Clone, Debug)]
pub struct Source {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    /// The name without its extension.
    pub(crate) stem: String,
    pub(crate) document: Document,
    /// What of it is no unit file's.
    pub(crate) problems: Vec<Problem>,
}

impl Source {
    /// The name of the service that is made of it, without `.service`.
    pub(crate) fn service(&self) -> String {
        let named = self.document.last(self.kind.section(), "ServiceName");
        let usual = || match self.kind {
            Kind::Container => self.stem.clone(),
            kind => match self.stem.split_once('@') {
                Some((base, instance)) => format!("{base}-{}@{instance}", kind.extension()),
                None => format!("{}-{}", self.stem, kind.extension()),
            },
        };
        named.map_or_else(usual, |entry| entry.value.clone())
    }

    /// What systemd calls the container, the volume or the network when nobody gives it a name.
    pub(crate) fn usual_name(&self) -> String {
        if self.stem.contains('@') {
            "systemd-%p_%i".to_owned()
        } else {
            format!("systemd-{}", self.stem)
        }
    }

    /// Something is missing.
    pub(crate) fn problem(&self, message: &str, hint: Option<&'static str>) -> Problem {
        Problem {
            file: self.path.clone(),
            line: 0,
            message: message.to_owned(),
            hint,
        }
    }
}

/// Reads one file with the drop-ins that lie in `dirs` for it.
///
/// # Errors
/// Why it cannot be read at all, or is none of Quadlet's.
pub fn read(path: &Path, dirs: &[PathBuf]) -> Result<Source, Vec<Problem>> {
    let whole = |message: &str, hint| {
        vec![Problem {
            file: path.to_owned(),
            line: 0,
            message: message.to_owned(),
            hint,
        }]
    };
    let Some(kind) = Kind::of(path) else {
        return Err(whole(
            "not a .container, .pod, .volume, .network or .image",
            kinds_hint(path),
        ));
    };
    let Some(stem) = path
        .file_stem()
        .and_then(OsStr::to_str)
        .filter(|stem| is_unit_name(stem))
    else {
        let hint = "letters, digits and any of : - _ . \\ and one @";
        return Err(whole("a name that no unit can have", Some(hint)));
    };
    let (mut document, mut problems) = read_one(path)?;
    for dropin in dropins(stem, kind, dirs) {
        let (more, wrong) = read_one(&dropin)?;
        document.add(more);
        problems.extend(wrong);
    }
    Ok(Source {
        problems,
        path: path.to_owned(),
        kind,
        stem: stem.to_owned(),
        document,
    })
}

fn kinds_hint(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "kube" => Some("a pod of Kubernetes is a .pod and a .container for each of its containers"),
        "build" => Some("images are not built here: pull it, or load it with 'hostrun load'"),
        _ => None,
    }
}

fn read_one(path: &Path) -> Result<(Document, Vec<Problem>), Vec<Problem>> {
    match fs::read(path) {
        Ok(bytes) => Ok(syntax::parse(path, &bytes)),
        Err(error) => Err(vec![Problem {
            file: path.to_owned(),
            line: 0,
            message: format!("cannot be read: {error}"),
            hint: None,
        }]),
    }
}

fn is_unit_name(stem: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    !stem.is_empty() && stem.len() < 200 && stem.chars().all(good) && stem.matches('@').count() < 2
}

/// Drop-ins of a file and of its kind, by their names, one of a name: that of the first directory.
fn dropins(stem: &str, kind: Kind, dirs: &[PathBuf]) -> Vec<PathBuf> {
    let extension = kind.extension();
    let mut folders = vec![format!("{extension}.d"), format!("{stem}.{extension}.d")];
    // Those of a template are its instances' as well.
    if let Some((base, instance)) = stem.split_once('@')
        && !instance.is_empty()
    {
        folders.insert(1, format!("{base}@.{extension}.d"));
    }
    let mut found = BTreeMap::new();
    for folder in folders {
        let mut here = BTreeMap::new();
        for path in dirs.iter().flat_map(|dir| files(&dir.join(&folder))) {
            let Some(name) = path.file_name().map(OsStr::to_owned) else {
                continue;
            };
            if path.extension() == Some(OsStr::new("conf")) {
                here.entry(name).or_insert(path);
            }
        }
        // What is closer to the file goes before what is for all of its kind.
        found.extend(here);
    }
    found.into_values().collect()
}

/// All sources below some directories, and what cannot be read. Of files of one name the first is
/// taken; an empty one, as a link to the null device, hides those behind it.
pub fn find(dirs: &[PathBuf]) -> (Vec<Source>, Vec<Problem>) {
    let mut paths = BTreeMap::new();
    for path in dirs.iter().flat_map(|dir| files(dir)) {
        let name = path.file_name().map(OsStr::to_owned).unwrap_or_default();
        if Kind::of(&path).is_some() || kinds_hint(&path).is_some() {
            paths.entry(name).or_insert(path);
        }
    }
    let (mut sources, mut problems) = (Vec::new(), Vec::new());
    for path in paths.into_values() {
        if fs::metadata(&path).is_ok_and(|meta| !meta.is_file() || meta.len() == 0) {
            continue;
        }
        match read(&path, dirs) {
            Ok(source) => sources.push(source),
            Err(wrong) => problems.extend(wrong),
        }
    }
    (sources, problems)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
