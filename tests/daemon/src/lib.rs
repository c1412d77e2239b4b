//! Runs the staged daemon (`make build`) in a directory of its own and talks to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod client;
mod dead_mount;
mod fault_fs;
mod library;
pub mod private;

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub use client::Client;
pub use dead_mount::DeadMount;
pub use fault_fs::FaultFs;
pub use library::{daemon_with, fixture, patched, vendor_plugin, vendor_plugin_by};

/// How long anything may take that takes no time.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The tree that `make build` has staged; `GUESTD_STAGE` names another.
pub fn stage() -> PathBuf {
    let default = || workspace().join("target/stage");
    let stage = std::env::var_os("GUESTD_STAGE").map_or_else(default, PathBuf::from);
    assert!(stage.join("sbin/guestd").exists(), "{} holds no guestd: run `make build` first", stage.display());
    stage
}

/// The root of the source tree.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// A daemon's directory, and the daemon once it is started.
pub struct Daemon {
    dir: tempfile::TempDir,
    program: PathBuf,
    config: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    child: Option<Child>,
}

impl Daemon {
    /// A daemon that listens on a socket and logs everything to a file.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["state", "plugins"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let (state, log) = (dir.path().join("state"), dir.path().join("log"));
        let args = ["-t".into(), state.display().to_string(), "-v".into(), "-l".into(), log.display().to_string()];
        Self {
            dir,
            program: stage().join("sbin/guestd"),
            config: String::new(),
            args: args.to_vec(),
            env: Vec::new(),
            child: None,
        }
    }

    /// Runs another program than the staged one.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// Adds to its `guestd.toml`. `DIR` stands for its directory.
    pub fn config(mut self, text: &str) -> Self {
        self.config += &text.replace("DIR", &self.dir.path().display().to_string());
        self.config += "\n";
        self
    }

    /// Adds words to its command line.
    pub fn args(mut self, words: &[&str]) -> Self {
        self.args.extend(words.iter().map(|word| word.replace("DIR", &self.dir.path().display().to_string())));
        self
    }

    /// Adds to its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.replace("DIR", &self.dir.path().display().to_string())));
        self
    }

    /// Logs no request.
    pub fn quiet(mut self) -> Self {
        self.args.retain(|word| word != "-v");
        self
    }

    /// Copies a library into its plugin directory under this name.
    pub fn plugin(self, library: &Path, name: &str) -> Self {
        let path = self.path("plugins").join(name);
        fs::copy(library, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        self
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command that runs the daemon, or one of its subcommands, with its configuration.
    pub fn command(&self, words: &[&str]) -> Command {
        let config = self.path("guestd.toml");
        let plugins = format!("[plugins]\ndirectories = [{:?}]\n", self.path("plugins"));
        let text = if self.config.contains("[plugins]") {
            self.config.replace("[plugins]", plugins.trim_end())
        } else {
            plugins + &self.config
        };
        fs::write(&config, text).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(config).args(&self.args).args(words).env_remove("QGA_CONF").env_remove("NOTIFY_SOCKET");
        command
            .env_remove("LISTEN_FDS")
            .env_remove("JOURNAL_STREAM")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// The command that runs the daemon with a socket as the service manager passes it (sd_listen_fds(3)).
    pub fn command_with_socket(&self, listener: &UnixListener) -> Command {
        let command = self.command(&[]);
        // LISTEN_PID must be the daemon's own number, which is known only behind the fork.
        let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(script).arg(command.get_program()).args(command.get_args()).current_dir(self.dir.path());
        let fd = listener.as_raw_fd();
        // SAFETY: only system calls are made behind the fork. The copy has no close-on-exec flag; number 3 is the first that
        // the service manager would use, and what the test has there is not needed in the daemon.
        unsafe {
            shell.pre_exec(move || {
                let high = nix::libc::fcntl(fd, nix::libc::F_DUPFD, 100);
                if high < 0 || nix::libc::dup2(high, 3) < 0 || nix::libc::close(high) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        shell
    }

    /// Starts it on the socket `s` and waits until it listens.
    pub fn start(self) -> Self {
        let channel = "[[channel]]\nmethod = \"unix-listen\"\npath = \"DIR/s\"";
        let daemon = self.config(channel).start_without_socket();
        daemon.wait_for("its socket", || daemon.path("s").exists());
        daemon
    }

    /// Starts it with the channels of its configuration.
    pub fn start_without_socket(mut self) -> Self {
        self.spawn();
        self
    }

    /// Starts it again, after it has ended.
    pub fn spawn(&mut self) {
        let stderr = fs::File::options().create(true).append(true).open(self.path("stderr")).unwrap();
        self.child = Some(self.command(&[]).stdout(Stdio::null()).stderr(stderr).spawn().unwrap());
    }

    /// A client on its socket.
    pub fn client(&self) -> Client {
        Client::connect(&self.path("s"))
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it is not started").id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.as_mut().expect("it is not started").try_wait().unwrap() {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < until, "the daemon does not end; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until its log holds this text, and returns the log.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.wait_for(&format!("{text:?} in the log"), || self.log().contains(text));
        self.log()
    }

    /// Waits until something is so.
    pub fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            let said = fs::read_to_string(self.path("stderr")).unwrap_or_default();
            assert!(Instant::now() < until, "waited for {what}; the log:\n{}\nstandard error:\n{said}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether its process has mapped a file whose path contains this.
    pub fn has_mapped(&self, part: &str) -> bool {
        fs::read_to_string(format!("/proc/{}/maps", self.pid())).unwrap().contains(part)
    }

    /// The time that all its threads have run, in nanoseconds (proc(5), /proc/PID/schedstat).
    pub fn cpu_time(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        tasks
            .map(|task| {
                let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
                text.split(' ').next().unwrap().parse::<u64>().unwrap_or(0)
            })
            .sum()
    }
}

impl Default for Daemon {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        if std::thread::panicking() {
            let said = fs::read_to_string(self.path("stderr")).unwrap_or_default();
            eprintln!("the daemon's log:\n{}\nits standard error:\n{said}", self.log());
        }
    }
}
