//! A command set: a plugin's file, and the plugin once it is in use.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use guestd_abi::manifest::Manifest;
use guestd_abi::{CallError, HostArc, PluginBox, RResult};

use super::open;
use super::scan::Found;

/// The most calls of a set that may hang before the whole set is busy, whatever its manifest says: half of the threads that
/// a set may have.
const MAX_OVERDUE: usize = crate::workers::MAX_PER_SET / 2;

/// A command set that is enabled.
pub struct Set {
    /// What its file says of itself.
    pub manifest: Manifest,
    /// The file.
    pub path: PathBuf,
    file: (u64, u64),
    plugin: OnceLock<PluginBox>,
    life: Mutex<Life>,
    /// The set was started, or its start has failed.
    start_ended: Condvar,
    /// Whether there is a reason why it cannot be used, so that nobody has to take the lock to learn that there is none.
    has_reason: AtomicBool,
    /// The faults since the last call that went well.
    faults: AtomicU32,
    reloading: AtomicBool,
}

/// What has become of a set so far.
#[derive(Default)]
struct Life {
    start: Start,
    /// What the last failed start was logged as: a start that is tried at each call is not told at each call.
    logged: Option<String>,
    /// The calls that are past their deadline and still running.
    overdue: Vec<Overdue>,
    /// Why it is switched off: a sentence.
    off: Option<String>,
}

#[derive(Default)]
enum Start {
    #[default]
    NotYet,
    UnderWay,
    /// It is tried again after a reload.
    Failed(CallError),
}

struct Overdue {
    command: String,
    since: Instant,
}

impl Set {
    pub(super) fn new(found: Found) -> Self {
        Self {
            manifest: found.manifest,
            path: found.path,
            file: found.file,
            plugin: OnceLock::new(),
            life: Mutex::default(),
            start_ended: Condvar::new(),
            has_reason: AtomicBool::new(false),
            faults: AtomicU32::new(0),
            reloading: AtomicBool::new(false),
        }
    }

    /// The set's name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// Whether this is the set of that file with that manifest.
    pub(super) fn is_same(&self, found: &Found) -> bool {
        (self.file, &self.path, &self.manifest) == (found.file, &found.path, &found.manifest)
    }

    /// The plugin, if it was started.
    pub fn started(&self) -> Option<&PluginBox> {
        self.plugin.get()
    }

    /// Whether its start is under way.
    pub fn is_starting(&self) -> bool {
        matches!(self.life().start, Start::UnderWay) && self.started().is_none()
    }

    /// The plugin, which is opened and started if it was not yet. It may block as long as the plugin's start does; where another
    /// call has begun that, it waits until `until` only.
    ///
    /// A start that fails is not tried again before the configuration is read again; one that fails because the process
    /// has no descriptors or no memory at the moment is tried again at the next call.
    pub fn start(&self, host: impl FnOnce() -> HostArc, until: Option<Instant>) -> Result<&PluginBox, CallError> {
        let mut life = self.life();
        loop {
            if let Some(plugin) = self.plugin.get() {
                return Ok(plugin);
            }
            match &life.start {
                Start::Failed(error) => return Err(error.clone()),
                Start::NotYet => break,
                Start::UnderWay => {}
            }
            life = match until {
                None => self.start_ended.wait(life).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(self.unusable("its start has not ended yet"));
                    }
                    self.start_ended.wait_timeout(life, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        life.start = Start::UnderWay;
        drop(life);
        // Whatever happens in between, nobody waits for ever.
        let _attempt = Attempt(self);
        match self.open_and_start(host) {
            Ok(plugin) => Ok(self.plugin.get_or_init(|| plugin)),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn fail(&self, error: CallError) -> CallError {
        let mut life = self.life();
        if life.logged.as_deref() != Some(error.desc.as_str()) {
            tracing::error!("{}", error.desc);
            life.logged = Some(error.desc.to_string());
        }
        if !is_shortage(&error.desc) {
            life.start = Start::Failed(error.clone());
            self.has_reason.store(true, Ordering::Release);
        }
        error
    }

    fn open_and_start(&self, host: impl FnOnce() -> HostArc) -> Result<PluginBox, CallError> {
        // A library that was opened before is not loaded a second time: dlopen(3).
        let module = open::open(&self.path, self.file, &self.manifest)
            .map_err(|reason| self.unusable(&format!("{} {reason}", self.path.display())))?;
        tracing::debug!(set = self.name(), path = %self.path.display(), "opened");
        match module.start()(host()) {
            RResult::ROk(plugin) => Ok(plugin),
            RResult::RErr(error) => Err(self.unusable(&error.desc)),
        }
    }

    fn unusable(&self, reason: &str) -> CallError {
        CallError {
            class: "GenericError".into(),
            desc: format!("The command set '{}' cannot be used: {reason}", self.name()).into(),
        }
    }

    /// Why the set's commands cannot be called, if they cannot: a sentence. `in_need`: a set that is merely switched off is called
    /// all the same.
    pub fn reason(&self, in_need: bool) -> Option<String> {
        if !self.has_reason.load(Ordering::Acquire) {
            return None;
        }
        let life = self.life();
        match &life.start {
            Start::Failed(error) => Some(error.desc.to_string()),
            _ if in_need => None,
            _ => life.off.clone(),
        }
    }

    /// What it is now, in a word, and why it cannot be called, if it cannot.
    pub fn status(&self) -> (&'static str, Option<String>) {
        if let Some((command, for_how_long)) = self.busy_with() {
            return ("busy", Some(format!("{command} has been running for {} s", for_how_long.as_secs())));
        }
        let life = self.life();
        match (&life.start, &life.off) {
            (Start::Failed(error), _) => ("failed", Some(error.desc.to_string())),
            (_, Some(why)) => ("off", Some(why.clone())),
            _ if self.plugin.get().is_some() => ("started", None),
            _ => ("not-started", None),
        }
    }

    /// The configuration was read again: a start that failed is tried again, and faults of before do not count.
    pub fn forgive(&self) {
        let mut life = self.life();
        if let Start::Failed(_) = life.start {
            life.start = Start::NotYet;
        }
        life.logged = None;
        life.off = None;
        self.faults.store(0, Ordering::Relaxed);
        self.has_reason.store(false, Ordering::Release);
    }

    /// A call went well: the plugin answered, be it with an error.
    pub fn note_success(&self) {
        if self.faults.load(Ordering::Relaxed) != 0 {
            self.faults.store(0, Ordering::Relaxed);
        }
    }

    /// Notes a fault of the plugin, `what` being a clause about the command. Returns whether the set is switched off for it,
    /// which it is after `limit` faults in a row; 0: never.
    pub fn note_fault(&self, what: &str, limit: u32) -> bool {
        let faults = self.faults.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let mut life = self.life();
        if limit == 0 || faults < limit || life.off.is_some() {
            return false;
        }
        let reason = format!(
            "The command set '{}' is switched off after {} faults in a row, the last of which: {what}",
            self.name(),
            faults
        );
        tracing::error!("{reason}; reloading the configuration switches it on again");
        life.off = Some(reason);
        self.has_reason.store(true, Ordering::Release);
        true
    }

    /// Notes that a call is past its deadline.
    pub fn begin_overdue(&self, command: &str, since: Instant) {
        self.life().overdue.push(Overdue { command: command.to_owned(), since });
    }

    /// Notes that such a call has come back after all.
    pub fn end_overdue(&self, command: &str, since: Instant) {
        self.life().overdue.retain(|call| call.since != since || call.command != command);
    }

    /// The call that has been running longest, and for how long, if the set is busy: as many calls as its manifest says are past
    /// their deadline, or its start is.
    pub fn busy_with(&self) -> Option<(String, Duration)> {
        let life = self.life();
        if life.overdue.len() < self.overdue_limit() {
            return None;
        }
        let oldest = life.overdue.iter().min_by_key(|call| call.since)?;
        Some((oldest.command.clone(), oldest.since.elapsed()))
    }

    /// How many calls are past their deadline and still running.
    pub fn count_overdue(&self) -> usize {
        self.life().overdue.len()
    }

    /// How many calls past their deadline make the whole set busy. A start that hangs is one for all.
    pub fn overdue_limit(&self) -> usize {
        match self.plugin.get() {
            None => 1,
            Some(_) => usize::try_from(self.manifest.overdue_limit).unwrap_or(usize::MAX).clamp(1, MAX_OVERDUE),
        }
    }

    /// Begins to have the set read its configuration again; `None`: it has not done so since the last time.
    pub fn begin_reload(&self) -> Option<Reload<'_>> {
        (!self.reloading.swap(true, Ordering::AcqRel)).then_some(Reload(self))
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A start that is under way.
struct Attempt<'s>(&'s Set);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut life = self.0.life();
        if matches!(life.start, Start::UnderWay) {
            life.start = Start::NotYet;
        }
        self.0.start_ended.notify_all();
    }
}

/// A reload that is under way.
pub struct Reload<'s>(&'s Set);

impl Drop for Reload<'_> {
    fn drop(&mut self) {
        self.0.reloading.store(false, Ordering::Release);
    }
}

/// Whether an error tells of something that the process has none of at the moment. Only a text tells: dlopen(3) has no error
/// numbers, and those of a plugin's start do not cross the boundary.
fn is_shortage(desc: &str) -> bool {
    use nix::libc::{EAGAIN, EMFILE, ENFILE, ENOMEM};
    [EMFILE, ENFILE, ENOMEM, EAGAIN].into_iter().any(|code| {
        let text = guestd_sdk::errno_text(&io::Error::from_raw_os_error(code));
        desc.contains(&text)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A set that nobody starts.
    pub(crate) fn set(overdue_limit: u32) -> Set {
        let text =
            format!("guestd-plugin 1\nabi 1.0\nname x\nversion 1\nvendor Example Ltd\noverdue-limit {overdue_limit}\n");
        Set::new(Found { path: "/x.so".into(), file: (1, 1), manifest: Manifest::parse(&text).unwrap() })
    }

    #[test]
    fn faults_in_a_row_switch_a_set_off_until_it_is_forgiven() {
        let set = set(1);
        for _ in 0..100 {
            assert!(!set.note_fault("x has panicked", 3) && !set.note_fault("x has panicked", 3));
            set.note_success();
        }
        assert_eq!(set.reason(false), None);
        assert_eq!([(); 4].map(|()| set.note_fault("x has panicked", 3)), [false, false, true, false]);
        let reason = set.reason(false).unwrap();
        assert_eq!(
            reason,
            "The command set 'x' is switched off after 3 faults in a row, the last of which: x has panicked"
        );
        assert_eq!(set.reason(true), None, "a frozen guest can be thawed");
        set.forgive();
        assert_eq!(set.reason(false), None);
        assert!(!(0..1000).any(|_| set.note_fault("x has panicked", 0)), "0: never");
    }

    #[test]
    fn a_start_without_descriptors_is_tried_again_and_any_other_after_a_reload() {
        let set = set(1);
        let fails = |desc: &str| {
            set.fail(CallError { class: "GenericError".into(), desc: desc.into() });
            set.reason(true).is_some()
        };
        for code in [nix::libc::EMFILE, nix::libc::ENFILE, nix::libc::ENOMEM] {
            let text = guestd_sdk::errno_text(&io::Error::from_raw_os_error(code));
            assert!(!fails(&format!("/x.so cannot be loaded: /x.so: cannot open shared object file: {text}")));
        }
        assert!(fails("configuration: unknown field `leas`"));
        set.forgive();
        assert_eq!(set.reason(true), None);
    }

    #[test]
    fn a_set_is_busy_when_as_many_calls_hang_as_it_says() {
        // A start that hangs makes it busy at once, and this set is not started.
        let set = set(8);
        let since = Instant::now();
        assert!(set.busy_with().is_none());
        set.begin_overdue("guest-x", since);
        assert_eq!((set.busy_with().unwrap().0.as_str(), set.count_overdue()), ("guest-x", 1));
        set.end_overdue("guest-x", since);
        assert!(set.busy_with().is_none());
    }
}
