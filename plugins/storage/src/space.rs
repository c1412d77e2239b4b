//! How full file systems are, without waiting for one that does not answer.
//!
//! statvfs(3) of a mount point can hang for ever: on a file system that a process serves (fuseblk), on one whose cluster
//! has lost its quorum, on the way there below a dead network mount. So it is called on a helper thread, and the command
//! goes on without the answer when it does not come in time. The helper is then left behind, another takes over its
//! work, and the file system is not asked again before it has answered. Only file systems that answer from the kernel's
//! memory, with nothing doubtful on the way to them, are asked without a helper.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::filesystems::Place;
use crate::kernel::{Kernel, Space};

/// How long an idle helper waits for more work. Host tools poll every few seconds.
const KEPT: Duration = Duration::from_secs(15);
/// The most that all file systems of one request may take together, in waits for one.
const WAITS_IN_ALL: u32 = 5;

/// The helper of a batch that nobody works on any more.
const NOBODY: u64 = 0;

/// Asks file systems how full they are.
pub(crate) struct Gauge {
    shared: Arc<Shared>,
}

struct Shared {
    kernel: Arc<dyn Kernel>,
    helpers: Mutex<Helpers>,
}

#[derive(Default)]
struct Helpers {
    /// The helper that waits for work.
    idle: Option<(u64, Sender<Arc<Batch>>)>,
    /// The number of the last helper.
    last: u64,
    /// The file systems that have not answered, by their keys.
    stuck: HashSet<u32>,
}

/// A file system that is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// Where it is mounted; the first place that leads to it is asked.
    pub places: Vec<Place>,
    /// Whether it answers at once for certain, so that no other thread is needed.
    pub prompt: bool,
}

impl Question {
    fn ask(&self, kernel: &dyn Kernel) -> Option<Space> {
        self.places.iter().find_map(|place| kernel.space(&place.point, place.mount).ok())
    }

    /// Tells it from all others.
    fn key(&self) -> u32 {
        self.places.first().map_or(0, |place| place.mount)
    }
}

/// The questions of one request.
struct Batch {
    questions: Vec<Question>,
    progress: Mutex<Progress>,
    done: Condvar,
}

#[derive(Default)]
struct Progress {
    /// The helper that works on it; any other leaves it alone.
    helper: u64,
    /// How many questions have been taken up.
    begun: usize,
    /// Whether that helper is through.
    finished: bool,
    /// An answer for each question.
    answers: Vec<Option<Space>>,
}

/// Answers that are on their way.
pub(crate) struct Pending {
    shared: Arc<Shared>,
    /// The answers of those that answered at once.
    prompt: Vec<Option<Space>>,
    /// The questions of the others, and where their answers belong.
    batch: Option<(Arc<Batch>, Vec<usize>)>,
}

impl Gauge {
    pub fn new(kernel: Arc<dyn Kernel>) -> Self {
        Self { shared: Arc::new(Shared { kernel, helpers: Mutex::default() }) }
    }

    /// Begins to ask. The caller may do something else meanwhile.
    pub fn ask(&self, questions: Vec<Question>) -> Pending {
        let kernel = &*self.shared.kernel;
        let at_once = |question: &Question| if question.prompt { question.ask(kernel) } else { None };
        let prompt = questions.iter().map(at_once).collect();
        let (places, questions): (Vec<usize>, Vec<Question>) =
            questions.into_iter().enumerate().filter(|(_, question)| !question.prompt).unzip();
        let batch = (!questions.is_empty()).then(|| {
            let progress = Progress { answers: vec![None; questions.len()], ..Progress::default() };
            let batch = Arc::new(Batch { questions, progress: Mutex::new(progress), done: Condvar::new() });
            self.shared.hand_over(&batch);
            (batch, places)
        });
        Pending { shared: Arc::clone(&self.shared), prompt, batch }
    }
}

impl Pending {
    /// The answers, in the order of the questions; `None` where none came within `wait`, or the kernel has none.
    pub fn answers(self, wait: Duration) -> Vec<Option<Space>> {
        let mut answers = self.prompt;
        if let Some((batch, places)) = self.batch {
            for (place, answer) in places.into_iter().zip(self.shared.wait_for(&batch, wait)) {
                if let Some(slot) = answers.get_mut(place) {
                    *slot = answer;
                }
            }
        }
        answers
    }
}

impl Shared {
    /// Waits for the answers of a batch, and leaves behind who does not answer.
    fn wait_for(self: &Arc<Self>, batch: &Arc<Batch>, wait: Duration) -> Vec<Option<Space>> {
        let end = Instant::now() + wait * WAITS_IN_ALL;
        let mut progress = lock(&batch.progress);
        loop {
            let begun = progress.begun;
            let waited = batch.done.wait_timeout_while(progress, wait, |progress| !progress.finished);
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
            if progress.finished || Instant::now() >= end {
                break;
            }
            if progress.begun > begun {
                continue;
            }
            // A file system that has had the helper to itself for the whole of a wait is left alone. The helper is told
            // so by the same lock, so that it finds the entry when it comes back after all.
            progress.helper = NOBODY;
            let Some(hung) = begun.checked_sub(1).and_then(|index| batch.questions.get(index)) else { break };
            lock(&self.helpers).stuck.insert(hung.key());
            if begun == batch.questions.len() {
                break;
            }
            drop(progress);
            self.hand_over(batch);
            progress = lock(&batch.progress);
        }
        progress.helper = NOBODY;
        std::mem::take(&mut progress.answers)
    }

    /// Gives the batch, or what is left of it, to a helper.
    fn hand_over(self: &Arc<Self>, batch: &Arc<Batch>) {
        let idle = lock(&self.helpers).idle.take();
        if let Some((helper, work)) = idle {
            lock(&batch.progress).helper = helper;
            if work.send(Arc::clone(batch)).is_ok() {
                return;
            }
        }
        let helper = {
            let mut helpers = lock(&self.helpers);
            helpers.last += 1;
            helpers.last
        };
        lock(&batch.progress).helper = helper;
        let (work, queue) = channel();
        let shared = Arc::clone(self);
        let first = Arc::clone(batch);
        let run = move || shared.help(helper, &work, &queue, first);
        if thread::Builder::new().name("statfs".to_owned()).spawn(run).is_err() {
            // No thread is to be had: then nobody knows how full anything is.
            lock(&batch.progress).finished = true;
        }
    }

    /// The life of a helper.
    fn help(&self, helper: u64, work: &Sender<Arc<Batch>>, queue: &Receiver<Arc<Batch>>, first: Arc<Batch>) {
        let mut batch = first;
        while self.work_on(&batch, helper) {
            // Idle first: who is woken may ask again at once.
            lock(&self.helpers).idle = Some((helper, work.clone()));
            lock(&batch.progress).finished = true;
            batch.done.notify_one();
            drop(batch);
            batch = match queue.recv_timeout(KEPT) {
                Ok(next) => next,
                Err(_) => {
                    let mut helpers = lock(&self.helpers);
                    if helpers.idle.as_ref().is_some_and(|(idle, _)| *idle == helper) {
                        helpers.idle = None;
                    }
                    drop(helpers);
                    // Work may have been sent just before.
                    let Ok(next) = queue.try_recv() else { return };
                    next
                }
            };
        }
    }

    /// Asks one after the other. Returns false once that took so long that another helper has the batch.
    fn work_on(&self, batch: &Batch, helper: u64) -> bool {
        let mut asked: Option<(usize, Option<Space>)> = None;
        loop {
            let mut progress = lock(&batch.progress);
            if progress.helper != helper {
                drop(progress);
                if let Some(question) = asked.and_then(|(index, _)| batch.questions.get(index)) {
                    lock(&self.helpers).stuck.remove(&question.key());
                }
                return false;
            }
            if let Some((index, answer)) = asked
                && let Some(slot) = progress.answers.get_mut(index)
            {
                *slot = answer;
            }
            let index = progress.begun;
            let Some(question) = batch.questions.get(index) else { return true };
            progress.begun += 1;
            drop(progress);
            let is_stuck = lock(&self.helpers).stuck.contains(&question.key());
            asked = (!is_stuck).then(|| (index, question.ask(&*self.kernel)));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
