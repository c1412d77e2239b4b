//! How much processor time an agent has used, by the guest's scheduler.

use std::collections::BTreeMap;

use crate::{Error, Vm};

/// Run time of each thread of an agent, in nanoseconds, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuUse {
    threads: BTreeMap<u32, u64>,
}

impl CpuUse {
    /// Takes the agent's figures.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn of_agent(vm: &mut Vm) -> Result<Self, Error> {
        let pid = vm.agent_pid()?;
        Self::of(vm, pid)
    }

    /// Takes the figures of any process of the guest.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn of(vm: &mut Vm, pid: u32) -> Result<Self, Error> {
        let command = format!("cd /proc/{pid}/task && for t in *; do echo $t $(cat $t/schedstat); done");
        Self::parse(&vm.run(&command)?)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let mut threads = BTreeMap::new();
        for line in text.lines() {
            // THREAD RUN-TIME WAIT-TIME TIMESLICES
            let numbers: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
            let &[thread, run_time, _, _] = numbers.as_slice() else {
                return Err(Error::Failed(format!("no schedstat: {line}")));
            };
            threads.insert(u32::try_from(thread).unwrap_or(u32::MAX), run_time);
        }
        if threads.is_empty() {
            return Err(Error::Failed("the agent has no thread".into()));
        }
        Ok(Self { threads })
    }

    /// Nanoseconds used since an earlier moment, over all threads. A thread that has ended in between
    /// counts as one nanosecond, since what it used is not known.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> u64 {
        let ended = earlier.threads.keys().filter(|thread| !self.threads.contains_key(thread));
        let used = self
            .threads
            .iter()
            .map(|(thread, run_time)| run_time - earlier.threads.get(thread).copied().unwrap_or(0).min(*run_time));
        used.sum::<u64>() + ended.count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::CpuUse;

    fn at(text: &str) -> CpuUse {
        CpuUse::parse(text).unwrap_or_else(|_| CpuUse { threads: Default::default() })
    }

    #[test]
    fn all_threads_count() {
        let earlier = at("10 1000 5 3\n11 200 5 3");
        assert_eq!(earlier.since(&earlier), 0);
        assert_eq!(at("10 1000 9 3\n11 250 5 4").since(&earlier), 50);
        assert_eq!(at("10 1000 5 3\n11 200 5 3\n12 7 0 1").since(&earlier), 7);
        assert_eq!(at("10 1000 5 3").since(&earlier), 1);
    }

    #[test]
    fn other_text_is_refused() {
        assert!(CpuUse::parse("").is_err());
        assert!(CpuUse::parse("10 1000").is_err());
    }
}
