//! The daemon's side of the boundary: what a plugin may ask of it.

use std::sync::Arc;
use std::time::Duration;

use guestd_abi::abi_stable::std_types::RArc;
use guestd_abi::abi_stable::type_level::downcasting::TD_Opaque;
use guestd_abi::{CallError, Host, Host_TO, HostArc, LogLevel, RResult, RStr, RString};

use crate::core::Core;
use crate::logging::log;
use crate::memory::Lease;

/// The daemon as one plugin sees it.
#[derive(Clone)]
struct Services {
    core: Arc<Core>,
    set: String,
}

/// A handle for the plugin of the set called `set`.
pub fn handle(core: &Arc<Core>, set: &str) -> HostArc {
    Host_TO::from_ptr(RArc::new(Services { core: Arc::clone(core), set: set.to_owned() }), TD_Opaque)
}

fn result<T>(result: Result<T, String>) -> RResult<T, CallError> {
    match result {
        Ok(value) => RResult::ROk(value),
        Err(desc) => RResult::RErr(CallError { class: "GenericError".into(), desc: desc.into() }),
    }
}

impl Host for Services {
    fn log_level(&self) -> u8 {
        log().level() as u8
    }

    fn log(&self, level: u8, message: RStr<'_>) {
        log().line(LogLevel::from_number(level), format!("{}: {message}", self.set));
    }

    fn config(&self) -> RString {
        self.core.view().settings.plugins.section(&self.set).into()
    }

    fn facts(&self) -> RString {
        self.core.facts().into()
    }

    fn commands_generation(&self) -> u64 {
        self.core.generation()
    }

    fn commands(&self) -> RString {
        self.core.commands_json().into()
    }

    fn frozen(&self) -> bool {
        self.core.frozen()
    }

    fn set_frozen(&self, frozen: bool) -> RResult<(), CallError> {
        result(self.core.set_frozen(&self.set, frozen))
    }

    fn take_numbers(&self, name: RStr<'_>, first: u64, count: u32) -> RResult<u64, CallError> {
        result(self.core.state().take_numbers(name.as_str(), first, count))
    }

    fn take_memory(&self, bytes: u64, wait_ms: u32) -> bool {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let lease = self.core.memory().turn_within(bytes, Duration::from_millis(wait_ms.into()));
        lease.map(Lease::lend).is_some()
    }

    fn give_memory_back(&self, bytes: u64) {
        drop(self.core.memory().lent(usize::try_from(bytes).unwrap_or(usize::MAX)));
    }
}
