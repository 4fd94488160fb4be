//! `-e NAME[=VALUE]` and the lines of an `--env-file`.

/// A variable as asked for: with its value, or to be taken from our own environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// `None`: whatever our own environment holds, nothing when it holds nothing.
    pub(crate) value: Option<String>,
}

/// Reads `NAME` or `NAME=VALUE`.
///
/// # Errors
/// When there is no name, or a NUL anywhere.
pub(crate) fn variable(text: &str) -> Result<Variable, String> {
    if text.contains('\0') {
        return Err("an environment variable cannot hold a NUL".to_owned());
    }
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err(format!("'{text}' has no variable name"));
    }
    Ok(Variable {
        name: name.to_owned(),
        value,
    })
}

/// Reads a file of variables: one a line, `#` starts a comment line, empty lines mean nothing, no quoting.
///
/// # Errors
/// When a line has no name or blanks in it; the message carries the line's number.
pub(crate) fn file(text: &str) -> Result<Vec<Variable>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut variables = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let numbered = |why: String| format!("line {}: {why}", index + 1);
        let found = variable(line).map_err(numbered)?;
        if found.name.contains(char::is_whitespace) {
            return Err(numbered(format!(
                "the name '{}' contains blanks",
                found.name
            )));
        }
        variables.push(found);
    }
    Ok(variables)
}

/// An environment in the making: order kept, a later value replaces an earlier one in place.
#[derive(Debug, Default, Clone)]
pub(crate) struct Environment(Vec<String>);

impl Environment {
    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        match self.0.iter_mut().find(|held| name_of(held) == name) {
            Some(held) => *held = entry,
            None => self.0.push(entry),
        }
    }

    /// Sets a variable only if it has no value yet.
    pub(crate) fn set_default(&mut self, name: &str, value: &str) {
        if !self.has(name) {
            self.set(name, value);
        }
    }

    /// Takes a whole `NAME=VALUE` entry as an image or a bundle writes it; one without `=` has no meaning and is left out.
    pub(crate) fn take(&mut self, entry: &str) {
        if let Some((name, value)) = entry.split_once('=')
            && !name.is_empty()
            && !entry.contains('\0')
        {
            self.set(name, value);
        }
    }

    /// Applies a variable from the command line; `own` looks up our own environment.
    pub(crate) fn apply(&mut self, variable: &Variable, own: &dyn Fn(&str) -> Option<String>) {
        match variable.value.clone().or_else(|| own(&variable.name)) {
            Some(value) => self.set(&variable.name, &value),
            None => self.0.retain(|held| name_of(held) != variable.name),
        }
    }

    /// Whether the variable has a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|held| name_of(held) == name)
    }

    /// The entries, ready for a process.
    pub(crate) fn into_entries(self) -> Vec<String> {
        self.0
    }
}

fn name_of(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}
