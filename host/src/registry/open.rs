//! Opens a plugin's library: the one place where foreign code enters the process.

use std::os::fd::IntoRawFd;
use std::path::Path;

use abi_stable::abi_stability::abi_checking::{AbiInstabilityErrors, check_layout_compatibility};
use abi_stable::library::{AbiHeaderRef, LibHeader, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use abi_stable::type_layout::TypeLayout;
use guestd_abi::abi_stable::{self, StableAbi};
use guestd_abi::manifest::Manifest;
use guestd_abi::{PluginModRef, VERSION, command_flags};
use guestd_guest::trust::Trust;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::scan;

/// Opens the library at `path`, which was `file` when its manifest was read, and checks that it is what it says. The
/// error is a clause about the file. A library is never closed again: its data is in use all over.
pub fn open(path: &Path, file: (u64, u64), manifest: &Manifest) -> Result<PluginModRef, String> {
    let header = load(path, file)?;
    check_layout(header)?;
    // SAFETY: the layout that the library carries for its root module has just been found compatible with ours.
    let module: PluginModRef = unsafe { header.unchecked_layout() }
        .map_err(|error| format!("could not be initialized: {}", one_line(&error)))?;
    if !module.unwinds() {
        return Err("was built with panic = \"abort\", so a panic in it would end the daemon".to_owned());
    }
    compare(manifest, module)?;
    Ok(module)
}

/// Checks the file and has it loaded by the directory that was checked, whatever the path leads to by then. Not by the file's own
/// descriptor: what a library finds beside itself (`$ORIGIN`, ld.so(8)) it finds by the name that it is loaded by.
fn load(path: &Path, file: (u64, u64)) -> Result<&'static LibHeader, String> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err("has no name".to_owned()) };
    let directory = Trust::of_agent().directory(parent).map_err(|error| error.about(path))?;
    let opened = directory.open(name).map_err(|error| error.about(path))?;
    let metadata = opened.metadata().map_err(|error| format!("cannot be read: {error}"))?;
    if scan::identity(&metadata) != file {
        return Err("has been replaced since the daemon read it; reload the daemon's configuration".to_owned());
    }
    let name = directory.path_through(name);
    let cannot = |error: &dyn std::fmt::Display| {
        let text = error.to_string().replace(&*name.to_string_lossy(), &path.to_string_lossy());
        format!("cannot be loaded: {}", one_line(&text))
    };
    // RTLD_NOW: a symbol that is missing is an error here and not a crash later.
    // SAFETY: initializers of the library run. It is a file that root or we ourselves have put there, whole, and with a
    // manifest that says it is a plugin.
    let library = unsafe { Library::open(Some(&name), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| cannot(&error))?;
    // The name must lead there as long as the library may look for something, and no other may get it: to the dynamic linker
    // a second library of the same name is the first one.
    let _ = directory.into_raw_fd();
    // SAFETY: abi_stable gives this name to statics that begin with an `AbiHeader` and to nothing else.
    let header = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) }
        .map_err(|_| "exports no root module".to_owned())?;
    let header = *header;
    std::mem::forget(library);
    header.upgrade().map_err(|_| "was built with another version of abi_stable".to_owned())
}

/// Checks the library's root module against ours.
///
/// abi_stable wants a library to have at least the fields that its user knows. A daemon has older plugins too, so the
/// older side is checked as the user of the newer one; both directions are full structural checks, and accessors
/// never read a field that the other side does not have.
fn check_layout(header: &LibHeader) -> Result<(), String> {
    let theirs = header.layout().ok_or("carries no description of its layout")?;
    let ours = <PluginModRef as StableAbi>::LAYOUT;
    let strings = header.version_strings();
    let version = strings.version.as_str();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else {
        return Err(format!("names the boundary {version:?}, which is no version"));
    };
    if major != VERSION.0 {
        return Err(format!("is built for boundary {version}, and this daemon has {}.{}", VERSION.0, VERSION.1));
    }
    let (interface, implementation): (&TypeLayout, &TypeLayout) =
        if minor >= VERSION.1 { (ours, theirs) } else { (theirs, ours) };
    check_layout_compatibility(interface, implementation)
        .map_err(|errors| format!("has another layout than boundary {version}: {}", summary(&errors)))
}

/// The first difference in one line; abi_stable's own text runs to hundreds.
fn summary(errors: &AbiInstabilityErrors) -> String {
    let Some((first, difference)) = errors.errors.iter().find_map(|error| Some((error, error.errs.first()?))) else {
        return "no detail".to_owned();
    };
    let trail = first.stack_trace.iter().map(|step| match &step.expected {
        abi_stable::type_layout::TLFieldOrFunction::Field(field) => field.name(),
        abi_stable::type_layout::TLFieldOrFunction::Function(function) => function.name.as_str(),
    });
    let trail: Vec<_> = trail.collect();
    format!("{}: {}", trail.join("."), one_line(&format_args!("{difference:?}")))
}

fn one_line(text: &dyn std::fmt::Display) -> String {
    let text = text.to_string();
    let words: Vec<_> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// The manifest was a claim; this is the code.
fn compare(manifest: &Manifest, module: PluginModRef) -> Result<(), String> {
    let differ = |what: &str, note: &dyn std::fmt::Debug, code: &dyn std::fmt::Debug| {
        Err(format!("has a manifest that does not fit its code: {what} is {note:?} there and {code:?} here"))
    };
    let (name, version) = (module.name(), module.version());
    if manifest.name != name.as_str() {
        return differ("the name", &manifest.name, &name);
    }
    if manifest.version != version.as_str() {
        return differ("the version", &manifest.version, &version);
    }
    let commands = module.commands();
    if manifest.commands.len() != commands.len() {
        return differ("the number of commands", &manifest.commands.len(), &commands.len());
    }
    for (note, code) in manifest.commands.iter().zip(commands.iter()) {
        let here = (code.name().as_str(), code.flags() & command_flags::KNOWN, code.deadline_ms());
        let there = (note.name.as_str(), note.flags, note.deadline_ms);
        if here != there {
            return differ("a command (name, flags, deadline in ms)", &there, &here);
        }
    }
    Ok(())
}
