//! The daemon's life: from its settings to its end.

mod background;
mod descriptors;
mod pid_file;
mod reload;
pub mod status;
mod stopping;

use std::os::fd::{FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use guestd_guest::umask;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;

use crate::channel::Channel;
use crate::config::Settings;
use crate::core::{Core, View};
use crate::dispatch::{self, Dispatcher};
use crate::logging::log;
use crate::memory;
use crate::registry::{Registry, Set};
use crate::state::State;
use reload::Reloader;

/// How long the last log lines may take.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Reads the settings again.
pub type Load = Arc<dyn Fn() -> Result<Settings, String> + Send + Sync>;

/// Runs the daemon until a signal ends it. The error is what kept it from starting.
pub fn run(settings: Settings, load: Load) -> Result<ExitCode, String> {
    // What the daemon makes is its own, unless it says otherwise. What clients and programs make has the one before.
    let umask = umask::set(0o077);
    log().configure(settings.log.level, &settings.log.target)?;
    let background = if settings.daemonize { Some(background::enter(&settings.pid_file)?) } else { None };
    // The file goes last, however this ends.
    let (background, _pid_file) = background.unzip();
    // SAFETY: nothing has started a thread yet but the log, which has no use for the environment.
    unsafe { guestd_guest::descriptors::raise() };
    memory::tune();
    descriptors::keep_from_programs();
    let state = State::open(&settings.state_dir, settings.state_dir_is_default)?;
    let view = View::new(settings, &Registry::default());
    view.log_warnings();
    let core = Arc::new(Core::new(view, state, umask));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_name("plugin life")
        .build()
        .map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let local = LocalSet::new();
    let served = local.block_on(&runtime, serve(&core, load, background));
    drop(local);
    // A worker that hangs must not hold up the end.
    runtime.shutdown_background();
    core.state().close();
    log().flush(FLUSH_LIMIT);
    served.map(|()| ExitCode::SUCCESS)
}

/// The signals that the daemon listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    /// Only caught, so that a write past a limit on file sizes is an error (setrlimit(2), RLIMIT_FSIZE) and not the end.
    _file_too_large: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            _file_too_large: signal(SignalKind::from_raw(nix::libc::SIGXFSZ))?,
        })
    }
}

async fn serve(core: &Arc<Core>, load: Load, background: Option<background::Background>) -> Result<(), String> {
    let dispatcher = Dispatcher::new(Arc::clone(core));
    let mut activated = activated_sockets();
    let mut channels = Vec::new();
    for settings in &core.view().settings.channels {
        let channel = Channel::open(settings, &mut activated)
            .map_err(|error| format!("{} {}: {}", settings.method, settings.path, guestd_sdk::errno_text(&error)))?;
        channels.push(channel);
    }
    // Until here nothing has to be undone, so that a signal may end the process, whatever it waits for.
    let mut signals = Signals::new().map_err(|error| format!("signals cannot be listened to: {error}"))?;
    take_over_freeze(core);
    start_early(core);
    for channel in channels {
        tokio::task::spawn_local(channel.serve(dispatcher.for_client()));
    }
    tokio::task::spawn_local(status::serve(Arc::clone(core)));
    let keeper = Arc::clone(core);
    tokio::task::spawn_local(async move {
        if let Err(error) = keeper.memory().serve().await {
            tracing::warn!("memory that is not in use will be kept: {error}");
        }
    });
    core.memory().note_use();
    if let Some(background) = background {
        background.report_ready()?;
    }
    tracing::debug!("guestd {} is ready", env!("CARGO_PKG_VERSION"));
    notify(&[NotifyState::Ready]);
    let mut reloader = Reloader::new(core, load);
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            _ = signals.hang_up.recv() => reloader.begin(),
            () = reloader.ended() => {}
        }
    }
    notify(&[NotifyState::Stopping]);
    stopping::run(core).await;
    Ok(())
}

/// Tells the service manager, if there is one, how far the daemon is.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("the service manager cannot be told: {error}");
    }
}

/// The sockets that the service manager passes (sd_listen_fds(3)), the first one last.
fn activated_sockets() -> Vec<OwnedFd> {
    match sd_notify::listen_fds() {
        Ok(fds) => {
            // SAFETY: the service manager has opened these descriptors for this process, and this is their only use.
            let mut fds: Vec<OwnedFd> = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
            fds.reverse();
            fds
        }
        Err(_) => Vec::new(),
    }
}

/// If a daemon before this one froze file systems and did not get to thaw them, closes the gate and starts the set
/// that did it: it takes the freeze over, or undoes it.
fn take_over_freeze(core: &Arc<Core>) {
    let Some(owner) = core.state().frozen_by() else { return };
    let view = core.view();
    let by_thaw = || view.registry.command("guest-fsfreeze-thaw").map(|command| Arc::clone(&command.set));
    let set: Option<Arc<Set>> = view.registry.set(&owner).map(Arc::clone).or_else(by_thaw);
    let Some(set) = set else {
        tracing::error!("file systems may be frozen since a daemon before this one, and no set is there to thaw them");
        return;
    };
    tracing::warn!("file systems are frozen since a daemon before this one; the set '{}' takes over", set.name());
    core.take_over_freeze();
    let core = Arc::clone(core);
    tokio::task::spawn_blocking(move || {
        if dispatch::start(&core, &set, None).is_err()
            && let Err(error) = core.set_frozen(set.name(), false)
        {
            tracing::error!("{error}");
        }
    });
}

/// Starts the sets that are to be there before their first call. A failure is logged, and answered when they are called.
fn start_early(core: &Arc<Core>) {
    let view = core.view();
    for set in &view.registry.sets {
        let section = view.settings.plugins.sections.get(set.name());
        let asked =
            set.manifest.start_if.as_ref().is_some_and(|key| section.is_some_and(|section| section.contains_key(key)));
        if asked && set.started().is_none() {
            let (core, set) = (Arc::clone(core), Arc::clone(set));
            tokio::task::spawn_blocking(move || dispatch::start(&core, &set, None).is_ok());
        }
    }
}
