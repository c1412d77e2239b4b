//! The command line's subcommands, and what is wrong with a configuration.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Output;

use guestd_daemon_tests::{Daemon, patched, stage, vendor_plugin};
use serde_json::{Value, json};

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn plugins_lists_sets_and_refused_files() {
    let daemon = Daemon::new().plugin(&vendor_plugin(), "greeter.so").config("[plugins]\ndisable = [\"power\"]");
    fs::write(daemon.path("plugins/text.so"), "text").unwrap();
    let output = daemon.command(&["plugins"]).output().unwrap();
    let text = stdout(&output);
    assert!(output.status.success(), "{output:?}");
    assert!(text.lines().any(|line| line.starts_with("greeter") && line.contains("Example Ltd")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("power") && line.contains("disabled")), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("refused: ") && line.ends_with("text.so is not an ELF file")),
        "{text}"
    );
    let json: Value = serde_json::from_slice(&daemon.command(&["plugins", "--json"]).output().unwrap().stdout).unwrap();
    let greeter = json["sets"].as_array().unwrap().iter().find(|set| set["name"] == "greeter").unwrap();
    assert_eq!(greeter["commands"], json!(["__com.example_greet"]));
    assert_eq!((&greeter["version"], &greeter["boundary"]), (&json!("0.3.0"), &json!("1.0")));
    assert_eq!(json["refused"][0]["reason"], "is not an ELF file");
}

#[test]
fn commands_and_explain_tell_who_forbids_what() {
    let daemon = Daemon::new().config("[commands]\nblock = [\"guest-file-open\"]\ndeadline = { guest-file-read = 7 }");
    let commands: Value =
        serde_json::from_slice(&daemon.command(&["commands", "--json"]).output().unwrap().stdout).unwrap();
    let find = |name: &str| commands.as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap();
    assert_eq!(find("guest-file-open")["enabled"], false);
    assert_eq!(find("guest-file-read")["deadline-ms"], 7000);
    assert_eq!(find("guest-shutdown")["success-response"], false);
    assert_eq!(find("guest-ping")["while-frozen"], true);
    let table = stdout(&daemon.command(&["commands"]).output().unwrap());
    assert!(
        table.lines().any(|line| line.starts_with("guest-file-open") && line.contains("no: blocked by")),
        "{table}"
    );

    let explain = |words: &[&str]| daemon.command(words).output().unwrap();
    let blocked = explain(&["explain", "guest-file-open"]);
    assert_eq!(blocked.status.code(), Some(1));
    assert!(stdout(&blocked).contains(&format!("blocked by {}", daemon.path("guestd.toml").display())));
    let fine = explain(&["explain", "guest-ping"]);
    assert!(fine.status.success() && stdout(&fine).contains("guest-ping answers"));
    let unknown = explain(&["explain", "guest-pnig"]);
    assert_eq!(stdout(&unknown), "guest-pnig does not exist: no set has it; did you mean \"guest-ping\"?\n");
    assert_eq!(unknown.status.code(), Some(1));
    let allowed = explain(&["-a", "guest-info", "explain", "guest-ping"]);
    assert!(
        stdout(&allowed).contains("the list of allowed commands (the command line) does not name it"),
        "{allowed:?}"
    );
}

#[test]
fn check_opens_every_set_and_finds_what_is_wrong() {
    let good = Daemon::new().plugin(&vendor_plugin(), "greeter.so");
    let output = good.command(&["check"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = stdout(&output);
    assert!(text.starts_with(&format!("read: {}\n", good.path("guestd.toml").display())), "{text}");
    assert!(text.contains("\ngreeter: 1 commands, ") && text.contains("\nall is well: 12 sets, "), "{text}");
    assert_eq!(fs::read_dir(good.path("state")).unwrap().count(), 0, "the daemon's state was touched");

    let scratch = tempfile::tempdir().unwrap();
    let library = patched(&vendor_plugin(), scratch.path(), b"_greet 5 FREEZE_SAFE", b"_greet 9 FREEZE_SAFE");
    let bad = Daemon::new().plugin(&library, "bad.so").config(
        "[plugins]\ndisable = [\"pwoer\"]\n[plugins.fsfreeze]\nlaese = 1\n[commands]\nblock = [\"guest-pnig\"]\n\
         allow = [\"guest-get-devices\"]\ndeadline = { guest-file-raed = 5 }",
    );
    let output = bad.command(&["check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    for expected in [
        "bad.so has a manifest that does not fit its code",
        "names a set \"pwoer\", which is not installed; did you mean \"power\"?",
        "unknown field `laese`",
        "the list of blocked commands names \"guest-pnig\", which no set has; did you mean \"guest-ping\"?",
        "sets a deadline of a command \"guest-file-raed\", which no set has; did you mean \"guest-file-read\"?",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with("problem: ") && line.contains(expected)),
            "{expected}\n{text}"
        );
    }
    // A name that is allowed in vain opens nothing: RHEL's list has this one of Windows.
    let warning = "warning: ";
    assert!(text.lines().any(|line| line.starts_with(warning) && line.contains("\"guest-get-devices\"")), "{text}");
    assert!(text.ends_with("\nproblems: 5; warnings: 1\n"), "{text}");
}

#[test]
fn commands_of_the_script_set_are_counted() {
    let config = "[plugins.script.commands.\"__com.example_one\"]\nprogram = \"/bin/true\"\n\
                  [plugins.script.commands.\"__com.example_two\"]\nprogram = \"/bin/true\"";
    let daemon = Daemon::new().config(config);
    let check = stdout(&daemon.command(&["check"]).output().unwrap());
    assert!(check.contains("\nscript: 2 commands, "), "{check}");
    let plugins: Value =
        serde_json::from_slice(&daemon.command(&["plugins", "--json"]).output().unwrap().stdout).unwrap();
    let script = plugins["sets"].as_array().unwrap().iter().find(|set| set["name"] == "script").unwrap();
    assert_eq!(script["commands"], json!(["__com.example_one", "__com.example_two"]));
    let table = stdout(&daemon.command(&["plugins"]).output().unwrap());
    let row = table.lines().find(|line| line.starts_with("script")).unwrap();
    assert!(row.split_whitespace().any(|word| word == "2"), "{row}");
}

#[test]
fn a_reader_that_has_had_enough_is_no_error_and_a_full_disk_is() {
    let daemon = Daemon::new().start();
    for words in [&["check"][..], &["--help"], &["plugins"], &["commands", "--json"], &["call", "guest-info"], &["-D"]]
    {
        // Nobody reads.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = daemon.command(words).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{words:?}");
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = daemon.command(words).stdout(full).output().unwrap();
        assert_eq!(stderr(&output), "guestd: standard output: No space left on device\n", "{words:?}");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn help_is_where_people_look_for_it() {
    let run = |words: &[&str]| {
        let output = std::process::Command::new(stage().join("sbin/guestd")).args(words).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?} {output:?}");
        stdout(&output)
    };
    let help = run(&["--help"]);
    assert!(help.contains("\nOptions:\n  -c, --config FILE"), "{help}");
    assert_eq!(run(&["help"]), help);
    let call = run(&["call", "--help"]);
    assert!(call.starts_with("Usage: guestd call [--socket ADDRESS]"), "{call}");
    assert_eq!(run(&["help", "call"]), call);
}

#[test]
fn options_may_stand_behind_a_subcommand() {
    let daemon = Daemon::new().config("[commands]\nblock = [\"guest-ping\"]");
    let config = daemon.path("guestd.toml").display().to_string();
    daemon.command(&["check"]).output().unwrap();
    let mut guestd = std::process::Command::new(stage().join("sbin/guestd"));
    let output = guestd.args(["explain", "guest-ping", "-c", &config]).output().unwrap();
    assert!(stdout(&output).contains(&format!("blocked by {config}")), "{output:?}");
}

#[test]
fn what_upgrades_bring_along_is_taken_with_a_warning() {
    let mut daemon = Daemon::new().args(&["--blacklist=guest-get-time", "-b", "guest-exec, guest-exce"]).start();
    let log = daemon.wait_for_log("\"guest-exce\", which no set has; did you mean \"guest-exec\"?");
    assert!(log.contains("--blacklist is now called --block-rpcs"), "{log}");
    let mut client = daemon.client();
    for command in ["guest-get-time", "guest-exec"] {
        let error = client.error(command, json!({}));
        assert_eq!(error, format!("Command {command} has been disabled: the command is not allowed"));
    }
    drop(client);
    // The same at a reload.
    let main = daemon.path("guestd.toml");
    let text = fs::read_to_string(&main).unwrap();
    fs::write(
        &main,
        format!("{text}\n[commands]\nallow = [\" guest-info \", \"guest-exec\", \"guest-get-devices\"]\n"),
    )
    .unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.wait_for_log("the list of allowed commands names \"guest-get-devices\", which no set has");
    daemon.wait_for_log("the configuration was read again");
    assert!(!daemon.client().call("guest-info", json!({})).is_null());
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(daemon.wait().success());
}

#[test]
fn unknown_keys_of_qemu_gas_file_do_not_end_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let (conf, socket) = (dir.path().join("x.conf"), dir.path().join("s"));
    let text = format!(
        "[general]\nmethod=unix-listen\npath={}\nstatedir={}\nblock-rpcs=guest-ping; guest-exec\nnew-key=1\n[later]\nx=1\n",
        socket.display(),
        dir.path().display()
    );
    fs::write(&conf, text).unwrap();
    let check = std::process::Command::new(stage().join("sbin/guestd")).arg("check").arg("-c").arg(&conf).output();
    let check = check.unwrap();
    let said = stdout(&check);
    assert!(check.status.success() && said.contains(&format!("read: {}\n", conf.display())), "{said}");
    for expected in [":6: the unknown key \"new-key\" is ignored", ":7: the unknown group \"later\" is ignored"] {
        assert!(said.lines().any(|line| line.starts_with("warning: ") && line.contains(expected)), "{said}");
    }
    assert!(said.contains("\nnothing is wrong: 11 sets, ") && said.ends_with("; warnings: 2\n"), "{said}");
    let dump = std::process::Command::new(stage().join("sbin/guestd")).arg("-c").arg(&conf).arg("-D").output().unwrap();
    assert!(stdout(&dump).contains("\nblock-rpcs=guest-ping,guest-exec\n"), "{dump:?}");
    assert_eq!(stderr(&dump).lines().filter(|line| line.starts_with("guestd: warning: ")).count(), 2, "{dump:?}");
}

#[test]
fn call_is_a_client() {
    let daemon = Daemon::new().start();
    let call = |words: &[&str]| daemon.command(&[&["call"], words].concat()).output().unwrap();
    // The socket is the configuration's own.
    let ping = call(&["guest-ping"]);
    assert!(ping.status.success() && stdout(&ping) == "{}\n", "{ping:?}");
    let sync = call(&["guest-sync", "{\"id\": 7}"]);
    assert_eq!(stdout(&sync), "7\n");
    assert_eq!(stdout(&call(&["guest-sync", "id=-8"])), "-8\n");
    let text = call(&["guest-sync", "id=\"8\""]);
    assert_eq!(stderr(&text), "GenericError: Invalid parameter type for 'id', expected: integer\n");
    let missing = call(&["guest-file-open", "mode=r", "path=/nonexistent/x"]);
    assert!(stderr(&missing).contains("/nonexistent/x"), "{missing:?}");
    let nope = call(&["guest-nope"]);
    assert_eq!(nope.status.code(), Some(1));
    assert_eq!(stderr(&nope), "CommandNotFound: The command guest-nope has not been found\n");
    let silent = call(&["guest-shutdown", "{\"mode\": \"nonsense\"}"]);
    assert_eq!(silent.status.code(), Some(1), "an error of a command without an answer is told: {silent:?}");
    assert_eq!(call(&["guest-sync", "nonsense"]).status.code(), Some(1));
    let nowhere = call(&["--socket", "/nonexistent/s", "guest-ping"]);
    assert!(stderr(&nowhere).contains("No such file or directory"));
}

#[test]
fn what_is_wrong_with_a_configuration_is_one_line_with_its_place() {
    for (config, expected) in [
        ("[comands]\n", "guestd.toml:3: unknown field `comands`"),
        ("[log]\nlevel = \"loud\"\n", "unknown variant `loud`"),
        ("[[channel]]\nmethod = \"unix-listen\"\n", "a channel with the method unix-listen needs a path"),
    ] {
        let output = Daemon::new().config(config).command(&[]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = stderr(&output);
        assert!(text.starts_with("guestd: ") && text.contains(expected) && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn called_as_qemu_ga_it_has_no_subcommands() {
    let daemon = Daemon::new();
    symlink(stage().join("sbin/guestd"), daemon.path("qemu-ga")).unwrap();
    let run = |words: &[&str]| std::process::Command::new(daemon.path("qemu-ga")).args(words).output().unwrap();
    let help = run(&["--help"]);
    assert!(help.status.success() && stdout(&help).starts_with("Usage: qemu-ga"));
    let surplus = run(&["plugins"]);
    assert_eq!(surplus.status.code(), Some(1));
    assert!(stderr(&surplus).contains("surplus word"), "{surplus:?}");
    let list = stdout(&run(&["-b", "help"]));
    assert!(list.lines().any(|line| line == "guest-ping"), "its plugins lie beside the real file: {list}");
}
