use super::*;

const LONG: Duration = Duration::from_secs(60);

fn sh(script: &str, patience: Patience) -> Result<Ended, RunError> {
    run(Path::new("/bin/sh"), &["-c", script], patience, LONG)
}

fn output(script: &str) -> String {
    sh(script, Patience::FOR_REQUEST).unwrap().output
}

#[test]
fn a_program_gets_a_clean_environment_and_a_group_of_its_own() {
    let env = output("/usr/bin/env | /usr/bin/grep -v ^_= | /usr/bin/sort");
    // PWD is the shell's own.
    let path = PROGRAM_DIRECTORIES.join(":");
    assert_eq!(
        env.split("; ").filter(|line| !line.starts_with("PWD=")).collect::<Vec<_>>(),
        ["LC_ALL=C", &format!("PATH={path}")]
    );
    assert_eq!(output("test $(ps -o pgid= -p $$) = $$ && echo own"), "own");
    // In the pipe only stderr is the file.
    assert_eq!(output("readlink /proc/self/fd/0; readlink /proc/self/fd/* | grep -c memfd"), "/dev/null; 1");
}

#[test]
fn status_and_output_are_told_on_one_line() {
    let ended = sh("echo one; printf '\\033 two\\n\\n' >&2; exit 7", Patience::FOR_REQUEST).unwrap();
    assert_eq!((ended.status.code(), ended.output.as_str()), (Some(7), "one; two"));
    let ended = sh("kill -9 $$", Patience::FOR_REQUEST).unwrap();
    assert_eq!((ended.status.code(), ended.output.as_str()), (None, ""));
}

#[test]
fn output_is_bounded() {
    let ended = sh("head -c 10000000 /dev/zero | tr '\\0' x; echo end", Patience::FOR_REQUEST).unwrap();
    assert_eq!(ended.output, "x".repeat(QUOTED_LIMIT));
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let error = run(Path::new("/no/such/program"), &[], Patience::FOR_REQUEST, LONG).unwrap_err();
    assert!(matches!(&error, RunError::Io(error) if error.kind() == io::ErrorKind::NotFound), "{error:?}");
}

#[test]
fn past_its_limit_the_whole_group_is_killed_and_reaped() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!("sleep 1000 & echo $$ $! >{}; wait", pids.display());
    let patience = Patience { limit: Duration::from_millis(300), kills: true };
    assert!(matches!(sh(&script, patience), Err(RunError::TimedOut(_))));
    for pid in std::fs::read_to_string(pids).unwrap().split_whitespace() {
        until_gone(pid);
    }
}

#[test]
fn a_program_that_must_not_be_killed_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (pid, go, done) = (directory.path().join("pid"), directory.path().join("go"), directory.path().join("done"));
    let script = format!(
        "echo $$ >{}; until test -e {}; do sleep 0.05; done; echo said; echo >{}",
        pid.display(),
        go.display(),
        done.display()
    );
    let patience = Patience { limit: Duration::from_millis(300), kills: false };
    assert!(matches!(sh(&script, patience), Err(RunError::TimedOut(_))));
    std::fs::write(go, "").unwrap();
    until_gone(std::fs::read_to_string(pid).unwrap().trim());
    assert!(done.exists());
}

#[test]
fn what_goes_on_in_the_background_is_left_alone() {
    let ended = sh("(sleep 0.3; echo late) & echo $!", Patience::FOR_REQUEST).unwrap();
    let pid = ended.output;
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    until_gone(&pid);
}

/// Waits for the end of a process, which leaves no zombie behind; init reaps those that are not ours.
fn until_gone(pid: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(Instant::now() < until, "process {pid} is still there");
        thread::sleep(Duration::from_millis(20));
    }
}
