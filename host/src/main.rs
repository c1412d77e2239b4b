//! The program `guestd`, which is also `qemu-ga` where it is called by that name.

fn main() -> std::process::ExitCode {
    guestd::cli::run(std::env::args_os())
}
