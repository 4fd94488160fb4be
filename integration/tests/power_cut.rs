//! The power goes at any moment of what changes the store. Afterwards every image that is there is
//! whole, no name leads nowhere, and what was said to be done is done.
//!
//! A moment is a change to files that the command is about to make: how fast the machine is does not
//! matter. A cut is the file system's own: ext4 on a loop device is told to shut down (`EXT4_IOC_SHUTDOWN`,
//! as xfstests does), and mounted again.

use std::cell::OnceCell;
use std::ffi::c_long;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::registry::FaultyRegistry;
use hostrun_integration::registry::faulty::Truth;
use hostrun_integration::runtime::Call;
use hostrun_integration::trace::{Trace, changes_files, commits};
use hostrun_integration::{Stage, on_stage_of_hostrun};
use serde_json::Value;

/// Cuts for each verb: some 50 in all by `make test`, some 1,000 by `make test-long`.
fn cuts() -> usize {
    match std::env::var("HOSTRUN_TEST_CHURN") {
        Ok(_) => 200,
        Err(_) => 10,
    }
}

fn run(words: &[&str]) -> Result<String> {
    let (program, rest) = words.split_first().context("no program")?;
    Call::new(Path::new(program), rest).run()?.ok()
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What becomes of changes that nobody has asked to last.
#[derive(Clone, Copy, Debug)]
enum Journal {
    /// All names and sizes are on the disk, and no data that was not asked for.
    Written = 1,
    /// None of it.
    Lost = 2,
}

/// From here on nothing reaches the disk of the file system at `place`.
fn cut(place: &Path, journal: Journal) -> Result<()> {
    let script = "open(my $dir, '<', $ARGV[0]) or die; my $how = pack('I', $ARGV[1]); \
                  ioctl($dir, 0x8004587D, $how) or die \"$!\"";
    let how = (journal as u32).to_string();
    run(&["perl", "-e", script, &shown(place), &how]).map(drop)
}

/// A store on a disk of its own.
struct Disk<'a> {
    stage: &'a Stage,
    file: PathBuf,
    at: PathBuf,
}

impl<'a> Disk<'a> {
    fn new(stage: &'a Stage) -> Result<Self> {
        let file = stage.dir().join("disk");
        fs::File::create(&file)?.set_len(96 << 20)?;
        run(&["mkfs.ext4", "-q", "-F", &shown(&file)])?;
        let at = stage.folder("mnt")?;
        let disk = Self { stage, file, at };
        disk.attach()?;
        Ok(disk)
    }

    fn attach(&self) -> Result<()> {
        run(&["mount", "-o", "loop", &shown(&self.file), &shown(&self.at)]).map(drop)
    }

    fn detach(&self) -> Result<()> {
        run(&["umount", &shown(&self.at)])?;
        // Whoever made himself a mount namespace meanwhile, as a process that unpacks does, has the file system
        // mounted a moment longer. A file that is written anew below it would be no file system any more.
        let end = Instant::now() + Duration::from_secs(20);
        while self.is_attached()? {
            ensure!(Instant::now() < end, "it stays attached");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Whether a loop device has the file.
    fn is_attached(&self) -> Result<bool> {
        let file = shown(&self.file);
        let devices = fs::read_dir("/sys/block")?.flatten();
        let mut files = devices
            .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
        Ok(files.any(|backing| backing.trim_end() == file))
    }

    fn words<'w>(&self, words: &[&'w str]) -> Vec<String> {
        let store = ["--store".to_owned(), shown(&self.at)];
        let words = words.iter().map(|word: &&'w str| (*word).to_owned());
        store.into_iter().chain(words).collect()
    }

    fn hostrun(&self, words: &[&str]) -> Result<String> {
        let program = self.stage.runtime().program();
        Call::new(program, self.words(words)).run()?.ok()
    }

    /// What is about to be called.
    fn trace(&self, words: &[&str]) -> Trace {
        let program = shown(self.stage.runtime().program());
        Trace::of([program].into_iter().chain(self.words(words)))
    }

    /// Calls a verb and cuts the power after so many changes. Did it say before that it was done?
    fn cut_after(&self, words: &[&str], changes: usize, journal: Journal) -> Result<bool> {
        let place = &self.at;
        let code = self
            .trace(words)
            .halt(changes_files, changes, || cut(place, journal))?;
        self.detach()?;
        self.attach()?;
        Ok(code == Some(0))
    }

    fn is_whole(&self) -> Result<()> {
        self.hostrun(&["verify", "--deep"])?;
        self.hostrun(&["gc"])?;
        self.hostrun(&["verify", "--deep"])?;
        for folder in ["tmp", "trash", "partial"] {
            let entries = fs::read_dir(self.at.join("store").join(folder));
            let left = entries.into_iter().flatten().count();
            ensure!(left == 0, "something is left in {folder}");
        }
        Ok(())
    }

    /// The image that a name means.
    fn image(&self, name: &str) -> Result<Option<String>> {
        let listed = self.hostrun(&["images", "--format", "json", name])?;
        let images: Vec<Value> = serde_json::from_str(&listed)?;
        let id = images.first().and_then(|image| image.get("id")?.as_str());
        Ok(id.map(str::to_owned))
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // It is attached only where a check has failed.
        drop(
            Command::new("umount")
                .args(["-q", "-l"])
                .arg(&self.at)
                .status(),
        );
    }
}

/// Two archives with an image each, under one name.
fn archives(stage: &Stage) -> Result<[String; 2]> {
    let make = |version: &str| -> Result<String> {
        let root = stage.folder(&format!("root-{version}"))?;
        for number in 0..200 {
            fs::write(root.join(format!("f{number}")), vec![7; 500 * number])?;
        }
        fs::write(root.join("version"), version)?;
        let tar = stage.dir().join(format!("{version}.root"));
        run(&["tar", "-C", &shown(&root), "-czf", &shown(&tar), "."])?;
        stage.call(["import", &shown(&tar), "app:1"]).run()?.ok()?;
        let archive = shown(&stage.dir().join(format!("{version}.tar")));
        stage.call(["save", "-o", &archive, "app:1"]).run()?.ok()?;
        Ok(archive)
    };
    Ok([make("v1")?, make("v2")?])
}

/// After how many changes to cut: all along the way, where names and syncs are as often as anywhere,
/// and once after all.
fn moments(course: &[c_long]) -> Vec<usize> {
    let steps = course.iter().enumerate();
    let steps = steps.filter(|(_, call)| commits(**call));
    let steps: Vec<usize> = steps.map(|(index, _)| index).collect();
    let spread = |number: usize, of: usize, length: usize| number * length / of.max(1);
    let (any, some) = (cuts() / 2, cuts() - cuts() / 2 - 1);
    let all = (0..any).map(|number| spread(number, any, course.len()));
    let some = (0..some).filter_map(|number| steps.get(spread(number, some, steps.len())).copied());
    // not the number of calls: what goes over a network comes in more pieces one time than another
    all.chain(some).chain([usize::MAX]).collect()
}

/// Cuts a verb at moments from its beginning to after its end. `before` are the calls that lead to
/// where it is made, `done` says whether it has done what it says.
fn cut_at_any_moment(
    before: impl Fn(&[String; 2]) -> Vec<Vec<String>>,
    words: impl Fn(&[String; 2]) -> Vec<String>,
    done: impl Fn(&Disk<'_>) -> Result<bool>,
) -> Result<()> {
    cut_and_go_on(before, words, done, |_| Ok(()))
}

/// The same, and `next` is done after each cut.
fn cut_and_go_on(
    before: impl Fn(&[String; 2]) -> Vec<Vec<String>>,
    words: impl Fn(&[String; 2]) -> Vec<String>,
    done: impl Fn(&Disk<'_>) -> Result<bool>,
    next: impl Fn(&Disk<'_>) -> Result<()>,
) -> Result<()> {
    on_stage_of_hostrun("runc knows no images", |stage| {
        let archives = archives(stage)?;
        let disk = Disk::new(stage)?;
        for call in before(&archives) {
            let call: Vec<&str> = call.iter().map(String::as_str).collect();
            disk.hostrun(&call)?;
        }
        disk.detach()?;
        let kept = stage.dir().join("kept");
        let restore = |from: &Path, to: &Path| {
            run(&["cp", "--sparse=always", &shown(from), &shown(to)]).map(drop)
        };
        restore(&disk.file, &kept)?;
        let words = words(&archives);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        disk.attach()?;
        let course = disk.trace(&words).calls(changes_files)?;
        disk.detach()?;
        let mut said = 0;
        for (number, changes) in moments(&course).into_iter().enumerate() {
            let journal = match number % 2 {
                0 => Journal::Written,
                _ => Journal::Lost,
            };
            restore(&kept, &disk.file)?;
            disk.attach()?;
            let is_said = disk.cut_after(&words, changes, journal)?;
            let check = || -> Result<()> {
                disk.is_whole()?;
                ensure!(!is_said || done(&disk)?, "it was said to be done");
                next(&disk)
            };
            check().with_context(|| {
                let all = course.len();
                format!("{words:?} cut after {changes} changes of {all}, journal {journal:?}")
            })?;
            said += usize::from(is_said);
            disk.detach()?;
        }
        ensure!(said > 0 && said < cuts(), "{said} of {} were done", cuts());
        Ok(())
    })
}

fn call(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn load(archive: &str) -> Vec<String> {
    call(&["load", "-q", "-i", archive])
}

#[test]
fn an_image_is_whole_or_absent_when_the_power_goes_in_a_load() -> Result<()> {
    cut_at_any_moment(
        |_| vec![call(&["df"])],
        |[one, _]| load(one),
        |disk| Ok(disk.image("app:1")?.is_some()),
    )
}

#[test]
fn an_image_is_whole_or_absent_when_the_power_goes_in_a_pull() -> Result<()> {
    let server = OnceCell::new();
    let name = || {
        let server: Option<&FaultyRegistry> = server.get();
        server
            .map(|server| server.name("app:1"))
            .unwrap_or_default()
    };
    cut_at_any_moment(
        |_| vec![call(&["df"])],
        |[one, _]| {
            // the archive is a layout, too
            let layout = Path::new(one).with_extension("layout");
            let made = fs::create_dir(&layout).map_err(anyhow::Error::from);
            let unpacked = made.and_then(|()| run(&["tar", "-C", &shown(&layout), "-xf", one]));
            let truth = Truth::new(&layout);
            let started = FaultyRegistry::start(move |request| truth.answer(request));
            if let (Ok(_), Ok(started)) = (unpacked, started) {
                server.get_or_init(|| started);
            }
            call(&["pull", "-q", "--tls-verify=false", &name()])
        },
        |disk| Ok(disk.image(&name())?.is_some()),
    )
}

#[test]
fn a_name_means_the_old_image_or_the_new_when_the_power_goes_in_an_upgrade() -> Result<()> {
    cut_at_any_moment(
        |[one, _]| vec![load(one)],
        |[_, two]| load(two),
        |disk| {
            Ok(
                disk.image("app:1")?.is_some()
                    && disk.hostrun(&["generations", "rollback"]).is_ok(),
            )
        },
    )
}

#[test]
fn an_image_is_whole_or_gone_when_the_power_goes_in_a_removal() -> Result<()> {
    cut_at_any_moment(
        |[one, _]| vec![load(one)],
        |_| call(&["rmi", "app:1"]),
        |disk| Ok(disk.image("app:1")?.is_none()),
    )
}

#[test]
fn only_garbage_is_gone_when_the_power_goes_in_a_collection() -> Result<()> {
    cut_at_any_moment(
        |[one, two]| vec![load(one), load(two)],
        |_| call(&["prune"]),
        |disk| Ok(disk.image("app:1")?.is_some()),
    )
}

#[test]
fn names_mean_what_they_meant_at_one_time_when_the_power_goes_in_a_rollback() -> Result<()> {
    cut_at_any_moment(
        |[one, two]| vec![load(one), load(two)],
        |_| call(&["generations", "rollback"]),
        |disk| {
            let error = disk.hostrun(&["generations", "rollback"]);
            Ok(error.is_err() && disk.image("app:1")?.is_some())
        },
    )
}

/// Whichever version of the system boots next, names are what they were to it.
#[test]
fn names_go_with_their_version_when_the_power_goes_in_a_switch_between_two() -> Result<()> {
    let follow = |version: &str| call(&["generations", "follow", version]);
    cut_and_go_on(
        |[one, two]| vec![load(one), follow("A"), follow("B"), load(two)],
        |_| follow("A"),
        |disk| Ok(disk.hostrun(&["generations", "follow", "A"])?.is_empty()),
        |disk| {
            let as_of = |version: &str| -> Result<Option<String>> {
                disk.hostrun(&["generations", "follow", version])?;
                disk.image("app:1")
            };
            let (b, a) = (as_of("B")?, as_of("A")?);
            ensure!(a.is_some() && b.is_some() && a != b, "{a:?}, {b:?}");
            ensure!((as_of("B")?, as_of("A")?) == (b, a), "another time others");
            Ok(())
        },
    )
}
