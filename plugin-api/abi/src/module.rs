//! What a plugin library exports: its root module and its table of commands.

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RResult, RSlice, RStr};

use crate::{CallError, HostArc, PluginBox};

/// The root module of a plugin library: static data and one function.
///
/// A plugin exports it under abi_stable's root module name. The strings and tables live as long as the process.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModRef)))]
pub struct PluginMod {
    /// The set's name, the same as in the manifest: `[a-z][a-z0-9-]*`.
    pub name: RStr<'static>,
    /// The set's own version, for people.
    pub version: RStr<'static>,
    /// Whether the library was built with `panic = "unwind"`. The daemon refuses one that was not, since its
    /// panics could not be caught.
    pub unwinds: bool,
    /// The commands; a command's place in this table is the `index` of [`crate::Plugin::call`].
    pub commands: RSlice<'static, CommandRef>,
    /// Makes the plugin. Called on any thread, before the first call of a command, until it has succeeded once. It may block,
    /// within the deadline of that call. An error is what each call of the set's commands is answered with, until the
    /// configuration is read again: then the next call tries again.
    #[sabi(last_prefix_field)]
    pub start: extern "C" fn(host: HostArc) -> RResult<PluginBox, CallError>,
}

/// One command of a plugin.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = CommandRef)))]
pub struct Command {
    /// The name on the wire: `guest-*` for QEMU's own, `__RFQDN_name` for a vendor's (QEMU's rule for downstream
    /// extensions of its protocols).
    pub name: RStr<'static>,
    /// A set of [`command_flags`]; unknown bits are ignored.
    pub flags: u32,
    /// How long the daemon waits for an answer, in milliseconds, unless its configuration says otherwise;
    /// 0: the daemon's default.
    #[sabi(last_prefix_field)]
    pub deadline_ms: u32,
}

/// The bits of [`Command::flags`].
pub mod command_flags {
    /// The command never blocks, on no lock, file or process: the daemon calls it in its event loop, while other
    /// calls of the same plugin may be under way. Everything stops for as long as it takes.
    pub const INSTANT: u32 = 1;
    /// The command may be answered while file systems are frozen, if the lists of allowed commands let it. It must
    /// write no file.
    pub const FREEZE_SAFE: u32 = 2;
    /// A success is not answered (`success-response: false` in `guest-info`).
    pub const NO_SUCCESS_RESPONSE: u32 = 4;
    /// The command is answered at once though another one still runs on its channel, whose reply is then dropped,
    /// since a client ignores what comes before this reply. Only together with [`INSTANT`].
    pub const OVERTAKES: u32 = 8;
    /// The command seldom blocks, and knows when: it is called as an [`INSTANT`] one first, with a request that is
    /// [`IN_PLACE`](crate::request_flags::IN_PLACE), and on a worker thread if it hands that request back. Not together with
    /// [`INSTANT`].
    pub const OFTEN_INSTANT: u32 = 16;
    /// Worker threads are kept for this command, so that it is carried out however many calls hang, of whatever set and client; and
    /// it is called though its set is busy with calls past their deadline. For what a host must always be able to do, such as a
    /// thaw or a shutdown.
    pub const OWN_THREAD: u32 = 32;
    /// Every bit that this version knows.
    pub const KNOWN: u32 = INSTANT | FREEZE_SAFE | NO_SUCCESS_RESPONSE | OVERTAKES | OFTEN_INSTANT | OWN_THREAD;
}

impl RootModule for PluginModRef {
    abi_stable::declare_root_module_statics! {PluginModRef}
    const BASE_NAME: &'static str = "guestd_plugin";
    const NAME: &'static str = "guestd_plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}
