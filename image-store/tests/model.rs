//! Random lives of a store beside a model of it in memory: after every step the store knows the
//! names, images and generations the model knows, and no others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    clippy::too_many_lines,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "tests panic on purpose and share a fixture"
)]

mod fixture;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fixture::{Host, Layer, Layout, Tar, is_root, tagged};
use hostrun_image_store::{Digest, ErrorKind, LoadOptions, Reference, Source, Store};
use proptest::prelude::*;

const NAMES: [&str; 4] = ["app:1", "app:2", "example.org/team/app:1", "other:latest"];
const IMAGES: usize = 3;
const CONTAINERS: [&str; 2] = ["one", "two"];
/// As many generations as are kept beside the current one.
const KEPT: usize = 10;

/// Something a user does; numbers are places in the lists above.
#[derive(Debug, Clone)]
enum Step {
    Load { image: usize, name: usize },
    Tag { from: usize, to: usize },
    RemoveName(usize),
    RemoveId(usize),
    Collect,
    Prune { all: bool },
    RollBack,
    Switch(usize),
    Create { container: usize, name: usize },
    Delete(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let (name, image, container) = (0..NAMES.len(), 0..IMAGES, 0..CONTAINERS.len());
    prop_oneof![
        4 => (image.clone(), name.clone()).prop_map(|(image, name)| Step::Load { image, name }),
        3 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Tag { from, to }),
        3 => name.clone().prop_map(Step::RemoveName),
        1 => image.prop_map(Step::RemoveId),
        1 => Just(Step::Collect),
        1 => any::<bool>().prop_map(|all| Step::Prune { all }),
        2 => Just(Step::RollBack),
        1 => (0..3usize).prop_map(Step::Switch),
        2 => (container.clone(), name).prop_map(|(container, name)| Step::Create { container, name }),
        1 => container.prop_map(Step::Delete),
        1 => Just(Step::Reopen),
    ]
}

type Names = BTreeMap<String, usize>;

/// What a store should be.
#[derive(Debug, Default)]
struct Model {
    /// By number; the images are places in the list of ids.
    generations: BTreeMap<u64, Names>,
    current: Option<u64>,
    images: BTreeSet<usize>,
    containers: BTreeMap<usize, usize>,
}

impl Model {
    fn names(&self) -> Names {
        let current = self
            .current
            .and_then(|number| self.generations.get(&number));
        current.cloned().unwrap_or_default()
    }

    fn change(&mut self, edit: impl FnOnce(&mut Names)) {
        let mut names = self.names();
        edit(&mut names);
        if names == self.names() {
            return;
        }
        let number = self.generations.keys().last().copied().unwrap_or(0) + 1;
        self.generations.insert(number, names);
        self.current = Some(number);
        while self.generations.len() > KEPT + 1 {
            self.generations.pop_first();
        }
    }

    fn leased(&self, image: usize) -> bool {
        self.containers.values().any(|other| *other == image)
    }

    fn collect(&mut self) {
        let known: BTreeSet<usize> = self
            .generations
            .values()
            .flat_map(|names| names.values())
            .copied()
            .collect();
        let leased: BTreeSet<usize> = self.containers.values().copied().collect();
        self.images
            .retain(|image| known.contains(image) || leased.contains(image));
    }

    /// The image goes, its names, and the generations that knew it; but the current one stays.
    fn remove_image(&mut self, image: usize) {
        self.change(|names| names.retain(|_, other| *other != image));
        let current = self.current;
        self.generations.retain(|number, names| {
            Some(*number) == current || !names.values().any(|other| *other == image)
        });
        self.images.remove(&image);
    }
}

/// A store, its model, and the sources of its images.
struct Pair {
    host: Host,
    store: Store,
    model: Model,
    ids: Vec<Digest>,
}

impl Pair {
    fn new() -> Self {
        let host = Host::new();
        let base = Layer::gzip(&Tar::new().dir("./").file("base", b"shared").end());
        let mut ids = Vec::new();
        for image in 0..IMAGES {
            for (number, name) in NAMES.iter().enumerate() {
                let own = Layer::plain(Tar::new().file("own", image.to_string().as_bytes()).end());
                let layout = Layout::new(&host.path(&format!("{image}-{number}")));
                let manifest = layout.image(&[base.clone(), own]);
                layout.index(&[tagged(manifest, name)]);
            }
            let scrap = Store::open(&host.path("scrap")).unwrap();
            let loaded = scrap.load(&source(&host, image, 0), &LoadOptions::default());
            ids.push(loaded.unwrap()[0].id().clone());
        }
        let store = Store::open(&host.path("lib")).unwrap();
        Self {
            host,
            store,
            model: Model::default(),
            ids,
        }
    }

    fn act(&mut self, step: &Step) {
        let Self { store, model, .. } = self;
        match *step {
            Step::Load { image, name } => {
                let source = source(&self.host, image, name);
                store.load(&source, &LoadOptions::default()).unwrap();
                model.images.insert(image);
                model.change(|names| {
                    names.insert(NAMES[name].to_owned(), image);
                });
            }
            Step::Tag { from, to } => {
                let tagged = store.tag(NAMES[from], &Reference::parse(NAMES[to]).unwrap());
                match model.names().get(NAMES[from]).copied() {
                    Some(image) => {
                        tagged.unwrap();
                        model.change(|names| {
                            names.insert(NAMES[to].to_owned(), image);
                        });
                    }
                    None => assert_eq!(tagged.unwrap_err().kind(), ErrorKind::NotFound),
                }
            }
            Step::RemoveName(name) => self.remove_name(NAMES[name]),
            Step::RemoveId(image) => self.remove_id(image),
            Step::Collect => {
                store.collect().unwrap();
                model.collect();
            }
            Step::Prune { all } => {
                store.prune(all).unwrap();
                if all {
                    let leased: BTreeSet<usize> = model.containers.values().copied().collect();
                    model.change(|names| names.retain(|_, image| leased.contains(image)));
                }
                let current = model.current;
                model
                    .generations
                    .retain(|number, _| Some(*number) == current);
                model.collect();
            }
            Step::RollBack => {
                let back = store.roll_back();
                let current = model.current.unwrap_or(0);
                match model.generations.range(..current).next_back() {
                    Some((number, _)) => {
                        assert_eq!(back.unwrap(), *number);
                        model.current = Some(*number);
                    }
                    None => assert_eq!(back.unwrap_err().kind(), ErrorKind::NotFound),
                }
            }
            Step::Switch(back) => {
                let number = model.generations.keys().rev().nth(back).copied();
                match number {
                    Some(number) => {
                        store.switch(number).unwrap();
                        model.current = Some(number);
                    }
                    None => assert!(store.switch(1_000_000).is_err()),
                }
            }
            Step::Create { container, name } => self.create(container, NAMES[name]),
            Step::Delete(container) => {
                let removed = store.remove_container(CONTAINERS[container]);
                assert_eq!(
                    removed.is_ok(),
                    model.containers.remove(&container).is_some()
                );
            }
            Step::Reopen => *store = Store::open(&self.host.path("lib")).unwrap(),
        }
    }

    fn remove_name(&mut self, name: &str) {
        let removed = self.store.remove(name);
        let names = self.model.names();
        let Some(image) = names.get(name).copied() else {
            assert_eq!(removed.unwrap_err().kind(), ErrorKind::NotFound);
            return;
        };
        if names.values().filter(|other| **other == image).count() > 1 {
            removed.unwrap();
            self.model.change(|names| {
                names.remove(name);
            });
        } else if self.model.leased(image) {
            assert_eq!(removed.unwrap_err().kind(), ErrorKind::InUse);
        } else {
            assert_eq!(removed.unwrap().image.as_ref(), Some(&self.ids[image]));
            self.model.remove_image(image);
        }
    }

    fn remove_id(&mut self, image: usize) {
        let removed = self.store.remove(self.ids[image].hex());
        let names = self
            .model
            .names()
            .into_values()
            .filter(|other| *other == image)
            .count();
        if !self.model.images.contains(&image) {
            assert_eq!(removed.unwrap_err().kind(), ErrorKind::NotFound);
        } else if names > 1 || self.model.leased(image) {
            assert_eq!(removed.unwrap_err().kind(), ErrorKind::InUse);
        } else {
            removed.unwrap();
            self.model.remove_image(image);
        }
    }

    fn create(&mut self, container: usize, name: &str) {
        let Some(image) = self.model.names().get(name).copied() else {
            assert!(self.store.resolve(name).is_err());
            return;
        };
        let found = self.store.resolve(name).unwrap();
        let created = self.store.create_container(CONTAINERS[container], &found);
        match self.model.containers.entry(container) {
            Entry::Occupied(_) => {
                assert_eq!(created.unwrap_err().kind(), ErrorKind::AlreadyExists);
            }
            Entry::Vacant(free) => {
                created.unwrap();
                free.insert(image);
            }
        }
    }

    /// Both know the same.
    fn agree(&self) {
        let Self {
            store, model, ids, ..
        } = self;
        let place = |id: &Digest| ids.iter().position(|other| other == id).unwrap();
        let images = store.images().unwrap();
        let found: BTreeSet<usize> = images.iter().map(|image| place(image.id())).collect();
        assert_eq!(found, model.images);
        let names = images.iter().flat_map(|image| {
            let of = place(image.id());
            image.names().iter().map(move |name| (name.to_string(), of))
        });
        assert_eq!(names.collect::<Names>(), model.names());
        let generations = store.generations().unwrap().into_iter().map(|one| {
            let names = one
                .names
                .iter()
                .map(|(name, id)| (name.to_string(), place(id)));
            (one.number, names.collect::<Names>())
        });
        assert_eq!(generations.collect::<BTreeMap<_, _>>(), model.generations);
        let layers = std::fs::read_dir(self.host.path("lib/store/layers"))
            .unwrap()
            .count();
        let expected = model.images.len() + usize::from(!model.images.is_empty());
        assert_eq!(layers, expected, "a base and one of its own for each image");
    }
}

fn source(host: &Host, image: usize, name: usize) -> Source {
    let dir = host.path(&format!("{image}-{name}"));
    assert!(Path::new(&dir).exists());
    Source::OciLayout { dir, tag: None }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn any_life_of_a_store_is_that_of_its_model(steps in prop::collection::vec(step(), 1..40)) {
        if is_root() {
            let mut pair = Pair::new();
            for step in &steps {
                pair.act(step);
                pair.agree();
            }
            let verified = pair.store.verify(true).unwrap();
            prop_assert!(verified.damages.is_empty());
        }
    }
}
