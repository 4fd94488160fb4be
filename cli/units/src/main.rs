//! `hostrun-units`: a generator of systemd's, a checker, and what holds a shared network.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use hostrun_units::health::Question;
use hostrun_units::{Neighbours, Problem, SYSTEM, convert, find, generate, read, trial};

const USAGE: &str = "hostrun-units check FILE...   says what is wrong with Quadlet's files
hostrun-units show FILE       prints the service that is made of one
hostrun-units DIR [DIR DIR]   makes all services, as a generator of systemd's
";

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some((_, rest)) = words.split_first().filter(|(word, _)| *word == "health") {
        let question = Question::read(rest, directories(), &prefix());
        return ended(question.map_or_else(usage, |question| question.answer()));
    }
    let words = words.iter().map(|word| word.to_string_lossy().into_owned());
    let words: Vec<String> = words.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["check", files @ ..] if !files.is_empty() => check(files),
        ["show", file] => show(file),
        // After a boot whose containers are not healthy.
        ["fall-back"] => trial::give_up(&mut |line| writeln!(io::stdout(), "{line}")),
        // What services of ours execute: one that has systemd make a directory, one that has it keep a network.
        ["nothing"] => Ok(true),
        ["hold"] => loop {
            std::thread::park();
        },
        [dir] | [dir, _, _] if dir.starts_with('/') => make(dir),
        ["--help" | "-h"] => io::stdout().write_all(USAGE.as_bytes()).map(|()| true),
        _ => usage(),
    };
    ended(done)
}

fn usage() -> io::Result<bool> {
    io::stderr().write_all(USAGE.as_bytes()).map(|()| false)
}

fn ended(done: io::Result<bool>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            writeln!(io::stderr(), "hostrun-units: {error}").unwrap_or_default();
            ExitCode::from(125)
        }
    }
}

/// Below what we are installed: services call the hostrun that came with us.
fn prefix() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let prefix = own.parent().filter(|dir| dir.ends_with("libexec/hostrun"));
    let prefix = prefix.and_then(|dir| dir.ancestors().nth(2));
    prefix.map_or_else(|| PathBuf::from("/usr"), PathBuf::from)
}

/// Where files are looked for.
fn directories() -> Vec<PathBuf> {
    match std::env::var_os("QUADLET_UNIT_DIRS").filter(|dirs| !dirs.is_empty()) {
        Some(dirs) => std::env::split_paths(&dirs).collect(),
        None => SYSTEM.map(PathBuf::from).to_vec(),
    }
}

/// A file, those beside it, and those of the system: what it names is there or in one of these.
fn surrounded(file: &str) -> io::Result<(PathBuf, Vec<PathBuf>)> {
    let path = std::path::absolute(file)?;
    let folder = path.parent().map(PathBuf::from).unwrap_or_default();
    let mut dirs = vec![folder];
    dirs.extend(directories());
    Ok((path, dirs))
}

fn check(files: &[&str]) -> io::Result<bool> {
    let mut clean = true;
    for file in files {
        let (path, dirs) = surrounded(file)?;
        let neighbours = Neighbours::new(find(&dirs).0, &prefix());
        let made = read(&path, &dirs).and_then(|source| convert(&source, &neighbours));
        if let Err(problems) = made {
            clean = false;
            tell(&mut io::stdout(), &problems)?;
        }
    }
    Ok(clean)
}

fn show(file: &str) -> io::Result<bool> {
    let (path, dirs) = surrounded(file)?;
    let neighbours = Neighbours::new(find(&dirs).0, &prefix());
    match read(&path, &dirs).and_then(|source| convert(&source, &neighbours)) {
        Ok(service) => io::stdout()
            .write_all(service.text().as_bytes())
            .map(|()| true),
        Err(problems) => tell(&mut io::stderr(), &problems).map(|()| false),
    }
}

/// Bad files keep no good ones from being made, and the generator succeeds: the boot goes on.
fn make(dir: &str) -> io::Result<bool> {
    let problems = generate(&directories(), dir.as_ref(), &prefix())?;
    let by_systemd = std::env::var_os("SYSTEMD_SCOPE").is_some_and(|scope| scope == "system");
    if !by_systemd || log(&problems).is_err() {
        tell(&mut io::stderr(), &problems)?;
    }
    Ok(true)
}

/// A generator runs before the journal does, and nobody reads its standard error: the kernel keeps what it says,
/// a record a line, and the journal has it from there (systemd.generator(7)).
fn log(problems: &[Problem]) -> io::Result<()> {
    let mut kernel = std::fs::OpenOptions::new().write(true).open("/dev/kmsg")?;
    let texts = problems.iter().map(ToString::to_string);
    let lines: Vec<String> = texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    // 3: an error; a record is one write(2).
    lines
        .iter()
        .try_for_each(|line| kernel.write_all(format!("<3>hostrun-units: {line}\n").as_bytes()))
}

fn tell(to: &mut dyn Write, problems: &[Problem]) -> io::Result<()> {
    problems
        .iter()
        .try_for_each(|problem| writeln!(to, "{problem}"))
}
