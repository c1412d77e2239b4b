//! Large pages for a large buffer.

use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};
use nix::unistd::{SysconfVar, sysconf};

/// The buffers that are worth it, in bytes: a large page is 2 MiB on most machines, and the first and the last of a
/// buffer are usually not whole.
const LEAST: usize = 4 * 1024 * 1024;

/// Asks the kernel to back a large, still empty buffer by large pages (`madvise(2)`, `MADV_HUGEPAGE`).
///
/// Fresh memory costs a page fault for every 4 KiB at its first touch otherwise, which takes longer than all else that
/// is done with the buffer. Where the kernel does not want to, nothing changes.
pub fn advise(buffer: &mut Vec<u8>) {
    if buffer.capacity() < LEAST {
        return;
    }
    let page =
        sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| usize::try_from(size).ok()).unwrap_or(4096);
    let bytes = buffer.as_mut_ptr();
    // Whole pages, the allocator's header among them: advice for a part would split the mapping, and one that has been
    // split cannot grow in place (`mremap(2)`).
    let before = bytes.addr() % page;
    let length = (before + buffer.capacity()).next_multiple_of(page);
    let Some(start) = NonNull::new(bytes.wrapping_byte_sub(before)) else { return };
    // SAFETY: every page holds a part of the vector's own allocation, so it is mapped, and the advice says how pages
    // are to be backed, not what is in them. A failure leaves them as they were.
    let _ = unsafe { madvise(start.cast(), length, MmapAdvise::MADV_HUGEPAGE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_keeps_what_is_in_it() {
        for length in [0, LEAST, 3 * LEAST + 5] {
            let mut buffer = Vec::with_capacity(length);
            buffer.extend_from_slice(b"head");
            let capacity = buffer.capacity();
            advise(&mut buffer);
            assert_eq!((buffer.as_slice(), buffer.capacity()), (b"head".as_slice(), capacity));
            buffer.resize(capacity, b'x');
            assert!(buffer.starts_with(b"headx") || length == 0);
            assert_eq!(buffer.iter().filter(|byte| **byte == b'x').count(), capacity - 4);
        }
    }
}
