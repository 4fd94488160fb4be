//! The syntax of unit files, `systemd.syntax(7)`: sections, keys, lines that go on.

use crate::problem::Problem;
use std::path::{Path, PathBuf};

/// The longest file; systemd reads no more than this of a line, and no unit comes near it.
const LONGEST: usize = 1 << 20;

/// A key with its value, after lines that go on were put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) section: String,
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
}

impl Entry {
    /// Something is wrong with it.
    pub(crate) fn problem(&self, why: &str, hint: Option<&'static str>) -> Problem {
        Problem {
            file: self.file.clone(),
            line: self.line,
            message: format!("{}={}: {why}", self.key, self.value),
            hint,
        }
    }
}

/// A file, or a file with what its drop-ins add to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) entries: Vec<Entry>,
    /// Sections in the order in which they came, those without entries too.
    pub(crate) sections: Vec<(String, PathBuf, usize)>,
}

impl Document {
    /// Entries of a section, in order.
    pub(crate) fn section<'a, 'b>(
        &'a self,
        name: &'b str,
    ) -> impl Iterator<Item = &'a Entry> + use<'a, 'b> {
        self.entries
            .iter()
            .filter(move |entry| entry.section == name)
    }

    /// All values of a key; an empty one forgets those before it.
    pub(crate) fn all<'a>(&'a self, section: &str, key: &str) -> Vec<&'a Entry> {
        let mut found = Vec::new();
        for entry in self.section(section).filter(|entry| entry.key == key) {
            if entry.value.is_empty() {
                found.clear();
            } else {
                found.push(entry);
            }
        }
        found
    }

    /// The last value of a key.
    pub(crate) fn last(&self, section: &str, key: &str) -> Option<&Entry> {
        self.all(section, key).pop()
    }

    /// Adds what a drop-in says behind all else.
    pub(crate) fn add(&mut self, other: Document) {
        self.entries.extend(other.entries);
        self.sections.extend(other.sections);
    }
}

/// Reads a file; what cannot be read is a problem each, and the rest is read on.
pub(crate) fn parse(file: &Path, bytes: &[u8]) -> (Document, Vec<Problem>) {
    let problem = |line: usize, message: &str, hint| Problem {
        file: file.to_owned(),
        line,
        message: message.to_owned(),
        hint,
    };
    let mut document = Document::default();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= LONGEST && !text.contains('\0') => text,
        Ok(_) => return (document, vec![problem(0, "too long, or no text", None)]),
        Err(_) => return (document, vec![problem(0, "not UTF-8", None)]),
    };
    let mut problems = Vec::new();
    let mut section = String::new();
    for (line, logical) in lines(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let logical = logical.trim();
        if let Some(name) = logical.strip_prefix('[') {
            match name.strip_suffix(']').filter(|name| !name.is_empty()) {
                Some(name) => {
                    name.clone_into(&mut section);
                    document
                        .sections
                        .push((section.clone(), file.to_owned(), line));
                }
                None => problems.push(problem(line, "a section has no closing bracket", None)),
            }
            continue;
        }
        match logical.split_once('=') {
            Some(_) if section.is_empty() => {
                let hint = Some("it begins with a line such as [Container]");
                problems.push(problem(line, "a key before the first section", hint));
            }
            Some((key, value)) if !key.trim().is_empty() => document.entries.push(Entry {
                section: section.clone(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
                file: file.to_owned(),
                line,
            }),
            _ => {
                let hint = Some("a line is KEY=VALUE, a [Section], or begins with # or ;");
                problems.push(problem(line, "neither a key nor a section", hint));
            }
        }
    }
    (document, problems)
}

/// Lines without comments, put together where one ends in a backslash, with the number of the first.
fn lines(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let begins = line.trim_start();
        // Between lines that go on they are passed over as well.
        if begins.starts_with(['#', ';']) {
            continue;
        }
        if open.is_none() && begins.is_empty() {
            continue;
        }
        let (first, mut whole) = open.take().unwrap_or((index + 1, String::new()));
        if let Some(more) = line.strip_suffix('\\') {
            whole.push_str(more);
            whole.push(' ');
            open = Some((first, whole));
        } else {
            whole.push_str(line);
            found.push((first, whole));
        }
    }
    found.extend(open);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> (Document, Vec<Problem>) {
        parse(Path::new("a.container"), text.as_bytes())
    }

    #[test]
    fn lines_go_on_and_comments_are_passed_over() {
        let text = "# c\n[Container]\nExec=a \\\n  # within\n  b\n; d\nImage = x \nImage=\nImage=y";
        let (document, problems) = read(text);
        assert!(problems.is_empty());
        let exec = document.last("Container", "Exec").unwrap();
        assert_eq!((exec.value.split_whitespace().count(), exec.line), (2, 3));
        let images = document.all("Container", "Image");
        assert_eq!(images.len(), 1);
        assert_eq!((images[0].value.as_str(), images[0].line), ("y", 9));
    }

    #[test]
    fn what_is_no_unit_file_is_told_line_by_line() {
        let (_, problems) = read("Image=x\n[Container\nnothing\n=x\n[Container]\nImage=x");
        let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [1, 2, 3, 4]);
        assert_eq!(parse(Path::new("x"), b"\xff").1.len(), 1);
        assert_eq!(read("[A]\nb=\0").1.len(), 1);
        let shown = problems[0].to_string();
        assert!(shown.starts_with("a.container:1: a key before"), "{shown}");
        assert!(shown.contains("\nhint: "), "{shown}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(text in "(\\[?[a-z=\\\\ \n#;]{0,5}\\]?\n?){0,20}") {
            let (document, _) = read(&text);
            for entry in &document.entries {
                prop_assert!(!entry.key.is_empty() && !entry.section.is_empty());
                prop_assert!(entry.line <= text.lines().count());
            }
        }
    }
}
