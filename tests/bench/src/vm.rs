//! Both agents in one virtual machine, each on a virtio-serial port of its own, and the client at QEMU's sockets.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use guestd_vm::{Agent, CpuUse, Error, Fs, Vm, VmBuilder};
use serde::Serialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::commands::Commands;
use crate::home::Home;
use crate::measure::{GUEST, Subject};
use crate::options::Options;
use crate::results::{Placement, Results};
use crate::server::Kind;

/// Rounds end here though fewer than wanted were measured.
const ENOUGH: Duration = Duration::from_secs(120);
/// The machine is killed after this.
const LIMIT: Duration = Duration::from_secs(420);
const MEMORY_MIB: u32 = 512;
/// The agent that is not measured may run for at most this part of the time.
const IDLE: f64 = 0.01;

/// The guest, as it describes itself.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Guest {
    /// `tcg` (emulated) or `kvm`.
    accelerator: String,
    qemu: String,
    kernel: String,
    memory_mib: u32,
    rounds: usize,
    agents: Vec<String>,
}

impl Guest {
    /// For people.
    pub fn sentences(&self) -> String {
        let Self { accelerator, qemu, kernel, memory_mib, rounds, agents } = self;
        let processor = match accelerator.as_str() {
            "tcg" => {
                "The processor is emulated (TCG): the figures are those of emulation, and the ratios are distorted too, since it \
                 slows some kinds of code more than others."
            }
            _ => "The processor is this machine's, by KVM.",
        };
        let (agents, times) = (agents.join(" beside "), if *rounds == 1 { "round" } else { "rounds" });
        format!(
            "One processor, {memory_mib} MiB, Linux {kernel}, QEMU {qemu}.\n{processor}\n{agents}; {rounds} {times}.\n"
        )
    }
}

/// One of the two, measured or idle.
struct Seat {
    kind: Kind,
    pid: u32,
    /// `None` while it is with a measurement.
    client: Option<Client>,
}

/// The inside of the guest, for the agent with this process number.
struct Inside<'v> {
    vm: &'v mut Vm,
    pid: u32,
    started: CpuUse,
}

impl<'v> Inside<'v> {
    fn new(vm: &'v mut Vm, pid: u32) -> Result<Self> {
        let started = CpuUse::of(vm, pid)?;
        Ok(Self { vm, pid, started })
    }
}

impl Home for Inside<'_> {
    fn cpu_time(&mut self) -> Result<u64> {
        Ok(CpuUse::of(self.vm, self.pid)?.since(&self.started))
    }

    fn make_file(&mut self, bytes: usize) -> Result<String> {
        self.vm.run(&format!("head -c {bytes} /dev/urandom >/tmp/data"))?;
        Ok("/tmp/data".to_owned())
    }
}

/// Boots the guest and measures. `None`, with the reason on standard error, where there can be no guest, or where it
/// failed and there are other tables to show.
pub fn measure(options: &Options, commands: &Commands, results: &mut Results) -> Result<Option<Guest>> {
    match boot_and_measure(options, commands, results) {
        Err(error) if options.here => {
            eprintln!("no table of the virtual machine: {error:#}");
            Ok(None)
        }
        other => other,
    }
}

fn boot_and_measure(options: &Options, commands: &Commands, results: &mut Results) -> Result<Option<Guest>> {
    let mut vm = match builder(options)?.boot() {
        Ok(vm) => vm,
        Err(Error::Unavailable(reason)) => {
            eprintln!("no virtual machine: {reason}");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let began = Instant::now();
    // Each has answered a sync by then.
    drop((vm.agent()?, vm.agent_beside()?));
    // Both clients stay: qemu-ga polls a port whose host side is closed.
    let guestd = Client::connect(&vm.channel()?, Client::buffer())?;
    let qemu_ga = Client::connect(&vm.channel_beside()?, Client::buffer())?;
    let mut seats = [
        Seat { kind: Kind::Guestd, pid: vm.agent_pid()?, client: Some(guestd) },
        Seat { kind: Kind::QemuGa, pid: vm.agent_beside_pid()?, client: Some(qemu_ga) },
    ];
    let mut rounds = 0;
    while rounds < options.rounds && (rounds == 0 || began.elapsed() < ENOUGH) {
        rounds += 1;
        eprintln!("{}, round {rounds} of {}", Placement::Guest, options.rounds);
        // Who comes first changes with the round.
        seats.reverse();
        for index in 0..seats.len() {
            measure_one(&mut vm, &mut seats, index, options, commands, results)?;
        }
    }
    describe(&mut vm, &mut seats, rounds).map(Some)
}

fn builder(options: &Options) -> Result<VmBuilder> {
    let stage = options.guestd.ancestors().nth(2).context("guestd lies in no tree")?;
    let device = "/dev/virtio-ports/org.qemu.guest_agent.0";
    Ok(VmBuilder::new()
        .agent(Agent::Guestd)
        .agent_args(["-m", "virtio-serial", "-p", device, "-t", "/run/guestd"])
        .beside(Agent::QemuGa)
        .stage(stage)
        .disk(Fs::Ext4)
        .cpus(1)
        .memory(MEMORY_MIB)
        .limit(LIMIT))
}

/// Measures one agent, and sees that the other rests.
fn measure_one(
    vm: &mut Vm,
    seats: &mut [Seat; 2],
    index: usize,
    options: &Options,
    commands: &Commands,
    results: &mut Results,
) -> Result<()> {
    let [first, second] = seats;
    let (seat, other) = if index == 0 { (first, second) } else { (second, first) };
    let client = seat.client.take().context("the client is gone")?;
    let (before, began) = (CpuUse::of(vm, other.pid)?, Instant::now());
    let mut subject = Subject {
        kind: seat.kind,
        home: Inside::new(vm, seat.pid)?,
        client,
        counts: &GUEST,
        placement: Placement::Guest,
        typical: options.typical(),
        results,
    };
    subject.measure(options, commands).with_context(|| format!("{} in the guest", seat.kind))?;
    seat.client = Some(subject.client);
    let idle = CpuUse::of(vm, other.pid)?.since(&before) as f64 / 1e9 / began.elapsed().as_secs_f64();
    ensure!(idle < IDLE, "{} was to be idle, and used {:.1} % of the processor", other.kind, idle * 100.0);
    Ok(())
}

fn describe(vm: &mut Vm, seats: &mut [Seat; 2], rounds: usize) -> Result<Guest> {
    let mut agents = Vec::new();
    seats.sort_by_key(|seat| seat.kind != Kind::Guestd);
    for seat in seats {
        let client = seat.client.as_mut().context("the client is gone")?;
        let info = client.call("guest-info", &json!({}))?;
        let version = info.get("version").and_then(Value::as_str).unwrap_or_default();
        agents.push(format!("{} (guest-info: {version})", seat.kind));
    }
    let version = vm.qmp()?.execute("query-version", json!({}))?;
    let number = |name: &str| version.pointer(&format!("/qemu/{name}")).map(Value::to_string).unwrap_or_default();
    let qemu = ["major", "minor", "micro"].map(number).join(".");
    let kernel = vm.run("uname -r").map_err(|error| anyhow!("the guest's kernel: {error}"))?;
    let accelerator = vm.accelerator().to_owned();
    Ok(Guest { accelerator, qemu, kernel, memory_mib: MEMORY_MIB, rounds, agents })
}
