//! A running machine.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::accel::Accel;
use crate::builder::{Agent, power_on};
use crate::client::{self, Client};
use crate::control::{Control, Output};
use crate::disk::{Disk, StoppedDisks, read_from_ext4};
use crate::lock::BootLock;
use crate::qmp::Qmp;
use crate::supervise::Process;
use crate::{AgentConn, AgentError, Error, note, stall};

/// What the builder hands over. The order of the fields is the order of their end: first the process,
/// last the lock.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) agent: Agent,
    pub(crate) device: &'static str,
    pub(crate) accel: Accel,
    /// QEMU's command line, and how long it may live.
    pub(crate) args: Vec<String>,
    pub(crate) limit: Duration,
    pub(crate) process: Process,
    pub(crate) qmp: Qmp,
    pub(crate) control: Control,
    pub(crate) disks: Vec<Disk>,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) _lock: BootLock,
}

/// A running machine. It is killed on drop, its directory is removed; when the test panics, its console
/// and the agent's log are printed before.
#[derive(Debug)]
pub struct Vm {
    /// `None` only once [`Vm::stop`] has taken it apart.
    parts: Option<Parts>,
}

/// Longest time for a boot, also after a reset.
const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// Time limit of [`Vm::sh`].
const SH_LIMIT: Duration = Duration::from_secs(30);
/// Time in which a started agent must answer.
const AGENT_LIMIT: Duration = Duration::from_secs(30);

impl Vm {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts: Some(parts) }
    }

    fn parts(&self) -> Result<&Parts, Error> {
        self.parts.as_ref().ok_or_else(gone)
    }

    fn parts_mut(&mut self) -> Result<&mut Parts, Error> {
        self.parts.as_mut().ok_or_else(gone)
    }

    /// Which agent the guest has.
    #[must_use]
    pub fn which_agent(&self) -> Option<Agent> {
        self.parts.as_ref().map(|parts| parts.agent)
    }

    /// The agent's device in the guest.
    #[must_use]
    pub fn agent_device(&self) -> &'static str {
        self.parts.as_ref().map_or("", |parts| parts.device)
    }

    /// Waits for the control shell of the next boot.
    ///
    /// # Errors
    ///
    /// If it does not come within 90 s, QEMU ends, or the kernel panics.
    pub fn wait_for_boot(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            let parts = self.parts_mut()?;
            if parts.control.wait_for_boot(Duration::from_millis(500))? {
                return Ok(());
            }
            if let Some(status) = parts.process.ended() {
                return Err(Error::Failed(format!("QEMU ended in the boot: {status}")));
            }
            let console = self.console();
            if console.contains("Kernel panic") {
                return Err(Error::Failed(format!("the guest panicked:\n{console}")));
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout(format!("no guest within {BOOT_LIMIT:?}:\n{console}")));
            }
        }
    }

    /// Runs a command line as root in the guest, for at most 30 s.
    ///
    /// # Errors
    ///
    /// If no answer comes.
    pub fn sh(&mut self, command: &str) -> Result<Output, Error> {
        self.sh_for(command, SH_LIMIT)
    }

    /// Runs a command line as root in the guest, for at most `limit`.
    ///
    /// # Errors
    ///
    /// If no answer comes.
    pub fn sh_for(&mut self, command: &str, limit: Duration) -> Result<Output, Error> {
        self.parts_mut()?.control.run(command, limit)
    }

    /// As [`Vm::sh`], and gives the output without the white space around it.
    ///
    /// # Errors
    ///
    /// Also if the status is not 0.
    pub fn run(&mut self, command: &str) -> Result<String, Error> {
        let output = self.sh(command)?;
        match output.status {
            0 => Ok(output.stdout.trim().to_owned()),
            status => {
                Err(Error::Failed(format!("in the guest, {command:?} ended with {status}: {}", output.stdout.trim())))
            }
        }
    }

    /// What runs the guest's processors: `kvm`, or `tcg` where they are emulated.
    #[must_use]
    pub fn accelerator(&self) -> &'static str {
        self.parts.as_ref().map_or("", |parts| parts.accel.name())
    }

    /// QEMU's socket of the agent's channel, for a client that is none of these.
    ///
    /// # Errors
    ///
    /// If the machine is gone.
    pub fn channel(&self) -> Result<PathBuf, Error> {
        Ok(self.parts()?.directory.path().join("ga"))
    }

    /// The same of the second agent.
    ///
    /// # Errors
    ///
    /// If the machine is gone.
    pub fn channel_beside(&self) -> Result<PathBuf, Error> {
        Ok(self.parts()?.directory.path().join("beside"))
    }

    /// A connection to the agent's channel with nothing sent on it.
    ///
    /// # Errors
    ///
    /// If QEMU is gone.
    pub fn raw_agent(&self) -> Result<AgentConn, Error> {
        AgentConn::connect(&self.channel()?).map_err(|error| Error::Failed(format!("the agent's channel: {error}")))
    }

    /// A connection on which the agent has answered a sync; it gets 30 s to start.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub fn agent(&self) -> Result<AgentConn, Error> {
        in_step(self.raw_agent()?)
    }

    /// A connection to the second agent, that of [`VmBuilder::beside`](crate::VmBuilder::beside), on which it has
    /// answered a sync.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub fn agent_beside(&self) -> Result<AgentConn, Error> {
        let agent = AgentConn::connect(&self.channel_beside()?);
        in_step(agent.map_err(|error| Error::Failed(format!("the second agent's channel: {error}")))?)
    }

    /// The `qapi` crate's client on the agent's channel. The agent has answered a sync before, on a
    /// connection of its own.
    ///
    /// # Errors
    ///
    /// If the agent does not answer.
    pub fn client(&self) -> Result<Client, Error> {
        drop(self.agent()?);
        client::connect(&self.channel()?, Duration::from_secs(20))
    }

    /// QEMU's monitor.
    ///
    /// # Errors
    ///
    /// If the machine is gone.
    pub fn qmp(&mut self) -> Result<&mut Qmp, Error> {
        Ok(&mut self.parts_mut()?.qmp)
    }

    /// The disks, in the order in which the builder named them.
    #[must_use]
    pub fn disks(&self) -> &[Disk] {
        self.parts.as_ref().map_or(&[], |parts| &parts.disks)
    }

    /// A file of an ext4 image on the host, such as a [`Disk::snapshot`], by its path in that file
    /// system.
    ///
    /// # Errors
    ///
    /// If `debugfs` fails.
    pub fn read_from_ext4(image: &std::path::Path, file: &str) -> Result<String, Error> {
        read_from_ext4(image, file)
    }

    /// The agent's process in the guest.
    ///
    /// # Errors
    ///
    /// If the guest does not answer.
    pub fn agent_pid(&mut self) -> Result<u32, Error> {
        self.pid_of("agent")
    }

    /// The second agent's process in the guest.
    ///
    /// # Errors
    ///
    /// If the guest does not answer.
    pub fn agent_beside_pid(&mut self) -> Result<u32, Error> {
        self.pid_of("beside")
    }

    fn pid_of(&mut self, name: &str) -> Result<u32, Error> {
        let text = self.run(&format!("/lib/guest/agentctl pid {name}"))?;
        text.parse().map_err(|_| Error::Failed(format!("no process number: {text}")))
    }

    /// Sends a signal, such as `KILL`, to the agent.
    ///
    /// # Errors
    ///
    /// If there is no such process any more.
    pub fn kill_agent(&mut self, signal: &str) -> Result<(), Error> {
        let pid = self.agent_pid()?;
        self.run(&format!("kill -{signal} {pid}")).map(drop)
    }

    /// Waits until the agent's process has ended, and gives its exit status (137 after `KILL`).
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if it lives on.
    pub fn wait_agent_exit(&mut self, limit: Duration) -> Result<i32, Error> {
        let deadline = Instant::now() + limit;
        loop {
            let output = self.sh("cat /run/guest/agent.exit")?;
            if output.status == 0 {
                let status = output.stdout.trim().parse();
                return status.map_err(|_| Error::Failed("no exit status".into()));
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout(format!("the agent still runs after {limit:?}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts the agent again after it has ended.
    ///
    /// # Errors
    ///
    /// If the guest does not answer.
    pub fn start_agent(&mut self) -> Result<(), Error> {
        self.run("/lib/guest/agentctl start").map(drop)
    }

    /// Everything that the guest has written to its console.
    #[must_use]
    pub fn console(&self) -> String {
        self.text_of("console")
    }

    fn text_of(&self, name: &str) -> String {
        let file = self.parts.as_ref().map(|parts| parts.directory.path().join(name));
        let bytes = file.and_then(|file| std::fs::read(file).ok());
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    /// Waits until the console holds a text after its first `from` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] with what it holds instead.
    pub fn wait_console(&self, from: usize, text: &str, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        loop {
            let console = self.console();
            let new = console.get(from..).unwrap_or_default();
            if new.contains(text) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout(format!("{text:?} is not on the console: {new}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for QEMU to end by itself.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if it runs on.
    pub fn wait_exit(&self, limit: Duration) -> Result<ExitStatus, Error> {
        self.parts()?.process.wait(limit)
    }

    /// Switches the machine on again that has ended by itself, with the same disks, and waits for the root shell: that of
    /// before, where the guest finds its memory again.
    ///
    /// # Errors
    ///
    /// If QEMU does not start, or no shell answers within 90 s.
    pub fn power_on(&mut self) -> Result<(), Error> {
        let parts = self.parts_mut()?;
        (parts.process, parts.qmp, parts.control) = power_on(&parts.args, parts.directory.path(), parts.limit)?;
        self.sh_for("true", BOOT_LIMIT).map(drop)
    }

    /// Kills the machine, as a power cut would, and gives its disks.
    ///
    /// # Errors
    ///
    /// If that was done already.
    pub fn stop(mut self) -> Result<StoppedDisks, Error> {
        let parts = self.parts.take().ok_or_else(gone)?;
        drop(parts.process);
        Ok(StoppedDisks { disks: parts.disks, directory: parts.directory })
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if !std::thread::panicking() || self.parts.is_none() {
            return;
        }
        let tail = self.sh_for("tail -n 60 /run/guest/agent.log", Duration::from_secs(5));
        let log = tail.map_or_else(|error| error.to_string(), |output| output.stdout);
        note(&format!("--- the agent's log ---\n{log}"));
        let console = self.console();
        stall::look_at(&console);
        note(&format!("--- the console ---\n{console}"));
        note(&format!("--- QEMU ---\n{}", self.text_of("qemu.log")));
    }
}

/// Waits for the answer to a sync; the agent gets 30 s to start.
fn in_step(mut agent: AgentConn) -> Result<AgentConn, Error> {
    let deadline = Instant::now() + AGENT_LIMIT;
    let usual = agent.timeout();
    agent.set_timeout(Duration::from_secs(2));
    loop {
        match agent.sync() {
            Ok(()) => break,
            Err(AgentError::Timeout(_)) if Instant::now() < deadline => {}
            Err(error) => return Err(Error::Failed(format!("the agent: {error}"))),
        }
    }
    agent.set_timeout(usual);
    Ok(agent)
}

fn gone() -> Error {
    Error::Failed("the machine is gone".into())
}
