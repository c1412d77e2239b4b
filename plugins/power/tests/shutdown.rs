//! `guest-shutdown` on a guest made of files.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod common;

use std::os::unix::net::UnixDatagram;

use common::{Guest, error, is_silent, logged};
use guestd_sdk::LogLevel;
use serde_json::json;

const SHUTDOWN: &str = "guest-shutdown";
const BAD_MODE: &str = "mode is invalid (valid values are: halt|powerdown|reboot";

#[test]
fn each_mode_is_handed_to_systemctl_where_systemd_runs() {
    let guest = Guest::new();
    guest.systemd("", 0).program("shutdown", "", 0).busybox();
    let kit = guest.kit();
    for arguments in ["{}", r#"{"mode":"powerdown"}"#, r#"{"mode":"halt"}"#, r#"{"mode":"reboot"}"#] {
        assert!(is_silent(&kit, SHUTDOWN, arguments));
    }
    let verbs = ["poweroff", "poweroff", "halt", "reboot"];
    assert_eq!(guest.ran(), verbs.map(|verb| format!("systemctl --no-ask-password {verb}")));
}

#[test]
fn each_mode_is_handed_to_shutdown_where_it_does_not() {
    let guest = Guest::new();
    guest.program("systemctl", "", 0).program("shutdown", "", 0).busybox();
    let kit = guest.kit();
    for mode in ["powerdown", "halt", "reboot"] {
        assert!(is_silent(&kit, SHUTDOWN, &json!({"mode": mode}).to_string()));
    }
    assert_eq!(
        guest.ran(),
        ["-h -P", "-h -H", "-r"].map(|options| format!("shutdown {options} +0 shutdown requested by the hypervisor"))
    );
}

#[test]
fn busybox_is_asked_only_where_its_init_runs() {
    let guest = Guest::new();
    guest.busybox();
    let kit = guest.kit();
    for mode in ["powerdown", "halt", "reboot"] {
        assert!(is_silent(&kit, SHUTDOWN, &json!({"mode": mode}).to_string()));
    }
    assert_eq!(guest.ran(), ["busybox poweroff", "busybox halt", "busybox reboot"]);

    guest.file("proc/1/cmdline", "/sbin/procd\0");
    assert!(is_silent(&kit, SHUTDOWN, "{}"));
    assert_eq!(guest.ran().len(), 4);

    // A script of busybox's shell, and sysvinit with busybox beside it.
    for line in ["/bin/busybox\0sh\0/init\0", "init [2]\0", ""] {
        guest.file("proc/1/cmdline", line);
        assert!(is_silent(&kit, SHUTDOWN, "{}"));
        assert_eq!(guest.ran().len(), 4);
        assert_eq!(guest.system_calls(), ["sync", "reboot PowerOff"]);
        std::fs::remove_file(guest.root().join("system-calls")).unwrap();
    }
}

#[test]
fn the_system_call_is_the_last_means_and_syncs_first() {
    let guest = Guest::new();
    let kit = guest.kit();
    for mode in ["powerdown", "halt", "reboot"] {
        assert!(is_silent(&kit, SHUTDOWN, &json!({"mode": mode}).to_string()));
    }
    assert_eq!(guest.system_calls(), ["sync", "reboot PowerOff", "sync", "reboot Halt", "sync", "reboot Restart"]);
}

#[test]
fn the_system_call_would_not_end_the_guest_from_a_container() {
    let guest = Guest::new();
    let kit = guest.in_pid_namespace(4_026_532_000).kit();
    assert_eq!(
        error(&kit, SHUTDOWN, "{}"),
        "no means to shutdown (systemctl: systemd does not run here; shutdown: shutdown is not installed; busybox: \
         busybox is not installed; reboot-syscall: it would end this container only)"
    );
    assert!(guest.system_calls().is_empty());
}

#[test]
fn a_refusal_is_the_answer_whoever_else_could_be_asked() {
    let guest = Guest::new();
    let words = "Operation inhibited by \"backup\" (PID 321 \"sh\", user root), reason is \"copying\"";
    guest.systemd(words, 1).program("shutdown", "", 0).busybox();
    let kit = guest.kit();
    for mode in ["powerdown", "halt", "reboot"] {
        let answer = error(&kit, SHUTDOWN, &json!({"mode": mode}).to_string());
        assert_eq!(answer, format!("child process has failed to shutdown: {words}"));
    }
    assert!(guest.ran().iter().all(|line| line.starts_with("systemctl ")), "{:?}", guest.ran());
    assert!(guest.system_calls().is_empty());

    // The same of each means.
    let guest = Guest::new();
    guest.program("shutdown", "no such init\nat all", 1).busybox();
    let kit = guest.kit();
    assert_eq!(error(&kit, SHUTDOWN, "{}"), "child process has failed to shutdown: no such init; at all");
    guest.script("shutdown", "#!/bin/sh\nkill -9 $$\n");
    assert_eq!(error(&kit, SHUTDOWN, "{}"), "child process has terminated abnormally");
    guest.script("shutdown", "#!/no/interpreter\n");
    let missing = "child process has failed to shutdown: shutdown: No such file or directory";
    assert_eq!(error(&kit, SHUTDOWN, "{}"), missing);
    std::fs::remove_file(guest.root().join("usr/sbin/shutdown")).unwrap();
    guest.program("busybox", "", 1);
    assert_eq!(error(&kit, SHUTDOWN, "{}"), "child process has failed to shutdown");
    assert_eq!(guest.ran(), ["shutdown -h -P +0 shutdown requested by the hypervisor", "busybox poweroff"]);
    assert!(guest.system_calls().is_empty());
}

#[test]
fn a_program_that_does_not_end_ends_the_attempt() {
    let guest = Guest::new();
    guest.systemd("", 0).program("shutdown", "", 0);
    guest.script("systemctl", "#!/bin/sh\nexec sleep 1000\n");
    let kit = guest.kit();
    let error = kit.call_raw(SHUTDOWN, "{}", 300).unwrap_err();
    assert_eq!(error.desc(), "systemctl has not ended after 0 s; it may still act");
    assert!(guest.ran().is_empty() && guest.system_calls().is_empty());
}

#[test]
fn the_order_is_the_configurations_also_after_a_reload() {
    let guest = Guest::new();
    guest.systemd("", 0).program("shutdown", "", 0);
    let kit = guest.kit_with(json!({"shutdown-means": ["shutdown", "systemctl"]}), json!({}));
    assert!(is_silent(&kit, SHUTDOWN, "{}"));
    assert!(guest.ran()[0].starts_with("shutdown "), "{:?}", guest.ran());

    kit.reload(guest.config(json!({"shutdown-means": ["reboot-syscall"]}))).unwrap();
    assert!(is_silent(&kit, SHUTDOWN, "{}"));
    assert_eq!(guest.ran().len(), 1);
    assert_eq!(guest.system_calls(), ["sync", "reboot PowerOff"]);

    // What cannot be read changes nothing.
    kit.reload(guest.config(json!({"shutdown-means": ["magic"]}))).unwrap_err();
    assert!(is_silent(&kit, SHUTDOWN, "{}"));
    assert_eq!(guest.system_calls().len(), 4);
}

#[test]
fn what_was_chosen_is_logged() {
    let guest = Guest::new();
    guest.dir("run/systemd/system").program("shutdown", "", 0);
    let kit = guest.kit();
    kit.log();
    assert!(is_silent(&kit, SHUTDOWN, r#"{"mode":"reboot"}"#));
    guest.program("shutdown", "not now", 1);
    error(&kit, SHUTDOWN, r#"{"mode":"reboot"}"#);
    let log = kit.log();
    let of = |level| log.iter().filter(|(at, _)| *at == level).map(|(_, line)| line.as_str()).collect::<Vec<_>>();
    let programs = guest.root().join("usr/sbin").display().to_string();
    let by = format!("shutdown (reboot): by {programs}/shutdown -r +0 shutdown requested by the hypervisor");
    assert_eq!(of(LogLevel::Info), [&by, "shutdown (reboot): shutdown has accepted it", &by]);
    let why = "shutdown (reboot): not by systemctl: systemctl is not installed";
    assert!(of(LogLevel::Debug).contains(&why), "{log:?}");
    let failed = "shutdown (reboot): shutdown has failed: child process has failed to shutdown: not now";
    assert_eq!(of(LogLevel::Warn), [failed]);
}

#[test]
fn a_bad_mode_is_answered_and_does_nothing() {
    let guest = Guest::new();
    guest.systemd("", 0);
    let kit = guest.kit();
    let long = format!(r#"{{"mode":"{}"}}"#, "x".repeat(4000));
    for arguments in [r#"{"mode":""}"#, r#"{"mode":" reboot"}"#, r#"{"mode":"halt\n"}"#, r#"{"mode":"reboots"}"#, &long]
    {
        assert_eq!(error(&kit, SHUTDOWN, arguments), BAD_MODE);
    }
    assert_eq!(error(&kit, SHUTDOWN, r#"{"mode":"no-such-mode","bogus":1}"#), "Parameter 'bogus' is unexpected");
    for value in ["null", "1", "true", "[]", "{}"] {
        let expected = "Invalid parameter type for 'mode', expected: string";
        assert_eq!(error(&kit, SHUTDOWN, &format!(r#"{{"mode":{value}}}"#)), expected);
    }
    assert!(guest.ran().is_empty());
}

#[test]
fn the_old_protocol_answers_a_shutdown() {
    let guest = Guest::new();
    guest.systemd("", 0);
    let kit = guest.kit_with(json!({}), json!({"compat": "0.15"}));
    let reply = kit.call_raw(SHUTDOWN, "{}", 0).unwrap();
    assert_eq!((reply.body.as_slice(), reply.flags), (b"{}".as_slice(), 0));
}

#[test]
fn the_old_protocol_has_the_failures_of_a_shutdown_in_the_syslog() {
    let guest = Guest::new();
    guest.systemd("no way", 1);
    let socket = UnixDatagram::bind(guest.dir("dev").root().join("dev/log")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let told = || {
        let mut packet = [0; 2048];
        socket.recv(&mut packet).ok().map(|size| String::from_utf8_lossy(&packet[..size]).into_owned())
    };
    error(&guest.kit(), SHUTDOWN, "{}");
    assert_eq!(told(), None, "today's protocol says nothing of the syslog");
    let kit = guest.kit_with(json!({}), json!({"compat": "0.15"}));
    let answer = error(&kit, SHUTDOWN, "{}");
    let packet = told().unwrap();
    assert!(packet.starts_with("<27>guestd["), "{packet}");
    assert!(packet.ends_with(&format!("]: guest-shutdown: {answer}")), "{packet}");
    assert_eq!(told(), None);
    drop(socket);
    error(&kit, SHUTDOWN, "{}");
    assert!(logged(&kit, LogLevel::Warn).iter().any(|line| line.starts_with("the guest's syslog does not take")));
}

#[test]
fn two_commands_do_not_work_at_once() {
    let guest = Guest::new();
    let (begun, go) = (guest.fifo("begun"), guest.fifo("go"));
    let script = format!("#!/bin/sh\necho >{}\nread line <{}\n", begun.display(), go.display());
    guest.script("shutdown", &script);
    let kit = guest.kit();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| is_silent(&kit, SHUTDOWN, "{}"));
        std::fs::read(&begun).unwrap();
        assert_eq!(error(&kit, SHUTDOWN, "{}"), "another shutdown or suspend command is still at work");
        assert_eq!(error(&kit, SHUTDOWN, r#"{"mode":"x"}"#), BAD_MODE);
        std::fs::write(&go, "\n").unwrap();
        assert!(first.join().unwrap());
    });
    assert_eq!(logged(&kit, LogLevel::Error), [""; 0]);
}
