//! A service, as it is written.

use crate::problem::Problem;
use crate::source::Source;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A service that is made of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its name, without `.service`.
    pub(crate) name: String,
    /// Lines of `[Unit]` and of `[Service]` that are ours.
    unit: Vec<(&'static str, String)>,
    lines: Vec<(&'static str, String)>,
    /// Lines of the file's own, by section; they come behind ours, and go before them.
    own: BTreeMap<String, Vec<(String, String)>>,
}

/// Sections that are systemd's, and are taken as they are.
const PLAIN: [&str; 3] = ["Unit", "Service", "Install"];

impl Service {
    /// The service of a file, with what the file says to systemd itself.
    pub(crate) fn of(source: &Source, problems: &mut Vec<Problem>) -> Service {
        let mut service = Service {
            name: source.service(),
            ..Service::default()
        };
        service.unit("SourcePath", source.path.display().to_string());
        let ours = source.kind.section();
        for (section, file, line) in &source.document.sections {
            let known =
                section == ours || section == "Quadlet" || PLAIN.contains(&section.as_str());
            if !known && !section.starts_with("X-") {
                problems.push(Problem {
                    file: file.clone(),
                    line: *line,
                    message: format!(
                        "[{section}] means nothing in a .{}",
                        source.kind.extension()
                    ),
                    hint: None,
                });
            }
        }
        for entry in &source.document.entries {
            if PLAIN.contains(&entry.section.as_str()) {
                let lines = service.own.entry(entry.section.clone()).or_default();
                lines.push((entry.key.clone(), entry.value.clone()));
            }
        }
        service
    }

    /// Adds a line to `[Unit]`.
    pub(crate) fn unit(&mut self, key: &'static str, value: impl Into<String>) {
        let line = (key, value.into());
        if !self.unit.contains(&line) {
            self.unit.push(line);
        }
    }

    /// Adds a line to `[Service]`.
    pub(crate) fn line(&mut self, key: &'static str, value: impl Into<String>) {
        self.lines.push((key, value.into()));
    }

    /// Does the file say this of itself?
    pub(crate) fn says(&self, section: &str, key: &str) -> bool {
        let lines = self.own.get(section);
        lines.is_some_and(|lines| lines.iter().any(|(own, _)| own == key))
    }

    /// Values of `[Install]`.
    pub(crate) fn install(&self, key: &str) -> Vec<&str> {
        let lines = self
            .own
            .get("Install")
            .map(Vec::as_slice)
            .unwrap_or_default();
        let of_key = lines.iter().filter(|(own, _)| own == key);
        of_key
            .flat_map(|(_, value)| value.split_whitespace())
            .collect()
    }

    /// The name with its suffix.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.service", self.name)
    }

    /// The unit file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = "# Made by hostrun-units; what is changed here is lost.\n".to_owned();
        let ours = |section: &str| match section {
            "Unit" => self.unit.as_slice(),
            "Service" => self.lines.as_slice(),
            _ => &[],
        };
        for section in ["Unit", "Service", "Install"] {
            let own = self.own.get(section).map(Vec::as_slice).unwrap_or_default();
            if ours(section).is_empty() && own.is_empty() {
                continue;
            }
            let own = own.iter().map(|(key, value)| (key.as_str(), value));
            let lines = ours(section)
                .iter()
                .map(|(key, value)| (*key, value))
                .chain(own);
            // A string takes whatever is written to it.
            writeln!(text, "\n[{section}]").unwrap_or_default();
            for (key, value) in lines {
                writeln!(text, "{key}={value}").unwrap_or_default();
            }
        }
        text
    }
}
