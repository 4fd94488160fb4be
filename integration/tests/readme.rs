//! What README.md shows is what happens: each `$` line of its console blocks is run, in order.
//!
//! A line of `...` in the expected output, or within one of its lines, stands for anything.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use hostrun_integration::image::Image;
use hostrun_integration::runtime::Call;
use hostrun_integration::{Stage, on_stage_of_hostrun, program};

const README: &str = include_str!("../../README.md");

/// The commands of the console blocks, each with the output shown below it.
fn commands() -> Vec<(String, String)> {
    let blocks = README
        .split("```console\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let mut found: Vec<(String, String)> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push((command.to_owned(), String::new())),
            (None, Some((_, output))) => {
                output.push_str(line);
                output.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// Whether `text` is `pattern`, in which `...` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split("...");
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let pieces: Vec<&str> = pieces.collect();
    for (number, piece) in pieces.iter().enumerate() {
        let last = number + 1 == pieces.len();
        let place = if last {
            rest.ends_with(piece).then(|| rest.len() - piece.len())
        } else {
            rest.find(piece)
        };
        let Some(place) = place else { return false };
        rest = rest.get(place + piece.len()..).unwrap_or_default();
    }
    rest.is_empty()
}

/// A folder with what the README talks about: box.tar, a bundle, and `hostrun` on the path.
fn prepare(stage: &Stage) -> Result<()> {
    let image = Image::new(stage.dir())?;
    let archive = stage.dir().join("box.tar");
    image.convert(&format!("oci-archive:{}:latest", archive.display()))?;
    let bundle = stage.bundle()?.shell("echo hello from a bundle");
    fs::rename(bundle.write()?, stage.dir().join("bundle"))?;
    let path = stage.folder("bin")?.join("hostrun");
    let script = format!(
        "#!/bin/sh\nexec {} --root {} --store {} \"$@\"\n",
        stage.runtime().program().display(),
        stage.root().display(),
        stage.store().display()
    );
    Ok(program::write(&path, 0o755, script)?)
}

#[test]
fn every_command_of_the_readme_prints_what_it_shows() -> Result<()> {
    on_stage_of_hostrun("the README is about hostrun", |stage| {
        prepare(stage)?;
        let commands = commands();
        ensure!(
            commands.len() >= 10,
            "only {} commands found",
            commands.len()
        );
        for (command, shown) in commands {
            let line = format!("PATH={}/bin:$PATH; {command}", stage.dir().display());
            let out = Call::new(Path::new("sh"), ["-c", &line])
                .in_dir(stage.dir())
                .run()?;
            ensure!(
                out.code() == 0,
                "{command}: {} {}",
                out.code(),
                out.stderr()
            );
            ensure!(
                matches(&shown, &out.stdout()),
                "$ {command}\nshown:\n{shown}printed:\n{}",
                out.stdout()
            );
        }
        Ok(())
    })
}

#[test]
fn dots_stand_for_anything_and_nothing_else_does() {
    assert!(matches("a ... c\n", "a b c\n"));
    assert!(matches("...\n", "anything\n"));
    assert!(matches("same\n", "same\n"));
    assert!(!matches("a ... c\n", "a b d\n"));
    assert!(!matches("same\n", "same\nmore\n"));
    assert!(!matches("", "something\n"));
}
