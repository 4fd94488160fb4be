//! Where images come from: the words of a command line, parsed.
//!
//! Registries will be one more variant; they hand over verified bytes and nothing else.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result, quoted};

/// A place images are loaded from.
///
/// As text: `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:REFERENCE]`. The
/// first colon after the path ends it; a path with a colon in it needs the enum itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// A directory in OCI image layout.
    OciLayout {
        /// The directory with `oci-layout` and `index.json`.
        dir: PathBuf,
        /// Only the manifests with this `org.opencontainers.image.ref.name`.
        tag: Option<String>,
    },
    /// An uncompressed tar file of an OCI image layout.
    OciArchive {
        /// The tar file.
        file: PathBuf,
        /// Only the manifests with this `org.opencontainers.image.ref.name`.
        tag: Option<String>,
    },
    /// An uncompressed tar file as `docker save` writes it.
    DockerArchive {
        /// The tar file.
        file: PathBuf,
        /// Only the image with this name.
        reference: Option<String>,
    },
}

impl Source {
    /// The file or directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::OciLayout { dir, .. } => dir,
            Self::OciArchive { file, .. } | Self::DockerArchive { file, .. } => file,
        }
    }

    /// Whether a text is meant as a source rather than an image name.
    pub fn is_source(text: &str) -> bool {
        ["oci:", "oci-archive:", "docker-archive:"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
    }

    /// The source's own name for images that carry none: the last part of its path without
    /// `.tar`.
    pub(crate) fn base_name(&self) -> String {
        let real = std::fs::canonicalize(self.path()).unwrap_or_else(|_gone| self.path().into());
        let base = real
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let base = base.unwrap_or_default();
        base.strip_suffix(".tar").unwrap_or(&base).to_owned()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quoted(self.path()))
    }
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |cause| {
            Error::invalid("read image source", text, cause)
                .with_hint("oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME]")
        };
        let (transport, rest) = text.split_once(':').ok_or_else(|| bad("no transport"))?;
        let (path, choice) = match rest.split_once(':') {
            Some((path, choice)) => (path, Some(choice)),
            None => (rest, None),
        };
        if path.is_empty() || path.contains('\0') {
            return Err(bad("no path"));
        }
        if choice.is_some_and(|choice| choice.is_empty() || choice.len() > 4096) {
            return Err(bad("empty or overlong tag"));
        }
        let (path, choice) = (PathBuf::from(path), choice.map(str::to_owned));
        match transport {
            "oci" => Ok(Self::OciLayout {
                dir: path,
                tag: choice,
            }),
            "oci-archive" => Ok(Self::OciArchive {
                file: path,
                tag: choice,
            }),
            "docker-archive" => Ok(Self::DockerArchive {
                file: path,
                reference: choice,
            }),
            _ => Err(bad("unknown transport")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_parse() {
        assert_eq!(
            "oci:/a/b:v1".parse::<Source>().unwrap(),
            Source::OciLayout {
                dir: "/a/b".into(),
                tag: Some("v1".into())
            }
        );
        assert_eq!(
            "docker-archive:x.tar:quay.io/a/b:1"
                .parse::<Source>()
                .unwrap(),
            Source::DockerArchive {
                file: "x.tar".into(),
                reference: Some("quay.io/a/b:1".into())
            }
        );
        assert_eq!(
            "oci-archive:x.tar".parse::<Source>().unwrap(),
            Source::OciArchive {
                file: "x.tar".into(),
                tag: None
            }
        );
        for text in [
            "",
            "oci",
            "oci:",
            "oci::x",
            "oci:a:",
            "docker:alpine",
            "/a/b",
        ] {
            assert_eq!(
                text.parse::<Source>().unwrap_err().kind(),
                crate::ErrorKind::Invalid
            );
        }
    }
}
