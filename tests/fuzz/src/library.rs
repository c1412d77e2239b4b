//! A library's file: the note that holds the manifest.

use std::fs::File;
use std::io::Write;

use guestd::registry::read_manifest;
use guestd_abi::manifest::{NOTE_NAME, NOTE_TYPE};

use crate::{Rng, Target, manifest};

/// The reader of libraries.
pub const TARGET: Target = Target { name: "library", check, make };

/// Sizes of what an ELF file of 64 bits is made of (elf(5)).
const HEADER: usize = 64;
const SEGMENT: usize = 56;
const SECTION: usize = 64;

/// Where the header's fields are, and how many bytes each has.
const HEADER_FIELDS: [(usize, usize); 17] = [
    (4, 1),
    (5, 1),
    (6, 1),
    (7, 1),
    (16, 2),
    (18, 2),
    (20, 4),
    (24, 8),
    (32, 8),
    (40, 8),
    (48, 4),
    (52, 2),
    (54, 2),
    (56, 2),
    (58, 2),
    (60, 2),
    (62, 2),
];
/// The same of a segment's.
const SEGMENT_FIELDS: [(usize, usize); 8] = [(0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 8), (48, 8)];

/// A shared library with nothing in it but notes.
#[derive(Debug, Clone)]
pub struct Library {
    /// The notes of each segment of type `PT_NOTE`, as bytes.
    pub segments: Vec<Vec<u8>>,
    /// How many sections its table has.
    pub sections: u16,
}

/// A note (elf(5), "Notes"): its name, whose end is counted, its type and its descriptor.
#[must_use]
pub fn note(name: &[u8], kind: u32, descriptor: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [name.len(), descriptor.len()] {
        bytes.extend(u32::try_from(number).unwrap().to_ne_bytes());
    }
    bytes.extend(kind.to_ne_bytes());
    for part in [name, descriptor] {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// The note that holds a manifest.
#[must_use]
pub fn manifest_note(text: &str) -> Vec<u8> {
    note(NOTE_NAME, NOTE_TYPE, text.as_bytes())
}

impl Library {
    /// The file, as a linker lays it out: header, segments, notes, sections.
    ///
    /// # Panics
    ///
    /// If there are more segments than the format counts.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let notes_at = HEADER + SEGMENT * self.segments.len();
        let sections_at = notes_at + self.segments.iter().map(Vec::len).sum::<usize>();
        let mut file = vec![0; HEADER];
        file[..7].copy_from_slice(&[0x7F, b'E', b'L', b'F', 2, if cfg!(target_endian = "little") { 1 } else { 2 }, 1]);
        let machine = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
        for (at, size, value) in [
            (16, 2, 3),
            (18, 2, machine),
            (20, 4, 1),
            (32, 8, HEADER),
            (40, 8, sections_at),
            (52, 2, HEADER),
            (54, 2, SEGMENT),
            (56, 2, self.segments.len()),
            (58, 2, SECTION),
            (60, 2, usize::from(self.sections)),
        ] {
            put(&mut file, at, size, value as u64);
        }
        let mut at = notes_at;
        for notes in &self.segments {
            let mut segment = vec![0; SEGMENT];
            // PT_NOTE, readable.
            for (place, size, value) in
                [(0, 4, 4), (4, 4, 4), (8, 8, at), (16, 8, at), (32, 8, notes.len()), (40, 8, notes.len()), (48, 8, 4)]
            {
                put(&mut segment, place, size, value as u64);
            }
            file.extend(segment);
            at += notes.len();
        }
        file.extend(self.segments.concat());
        file.resize(file.len() + SECTION * usize::from(self.sections), 0);
        file
    }
}

/// Writes a number in the machine's byte order; what lies behind the end is left out.
fn put(file: &mut [u8], at: usize, size: usize, value: u64) {
    let bytes = value.to_ne_bytes();
    let bytes = if cfg!(target_endian = "little") { &bytes[..size] } else { &bytes[8 - size..] };
    if let Some(field) = file.get_mut(at..at + size) {
        field.copy_from_slice(bytes);
    }
}

/// A library with a manifest among its notes, some of whose fields say something else.
fn make(rng: &mut Rng) -> Vec<u8> {
    let text = manifest::text(rng);
    let mut segments: Vec<_> = (0..rng.usize(0..4))
        .map(|_| {
            let count = if rng.u8(0..30) == 0 { rng.usize(0..500) } else { rng.usize(0..3) };
            (0..count).flat_map(|_| note(b"GNU\0", rng.u32(0..9), &vec![7; rng.usize(0..20)])).collect()
        })
        .collect();
    segments.push(manifest_note(&text));
    rng.shuffle(&mut segments);
    let library = Library { sections: rng.u16(0..4), segments };
    let mut file = library.bytes();
    for _ in 0..rng.usize(0..3) {
        let (at, size) = if rng.bool() {
            *rng.choice(HEADER_FIELDS.iter()).unwrap()
        } else {
            let (at, size) = *rng.choice(SEGMENT_FIELDS.iter()).unwrap();
            (HEADER + SEGMENT * rng.usize(0..library.segments.len()) + at, size)
        };
        let length = file.len() as u64;
        let edges = [
            0,
            1,
            3,
            4,
            0x7F,
            0xFF,
            0xFFFF,
            u64::from(u32::MAX),
            u64::MAX,
            1 << 63,
            length,
            length - 1,
            length + 1,
            rng.u64(..),
        ];
        put(&mut file, at, size, rng.choice(edges).unwrap());
    }
    if rng.u8(0..10) == 0 {
        file.truncate(rng.usize(0..=file.len()));
    }
    file
}

/// A file in memory with these bytes.
///
/// # Panics
///
/// If there can be none.
#[must_use]
pub fn file_of(bytes: &[u8]) -> File {
    let file = nix::sys::memfd::memfd_create("library", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap();
    let mut file = File::from(file);
    file.write_all(bytes).unwrap();
    file
}

fn check(bytes: &[u8]) {
    let length = bytes.len() as u64;
    let whole = read_manifest(file_of(bytes), length);
    match &whole {
        Ok(manifest) => assert!(!manifest.name.is_empty()),
        Err(why) => assert!(!why.is_empty() && !why.contains('\n') && why.len() < 2000, "{why:?}"),
    }
    // The file has grown or shrunk since its size was asked for.
    for size in [length / 2, length.saturating_sub(1), length + 1, length + 5000, 0] {
        let _ = read_manifest(file_of(bytes), size);
    }
}
