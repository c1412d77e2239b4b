//! How the C library's allocator is to handle memory.

/// Keeps the process small: memory of large messages goes back to the system when it is freed.
///
/// mallopt(3): a fixed M_MMAP_THRESHOLD switches off its growth (to 32 MiB, after which freed buffers of that size
/// stay in the heap), M_TRIM_THRESHOLD bounds what is kept at the heap's top, and one arena for all threads does
/// away with an arena of its own for each worker.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn tune() {
    const MMAP_FROM: i32 = 4 << 20;
    const KEEP: i32 = 1 << 20;
    // SAFETY: mallopt takes two numbers and changes the allocator's parameters; no other thread allocates yet.
    unsafe {
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, MMAP_FROM);
        nix::libc::mallopt(nix::libc::M_TRIM_THRESHOLD, KEEP);
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
    }
}

/// Other C libraries have no such parameters.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn tune() {}
