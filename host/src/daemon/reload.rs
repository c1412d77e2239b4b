//! SIGHUP: the configuration is read again.

use std::sync::Arc;

use guestd_abi::RResult;
use sd_notify::NotifyState;

use super::{Load, notify, start_early};
use crate::core::{Core, View};
use crate::logging::log;

/// Reads the configuration again. What is wrong with it is logged, and the one in force stays. Channels, the state directory
/// and the protocol's settings need a restart.
pub async fn run(core: &Arc<Core>, load: Load<'_>) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("the time cannot be told to the service manager: {error}"),
    }
    if let Err(error) = apply(core, load) {
        tracing::error!("the configuration stays as it was: {error}");
    } else {
        reload_plugins(core).await;
        start_early(core);
        tracing::info!("the configuration was read again");
    }
    notify(&[NotifyState::Ready]);
}

fn apply(core: &Core, load: Load<'_>) -> Result<(), String> {
    let settings = load()?;
    let before = core.view();
    log().configure(settings.log.level, &settings.log.target)?;
    let fixed = |settings: &crate::config::Settings| (settings.channels.clone(), settings.state_dir.clone());
    if fixed(&settings) != fixed(&before.settings) {
        tracing::warn!("channels and state directory change with a restart only");
    }
    let view = View::new(settings, &before.registry);
    view.registry.log_refusals();
    core.replace_view(view);
    Ok(())
}

async fn reload_plugins(core: &Core) {
    for set in &core.view().registry.sets {
        let set = Arc::clone(set);
        let reloaded = tokio::task::spawn_blocking(move || {
            if let Some(Ok(plugin)) = set.started()
                && let RResult::RErr(error) = plugin.reload()
            {
                tracing::error!("the set '{}' stays as it was: {}", set.name(), error.desc);
            }
        });
        if reloaded.await.is_err() {
            tracing::error!("a set's reload was lost");
        }
    }
}
