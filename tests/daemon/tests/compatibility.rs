//! Plugins that were built elsewhere: by another compiler, against a newer boundary, against an older one.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::path::Path;
use std::process::Command;

use guestd_daemon_tests::{Daemon, daemon_with, vendor_plugin, vendor_plugin_by};
use serde_json::json;

const GREET: &str = "__com.example_greet";

fn works(library: &Path) {
    works_in(Daemon::new(), library);
}

fn works_in(daemon: Daemon, library: &Path) {
    let config = "[plugins.greeter]\ngreeting = \"Welcome\"";
    let daemon = daemon.plugin(library, "greeter.so").config(config).start();
    let mut client = daemon.client();
    assert_eq!(
        client.call(GREET, json!({"name": "Ann", "times": 2})),
        json!({"lines": ["Welcome, Ann", "Welcome, Ann"]})
    );
    assert_eq!(client.error(GREET, json!({"name": ""})), "there is nobody to greet");
    assert_eq!(client.error(GREET, json!({})), "Parameter 'name' is missing");
}

#[test]
fn a_vendors_plugin_is_built_outside_of_the_workspace_and_works_with_its_drop_in() {
    let library = vendor_plugin();
    let drop_in = include_str!("../../../examples/vendor-plugin/guestd.d/50-greeter.toml");
    let daemon = Daemon::new().plugin(&library, "greeter.so");
    std::fs::create_dir(daemon.path("guestd.d")).unwrap();
    let plugins = daemon.path("plugins").display().to_string();
    let text = drop_in.replace("/opt/example/guestd-plugins", &plugins);
    assert_ne!(text, drop_in);
    std::fs::write(daemon.path("guestd.d/50-greeter.toml"), text).unwrap();
    let daemon = daemon.start();
    assert_eq!(daemon.client().call(GREET, json!({"name": "Ann"})), json!({"lines": ["Welcome, Ann"]}));
}

/// Debian's package `rustc-web` brings another compiler, and cargo, to /usr/bin.
#[test]
fn a_plugin_by_another_compiler_works() {
    let cargo = Path::new("/usr/bin/cargo");
    let version = Command::new("/usr/bin/rustc").arg("--version").output();
    let (true, Ok(version)) = (cargo.exists(), version) else {
        guestd_sdk::testkit::skip("there is no second compiler in /usr/bin (Debian: rustc-web, cargo-web)");
        return;
    };
    println!("built by {}", String::from_utf8_lossy(&version.stdout));
    works(&vendor_plugin_by("other-compiler", cargo, &[]));
}

/// The boundary as a later 1.x may have it: fields, methods and flags at the ends.
const NEWER: [(&str, &str, &str); 6] = [
    ("abi/Cargo.toml", "version = \"1.0.0\"", "version = \"1.7.0\""),
    ("abi/src/lib.rs", "\"1.0\"\n", "\"1.7\"\n"),
    ("abi/src/lib.rs", "VERSION: (u32, u32) = (1, 0)", "VERSION: (u32, u32) = (1, 7)"),
    (
        "abi/src/module.rs",
        "    pub deadline_ms: u32,\n",
        "    pub deadline_ms: u32,\n    /// Later.\n    pub later: u64,\n",
    ),
    (
        "abi/src/plugin.rs",
        "    fn stop(&self) {}\n",
        "    fn stop(&self) {}\n    /// Later.\n    fn later(&self) -> u32 {\n        7\n    }\n",
    ),
    ("sdk/src/export.rs", "deadline_ms: entry.seconds", "later: 1, deadline_ms: entry.seconds"),
];

#[test]
fn a_plugin_for_a_newer_minor_boundary_works() {
    works(&vendor_plugin_by("newer", Path::new("cargo"), &NEWER));
}

#[test]
fn a_daemon_with_a_newer_minor_boundary_has_plugins_for_the_older_one() {
    let newer = daemon_with("newer-daemon", &NEWER);
    works_in(Daemon::new().program(&newer), &vendor_plugin());
}
