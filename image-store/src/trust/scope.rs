//! Where an image comes from, as policies call it: a transport and, within it, scopes from the
//! narrowest to the widest.

use std::path::{Path, PathBuf};

use crate::reference::Reference;
use crate::source::Source;

/// Ways an image can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A registry.
    Docker,
    Oci,
    OciArchive,
    DockerArchive,
    /// A root file system without an image around it.
    Tarball,
}

impl Transport {
    /// As it stands in policies.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
            Self::Tarball => "tarball",
        }
    }

    /// As people call it.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Docker => "a registry",
            Self::Oci => "an OCI layout",
            Self::OciArchive => "an OCI archive",
            Self::DockerArchive => "a docker archive",
            Self::Tarball => "a tar of a root file system",
        }
    }
}

/// The source of an image.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) transport: Transport,
    /// Without symbolic links; none for what came through a pipe.
    pub(crate) path: Option<PathBuf>,
}

impl Origin {
    pub(crate) fn new(transport: Transport, path: Option<&Path>) -> Self {
        let real = path.map(|path| std::fs::canonicalize(path).unwrap_or_else(|_gone| path.into()));
        Self {
            transport,
            path: real,
        }
    }

    pub(crate) fn of(source: &Source) -> Self {
        let transport = match source {
            Source::OciLayout { .. } => Transport::Oci,
            Source::OciArchive { .. } => Transport::OciArchive,
            Source::DockerArchive { .. } => Transport::DockerArchive,
        };
        Self::new(transport, Some(source.path()))
    }

    /// The scopes an image of this origin is in, the narrowest first; the last is all of it.
    pub(super) fn scopes(&self, label: Option<&str>, name: Option<&Reference>) -> Vec<String> {
        let mut scopes = match (self.transport, name, &self.path) {
            (Transport::Docker, Some(name), _) => of_name(name),
            (Transport::Oci | Transport::OciArchive, _, Some(path)) => of_path(path, label),
            _ => Vec::new(),
        };
        scopes.push(String::new());
        scopes
    }
}

/// `host/a/b:tag`, `host/a/b`, `host/a`, `host`, and the domains above the host with a star.
fn of_name(name: &Reference) -> Vec<String> {
    let whole = name.expanded();
    let mut scopes = Vec::new();
    // A digest says more than a tag, and is what is asked of the registry.
    match (name.digest(), name.tag()) {
        (Some(digest), _) => scopes.push(format!("{whole}@{digest}")),
        (None, Some(tag)) => scopes.push(format!("{whole}:{tag}")),
        (None, None) => {}
    }
    let mut rest = whole.as_str();
    loop {
        scopes.push(rest.to_owned());
        match rest.rsplit_once('/') {
            Some((shorter, _)) => rest = shorter,
            None => break,
        }
    }
    while let Some((_, above)) = rest.split_once('.') {
        scopes.push(format!("*.{above}"));
        rest = above;
    }
    scopes
}

/// `/a/b:tag`, `/a/b`, `/a`; never `/`, which is the transport's own scope.
fn of_path(path: &Path, label: Option<&str>) -> Vec<String> {
    let mut scopes = Vec::new();
    if let Some(label) = label {
        scopes.push(format!("{}:{label}", path.display()));
    }
    let parents = path.ancestors().filter(|path| path.parent().is_some());
    scopes.extend(parents.map(|path| path.display().to_string()));
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_a_name_go_from_the_tag_to_the_top_domain() {
        let name = Reference::parse("a.b.example.com:5000/x/y:1").unwrap();
        let expected = [
            "a.b.example.com:5000/x/y:1",
            "a.b.example.com:5000/x/y",
            "a.b.example.com:5000/x",
            "a.b.example.com:5000",
            "*.b.example.com:5000",
            "*.example.com:5000",
            "*.com:5000",
        ];
        assert_eq!(of_name(&name), expected);
        let name = Reference::parse("busybox").unwrap();
        let expected = [
            "docker.io/library/busybox:latest",
            "docker.io/library/busybox",
            "docker.io/library",
            "docker.io",
            "*.io",
        ];
        assert_eq!(of_name(&name), expected);
    }

    #[test]
    fn scopes_of_a_layout_go_from_the_tag_to_the_first_directory() {
        let expected = ["/a/b c:v1", "/a/b c", "/a"];
        assert_eq!(of_path("/a/b c".as_ref(), Some("v1")), expected);
        assert!(of_path("/".as_ref(), None).is_empty());
    }
}
