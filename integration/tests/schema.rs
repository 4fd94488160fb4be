//! Every key of the runtime-spec's JSON schema: handled, refused by its path, or ignored on purpose.
//!
//! `integration/schema/walk.md` has the rows. A key without a row fails, as does a row without a
//! key; rows that refuse or ignore are run, and those that handle name a test that is there.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::refusal::loud;
use hostrun_integration::{on_stage_of_hostrun, sources};
use serde_json::Value;

/// The keys of a schema: those of definitions as `Name.key`, all others by their path.
fn keys(schema: &str) -> Result<BTreeSet<String>> {
    let schema: Value = serde_json::from_str(&sources::read(schema)?)?;
    let mut found = BTreeSet::new();
    walk("", &schema, &mut found);
    let definitions = schema.get("$definitions").and_then(Value::as_object);
    for (name, definition) in definitions.into_iter().flatten() {
        walk(name, definition, &mut found);
    }
    Ok(found)
}

fn walk(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(path, item, found)),
        Value::Object(keys) => {
            for (key, value) in keys.iter().filter(|(key, _)| *key != "$definitions") {
                if key == "*" {
                    walk(path, value, found);
                    continue;
                }
                let below = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                // an object that only groups has no row of its own
                let groups = value
                    .as_object()
                    .is_some_and(|inner| !inner.contains_key("*"));
                if !groups {
                    found.insert(below.clone());
                }
                walk(&below, value, found);
            }
        }
        _ => {}
    }
}

/// One row of walk.md.
#[derive(Debug)]
struct Row {
    key: String,
    verdict: String,
    shown: String,
}

/// The rows below a heading.
fn rows(heading: &str) -> Result<Vec<Row>> {
    let text = sources::read("integration/schema/walk.md")?;
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .with_context(|| format!("no section {heading}"))?;
    let rows = section.lines().filter_map(sources::row);
    rows.filter(|cells| cells.first().is_some_and(|key| key.starts_with('`')))
        .map(|cells| {
            let [key, verdict, shown] = cells[..] else {
                anyhow::bail!("not three cells: {cells:?}");
            };
            Ok(Row {
                key: key.trim_matches('`').to_owned(),
                verdict: verdict.to_owned(),
                shown: shown.to_owned(),
            })
        })
        .collect()
}

fn same(schema: &str, heading: &str) -> Result<()> {
    let keys = keys(schema)?;
    let rows = rows(heading)?;
    let listed: BTreeSet<String> = rows.iter().map(|row| row.key.clone()).collect();
    ensure!(listed.len() == rows.len(), "a key has two rows");
    let missing: Vec<_> = keys.difference(&listed).collect();
    let strangers: Vec<_> = listed.difference(&keys).collect();
    ensure!(missing.is_empty(), "keys without a row: {missing:?}");
    ensure!(strangers.is_empty(), "rows without a key: {strangers:?}");
    Ok(())
}

#[test]
fn every_key_of_a_config_has_a_row_and_every_row_a_key() -> Result<()> {
    same("integration/schema/config.json", "config.json")
}

#[test]
fn every_key_of_the_features_has_a_row_and_every_row_a_key() -> Result<()> {
    same("integration/schema/features.json", "features")
}

#[test]
fn what_is_handled_names_a_test_that_is_there() -> Result<()> {
    let mut wrong = Vec::new();
    for row in rows("config.json")?.iter().chain(&rows("features")?) {
        match row.verdict.as_str() {
            "handled" => {
                let mut tests = sources::quoted(&row.shown).peekable();
                if tests.peek().is_none() {
                    wrong.push(format!("{}: names no test", row.key));
                }
                let errors = tests.filter_map(|test| sources::test_exists(test).err());
                wrong.extend(errors.map(|error| format!("{}: {error}", row.key)));
            }
            "refused" | "ignored" | "announced" | "absent" => {}
            other => wrong.push(format!("{}: {other} is no verdict", row.key)),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// `` `/json/pointer` = `value` `` and, after it, a reason.
fn example(row: &Row) -> Result<(&str, Value)> {
    let mut quoted = sources::quoted(&row.shown);
    let (pointer, value) = quoted
        .next()
        .zip(quoted.next())
        .with_context(|| format!("{}: no example", row.key))?;
    let value = serde_json::from_str(value).with_context(|| format!("{}: {value}", row.key))?;
    Ok((pointer, value))
}

#[test]
fn what_is_refused_is_refused_by_its_path() -> Result<()> {
    on_stage_of_hostrun("runc refuses other things", |stage| {
        let mut wrong = Vec::new();
        for row in rows("config.json")?
            .iter()
            .filter(|row| row.verdict == "refused")
        {
            let (pointer, value) = example(row)?;
            let out = stage.run(&loud(stage)?.set(pointer, value))?;
            let path = pointer
                .trim_matches('/')
                .replace("/-", "")
                .replace('/', ".");
            let named = out.stderr().contains(&path);
            if !out.stdout().is_empty() || !named {
                wrong.push(format!("{path}: {}{}", out.stdout(), out.stderr()));
            }
        }
        ensure!(
            wrong.is_empty(),
            "not refused by path:\n{}",
            wrong.join("\n")
        );
        Ok(())
    })
}

#[test]
fn what_is_ignored_does_not_stop_a_start() -> Result<()> {
    on_stage_of_hostrun("runc ignores other things", |stage| {
        let mut wrong = Vec::new();
        for row in rows("config.json")?
            .iter()
            .filter(|row| row.verdict == "ignored")
        {
            let (pointer, value) = example(row)?;
            let out = stage.run(&loud(stage)?.set(pointer, value))?;
            if out.stdout() != "it ran\n" {
                wrong.push(format!("{pointer}: {}", out.stderr()));
            }
        }
        ensure!(wrong.is_empty(), "not ignored:\n{}", wrong.join("\n"));
        Ok(())
    })
}

#[test]
fn the_features_have_the_keys_that_are_announced_and_no_other() -> Result<()> {
    on_stage_of_hostrun("runc 1.1 announces less", |stage| {
        let features = stage.call(["features"]).run()?.ok()?;
        let features: Value = serde_json::from_str(&features)?;
        let mut wrong = Vec::new();
        for row in rows("features")? {
            let pointer = format!("/{}", row.key.replace('.', "/"));
            let there = features
                .pointer(&pointer)
                .is_some_and(|value| !value.is_null());
            if there != (row.verdict == "announced") {
                wrong.push(row.key);
            }
        }
        ensure!(wrong.is_empty(), "not as the table says: {wrong:?}");
        Ok(())
    })
}
