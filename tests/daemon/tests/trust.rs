//! Whom the daemon believes: configuration, plugins, hooks, logs and state that somebody else could change are refused, and
//! what was checked is what is used.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use guestd_daemon_tests::{Daemon, vendor_plugin};
use guestd_sdk::testkit::skip;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{geteuid, mkfifo};
use serde_json::json;

const GREET: &str = "__com.example_greet";
/// A user of the guest.
const USER: u32 = 1000;

/// Whether the tests run as root. Without it nothing can be given to another user.
fn is_root() -> bool {
    geteuid().is_root() || {
        skip("only root can give files to other users");
        false
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// A daemon with a file in `guestd.d`.
fn with_drop_in() -> Daemon {
    let daemon = Daemon::new();
    fs::create_dir(daemon.path("guestd.d")).unwrap();
    fs::write(daemon.path("guestd.d/a.toml"), "[log]\nlevel = \"debug\"\n").unwrap();
    for name in ["", "guestd.d"] {
        set_mode(&daemon.path(name), 0o755);
    }
    daemon
}

/// What a daemon says that does not start.
fn refusal(mut daemon: Daemon) -> (String, Daemon) {
    daemon = daemon.config("[[channel]]\nmethod = \"unix-listen\"\npath = \"DIR/s\"");
    daemon.command(&[]);
    daemon.spawn();
    assert_eq!(daemon.wait().code(), Some(1));
    let said = fs::read_to_string(daemon.path("stderr")).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    (said, daemon)
}

#[test]
fn a_configuration_that_others_could_write_is_no_start() {
    type Case<'c> = (&'c str, &'c dyn Fn(&Daemon), &'c str);
    let cases: [Case<'_>; 6] = [
        ("guestd.d", &|daemon| set_mode(&daemon.path("guestd.d"), 0o777), "can be written by others (mode 0777)"),
        ("guestd.d", &|daemon| set_mode(&daemon.path("guestd.d"), 0o1777), "can be written by others (mode 1777)"),
        ("guestd.d/a.toml", &|daemon| set_mode(&daemon.path("guestd.d/a.toml"), 0o666), "(mode 0666)"),
        ("guestd.d/a.toml", &|daemon| set_mode(&daemon.path("guestd.d/a.toml"), 0o664), "(mode 0664)"),
        ("", &|daemon| set_mode(&daemon.path(""), 0o777), "can be written by others (mode 0777)"),
        (
            "guestd.d/b.toml",
            &|daemon| mkfifo(&daemon.path("guestd.d/b.toml"), Mode::S_IRUSR).unwrap(),
            "no regular file",
        ),
    ];
    for (name, spoil, words) in cases {
        let daemon = with_drop_in();
        spoil(&daemon);
        let place = daemon.path(name).display().to_string();
        let (said, daemon) = refusal(daemon);
        assert!(said.contains(place.trim_end_matches('/')) && said.contains(words), "{name}: {said}");
        let check = daemon.command(&["check"]).output().unwrap();
        assert_eq!((check.status.code(), String::from_utf8(check.stderr).unwrap()), (Some(1), said));
    }
}

#[test]
fn a_main_file_or_a_key_file_that_others_could_write_is_no_start() {
    let daemon = Daemon::new();
    let (toml, key_file) = (daemon.path("x.toml"), daemon.path("x.conf"));
    fs::write(&toml, "").unwrap();
    fs::write(&key_file, "").unwrap();
    for path in [toml, key_file] {
        set_mode(&path, 0o666);
        let output = Command::new(daemon.command(&[]).get_program()).arg("-c").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, format!("guestd: {} can be written by others (mode 0666)\n", path.display()));
    }
}

#[test]
fn a_configuration_of_another_user_is_no_start() {
    if !is_root() {
        return;
    }
    for name in ["guestd.d/a.toml", "guestd.d", "link/a.toml"] {
        let daemon = with_drop_in();
        if name.starts_with("link") {
            // A link of the user's to a file of root's.
            symlink("../guestd.d", daemon.path("guestd.d/b.toml")).unwrap();
            lchown(daemon.path("guestd.d/b.toml"), Some(USER), None).unwrap();
        } else {
            chown(daemon.path(name), Some(USER), None).unwrap();
        }
        let (said, _) = refusal(daemon);
        assert!(said.contains("is owned by user 1000, who could change it"), "{name}: {said}");
    }
}

#[test]
fn a_link_to_a_configuration_that_only_root_can_change_is_followed() {
    let daemon = with_drop_in();
    fs::create_dir(daemon.path("store")).unwrap();
    set_mode(&daemon.path("store"), 0o755);
    fs::rename(daemon.path("guestd.d"), daemon.path("store/drop-ins")).unwrap();
    fs::write(daemon.path("store/b.toml"), "[commands]\nblock = [\"guest-ping\"]\n").unwrap();
    symlink("../b.toml", daemon.path("store/drop-ins/b.toml")).unwrap();
    symlink(daemon.path("store/drop-ins"), daemon.path("guestd.d")).unwrap();
    let daemon = daemon.start();
    assert!(daemon.client().error("guest-ping", json!({})).contains("has been disabled"));
}

#[test]
fn a_reload_with_a_configuration_that_others_could_write_changes_nothing() {
    let daemon = with_drop_in().start();
    fs::write(daemon.path("guestd.d/b.toml"), "[commands]\nblock = [\"guest-ping\"]\n").unwrap();
    set_mode(&daemon.path("guestd.d/b.toml"), 0o666);
    daemon.signal(Signal::SIGHUP);
    let log = daemon.wait_for_log("the configuration stays as it was: ");
    assert!(log.contains("guestd.d/b.toml can be written by others (mode 0666)"), "{log}");
    assert_eq!(daemon.client().call("guest-ping", json!({})), json!({}));
}

/// A directory of plugins, checked and then exchanged by the owner of its parent, is how foreign code came to run.
#[test]
fn a_plugin_directory_that_a_user_could_exchange_is_never_opened() {
    if !is_root() {
        return;
    }
    let daemon = Daemon::new().config("[plugins]");
    let home = daemon.path("home");
    for name in ["plugins", "evil"] {
        fs::create_dir_all(home.join(name)).unwrap();
        fs::copy(vendor_plugin(), home.join(name).join("foreign.so")).unwrap();
        set_mode(&home.join(name), 0o755);
        set_mode(&home.join(name).join("foreign.so"), 0o644);
    }
    chown(&home, Some(USER), None).unwrap();
    for path in [home.join("evil"), home.join("evil/foreign.so")] {
        chown(path, Some(USER), None).unwrap();
    }
    fs::remove_dir(daemon.path("plugins")).unwrap();
    symlink(home.join("plugins"), daemon.path("plugins")).unwrap();
    let mut daemon = daemon.start();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (one, other) = (home.join("plugins"), home.join("evil"));
            while !ended.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).unwrap();
            }
        });
        for _ in 0..30 {
            let reply = daemon.client().ask(GREET, json!({"name": "Ann"}));
            let foreign = daemon.has_mapped("foreign.so");
            if foreign || reply["error"]["class"] != "CommandNotFound" {
                ended.store(true, Ordering::Relaxed);
                panic!("{reply} (mapped: {foreign})");
            }
            daemon.signal(Signal::SIGKILL);
            daemon.wait();
            daemon.spawn();
        }
        ended.store(true, Ordering::Relaxed);
    });
    let log = daemon.wait_for_log("cannot be trusted");
    assert!(log.contains(&format!("cannot be trusted: '{}' is owned by user 1000", home.display())), "{log}");
}

/// Builds a library from C in the daemon's directory of plugins. It has a manifest, and nothing else of a plugin.
fn plugin_from_c(daemon: &Daemon, name: &str, source: &str, linked: &[&str]) {
    let manifest =
        format!(r"guestd-plugin 1\\nabi 1.0\\nname {name}\\nversion 1\\nvendor x\\ncommand __com.example_{name} 5\\n");
    let note = format!(
        r#"__asm__(".pushsection .note.guestd,\"a\",%note\n.balign 4\n.long 7, 2f-1f, 1\n.asciz \"guestd\"\n.balign 4\n1: .ascii \"{manifest}\"\n2: .balign 4\n.popsection");"#
    );
    let (c, library) = (daemon.path(&format!("{name}.c")), daemon.path(&format!("plugins/{name}.so")));
    fs::write(&c, format!("{note}\n{source}\n")).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&c).args(linked).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    set_mode(&library, 0o644);
}

/// What a library is loaded by is a path through the directory that was checked; neither it nor anybody else notices.
#[test]
fn a_plugin_finds_what_lies_beside_it_and_errors_name_its_own_path() {
    let daemon = Daemon::new();
    fs::create_dir_all(daemon.path("lib")).unwrap();
    fs::write(daemon.path("beside.c"), "int beside(void) { return 1; }\n").unwrap();
    let words = ["-shared", "-fPIC", "-o", "lib/libbeside.so", "beside.c"];
    assert!(Command::new("cc").args(words).current_dir(daemon.path("")).status().unwrap().success());
    let search = format!("-L{}", daemon.path("lib").display());
    let linked = ["-Wl,-rpath,$ORIGIN/../lib", search.as_str(), "-lbeside"];
    plugin_from_c(&daemon, "finds", "int beside(void); int uses(void) { return beside(); }", &linked);
    plugin_from_c(&daemon, "lacks", "int nobody_has_this(void); int uses(void) { return nobody_has_this(); }", &[]);
    let daemon = daemon.start();
    let error = |name: &str| daemon.client().error(&format!("__com.example_{name}"), json!({}));
    // It was loaded, with what it needs; a plugin it is not.
    assert!(error("finds").ends_with("/plugins/finds.so exports no root module"), "{}", error("finds"));
    let own = daemon.path("plugins/lacks.so").display().to_string();
    let words = format!("{own} cannot be loaded: {own}: undefined symbol: nobody_has_this");
    assert!(error("lacks").ends_with(&words), "{}", error("lacks"));
}

#[test]
fn a_hook_that_another_user_could_change_is_not_run() {
    if !is_root() {
        return;
    }
    for (name, directory) in [("hook", false), ("hooks/10-hook", true)] {
        let daemon = Daemon::new();
        fs::create_dir(daemon.path("hooks")).unwrap();
        let hook = daemon.path(name);
        fs::write(&hook, "#!/bin/sh\n: >${0%/*}/ran\n").unwrap();
        for path in [daemon.path(""), daemon.path("hooks"), hook.clone()] {
            set_mode(&path, 0o755);
        }
        chown(&hook, Some(USER), None).unwrap();
        let key = if directory { "hooks-dir = \"DIR/hooks\"" } else { "hook = \"DIR/hook\"" };
        let daemon = daemon.config(&format!("[plugins.fsfreeze]\ninclude = [\"/nonexistent\"]\n{key}")).start();
        let error = daemon.client().error("guest-fsfreeze-freeze", json!({}));
        let words = format!("fsfreeze hook {0}: '{0}' is owned by user 1000, who could change it", hook.display());
        assert_eq!(error, words);
        assert!(!daemon.path("ran").exists() && !daemon.path("hooks/ran").exists());
    }
}

#[test]
fn a_log_or_a_pid_file_is_not_written_through_what_a_user_has_planted() {
    if !is_root() {
        return;
    }
    let daemon = Daemon::new();
    // As /tmp: all may add to it.
    let shared = daemon.path("shared");
    fs::create_dir(&shared).unwrap();
    set_mode(&shared, 0o1777);
    fs::write(daemon.path("precious"), "precious\n").unwrap();
    let planted = |name: &str, plant: &dyn Fn(&Path)| -> String {
        plant(&shared.join(name));
        lchown(shared.join(name), Some(USER), None).unwrap();
        shared.join(name).display().to_string()
    };
    let link = planted("link", &|path| symlink(daemon.path("precious"), path).unwrap());
    let file = planted("file", &|path| fs::write(path, "").unwrap());
    let fifo = planted("fifo", &|path| mkfifo(path, Mode::S_IRUSR).unwrap());
    fs::hard_link(daemon.path("precious"), shared.join("hard")).unwrap();
    let hard = shared.join("hard").display().to_string();
    for (path, words) in [
        (&link, "is owned by user 1000"),
        (&file, "is owned by user 1000"),
        (&fifo, "is owned by user 1000"),
        (&hard, "has another name elsewhere"),
    ] {
        for words_before in [vec!["-l", path], vec!["-d", "-f", path]] {
            let output = daemon.command(&words_before).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{words_before:?}");
            assert!(said.contains(path) && said.contains(words), "{words_before:?}: {said}");
            let check = daemon.command(&[words_before.as_slice(), &["check"]].concat()).output().unwrap();
            assert!(String::from_utf8(check.stdout).unwrap().contains(said.trim().strip_prefix("guestd: ").unwrap()));
        }
    }
    assert_eq!(fs::read_to_string(daemon.path("precious")).unwrap(), "precious\n");
}

#[test]
fn a_fifo_as_a_log_is_refused_and_does_not_hang_the_start() {
    let daemon = Daemon::new();
    let fifo = daemon.path("fifo");
    mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let (said, _) = refusal(daemon.args(&["-l", "DIR/fifo"]));
    assert!(said.contains("fifo is no regular file"), "{said}");
}

#[test]
fn a_state_directory_that_others_could_write_is_no_start() {
    let daemon = Daemon::new();
    set_mode(&daemon.path("state"), 0o1777);
    let (said, daemon) = refusal(daemon);
    let words = format!("the state directory {} can be written by others (mode 1777)", daemon.path("state").display());
    assert_eq!(said, format!("guestd: {words}\n"));
    let check = daemon.command(&["check"]).output().unwrap();
    assert!(String::from_utf8(check.stdout).unwrap().contains(&format!("problem: {words}\n")));
}

/// The daemon's command, started with this umask in a mount namespace with an empty `/run` of its own.
fn with_umask(daemon: &Daemon, mask: u32) -> Command {
    let own = daemon.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "mount -t tmpfs none /run && exec \"$0\" \"$@\""]).arg(own.get_program());
    command.args(own.get_args()).current_dir(daemon.path(""));
    // SAFETY: one system call is made behind the fork.
    unsafe {
        command.pre_exec(move || {
            umask(Mode::from_bits_truncate(mask));
            Ok(())
        });
    }
    command
}

#[test]
fn what_the_daemon_makes_is_its_own_whatever_umask_it_is_started_with() {
    if !is_root() {
        return;
    }
    let daemon = Daemon::new().config("[[channel]]\nmethod = \"unix-listen\"\npath = \"DIR/s\"");
    let mut child = with_umask(&daemon, 0).spawn().unwrap();
    let mut client = daemon.client();
    let run = PathBuf::from(format!("/proc/{}/root/run/guestd", child.id()));
    let modes = [mode(&run), mode(&daemon.path("s")), mode(&daemon.path("log")), mode(&daemon.path("state/qga.state"))];
    // What a client makes, itself or by a program, has the umask that was the daemon's at its start.
    let file = daemon.path("made").display().to_string();
    let handle = client.call("guest-file-open", json!({"path": file, "mode": "w"}));
    client.call("guest-file-close", json!({"handle": handle}));
    let of_client = mode(&daemon.path("made"));
    let program = json!({"path": "sh", "arg": ["-c", "umask"], "capture-output": true});
    let pid = client.call("guest-exec", program)["pid"].clone();
    let mut status = json!({});
    while status["exited"] != true {
        status = client.call("guest-exec-status", json!({"pid": pid}));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(modes.map(|mode| format!("{mode:o}")), ["700", "600", "640", "600"]);
    assert_eq!((of_client, &status["out-data"]), (0o666, &json!("MDAwMAo=")));
}

/// `guestd call` as this user, by a copy of the program that every user can reach.
fn call_as(daemon: &Daemon, uid: u32, socket: &str) -> std::process::Output {
    set_mode(&daemon.path(""), 0o755);
    let program = daemon.path("guestd-call");
    if !program.exists() {
        fs::copy(daemon.command(&[]).get_program(), &program).unwrap();
    }
    let words: [OsString; 4] = ["call".into(), "--socket".into(), daemon.path(socket).into(), "guest-ping".into()];
    Command::new(program).args(words).uid(uid).gid(uid).current_dir("/").output().unwrap()
}

#[test]
fn a_socket_whose_mode_is_widened_still_admits_root_and_the_daemons_user_only() {
    if !is_root() {
        return;
    }
    let daemon = Daemon::new().start();
    assert!(!call_as(&daemon, USER, "s").status.success(), "the file's own mode");
    set_mode(&daemon.path("s"), 0o666);
    let output = call_as(&daemon, USER, "s");
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    daemon.wait_for_log("a client of user 1000 is not admitted");
    assert!(call_as(&daemon, 0, "s").status.success());
}

/// systemd gives a socket the mode 0666 where its unit does not say otherwise (systemd.socket(5), SocketMode=).
#[test]
fn a_socket_that_the_service_manager_made_for_all_admits_no_others_either() {
    if !is_root() {
        return;
    }
    let daemon = Daemon::new().config("[[channel]]\nmethod = \"unix-listen\"");
    let listener = UnixListener::bind(daemon.path("s")).unwrap();
    set_mode(&daemon.path("s"), 0o666);
    let mut child = daemon.command_with_socket(&listener).spawn().unwrap();
    let outputs = [USER, 0].map(|uid| call_as(&daemon, uid, "s"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(outputs.each_ref().map(|output| output.status.success()), [false, true], "{outputs:?}");
    assert!(daemon.log().contains("a client of user 1000 is not admitted"));
}

#[test]
fn users_of_a_channel_are_admitted_and_no_others() {
    if !is_root() {
        return;
    }
    let channel = "[[channel]]\nmethod = \"unix-listen\"\npath = \"DIR/open\"\nusers = [1000, \"daemon\"]";
    let daemon = Daemon::new().config(channel).start();
    daemon.wait_for("the other socket", || daemon.path("open").exists());
    assert_eq!(mode(&daemon.path("open")), 0o666);
    let daemons = nix::unistd::User::from_name("daemon").unwrap().unwrap().uid.as_raw();
    for (uid, is_admitted) in [(USER, true), (daemons, true), (0, true), (USER + 1, false)] {
        let output = call_as(&daemon, uid, "open");
        assert_eq!(output.status.success(), is_admitted, "{uid}: {output:?}");
    }
    assert!(!call_as(&daemon, USER, "s").status.success(), "each channel has its own");
}

#[test]
fn users_and_cids_are_for_the_sockets_that_have_them() {
    for (channel, words) in [
        ("method = \"vsock-listen\"\npath = \"1:9\"\nusers = [0]", "users is for the method unix-listen, and not"),
        ("method = \"unix-listen\"\npath = \"/x\"\ncids = [2]", "cids is for the method vsock-listen, and not"),
        (
            "method = \"unix-listen\"\npath = \"/x\"\nusers = [\"no-such\"]",
            "names \"no-such\", and there is no such user",
        ),
        ("method = \"unix-listen\"\npath = \"/x\"\nusers = [-1]", "expected the name or the number of a user"),
    ] {
        let daemon = Daemon::new().config(&format!("[[channel]]\n{channel}"));
        let output = daemon.command(&["check"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(words), "{said}");
    }
}
