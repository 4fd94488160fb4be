//! The store: plain directories and small files, no daemon, no database.
//!
//! `docs/store.md` describes what is on disk.

mod attributes;
mod bench;
mod collection;
mod content;
mod disk;
mod export;
mod heritage;
mod import;
mod ingest;
mod lines;
mod load;
mod lookup;
mod marks;
mod names;
mod pull;
mod push;
pub(crate) mod record;
mod removal;
mod shelf;
mod side;
mod spare;
mod sums;
mod systems;
mod tasks;
mod tree;
mod turns;
mod verification;
mod workspace;

pub(crate) use attributes::Attributes;
pub use collection::{Collected, Usage};
pub(crate) use disk::Folder;
#[cfg(feature = "fuzzing")]
pub(crate) use lines::fuzz as fuzz_told;
pub use names::GenerationInfo;
pub(crate) use pull::Arrivals;
pub use record::Change;
pub(crate) use record::{Heir, ImageRecord};
pub(crate) use side::Seat;
pub use systems::Followed;
pub(crate) use tree::fingerprint;
pub use verification::{Damage, Part, Repaired, Verified};
pub(crate) use workspace::{Workspace, empty};

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::container::{Container, ContainerId};
use crate::digest::Digest;
use crate::driver::DriverName;
use crate::error::{At, Error, ErrorKind, Result, quoted};
use crate::image::{Image, Removed};
use crate::trust::Trust;
use disk::Lock;
use record::Format;
use shelf::{Shelf, is_no_directory, read_format};

/// Largest record or configuration of ours, in bytes: with room over what a load lets in.
const RECORD_MAX: u64 = 128 << 20;

/// An image store. Several processes and threads may use one at a time.
#[derive(Debug)]
pub struct Store {
    top: Folder,
    own: Shelf,
    containers: Folder,
    tmp: Folder,
    trash: Folder,
    /// Those of the overlays of containers, as its layers have them.
    attributes: Attributes,
    /// Where a second store may be that came with the system.
    shipped_at: Option<PathBuf>,
    shipped: OnceLock<Option<Shelf>>,
    trust: Trust,
    is_new: bool,
}

impl Store {
    /// Opens the store in `<root>/store`, made when missing, and closed to other users.
    ///
    /// # Errors
    /// `Denied` without the right to write there, `Unsupported` for a store of another version,
    /// `Corrupt`, `NoSpace`, `Io`.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_at(root).map_err(|error| match error.kind() {
            ErrorKind::Denied => error.with_hint("run as root, or name another store"),
            _ => error,
        })
    }

    /// Looks for images also in `<root>/store`, which comes with the system and is only read: the
    /// host's own names go before its. It may be missing. A load never counts on a layer of it,
    /// because an update of the system may take that away.
    #[must_use]
    pub fn with_shipped(mut self, root: &Path) -> Self {
        self.shipped_at = Some(root.to_owned());
        self
    }

    /// Lets in only what this allows. Images that are in are not asked about again.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Whether there was none before it was opened.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    fn open_at(root: &Path) -> Result<Self> {
        if is_no_directory(root) {
            let cause = "not a directory";
            return Err(Error::new(
                ErrorKind::Invalid,
                "open store",
                quoted(root),
                cause,
            ));
        }
        make_ancestors(root)?;
        let root = std::fs::canonicalize(root).at("open", root)?;
        let top = Folder::open_or_make(root.join("store"))?;
        top.make_private()?;
        let is_new = !top.contains("format")?;
        let attributes = if is_new {
            Attributes::possible_in(top.fd())
        } else {
            read_format(&top)?.1
        };
        let folder = |name: &str| Folder::open_or_make(top.path().join(name));
        let store = Self {
            own: Shelf::open_or_make(top.path())?,
            containers: folder("containers")?,
            tmp: folder("tmp")?,
            trash: folder("trash")?,
            top,
            attributes,
            shipped_at: None,
            shipped: OnceLock::new(),
            trust: Trust::none(),
            is_new,
        };
        if is_new {
            store.fill_spare()?;
            let work = Workspace::new(&store.tmp)?;
            let format = record::encode(&Format::with(DriverName::Dirs, attributes))?;
            store.top.stage("format", &format, &work)?.commit(&work)?;
        }
        Ok(store)
    }

    /// What layers become that are loaded from now on.
    ///
    /// # Errors
    /// `Io`, `Corrupt`, `Unsupported`.
    pub fn driver(&self) -> Result<DriverName> {
        read_format(&self.top).map(|(driver, _attributes)| driver)
    }

    /// Says what layers become that are loaded from now on. Those the store has stay as they are,
    /// and images may have layers of both kinds.
    ///
    /// # Errors
    /// `Denied`, `NoSpace`, `Io`.
    pub fn set_driver(&self, driver: DriverName) -> Result<()> {
        let _lock = Lock::exclusive(&self.top)?;
        if self.driver()? == driver {
            return Ok(());
        }
        let work = Workspace::new(&self.tmp)?;
        let format = record::encode(&Format::with(driver, self.attributes))?;
        self.top.stage("format", &format, &work)?.commit(&work)
    }

    /// The store that came with the system, opened when it is first asked for.
    fn shipped(&self) -> Result<Option<&Shelf>> {
        let Some(root) = &self.shipped_at else {
            return Ok(None);
        };
        if self.shipped.get().is_none() {
            let shelf = Shelf::shipped(root)?;
            self.shipped.get_or_init(|| shelf);
        }
        Ok(self.shipped.get().and_then(Option::as_ref))
    }

    /// The host's own, then the system's.
    fn shelves(&self) -> Result<impl Iterator<Item = &Shelf>> {
        Ok(std::iter::once(&self.own).chain(self.shipped()?))
    }

    fn lock_shared(&self) -> Result<Lock> {
        Lock::shared(&self.top)
    }

    /// Finds an image by name, by id, or by a beginning of its id that no other image shares.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`, or `Invalid` when it can be neither name nor id.
    pub fn resolve(&self, name_or_id: &str) -> Result<Image> {
        let _lock = self.lock_shared()?;
        self.image(&self.find(name_or_id)?.id)
    }

    /// An image's configuration as it came, its bytes checked against its digest.
    ///
    /// # Errors
    /// `NotFound` when it was removed meanwhile, `Corrupt`, `Io`.
    pub fn configuration(&self, image: &Image) -> Result<Vec<u8>> {
        let _lock = self.lock_shared()?;
        let (shelf, record) = self.shelf_of(image.id())?;
        Ok(shelf.blob(&record.config)?.bytes)
    }

    /// All images, newest build first.
    ///
    /// # Errors
    /// `Corrupt` or `Io`.
    pub fn images(&self) -> Result<Vec<Image>> {
        let _lock = self.lock_shared()?;
        let mut images = self.all_images()?;
        images.sort_unstable_by(|a, b| {
            b.created()
                .cmp(&a.created())
                .then_with(|| a.id().cmp(b.id()))
        });
        Ok(images)
    }

    /// Takes a name away; with its last name the image goes, and the layers no other image uses,
    /// and the generations that knew it. Given an id, the image goes if it has one name or none.
    ///
    /// This returns as soon as all is out of sight; [`Store::empty_trash`] gives the room back.
    ///
    /// # Errors
    /// `InUse` while a container was made from the image or, for an id, when it has several names;
    /// `NotFound`, `Ambiguous`, `Invalid`, `Io`.
    pub fn remove(&self, name_or_id: &str) -> Result<Removed> {
        let _lock = Lock::exclusive(&self.top)?;
        self.remove_locked(name_or_id)
    }

    /// Makes the files of a container: its writable layer, and a lease that keeps the image.
    ///
    /// # Errors
    /// `Invalid` for a bad id, `AlreadyExists`, `NotFound` when the image was removed meanwhile.
    pub fn create_container(&self, id: &str, image: &Image) -> Result<Container> {
        let id = ContainerId::parse(id)?;
        let _lock = self.lock_shared()?;
        let (shelf, record) = self.shelf_of(image.id())?;
        let lower = shelf.lower(&record);
        Container::create(&self.containers, id, &record, lower, self.attributes)
    }

    /// A container made before.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Corrupt`.
    pub fn container(&self, id: &str) -> Result<Container> {
        let id = ContainerId::parse(id)?;
        let _lock = self.lock_shared()?;
        let image = self.lease(id.as_str())?.ok_or_else(|| {
            let cause = "no such container in the store";
            Error::new(ErrorKind::NotFound, "find", quoted(id.as_str()), cause)
        })?;
        let (shelf, record) = self.shelf_of(&image)?;
        Ok(Container::existing(
            &self.containers,
            &id,
            &record,
            shelf.lower(&record),
            self.attributes,
        ))
    }

    /// The ids of all containers.
    ///
    /// # Errors
    /// `Io`.
    pub fn containers(&self) -> Result<Vec<String>> {
        let mut names = self.containers.names()?;
        names.retain(|name| ContainerId::parse(name).is_ok());
        names.sort_unstable();
        Ok(names)
    }

    /// Removes a container's files, its writable layer included. Its root must not be mounted.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`, `Io`.
    pub fn remove_container(&self, id: &str) -> Result<()> {
        let id = ContainerId::parse(id)?;
        let _lock = self.lock_shared()?;
        let discarded = Workspace::of_discarded(&self.containers, id.as_str(), &self.trash)?;
        if discarded.is_none() {
            let cause = "no such container in the store";
            let subject = quoted(id.as_str());
            return Err(Error::new(ErrorKind::NotFound, "remove", subject, cause));
        }
        // Emptied when it is dropped.
        Ok(())
    }

    /// Gives back the room of what was removed, and of what a crash left in `tmp`: whatever nobody
    /// holds a lock on. It may take as long as the images were large; loads, starts and removals
    /// do not wait for it.
    ///
    /// # Errors
    /// `Io`, `Denied`.
    pub fn empty_trash(&self) -> Result<()> {
        self.tmp.sweep()?;
        self.trash.sweep()
    }

    /// The image a container keeps; none when there is no such container.
    fn lease(&self, container: &str) -> Result<Option<Digest>> {
        if !self.containers.contains(container)? {
            return Ok(None);
        }
        let folder = Folder::open(self.containers.path().join(container))?;
        let link = folder.read_link("lease")?.ok_or_else(|| {
            let cause = "it has no lease; its creation was cut off";
            Error::corrupt("find container", quoted(container), cause)
                .with_hint("remove the container")
        })?;
        image_of_link(&link).map(Some)
    }
}

/// `../images/sha256-…` and `../../images/sha256-…` are what our links look like.
fn image_of_link(target: &str) -> Result<Digest> {
    let name = target
        .rsplit_once("images/")
        .map(|(_, name)| name)
        .unwrap_or_default();
    Digest::from_file_name(name)
        .ok_or_else(|| Error::corrupt("read", quoted(target), "not a link to an image"))
}

fn make_ancestors(root: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(root)
        .at("make directory", root)
}
