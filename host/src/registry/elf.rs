//! Reads the manifest out of a library's ELF note, without loading the library.
//!
//! Loading is what must be avoided: it runs the library's initializers, and a file that is cut off kills the process
//! with SIGBUS (`dlopen(3)` maps it and touches pages behind its end).

use std::fs::File;

use guestd_abi::manifest::{Manifest, NOTE_NAME, NOTE_TYPE};
use object::elf;
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable};
use object::{Endianness, ReadRef};

#[cfg(target_pointer_width = "64")]
type Header = elf::FileHeader64<Endianness>;
#[cfg(target_pointer_width = "32")]
type Header = elf::FileHeader32<Endianness>;

type Segment = <Header as FileHeader>::ProgramHeader;
type Sections<'d> = SectionTable<'d, Header, &'d ReadCache<File>>;

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

/// Whether everything that the headers tell of lies within the file.
// The words of a file for 32 bits are shorter.
#[allow(clippy::useless_conversion)]
fn is_whole(size: u64, endian: Endianness, segments: &[Segment], sections: &Sections<'_>) -> bool {
    let ends_within = |offset: u64, length: u64| offset.checked_add(length).is_some_and(|end| end <= size);
    let segments = segments.iter().map(|one| (one.p_offset(endian).into(), one.p_filesz(endian).into()));
    let sections = sections.iter().filter(|one| one.sh_type(endian) != elf::SHT_NOBITS);
    let sections = sections.map(|one| (one.sh_offset(endian).into(), one.sh_size(endian).into()));
    segments.chain(sections).all(|(offset, length)| ends_within(offset, length))
}

/// Reads the manifest of a library. The error says, in a clause about the file, why it is no plugin.
pub fn read_manifest(file: File) -> Result<Manifest, String> {
    let data = &ReadCache::new(file);
    let size = data.len().map_err(|()| "cannot be read".to_owned())?;
    let header = Header::parse(data).map_err(|_| what_it_is(data).to_owned())?;
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
    let cut_off = |_| "is cut off".to_owned();
    let segments = header.program_headers(endian, data).map_err(cut_off)?;
    let sections = header.sections(endian, data).map_err(cut_off)?;
    if !is_whole(size, endian, segments, &sections) {
        return Err("is cut off".to_owned());
    }
    for segment in segments {
        let Ok(Some(mut notes)) = segment.notes(endian, data) else { continue };
        while let Ok(Some(note)) = notes.next() {
            if note.name_bytes() == NOTE_NAME && note.n_type(endian).0 == NOTE_TYPE {
                let text =
                    std::str::from_utf8(note.desc()).map_err(|_| "has a manifest that is not UTF-8".to_owned())?;
                return Manifest::parse(text).map_err(|error| format!("is no plugin: {error}"));
            }
        }
    }
    Err("is no guestd plugin (it has no manifest)".to_owned())
}

/// Why a file's header could not be read.
fn what_it_is<'d>(data: impl ReadRef<'d>) -> &'static str {
    match data.read_bytes_at(0, 5) {
        Ok([0x7F, b'E', b'L', b'F', class]) => {
            let own = if cfg!(target_pointer_width = "64") { elf::ELFCLASS64 } else { elf::ELFCLASS32 };
            if *class == own.0 { "is cut off" } else { "is built for another word size" }
        }
        _ => "is not an ELF file",
    }
}
