//! Images made of this machine's own files: they are no other machine's, so ratios can be compared
//! and times cannot.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Most bytes of one layer.
const LAYER_BYTES: u64 = 170 << 20;

/// Where files are taken from: many small ones, and few large ones.
const SOURCES: [&str; 9] = [
    "usr/lib/python3.11",
    "usr/lib/python3",
    "usr/share/perl",
    "usr/lib/git-core",
    "usr/include",
    "usr/sbin",
    "usr/share/doc",
    "usr/share/zoneinfo",
    "usr/lib/gcc",
];

/// Bytes, files and layers of the large image.
const LARGE: (u64, usize, usize) = (1_360_000_000, 76_000, 25);

/// No file of the large image has more: it is large by their number.
const LARGE_FILE: u64 = 2 << 20;

/// `one`: nearly all in one layer. `many`: the same in twelve layers. `large`: a gigabyte in 25.
pub(super) fn images(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let files = files(&SOURCES, u64::MAX, LAYER_BYTES, usize::MAX)?;
    let small = files.len() / 20;
    let (few, most) = files.split_at(small);
    let one = layout(&dir.join("one"), &[most, few])?;
    let size = files.len().div_ceil(12);
    let many: Vec<&[String]> = files.chunks(size).collect();
    let many = layout(&dir.join("many"), &many)?;
    let all = self::files(&["usr"], LARGE_FILE, LARGE.0, LARGE.1)?;
    let layers: Vec<&[String]> = all.chunks(all.len().div_ceil(LARGE.2)).collect();
    let large = layout(&dir.join("large"), &layers)?;
    let named = |(name, layout): (&str, PathBuf)| (name.to_owned(), layout);
    Ok([("one", one), ("many", many), ("large", large)]
        .map(named)
        .to_vec())
}

/// Files of this machine up to so many bytes, none larger than `largest`, in an order that does not
/// change.
fn files(sources: &[&str], largest: u64, bytes: u64, count: usize) -> Result<Vec<String>> {
    let sources = sources
        .iter()
        .filter(|source| Path::new("/").join(source).is_dir());
    let out = Command::new("find")
        .current_dir("/")
        .args(sources)
        .args([
            "-xdev", "(", "-type", "f", "-o", "-type", "l", ")", "-printf", "%s %p\\n",
        ])
        .output()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable_by_key(|line| line.split_once(' ').map(|(_, path)| path));
    let (mut sum, mut files) = (0_u64, Vec::new());
    for line in lines {
        let (size, path) = line.split_once(' ').context("no size")?;
        let size = size.parse::<u64>().unwrap_or(u64::MAX);
        if size > largest {
            continue;
        }
        sum += size;
        if sum > bytes || files.len() == count {
            break;
        }
        files.push(path.to_owned());
    }
    ensure!(files.len() > 100, "there are too few files on this machine");
    Ok(files)
}

fn layout(dir: &Path, layers: &[&[String]]) -> Result<PathBuf> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
    for layer in layers {
        let (list, tar) = (dir.join("list"), dir.join("layer.tar"));
        fs::write(&list, layer.join("\n"))?;
        let script = "tar -C / --owner=0 --group=0 --numeric-owner -cf \"$2\" -T \"$1\"";
        shell(script, &[&list, &tar])?;
        diff_ids.push(format!("sha256:{}", digest(&tar)?));
        shell("gzip -n -6 -f \"$1\"", &[&tar])?;
        descriptors.push(blob(&blobs, &dir.join("layer.tar.gz"), LAYER)?);
        fs::remove_file(list)?;
    }
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let json_blob = |value: &Value, media_type| {
        let path = dir.join("document");
        fs::write(&path, value.to_string())?;
        blob(&blobs, &path, media_type)
    };
    let config = json!({
        "architecture": architecture, "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = json_blob(&config, CONFIG)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors,
    });
    let mut manifest = json_blob(&manifest, MANIFEST)?;
    if let Some(object) = manifest.as_object_mut() {
        let tag = json!({"org.opencontainers.image.ref.name": "latest"});
        object.insert("annotations".to_owned(), tag);
    }
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(dir.join("index.json"), index.to_string())?;
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(dir.to_owned())
}

/// Takes a file in as a blob.
fn blob(blobs: &Path, file: &Path, media_type: &str) -> Result<Value> {
    let (digest, size) = (digest(file)?, fs::metadata(file)?.len());
    fs::rename(file, blobs.join(&digest))?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size}))
}

fn digest(file: &Path) -> Result<String> {
    let out = Command::new("sha256sum").arg(file).output()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let digest = text.split(' ').next().unwrap_or_default();
    ensure!(digest.len() == 64, "sha256sum failed");
    Ok(digest.to_owned())
}

fn shell(script: &str, words: &[&Path]) -> Result<()> {
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .args(words)
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "{script} failed");
    Ok(())
}

/// How large an image is.
pub(super) fn describe(layout: &Path) -> Result<String> {
    let sizes = fs::read_dir(layout.join("blobs/sha256"))?;
    let sizes = sizes
        .flatten()
        .map(|file| file.metadata().map_or(0, |meta| meta.len()));
    let sizes: Vec<u64> = sizes.collect();
    let megabytes = sizes.iter().sum::<u64>() / 1_000_000;
    let layers = sizes.len().saturating_sub(2);
    Ok(format!("{layers} layers, {megabytes} MB compressed"))
}
