//! SIGHUP: the configuration is read again.
//!
//! Files and plugins may hang, as on a mount whose server is gone: both are asked on threads of their own and for a limited
//! time, and signals are listened to meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use guestd_abi::RResult;
use sd_notify::NotifyState;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking, spawn_local};
use tokio::time::timeout;

use super::{Load, notify, start_early};
use crate::config::Settings;
use crate::core::{Core, View};
use crate::logging::log;
use crate::registry::Set;

/// How long it may take to read the files.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a set may take to read its section again.
const SET_TIMEOUT: Duration = Duration::from_secs(10);

/// Has the configuration read again, one time after the other.
pub struct Reloader {
    core: Arc<Core>,
    load: Load,
    under_way: Option<JoinHandle<()>>,
    /// It was asked for once more meanwhile.
    again: bool,
    /// Somebody reads the files, or hangs in that.
    reading: Arc<AtomicBool>,
}

impl Reloader {
    /// Nothing is read yet.
    pub fn new(core: &Arc<Core>, load: Load) -> Self {
        Self { core: Arc::clone(core), load, under_way: None, again: false, reading: Arc::default() }
    }

    /// Begins to read, now or when what is under way has ended.
    pub fn begin(&mut self) {
        if self.under_way.is_some() {
            self.again = true;
            return;
        }
        let (core, load, reading) = (Arc::clone(&self.core), Arc::clone(&self.load), Arc::clone(&self.reading));
        self.under_way = Some(spawn_local(run(core, load, reading)));
    }

    /// Waits for the end of what is under way; for ever where nothing is.
    pub async fn ended(&mut self) {
        match &mut self.under_way {
            // It has told its own end.
            Some(under_way) => drop(under_way.await),
            None => std::future::pending().await,
        }
        self.under_way = None;
        if std::mem::take(&mut self.again) {
            self.begin();
        }
    }
}

/// Reads the configuration again. What is wrong with it is logged, and the one in force stays. Channels, the state directory
/// and the protocol's settings need a restart.
async fn run(core: Arc<Core>, load: Load, reading: Arc<AtomicBool>) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("the time cannot be told to the service manager: {error}"),
    }
    match read(&core, load, reading).await {
        Err(error) => tracing::error!("the configuration stays as it was: {error}"),
        Ok(view) => {
            view.log_warnings();
            core.replace_view(view);
            for set in &core.view().registry.sets {
                set.forgive();
            }
            core.commands_changed();
            reload_sets(&core).await;
            start_early(&core);
            tracing::info!("the configuration was read again");
        }
    }
    notify(&[NotifyState::Ready]);
}

/// The configuration that the files have now. The log goes where it says already.
async fn read(core: &Arc<Core>, load: Load, reading: Arc<AtomicBool>) -> Result<View, String> {
    if reading.swap(true, Ordering::AcqRel) {
        return Err("its files are still being read since the last time".to_owned());
    }
    let given_up = Arc::new(AtomicBool::new(false));
    let (before, too_late) = (core.view(), Arc::clone(&given_up));
    let files = spawn_blocking(move || {
        let view = read_files(&before, &load, &too_late);
        reading.store(false, Ordering::Release);
        view
    });
    match timeout(READ_TIMEOUT, files).await {
        Ok(Ok(view)) => view,
        Ok(Err(_)) => Err("the thread that reads its files was lost".to_owned()),
        Err(_) => {
            given_up.store(true, Ordering::Release);
            Err(format!("its files were not read within {} s", READ_TIMEOUT.as_secs()))
        }
    }
}

fn read_files(before: &View, load: &Load, too_late: &AtomicBool) -> Result<View, String> {
    let settings = load()?;
    let fixed = |settings: &Settings| (settings.channels.clone(), settings.state_dir.clone());
    if fixed(&settings) != fixed(&before.settings) {
        tracing::warn!("channels and state directory change with a restart only");
    }
    let view = View::new(settings, &before.registry);
    if too_late.load(Ordering::Acquire) {
        return Err("it was read too late".to_owned());
    }
    log().configure(view.settings.log.level, &view.settings.log.target)?;
    Ok(view)
}

async fn reload_sets(core: &Core) {
    let mut waiting = JoinSet::new();
    for set in core.view().registry.sets.iter().filter(|set| set.started().is_some()) {
        waiting.spawn(reload_set(Arc::clone(set)));
    }
    while waiting.join_next().await.is_some() {}
}

async fn reload_set(set: Arc<Set>) {
    let asked = Arc::clone(&set);
    let reloaded = spawn_blocking(move || {
        let Some(_reload) = asked.begin_reload() else {
            return Err("it still reads what was there the last time".to_owned());
        };
        match asked.started().map(|plugin| plugin.reload()) {
            Some(RResult::RErr(error)) => Err(error.desc.to_string()),
            _ => Ok(()),
        }
    });
    match timeout(SET_TIMEOUT, reloaded).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::error!("the set '{}' stays as it was: {error}", set.name()),
        Ok(Err(_)) => tracing::error!("the reload of the set '{}' was lost", set.name()),
        Err(_) => tracing::error!(
            "the set '{}' has not read its configuration again within {} s, and goes on with what it had until it has",
            set.name(),
            SET_TIMEOUT.as_secs()
        ),
    }
}
