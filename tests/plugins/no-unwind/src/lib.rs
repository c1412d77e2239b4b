//! A plugin made by hand that says it was built with `panic = "abort"`: the sdk's macro would not have it.

use guestd_sdk::abi::abi_stable::prefix_type::PrefixTypeTrait;
use guestd_sdk::abi::{
    CallError, Command, HostArc, PluginBox, PluginMod, PluginModRef, RResult, RSlice, manifest::Note,
};
use guestd_sdk::export::inventory;
use guestd_sdk::root::Set;

const MANIFEST: &str =
    "guestd-plugin 1\nabi 1.0\nname no-unwind\nversion 1\nvendor Example Ltd\ncommand __com.example_abort 0\n";

// SAFETY: the section holds notes and nothing else, and `Note` is laid out as one.
#[unsafe(link_section = ".note.guestd")]
#[used]
static NOTE: Note<{ MANIFEST.len() }> = Note::new(MANIFEST);

inventory::submit! {
    Set { manifest: NOTE.text(), module }
}

extern "C" fn start(_: HostArc) -> RResult<PluginBox, CallError> {
    RResult::RErr(CallError { class: "GenericError".into(), desc: "must not be reached".into() })
}

fn module() -> PluginModRef {
    let command = Command { name: "__com.example_abort".into(), flags: 0, deadline_ms: 0 }.leak_into_prefix();
    PluginMod {
        name: "no-unwind".into(),
        version: "1".into(),
        unwinds: false,
        commands: RSlice::from_slice(Vec::from([command]).leak()),
        start,
    }
    .leak_into_prefix()
}
