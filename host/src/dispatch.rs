//! From a request to its outcome: policy, routing, and the liveness rule.
//!
//! A command that says it is instant runs in place, and so does one that is often instant, unless it hands its request
//! back. Every other runs on a worker thread with a deadline: past it the client is answered with an error. A call that was not
//! begun by then is withdrawn; one that was goes on, and keeps its set busy, or what the set keeps apart, until it comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use guestd_abi::{CallError, PluginBox, RVec, Reply, Request, command_flags, reply_flags, request_flags};
use guestd_sdk::quoted;
use tokio::sync::oneshot;

use crate::answers::{Answers, Judged};
use crate::core::Core;
use crate::memory::{self, Lease};
use crate::policy::{Reason, Verdict};
use crate::registry::{Command, Set};
use crate::services;
use crate::wire::Envelope;
use crate::workers::{Claim, Limit, Ticket, Workers};

/// What a request comes to.
pub struct Outcome {
    /// The reply or the error.
    pub result: Result<Reply, CallError>,
    /// The `id` to send back.
    pub id: Option<Vec<u8>>,
}

/// A request that was begun.
pub enum Begun {
    /// It is done.
    Done(Outcome),
    /// It runs on a worker.
    Running(Running),
}

/// A call on a worker.
pub struct Running {
    dispatcher: Dispatcher,
    ticket: Ticket,
    worker: oneshot::Receiver<Result<Reply, CallError>>,
    set: Arc<Set>,
    command: String,
    id: Option<Vec<u8>>,
    since: Instant,
    deadline: Option<Duration>,
}

/// Carries out the requests of one client.
#[derive(Clone)]
pub struct Dispatcher {
    core: Arc<Core>,
    workers: Arc<Workers>,
    answers: Arc<Answers>,
    clients: Arc<AtomicU64>,
    client: u64,
}

fn error(class: &str, desc: String) -> CallError {
    CallError { class: class.into(), desc: desc.into() }
}

fn generic(desc: String) -> CallError {
    error("GenericError", desc)
}

impl Dispatcher {
    /// A dispatcher for the daemon's shared part.
    pub fn new(core: Arc<Core>) -> Self {
        let workers = Arc::new(Workers::new(Arc::clone(core.memory())));
        Self { core, workers, answers: Arc::default(), clients: Arc::default(), client: 0 }
    }

    /// The same for another client, which has a share of the worker threads of its own.
    #[must_use]
    pub fn for_client(&self) -> Self {
        Self { client: self.clients.fetch_add(1, Ordering::Relaxed) + 1, ..self.clone() }
    }

    /// What gives back the memory of large messages.
    pub fn memory(&self) -> &Arc<memory::Keeper> {
        self.core.memory()
    }

    /// How long a message may make no progress; `None`: for ever.
    pub fn message_timeout(&self) -> Option<Duration> {
        self.core.view().settings.protocol.message_timeout
    }

    /// Whether a request may overtake one that still runs on its channel.
    pub fn overtakes(&self, envelope: &Envelope) -> bool {
        let view = self.core.view();
        view.registry.command(&envelope.command).is_some_and(|command| command.has(command_flags::OVERTAKES))
    }

    /// Begins a request. Must be called on the runtime's thread.
    pub fn begin(&self, envelope: Envelope) -> Begun {
        let Envelope { text, command: name, arguments, id, lease } = envelope;
        let is_large = text.len() >= memory::LARGE;
        let view = self.core.view();
        let command = view.registry.command(&name);
        let command = match (view.policy.decide(&name, command, self.core.frozen()), command) {
            (Verdict::Answered, Some(command)) => command,
            (verdict, _) => return Begun::Done(Outcome { result: Err(refusal(&name, verdict)), id }),
        };
        let deadline = view.deadline(&name, command);
        let mut request = Request {
            buf: RVec::from(text),
            args_at: arguments.start,
            args_len: arguments.len(),
            deadline_ms: deadline.map_or(0, milliseconds),
            flags: 0,
        };
        // Nobody else waits for what a large request takes.
        if command.has(command_flags::INSTANT | command_flags::OFTEN_INSTANT)
            && !is_large
            && let Some(plugin) = command.set.started()
        {
            match self.in_place(&name, command, plugin, request) {
                Ok(result) => return Begun::Done(Outcome { result, id }),
                Err(handed_back) => request = handed_back,
            }
        }
        if let Some(desc) = command.is_busy() {
            tracing::debug!("{name} refused: {desc}");
            return Begun::Done(Outcome { result: Err(generic(desc)), id });
        }
        Begun::Running(self.on_worker(name, command, request, lease, id, deadline))
    }

    /// Makes a call on this thread; `Err`: the request was handed back.
    fn in_place(
        &self,
        name: &str,
        command: &Command,
        plugin: &PluginBox,
        mut request: Request,
    ) -> Result<Result<Reply, CallError>, Request> {
        let since = Instant::now();
        let (args_at, args_len, deadline_ms) = (request.args_at, request.args_len, request.deadline_ms);
        if command.has(command_flags::OFTEN_INSTANT) {
            request.flags = request_flags::IN_PLACE;
        }
        let result = match plugin.call(command.index, request).into_result() {
            Ok(reply) if command.has(command_flags::OFTEN_INSTANT) && reply.flags & reply_flags::HANDED_BACK != 0 => {
                return Err(Request { buf: reply.body, args_at, args_len, deadline_ms, flags: 0 });
            }
            answer => self.judge(name, &command.set, answer),
        };
        audit(name, &command.set, &result, since);
        Ok(result)
    }

    fn on_worker(
        &self,
        name: String,
        command: &Command,
        request: Request,
        lease: Lease,
        id: Option<Vec<u8>>,
        deadline: Option<Duration>,
    ) -> Running {
        let since = Instant::now();
        let (dispatcher, set, index) = (self.clone(), Arc::clone(&command.set), command.index);
        let call = name.clone();
        let claim = Claim {
            // No other set lies there for as long as this call keeps it.
            set: Arc::as_ptr(&command.set).addr(),
            client: self.client,
            own_thread: command.has(command_flags::OWN_THREAD).then_some(index),
        };
        let (ticket, worker) = self.workers.run(claim, move || {
            let result = dispatcher.call(&call, &set, index, request, since, deadline);
            audit(&call, &set, &result, since);
            // Also of a call that nobody waits for any more.
            drop(lease);
            if result.as_ref().is_ok_and(|reply| reply.body.len() >= memory::LARGE) {
                dispatcher.core.memory().note_use();
            }
            result
        });
        let (dispatcher, set) = (self.clone(), Arc::clone(&command.set));
        Running { dispatcher, ticket, worker, set, command: name, id, since, deadline }
    }

    /// Makes a call that has waited for its thread and may have to wait for its set's start, if there is time left for it: a
    /// client that was told that it is not finished must not see it happen later.
    fn call(
        &self,
        name: &str,
        set: &Set,
        index: u32,
        mut request: Request,
        since: Instant,
        deadline: Option<Duration>,
    ) -> Result<Reply, CallError> {
        let plugin = start(&self.core, set, deadline.map(|limit| since + limit))?;
        if let Some(limit) = deadline {
            request.deadline_ms = milliseconds(limit.saturating_sub(since.elapsed()));
            if request.deadline_ms == 0 {
                return Err(not_begun(name, limit, &"its command set was not started before"));
            }
        }
        self.judge(name, set, plugin.call(index, request).into_result())
    }

    /// Judges an answer, and counts the plugin's faults.
    fn judge(&self, name: &str, set: &Set, answer: Result<Reply, CallError>) -> Result<Reply, CallError> {
        let Judged { result, fault } = self.answers.judge(name, answer);
        match fault {
            None => set.note_success(),
            Some(what) => self.note_fault(set, &what),
        }
        result
    }

    fn note_fault(&self, set: &Set, what: &str) {
        if set.note_fault(what, self.core.view().settings.plugins.max_faults) {
            self.core.commands_changed();
        }
    }

    /// Leaves a call that is past its deadline to itself, and returns what its client is told.
    fn leave_overdue(
        self,
        worker: oneshot::Receiver<Result<Reply, CallError>>,
        set: Arc<Set>,
        command: String,
        since: Instant,
        limit: Duration,
    ) -> CallError {
        set.begin_overdue(&command, since);
        let mut text = format!("not finished within {} s", limit.as_secs_f32());
        if set.busy_with().is_some() {
            text += &format!("; the command set '{}' is busy until it does", set.name());
        }
        tracing::warn!("{command} has {text}");
        self.note_fault(&set, &format!("{command} has not finished within {} s", limit.as_secs_f32()));
        self.core.commands_changed();
        let error = generic(format!("Command {command} has {text}"));
        tokio::task::spawn(async move {
            let _ = worker.await;
            set.end_overdue(&command, since);
            self.core.commands_changed();
            tracing::warn!("{command} has come back after {} s; its reply is dropped", since.elapsed().as_secs());
        });
        error
    }
}

/// A time limit as it crosses the boundary, where 0 means that there is none.
fn milliseconds(limit: Duration) -> u32 {
    u32::try_from(limit.as_millis()).unwrap_or(u32::MAX)
}

/// The plugin of a set, started if it was not. Where another call is at that, it is waited for until `until` only.
pub fn start<'s>(core: &Arc<Core>, set: &'s Set, until: Option<Instant>) -> Result<&'s PluginBox, CallError> {
    if let Some(plugin) = set.started() {
        return Ok(plugin);
    }
    let started = set.start(|| services::handle(core, set.name()), until);
    core.memory().note_use();
    if started.is_err() {
        core.commands_changed();
    }
    started
}

impl Running {
    /// When the call began.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Waits for the call, but not past its deadline.
    pub async fn outcome(self) -> Outcome {
        let Self { dispatcher, ticket, mut worker, set, command, id, since, deadline } = self;
        let ended = match deadline {
            None => Some((&mut worker).await),
            Some(limit) => tokio::time::timeout_at((since + limit).into(), &mut worker).await.ok(),
        };
        let result = match ended {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(generic(format!("The worker of {command} was lost"))),
            None => {
                let limit = deadline.unwrap_or_default();
                Err(match dispatcher.workers.withdraw(ticket) {
                    Some(held_back) => withdrawn(&command, limit, held_back),
                    None => dispatcher.leave_overdue(worker, set, command, since, limit),
                })
            }
        };
        Outcome { result, id }
    }
}

fn withdrawn(command: &str, limit: Duration, held_back: Limit) -> CallError {
    let error = not_begun(command, limit, &held_back);
    tracing::warn!("{}", error.desc);
    error
}

fn not_begun(command: &str, limit: Duration, why: &dyn std::fmt::Display) -> CallError {
    let limit = limit.as_secs_f32();
    generic(format!("Command {command} could not be begun within {limit} s, and will not be: {why}"))
}

/// What a client is told of a command that is not carried out. The words for a command that is blocked, not allowed or
/// held back by a freeze are the same, as in qemu-ga; clients match them.
fn refusal(name: &str, verdict: Verdict) -> CallError {
    match verdict {
        Verdict::Disabled(Reason::Unusable(why)) => {
            tracing::debug!("{name} cannot be carried out: {why}");
            generic(why)
        }
        Verdict::Disabled(reason) => {
            tracing::info!("{name} refused: {reason}");
            error("CommandNotFound", format!("Command {name} has been disabled: the command is not allowed"))
        }
        Verdict::Unknown | Verdict::Answered => {
            // In quotes, since it is any text of the client's, line feeds included.
            tracing::debug!("{:?} is no command", quoted(name));
            error("CommandNotFound", format!("The command {name} has not been found"))
        }
    }
}

fn audit(command: &str, set: &Set, result: &Result<Reply, CallError>, since: Instant) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let took = since.elapsed().as_micros();
    match result {
        Ok(_) => tracing::debug!("{command}: done by '{}' in {took} us", set.name()),
        Err(error) => tracing::debug!("{command}: error from '{}' in {took} us: {}", set.name(), error.desc),
    }
}
