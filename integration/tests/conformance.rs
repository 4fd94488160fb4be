//! docs/conformance.md: every section of the runtime-spec has a row, and every test it names exists.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use hostrun_integration::sources;

/// `file.md: section` of every row, with the tests it names.
fn rows(table: &str) -> Vec<(String, Vec<&str>)> {
    let mut file = "";
    let mut found = Vec::new();
    for line in table.lines() {
        file = line.strip_prefix("## ").unwrap_or(file);
        if let Some([section, tests]) = sources::row(line).as_deref()
            && *section != "section"
        {
            let tests = sources::quoted(tests).collect();
            found.push((format!("{file}: {section}"), tests));
        }
    }
    found
}

#[test]
fn every_section_has_a_row_and_every_row_a_section() -> Result<()> {
    let list = sources::read("integration/schema/sections.txt")?;
    let sections: BTreeSet<&str> = list.lines().collect();
    ensure!(sections.len() > 60, "only {} sections", sections.len());
    let table = sources::read("docs/conformance.md")?;
    let rows = rows(&table);
    let named: BTreeSet<&str> = rows.iter().map(|(section, _)| section.as_str()).collect();
    let missing: Vec<_> = sections.difference(&named).collect();
    let strangers: Vec<_> = named.difference(&sections).collect();
    ensure!(missing.is_empty(), "sections without a row: {missing:?}");
    ensure!(
        strangers.is_empty(),
        "rows without a section: {strangers:?}"
    );
    Ok(())
}

#[test]
fn every_test_it_names_exists() -> Result<()> {
    let table = sources::read("docs/conformance.md")?;
    let mut wrong = Vec::new();
    for (section, tests) in rows(&table) {
        if tests.is_empty() {
            wrong.push(format!("{section}: no test"));
        }
        let errors = tests
            .into_iter()
            .filter_map(|test| sources::test_exists(test).err());
        wrong.extend(errors.map(|error| format!("{section}: {error}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_test_that_a_promise_names_exists() -> Result<()> {
    let promises = sources::read("docs/promises.md")?;
    let references = promises.lines().flat_map(sources::quoted);
    // the others name files, crates and make targets
    let mut references = references.filter(|reference| reference.contains(".rs: "));
    let errors: Vec<String> = references
        .by_ref()
        .filter_map(|reference| sources::test_exists(reference).err())
        .map(|error| error.to_string())
        .collect();
    ensure!(errors.is_empty(), "{}", errors.join("\n"));
    Ok(())
}
