//! Real images, made on the spot by other people's tools: umoci writes them, skopeo converts them.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result};

use crate::bundle::fill_root;
use crate::runtime::Call;

/// The tag every image here has.
pub const TAG: &str = "latest";

/// An OCI layout folder with one image.
#[derive(Debug)]
pub struct Image {
    layout: PathBuf,
}

impl Image {
    /// A copy in `dir` of an image of three layers: busybox; a file more; one of them taken away
    /// again. It is built once and kept in the target folder.
    ///
    /// # Errors
    /// When umoci is missing or fails.
    pub fn new(dir: &Path) -> Result<Self> {
        static BUILT: Mutex<()> = Mutex::new(());
        let guard = BUILT.lock();
        let test = std::env::current_exe()?;
        let mut recipe = DefaultHasher::new();
        (include_str!("image.rs"), include_str!("bundle.rs")).hash(&mut recipe);
        let folder = test.ancestors().nth(3).context("no target folder")?;
        let kept = folder.join(format!("hostrun-test-image-{:x}", recipe.finish()));
        if !kept.exists() {
            let work = tempfile::tempdir()?;
            Self::build(work.path())?;
            copy(&work.path().join("layout"), &kept)?;
        }
        drop(guard);
        let image = Self {
            layout: dir.join("layout"),
        };
        copy(&kept, &image.layout)?;
        Ok(image)
    }

    fn build(dir: &Path) -> Result<Self> {
        let image = Self {
            layout: dir.join("layout"),
        };
        let name = image.name();
        let bundle = dir.join("bundle").to_string_lossy().into_owned();
        let root = Path::new(&bundle).join("rootfs");
        // what changed in the unpacked root since the last time becomes a layer
        let layer = || Self::umoci(&["repack", "--refresh-bundle", "--image", &name, &bundle]);
        Self::umoci(&["init", "--layout", &image.layout()])?;
        Self::umoci(&["new", "--image", &name])?;
        Self::umoci(&["unpack", "--image", &name, &bundle])?;
        fill_root(&root)?;
        layer()?;
        fs::create_dir_all(root.join("opt"))?;
        fs::write(root.join("opt/kept"), "from the second layer\n")?;
        fs::write(root.join("opt/removed"), "never seen\n")?;
        layer()?;
        fs::remove_file(root.join("opt/removed"))?;
        layer()?;
        Ok(image)
    }

    /// Adds a layer with a folder or file of the machine at `target`. umoci leaves out the padding
    /// after the last file of such a layer, and the end of the archive.
    ///
    /// # Errors
    /// When umoci fails.
    pub fn insert(&self, source: &Path, target: &str) -> Result<()> {
        Self::umoci(&[
            "insert",
            "--image",
            &self.name(),
            &source.to_string_lossy(),
            target,
        ])
    }

    /// Changes the image's configuration: options of `umoci config`.
    ///
    /// # Errors
    /// When umoci fails.
    pub fn config(&self, options: &[&str]) -> Result<()> {
        let name = self.name();
        let mut words = vec!["config", "--image", &name];
        words.extend(options);
        Self::umoci(&words)
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

    fn umoci(words: &[&str]) -> Result<()> {
        Call::new(Path::new("umoci"), words).run()?.ok().map(drop)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    Call::new(Path::new("cp"), [Path::new("-a"), from, to])
        .run()?
        .ok()
        .map(drop)
}
