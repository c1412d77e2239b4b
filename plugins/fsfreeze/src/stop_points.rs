//! Places at which tests kill the agent.

/// Ends the process by SIGKILL if `GUESTD_FSFREEZE_STOP_AT` names this place: `NAME` or, for those of a list,
/// `NAME.INDEX`. Built only with the feature `stop-points`.
#[cfg(feature = "stop-points")]
pub fn reach(name: &str, index: usize) {
    let Some(wanted) = std::env::var_os("GUESTD_FSFREEZE_STOP_AT") else { return };
    if wanted == *name || wanted == *format!("{name}.{index}") {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Does nothing: the feature `stop-points` is off.
#[cfg(not(feature = "stop-points"))]
pub fn reach(_: &str, _: usize) {}
