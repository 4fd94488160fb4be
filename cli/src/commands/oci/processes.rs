//! `ps ID [PS OPTION]...`: the lines of the host's own `ps` that are about the container.

use super::{Act, container, told};
use crate::args::containers::{Format, Ps};
use crate::globals::Globals;
use crate::output;
use crate::report::{Failure, usage};
use anyhow::{Context, Result};
use std::process::Command;

/// Runs the verb; `id` is a container of the runtime.
///
/// # Errors
/// When there is no such container, or `ps` fails.
pub(in crate::commands) fn main(globals: &Globals, args: &Ps, id: &str) -> Result<u8> {
    told(globals, Act::Other, shown(globals, args, id))
}

fn shown(globals: &Globals, args: &Ps, id: &str) -> Result<u8> {
    let pids = container(globals, id)?.pids()?;
    let mut format = args.format;
    let mut options = args.words.get(1..).unwrap_or_default();
    // The format may stand behind the id, too.
    if let [name, value, rest @ ..] = options
        && (name == "-f" || name == "--format")
        && let Some(asked) = Format::of(value)
    {
        (format, options) = (asked, rest);
    }
    if format == Format::Json {
        output::line(&serde_json::to_string(&pids).context("cannot write JSON")?)?;
        return Ok(0);
    }
    let options = match options {
        [] => vec!["-ef".to_owned()],
        some => some.to_vec(),
    };
    let out = Command::new("ps")
        .args(&options)
        .output()
        .context("cannot run ps")?;
    if !out.status.success() {
        let words = String::from_utf8_lossy(&out.stderr).into_owned();
        return Err(Failure::new(format!("ps: {}: {words}", out.status)).into());
    }
    output::text(&lines_of(&String::from_utf8_lossy(&out.stdout), &pids)?)?;
    Ok(0)
}

/// The title, and the lines with one of these process ids.
fn lines_of(text: &str, pids: &[i32]) -> Result<String> {
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    let column = title.split_whitespace().position(|word| word == "PID");
    let column = column.ok_or_else(|| usage("couldn't find PID field in ps output"))?;
    let of_ours = |line: &&str| {
        let word = line.split_whitespace().nth(column);
        word.and_then(|word| word.parse().ok())
            .is_some_and(|pid: i32| pids.contains(&pid))
    };
    let kept = std::iter::once(title).chain(lines.filter(of_ours));
    Ok(kept.flat_map(|line| [line, "\n"]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_picked_by_the_column_of_the_process_id() {
        let text = "UID    PID  CMD\nroot     1  init 22\nroot    22  sleep 1\n";
        assert_eq!(
            lines_of(text, &[22]).unwrap(),
            "UID    PID  CMD\nroot    22  sleep 1\n"
        );
        assert_eq!(lines_of(text, &[]).unwrap(), "UID    PID  CMD\n");
        assert!(lines_of("CMD\nx\n", &[1]).is_err());
    }
}
