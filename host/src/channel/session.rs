//! One client's conversation: requests in, replies out, in order.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use guestd_abi::reply_flags;
use tokio::time::sleep_until;

use super::seats::{Doing, Seat};
use super::stream::{MAX_WRITE, Read, Stream};
use super::turns::{Turn, Turns};
use crate::dispatch::{Begun, Dispatcher, Outcome};
use crate::memory::Lease;
use crate::wire::{Envelope, EnvelopeError, Frame, Framer, MAX_ROOM, Outbox};

/// How long a command may run before a `guest-sync` overtakes it. Clients wait longer than that before they give up on
/// a command, so that one which sends a command and the sync in one go does not lose the command's reply.
const OVERTAKE_AFTER: Duration = Duration::from_secs(1);
/// The most requests that wait behind one that runs, and the most bytes of them: enough to see a sync behind them.
const MAX_WAITING: usize = 64;
const MAX_BYTES_WAITING: usize = 1 << 20;
/// The most that is read of a message before it has its share of the memory for messages, and the most behind a command that runs.
const FREE_ROOM: usize = 256 << 10;
const MAX_PENDING: usize = FREE_ROOM / 2;
/// A message that moves by this many bytes a second does not stand still. Less is no serial line of our days.
const MIN_RATE: u64 = 4 << 10;
/// A large message, whose end others wait for, may stand still for this part of the time only.
const LARGE_STANDS_LESS: u32 = 6;
/// Buffers of a client that are worth giving back.
const MUCH: usize = 64 << 10;

/// Why a session has ended.
#[derive(Debug)]
pub enum End {
    /// The client has left, or has had all its answers.
    Left,
    /// The client is there, but a message of it, or to it, has stood still for too long.
    Stood,
    /// The device is gone.
    Lost(io::Error),
}

/// A client's conversation.
pub struct Session<'s> {
    dispatcher: &'s Dispatcher,
    stream: Stream,
    turns: Rc<Turns>,
    seat: Rc<Seat>,
    framer: Framer,
    outbox: Outbox,
    /// The request that runs on a worker.
    running: Option<Current>,
    /// What came behind it.
    waiting: VecDeque<Waiting>,
    bytes_waiting: usize,
    /// The client sends no more.
    ended: bool,
    /// The shares of the memory for messages: of the message being read, and of the replies that are not yet written.
    reading: Lease,
    unsent: Lease,
    /// The wait for the first of them.
    share: Option<Pin<Box<dyn Future<Output = Lease>>>>,
    /// Whether the buffers were large when last looked at.
    has_much: bool,
    /// The bytes that went either way, and how many of them since the last turn.
    moved: u64,
    read: usize,
    /// Since when a message stands still.
    standing: Option<Standing>,
    timeout: Option<Duration>,
}

struct Standing {
    since: Instant,
    /// What had moved by then.
    moved: u64,
}

struct Current {
    outcome: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    since: Instant,
}

enum Waiting {
    Request(Envelope),
    Error(EnvelopeError),
}

impl<'s> Session<'s> {
    /// A conversation on a connection of a channel, with a seat among its clients.
    pub fn new(dispatcher: &'s Dispatcher, stream: Stream, turns: Rc<Turns>, seat: Rc<Seat>) -> Self {
        Self {
            dispatcher,
            stream,
            turns,
            seat,
            framer: Framer::new(),
            outbox: Outbox::default(),
            running: None,
            waiting: VecDeque::new(),
            bytes_waiting: 0,
            ended: false,
            reading: Lease::default(),
            unsent: Lease::default(),
            share: None,
            has_much: false,
            moved: 0,
            read: 0,
            standing: None,
            timeout: dispatcher.message_timeout(),
        }
    }

    /// Serves the client until it leaves. On a device, clients come and go without an end.
    pub async fn serve(mut self) -> End {
        let turns = Rc::clone(&self.turns);
        loop {
            let mut turn = turns.begin().await;
            turn.count_bytes(std::mem::take(&mut self.read));
            let more = self.take_requests(&mut turn);
            let written = match self.stream.write(&mut self.outbox) {
                Ok(written) => written,
                Err(error) => {
                    self.abandon();
                    // What was done for one who has left was done at the cost of others, too.
                    turn.end().await;
                    return if self.stream.is_device() { End::Lost(error) } else { End::Left };
                }
            };
            self.moved += written as u64;
            turn.count_bytes(written);
            self.settle();
            turn.end().await;
            if more && self.outbox.is_empty() || written >= MAX_WRITE && !self.outbox.is_empty() {
                continue;
            }
            if self.ended && self.running.is_none() && self.outbox.is_empty() && !more {
                return End::Left;
            }
            if let Err(end) = self.wait().await {
                self.abandon();
                return end;
            }
        }
    }

    /// Answers what has come, until a command runs on a worker, there is nothing more, or others should have a turn;
    /// returns whether it is that last one.
    fn take_requests(&mut self, turn: &mut Turn<'_>) -> bool {
        while !turn.is_over() {
            if self.running.is_some() {
                self.look_ahead(turn);
            }
            // A sync may have overtaken it, and what is behind the sync need not wait.
            if self.running.is_some() {
                return false;
            }
            if !self.outbox.is_empty() && self.outbox.is_large() {
                return true;
            }
            match self.waiting.pop_front().or_else(|| self.next_from_stream()) {
                Some(next) => self.begin(next, turn),
                None => return false,
            }
        }
        true
    }

    /// Gives back what is not needed until more comes.
    fn settle(&mut self) {
        self.framer.tidy();
        if self.framer.capacity() <= FREE_ROOM && !self.framer.is_full(FREE_ROOM) {
            self.reading = Lease::default();
        }
        if self.outbox.is_empty() {
            self.unsent = Lease::default();
        }
        let has_much = self.has_large_buffers();
        let had_much = std::mem::replace(&mut self.has_much, has_much);
        if had_much && !self.has_much {
            self.dispatcher.memory().note_use();
        }
    }

    fn has_large_buffers(&self) -> bool {
        self.framer.capacity() + self.outbox.capacity() >= MUCH
    }

    fn next_from_stream(&mut self) -> Option<Waiting> {
        Some(match self.framer.next_frame()? {
            Frame::Broken(desc) => Waiting::Error(EnvelopeError { desc, id: None }),
            Frame::Message(message) => {
                let lease = self.lease_of(message.text.capacity());
                match Envelope::read(message) {
                    Ok(envelope) => Waiting::Request(Envelope { lease, ..envelope }),
                    Err(error) => Waiting::Error(error),
                }
            }
        })
    }

    /// A message's share of the memory: the one that it was read with, if it has taken the buffer with it.
    fn lease_of(&mut self, bytes: usize) -> Lease {
        if self.framer.capacity() > FREE_ROOM || self.reading.is_empty() {
            return self.dispatcher.memory().lease(bytes);
        }
        let mut lease = std::mem::take(&mut self.reading);
        lease.shrink_to(bytes);
        lease
    }

    fn begin(&mut self, next: Waiting, turn: &mut Turn<'_>) {
        turn.count();
        match next {
            Waiting::Error(EnvelopeError { desc, id }) => {
                tracing::debug!("answered with an error: {desc}");
                self.outbox.push_error("GenericError", &desc, id.as_deref());
            }
            Waiting::Request(envelope) => {
                self.bytes_waiting = self.bytes_waiting.saturating_sub(envelope.text.len());
                turn.count_bytes(envelope.text.len());
                match self.dispatcher.begin(envelope) {
                    Begun::Done(outcome) => self.answer(outcome),
                    Begun::Running(running) => {
                        let since = running.since();
                        self.running = Some(Current { outcome: Box::pin(running.outcome()), since });
                    }
                }
            }
        }
    }

    fn answer(&mut self, outcome: Outcome) {
        if let Ok(reply) = &outcome.result {
            self.unsent.add(self.dispatcher.memory().lease(reply.body.len()));
        }
        match outcome.result {
            Ok(reply) if reply.flags & reply_flags::SILENT != 0 => {}
            Ok(reply) => self.outbox.push_reply(reply, outcome.id.as_deref()),
            Err(error) => self.outbox.push_error(&error.class, &error.desc, outcome.id.as_deref()),
        }
    }

    /// While a command runs: takes what comes behind it, and lets a sync overtake it.
    fn look_ahead(&mut self, turn: &mut Turn<'_>) {
        while self.has_room()
            && let Some(next) = self.next_from_stream()
        {
            if let Waiting::Request(envelope) = &next {
                self.bytes_waiting += envelope.text.len();
            }
            self.waiting.push_back(next);
        }
        let overtake = self.overtaker().is_some();
        if overtake && self.running.as_ref().is_some_and(|current| current.since.elapsed() >= OVERTAKE_AFTER) {
            self.overtake(turn);
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING && self.bytes_waiting < MAX_BYTES_WAITING
    }

    /// The place of the last sync among what waits.
    fn overtaker(&self) -> Option<usize> {
        let may = |waiting: &Waiting| match waiting {
            Waiting::Request(envelope) => self.dispatcher.overtakes(envelope),
            Waiting::Error(_) => false,
        };
        self.waiting.iter().rposition(may)
    }

    /// Answers the last sync now. What came before it is still done, in order and without replies, which the client
    /// would not look at; what is behind it need not wait for the command that runs.
    fn overtake(&mut self, turn: &mut Turn<'_>) {
        let Some(place) = self.overtaker() else { return };
        let behind = self.waiting.split_off(place + 1);
        let sync = self.waiting.pop_back();
        let before = std::mem::replace(&mut self.waiting, behind);
        let current = self.running.take();
        self.finish_silently(current, before);
        if let Some(sync) = sync {
            self.begin(sync, turn);
        }
    }

    /// Sees a call, and what waited for it, through to the end with nobody to answer.
    fn finish_silently(&self, current: Option<Current>, requests: VecDeque<Waiting>) {
        if current.is_none() && requests.is_empty() {
            return;
        }
        let dispatcher = self.dispatcher.clone();
        tokio::task::spawn(async move {
            if let Some(current) = current {
                current.outcome.await;
            }
            for waiting in requests {
                if let Waiting::Request(envelope) = waiting
                    && let Begun::Running(running) = dispatcher.begin(envelope)
                {
                    running.outcome().await;
                }
                // Others have their turns between any two.
                tokio::task::yield_now().await;
            }
        });
    }

    /// The client is gone: what it asked for and was received is seen through, what it would be told is forgotten.
    fn abandon(&mut self) {
        let mut requests = std::mem::take(&mut self.waiting);
        self.bytes_waiting = 0;
        while let Some(next) = self.next_from_stream() {
            requests.push_back(next);
        }
        let current = self.running.take();
        self.finish_silently(current, requests);
        self.has_much |= self.has_large_buffers();
        self.framer.reset();
        self.outbox.clear();
        self.settle();
    }

    /// Waits for whatever comes first: bytes, room for bytes, a share of the memory for them, the end of the command that runs, the
    /// moment at which it may be overtaken or a message has stood still for too long.
    async fn wait(&mut self) -> Result<(), End> {
        let overtake_at = match &self.running {
            Some(current) if self.overtaker().is_some() => Some(current.since + OVERTAKE_AFTER),
            _ => None,
        };
        // A message of any size is read where nothing else is under way, else only what shows a sync or a client's end.
        let idle = self.running.is_none() && self.outbox.is_empty();
        let is_full = self.framer.is_full(FREE_ROOM) && self.reading.is_empty() && !self.ended;
        let wants_share = idle && is_full;
        if wants_share {
            let memory = self.dispatcher.memory();
            self.share.get_or_insert_with(|| Box::pin(Arc::clone(memory).turn(MAX_ROOM)));
        }
        let wants_read = !self.ended && !is_full && self.has_room() && (idle || self.framer.pending() < MAX_PENDING);
        let wants_write = !self.outbox.is_empty();
        let stood_at = self.stands_until(idle, wants_share);
        let doubt_ends = self.stream.doubt_ends();
        let wake_at = [overtake_at, stood_at, doubt_ends].into_iter().flatten().min();
        self.seat.note(match &self.running {
            Some(_) => Doing::Busy,
            None if wants_write || self.framer.has_half() => Doing::Half,
            None => Doing::Nothing,
        });
        tokio::select! {
            biased;
            outcome = outcome_of(&mut self.running) => {
                self.running = None;
                self.answer(outcome);
                Ok(())
            }
            () = sleep_until(wake_at.unwrap_or_else(Instant::now).into()), if wake_at.is_some() => {
                let now = Instant::now();
                if stood_at.is_some_and(|at| at <= now) {
                    return self.end_standing(wants_share);
                }
                if doubt_ends.is_some_and(|at| at <= now) {
                    return self.read();
                }
                Ok(())
            }
            lease = share_of(&mut self.share), if wants_share => {
                self.share = None;
                self.reading = lease;
                Ok(())
            }
            result = self.stream.writable(), if wants_write => result.map_err(End::Lost),
            result = self.stream.readable(), if wants_read => {
                result.map_err(End::Lost)?;
                self.read()
            }
        }
    }

    /// Until when a message may go on standing still; `None`: none does, or for ever. A command that runs is no message, and
    /// who reads from a device may come back to it.
    fn stands_until(&mut self, idle: bool, waits_for_share: bool) -> Option<Instant> {
        let timeout = match self.reading.is_empty() {
            true => self.timeout?,
            false => self.timeout? / LARGE_STANDS_LESS,
        };
        let is_unread = !self.unsent.is_empty() && !self.stream.is_device();
        if !(waits_for_share || is_unread || idle && self.framer.has_half()) {
            self.standing = None;
            return None;
        }
        let moved = self.moved;
        let begin = || Standing { since: Instant::now(), moved };
        let standing = self.standing.get_or_insert_with(begin);
        if moved - standing.moved > MIN_RATE * timeout.as_secs().max(1) {
            *standing = begin();
        }
        Some(standing.since + timeout)
    }

    /// A message has stood still for too long. One that waited for its share of the memory is read and not kept; what a device's
    /// host has sent is forgotten; any other client has to leave.
    fn end_standing(&mut self, waits_for_share: bool) -> Result<(), End> {
        self.standing = None;
        if waits_for_share {
            self.share = None;
            self.framer.discard();
        } else if self.stream.is_device() {
            tracing::warn!("half a message that has stood still for too long is dropped");
            self.framer.reset();
        } else {
            return Err(End::Stood);
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), End> {
        let most = if self.reading.is_empty() { FREE_ROOM } else { MAX_ROOM };
        if self.framer.room(most).is_err() {
            self.framer.discard();
        }
        let room = self.framer.room(most).map_err(|_| End::Lost(io::ErrorKind::OutOfMemory.into()))?;
        let before = room.len();
        match self.stream.read(room).map_err(End::Lost)? {
            Read::Some => {
                let count = room.len() - before;
                self.read += count;
                self.moved += count as u64;
            }
            Read::Nothing => {}
            Read::End => self.ended = true,
            Read::HostGone => {
                tracing::debug!("the host has closed the port");
                self.abandon();
            }
        }
        Ok(())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // Many clients with a little each leave much behind, too.
        if self.has_large_buffers() || self.has_much || self.moved >= MUCH as u64 {
            self.dispatcher.memory().note_use();
        }
    }
}

/// The share of the memory that is waited for; never, if none is.
async fn share_of(share: &mut Option<Pin<Box<dyn Future<Output = Lease>>>>) -> Lease {
    match share {
        Some(share) => share.as_mut().await,
        None => std::future::pending().await,
    }
}

/// The outcome of the command that runs; never, if none does.
async fn outcome_of(running: &mut Option<Current>) -> Outcome {
    match running {
        Some(current) => current.outcome.as_mut().await,
        None => std::future::pending().await,
    }
}
