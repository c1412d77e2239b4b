//! One call of a command: from its arguments to its answer.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use guestd_guest::trust::Trust;
use guestd_program::{Apart, End, Ended, Program, Stop};
use guestd_sdk::prelude::*;
use guestd_sdk::{LogLevel, answer::to_json, errno_text};
use serde_json::{Map, Value};

use crate::answer;
use crate::command::CommandSpec;
use crate::config::Pass;
use crate::identity::Identity;

/// The `PATH` of every program: that of systemd's services (systemd.exec(5)).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much a program may write to its standard output, in bytes; for more it is killed.
const OUTPUT_LIMIT: usize = 4 << 20;

/// How much of its standard error is kept, in bytes.
const ERROR_LIMIT: usize = 64 << 10;

/// Carries a command out. `deadline_ms` is how long the daemon waits; 0: without limit.
pub(crate) fn run(
    daemon: &Daemon,
    command: &CommandSpec,
    given: &Map<String, Value>,
    deadline_ms: u32,
    stop: &Stop,
) -> Result<Reply, CommandError> {
    let since = Instant::now();
    command.arguments.check(given)?;
    let mut parameters = command.parameters.fill(given)?;
    let input = match command.pass {
        Pass::Stdin => Some(to_json(given)?),
        Pass::Parameters => {
            parameters.extend(command.parameters.options(given)?);
            None
        }
    };
    let user = ready(command)?;
    let limit = command.limit(deadline_ms);
    let mut program = Command::new(&command.program);
    program.args(parameters).env_clear().envs(environment(command, user.as_ref())).current_dir(&command.directory);
    let program = Program::new(program)
        .output(Apart { most: OUTPUT_LIMIT, kept: ERROR_LIMIT })
        .input(input.as_deref().unwrap_or_default())
        .stop(stop)
        .confined(user.map(|user| user.rights));
    let ended = program.run(limit.saturating_sub(since.elapsed()));
    let ended = ended.map_err(|error| cannot_be_run(command, &errno_text(&error)))?;
    let took = since.elapsed().as_millis();
    let words = answer::first_line(&ended.errors).map(|words| format!(": {words}")).unwrap_or_default();
    daemon.log(LogLevel::Info, format_args!("{} {} ({took} ms){words}", command.name, how(ended.end, limit)));
    outcome(command, &ended, limit)
}

/// Checks that a command's program can be run and trusted, and returns the user that it runs as; `None`: the daemon's.
pub(crate) fn ready(command: &CommandSpec) -> Result<Option<Identity>, CommandError> {
    let user = command.user.as_deref().map(Identity::of).transpose()?;
    let own = Trust::of_agent();
    let trust = user.as_ref().map_or(own, |user| own.also(user.rights.uid));
    trust.program(&command.program).map_err(|why| cannot_be_run(command, &why.to_string()))?;
    Ok(user)
}

fn cannot_be_run(command: &CommandSpec, why: &str) -> CommandError {
    CommandError::new(format!("'{}' cannot be run: {why}", command.program.display()))
}

fn outcome(command: &CommandSpec, ended: &Ended, limit: Duration) -> Result<Reply, CommandError> {
    let failed = |how: &str| CommandError::new(format!("'{}' {how}", command.program.display()));
    match ended.end {
        End::Exited(status) if status.success() => {
            answer::of(command.output, &ended.output).map_err(|error| failed(error.desc()))
        }
        End::Exited(status) => Err(match answer::first_line(&ended.errors) {
            Some(words) => CommandError::new(words),
            None => failed(&status_text(status)),
        }),
        end => Err(failed(&how(end, limit))),
    }
}

/// The environment of a program: few variables, and those that the configuration adds or changes.
fn environment(command: &CommandSpec, user: Option<&Identity>) -> Vec<(OsString, OsString)> {
    let mut environment: Vec<(OsString, OsString)> = vec![
        ("PATH".into(), PATH.into()),
        ("LC_ALL".into(), "C.UTF-8".into()),
        ("GUESTD_COMMAND".into(), command.name.clone().into()),
        ("HOME".into(), user.map_or_else(|| "/".into(), |user| user.home.clone().into())),
    ];
    if let Some(user) = user {
        environment.extend(["USER", "LOGNAME"].map(|key| (key.into(), user.name.clone().into())));
    }
    // A later variable of the same name takes the earlier one's place.
    environment.extend(command.environment.iter().cloned());
    environment
}

fn how(end: End, limit: Duration) -> String {
    match end {
        End::Exited(status) => status_text(status),
        End::TimedOut(_) => format!("has not ended within {} s, and was killed", limit.as_secs_f32()),
        End::TooMuchOutput => format!("has written more than {} MiB, and was killed", OUTPUT_LIMIT >> 20),
        End::Stopped => "was killed, since the agent ends".to_owned(),
        End::Lost => "has ended, and its status is lost".to_owned(),
    }
}

fn status_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("has ended with status {code}"),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        _ => "has ended".to_owned(),
    }
}
