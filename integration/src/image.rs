//! Real images, made on the spot by other people's tools: umoci writes them, skopeo converts them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::bundle::fill_root;
use crate::runtime::Call;

/// The tag every image here has.
pub const TAG: &str = "latest";

/// An OCI layout folder with one image.
#[derive(Debug)]
pub struct Image {
    layout: PathBuf,
    scratch: PathBuf,
}

impl Image {
    /// An image of three layers: busybox; a file more; a file of the second layer taken away again.
    ///
    /// # Errors
    /// When umoci is missing or fails.
    pub fn build(dir: &Path) -> Result<Self> {
        let image = Self {
            layout: dir.join("layout"),
            scratch: dir.join("layers"),
        };
        image.tool(&["init", "--layout", &image.layout()])?;
        image.tool(&["new", "--image", &image.name()])?;
        let root = image.scratch.join("root");
        fs::create_dir_all(&root)?;
        fill_root(&root)?;
        image.insert(&root, "/")?;
        let more = image.scratch.join("more");
        fs::create_dir_all(&more)?;
        fs::write(more.join("kept"), "from the second layer\n")?;
        fs::write(more.join("removed"), "never seen\n")?;
        image.insert(&more, "/opt")?;
        image.tool(&[
            "insert",
            "--image",
            &image.name(),
            "--whiteout",
            "/opt/removed",
        ])?;
        Ok(image)
    }

    /// Changes the image's configuration: options of `umoci config`.
    ///
    /// # Errors
    /// When umoci fails.
    pub fn config(&self, options: &[&str]) -> Result<()> {
        let name = self.name();
        let mut words = vec!["config", "--image", &name];
        words.extend(options);
        self.tool(&words)
    }

    /// Adds a layer with a folder or file of the machine at `target`.
    ///
    /// # Errors
    /// When umoci fails.
    pub fn insert(&self, source: &Path, target: &str) -> Result<()> {
        self.tool(&[
            "insert",
            "--image",
            &self.name(),
            &source.to_string_lossy(),
            target,
        ])
    }

    /// The layout folder.
    pub fn layout(&self) -> String {
        self.layout.to_string_lossy().into_owned()
    }

    /// What `hostrun load` takes for the folder itself.
    pub fn source(&self) -> String {
        format!("oci:{}", self.name())
    }

    /// Converts it with skopeo; `to` is a transport of skopeo, such as `oci-archive:FILE`.
    ///
    /// # Errors
    /// When skopeo is missing or fails.
    pub fn convert(&self, to: &str) -> Result<()> {
        let from = self.source();
        let words = ["--insecure-policy", "copy", "--quiet", &from, to];
        Call::new(Path::new("skopeo"), words).run()?.ok().map(drop)
    }

    fn name(&self) -> String {
        format!("{}:{TAG}", self.layout())
    }

    fn tool(&self, words: &[&str]) -> Result<()> {
        Call::new(Path::new("umoci"), words).run()?.ok().map(drop)
    }
}
