//! From a request to its outcome: policy, routing, and the liveness rule.
//!
//! A command that says it is instant runs in place, and so does one that is often instant, unless it hands its request
//! back. Every other runs on a worker thread with a deadline: past it the client is answered with an error, and the set is
//! busy until the call comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use guestd_abi::{CallError, PluginBox, RVec, Reply, Request, command_flags, reply_flags, request_flags};
use guestd_sdk::quoted;
use tokio::sync::oneshot;

use crate::answers::Answers;
use crate::core::Core;
use crate::memory::{self, Lease};
use crate::policy::{Reason, Verdict};
use crate::registry::{Command, Set};
use crate::services;
use crate::wire::Envelope;
use crate::workers::Workers;

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
    worker: oneshot::Receiver<Result<Reply, CallError>>,
    set: Arc<Set>,
    command: String,
    id: Option<Vec<u8>>,
    since: Instant,
    deadline: Option<Duration>,
}

/// Carries out requests.
#[derive(Clone)]
pub struct Dispatcher {
    core: Arc<Core>,
    workers: Arc<Workers>,
    answers: Arc<Answers>,
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
        Self { core, workers: Arc::default(), answers: Arc::default() }
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
        let deadline_ms = deadline.map_or(0, |limit| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX));
        let mut request = Request {
            buf: RVec::from(text),
            args_at: arguments.start,
            args_len: arguments.len(),
            deadline_ms,
            flags: 0,
        };
        // Nobody else waits for what a large request takes.
        if command.has(command_flags::INSTANT | command_flags::OFTEN_INSTANT)
            && !is_large
            && let Some(Ok(plugin)) = command.set.started()
        {
            match self.in_place(&name, command, plugin, request) {
                Ok(result) => return Begun::Done(Outcome { result, id }),
                Err(handed_back) => request = handed_back,
            }
        }
        if let Some((running, for_how_long)) = command.set.busy_with() {
            let desc = format!(
                "The command set '{}' is busy: {running} has been running for {} s",
                command.set.name(),
                for_how_long.as_secs()
            );
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
            answer => self.answers.check(name, answer),
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
        let (core, set, index) = (Arc::clone(&self.core), Arc::clone(&command.set), command.index);
        let (call, answers) = (name.clone(), Arc::clone(&self.answers));
        let worker = self.workers.run(move || {
            let result = match start(&core, &set) {
                Ok(plugin) => answers.check(&call, plugin.call(index, request).into_result()),
                Err(error) => Err(error.clone()),
            };
            audit(&call, &set, &result, since);
            // Also of a call that nobody waits for any more.
            drop(lease);
            if result.as_ref().is_ok_and(|reply| reply.body.len() >= memory::LARGE) {
                core.memory().note_use();
            }
            result
        });
        Running { worker, set: Arc::clone(&command.set), command: name, id, since, deadline }
    }
}

/// The plugin of a set, started if it was not.
pub fn start<'s>(core: &Arc<Core>, set: &'s Set) -> Result<&'s guestd_abi::PluginBox, &'s CallError> {
    let first = set.started().is_none();
    let started = set.start(|| services::handle(core, set.name()));
    if first {
        core.memory().note_use();
        if started.is_err() {
            core.commands_changed();
        }
    }
    started.as_ref()
}

impl Running {
    /// When the call began.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Waits for the call, but not past its deadline; then the set is busy until the call comes back.
    pub async fn outcome(self) -> Outcome {
        let Self { mut worker, set, command, id, since, deadline } = self;
        let ended = match deadline {
            None => Some((&mut worker).await),
            Some(limit) => tokio::time::timeout_at((since + limit).into(), &mut worker).await.ok(),
        };
        let result = match ended {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(generic(format!("The worker of {command} was lost"))),
            None => Err(leave_overdue(worker, set, command, since, deadline.unwrap_or_default())),
        };
        Outcome { result, id }
    }
}

/// Leaves a call that is past its deadline to itself, and returns what its client is told.
fn leave_overdue(
    worker: oneshot::Receiver<Result<Reply, CallError>>,
    set: Arc<Set>,
    command: String,
    since: Instant,
    limit: Duration,
) -> CallError {
    let text = format!(
        "not finished within {} s; the command set '{}' is busy until it does",
        limit.as_secs_f32(),
        set.name()
    );
    tracing::warn!("{command} has {text}");
    set.begin_overdue(&command, since);
    let error = generic(format!("Command {command} has {text}"));
    tokio::task::spawn(async move {
        let _ = worker.await;
        set.end_overdue(&command, since);
        tracing::warn!("{command} has come back after {} s; its reply is dropped", since.elapsed().as_secs());
    });
    error
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
