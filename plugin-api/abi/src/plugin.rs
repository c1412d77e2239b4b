//! What the daemon calls: a started plugin.

use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, RResult};

use crate::{CallError, Reply, Request};

/// A started plugin, owned by the daemon until the process ends.
///
/// All methods may be called from any thread and from several at once; they must not panic.
#[sabi_trait]
pub trait Plugin: Send + Sync + 'static {
    /// Carries out the command at `index` of [`crate::PluginMod::commands`].
    ///
    /// The plugin owns the request, the daemon the answer. A command that is not
    /// [`INSTANT`](crate::command_flags::INSTANT) may block, unless the request is
    /// [`IN_PLACE`](crate::request_flags::IN_PLACE): it runs on a thread of its own, and past its deadline the client is
    /// answered without it. The index is [`BY_NAME`](crate::manifest::BY_NAME) for a command that comes from
    /// the configuration. Any other `index` out of range is an error, never undefined.
    fn call(&self, index: u32, request: Request) -> RResult<Reply, CallError>;

    /// The configuration was read again: [`crate::Host::config`] may give another text now. May block; runs on a
    /// worker thread. After an error the plugin goes on with what it had.
    fn reload(&self) -> RResult<(), CallError> {
        RResult::ROk(())
    }

    /// The daemon is about to end: undo what must not outlive it, as frozen file systems. Called once, on a worker
    /// thread, while other calls may still be under way; the daemon waits a bounded time. No call follows.
    #[sabi(last_prefix_field)]
    fn stop(&self) {}
}

/// A boxed [`Plugin`] that can cross the boundary.
pub type PluginBox = Plugin_TO<RBox<()>>;
