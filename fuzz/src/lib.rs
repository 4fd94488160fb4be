//! What each fuzzer does with its bytes, and what must hold of the answer. The same functions run on
//! the seeds as an ordinary test, and below `targets/` in the fuzzer's loop.
#![forbid(unsafe_code)]

use hostrun_image_store::{Digest, Platform, Reference};
use hostrun_runtime::{ContainerId, Signal};
use hostrun_seccomp_profiles::{CAPABILITIES, Kernel, NATIVE, Target, compile, load, load_for};
use std::fs::{File, create_dir};
use std::os::fd::AsFd as _;

/// A target by its name.
pub type Named = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Named; 27] = [
    ("answer", answer),
    ("bus", bus),
    ("cgroups_path", cgroups_path),
    ("challenge", challenge),
    ("config", config),
    ("credentials", credentials),
    ("criu", criu),
    ("document", document),
    ("headers", headers),
    ("layer", layer),
    ("location", location),
    ("names", names),
    ("policy", policy),
    ("process", process),
    ("program", program),
    ("property", property),
    ("record", record),
    ("registries", registries),
    ("resources", resources),
    ("seccomp", seccomp),
    ("shim_bootstrap", shim_bootstrap),
    ("shim_frames", shim_frames),
    ("signature", signature),
    ("store_record", store_record),
    ("streams", streams),
    ("told", told),
    ("users", users),
];

fn plain(path: &str) -> bool {
    path.is_empty()
        || path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

/// A config.json: whatever is accepted mounts below its root.
pub fn config(json: &[u8]) {
    for target in hostrun_runtime::fuzzing::config(json).unwrap_or_default() {
        let target = target.to_string_lossy();
        assert!(plain(&target), "{target:?} leaves the root");
    }
}

/// A process.json.
pub fn process(json: &[u8]) {
    hostrun_runtime::fuzzing::process(json);
}

/// The limits of an update.
pub fn resources(json: &[u8]) {
    hostrun_runtime::fuzzing::resources(json);
}

/// What people and images call things: an accepted id is the name of one file, an accepted reference
/// or digest is itself again when it is written.
pub fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(id) = ContainerId::new(&text) {
        let id = id.as_str();
        assert!(id == text && plain(id) && !id.contains('/'), "{id:?}");
    }
    if let Ok(reference) = Reference::parse(&text) {
        let written = reference.to_string();
        assert_eq!(Reference::parse(&written).ok().as_ref(), Some(&reference));
    }
    if let Ok(digest) = Digest::parse(&text) {
        assert_eq!(digest.to_string(), text);
    }
    drop(text.parse::<Platform>());
    drop(Signal::parse(&text));
}

/// A cgroup never leaves the hierarchy.
pub fn cgroups_path(bytes: &[u8]) {
    for path in hostrun_runtime::fuzzing::cgroups_path(bytes) {
        assert!(!path.is_empty() && plain(&path), "{path:?}");
    }
}

/// Databases and a user, each to the next zero byte: nobody is root who is not called so.
pub fn users(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\0');
    let mut part = || parts.next().unwrap_or_default();
    let (user, passwd, group) = (part(), part(), part());
    let name = user.split(':').next().unwrap_or_default();
    let number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(uid) = hostrun_runtime::fuzzing::user(passwd, group, user)
        && number
    {
        assert_eq!(name.parse::<u32>().ok(), Some(uid), "{user:?}");
    }
}

/// A seccomp profile in moby's or the spec's form: a program the kernel takes, or an error.
pub fn seccomp(json: &[u8]) {
    let old = Target {
        kernel: Kernel(4, 0),
        capabilities: &CAPABILITIES,
        abi: NATIVE,
    };
    for profile in [load(json, &[]), load_for(json, &old)] {
        if let Ok(profile) = profile
            && let Ok(filter) = compile(&profile)
        {
            assert!((1..=4096).contains(&filter.program().len()));
        }
    }
}

/// A state.json: what is read is written as it was.
pub fn record(json: &[u8]) {
    if let Some(once) = hostrun_runtime::fuzzing::record(json) {
        let twice = hostrun_runtime::fuzzing::record(&once);
        let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
        assert_eq!(value(&once), twice.as_deref().and_then(value));
    }
}

/// What criu answers or notifies of.
pub fn criu(message: &[u8]) {
    hostrun_runtime::fuzzing::criu(message);
}

/// The streams an archive claims: only pipes reach criu.
pub fn streams(json: &[u8]) {
    for (number, name) in hostrun_runtime::fuzzing::streams(json) {
        let inside = name
            .strip_prefix("pipe:[")
            .and_then(|rest| rest.strip_suffix(']'));
        let digits = inside.is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        assert!((0..3).contains(&number) && digits, "{number} {name:?}");
    }
}

/// What comes over the bus.
pub fn bus(message: &[u8]) {
    hostrun_runtime::fuzzing::bus(message);
}

/// The value of an `org.systemd.property.` annotation.
pub fn property(bytes: &[u8]) {
    hostrun_runtime::fuzzing::property(&String::from_utf8_lossy(bytes));
}

/// The first bytes of a program.
pub fn program(head: &[u8]) {
    hostrun_runtime::fuzzing::program(head);
}

/// Documents of an image.
pub fn document(json: &[u8]) {
    hostrun_image_store::fuzzing::document(json);
}

/// Policies and pins: one file cannot be both.
pub fn policy(json: &[u8]) {
    hostrun_image_store::fuzzing::policy(json);
}

/// Keys, lists of signatures and what is signed: a digest that is believed is one in full.
pub fn signature(bytes: &[u8]) {
    if let Some(digest) = hostrun_image_store::fuzzing::signature(bytes) {
        assert!(Digest::parse(&digest).is_ok(), "{digest:?}");
    }
}

/// Records of the image store.
pub fn store_record(bytes: &[u8]) {
    hostrun_image_store::fuzzing::record(bytes);
}

/// Headers of a layer.
pub fn headers(tar: &[u8]) {
    let count = hostrun_image_store::fuzzing::headers(tar);
    assert!(count <= tar.len() / 512, "entries out of nothing");
}

/// A layer, unpacked between two neighbours that must stay as they are.
pub fn layer(tar: &[u8]) {
    let Ok(dir) = tempfile::tempdir() else { return };
    let open = |name: &str| {
        let path = dir.path().join(name);
        create_dir(&path).and_then(|()| File::open(path)).ok()
    };
    let (Some(root), Some(scrap), Some(_)) = (open("layer"), open("scrap"), open("canary")) else {
        return;
    };
    hostrun_image_store::fuzzing::layer(tar, root.as_fd(), scrap.as_fd());
    let names = |path: &str| -> Vec<_> {
        let entries = std::fs::read_dir(dir.path().join(path))
            .into_iter()
            .flatten();
        entries.flatten().map(|entry| entry.file_name()).collect()
    };
    assert_eq!(names("").len(), 3, "something beside the layer");
    assert!(names("canary").is_empty(), "something in another's folder");
}

/// What a daemon writes to a shim's standard input, whatever it is.
pub fn shim_bootstrap(input: &[u8]) {
    hostrun_shim::fuzzing::bootstrap(input);
}

/// Frames of a client, which arrive in pieces as long as the first byte says: the same calls come out as of one
/// piece.
pub fn shim_frames(bytes: &[u8]) {
    let Some((step, frames)) = bytes.split_first() else {
        return;
    };
    let calls = hostrun_shim::fuzzing::frames(frames, usize::from(*step));
    assert_eq!(calls, hostrun_shim::fuzzing::frames(frames, frames.len()));
}

/// Messages of the program that talks to registries: no more data than was sent.
pub fn answer(messages: &[u8]) {
    assert!(hostrun_image_store::fuzzing::answer(messages) <= messages.len());
}

/// Lines of the process that unpacks layers: what it wants moved is in its own directory.
pub fn told(lines: &[u8]) {
    for name in hostrun_image_store::fuzzing::told(lines) {
        assert!(!name.contains(['/', '.']), "{name:?}");
    }
}

/// The header by which a registry asks for credentials.
pub fn challenge(header: &[u8]) {
    hostrun_remote::fuzzing::challenge(&String::from_utf8_lossy(header));
}

/// A place and a `Location` seen there, a line each: nothing leads from TLS to plain HTTP, or has a password.
pub fn location(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (here, location) = text.split_once('\n').unwrap_or((&text, ""));
    if let Some(target) = hostrun_remote::fuzzing::location(here, location) {
        let is_secure = target.starts_with("https://");
        assert!(is_secure || !here.starts_with("https://"), "{target:?}");
        assert!(target.bytes().all(|b| b.is_ascii_graphic()), "{target:?}");
        let authority = target.split('/').nth(2).unwrap_or_default();
        assert!(!authority.contains('@'), "{target:?}");
    }
}

/// An image's name, and a `registries.conf` below it: no host or repository is a path that climbs.
pub fn registries(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (image, file) = text.split_once('\n').unwrap_or((&text, ""));
    for (host, repository) in hostrun_remote::fuzzing::registries(file, image) {
        assert!(plain(&host) && !host.contains('/'), "{host:?}");
        assert!(
            !repository.is_empty() && plain(&repository),
            "{repository:?}"
        );
    }
}

/// A file with credentials.
pub fn credentials(json: &[u8]) {
    hostrun_remote::fuzzing::credentials(json);
}
