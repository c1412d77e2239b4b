//! The three plain structs that cross with every call. Their layout never changes.

use abi_stable::StableAbi;
use abi_stable::std_types::{RString, RVec};

/// One request, on its way into a plugin, which owns it from then on.
///
/// The daemon has checked it: `buf` is UTF-8 and one JSON value, in which
/// `buf[args_at .. args_at + args_len]` is the object of the arguments, or nothing (`args_len == 0`) where the
/// request has none. Strings are in double quotes with JSON's escapes only. The plugin may overwrite `buf` in
/// place, as when it decodes base64.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct Request {
    /// The message as it came from the channel.
    pub buf: RVec<u8>,
    /// Where the arguments begin in `buf`, in bytes.
    pub args_at: usize,
    /// How long they are, in bytes; 0: the request has no arguments.
    pub args_len: usize,
    /// How long the daemon waits for the answer, in milliseconds; 0: without limit. Past it the client has been
    /// told that the call failed, so a call that changes the guest should undo what it did instead of finishing.
    pub deadline_ms: u32,
    /// A set of [`request_flags`]; unknown bits are ignored.
    pub flags: u32,
}

/// The bits of [`Request::flags`].
pub mod request_flags {
    /// The call of an [`OFTEN_INSTANT`](crate::command_flags::OFTEN_INSTANT) command in the daemon's event loop: it must not
    /// block, and may be [handed back](super::reply_flags::HANDED_BACK) instead.
    pub const IN_PLACE: u32 = 1;
}

/// The answer to a [`Request`]: made by the plugin, owned by the daemon, freed by the plugin's deallocator.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct Reply {
    /// The JSON text of the reply's `return` member, without a line break. Anything that is not one JSON value
    /// is reported to the client as an error of the command.
    pub body: RVec<u8>,
    /// A set of [`reply_flags`]; unknown bits are ignored.
    pub flags: u32,
}

/// The bits of [`Reply::flags`].
pub mod reply_flags {
    /// Nothing is sent to the client: the command answers by its effect, as `guest-shutdown` does.
    pub const SILENT: u32 = 1;
    /// A byte 0xFF precedes the reply, as `guest-sync-delimited` demands.
    pub const DELIMITED: u32 = 2;
    /// This is no answer: the call would have to block. `body` is the request's `buf` as it came, and the call is made again,
    /// on a worker thread. Only where the request is [`IN_PLACE`](super::request_flags::IN_PLACE).
    pub const HANDED_BACK: u32 = 4;
}

/// The class of the error of a call that has panicked: a fault of the plugin, which the daemon counts. Its client gets a
/// `GenericError`.
pub const PANIC_CLASS: &str = "PluginPanicked";

/// Why a call failed: made by either side, owned by the one that receives it.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// QMP's error class, `GenericError` unless a client is known to look at another one.
    pub class: RString,
    /// One sentence for a person, without the class.
    pub desc: RString,
}
