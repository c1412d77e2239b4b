use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread::ThreadId;

use super::*;
use crate::kernel::{OpenError, SMART_LOG, Trimmed};

/// Long enough for any answer that comes at all.
const WAIT: Duration = Duration::from_secs(1);

/// A kernel on which some file systems do not answer.
#[derive(Default)]
struct Fake {
    asked: Mutex<Vec<(PathBuf, ThreadId)>>,
    /// Whether the file system is dead now.
    dead: Mutex<HashMap<PathBuf, bool>>,
    revived: Condvar,
}

impl Fake {
    fn with_dead(points: &[&str]) -> Arc<Self> {
        let fake = Self::default();
        lock(&fake.dead).extend(points.iter().map(|point| (PathBuf::from(point), true)));
        Arc::new(fake)
    }

    fn revive(&self, point: &str) {
        lock(&self.dead).insert(point.into(), false);
        self.revived.notify_all();
    }

    fn asked(&self) -> Vec<PathBuf> {
        lock(&self.asked).drain(..).map(|(point, _)| point).collect()
    }
}

impl Kernel for Fake {
    fn space(&self, point: &Path, _: u32) -> io::Result<Space> {
        lock(&self.asked).push((point.to_owned(), thread::current().id()));
        let dead = lock(&self.dead);
        drop(self.revived.wait_while(dead, |dead| dead.get(point) == Some(&true)));
        if point.starts_with("/error") {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(space(point))
    }

    fn open(&self, _: &Path, _: u32) -> Result<OwnedFd, OpenError> {
        Err(OpenError::Covered)
    }

    fn trim(&self, _: &OwnedFd, _: u64) -> io::Result<Trimmed> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn smart_log(&self, _: &Path) -> io::Result<[u8; SMART_LOG]> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The answer of a file system tells which one gave it.
fn space(point: &Path) -> Space {
    let number = point.as_os_str().len() as u64;
    Space { used: number, total: number, total_privileged: number }
}

fn questions(points: &[&str]) -> Vec<Question> {
    let number = |point: &str| point.bytes().map(u32::from).sum();
    let place = |point: &str| Place { mount: number(point), point: point.into() };
    let question = |point: &&str| Question { places: vec![place(point)], prompt: point.starts_with("/prompt") };
    points.iter().map(question).collect()
}

fn ask(gauge: &Gauge, points: &[&str]) -> Vec<bool> {
    let answers = gauge.ask(questions(points)).answers(WAIT);
    for (answer, point) in answers.iter().zip(points) {
        assert!(answer.is_none_or(|answer| answer == space(Path::new(point))), "{point}: {answer:?}");
    }
    answers.iter().map(Option::is_some).collect()
}

#[test]
fn answers_come_in_the_order_of_the_questions() {
    let gauge = Gauge::new(Fake::with_dead(&[]));
    assert_eq!(ask(&gauge, &["/", "/a", "/error", "/long"]), [true, true, false, true]);
    assert_eq!(ask(&gauge, &[]), [] as [bool; 0]);
}

#[test]
fn the_first_place_that_answers_counts() {
    let gauge = Gauge::new(Fake::with_dead(&[]));
    for prompt in [true, false] {
        let points = ["/error", "/error/2", "/long", "/a"];
        let places = points.iter().map(|point| Place { mount: 1, point: point.into() }).collect();
        let answers = gauge.ask(vec![Question { places, prompt }]).answers(WAIT);
        assert_eq!(answers, [Some(space(Path::new("/long")))]);
    }
}

#[test]
fn prompt_ones_are_asked_without_a_helper() {
    let fake = Fake::with_dead(&["/dead"]);
    let gauge = Gauge::new(fake.clone());
    assert_eq!(ask(&gauge, &["/prompt", "/dead", "/prompt2", "/a", "/prompt33"]), [true, false, true, true, true]);
    let here = thread::current().id();
    for (point, thread) in lock(&fake.asked).iter() {
        assert_eq!(*thread == here, point.to_str().unwrap().starts_with("/prompt"), "{point:?}");
    }
}

#[test]
fn one_helper_serves_one_request_after_the_other() {
    let fake = Fake::with_dead(&[]);
    let gauge = Gauge::new(fake.clone());
    for _ in 0..100 {
        assert_eq!(ask(&gauge, &["/a"]), [true]);
    }
    let threads: HashSet<ThreadId> = lock(&fake.asked).iter().map(|(_, thread)| *thread).collect();
    assert_eq!(threads.len(), 1);
    assert!(!threads.contains(&thread::current().id()));
}

#[test]
fn a_dead_one_is_left_out_and_not_asked_again_before_it_has_answered() {
    let fake = Fake::with_dead(&["/dead"]);
    let gauge = Gauge::new(fake.clone());
    assert_eq!(ask(&gauge, &["/a", "/dead", "/bb"]), [true, false, true]);
    assert_eq!(ask(&gauge, &["/a", "/dead", "/bb"]), [true, false, true]);
    let asked = fake.asked();
    assert_eq!(asked, ["/a", "/dead", "/bb", "/a", "/bb"].map(PathBuf::from));

    fake.revive("/dead");
    // The helper that was left behind has to come back first.
    while lock(&gauge.shared.helpers).stuck.contains(&questions(&["/dead"])[0].key()) {
        thread::yield_now();
    }
    assert_eq!(ask(&gauge, &["/dead"]), [true]);
    assert_eq!(fake.asked(), [PathBuf::from("/dead")]);
}

#[test]
fn many_dead_ones_cost_a_limited_time_once() {
    let dead: Vec<String> = (0..20).map(|number| format!("/dead{}", "x".repeat(number))).collect();
    let mut points: Vec<&str> = dead.iter().map(String::as_str).collect();
    points.insert(0, "/a");
    let fake = Fake::with_dead(&points[1..]);
    let gauge = Gauge::new(fake.clone());
    let wait = Duration::from_millis(100);
    let mut answers = gauge.ask(questions(&points)).answers(wait);
    let mut rounds = 1;
    // Each round finds five more that are dead; the last one finds none.
    while !fake.asked().is_empty() && rounds < 20 {
        answers = gauge.ask(questions(&points)).answers(wait);
        rounds += 1;
        if lock(&gauge.shared.helpers).stuck.len() == dead.len() {
            break;
        }
    }
    assert_eq!(lock(&gauge.shared.helpers).stuck.len(), dead.len());
    assert_eq!((answers.len(), answers[1..].iter().flatten().count()), (21, 0));
    assert!((2..20).contains(&rounds), "{rounds}");
    assert_eq!(ask(&gauge, &points).iter().filter(|answer| **answer).count(), 1);
}

#[test]
fn requests_do_not_wait_for_each_others_dead_file_systems() {
    let fake = Fake::with_dead(&["/dead"]);
    let gauge = Gauge::new(fake.clone());
    let first = gauge.ask(questions(&["/dead", "/a"]));
    assert_eq!(ask(&gauge, &["/bb"]), [true]);
    fake.revive("/dead");
    assert_eq!(first.answers(WAIT).iter().flatten().count(), 2);
}
