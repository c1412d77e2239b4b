//! Running many cases: which ones, where, and several at a time.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::agent::{Agent, last_words};
use crate::cases::Case;
use crate::channel::{Channel, Goal};
use crate::cli_case::command_line;
use crate::json::Json;
use crate::pending::awaited;
use crate::private_root::PrivateRoot;
use crate::process::{self, Exit};
use crate::run::{Options, conversation};
use crate::sandbox::{can_isolate, kill_leftovers};
use crate::scene::{Scene, tail};

/// Longest run of a case in its private namespace.
const ISOLATED_PATIENCE: Duration = Duration::from_secs(120);
/// Stack of a worker: answers may nest a thousand levels deep.
const STACK: usize = 64 << 20;
/// Programs that not every machine has, looked for in the shell lines of a case.
const TOOLS: [&str; 6] = ["mkfs.ext4", "mkfs.ext2", "mkfs.xfs", "mkfs.btrfs", "fsfreeze", "python3"];

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The agent answered as the reference does.
    Passed,
    /// It did not; what was different.
    Failed(Vec<String>),
    /// Not run: the agent lacks these commands.
    Pending(Vec<&'static str>),
    /// Not run: a quirk of the reference.
    Quirk,
    /// Not run: this is missing here.
    Unable(String),
}

/// What decides which cases run.
pub struct Selection {
    /// Whether quirk cases run.
    pub quirks: bool,
    /// The commands that the agent has; `None` runs cases whatever they need.
    pub listed: Option<BTreeSet<String>>,
}

/// Why a case is not run, if it is not.
pub fn set_aside(case: &Case, selection: &Selection) -> Option<Outcome> {
    if case.quirk && !selection.quirks {
        return Some(Outcome::Quirk);
    }
    if let Some(listed) = &selection.listed {
        let awaited = awaited(case, listed);
        if !awaited.is_empty() {
            return Some(Outcome::Pending(awaited.into_iter().collect()));
        }
    }
    if case.namespace
        && let Err(reason) = can_isolate()
    {
        return Some(Outcome::Unable(reason));
    }
    let needed = |tool: &&&str| case.shell_lines().any(|line| line.contains(**tool));
    let missing = TOOLS.iter().filter(needed).find(|tool| !is_installed(tool));
    missing.map(|tool| Outcome::Unable(format!("{tool} is not installed")))
}

fn is_installed(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(tool).is_file())
}

/// Run the cases, `jobs` at a time; the outcomes are in their order.  Once `stop` is
/// set no further case is begun.
pub fn run_all(
    cases: &[Case],
    selection: &Selection,
    options: &Options,
    jobs: usize,
    stop: &AtomicBool,
) -> Result<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(vec![Outcome::Unable("interrupted".to_owned()); cases.len()]);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(index) else { return };
            let outcome = set_aside(case, selection).unwrap_or_else(|| run_case(case, options));
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = outcomes.get_mut(index) {
                *place = outcome;
            }
        }
    };
    thread::scope(|scope| -> Result<()> {
        for _ in 0..jobs {
            let worker = thread::Builder::new().stack_size(STACK);
            worker.spawn_scoped(scope, work).context("cannot start a thread")?;
        }
        Ok(())
    })?;
    Ok(outcomes.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn run_case(case: &Case, options: &Options) -> Outcome {
    match in_directory(case.namespace, |base| {
        if case.namespace { isolated(case, options, base) } else { here(case, options, base) }
    }) {
        Ok(problems) if problems.is_empty() => Outcome::Passed,
        Ok(problems) => Outcome::Failed(problems),
        Err(err) => Outcome::Failed(vec![format!("{err:#}")]),
    }
}

/// Run something in a fresh directory, and leave neither process nor file behind.
fn in_directory<T>(in_memory: bool, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let parent = if in_memory { PathBuf::from("/dev/shm") } else { env::temp_dir() };
    let base = tempfile::Builder::new()
        .prefix("ga-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .with_context(|| format!("no directory in {}", parent.display()))?
        .keep();
    let result = work(&base);
    kill_leftovers(&base.to_string_lossy());
    for attempt in 1.. {
        match fs::remove_dir_all(&base) {
            Ok(()) => break,
            Err(err) if attempt == 10 => {
                eprintln!("warning: {} stays: {err}", base.display());
                break;
            }
            Err(_) => sleep(Duration::from_millis(20)),
        }
    }
    result
}

fn here(case: &Case, options: &Options, base: &Path) -> Result<Vec<String>> {
    match case.argv {
        Some(_) => command_line(case, options, base),
        None => conversation(case, options, base),
    }
}

/// Have the case run by another process of this program, see [`inside`].
fn isolated(case: &Case, options: &Options, base: &Path) -> Result<Vec<String>> {
    let program = env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.arg("--inside").arg(base).args(["--agent", options.template.source()]);
    command.args(options.strict.then_some("--strict"));
    command.args(options.key_order.then_some("--key-order"));
    let stdin = case.source.clone().into_bytes();
    let done = process::run(command, stdin, ISOLATED_PATIENCE).context("cannot isolate")?;
    if done.exit != Exit::Status(0) {
        let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        bail!("in the private namespace: exit {}: {}", done.exit, tail(&said, 300));
    }
    serde_json::from_slice(&done.stdout).context("from the private namespace")
}

/// Move into a private namespace, run the case that comes on standard input, and
/// write what was wrong to standard output.
pub fn inside(base: &Path, options: &Options) -> Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("standard input")?;
    let case = Case::parse(&text).context("standard input")?;
    let root = PrivateRoot::enter(base)?;
    let problems = here(&case, options, base);
    drop(root); // This thaws what the case left frozen.
    kill_leftovers(&base.to_string_lossy());
    println!("{}", serde_json::to_string(&problems?).context("standard output")?);
    Ok(())
}

/// Ask the agent which commands it has.
pub fn listed_commands(options: &Options) -> Result<BTreeSet<String>> {
    in_directory(false, |base| {
        let case = Case::parse(r#"{"id":"probe","area":"probe"}"#)?;
        let scene = Scene::new(&case, base)?;
        fs::create_dir(scene.path("state")?).context("state directory")?;
        let _agent = Agent::start(&options.template, &[], &scene)?;
        let ask = || -> Result<BTreeSet<String>> {
            let mut channel = Channel::open(scene.path("sock")?, scene.base())?;
            channel.send(b"{\"execute\":\"guest-info\"}\n", None)?;
            let goal = Goal { count: 1, only_sound: false, quiet: Duration::ZERO };
            let replies = channel.read(goal, Duration::from_secs(10))?;
            names_in(&replies.first().context("no answer to guest-info")?.value)
        };
        ask().with_context(|| format!("the agent says: {:?}", last_words(&scene)))
    })
}

/// The names in an answer to `guest-info`.
fn names_in(answer: &Json) -> Result<BTreeSet<String>> {
    let list = answer.get("return").and_then(|value| value.get("supported_commands"));
    let Some(Json::List(commands)) = list else { bail!("guest-info answers {answer}") };
    let names = commands.iter().filter_map(|command| command.get("name")?.as_str());
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    ensure!(!names.is_empty(), "guest-info lists no command");
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Outcome, Selection, names_in, set_aside};
    use crate::cases::Case;
    use crate::json::Json;

    fn fate(rest: &str, quirks: bool, listed: Option<&[&str]>) -> Option<Outcome> {
        let case = Case::parse(&format!(r#"{{"id":"a","area":"b",{rest}}}"#)).unwrap();
        let listed = listed.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        set_aside(&case, &Selection { quirks, listed })
    }

    const LOAD: &str = r#""steps":[{"send":"{\"execute\":\"guest-get-load\"}","expect":[]}]"#;

    #[test]
    fn a_case_waits_only_for_commands_that_are_not_listed() {
        assert_eq!(fate(LOAD, false, Some(&["guest-get-load"])), None);
        let pending = Some(Outcome::Pending(vec!["guest-get-load"]));
        assert_eq!(fate(LOAD, false, Some(&["guest-ping"])), pending);
        assert_eq!(fate(LOAD, false, None), None);
    }

    #[test]
    fn quirks_run_only_when_asked_for() {
        let quirk = format!(r#""quirk":true,{LOAD}"#);
        assert_eq!(fate(&quirk, false, Some(&[])), Some(Outcome::Quirk));
        assert_eq!(fate(&quirk, true, None), None);
    }

    #[test]
    fn an_agent_that_lists_nothing_is_an_error() {
        let names = |text| names_in(&Json::parse(text).unwrap());
        let answer = r#"{"return":{"supported_commands":[{"name":"guest-ping"}]}}"#;
        assert_eq!(names(answer).unwrap().into_iter().collect::<Vec<_>>(), ["guest-ping"]);
        assert!(names(r#"{"return":{"supported_commands":[]}}"#).is_err());
        assert!(names(r#"{"error":{}}"#).is_err());
    }
}
