//! Has GCC's unwinder linked into the daemon and each plugin, instead of loading libgcc_s.so when they start.
//!
//! That library costs each start a tenth of its time: one more file to map, whose initializer asks the processor for its
//! features, which a hypervisor has to answer. A guest without it can run guestd as well. Rust's library demands it by
//! name (`-lgcc_s`), so a linker script of that name stands before it. What this prints reaches whatever links this
//! crate. Where the compiler has no static unwinder, nothing changes.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTC_LINKER");
    let is = |key: &str, value: &str| env::var(key).is_ok_and(|found| found == value);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    let Ok(out) = env::var("OUT_DIR") else { return };
    if has("libgcc_eh.a") && has("libgcc.a") {
        let script = Path::new(&out).join("libgcc_s.so");
        if fs::write(&script, "INPUT(-l:libgcc_eh.a -l:libgcc.a)\n").is_ok() {
            println!("cargo:rustc-link-search=native={out}");
        }
    }
}

/// Whether the compiler that links knows where this library is: it answers with a path then, else with the bare name.
fn has(library: &str) -> bool {
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    let answer = Command::new(linker).arg(format!("-print-file-name={library}")).output();
    answer.is_ok_and(|answer| Path::new(String::from_utf8_lossy(&answer.stdout).trim()).is_absolute())
}
