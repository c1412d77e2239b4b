//! Keeping the process alive and in memory while file systems are frozen.
//!
//! A frozen file system can still be read, so code that was evicted comes back; what would keep a guest frozen is an
//! agent that the out-of-memory killer took, or one that waits for memory which only the writing back to a frozen file
//! system would set free.

use std::ffi::c_void;
use std::fs;

use rustix::mm::{MlockAllFlags, mlock, mlockall, munlockall};

const SCORE: &str = "/proc/self/oom_score_adj";
/// proc_pid_oom_score_adj(5): never chosen.
const NEVER: &str = "-1000";

/// The process is held in memory for as long as this lives. What the kernel refuses is done without.
pub struct Held {
    score: Option<String>,
    locked: bool,
}

impl Held {
    /// Locks what is in memory now, and the code of this plugin whether it is or not, and exempts the process from
    /// the out-of-memory killer.
    pub fn take() -> Self {
        // ONFAULT: else all thread stacks would be filled with pages that nobody uses.
        let locked = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT).is_ok();
        if locked {
            lock_own_code();
        }
        let before = fs::read_to_string(SCORE).ok();
        let score = before.filter(|_| fs::write(SCORE, NEVER).is_ok());
        Self { score, locked }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(score) = &self.score {
            // Failing would leave the agent exempt, which harms nobody at once; there is nothing else to try.
            let _ = fs::write(SCORE, score.trim_end());
        }
        if self.locked {
            let _ = munlockall();
        }
    }
}

/// Locks, and so brings into memory, the mapped parts of the file that this function lies in.
fn lock_own_code() {
    let here = lock_own_code as *const () as usize;
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let lines: Vec<Mapping<'_>> = maps.lines().filter_map(mapping).collect();
    let Some(own) = lines.iter().find(|map| map.start <= here && here < map.end) else { return };
    for map in lines.iter().filter(|map| map.file == own.file && map.readable) {
        // SAFETY: locking changes no memory; a range that is no longer mapped is an error.
        let _ = unsafe { mlock(map.start as *mut c_void, map.end - map.start) };
    }
}

/// One line of proc_pid_maps(5).
struct Mapping<'a> {
    start: usize,
    end: usize,
    readable: bool,
    file: &'a str,
}

fn mapping(line: &str) -> Option<Mapping<'_>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let readable = fields.next()?.starts_with('r');
    let file = fields.nth(3).filter(|file| file.starts_with('/'))?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some(Mapping { start: number(start)?, end: number(end)?, readable, file })
}
