//! How to make a layer's tar again out of its directory: everything of the tar but file data.
//!
//! The stream that a layer was unpacked from cannot be made up from the directory: header fields
//! that nobody keeps, orders, paddings. Its headers are written down as they pass, a hundredth of
//! the layer; with the data of the files they give the very bytes whose digest is the diffID. So a
//! layer can be verified, and saved, without a second copy of it.
//!
//! A recipe is a row of pieces: `1` and a length, then so many bytes; `2` and a number of zeros; `3`
//! and a number of bytes of data of the file that the header before it describes. Numbers are
//! 64 bits, little end first.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

use crate::tape::{Segment, Tape};

const LITERAL: u8 = 1;
const ZEROS: u8 = 2;
const DATA: u8 = 3;

/// Shorter rows of zeros are not worth a piece of their own.
const RUN: usize = 16;
const BUFFER: usize = 64 * 1024;

/// A tape whose headers are written down as they pass.
pub(crate) struct Recorder<T> {
    tape: T,
    recipe: BufWriter<File>,
    /// Data that passed since the last piece.
    data: u64,
    /// What is being written down.
    passing: Vec<u8>,
    failed: Option<io::Error>,
}

impl<T: Tape> Recorder<T> {
    pub(crate) fn new(tape: T, recipe: File) -> Self {
        Self {
            tape,
            recipe: BufWriter::with_capacity(BUFFER, recipe),
            data: 0,
            passing: Vec::new(),
            failed: None,
        }
    }

    /// Writes down what is left.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.put_data()?;
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.recipe.flush(),
        }
    }

    fn put_data(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.data) {
            0 => Ok(()),
            count => self.piece(DATA, count),
        }
    }

    fn piece(&mut self, kind: u8, count: u64) -> io::Result<()> {
        self.recipe.write_all(&[kind])?;
        self.recipe.write_all(&count.to_le_bytes())
    }

    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Looked for where a row of zeros would begin in a header field, not at every byte.
        let (chunks, rest) = bytes.as_chunks::<RUN>();
        let mut begun = 0;
        while begun < chunks.len() {
            let chunks = chunks.get(begun..).unwrap_or_default();
            let is_zero = chunks.first() == Some(&[0; RUN]);
            let same = chunks.iter().take_while(|c| (**c == [0; RUN]) == is_zero);
            let count = same.count();
            begun += count;
            if is_zero {
                self.piece(ZEROS, (count * RUN) as u64)?;
            } else {
                let bytes = chunks.get(..count).unwrap_or_default().as_flattened();
                self.literal(bytes)?;
            }
        }
        self.literal(rest)
    }

    fn literal(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.piece(LITERAL, bytes.len() as u64)?;
        self.recipe.write_all(bytes)
    }
}

impl<T: Tape> Read for Recorder<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ready = self.fill_buf()?;
        let count = ready.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<T: Tape> BufRead for Recorder<T> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.tape.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Err(error) = self.put_data() {
            self.failed = Some(error);
        }
        let mut bytes = std::mem::take(&mut self.passing);
        bytes.clear();
        // What was just looked at is still there.
        let ready = self.tape.fill_buf().unwrap_or_default();
        bytes.extend_from_slice(ready.get(..amount).unwrap_or(ready));
        self.failed = self.failed.take().or(self.record(&bytes).err());
        self.passing = bytes;
        self.tape.consume(amount);
    }
}

impl<T: Tape> Tape for Recorder<T> {
    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let ready = self.fill_buf()?.len();
            if ready == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let part = ready.min(usize::try_from(count).unwrap_or(usize::MAX));
            self.consume(part);
            count -= part as u64;
        }
        Ok(())
    }

    fn consume_data(&mut self, amount: usize) {
        self.data += amount as u64;
        self.tape.consume(amount);
    }
}

/// The tar of a recipe, while the files it needs are handed to it one by one. All that is read goes
/// to `sink` as well.
pub(crate) struct Player<'p, W> {
    recipe: BufReader<File>,
    sink: W,
    kind: u8,
    left: u64,
    buffer: Vec<u8>,
    at: usize,
    pantry: &'p Pantry,
    failed: Option<io::Error>,
}

/// How many bytes the tar of a recipe has.
pub(crate) fn length(recipe: File) -> io::Result<u64> {
    let pantry = Pantry::default();
    let mut player = Player::new(recipe, io::sink(), &pantry);
    let mut sum = 0_u64;
    while player.next_piece()? {
        sum = sum.saturating_add(player.left);
        if player.kind == LITERAL {
            let skipped = io::copy(
                &mut player.recipe.by_ref().take(player.left),
                &mut io::sink(),
            )?;
            if skipped != player.left {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
    Ok(sum)
}

/// Where a player finds the file whose data comes next.
#[derive(Default)]
pub(crate) struct Pantry(RefCell<Option<Ingredient>>);

impl Pantry {
    pub(crate) fn put(&self, file: File, mut segments: Vec<Segment>) {
        segments.reverse();
        self.0.replace(Some(Ingredient { file, segments }));
    }
}

/// A file, and where in it the data of the tar is.
struct Ingredient {
    file: File,
    /// In reverse order.
    segments: Vec<Segment>,
}

impl<'p, W: Write> Player<'p, W> {
    pub(crate) fn new(recipe: File, sink: W, pantry: &'p Pantry) -> Self {
        Self {
            recipe: BufReader::with_capacity(BUFFER, recipe),
            sink,
            kind: 0,
            left: 0,
            buffer: Vec::new(),
            at: 0,
            pantry,
            failed: None,
        }
    }

    /// The sink, when all was read.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(self.sink),
        }
    }

    /// The next piece; false at the end.
    fn next_piece(&mut self) -> io::Result<bool> {
        if self.recipe.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let (mut kind, mut count) = ([0], [0; 8]);
        self.recipe.read_exact(&mut kind)?;
        self.recipe.read_exact(&mut count)?;
        (self.kind, self.left) = (u8::from_le_bytes(kind), u64::from_le_bytes(count));
        Ok(true)
    }

    fn load(&mut self) -> io::Result<()> {
        (self.at, self.buffer) = (0, std::mem::take(&mut self.buffer));
        self.buffer.clear();
        while self.left == 0 {
            if !self.next_piece()? {
                return Ok(());
            }
        }
        let length = usize::try_from(self.left).unwrap_or(BUFFER).min(BUFFER);
        self.buffer.resize(length, 0);
        match self.kind {
            LITERAL => self.recipe.read_exact(&mut self.buffer)?,
            ZEROS => {}
            DATA => {
                let mut file = self.pantry.0.borrow_mut();
                let file = file.as_mut().ok_or(io::ErrorKind::InvalidData)?;
                let count = file.read(&mut self.buffer)?;
                self.buffer.truncate(count);
            }
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "not a recipe")),
        }
        self.left -= self.buffer.len() as u64;
        Ok(())
    }
}

impl Ingredient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let segment = self.segments.last_mut();
        let segment = segment.ok_or(io::ErrorKind::UnexpectedEof)?;
        let limit = usize::try_from(segment.length).unwrap_or(usize::MAX);
        let limit = limit.min(buffer.len());
        let part = buffer.get_mut(..limit).unwrap_or_default();
        let count = self.file.read_at(part, segment.offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        segment.offset += count as u64;
        segment.length -= count as u64;
        if segment.length == 0 {
            self.segments.pop();
        }
        Ok(count)
    }
}

impl<W: Write> Read for Player<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ready = self.fill_buf()?;
        let count = ready.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<W: Write> BufRead for Player<'_, W> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.at >= self.buffer.len() {
            self.load()?;
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let bytes = rest.get(..amount).unwrap_or(rest);
        self.failed = self.failed.take().or(self.sink.write_all(bytes).err());
        self.at += bytes.len();
    }
}

impl<W: Write> Tape for Player<'_, W> {
    fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let ready = self.fill_buf()?.len();
            if ready == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let part = ready.min(usize::try_from(count).unwrap_or(usize::MAX));
            self.consume(part);
            count -= part as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::Streamed;
    use proptest::prelude::*;
    use std::io::{Cursor, Seek};

    /// Plays what was recorded, with all data out of one file.
    fn play(recipe: File, data: File, length: u64) -> Vec<u8> {
        let pantry = Pantry::default();
        let mut player = Player::new(recipe, Vec::new(), &pantry);
        let whole = Segment { offset: 0, length };
        pantry.put(data, vec![whole]);
        io::copy(&mut player, &mut io::sink()).unwrap();
        player.finish().unwrap()
    }

    proptest! {
        #[test]
        fn what_was_recorded_is_played(parts in prop::collection::vec((any::<bool>(), prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..900)), 0..12)) {
            let all: Vec<u8> = parts.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            let (mut recipe, mut data) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            let tape = Streamed(Cursor::new(all.clone()));
            let mut recorder = Recorder::new(tape, recipe.try_clone().unwrap());
            let mut sum = 0;
            for (is_data, bytes) in &parts {
                recorder.fill_buf().unwrap();
                if *is_data {
                    recorder.consume_data(bytes.len());
                    data.write_all(bytes).unwrap();
                    sum += bytes.len() as u64;
                } else {
                    recorder.consume(bytes.len());
                }
            }
            recorder.finish().unwrap();
            recipe.rewind().unwrap();
            prop_assert_eq!(length(recipe.try_clone().unwrap()).unwrap(), all.len() as u64);
            recipe.rewind().unwrap();
            prop_assert_eq!(play(recipe, data, sum), all);
        }

        #[test]
        fn what_is_no_recipe_is_an_error_or_short(bytes: Vec<u8>) {
            let mut recipe = tempfile::tempfile().unwrap();
            recipe.write_all(&bytes).unwrap();
            recipe.rewind().unwrap();
            drop(length(recipe.try_clone().unwrap()));
            recipe.rewind().unwrap();
            let pantry = Pantry::default();
            let player = Player::new(recipe, io::sink(), &pantry);
            io::copy(&mut player.take(1 << 20), &mut io::sink()).ok();
        }
    }
}
