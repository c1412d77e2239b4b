//! The sessions of systemd-logind, from the files that sd-login(3) reads.

use std::fs;

use super::Login;
use crate::assignments::assignments;
use crate::guest::{Guest, read_file};

/// A file a session, named after it; names with a dot are files on their way and what holds a session open.
const SESSIONS: &str = "/run/systemd/sessions";

/// More than a session's file can be, in bytes.
const SESSION_LIMIT: usize = 64 * 1024;

/// The logins in the order of their times. None where systemd-logind does not run.
pub(super) fn logins(guest: &Guest) -> Vec<Login> {
    let Ok(files) = fs::read_dir(guest.path(SESSIONS)) else { return Vec::new() };
    let files = files.flatten().filter(|file| !file.file_name().as_encoded_bytes().contains(&b'.'));
    // A session may end between the list and the file.
    let sessions = files.filter_map(|file| read_file(&file.path(), SESSION_LIMIT).ok());
    let mut logins: Vec<Login> = sessions.filter_map(|session| login(&session)).collect();
    logins.sort_by(|one, other| one.time.total_cmp(&other.time).then_with(|| one.user.cmp(&other.user)));
    logins
}

/// The login that a session is, unless it is another kind of session (a greeter, a lock screen, a service manager,
/// cron's) or is about to end. Classes and states are those of sd_session_get_class(3) and sd_session_get_state(3).
fn login(session: &[u8]) -> Option<Login> {
    let (mut user, mut time, mut class) = (None, None, None);
    for (key, value) in assignments(session) {
        match key {
            "USER" => user = Some(value),
            "REALTIME" => time = value.parse::<u64>().ok(),
            "CLASS" => class = Some(value),
            "STATE" if value == "closing" => return None,
            _ => {}
        }
    }
    let is_login = matches!(class.as_deref(), Some("user" | "user-early" | "user-light" | "user-early-light"));
    if !is_login {
        return None;
    }
    Some(Login { user: user?, time: time? as f64 / 1e6 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sessions_of_users_are_logins() {
        let session = |class: &str, state: &str| {
            let text = format!(
                "# This is private data. Do not parse.\nUID=1000\nUSER=alice\nACTIVE=1\nSTATE={state}\nREMOTE=0\n\
                 LEADER_FD_SAVED=1\nTYPE=tty\nORIGINAL_TYPE=tty\nCLASS={class}\nSCOPE=session-1.scope\n\
                 REALTIME=1700000000250000\nMONOTONIC=5000000\n"
            );
            login(text.as_bytes())
        };
        let alice = Some(Login { user: "alice".to_owned(), time: 1_700_000_000.25 });
        assert_eq!(session("user", "active"), alice);
        assert_eq!(session("user-light", "online"), alice);
        for (class, state) in
            [("greeter", "active"), ("manager", "active"), ("background", "active"), ("user", "closing")]
        {
            assert_eq!(session(class, state), None, "{class} {state}");
        }
    }

    #[test]
    fn a_file_that_says_too_little_is_no_login() {
        let text = b"USER=alice\nCLASS=user\nREALTIME=1\n";
        assert!(login(text).is_some());
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            assert_eq!(login(line), None);
        }
        assert_eq!(login(b"USER=alice\nCLASS=user\nREALTIME=-1\n"), None);
    }
}
