//! `guest-shutdown`: power off, halt or reboot.

use std::borrow::Cow;

use guestd_sdk::answer::Answer;
use guestd_sdk::args;
use guestd_sdk::prelude::*;
use rustix::system::RebootCommand;

use crate::attempt::{Purpose, Trouble, by_first, by_program, installed};
use crate::config::ShutdownMeans;
use crate::power::{Power, Turn};
use crate::program::Patience;

/// What users that are logged in read.
const WALL_MESSAGE: &str = "shutdown requested by the hypervisor";

/// The arguments of `guest-shutdown`.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ShutdownArgs<'a> {
    /// `powerdown` (the default), `halt` or `reboot`.
    #[serde(borrow)]
    mode: Option<Cow<'a, str>>,
}

/// What is to become of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Powerdown,
    Halt,
    Reboot,
}

impl Mode {
    fn of(name: Option<&str>) -> Result<Self, CommandError> {
        match name {
            None | Some("powerdown") => Ok(Self::Powerdown),
            Some("halt") => Ok(Self::Halt),
            Some("reboot") => Ok(Self::Reboot),
            // The bracket is missing in qemu-ga's text too.
            Some(_) => Err(CommandError::new("mode is invalid (valid values are: halt|powerdown|reboot")),
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Powerdown => "shutdown (powerdown)",
            Self::Halt => "shutdown (halt)",
            Self::Reboot => "shutdown (reboot)",
        }
    }

    /// The verb of systemctl(1) and the applet of busybox.
    fn verb(self) -> &'static str {
        match self {
            Self::Powerdown => "poweroff",
            Self::Halt => "halt",
            Self::Reboot => "reboot",
        }
    }

    /// The options of shutdown(8). `-h` stands before `-P` and `-H`: sysvinit takes these only as its modifiers.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Powerdown => &["-h", "-P"],
            Self::Halt => &["-h", "-H"],
            Self::Reboot => &["-r"],
        }
    }

    /// The command of reboot(2).
    fn command(self) -> RebootCommand {
        match self {
            Self::Powerdown => RebootCommand::PowerOff,
            Self::Halt => RebootCommand::Halt,
            Self::Reboot => RebootCommand::Restart,
        }
    }
}

/// `guest-shutdown`: has the guest shut down, and does not answer when somebody has accepted that.
///
/// `mode` is `powerdown` (the default), `halt` or `reboot`. With the protocol of 0.15 the success is answered by
/// `{}`, and a failure is in the guest's syslog as well.
pub fn shutdown(ctx: &Ctx<Power>, request: Request) -> Result<Reply, CommandError> {
    let args: ShutdownArgs<'_> = args::parse(args::text_of(&request)?)?;
    let mode = Mode::of(args.mode.as_deref())?;
    let done = carry_out(ctx, mode, request.deadline_ms);
    if !ctx.state.answers_shutdown() {
        return done.and_then(|()| Silent.into_reply());
    }
    if let Err(error) = &done
        && let Err(why) = ctx.state.write_syslog(&format!("guest-shutdown: {}", error.desc()))
    {
        ctx.warn(format_args!("the guest's syslog does not take what has failed: {}", guestd_sdk::errno_text(&why)));
    }
    done.and_then(|()| ().into_reply())
}

fn carry_out(ctx: &Ctx<Power>, mode: Mode, deadline_ms: u32) -> Result<(), CommandError> {
    let turn = ctx.state.begin(deadline_ms)?;
    let purpose = Purpose { what: mode.what(), verb: "shutdown" };
    by_first(ctx, &turn, purpose, &turn.config().shutdown_means, |means| match means {
        ShutdownMeans::Systemctl => by_systemctl(ctx, &turn, purpose, mode),
        ShutdownMeans::Shutdown => {
            let args = [mode.options(), &["+0", WALL_MESSAGE]].concat();
            by_program(ctx, &turn, purpose, "shutdown", &args, Patience::FOR_REQUEST)
        }
        ShutdownMeans::Busybox => by_busybox(ctx, &turn, purpose, mode),
        ShutdownMeans::RebootSyscall => by_system_call(ctx, &turn, purpose, mode),
    })
}

fn by_systemctl(ctx: &Ctx<Power>, turn: &Turn<'_>, purpose: Purpose, mode: Mode) -> Result<(), Trouble> {
    if !turn.machine().runs_systemd() {
        return Err(Trouble::Absent("systemd does not run here".to_owned()));
    }
    by_program(ctx, turn, purpose, "systemctl", &["--no-ask-password", mode.verb()], Patience::FOR_REQUEST)
}

/// busybox's applets only send process 1 a signal, and report success whoever that is: they are used where process
/// 1 knows these signals, which is busybox's init or OpenWrt's procd.
fn by_busybox(ctx: &Ctx<Power>, turn: &Turn<'_>, purpose: Purpose, mode: Mode) -> Result<(), Trouble> {
    installed(turn, "busybox")?;
    let init = turn.machine().init();
    // busybox's init calls itself `init`, or `linuxrc` in an old initial RAM disk.
    let is_busybox = matches!(init.as_str(), "init" | "linuxrc") && turn.machine().init_is_busybox();
    if !is_busybox && init != "procd" {
        return Err(Trouble::Absent(format!("process 1 ({init}) is not busybox's init")));
    }
    by_program(ctx, turn, purpose, "busybox", &[mode.verb()], Patience::FOR_REQUEST)
}

/// reboot(2) stops no service and unmounts nothing, so it is the last means of a guest that has no other.
fn by_system_call(ctx: &Ctx<Power>, turn: &Turn<'_>, purpose: Purpose, mode: Mode) -> Result<(), Trouble> {
    let machine = turn.machine();
    if !machine.in_first_pid_namespace() {
        return Err(Trouble::Absent("it would end this container only".to_owned()));
    }
    let command = mode.command();
    ctx.info(format_args!("{}: by reboot(2), {command:?}", purpose.what));
    if !machine.kernel().sync() {
        ctx.warn(format_args!("{}: sync(2) did not end in time; going on without it", purpose.what));
    }
    turn.check_time()?;
    machine
        .kernel()
        .reboot(command)
        .map_err(|error| Trouble::Failed(CommandError::os("failed to shutdown: reboot(2)", &error).desc().to_owned()))
}
