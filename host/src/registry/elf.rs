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
/// The most bytes of notes that are looked through; a manifest has some hundreds.
const MOST_NOTES: u64 = 1 << 20;

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
    let table = library.bytes(header.e_phoff(endian).into(), (count * size_of::<Segment>()) as u64);
    let table = table.as_deref().and_then(|table| slice_from_bytes::<Segment>(table, count).ok());
    let Some((segments, _)) = table else { return Err("is cut off".to_owned()) };
    if !segments.iter().all(|one| library.has(one.p_offset(endian).into(), one.p_filesz(endian).into())) {
        return Err("is cut off".to_owned());
    }
    for segment in segments.iter().filter(|one| one.p_type(endian) == elf::PT_NOTE) {
        let length = u64::from(segment.p_filesz(endian)).min(MOST_NOTES);
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
