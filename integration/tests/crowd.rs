//! Eight users load, run, tag, remove, collect, prune, save and verify on one store at the same time.
//! Nobody loses anything, nobody sees another's work half done, and nothing is left in the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::runtime::Call;
use hostrun_integration::{Stage, on_stage_of_hostrun};
use serde_json::Value;

const USERS: usize = 8;
/// Names each user has, and images there are: each image is known under names of several users.
const NAMES: usize = 3;
const IMAGES: usize = 5;

/// Seconds by `make test`, minutes by `make test-long`.
fn duration() -> Duration {
    match std::env::var("HOSTRUN_TEST_CHURN") {
        Ok(_) => Duration::from_mins(4),
        Err(_) => Duration::from_secs(8),
    }
}

/// What threads share of a stage.
struct Place {
    program: PathBuf,
    root: PathBuf,
    store: PathBuf,
    dir: PathBuf,
}

impl Place {
    fn of(stage: &Stage) -> Self {
        Self {
            program: stage.runtime().program().to_owned(),
            root: stage.root(),
            store: stage.store(),
            dir: stage.dir().to_owned(),
        }
    }

    fn call(&self, words: &[&str]) -> Call {
        let (root, store) = (self.root.to_string_lossy(), self.store.to_string_lossy());
        let before = ["--root", &root, "--store", &store];
        Call::new(&self.program, [&before, words].concat())
    }
}

fn ok(place: &Place, words: &[&str]) -> Result<String> {
    place
        .call(words)
        .run()?
        .ok()
        .with_context(|| format!("{words:?}"))
}

fn name(user: usize, number: usize) -> String {
    format!("user{user}/app:{number}")
}

fn image_of(user: usize, number: usize) -> usize {
    (user * 2 + number) % IMAGES
}

/// An archive for each name: images with three layers in common and one of their own.
fn archives(stage: &Stage, place: &Place) -> Result<Vec<Vec<PathBuf>>> {
    let mut archives = vec![Vec::new(); USERS];
    for image in 0..IMAGES {
        let dir = stage.folder(&format!("image{image}"))?;
        let content = dir.join("content");
        fs::write(&content, format!("image {image}\n"))?;
        let made = Image::new(&dir)?;
        made.insert(&content, "/content")?;
        let loaded = ok(place, &["load", "-q", &made.source()])?;
        let loaded = loaded.trim();
        for (user, archives) in archives.iter_mut().enumerate() {
            for number in (0..NAMES).filter(|number| image_of(user, *number) == image) {
                let to = dir.join(format!("{user}-{number}.tar"));
                let (name, shown) = (name(user, number), to.to_string_lossy());
                ok(place, &["tag", loaded, &name])?;
                ok(place, &["save", "-o", &shown, &name])?;
                archives.push(to.clone());
            }
        }
    }
    fs::remove_dir_all(stage.store())?;
    Ok(archives)
}

/// A user, with what each of its names must mean.
struct User<'a> {
    place: &'a Place,
    number: usize,
    archives: &'a [PathBuf],
    state: u64,
    means: BTreeMap<String, usize>,
    calls: usize,
}

impl User<'_> {
    fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 33).unwrap_or(0) % end
    }

    fn any(&mut self) -> Option<(String, usize)> {
        let count = self.means.len();
        let index = self.below(count.max(1));
        let found = self.means.iter().nth(index)?;
        Some((found.0.clone(), *found.1))
    }

    fn act(&mut self) -> Result<()> {
        self.calls += 1;
        match (self.below(16), self.any()) {
            (0..5, _) | (_, None) => self.load(),
            (5..8, Some((name, image))) => self.run(&name, image),
            (8 | 9, Some((name, image))) => {
                let number = self.below(NAMES);
                let other = self::name(self.number, number);
                ok(self.place, &["tag", &name, &other])?;
                self.means.insert(other, image);
                Ok(())
            }
            (10 | 11, Some((name, _))) => {
                ok(self.place, &["rmi", &name])?;
                self.means.remove(&name);
                Ok(())
            }
            (12, Some((name, _))) => {
                let to = self.place.dir.join(format!("saved-{}.tar", self.number));
                ok(self.place, &["save", "-o", &to.to_string_lossy(), &name])?;
                ensure!(fs::metadata(&to)?.len() > 1_000_000, "a short archive");
                Ok(fs::remove_file(to)?)
            }
            (13, _) => ok(self.place, &["gc"]).map(drop),
            (14, _) => ok(self.place, &["prune"]).map(drop),
            _ => match self.below(2) {
                0 => ok(self.place, &["verify", "--deep"]).map(drop),
                _ => self.look(),
            },
        }
    }

    fn load(&mut self) -> Result<()> {
        let index = self.below(self.archives.len());
        let archive = self.archives.get(index).context("no archive")?;
        let loaded = ok(
            self.place,
            &["load", "-q", "-i", &archive.to_string_lossy()],
        )?;
        let stem = archive.file_stem().unwrap_or_default().to_string_lossy();
        let number = stem.rsplit('-').next().context("no number")?.parse()?;
        // The image may have names of others, too.
        let own = name(self.number, number);
        ensure!(loaded.lines().any(|line| line == own), "{loaded}");
        self.means
            .insert(name(self.number, number), image_of(self.number, number));
        Ok(())
    }

    fn run(&self, name: &str, image: usize) -> Result<()> {
        let words = ["run", "--rm", name, "cat", "/content", "/opt/kept"];
        let said = self.place.call(&words).run()?.ok()?;
        ensure!(
            said == format!("image {image}\nfrom the second layer\n"),
            "{name} is {said:?}"
        );
        Ok(())
    }

    /// The store knows of this user exactly what the user knows.
    fn look(&self) -> Result<()> {
        let listed = ok(self.place, &["images", "--format", "json"])?;
        let listed: Vec<Value> = serde_json::from_str(&listed)?;
        let names = listed
            .iter()
            .filter_map(|image| image.get("names")?.as_array())
            .flatten();
        let own = format!("user{}/", self.number);
        let mut names: Vec<&str> = names.filter_map(Value::as_str).collect();
        names.retain(|name| name.starts_with(&own));
        names.sort_unstable();
        let known: Vec<&String> = self.means.keys().collect();
        ensure!(names == known, "{names:?} instead of {known:?}");
        Ok(())
    }
}

fn left(place: &Place, folder: &str) -> Result<usize> {
    Ok(fs::read_dir(place.store.join("store").join(folder))?.count())
}

#[test]
fn eight_users_of_one_store_lose_nothing_and_leave_nothing() -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let place = &Place::of(stage);
        let archives = archives(stage, place)?;
        let until = Instant::now() + duration();
        let use_it = |number: usize, archives: &[PathBuf]| {
            let mut user = User {
                place,
                number,
                archives,
                state: 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1),
                means: BTreeMap::new(),
                calls: 0,
            };
            while Instant::now() < until {
                let calls = user.calls;
                user.act()
                    .with_context(|| format!("user {number}, call {calls}"))?;
            }
            Ok((user.means, user.calls))
        };
        let ends: Vec<Result<_>> = thread::scope(|scope| {
            let use_it = &use_it;
            let users = archives.iter().enumerate();
            let users = users.map(|(number, own)| scope.spawn(move || use_it(number, own)));
            let users: Vec<_> = users.collect();
            let join = |user: thread::ScopedJoinHandle<'_, _>| user.join();
            let ends = users.into_iter().map(join);
            ends.map(|end| end.unwrap_or_else(|_| Err(anyhow!("a user panicked"))))
                .collect()
        });
        let ends: Vec<(BTreeMap<String, usize>, usize)> =
            ends.into_iter().collect::<Result<_>>()?;
        let calls: usize = ends.iter().map(|(_, calls)| calls).sum();
        println!("{calls} calls of {USERS} users");
        ensure!(calls > 2 * USERS, "only {calls} calls");
        ok(place, &["verify", "--deep"])?;
        for (name, image) in ends.iter().flat_map(|(means, _)| means) {
            let words = ["run", "--rm", name.as_str(), "cat", "/content"];
            let said = place.call(&words).run()?.ok()?;
            ensure!(said == format!("image {image}\n"), "{name} is {said:?}");
            ok(place, &["rmi", name])?;
        }
        is_empty(place)
    })
}

fn is_empty(place: &Place) -> Result<()> {
    ok(place, &["gc"])?;
    ok(place, &["prune"])?;
    for folder in [
        "images",
        "layers",
        "blobs/sha256",
        "containers",
        "tmp",
        "trash",
    ] {
        let count = left(place, folder)?;
        ensure!(count == 0, "{count} left in {folder}");
    }
    ensure!(place.store.exists(), "the store is gone");
    Ok(())
}
