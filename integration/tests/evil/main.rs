//! The corpus of hostile bundles: one attack for each row of the record of container escapes that
//! a bundle or a call of the runtime can express.
//!
//! `make test` wants hostrun to resist them all. `make evil` fights them under every runtime that
//! is installed and prints who resists what.

mod binary;
mod credentials;
mod input;
mod links;
mod mounts;
mod proc;

use anyhow::{Result, ensure};
use hostrun_integration::field::{Attack, Field, Saw};
use hostrun_integration::{Runtime, host};

/// Every attack there is.
fn corpus() -> Vec<Attack> {
    [
        links::ATTACKS,
        mounts::ATTACKS,
        proc::ATTACKS,
        binary::ATTACKS,
        credentials::ATTACKS,
        input::ATTACKS,
    ]
    .concat()
}

/// What one attack came to under one runtime.
fn verdict(runtime: &Runtime, attack: &Attack) -> Result<Saw> {
    let field = Field::new(runtime)?;
    let saw = field.fight(attack)?;
    if saw == Saw::Refused || saw == Saw::Contained {
        field.stage().nothing_left_behind()?;
    }
    Ok(saw)
}

#[test]
fn the_corpus_has_at_least_twenty_five_attacks_of_different_names() {
    let mut names: Vec<&str> = corpus().iter().map(|attack| attack.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "a name is there twice");
    assert!(all >= 25, "only {all}");
}

#[test]
fn hostrun_resists_every_attack() -> Result<()> {
    let runtime = Runtime::under_test()?;
    if runtime.is_runc() {
        return host::skip("hostrun_resists_every_attack", "`make evil` asks runc, too");
    }
    let peers = std::env::var_os("HOSTRUN_TEST_EVIL").is_some();
    let mut fighters = vec![Fighter::new("hostrun", runtime)];
    for name in ["runc", "crun", "youki"].into_iter().filter(|_| peers) {
        fighters.extend(Runtime::installed(name).map(|runtime| Fighter::new(name, runtime)));
    }
    for attack in corpus() {
        for fighter in &mut fighters {
            fighter.fight(&attack);
        }
    }
    if peers {
        host::say(&table(&fighters))?;
    }
    let lost: Vec<&str> = fighters.iter().take(1).flat_map(Fighter::lost).collect();
    ensure!(lost.is_empty(), "lost:\n  {}", lost.join("\n  "));
    Ok(())
}

/// A runtime and how it fared.
struct Fighter {
    name: &'static str,
    runtime: Runtime,
    /// Why it runs nothing at all here.
    out: Option<String>,
    /// A word for each attack.
    words: Vec<&'static str>,
    /// What got through.
    notes: Vec<String>,
}

impl Fighter {
    fn new(name: &'static str, runtime: Runtime) -> Self {
        Self {
            name,
            out: why_not(&runtime),
            runtime,
            words: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn fight(&mut self, attack: &Attack) {
        let (word, note) = match &self.out {
            None => word(verdict(&self.runtime, attack)),
            Some(why) => ("cannot run", Some(why.clone())),
        };
        self.words.push(word);
        let note = note.map(|note| note.replace('\n', " "));
        self.notes
            .extend(note.map(|note| format!("{}: {note}", attack.name)));
    }

    /// Everything that was neither refused nor contained.
    fn lost(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().map(String::as_str)
    }
}

/// Who resists what, for a person.
fn table(fighters: &[Fighter]) -> String {
    let row = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    let names = fighters.iter().map(|fighter| fighter.name);
    let mut text = row(["attack"].into_iter().chain(names).chain(["how"]).collect());
    text.push_str(&"|---".repeat(fighters.len() + 2));
    text.push_str("|\n");
    for (number, attack) in corpus().iter().enumerate() {
        let words = fighters
            .iter()
            .map(|fighter| fighter.words.get(number).copied().unwrap_or_default());
        text.push_str(&row([attack.name]
            .into_iter()
            .chain(words)
            .chain([attack.how])
            .collect()));
    }
    for fighter in fighters {
        if let Some(why) = &fighter.out {
            let line = format!("\n{} runs nothing on this machine: {why}", fighter.name);
            text.push_str(&line);
            continue;
        }
        for note in &fighter.notes {
            text.extend(["\n", fighter.name, ", ", note]);
        }
    }
    text.push('\n');
    text
}

/// Why it does not run a harmless bundle on this machine; `None` where it does.
fn why_not(runtime: &Runtime) -> Option<String> {
    let plain = || -> Result<Option<String>> {
        let field = Field::new(runtime)?;
        let out = field.run(&field.bundle()?)?;
        let why = out.stderr().trim().to_owned();
        Ok((out.stdout() != "started\n").then_some(why))
    };
    plain().unwrap_or_else(|error| Some(format!("{error:#}")))
}

fn word(verdict: Result<Saw>) -> (&'static str, Option<String>) {
    match verdict {
        Ok(Saw::Refused) => ("refused", None),
        Ok(Saw::Contained) => ("contained", None),
        Ok(Saw::Through(what)) => ("**through**", Some(what)),
        Err(error) => ("cannot run", Some(format!("{error:#}"))),
    }
}
