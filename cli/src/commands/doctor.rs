//! `doctor`: what this machine can and cannot do, and how to fix it.

mod host;
mod kernel;

use crate::args::containers::Format;
use crate::args::doctor::Doctor;
use crate::globals::Globals;
use crate::{output, table};
use anyhow::{Context, Result};
use serde::Serialize;

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be.
    Ok,
    /// Containers run, but something that can be asked for does not work.
    Warning,
    /// No container runs.
    Failure,
}

/// One check. Its id never changes: programs look for it.
#[derive(Debug, Serialize)]
struct Check {
    id: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'static str>,
}

impl Check {
    fn ok(id: &'static str, found: impl Into<String>) -> Self {
        Self {
            id,
            verdict: Verdict::Ok,
            found: found.into(),
            fix: None,
        }
    }

    fn warning(id: &'static str, found: impl Into<String>, fix: &'static str) -> Self {
        Self {
            verdict: Verdict::Warning,
            fix: Some(fix),
            ..Self::ok(id, found)
        }
    }

    fn failure(id: &'static str, found: impl Into<String>, fix: &'static str) -> Self {
        Self {
            verdict: Verdict::Failure,
            ..Self::warning(id, found, fix)
        }
    }
}

/// Checks everything and prints it.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn main(globals: &Globals, args: &Doctor) -> Result<u8> {
    let mut checks = kernel::checks();
    checks.extend(host::checks(globals));
    match args.format {
        Format::Json => {
            let mut bytes = serde_json::to_vec_pretty(&checks).context("cannot write JSON")?;
            bytes.push(b'\n');
            output::bytes(&bytes)?;
        }
        Format::Table => output::text(&columns(&checks))?,
    }
    let failed = checks.iter().any(|check| check.verdict == Verdict::Failure);
    Ok(u8::from(failed))
}

fn columns(checks: &[Check]) -> String {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| {
            let verdict = match check.verdict {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Failure => "FAILURE",
            };
            [check.id, verdict, &check.found]
                .map(str::to_owned)
                .to_vec()
        })
        .collect();
    let mut text = table::columns(&["CHECK", "VERDICT", "FOUND"], &rows);
    for check in checks {
        if let Some(fix) = check.fix {
            text.extend(["fix ", check.id, ": ", fix, "\n"]);
        }
    }
    text
}
