//! Reads the manifest out of a library's ELF note, without loading the library.
//!
//! Loading is what must be avoided: it runs the library's initializers, and a file that is cut off kills the process
//! with SIGBUS (`dlopen(3)` maps it and touches pages behind its end).

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use guestd_abi::manifest::{Manifest, NOTE_NAME, NOTE_TYPE};
use object::Endianness;
use object::elf;
use object::pod::slice_from_bytes;
use object::read::elf::{FileHeader, NoteIterator, ProgramHeader};

#[cfg(target_pointer_width = "64")]
type Header = elf::FileHeader64<Endianness>;
#[cfg(target_pointer_width = "32")]
type Header = elf::FileHeader32<Endianness>;

type Segment = <Header as FileHeader>::ProgramHeader;

/// What is read of a file at first: linkers put the program headers and the notes at its beginning.
const HEAD: usize = 4096;
/// The most segments that a library may have; linkers make some ten.
const MAX_SEGMENTS: usize = 256;
/// The most bytes of notes that are looked through in a file, all its segments together; a manifest has some hundreds.
const MAX_NOTES: u64 = 1 << 20;

/// The machine that this daemon runs on, as the ELF header names it.
const MACHINE: Option<elf::Machine> = if cfg!(target_arch = "x86_64") {
    Some(elf::EM_X86_64)
} else if cfg!(target_arch = "aarch64") {
    Some(elf::EM_AARCH64)
} else if cfg!(target_arch = "riscv64") {
    Some(elf::EM_RISCV)
} else if cfg!(target_arch = "s390x") {
    Some(elf::EM_S390)
} else if cfg!(target_arch = "powerpc64") {
    Some(elf::EM_PPC64)
} else if cfg!(target_arch = "x86") {
    Some(elf::EM_386)
} else {
    None
};

/// A library's file, of which only what is needed is read.
struct Library {
    file: File,
    size: u64,
    head: Vec<u8>,
}

impl Library {
    fn new(file: File, size: u64) -> io::Result<Self> {
        let mut head = vec![0; HEAD.min(usize::try_from(size).unwrap_or(HEAD))];
        file.read_exact_at(&mut head, 0)?;
        Ok(Self { file, size, head })
    }

    /// Whether a range lies within the file.
    fn has(&self, offset: u64, length: u64) -> bool {
        offset.checked_add(length).is_some_and(|end| end <= self.size)
    }

    /// The bytes of a range; `None`: they cannot be read.
    fn bytes(&self, offset: u64, length: u64) -> Option<Cow<'_, [u8]>> {
        let (start, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
        if let Some(bytes) = self.head.get(start..start.checked_add(length)?) {
            return Some(bytes.into());
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes.into())
    }
}

/// Reads the manifest of a library, a file of `size` bytes. The error says, in a clause about the file, why it is no plugin.
// The words of a file for 32 bits are shorter.
#[allow(clippy::useless_conversion)]
pub fn read_manifest(file: File, size: u64) -> Result<Manifest, String> {
    let library = Library::new(file, size).map_err(|_| "cannot be read".to_owned())?;
    let header = Header::parse(library.head.as_slice()).map_err(|_| what_it_is(&library.head).to_owned())?;
    let endian = header.endian().map_err(|_| "is not an ELF file of this byte order".to_owned())?;
    if header.is_little_endian() != cfg!(target_endian = "little") {
        return Err("is built for another byte order".to_owned());
    }
    if MACHINE.is_some_and(|machine| header.e_machine(endian) != machine) {
        return Err(format!("is built for another machine than {}", std::env::consts::ARCH));
    }
    if header.e_type(endian) != elf::ET_DYN {
        return Err("is no shared library".to_owned());
    }
    // The table of sections comes last in a file, so that one whose end is missing has none.
    let table = u64::from(header.e_shnum(endian)) * u64::from(header.e_shentsize(endian));
    if !library.has(header.e_shoff(endian).into(), table) {
        return Err("is cut off".to_owned());
    }
    let count = usize::from(header.e_phnum(endian));
    if count > MAX_SEGMENTS {
        return Err(format!("has {count} segments, which no linker makes"));
    }
    let table = library.bytes(header.e_phoff(endian).into(), (count * size_of::<Segment>()) as u64);
    let table = table.as_deref().and_then(|table| slice_from_bytes::<Segment>(table, count).ok());
    let Some((segments, _)) = table else { return Err("is cut off".to_owned()) };
    if !segments.iter().all(|one| library.has(one.p_offset(endian).into(), one.p_filesz(endian).into())) {
        return Err("is cut off".to_owned());
    }
    let mut left = MAX_NOTES;
    for segment in segments.iter().filter(|one| one.p_type(endian) == elf::PT_NOTE) {
        let length = u64::from(segment.p_filesz(endian)).min(left);
        left -= length;
        let Some(notes) = library.bytes(segment.p_offset(endian).into(), length) else { continue };
        if let Some(text) = manifest_text(endian, segment, &notes) {
            let text = std::str::from_utf8(text).map_err(|_| "has a manifest that is not UTF-8".to_owned())?;
            return Manifest::parse(text).map_err(|error| format!("is no plugin: {error}"));
        }
    }
    Err("is no guestd plugin (it has no manifest)".to_owned())
}

/// The manifest among the notes of a segment.
fn manifest_text<'n>(endian: Endianness, segment: &Segment, notes: &'n [u8]) -> Option<&'n [u8]> {
    let mut notes = NoteIterator::<Header>::new(endian, segment.p_align(endian), notes).ok()?;
    while let Ok(Some(note)) = notes.next() {
        if note.name_bytes() == NOTE_NAME && note.n_type(endian).0 == NOTE_TYPE {
            return Some(note.desc());
        }
    }
    None
}

/// Why a file's header could not be read.
fn what_it_is(head: &[u8]) -> &'static str {
    match head {
        [0x7F, b'E', b'L', b'F', class, ..] => {
            let own = if cfg!(target_pointer_width = "64") { elf::ELFCLASS64 } else { elf::ELFCLASS32 };
            if *class == own.0 { "is cut off" } else { "is built for another word size" }
        }
        _ => "is not an ELF file",
    }
}

#[cfg(test)]
#[cfg(target_pointer_width = "64")]
mod tests {
    use super::*;
    use std::io::Write;

    /// A library for this machine with so many segments of notes; `at` says where each is, and how long. Behind them comes `tail`.
    fn library(segments: u16, at: impl Fn(u16) -> (u64, u64), tail: &[u8]) -> File {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let mut bytes = own[..64].to_vec();
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        // e_type, e_phoff, e_shoff, e_phnum, e_shentsize and e_shnum in elf(5).
        put(16, &elf::ET_DYN.0.to_ne_bytes());
        put(32, &64_u64.to_ne_bytes());
        put(40, &0_u64.to_ne_bytes());
        put(56, &segments.to_ne_bytes());
        put(58, &[0; 4]);
        for number in 0..segments {
            let (offset, length) = at(number);
            let words = [offset, 0, 0, length, length, 4].map(u64::to_ne_bytes).concat();
            bytes.extend([elf::PT_NOTE.0.to_ne_bytes(), 4_u32.to_ne_bytes()].concat());
            bytes.extend(words);
        }
        bytes.extend(tail);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    fn read(file: File) -> Result<Manifest, String> {
        let size = file.metadata().unwrap().len();
        read_manifest(file, size)
    }

    const MANIFEST: &str = "guestd-plugin 1\nabi 1.0\nname x\nversion 1\nvendor x\ncommand __com.example_x 1\n";

    fn manifest_note() -> Vec<u8> {
        let mut note = [7_u32, MANIFEST.len() as u32, NOTE_TYPE].map(u32::to_ne_bytes).concat();
        note.extend(b"guestd\0\0");
        note.extend(MANIFEST.as_bytes());
        note
    }

    #[test]
    fn a_library_has_few_segments_and_few_notes_or_none_is_looked_at() {
        let note = manifest_note();
        let start = |segments: u16| 64 + u64::from(segments) * 56;
        let found = read(library(256, |_| (start(256), note.len() as u64), &note));
        assert_eq!(found.unwrap().name, "x");
        let refused = read(library(257, |_| (start(257), note.len() as u64), &note));
        assert_eq!(refused.unwrap_err(), "has 257 segments, which no linker makes");
        // The notes before it use up what is looked at, though each segment is small.
        let filler = vec![0; 1 << 13];
        let tail = [filler.as_slice(), &note].concat();
        let length = note.len() as u64;
        let at = |last: u16| {
            move |number| if number < last { (start(256), 1 << 13) } else { (start(256) + (1 << 13), length) }
        };
        let within = read(library(256, at(120), &tail));
        assert_eq!(within.unwrap().name, "x");
        let beyond = read(library(256, at(128), &tail));
        assert_eq!(beyond.unwrap_err(), "is no guestd plugin (it has no manifest)");
    }
}
