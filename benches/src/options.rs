//! The command line.

use crate::case::{self, Case, Extent};
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

/// What the driver can be told.
pub(crate) const USAGE: &str = "\
benches [--quick] [--rounds N] [--case NAME]... [--runtime NAME=PATH]... [--peers DIR] [--library PATH] [--out DIR]
  --quick              everything in two minutes: a smoke of the driver, and a first idea of the numbers
  --rounds N           how often each subject is measured in each case (100)
  --case NAME          only this; may be given more than once
  --runtime NAME=PATH  measures this program, too, or instead of the one of that name on PATH
  --peers DIR          looks for runtimes here before PATH, as `make peers` fetches them
  --library PATH       the example `serve` of hostrun-runtime, for starts from a process that stays
  --out DIR            writes start.json and start.svg here
";

/// What it was told.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) extent: Extent,
    pub(crate) cases: Vec<Case>,
    pub(crate) runtimes: Vec<(String, PathBuf)>,
    pub(crate) peers: Option<PathBuf>,
    pub(crate) library: Option<PathBuf>,
    pub(crate) out: Option<PathBuf>,
}

const FULL: Extent = Extent {
    rounds: 100,
    long_rounds: 10,
    containers: 500,
};

const QUICK: Extent = Extent {
    rounds: 8,
    long_rounds: 1,
    containers: 20,
};

impl Options {
    /// Reads the words after the program's name.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options {
            extent: FULL,
            cases: Vec::new(),
            runtimes: Vec::new(),
            peers: None,
            library: None,
            out: None,
        };
        let mut words = words;
        let mut rounds = None;
        while let Some(word) = words.next() {
            if word == "--quick" {
                options.extent = QUICK;
                continue;
            }
            let value = words.next().with_context(|| format!("{word}\n{USAGE}"))?;
            match word.as_str() {
                "--rounds" => rounds = Some(value.parse().context("the number of rounds")?),
                "--case" => options.cases.push(named(&value)?),
                "--runtime" => {
                    let (name, path) = value.split_once('=').context("NAME=PATH")?;
                    options.runtimes.push((name.to_owned(), path.into()));
                }
                "--peers" => options.peers = Some(value.into()),
                "--library" => options.library = Some(value.into()),
                "--out" => options.out = Some(value.into()),
                _ => bail!("{word}: no such option\n{USAGE}"),
            }
        }
        if let Some(rounds) = rounds {
            options.extent.rounds = rounds;
        }
        if options.cases.is_empty() {
            options.cases = case::ALL.to_vec();
        }
        Ok(options)
    }
}

fn named(name: &str) -> Result<Case> {
    let case = case::ALL.iter().find(|case| case.name == name).copied();
    case.with_context(|| {
        let names = case::ALL.map(|case| case.name);
        format!("no case {name}: there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Result<Options> {
        Options::parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_taken_and_strangers_refused() {
        let options = parsed("--quick --rounds 3 --case runs --runtime a=/b").expect("options");
        assert_eq!(options.extent.rounds, 3);
        assert_eq!(options.cases.len(), 1);
        assert_eq!(options.runtimes, [("a".to_owned(), PathBuf::from("/b"))]);
        for wrong in ["--case none", "--what 1", "--rounds", "--runtime a"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parsed("").expect("nothing").cases.len(), case::ALL.len());
    }
}
