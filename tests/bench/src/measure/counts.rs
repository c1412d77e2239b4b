//! How often each is done in a round.

use std::time::Duration;

use super::SIZES;

/// The numbers of a round.
#[derive(Debug)]
pub struct Counts {
    /// Pings, and syncs.
    pub pings: usize,
    /// Pings that are sent in one piece, of which two are under way at a time.
    pub batch: usize,
    pub batches: usize,
    /// Calls of other commands; fewer, where they take longer than `longest` together.
    pub calls: usize,
    pub longest: Duration,
    /// Blocks of each size that are read and written; the first is not counted.
    pub blocks: [usize; SIZES.len()],
    /// Programs that are run.
    pub programs: usize,
}

/// On this machine, where a ping takes microseconds.
pub const NATIVE: Counts = Counts {
    pings: 4000,
    batch: 512,
    batches: 40,
    calls: 1000,
    longest: Duration::from_millis(500),
    blocks: [1000, 200, 25, 4],
    programs: 60,
};

/// In a guest, where it takes a millisecond where the processor is emulated.
pub const GUEST: Counts = Counts {
    pings: 500,
    // Of two batches of 128 qemu-ga 7.2 answers 220 requests and loses the rest; two of 64 it answers.
    batch: 16,
    batches: 60,
    calls: 200,
    longest: Duration::from_millis(400),
    blocks: [100, 25, 5, 2],
    programs: 15,
};
