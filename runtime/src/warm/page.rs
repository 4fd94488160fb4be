//! The memory that a parked process keeps of its maker's, beside its stack and its code.

use super::message::{self, Lists};
use crate::error::Result;
use std::cell::Cell;
use std::ffi::c_char;
use std::mem::size_of;
use std::ops::Range;
use std::ptr::without_provenance;

pub(super) const WORD: usize = size_of::<usize>();

/// Words for a program: 64 KiB for arguments, environment and the pointers to them.
pub(super) const WORDS: usize = 8192;

/// More parts of a process's memory than these are not given back.
const PARTS: usize = 32;

/// Where it is told its program, or finds it. The process has a copy of our memory, so it is at the same
/// address there; ours is given back as soon as it was cloned.
#[derive(Debug)]
pub(crate) struct Page {
    words: Vec<Cell<*const c_char>>,
    told: bool,
    surplus: usize,
}

impl Page {
    /// For a program that is told later.
    pub(crate) fn new() -> Page {
        Page {
            words: vec![Cell::new(std::ptr::null()); WORDS + 2 * PARTS],
            told: false,
            surplus: 0,
        }
    }

    /// With a program.
    ///
    /// # Errors
    /// `InvalidSpec` where it is larger than that.
    pub(crate) fn with(lists: Lists<'_>) -> Result<Page> {
        let page = Page::new();
        let message = message::write(page.address(), lists, 0)?;
        for (word, bytes) in page.words.iter().zip(message.chunks(WORD)) {
            let mut whole = [0; WORD];
            whole
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, from)| *to = *from);
            word.set(without_provenance(usize::from_ne_bytes(whole)));
        }
        Ok(Page { told: true, ..page })
    }

    /// Notes what else of our memory the process may forget: the largest of these parts.
    pub(crate) fn with_surplus(mut self, mut parts: Vec<Range<usize>>) -> Page {
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        parts.truncate(PARTS);
        let ends = parts.iter().flat_map(|part| [part.start, part.end]);
        let places = self.words.iter().skip(WORDS);
        places
            .zip(ends)
            .for_each(|(place, end)| place.set(without_provenance(end)));
        self.surplus = 2 * parts.len();
        self
    }

    pub(crate) fn program(&self) -> &[Cell<*const c_char>] {
        self.words.get(..WORDS).unwrap_or_default()
    }

    pub(crate) fn surplus(&self) -> &[Cell<*const c_char>] {
        self.words
            .get(WORDS..WORDS + self.surplus)
            .unwrap_or_default()
    }

    pub(crate) fn is_told(&self) -> bool {
        self.told
    }

    pub(crate) fn address(&self) -> usize {
        self.words.as_ptr().addr()
    }

    /// Where all of it is.
    pub(crate) fn range(&self) -> Range<usize> {
        self.address()..self.address() + self.words.len() * WORD
    }
}
