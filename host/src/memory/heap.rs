//! How the C library's allocator is to handle memory.

/// Keeps freed memory in the process until [`give_back`] is called, up to a limit, and in one heap.
///
/// mallopt(3): at M_MMAP_THRESHOLD and above, memory is mapped and unmapped by itself, which keeps nothing; setting it also
/// switches off its growth. M_TRIM_THRESHOLD bounds what is kept at the heap's top, and one arena for all threads does
/// away with an arena of its own for each worker.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn tune() {
    // The greatest value that there is on machines of 64 bits.
    const MMAP_FROM: i32 = 32 << 20;
    const KEEP: i32 = 64 << 20;
    // SAFETY: mallopt takes two numbers and changes the allocator's parameters; no other thread allocates yet.
    unsafe {
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, MMAP_FROM);
        nix::libc::mallopt(nix::libc::M_TRIM_THRESHOLD, KEEP);
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
    }
}

/// Gives memory that is not in use back to the system (malloc_trim(3)).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn give_back() {
    // SAFETY: malloc_trim takes a number and may be called at any time, from any thread.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Other C libraries have no such parameters.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn tune() {}

/// Other C libraries give memory back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn give_back() {}
