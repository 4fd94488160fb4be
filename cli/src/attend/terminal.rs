//! Our own terminal: its size, and raw mode that always ends.

use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};
use std::io::Stdin;

/// Columns and rows of the terminal on standard input or output, if one is there.
pub(crate) fn window_size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(std::io::stdout())
        .or_else(|_| tcgetwinsize(std::io::stdin()))
        .ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Standard input in raw mode until this is dropped.
#[derive(Debug)]
pub(super) struct Raw {
    input: Stdin,
    before: Termios,
}

impl Raw {
    /// Makes standard input raw; `None` when it is no terminal. With `line_ends` it still adds a CR to each LF of output.
    pub(super) fn enter(line_ends: bool) -> Option<Self> {
        let input = std::io::stdin();
        if !isatty(&input) {
            return None;
        }
        let before = tcgetattr(&input).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        raw.output_modes.set(OutputModes::OPOST, line_ends);
        tcsetattr(&input, OptionalActions::Drain, &raw).ok()?;
        Some(Self { input, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(&self.input, OptionalActions::Drain, &self.before) {
            crate::report::warn(&format!("cannot restore the terminal: {error}"));
        }
    }
}
