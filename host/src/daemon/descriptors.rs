//! Descriptors that the daemon was started with.

/// Keeps what the daemon has inherited, by accident as a rule, out of the programs that commands start: close_range(2) with
/// CLOSE_RANGE_CLOEXEC, Linux 5.11. An older kernel leaves it as it is.
pub fn keep_from_programs() {
    const FIRST: nix::libc::c_uint = 3;
    // SAFETY: with this flag the call changes a flag of descriptors and closes none.
    let _ = unsafe {
        nix::libc::syscall(nix::libc::SYS_close_range, FIRST, nix::libc::c_uint::MAX, nix::libc::CLOSE_RANGE_CLOEXEC)
    };
}
