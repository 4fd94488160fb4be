//! Images read back as the kernel reads them, and one held to the byte.

use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::prelude::*;
use tar::{EntryType, Header};

use super::{Index, Label};
use crate::digest::Digest;
use crate::limits::Limits;
use crate::tape::{EntryStream, Streamed};
use crate::unpack::{Unpacked, fill};

fn entry(kind: EntryType, name: &[u8], size: usize, target: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o640);
    header.set_uid(70_000);
    header.set_gid(5);
    header.set_mtime(1_000_000_000);
    header.set_size(size as u64);
    header.set_device_major(8).unwrap();
    header.set_device_minor(300).unwrap();
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name);
    old.linkname[..target.len()].copy_from_slice(target);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(512 + size.next_multiple_of(512), 0);
    bytes[512..512 + size].fill(b'x');
    bytes
}

fn index_of(tar: &[u8]) -> crate::error::Result<(Index, u64)> {
    let mut index = Index::new();
    let mut tape = Streamed(Cursor::new(tar));
    let mut stream = EntryStream::new(&mut tape);
    let entries = fill(&mut index, &mut stream, &Limits::default())?;
    Ok((index, entries))
}

/// The image of a tar; none when the layer is odd or refused.
fn image(tar: &[u8]) -> Option<(Vec<u8>, Unpacked)> {
    let (mut index, entries) = index_of(tar).ok()?;
    let unpacked = index.unpacked(entries);
    let digest = Digest::of(tar);
    let label = Label {
        digest: digest.hex(),
        tar_bytes: tar.len() as u64,
    };
    let mut image = Vec::new();
    index.settle()?.write(&label, &mut image).unwrap();
    Some((image, unpacked))
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let mut number = [0; 8];
    number[..length].copy_from_slice(&bytes[at..at + length]);
    u64::from_le_bytes(number)
}

/// An inode as the image has it.
struct Inode<'a> {
    mode: u64,
    size: usize,
    links: u64,
    union: u64,
    layout: u64,
    /// What stands behind it and its attributes.
    tail: usize,
    image: &'a [u8],
}

impl<'a> Inode<'a> {
    fn at(image: &'a [u8], number_of: u64) -> Self {
        let at = usize::try_from(number_of).unwrap() * 32;
        let field = |offset, length| number(image, at + offset, length);
        let format = field(0, 2);
        assert_eq!(format & 1, 1, "the complete form");
        let attributes = match field(2, 2) {
            0 => 0,
            count => 12 + (count - 1) * 4,
        };
        Self {
            mode: field(4, 2),
            size: usize::try_from(field(8, 8)).unwrap(),
            links: field(44, 4),
            union: field(16, 4),
            layout: format >> 1,
            tail: at + 64 + usize::try_from(attributes).unwrap(),
            image,
        }
    }

    fn kind(&self) -> u64 {
        self.mode >> 12
    }

    fn data(&self) -> &'a [u8] {
        let start = match self.layout {
            0 => usize::try_from(self.union).unwrap() * 512,
            2 => {
                let inside = self.tail % 512 + self.size;
                assert!(inside <= 512, "inline data is in one block");
                self.tail
            }
            layout => panic!("layout {layout}"),
        };
        &self.image[start..start + self.size]
    }

    fn names(&self) -> Vec<(Vec<u8>, u64, u64)> {
        let mut names = Vec::new();
        for block in self.data().chunks(512) {
            let count = usize::try_from(number(block, 8, 2)).unwrap() / 12;
            for index in 0..count {
                let start = usize::try_from(number(block, index * 12 + 8, 2)).unwrap();
                let end = if index + 1 < count {
                    usize::try_from(number(block, index * 12 + 20, 2)).unwrap()
                } else {
                    let rest = &block[start..];
                    start + rest.iter().position(|b| *b == 0).unwrap_or(rest.len())
                };
                let kind = u64::from(block[index * 12 + 10]);
                names.push((
                    block[start..end].to_vec(),
                    number(block, index * 12, 8),
                    kind,
                ));
            }
        }
        assert!(names.is_sorted(), "names are in order");
        names
    }
}

/// Goes through a whole image and checks what the kernel relies on; all paths.
fn check(image: &[u8]) -> BTreeMap<String, u64> {
    assert!(image.len().is_multiple_of(512));
    assert_eq!(number(image, 1024, 4), 0xe0f5_e1e2);
    assert_eq!(number(image, 1024 + 36, 4) * 512, image.len() as u64);
    let root = number(image, 1024 + 14, 2);
    let (mut found, mut seen) = (BTreeMap::new(), BTreeMap::new());
    let mut todo = vec![(String::new(), root, root)];
    while let Some((path, at, parent)) = todo.pop() {
        let inode = Inode::at(image, at);
        let names = inode.names();
        let mut subdirectories = 0;
        for (name, target, kind) in names {
            let inner = Inode::at(image, target);
            let expected = match inner.kind() {
                0o10 => 1,
                0o4 => 2,
                0o2 => 3,
                0o6 => 4,
                0o1 => 5,
                0o12 => 7,
                _ => 0,
            };
            assert_eq!(kind, expected);
            match name.as_slice() {
                b"." => assert_eq!(target, at),
                b".." => assert_eq!(target, parent),
                _ => {
                    let path = format!("{path}/{}", name.escape_ascii());
                    *seen.entry(target).or_insert(0) += 1;
                    if inner.kind() == 0o4 {
                        subdirectories += 1;
                        todo.push((path.clone(), target, at));
                    }
                    found.insert(path, target);
                }
            }
        }
        assert_eq!(inode.links, 2 + subdirectories);
    }
    for (target, names) in &seen {
        let inode = Inode::at(image, *target);
        assert!(inode.kind() == 0o4 || inode.links == *names);
    }
    assert_eq!(number(image, 1024 + 16, 8), seen.len() as u64 + 1);
    found
}

fn small() -> Vec<u8> {
    let parts = [
        entry(EntryType::Directory, b"etc/", 0, b""),
        entry(EntryType::Regular, b"etc/passwd", 700, b""),
        entry(EntryType::Link, b"etc/again", 0, b"etc/passwd"),
        entry(EntryType::Symlink, b"etc/link", 0, b"passwd"),
        entry(EntryType::Block, b"disk", 0, b""),
        entry(EntryType::Regular, b"etc/.wh.gone", 0, b""),
        entry(EntryType::Regular, b"deep/er/file", 0, b""),
        vec![0; 1024],
    ];
    parts.concat()
}

#[test]
fn a_small_image_is_what_it_was() {
    let (bytes, unpacked) = image(&small()).unwrap();
    let found = check(&bytes);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    let expected = [
        "/deep",
        "/deep/er",
        "/deep/er/file",
        "/disk",
        "/etc",
        "/etc/again",
        "/etc/gone",
        "/etc/link",
        "/etc/passwd",
    ];
    assert_eq!(names, expected);
    assert_eq!(found["/etc/again"], found["/etc/passwd"]);
    let passwd = Inode::at(&bytes, found["/etc/passwd"]);
    // 700 bytes are one chunk of two blocks; its data begins behind the second header.
    assert_eq!((passwd.layout, passwd.union, passwd.size), (4, 0x21, 700));
    let chunk = passwd.tail.next_multiple_of(8);
    assert_eq!(bytes[chunk..chunk + 8], [0, 0, 1, 0, 2, 0, 0, 0]);
    assert_eq!(Inode::at(&bytes, found["/etc/link"]).data(), b"passwd");
    assert_eq!(Inode::at(&bytes, found["/disk"]).union, 0x10_082c);
    let gone = Inode::at(&bytes, found["/etc/gone"]);
    assert_eq!((gone.mode, gone.union), (0o020_000, 0));
    assert_eq!(unpacked.implied, [b"deep".to_vec(), b"deep/er".to_vec()]);
    assert_eq!((unpacked.entries, unpacked.bytes), (7, 700));
    // Kernels have to read in years to come what was written once.
    let known = "sha256:39e383365df2c34a2f86e8aa8045a71f30e54b2864228e7cb6bb6f46713c75ee";
    assert_eq!(Digest::of(&bytes).to_string(), known);
}

#[test]
fn what_was_replaced_is_not_reached_and_layers_that_need_more_are_odd() {
    let kept = [
        entry(EntryType::Directory, b"d/", 0, b""),
        entry(EntryType::Regular, b"d/x", 10, b""),
        entry(EntryType::Regular, b"d", 20, b""),
        entry(EntryType::Regular, b"d", 30, b""),
    ];
    let (bytes, _) = image(&kept.concat()).unwrap();
    let found = check(&bytes);
    assert_eq!(found.len(), 1);
    assert_eq!(Inode::at(&bytes, found["/d"]).size, 30);
    for odd in [
        [
            entry(EntryType::Symlink, b"l", 0, b"d"),
            entry(EntryType::Regular, b"l/x", 0, b""),
        ],
        [
            entry(EntryType::Directory, b"d", 0, b""),
            entry(EntryType::Regular, b"d/../x", 0, b""),
        ],
        [
            entry(EntryType::Regular, b"f", 0, b""),
            entry(EntryType::Regular, b"f/x", 0, b""),
        ],
        [
            entry(EntryType::Directory, b"d", 0, b""),
            entry(EntryType::Link, b"x", 0, b"d"),
        ],
    ] {
        let (index, entries) = index_of(&odd.concat()).unwrap();
        assert!(index.odd().is_some() && entries == 2);
    }
}

#[test]
fn memory_for_names_has_an_end() {
    let mut tar = Vec::new();
    for number in 0..200_000 {
        tar.extend(entry(
            EntryType::Regular,
            format!("f{number}").as_bytes(),
            0,
            b"",
        ));
    }
    let (index, entries) = index_of(&tar).unwrap();
    assert_eq!(entries, 200_000);
    assert_eq!(index.odd(), Some("more entries than are kept in memory"));
}

proptest! {
    #[test]
    fn any_layer_is_an_image_that_holds_together(wishes in prop::collection::vec((
        prop::sample::select(b"0055512346".to_vec()),
        "[abc.]{1,2}(/[abc]{1,40}){0,3}|(\\.wh\\.)?[ab]|[ab]/\\.wh\\.\\.wh\\.\\.opq",
        "[abc]{1,2}(/[abc]{1,40}){0,1}",
        0_usize..2000,
    ), 0..40)) {
        let mut tar = Vec::new();
        for (kind, name, target, size) in &wishes {
            let kind = EntryType::new(*kind);
            let size = if kind.is_file() { *size } else { 0 };
            let bytes = name.as_bytes();
            tar.extend(entry(kind, &bytes[..bytes.len().min(100)], size, target.as_bytes()));
        }
        if let Some((bytes, unpacked)) = image(&tar) {
            let found = check(&bytes);
            prop_assert!(unpacked.implied.len() <= found.len());
            prop_assert_eq!(image(&tar).unwrap().0, bytes);
        }
    }
}
