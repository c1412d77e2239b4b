//! Running one conversation with an agent.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::agent::{Agent, Template, last_words};
use crate::cases::{Case, Close, CloseWord, ExitWord, Step, WantedExit, latin1};
use crate::channel::{Channel, Goal, Reply};
use crate::json::Json;
use crate::lenient;
use crate::matcher::{Matcher, brief};
use crate::process::Exit;
use crate::sandbox::Gate;
use crate::scene::Scene;

/// Longest wait for the answers of a step, and for an exit.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait for something that is polled for.
const POLL_PATIENCE: Duration = Duration::from_secs(15);
/// Silence after which no further answer is expected.
const QUIET: Duration = Duration::from_millis(100);
/// Longest run of a whole case, so that it ends before it is killed.
const CASE_PATIENCE: Duration = Duration::from_secs(80);

/// What all cases of a run have in common.
#[derive(Clone, Debug)]
pub struct Options {
    /// The agent's command line.
    pub template: Template,
    /// Whether text and number of parse errors count.
    pub strict: bool,
    /// Whether the order of object keys counts.
    pub key_order: bool,
}

/// Run a conversation in its directory.  The result says what was wrong.
pub fn conversation(case: &Case, options: &Options, base: &Path) -> Result<Vec<String>> {
    let mut run = Conversation {
        case,
        options,
        scene: Scene::new(case, base)?,
        matcher: Matcher::new(case.compare, case.loose_numbers, options.key_order)?,
        gate: Gate::new(case.namespace)?,
        agent: None,
        channels: BTreeMap::new(),
        problems: Vec::new(),
    };
    run.converse()?;
    Ok(run.problems)
}

struct Conversation<'a> {
    case: &'a Case,
    options: &'a Options,
    scene: Scene,
    matcher: Matcher,
    gate: Gate,
    channels: BTreeMap<String, Channel>,
    agent: Option<Agent>,
    problems: Vec<String>,
}

impl Conversation<'_> {
    fn converse(&mut self) -> Result<()> {
        let case = self.case;
        let begin = Instant::now();
        fs::create_dir(self.scene.path("state")?).context("state directory")?;
        for line in &case.setup {
            if !self.shell(line, "setup")? {
                return Ok(());
            }
        }
        self.start()?;
        for (i, step) in case.steps.iter().enumerate() {
            ensure!(begin.elapsed() < CASE_PATIENCE, "step {i}: the case takes too long");
            self.step(step, &format!("step {i}")).with_context(|| format!("step {i}"))?;
            if !self.problems.is_empty() {
                return Ok(()); // What follows a wrong answer means little.
            }
        }
        self.expect_silence()?;
        for line in &case.after {
            self.shell(line, "after")?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, at: &str) -> Result<()> {
        if let Some(line) = &step.run
            && !self.shell(line, &format!("{at}: run"))?
        {
            return Ok(());
        }
        sleep(seconds(step.sleep)?);
        if let Some(name) = &step.signal {
            let signal = Signal::from_str(&format!("SIG{name}")).context("signal")?;
            self.agent.as_mut().context("no agent")?.signal(signal)?;
        }
        if let Some(wanted) = &step.exit {
            let exit = self.agent.as_mut().context("no agent")?.wait(PATIENCE)?;
            if !is_wanted(wanted, exit) {
                self.problems.push(format!("{at}: expected exit {wanted:?}, got {exit}"));
            }
            if exit != Exit::Running {
                self.channels.clear();
            }
        }
        if step.restart {
            self.channels.clear();
            if let Some(mut agent) = self.agent.take() {
                agent.terminate()?;
            }
            self.start()?;
        }
        if step.send.is_some() {
            let replies = self.ask(step)?;
            self.judge(step, replies, at);
        }
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        let extra = &self.case.extra_args;
        self.agent = Some(Agent::start(&self.options.template, extra, &self.scene)?);
        Ok(())
    }

    fn shell(&mut self, line: &str, what: &str) -> Result<bool> {
        for (name, value) in self.matcher.bound() {
            self.scene.bind(name, value);
        }
        let problem = self.scene.shell(line, what)?;
        let fine = problem.is_none();
        self.problems.extend(problem);
        Ok(fine)
    }

    /// Send what a step sends and return the answers.
    fn ask(&mut self, step: &Step) -> Result<Vec<Reply>> {
        for (name, value) in self.matcher.bound() {
            self.scene.bind(name, value);
        }
        let send = step.send.as_ref().context("nothing to send")?;
        let data = latin1(&send.text(&|text| self.scene.fill(text)))?;
        self.gate.admit(&data)?;
        let name = step.conn.as_deref().unwrap_or("main");
        if !self.channels.contains_key(name) {
            let channel = Channel::open(self.scene.path("sock")?, self.scene.base())
                .with_context(|| format!("the agent says: {}", last_words(&self.scene)))?;
            self.channels.insert(name.to_owned(), channel);
        }
        let channel = self.channels.get_mut(name).context("no connection")?;
        let goal = if self.options.strict { exact_goal(step) } else { lenient_goal(step) };
        let timeout = step.timeout.map_or(Ok(PATIENCE), seconds)?;
        let give_up = Instant::now() + POLL_PATIENCE;
        let replies = loop {
            channel.send(&data, step.chunk)?;
            if step.close == Close::Special(CloseWord::Unread) {
                sleep(Duration::from_millis(300));
                break Vec::new();
            }
            if step.close == Close::Special(CloseWord::Write) {
                channel.finish_sending()?;
            }
            let replies = channel.read(goal, timeout)?;
            if !is_to_come(step, &replies) || Instant::now() > give_up {
                break replies;
            }
            sleep(Duration::from_millis(50));
        };
        if matches!(step.close, Close::Whole(true) | Close::Special(CloseWord::Unread)) {
            self.channels.remove(name);
        }
        Ok(replies)
    }

    fn judge(&mut self, step: &Step, replies: Vec<Reply>, at: &str) {
        let replies = match self.options.strict {
            true => replies,
            false => lenient::fold(&step.expect, replies),
        };
        if replies.len() != step.expect.len() {
            let found = Json::List(replies.iter().map(|reply| reply.value.clone()).collect());
            self.problems.push(format!(
                "{at}: expected {} answers, got {}: {}; wanted {}",
                step.expect.len(),
                replies.len(),
                brief(&found),
                brief(&Json::List(step.expect.clone())),
            ));
            return;
        }
        for (i, (want, reply)) in step.expect.iter().zip(&replies).enumerate() {
            let mut verdict = self.matcher.compare(want, &reply.value);
            let wanted = step.sentinel.at(i);
            if verdict.is_ok() && wanted != reply.sentinel {
                verdict = Err(format!("expected sentinel {wanted}, got {}", reply.sentinel));
            }
            if let Err(problem) = verdict {
                self.problems.push(format!("{at} answer {i}: {problem}"));
            }
        }
    }

    /// At the end nothing more may come on any connection.
    fn expect_silence(&mut self) -> Result<()> {
        for (name, channel) in &mut self.channels {
            let was_closed = channel.is_closed();
            let goal = Goal { count: 0, only_sound: false, quiet: QUIET };
            let surplus = channel.read(goal, Duration::ZERO)?;
            let rest = channel.unfinished();
            if !rest.is_empty() || !surplus.is_empty() && !was_closed {
                let found = Json::List(surplus.into_iter().map(|reply| reply.value).collect());
                let rest = String::from_utf8_lossy(rest.get(..80).unwrap_or(rest));
                self.problems.push(format!("unexpected output on {name} at the end: {} {rest:?}", brief(&found)));
            }
        }
        Ok(())
    }
}

/// Wait for as many answers as were recorded.
fn exact_goal(step: &Step) -> Goal {
    let count = step.expect.len();
    let quiet = if count == 0 { QUIET } else { Duration::ZERO };
    Goal { count, only_sound: false, quiet }
}

/// Where parse errors are expected, their number is free: wait for the other
/// answers, and then for silence.
fn lenient_goal(step: &Step) -> Goal {
    if !step.expect.iter().any(lenient::is_broken) {
        return exact_goal(step);
    }
    let sound = step.expect.iter().filter(|answer| lenient::is_sound(answer)).count();
    Goal { count: sound.max(1), only_sound: sound > 0, quiet: 2 * QUIET }
}

/// Whether the answer says that what the step polls for is still to come.
fn is_to_come(step: &Step, replies: &[Reply]) -> bool {
    let (Some(path), Some(first)) = (&step.poll, replies.first()) else { return false };
    if !matches!(first.value, Json::Object(_)) || first.value.get("error").is_some() {
        return false;
    }
    let found = path.split('.').try_fold(&first.value, |value, key| value.get(key));
    !found.is_some_and(Json::is_truthy)
}

/// Whether a program ended as the case wants.
pub fn is_wanted(wanted: &WantedExit, exit: Exit) -> bool {
    match (wanted, exit) {
        (WantedExit::Status(wanted), Exit::Status(code)) => *wanted == code,
        (WantedExit::Word(ExitWord::Error), Exit::Status(code)) => code > 0,
        (WantedExit::Word(ExitWord::Running), Exit::Running) => true,
        _ => false,
    }
}

/// A duration from a case.
pub fn seconds(seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{seconds} s"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{is_to_come, is_wanted, lenient_goal};
    use crate::cases::{Case, WantedExit};
    use crate::channel::Reply;
    use crate::json::Json;
    use crate::process::Exit;

    fn case(step: &str) -> Case {
        Case::parse(&format!(r#"{{"id":"a","area":"b","steps":[{step}]}}"#)).unwrap()
    }

    fn to_come(answer: &str) -> bool {
        let case = case(r#"{"send":"","poll":"return.exited"}"#);
        let replies = [Reply { sentinel: false, value: Json::parse(answer).unwrap() }];
        is_to_come(case.steps.first().unwrap(), &replies)
    }

    #[test]
    fn polling_goes_on_until_the_value_is_true_or_an_error_comes() {
        assert!(to_come(r#"{"return":{"exited":false}}"#));
        assert!(to_come(r#"{"return":{}}"#));
        assert!(!to_come(r#"{"return":{"exited":true}}"#));
        assert!(!to_come(r#"{"error":{"class":"GenericError","desc":"x"}}"#));
        assert!(!to_come(r#""<eof>""#));
    }

    #[test]
    fn an_exit_must_be_the_wanted_one() {
        let wanted = |text| serde_json::from_str::<WantedExit>(text).unwrap();
        let right = [("0", 0), ("-9", -9), ("\"error\"", 1)];
        assert!(right.iter().all(|(text, code)| is_wanted(&wanted(text), Exit::Status(*code))));
        let wrong = [("0", 1), ("1", 0), ("\"error\"", 0), ("\"error\"", -11), ("\"running\"", 0)];
        assert!(!wrong.iter().any(|(text, code)| is_wanted(&wanted(text), Exit::Status(*code))));
        assert!(is_wanted(&wanted("\"running\""), Exit::Running));
        assert!(!is_wanted(&wanted("0"), Exit::Running));
        assert!(serde_json::from_str::<WantedExit>("\"maybe\"").is_err());
    }

    #[test]
    fn leniency_waits_for_the_answers_that_must_come() {
        let error = r#"{"error":{"class":"GenericError","desc":"JSON parse error, x"}}"#;
        let goal = |expect: &str| {
            let case = case(&format!(r#"{{"send":"","expect":[{expect}]}}"#));
            let goal = lenient_goal(case.steps.first().unwrap());
            (goal.count, goal.only_sound, goal.quiet.is_zero())
        };
        assert_eq!(goal(r#"{"return":1},{"return":2}"#), (2, false, true));
        assert_eq!(goal(&format!(r#"{error},{error},{{"return":2}}"#)), (1, true, false));
        assert_eq!(goal(&format!("{error},{error}")), (1, false, false));
        assert_eq!(goal(""), (0, false, false));
    }
}
