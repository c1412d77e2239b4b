//! How a command set is found by who opens its library, or by the program that it is linked into.
//!
//! Each set adds itself to a list when its library is loaded, or when the program starts: `plugin!` puts a function into
//! `.init_array`. So the symbol that the daemon looks for exists once, here, and not once a set, and several sets can
//! be linked into one program, whatever features it is built with. A library has exactly one set.

use std::panic;

use guestd_abi::abi_stable::library::{
    __call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleError, RootModuleResult,
};
use guestd_abi::{PluginModRef, RResult};

use crate::export::log_panic;

/// A command set of this library or program.
pub struct Set {
    /// The text of its manifest; [`Manifest::parse`](guestd_abi::manifest::Manifest::parse) takes it apart.
    pub manifest: &'static str,
    /// Makes its root module.
    pub module: fn() -> PluginModRef,
}

inventory::collect!(Set);

/// The command sets of this library or program, in no particular order.
pub fn sets() -> impl Iterator<Item = &'static Set> {
    inventory::iter::<Set>.into_iter()
}

/// What abi_stable looks for in a library.
// SAFETY: the name is the one under which abi_stable looks for a `LibHeader`, and this is one.
#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
static HEADER: LibHeader = {
    // SAFETY: `load` returns a `PluginModRef` and nothing else.
    unsafe { LibHeader::from_constructor::<PluginModRef>(load, CheckTypeLayout::Yes) }
};

/// Called once, when the daemon has opened the library. Fails where the library has no set, or several.
extern "C" fn load() -> RootModuleResult {
    panic::set_hook(Box::new(log_panic));
    let mut sets = sets();
    match (sets.next(), sets.next()) {
        (Some(set), None) => __call_root_module_loader(set.module),
        // The other variant holds a text, and the code for that would be in every library.
        _ => RResult::RErr(RootModuleError::Unwound),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_exported_name_is_the_one_that_abi_stable_looks_for() {
        let name = guestd_abi::abi_stable::library::ROOT_MODULE_LOADER_NAME;
        assert_eq!(name, "_1as_0lib_1header_0root_bmodule_bloader");
    }
}
