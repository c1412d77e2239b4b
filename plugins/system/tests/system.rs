//! The set `system` in the sdk's test kit: on this machine where it only reads, else on a guest made of files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use guestd_sdk::LogLevel;
use guestd_sdk::testkit::{Settings, TestKit};
use serde_json::{Value, json};
use tempfile::TempDir;

/// On this machine.
fn kit() -> TestKit {
    TestKit::start(guestd_system::plugin_module()).unwrap()
}

/// A directory that looks like a guest.
struct Guest {
    directory: TempDir,
    kit: TestKit,
}

impl Guest {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings { config: json!({"rehearsal": directory.path()}), ..Settings::default() };
        let kit = TestKit::start_with(guestd_system::plugin_module(), settings).unwrap();
        Self { directory, kit }
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.directory.path().join(path)
    }

    fn ask(&self, command: &str) -> Value {
        self.kit.call(command, json!({})).unwrap()
    }

    /// Asks until the answer is this. Where the temporary directory's file system cannot say what it has in memory, the
    /// set reads a file that has changed for the next call.
    fn becomes(&self, command: &str, expected: &Value) {
        let since = Instant::now();
        loop {
            let answer = self.ask(command);
            let answer = if command == "guest-get-osinfo" { os_release(&answer) } else { answer };
            if answer == *expected {
                return;
            }
            assert!(since.elapsed() < Duration::from_secs(20), "{answer} instead of {expected}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("system-calls")).unwrap_or_default()
    }
}

fn mkfifo(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
}

fn kernel(name: &str) -> String {
    fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap().trim_end().to_owned()
}

fn os_release(info: &Value) -> Value {
    let mut members = info.as_object().unwrap().clone();
    members.retain(|key, _| !["kernel-release", "kernel-version", "machine"].contains(&key.as_str()));
    members.into()
}

#[test]
fn osinfo_names_the_kernel() {
    let info = kit().call("guest-get-osinfo", json!({})).unwrap();
    assert_eq!(info["kernel-release"], kernel("osrelease"));
    assert_eq!(info["kernel-version"], kernel("version"));
    assert_eq!(info["machine"], kernel("arch"));
}

#[test]
fn osinfo_takes_etc_and_then_usr_lib() {
    let guest = Guest::new();
    assert_eq!(os_release(&guest.ask("guest-get-osinfo")), json!({}));
    guest.file("usr/lib/os-release", "ID=lib\nNAME='Lib'\n");
    guest.becomes("guest-get-osinfo", &json!({"id": "lib", "name": "Lib"}));
    guest.file("etc/os-release", "VERSION=\"1 (One)\"\nVERSION_ID=1\nVARIANT=v\nVARIANT_ID=w\nPRETTY_NAME=p\nFOO=1\n");
    let expected =
        json!({"version": "1 (One)", "version-id": "1", "variant": "v", "variant-id": "w", "pretty-name": "p"});
    guest.becomes("guest-get-osinfo", &expected);
    guest.file("etc/os-release", "ID=new\nID=newer\n");
    guest.becomes("guest-get-osinfo", &json!({"id": "newer"}));
    guest.file("etc/os-release", "");
    guest.becomes("guest-get-osinfo", &json!({}));
}

#[test]
fn osinfo_stands_whatever_is_in_the_place_of_os_release() {
    let lib = json!({"id": "lib"});
    for make in [
        mkfifo,
        |path: &Path| fs::create_dir(path).unwrap(),
        |path: &Path| symlink("/dev/zero", path).unwrap(),
        |path: &Path| symlink("os-release", path).unwrap(),
    ] {
        let guest = Guest::new();
        guest.file("usr/lib/os-release", "ID=lib\n");
        fs::create_dir(guest.path("etc")).unwrap();
        make(&guest.path("etc/os-release"));
        guest.becomes("guest-get-osinfo", &lib);
    }
}

#[test]
fn osinfo_keeps_what_was_read_of_a_large_file() {
    let guest = Guest::new();
    let comment = |length: usize| format!("#{}\n", "x".repeat(length - 2));
    guest.file("etc/os-release", format!("ID=x\n{}NAME=y\n", comment(1_000_000)));
    guest.becomes("guest-get-osinfo", &json!({"id": "x", "name": "y"}));
    // The limit is in the middle of a value, which is not half a value then.
    guest.file("etc/os-release", format!("ID=x\n{}NAME=\"cut\"\n", comment((1 << 20) - 12)));
    guest.becomes("guest-get-osinfo", &json!({"id": "x"}));
    guest.file("etc/os-release", "NAME=".to_owned() + &"y".repeat(2 << 20));
    guest.becomes("guest-get-osinfo", &json!({}));
}

#[test]
fn osinfo_is_read_from_where_qga_os_release_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other");
    fs::write(&path, r#"VARIANT="Unit test \"\'\$\`\\ and \\\\ etc.""#).unwrap();
    // A process of its own: the variable is read when the set starts.
    let ask = |value: &Path| {
        let test = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "osinfo_of_the_environment", "--ignored", "--nocapture"])
            .env("QGA_OS_RELEASE", value)
            .output()
            .unwrap();
        let said = String::from_utf8(test.stdout).unwrap();
        let line = said.lines().find_map(|line| line.split_once("osinfo: ")).unwrap_or_else(|| panic!("{said}"));
        serde_json::from_str::<Value>(line.1).unwrap()
    };
    assert_eq!(ask(&path), json!({"variant": r#"Unit test "'$`\ and \\ etc."#}));
    assert_eq!(ask(Path::new("/nonexistent")), json!({}));
}

#[test]
#[ignore = "is run by the test above"]
fn osinfo_of_the_environment() {
    println!("\nosinfo: {}", os_release(&kit().call("guest-get-osinfo", json!({})).unwrap()));
}

#[test]
fn host_name_is_the_kernels() {
    assert_eq!(kit().call("guest-get-host-name", json!({})).unwrap(), json!({"host-name": kernel("hostname")}));
}

#[test]
fn load_is_what_proc_shows() {
    let kit = kit();
    let shown = || {
        let text = fs::read_to_string("/proc/loadavg").unwrap();
        text.split(' ').take(3).map(|word| word.parse::<f64>().unwrap()).collect::<Vec<_>>()
    };
    // The kernel may count between the two looks, once in five seconds.
    for _ in 0..10 {
        let before = shown();
        let load = kit.call("guest-get-load", json!({})).unwrap();
        if before == shown() {
            let found: Vec<_> = ["load1m", "load5m", "load15m"].map(|key| load[key].as_f64().unwrap()).into();
            assert_eq!(found, before);
            return;
        }
    }
    panic!("the load never stood still");
}

#[test]
fn memory_is_what_proc_shows() {
    let memory = kit().call("__org.guestd_get-memory", json!({})).unwrap();
    let shown = |key: &str| {
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    assert_eq!(memory["total"], shown("MemTotal"));
    assert_eq!(memory["swap-total"], shown("SwapTotal"));
    assert!(memory["available"].as_u64().unwrap() <= shown("MemTotal"));
    assert_eq!(memory.get("pressure").is_some(), fs::read("/proc/pressure/memory").is_ok());
}

#[test]
fn memory_without_proc_is_an_error_and_without_pressure_none() {
    let guest = Guest::new();
    let error = guest.kit.call("__org.guestd_get-memory", json!({})).unwrap_err();
    assert_eq!(error.desc(), "open(\"/proc/meminfo\"): No such file or directory");
    guest.file("proc/meminfo", "MemTotal: 4 kB\nMemFree: 2 kB\n");
    let expected = json!({"total": 4096, "free": 2048, "buffers": 0, "cached": 0, "swap-total": 0, "swap-free": 0});
    assert_eq!(guest.ask("__org.guestd_get-memory"), expected);
    let line = "avg10=0.00 avg60=1.50 avg300=0.25 total=7";
    guest.file("proc/pressure/memory", format!("some {line}\nfull {line}\n"));
    let stall = json!({"avg10": 0, "avg60": 1.5, "avg300": 0.25, "total": 7});
    assert_eq!(guest.ask("__org.guestd_get-memory")["pressure"], json!({"some": stall, "full": stall}));
}

#[test]
fn timezone_is_that_of_etc_localtime() {
    let guest = Guest::new();
    assert_eq!(guest.ask("guest-get-timezone"), json!({"zone": "UTC", "offset": 0}));
    for (place, expected) in [
        ("America/Phoenix", json!({"zone": "MST", "offset": -25200})),
        ("Asia/Tokyo", json!({"zone": "JST", "offset": 32400})),
    ] {
        let Ok(zone) = fs::read(format!("/usr/share/zoneinfo/{place}")) else {
            guestd_sdk::testkit::skip("no zone database (tzdata)");
            return;
        };
        guest.file("etc/localtime", zone);
        guest.becomes("guest-get-timezone", &expected);
    }
}

#[test]
fn time_is_now() {
    let now = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    let before = now();
    let time = kit().call("guest-get-time", json!({})).unwrap().as_i64().unwrap();
    assert!((before..=now()).contains(&time), "{time}");
}

#[test]
fn no_test_can_set_the_time_of_this_machine() {
    let error = kit().call("guest-set-time", json!({"time": 0})).unwrap_err();
    assert_eq!(error.desc(), "Failed to set time to guest: Operation not permitted");
    let error = kit().call("guest-set-time", json!({})).unwrap_err();
    assert_eq!(error.desc(), "failed to read the hardware clock: No such file or directory");
}

#[test]
fn time_is_set_and_told_in_the_log() {
    let guest = Guest::new();
    let answer = guest.kit.call("guest-set-time", json!({"time": 1_700_000_000_000_000_001_i64})).unwrap();
    assert_eq!((answer, guest.calls().as_str()), (json!({}), "clock_settime 1700000000.000000001\n"));
    let log = guest.kit.log();
    assert!(log.iter().any(|(level, text)| *level == LogLevel::Info && text.contains("to 1700000000.000000001 s")));

    guest.file("dev/rtc", "1700000000\n");
    guest.kit.call("guest-set-time", json!({"time": 0})).unwrap();
    assert!(guest.calls().contains("\nclock_settime 0.000000000\nRTC_SET_TIME 20"), "{}", guest.calls());
    guest.kit.call("guest-set-time", json!({})).unwrap();
    assert!(guest.calls().ends_with("\nclock_settime 1700000001.000000000\n"), "{}", guest.calls());
}

#[test]
fn what_is_no_time_is_refused() {
    let guest = Guest::new();
    for (arguments, expected) in [
        (json!({"time": -1}), "Invalid time"),
        (json!({"time": 3_187_296_000_000_000_000_i64}), "Invalid time"),
        (json!({"time": i64::MAX}), "Invalid time"),
        (json!({"time": 1.5}), "Invalid parameter type for 'time', expected: integer"),
        (json!({"time": null}), "Invalid parameter type for 'time', expected: integer"),
        (json!({"time": 9_223_372_036_854_775_808_u64}), "Invalid parameter type for 'time', expected: integer"),
        (json!({"tine": 1}), "Parameter 'tine' is unexpected"),
    ] {
        assert_eq!(guest.kit.call("guest-set-time", arguments.clone()).unwrap_err().desc(), expected, "{arguments}");
    }
    assert_eq!(guest.calls(), "");
}

/// A record of utmp(5) for a user's login, as an x86_64 guest has it.
#[cfg(target_arch = "x86_64")]
fn utmp_record(user: &str, seconds: i32, microseconds: i32) -> Vec<u8> {
    let mut record = vec![0; 384];
    record[..2].copy_from_slice(&7_i16.to_ne_bytes());
    record[44..44 + user.len()].copy_from_slice(user.as_bytes());
    record[340..344].copy_from_slice(&seconds.to_ne_bytes());
    record[344..348].copy_from_slice(&microseconds.to_ne_bytes());
    record
}

fn session(user: &str, class: &str, microseconds: u64) -> String {
    format!("UID=1\nUSER={user}\nSTATE=active\nCLASS={class}\nREALTIME={microseconds}\n")
}

#[cfg(target_arch = "x86_64")]
#[test]
fn users_are_those_of_utmp() {
    let guest = Guest::new();
    let records = [utmp_record("zed", 3, 0), utmp_record("bob", 2, 0), utmp_record("zed", 1, 500_000)].concat();
    guest.file("var/run/utmp", records).file("run/systemd/sessions/1", session("carl", "user", 1));
    let reply = guest.kit.call_raw("guest-get-users", "{}", 0).unwrap();
    let expected = br#"[{"user": "zed", "login-time": 1.5}, {"user": "bob", "login-time": 2}]"#;
    assert_eq!(reply.body.as_slice(), expected);
    // A boot's record and no login: somebody writes records, so nobody is logged in.
    guest.file("var/run/utmp", vec![0; 384]);
    assert_eq!(guest.ask("guest-get-users"), json!([]));
}

#[test]
fn users_are_those_of_logind_where_utmp_is_gone() {
    let guest = Guest::new();
    assert_eq!(guest.ask("guest-get-users"), json!([]));
    guest.file("run/systemd/sessions/2", session("bob", "user", 2_000_000));
    guest.file("run/systemd/sessions/3", session("alice", "user", 1_250_000));
    guest.file("run/systemd/sessions/4", session("alice", "user", 9_000_000));
    guest.file("run/systemd/sessions/c1", session("gdm", "greeter", 1));
    guest.file("run/systemd/sessions/.#5x", session("half", "user", 1));
    guest.file("run/systemd/sessions/6", b"\xff\0garbage");
    mkfifo(&guest.path("run/systemd/sessions/2.ref"));
    mkfifo(&guest.path("run/systemd/sessions/7"));
    let expected = json!([{"user": "alice", "login-time": 1.25}, {"user": "bob", "login-time": 2}]);
    assert_eq!(guest.ask("guest-get-users"), expected);
    guest.file("var/run/utmp", "");
    assert_eq!(guest.ask("guest-get-users"), expected);
}

#[test]
fn a_misspelt_option_is_an_error() {
    let settings = Settings { config: json!({"rehersal": "/"}), ..Settings::default() };
    let error = TestKit::start_with(guestd_system::plugin_module(), settings).map(drop).unwrap_err();
    assert!(error.desc().starts_with("configuration: unknown field `rehersal`"), "{error:?}");
}
