//! One client's conversation: requests in, replies out, in order.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use guestd_abi::reply_flags;
use tokio::time::sleep_until;

use super::stream::{Read, Stream};
use crate::dispatch::{Begun, Dispatcher, Outcome};
use crate::memory;
use crate::wire::{Envelope, EnvelopeError, Frame, Framer, Outbox};

/// How long a command may run before a `guest-sync` overtakes it. A client that sends a command and the sync in one
/// go does not lose the reply of a command that takes no time.
const OVERTAKE_AFTER: Duration = Duration::from_millis(10);
/// The most requests that are answered before other clients get their turn.
const MOST_IN_A_TURN: usize = 256;
/// The most requests that wait behind one that runs, and the most bytes of them: enough to see a sync behind them.
const MOST_WAITING: usize = 64;
const MOST_BYTES_WAITING: usize = 1 << 20;

/// Why a session has ended.
#[derive(Debug)]
pub enum End {
    /// The client has left, or has had all its answers.
    Left,
    /// The device is gone.
    Lost(io::Error),
}

/// A client's conversation.
pub struct Session<'s> {
    dispatcher: &'s Dispatcher,
    stream: Stream,
    framer: Framer,
    outbox: Outbox,
    /// The request that runs on a worker.
    running: Option<Current>,
    /// What came behind it.
    waiting: VecDeque<Waiting>,
    bytes_waiting: usize,
    /// The client sends no more.
    ended: bool,
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
    /// A conversation on a connection.
    pub fn new(dispatcher: &'s Dispatcher, stream: Stream) -> Self {
        Self {
            dispatcher,
            stream,
            framer: Framer::new(),
            outbox: Outbox::default(),
            running: None,
            waiting: VecDeque::new(),
            bytes_waiting: 0,
            ended: false,
        }
    }

    /// Serves the client until it leaves. On a device, clients come and go without an end.
    pub async fn serve(mut self) -> End {
        loop {
            let more = self.take_requests();
            if let Err(error) = self.stream.write(&mut self.outbox) {
                self.abandon();
                return if self.stream.is_device() { End::Lost(error) } else { End::Left };
            }
            if more && self.outbox.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            if self.ended && self.running.is_none() && self.outbox.is_empty() && !more {
                return End::Left;
            }
            if let Err(error) = self.wait().await {
                self.abandon();
                return End::Lost(error);
            }
        }
    }

    /// Answers what has come, until a command runs on a worker, there is nothing more, or others should have a turn;
    /// returns whether it is that last one.
    fn take_requests(&mut self) -> bool {
        for _ in 0..MOST_IN_A_TURN {
            if self.running.is_some() {
                self.look_ahead();
                return false;
            }
            if !self.outbox.is_empty() && self.outbox.is_large() {
                return true;
            }
            match self.waiting.pop_front().or_else(|| self.next_from_stream()) {
                Some(next) => self.begin(next),
                None => return false,
            }
        }
        true
    }

    fn next_from_stream(&mut self) -> Option<Waiting> {
        Some(match self.framer.next_frame()? {
            Frame::Broken(desc) => Waiting::Error(EnvelopeError { desc, id: None }),
            Frame::Message(message) => match Envelope::read(message) {
                Ok(envelope) => Waiting::Request(envelope),
                Err(error) => Waiting::Error(error),
            },
        })
    }

    fn begin(&mut self, next: Waiting) {
        match next {
            Waiting::Error(EnvelopeError { desc, id }) => {
                tracing::debug!("answered with an error: {desc}");
                self.outbox.push_error("GenericError", &desc, id.as_deref());
            }
            Waiting::Request(envelope) => {
                self.bytes_waiting = self.bytes_waiting.saturating_sub(envelope.text.len());
                self.note_size(envelope.text.len());
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
            self.note_size(reply.body.len());
        }
        match outcome.result {
            Ok(reply) if reply.flags & reply_flags::SILENT != 0 => {}
            Ok(reply) => self.outbox.push_reply(reply, outcome.id.as_deref()),
            Err(error) => self.outbox.push_error(&error.class, &error.desc, outcome.id.as_deref()),
        }
    }

    fn note_size(&self, bytes: usize) {
        if bytes >= memory::LARGE {
            self.dispatcher.memory().note_use();
        }
    }

    /// While a command runs: takes what comes behind it, and lets a sync overtake it.
    fn look_ahead(&mut self) {
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
            self.overtake();
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < MOST_WAITING && self.bytes_waiting < MOST_BYTES_WAITING
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
    fn overtake(&mut self) {
        let Some(place) = self.overtaker() else { return };
        let behind = self.waiting.split_off(place + 1);
        let sync = self.waiting.pop_back();
        let before = std::mem::replace(&mut self.waiting, behind);
        if let Some(current) = self.running.take() {
            self.finish_silently(current, before);
        }
        if let Some(sync) = sync {
            self.begin(sync);
        }
    }

    /// Sees a call, and what waited for it, through to the end with nobody to answer.
    fn finish_silently(&self, current: Current, requests: VecDeque<Waiting>) {
        let dispatcher = self.dispatcher.clone();
        tokio::task::spawn(async move {
            current.outcome.await;
            for waiting in requests {
                if let Waiting::Request(envelope) = waiting
                    && let Begun::Running(running) = dispatcher.begin(envelope)
                {
                    running.outcome().await;
                }
            }
        });
    }

    /// The client is gone: what it asked for is seen through, what it would be told is forgotten.
    fn abandon(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes_waiting = 0;
        if let Some(current) = self.running.take() {
            self.finish_silently(current, waiting);
        }
        self.framer.reset();
        self.outbox.clear();
    }

    /// Waits for whatever comes first: bytes, room for bytes, the end of the command that runs, the moment at which it may be
    /// overtaken.
    async fn wait(&mut self) -> io::Result<()> {
        let overtake_at = match &self.running {
            Some(current) if self.overtaker().is_some() => Some(current.since + OVERTAKE_AFTER),
            _ => None,
        };
        // A message of any size is read where nothing else is under way, else only what shows a sync or a client's end.
        let idle = self.running.is_none() && self.outbox.is_empty();
        let wants_read = !self.ended && self.has_room() && (idle || self.framer.pending() < MOST_BYTES_WAITING);
        let wants_write = !self.outbox.is_empty();
        tokio::select! {
            biased;
            outcome = outcome_of(&mut self.running) => {
                self.running = None;
                self.answer(outcome);
                Ok(())
            }
            () = sleep_until(overtake_at.unwrap_or_else(Instant::now).into()), if overtake_at.is_some() => Ok(()),
            result = self.stream.writable(), if wants_write => result,
            result = self.stream.readable(), if wants_read => {
                result?;
                self.read()
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        match self.stream.read(self.framer.space()) {
            Ok(Read::Some | Read::Nothing) => Ok(()),
            Ok(Read::End) => {
                self.ended = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// The outcome of the command that runs; never, if none does.
async fn outcome_of(running: &mut Option<Current>) -> Outcome {
    match running {
        Some(current) => current.outcome.as_mut().await,
        None => std::future::pending().await,
    }
}
