//! A program in the guest that writes all the time, to see a freeze by.

use std::time::{Duration, Instant};

use crate::{Error, Vm};

/// A loop that appends numbers to a file, and notes on a tmpfs each that is written.
#[derive(Debug)]
pub struct Writer {
    note: String,
    pid: String,
}

impl Writer {
    /// Starts it on a file of the guest. `name` is for its note.
    ///
    /// # Errors
    ///
    /// If the guest does not answer.
    pub fn start(vm: &mut Vm, name: &str, file: &str) -> Result<Self, Error> {
        let note = format!("/run/guest/note-{name}");
        let command = format!(": >{note}; setsid /lib/guest/writer {file} {note} </dev/null >/dev/null 2>&1 & echo $!");
        let pid = vm.run(&command)?;
        Ok(Self { note, pid })
    }

    /// The last number that is known to be written; 0 before the first.
    ///
    /// # Errors
    ///
    /// If the guest does not answer.
    pub fn last(&self, vm: &mut Vm) -> Result<u64, Error> {
        let text = vm.run(&format!("tail -n 1 {}", self.note))?;
        Ok(text.parse().unwrap_or(0))
    }

    /// Waits until at least three more numbers are written.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the writer stands still.
    pub fn expect_moving(&self, vm: &mut Vm) -> Result<(), Error> {
        let limit = Duration::from_secs(10);
        let deadline = Instant::now() + limit;
        let start = self.last(vm)?;
        loop {
            let now = self.last(vm)?;
            if now >= start + 3 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = format!("{} stood still at {start} for {limit:?}", self.note);
                return Err(Error::Timeout(what));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Checks that none of these writes anything for a while, and gives their last numbers. One that was frozen between
    /// a write and its note may note that. The processes must still be there: a writer that has died would stand still too.
    ///
    /// # Errors
    ///
    /// If one moves, or is gone.
    pub fn expect_still(writers: &[Self], vm: &mut Vm, length: Duration) -> Result<Vec<u64>, Error> {
        let numbers =
            |vm: &mut Vm| -> Result<Vec<u64>, Error> { writers.iter().map(|writer| writer.last(vm)).collect() };
        let before = numbers(vm)?;
        std::thread::sleep(length);
        let after = numbers(vm)?;
        for writer in writers {
            vm.run(&format!("kill -0 {}", writer.pid))?;
        }
        if before.iter().zip(&after).all(|(before, after)| (*before..=*before + 1).contains(after)) {
            return Ok(after);
        }
        Err(Error::Failed(format!("the writers went from {before:?} to {after:?}")))
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// If it had died by itself.
    pub fn stop(self, vm: &mut Vm) -> Result<(), Error> {
        vm.run(&format!("kill -KILL {}", self.pid)).map(drop)
    }
}
