//! Turns in the event loop: channels take them before clients of one channel do.
//!
//! A client does what it has to do in turns that are bounded in requests, bytes and time. Only one client of a channel has
//! the turn at a time, and after what may be done in one the event loop looks at the other channels before the next
//! client has it. So a hundred clients of one channel hold up another channel no longer than one does.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

/// How much is done in a turn: that many requests, or as many pieces of [`PIECE`] bytes.
const MAX_IN_A_TURN: usize = 64;
/// As many bytes count as a request.
const PIECE: usize = 4 << 10;
/// How long a turn may take, if one of its requests does not take longer.
const MAX_TIME: Duration = Duration::from_millis(1);

/// The turns of a channel's clients.
pub struct Turns {
    turn: Semaphore,
    /// What was done since the other channels were looked at.
    done: Cell<usize>,
}

/// A client's turn.
pub struct Turn<'t> {
    turns: &'t Turns,
    _permit: Option<SemaphorePermit<'t>>,
    since: Instant,
    done: usize,
}

impl Turns {
    /// Those of a channel that has no clients yet.
    pub fn new() -> Self {
        Self { turn: Semaphore::new(1), done: Cell::new(0) }
    }

    /// Waits for the turn, behind those who have waited for longer.
    pub async fn begin(&self) -> Turn<'_> {
        // The semaphore is never closed.
        let permit = self.turn.acquire().await.ok();
        Turn { turns: self, _permit: permit, since: Instant::now(), done: 0 }
    }
}

impl Turn<'_> {
    /// Counts a request.
    pub fn count(&mut self) {
        self.done += 1;
    }

    /// Counts bytes that were read or written.
    pub fn count_bytes(&mut self, bytes: usize) {
        self.done += bytes / PIECE;
    }

    /// Whether others should have a turn.
    pub fn is_over(&self) -> bool {
        self.done >= MAX_IN_A_TURN || (self.done > 0 && self.since.elapsed() >= MAX_TIME)
    }

    /// Ends the turn, once the other channels have had theirs if this one's clients have done as much as fills one.
    pub async fn end(self) {
        let done = &self.turns.done;
        done.set(done.get() + self.done);
        if done.get() >= MAX_IN_A_TURN || self.since.elapsed() >= MAX_TIME {
            done.set(0);
            // The turn is kept: who waits for it runs when the loop has looked at everybody else.
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use tokio::task::LocalSet;

    #[test]
    fn a_channel_of_many_clients_has_no_more_turns_than_one_of_a_single_client() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let local = LocalSet::new();
        let (crowded, alone) = (Rc::new(Turns::new()), Turns::new());
        let taken = Rc::new(Cell::new(0));
        for _ in 0..100 {
            let (crowded, taken) = (Rc::clone(&crowded), Rc::clone(&taken));
            local.spawn_local(async move {
                loop {
                    let mut turn = crowded.begin().await;
                    while !turn.is_over() {
                        turn.count();
                    }
                    taken.set(taken.get() + 1);
                    turn.end().await;
                }
            });
        }
        local.block_on(&runtime, async {
            for _ in 0..50 {
                let mut turn = alone.begin().await;
                turn.count_bytes(PIECE * MAX_IN_A_TURN);
                assert!(turn.is_over());
                turn.end().await;
            }
        });
        assert!((40..=60).contains(&taken.get()), "{} turns beside 50", taken.get());
    }

    #[test]
    fn clients_with_little_to_do_share_what_is_done_between_two_looks_at_the_others() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let local = LocalSet::new();
        let (turns, looks) = (Rc::new(Turns::new()), Rc::new(Cell::new(0)));
        let clients: Vec<_> = (0..1000)
            .map(|_| {
                let turns = Rc::clone(&turns);
                local.spawn_local(async move {
                    let mut turn = turns.begin().await;
                    turn.count();
                    turn.end().await;
                })
            })
            .collect();
        local.block_on(&runtime, async {
            while !clients.iter().all(tokio::task::JoinHandle::is_finished) {
                looks.set(looks.get() + 1);
                tokio::task::yield_now().await;
            }
        });
        assert!(looks.get() >= 1000 / MAX_IN_A_TURN, "{} looks", looks.get());
    }
}
