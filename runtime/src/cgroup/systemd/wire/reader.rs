//! Reading what a peer sent: any bytes at all.

pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn align(&mut self, to: usize) -> Option<()> {
        self.at = self.at.checked_next_multiple_of(to)?;
        Some(())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.align(4)?;
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn string(&mut self, length: usize) -> Option<String> {
        let text = self.take(length)?;
        (self.byte()? == 0).then(|| String::from_utf8_lossy(text).into_owned())
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.string(length)
    }

    pub(super) fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        self.string(length)
    }

    pub(super) fn texts(&mut self, types: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for kind in types.chars() {
            let text = match kind {
                's' | 'o' => self.text(),
                'v' => {
                    let inside = self.signature().filter(|kind| kind == "s" || kind == "o");
                    inside.and_then(|_text| self.text())
                }
                'u' if self.u32().is_some() => continue,
                _ => None,
            };
            match text {
                Some(text) => texts.push(text),
                None => break,
            }
        }
        texts
    }
}
