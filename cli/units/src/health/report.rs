//! How findings are written.

use serde_json::json;

/// Longest text of a stranger's that is shown, in letters.
const LONGEST: usize = 200;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Healthy,
    /// It may become healthy.
    Starting,
    Unhealthy,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) health: Health,
    pub(super) reason: String,
}

impl Finding {
    pub(super) fn new(kind: &'static str, name: &str, health: Health, reason: &str) -> Finding {
        Finding {
            kind,
            name: plain(name),
            health,
            reason: plain(reason),
        }
    }

    fn word(&self) -> &'static str {
        match self.health {
            Health::Healthy => "healthy",
            Health::Starting => "starting",
            Health::Unhealthy => "unhealthy",
        }
    }
}

/// One line of letters that do nothing to a terminal: a container's output is a stranger's.
pub(super) fn plain(text: &str) -> String {
    let letters = text
        .trim()
        .chars()
        .map(|c| if is_harmless(c) { c } else { ' ' });
    let mut line: String = letters.take(LONGEST).collect();
    if text.trim().chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line.trim_end().to_owned()
}

/// Neither a control character nor one that turns the direction of what follows.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A line each.
pub(super) fn table(findings: &[Finding]) -> String {
    let width = |finding: &Finding| finding.name.chars().count();
    let widest = findings.iter().map(width).max().unwrap_or(0);
    let lines = findings.iter().map(|finding| {
        let line = format!(
            "{:<widest$}  {:<9}  {}",
            finding.name,
            finding.word(),
            finding.reason
        );
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

/// An array with an object each.
pub(super) fn json(findings: &[Finding]) -> String {
    let objects = findings.iter().map(|finding| {
        json!({
            "kind": finding.kind,
            "name": finding.name,
            "state": finding.word(),
            "reason": finding.reason,
        })
    });
    let array: serde_json::Value = objects.collect();
    format!("{array:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_s_text_is_one_harmless_line() {
        assert_eq!(plain(" a\nb\u{1b}]0;x\u{7}\u{202e}c\u{9b} "), "a b ]0;x  c");
        assert_eq!(plain(&"x".repeat(300)).chars().count(), 201);
        let finding = Finding::new("container", "w\n", Health::Unhealthy, "\x1b[31m");
        assert_eq!(
            table(std::slice::from_ref(&finding)),
            "w  unhealthy   [31m\n"
        );
        let value: serde_json::Value = serde_json::from_str(&json(&[finding])).unwrap();
        assert_eq!(value[0]["state"], "unhealthy");
    }
}
