//! Where an agent runs: what a measurement does there beside talking to it.

use std::fs;

use anyhow::{Context, Result};

use crate::process;
use crate::server::Server;

/// The surroundings of an agent.
pub trait Home {
    /// The time that the agent has run on a processor, in nanoseconds.
    fn cpu_time(&mut self) -> Result<u64>;

    /// Makes a file of that many bytes in memory, and returns its path as the agent knows it.
    fn make_file(&mut self, bytes: usize) -> Result<String>;
}

impl Home for Server {
    fn cpu_time(&mut self) -> Result<u64> {
        process::cpu_time(self.pid())
    }

    fn make_file(&mut self, bytes: usize) -> Result<String> {
        let path = self.path("data");
        fs::write(&path, content(bytes)).context("the file to read")?;
        Ok(path.display().to_string())
    }
}

/// Bytes that do not repeat soon, and are the same every time.
pub fn content(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        // Xorshift (Marsaglia, "Xorshift RNGs", 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(length);
    bytes
}
