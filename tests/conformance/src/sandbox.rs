//! What keeps a case, or an agent with a defect, from harming the machine.
//!
//! Nothing that the runner starts has the capability to set the clock or to reboot.
//! Requests that would act on the whole machine are sent only where the machine's
//! file systems are out of sight (see [`crate::private_root`]), and some are not
//! sent at all.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use caps::{CapSet, Capability};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid, getpid};
use regex::bytes::Regex;

/// Environment variable that marks the processes of a case.
pub const MARK: &str = "GUESTD_CONFORMANCE_CASE";

/// What no case can need and no agent may have.
const DANGEROUS: [Capability; 2] = [Capability::CAP_SYS_TIME, Capability::CAP_SYS_BOOT];

/// Requests that are sent only from a private namespace.
const RISKY: &str = r"(?-u)guest-(shutdown|suspend|set-time|fstrim|fsfreeze-freeze)";
/// Requests that are never sent.
const NEVER: &str = r#"(?-u)guest-(suspend-\w+|fsfreeze-freeze)["']"#;
/// More than the longest name in a request that is refused.
const TAIL: usize = 64;

/// Give up the dangerous capabilities, for this process and all that it starts.
/// Must be called before the first thread is started.
pub fn disarm() -> Result<()> {
    for capability in DANGEROUS {
        for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
            if caps::has_cap(None, set, capability)? {
                caps::drop(None, set, capability).with_context(|| format!("cannot give up {capability}"))?;
            }
        }
        // Without root nobody gets back what was given up, short of a set-id program.
        if geteuid().is_root() && caps::has_cap(None, CapSet::Bounding, capability)? {
            caps::drop(None, CapSet::Bounding, capability)
                .with_context(|| format!("cannot give up {capability} for good"))?;
            ensure!(!caps::has_cap(None, CapSet::Bounding, capability)?, "{capability} stays");
        }
        ensure!(!caps::has_cap(None, CapSet::Permitted, capability)?, "{capability} stays");
    }
    Ok(())
}

/// Whether this process may make private namespaces, or why not.
pub fn can_isolate() -> Result<(), String> {
    match caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN) {
        Ok(true) if Path::new("/dev/shm").is_dir() => Ok(()),
        Ok(true) => Err("a private namespace needs /dev/shm".to_owned()),
        Ok(false) => Err("a private namespace needs root (CAP_SYS_ADMIN)".to_owned()),
        Err(err) => Err(format!("capabilities cannot be read: {err}")),
    }
}

/// Looks at all that a case sends before it is sent.
pub struct Gate {
    risky: Regex,
    never: Regex,
    private: bool,
    tail: Vec<u8>,
}

impl Gate {
    /// A gate for one run of a case; `private` in a private namespace.
    pub fn new(private: bool) -> Result<Gate> {
        let compile = |pattern| Regex::new(pattern).context("pattern of refused requests");
        Ok(Gate { risky: compile(RISKY)?, never: compile(NEVER)?, private, tail: Vec::new() })
    }

    /// Refuse what must not be sent from here, also if it comes in pieces or spelled
    /// with escapes.
    pub fn admit(&mut self, data: &[u8]) -> Result<()> {
        let data = unescape(data);
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend(data.iter().take(TAIL));
        for text in [&data[..], &seam[..]] {
            if self.never.is_match(text) || !self.private && self.risky.is_match(text) {
                let start = String::from_utf8_lossy(text.get(..80).unwrap_or(text)).into_owned();
                bail!("refused to send {start:?} from here");
            }
        }
        if data.len() >= TAIL {
            seam = data.into_owned();
        }
        self.tail = seam.split_off(seam.len().saturating_sub(TAIL));
        Ok(())
    }
}

/// The text with `\u00XX` replaced by the byte that it stands for.
fn unescape(data: &[u8]) -> Cow<'_, [u8]> {
    let mark = b"\\u00";
    if memchr::memmem::find(data, mark).is_none() {
        return Cow::Borrowed(data);
    }
    let mut plain = Vec::with_capacity(data.len());
    let mut rest = data;
    while let Some(at) = memchr::memmem::find(rest, mark) {
        let (before, from) = rest.split_at(at);
        plain.extend(before);
        let digits = from.get(4..6).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let taken = if let Some(byte) = byte {
            plain.push(byte);
            6
        } else {
            plain.extend(mark);
            4
        };
        rest = from.get(taken..).unwrap_or_default();
    }
    plain.extend(rest);
    Cow::Owned(plain)
}

/// Kill the processes that a case has left behind, found by their environment.
pub fn kill_leftovers(base: &str) {
    let mark = format!("{MARK}={base}");
    for _ in 0..20 {
        let marked = marked_processes(mark.as_bytes());
        if marked.is_empty() {
            return;
        }
        for pid in marked {
            // It may have ended in the meantime.
            let _ = kill(pid, Signal::SIGKILL);
        }
        sleep(Duration::from_millis(10));
    }
    eprintln!("warning: processes of {base} cannot be killed");
}

fn marked_processes(mark: &[u8]) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| *pid > 1 && *pid != getpid().as_raw())
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|env| env.split(|byte| *byte == 0).any(|entry| entry == mark))
        })
        .map(Pid::from_raw)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Gate;
    use crate::cases::{latin1, load};
    use std::path::Path;

    fn admitted(private: bool, pieces: &[&str]) -> bool {
        let mut gate = Gate::new(private).unwrap();
        pieces.iter().all(|piece| gate.admit(piece.as_bytes()).is_ok())
    }

    #[test]
    fn risky_requests_pass_only_in_a_private_namespace() {
        for name in ["guest-shutdown", "guest-set-time", "guest-fstrim", "guest-fsfreeze-freeze-list"] {
            let request = format!(r#"{{"execute":"{name}"}}"#);
            assert!(!admitted(false, &[&request]), "{name}");
            assert!(admitted(true, &[&request]), "{name}");
        }
        assert!(admitted(false, &[r#"{"execute":"guest-fsfreeze-status"}"#]));
    }

    #[test]
    fn suspending_and_freezing_everything_never_pass() {
        for request in [
            r#"{"execute":"guest-suspend-ram"}"#,
            r#"{"execute":"guest-suspend-disk"}"#,
            r#"{"execute":"guest-fsfreeze-freeze"}"#,
            r#"{'execute':'guest-fsfreeze-freeze'}"#,
            r#"{"execute":"guest\u002dfsfreeze-\u0066reeze"}"#,
        ] {
            assert!(!admitted(true, &[request]), "{request}");
            assert!(!admitted(false, &[request]), "{request}");
        }
    }

    #[test]
    fn pieces_are_seen_together() {
        assert!(!admitted(false, &[r#"{"execute":"guest-shu"#, "tdown\"}"]));
        assert!(!admitted(true, &["\"guest-", "fsfreeze", "-free", "ze", "\""]));
        let filler = " ".repeat(100);
        assert!(!admitted(true, &[&format!("{filler}\"guest-fsfreeze-freeze"), "\"}"]));
    }

    #[test]
    fn nothing_in_the_corpus_is_refused() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        for case in load(&[corpus]).unwrap() {
            let mut gate = Gate::new(case.namespace).unwrap();
            for send in case.steps.iter().filter_map(|step| step.send.as_ref()) {
                let data = latin1(&send.text(&str::to_owned)).unwrap();
                assert!(gate.admit(&data).is_ok(), "{}", case.id);
            }
        }
    }
}
