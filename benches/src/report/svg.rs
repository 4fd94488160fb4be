//! The phases side by side, as a picture: a panel a phase, a bar a subject.

use crate::measure::{Row, Table};
use crate::statistics::{median, quantile};
use std::fmt::Write as _;

/// The phases that are shown, where they were measured, and what their panels say.
const PANELS: [(&str, &str); 18] = [
    ("run", "run"),
    ("run-seccomp", "run, filtered"),
    ("run-seccomp-cold", "run, filtered, first time"),
    ("create", "create"),
    ("create-seccomp", "create, filtered"),
    ("start", "start"),
    ("state", "state"),
    ("exec", "exec"),
    ("exec-seccomp", "exec, filtered"),
    ("kill", "kill"),
    ("delete", "delete"),
    ("first", "run, to the first instruction"),
    ("parallel-8", "96 runs, 8 at a time, each"),
    ("mounts-added", "what 1,000 mounts add to a run"),
    ("embedded", "from a process that stays"),
    ("embedded-seccomp", "the same, filtered"),
    ("parked", "parked, from start"),
    ("typed", "true in an image"),
];

const MS: &str = "milliseconds";
const COLUMNS: usize = 3;
const WIDTH: f64 = 360.0;
const MARGIN: f64 = 24.0;
/// Of the panel's title and the space below it.
const HEAD: f64 = 30.0;
const BAR: f64 = 15.0;
const STEP: f64 = 21.0;
/// Where bars begin, and the longest ends.
const LEFT: f64 = 128.0;
const RIGHT: f64 = WIDTH - 62.0;

/// The picture of starts.
pub(crate) fn picture(tables: &[Table], caption: &str) -> String {
    let find = |name: &str| tables.iter().find(|table| table.name == name);
    let panels: Vec<(&str, &Table)> = PANELS
        .iter()
        .filter_map(|(name, title)| Some((*title, find(name)?)))
        .collect();
    draw("a start", MS, &panels, caption)
}

/// The picture of loads: a panel a table.
pub(crate) fn images(tables: &[Table], caption: &str) -> String {
    let panels: Vec<(&str, &Table)> = tables
        .iter()
        .map(|table| (table.name.as_str(), table))
        .collect();
    draw("a load", MS, &panels, caption)
}

/// The picture of shims: a panel a table.
pub(crate) fn shims(tables: &[Table], caption: &str) -> String {
    let panels: Vec<(&str, &Table)> = tables
        .iter()
        .map(|table| (table.title.as_str(), table))
        .collect();
    draw("a shim", "milliseconds and KiB", &panels, caption)
}

fn draw(what: &str, unit: &str, panels: &[(&str, &Table)], caption: &str) -> String {
    let mut body = String::new();
    let mut top = MARGIN + 46.0;
    for row in panels.chunks(COLUMNS) {
        let mut left = MARGIN;
        let mut height: f64 = 0.0;
        for (title, table) in row {
            body.push_str(&panel(title, table, left, top));
            left += WIDTH + MARGIN;
            height = height.max(HEAD + STEP * count(table.rows.len()));
        }
        top += height + MARGIN;
    }
    let width = MARGIN + count(COLUMNS) * (WIDTH + MARGIN);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{top}\" \
         viewBox=\"0 0 {width} {top}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"36\" font-size=\"17\" font-weight=\"bold\">What {what} costs: \
         medians in {unit}, each panel on its own scale; the mark is the lower tenth</text>\n\
         <text x=\"{MARGIN}\" y=\"56\" fill=\"#555555\">{}</text>\n{body}</svg>\n",
        escaped(caption)
    )
}

/// As a coordinate.
#[allow(clippy::cast_precision_loss, reason = "some dozen")]
fn count(number: usize) -> f64 {
    number as f64
}

fn panel(title: &str, table: &Table, left: f64, top: f64) -> String {
    let figures = |row: &Row| {
        let times: Vec<f64> = row.times().into_iter().flatten().collect();
        Some((row.subject.clone(), quantile(&times, 0.1)?, median(&times)?))
    };
    let rows: Vec<(String, f64, f64)> = table.rows.iter().filter_map(figures).collect();
    let longest = rows.iter().map(|(_, _, p50)| *p50).fold(0.001, f64::max);
    let mut text = format!(
        "<g transform=\"translate({left} {top})\">\n\
         <text y=\"13\" font-weight=\"bold\">{}</text>\n",
        escaped(title)
    );
    let length = |time: f64| (time.max(0.0) / longest * (RIGHT - LEFT)).max(1.0);
    for (number, (subject, p10, p50)) in rows.iter().enumerate() {
        let y = HEAD - 8.0 + STEP * count(number);
        let (bar, mark) = (length(*p50), LEFT + length(*p10).min(length(longest)));
        writeln!(
            text,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{bar:.1}\" height=\"{BAR}\" fill=\"{}\"/>\
             <path d=\"M{mark:.1} {y:.1}v{BAR}\" stroke=\"#000000\" stroke-opacity=\"0.5\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            y + 12.0,
            escaped(subject),
            colour(subject),
            LEFT + bar.max(mark - LEFT) + 5.0,
            y + 12.0,
            figure(*p50),
        )
        .unwrap_or_default();
    }
    text.push_str("</g>\n");
    text
}

/// Three digits that count.
fn figure(time: f64) -> String {
    let digits = match time {
        time if time >= 100.0 => 0,
        time if time >= 10.0 => 1,
        time if time >= 1.0 => 2,
        _ => 3,
    };
    format!("{time:.digits$}")
}

fn colour(subject: &str) -> &'static str {
    let first = subject.split([' ', '-']).next().unwrap_or_default();
    match first {
        "hostrun" => "#1b7f79",
        "floor" => "#b8b8b8",
        "crun" => "#e0a030",
        "youki" => "#8a6fb0",
        "runc" => "#c0563b",
        _ => "#7a8ca0",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_longest_bar_fills_its_panel_and_the_others_are_in_proportion() {
        let mut table = Table::new("run", "", ["hostrun", "crun"]);
        for (row, time) in table.rows.iter_mut().zip([5, 10]) {
            row.add_time(Duration::from_millis(time));
        }
        let text = picture(&[table], "a < b");
        assert!(text.contains(&format!("width=\"{:.1}\"", RIGHT - LEFT)));
        assert!(text.contains(&format!("width=\"{:.1}\"", (RIGHT - LEFT) / 2.0)));
        assert!(text.contains("a &lt; b") && text.contains(">5.00<"));
        assert_eq!(text.matches("<g ").count(), text.matches("</g>").count());
    }

    #[test]
    fn what_was_not_measured_has_no_panel() {
        assert!(!picture(&[], "").contains("<g "));
    }
}
