//! The memory that program text and constants take.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::slice;

use nix::libc::{MADV_DONTNEED, PF_W, PT_DYNAMIC, PT_LOAD, dl_iterate_phdr, dl_phdr_info, madvise, size_t};
use nix::unistd::{SysconfVar, sysconf};

/// Tags of a dynamic section (elf.h; elf(5), "Dynamic tags").
const DT_NULL: usize = 0;
const DT_TEXTREL: usize = 22;
const DT_FLAGS: usize = 30;
/// The bit of DT_FLAGS that says the same as DT_TEXTREL.
const DF_TEXTREL: usize = 4;

/// Unmaps what is loaded from the program's and the libraries' files and is never written to. It stays in the kernel's
/// page cache, from where it is mapped again, some sixteen pages at a time, when it is next used (madvise(2),
/// MADV_DONTNEED). What a freeze has locked stays (EINVAL).
pub(super) fn give_back() {
    let Ok(Some(page)) = sysconf(SysconfVar::PAGE_SIZE) else { return };
    let mut page = page as usize;
    // SAFETY: the callback has the demanded type, and gets the address of a number that outlives the call.
    unsafe {
        dl_iterate_phdr(Some(give_back_object), ptr::from_mut(&mut page).cast());
    }
}

/// Does it for one loaded object. No object is unloaded as long as the walk goes on: dl_iterate_phdr(3) holds the lock
/// that dlclose(3) takes.
unsafe extern "C" fn give_back_object(info: *mut dl_phdr_info, _: size_t, page: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr passes the description of an object that stays loaded meanwhile, and the number from above.
    let (base, headers, page) = unsafe {
        let info = &*info;
        (info.dlpi_addr as usize, slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()), *page.cast::<usize>())
    };
    let dynamic = headers.iter().find(|header| header.p_type == PT_DYNAMIC);
    // SAFETY: that is where the object's dynamic section is loaded.
    if dynamic.is_some_and(|header| unsafe { has_text_relocations(base.wrapping_add(header.p_vaddr as usize)) }) {
        return 0;
    }
    for header in headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_flags & PF_W == 0) {
        let from = base.wrapping_add(header.p_vaddr as usize);
        let start = from / page * page;
        let length = (from - start + header.p_memsz as usize).next_multiple_of(page);
        // SAFETY: the pages are mapped from the object's file, and nothing has written to them, so that the same bytes are
        // read again.
        unsafe {
            madvise(ptr::with_exposed_provenance_mut(start), length, MADV_DONTNEED);
        }
    }
    0
}

/// Whether the loader has written to the text of the object whose dynamic section is at this address.
///
/// # Safety
///
/// There is a dynamic section: pairs of words, a tag and its value, the last of which has the tag DT_NULL.
unsafe fn has_text_relocations(dynamic: usize) -> bool {
    let mut entry: *const [usize; 2] = ptr::with_exposed_provenance(dynamic);
    loop {
        // SAFETY: no entry up to here was the last.
        let [tag, value] = unsafe { *entry };
        match tag {
            DT_NULL => return false,
            DT_TEXTREL => return true,
            DT_FLAGS if value & DF_TEXTREL != 0 => return true,
            // SAFETY: this one was not the last.
            _ => entry = unsafe { entry.add(1) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The resident pages of this process that are mapped from files, in KiB (proc_pid_status(5)).
    fn resident_from_files() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssFile:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn text_goes_and_comes_back() {
        let text = format!("{:?} {}", std::time::Instant::now(), 0.1f64.sin());
        let before = resident_from_files();
        give_back();
        let after = resident_from_files();
        assert!(after < before * 3 / 4, "{before} KiB before, {after} after");
        assert!(format!("{:?} {}", std::time::Instant::now(), 0.1f64.sin()).len().abs_diff(text.len()) < 9);
    }

    #[test]
    fn text_relocations_are_seen() {
        for (section, expected) in [
            ([[5, 22], [DT_TEXTREL, 0], [DT_NULL, 0]], true),
            ([[DT_FLAGS, 8 | DF_TEXTREL], [5, 0], [DT_NULL, 0]], true),
            ([[DT_FLAGS, 8], [5, DF_TEXTREL], [DT_NULL, 0]], false),
        ] {
            // SAFETY: it ends with the tag DT_NULL.
            assert_eq!(unsafe { has_text_relocations(section.as_ptr().expose_provenance()) }, expected);
        }
    }
}
