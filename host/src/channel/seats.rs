//! Who is connected to a socket, and who makes room when no more clients fit.

use std::cell::Cell;
use std::rc::Rc;

use tokio::task::AbortHandle;

/// What a client is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    /// Nothing: all that it asked for is answered.
    Nothing,
    /// It has sent half a message, or does not read its answers.
    Half,
    /// A command runs for it.
    Busy,
}

/// A client's seat, which it tells what it does.
pub struct Seat {
    doing: Cell<Doing>,
    /// When it last did anything, by the clock of its socket.
    last: Cell<u64>,
    clock: Rc<Cell<u64>>,
}

impl Seat {
    /// A seat of a client that has just come.
    pub fn new(clock: Rc<Cell<u64>>) -> Rc<Self> {
        let seat = Self { doing: Cell::new(Doing::Nothing), last: Cell::new(0), clock };
        seat.note(Doing::Nothing);
        Rc::new(seat)
    }

    /// Notes that the client has done something, and what it does now.
    pub fn note(&self, doing: Doing) {
        self.clock.set(self.clock.get() + 1);
        self.last.set(self.clock.get());
        self.doing.set(doing);
    }
}

/// The seats of a socket.
#[derive(Default)]
pub struct Seats {
    taken: Vec<(AbortHandle, Rc<Seat>)>,
    clock: Rc<Cell<u64>>,
}

impl Seats {
    /// A seat for a client that is not yet served.
    pub fn seat(&self) -> Rc<Seat> {
        Seat::new(Rc::clone(&self.clock))
    }

    /// Notes who serves the client in a seat.
    pub fn take(&mut self, server: AbortHandle, seat: Rc<Seat>) {
        self.taken.push((server, seat));
    }

    /// Forgets those who have left.
    pub fn forget_left(&mut self) {
        self.taken.retain(|(server, _)| !server.is_finished());
    }

    /// Has the client leave that has been idle for longest, or, where none is, the one that has been in the middle of something of
    /// its own for longest. Returns whether there was one: a command that runs is not given up.
    pub fn make_room(&mut self) -> bool {
        let free = |(_, (_, seat)): &(usize, &(AbortHandle, Rc<Seat>))| seat.doing.get() != Doing::Busy;
        let oldest = self.taken.iter().enumerate().filter(free);
        let oldest = oldest.min_by_key(|(_, (_, seat))| (seat.doing.get(), seat.last.get()));
        let Some((place, _)) = oldest else { return false };
        let (server, _) = self.taken.swap_remove(place);
        server.abort();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    #[test]
    fn the_one_that_has_been_idle_for_longest_makes_room_and_a_busy_one_does_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let local = LocalSet::new();
        local.block_on(&runtime, async {
            let mut seats = Seats::default();
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    let (task, seat) = (tokio::task::spawn_local(std::future::pending::<()>()), seats.seat());
                    seats.take(task.abort_handle(), Rc::clone(&seat));
                    (task, seat)
                })
                .collect();
            clients[0].1.note(Doing::Busy);
            clients[1].1.note(Doing::Half);
            clients[3].1.note(Doing::Nothing);
            clients[2].1.note(Doing::Nothing);
            for next in [3, 2, 1] {
                assert!(seats.make_room());
                tokio::task::yield_now().await;
                assert!(clients[next].0.is_finished(), "{next}");
            }
            assert!(!seats.make_room());
            assert!(!clients[0].0.is_finished());
        });
    }
}
