//! Paths as flags name them: absolute and clean inside a container, made absolute on the host.

use std::path::{Component, Path, PathBuf};

/// An absolute path inside a container: no NUL, `.` and `..` already folded, never above the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ContainerPath(String);

impl ContainerPath {
    /// Takes an absolute path and folds it.
    ///
    /// # Errors
    /// When it is relative or holds a NUL.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!(
                "'{text}' must be an absolute path in the container"
            ));
        }
        if text.contains('\0') {
            return Err("a path cannot hold a NUL".to_owned());
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                other => parts.push(other),
            }
        }
        Ok(Self(format!("/{}", parts.join("/"))))
    }

    /// As [`ContainerPath::new`], but `/` itself is refused: it is where the image is.
    ///
    /// # Errors
    /// When it is relative, holds a NUL or is the root.
    pub(crate) fn below_root(text: &str) -> Result<Self, String> {
        let path = Self::new(text)?;
        if path.0 == "/" {
            return Err("the container's root itself cannot be a mount's target".to_owned());
        }
        Ok(path)
    }

    /// The path as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this path is `other` or lies below it.
    pub(crate) fn is_within(&self, other: &str) -> bool {
        Path::new(&self.0).starts_with(other)
    }

    /// The path without its leading slash, for opening below a root descriptor.
    pub(crate) fn relative(&self) -> &str {
        match self.0.strip_prefix('/') {
            Some("") | None => ".",
            Some(rest) => rest,
        }
    }
}

/// A path on the host, made absolute against `base`; `.` and `..` are left to the kernel, as links may stand before them.
pub(crate) fn on_host(base: &Path, text: &Path) -> PathBuf {
    let mut path = base.to_path_buf();
    for part in text.components() {
        match part {
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}
