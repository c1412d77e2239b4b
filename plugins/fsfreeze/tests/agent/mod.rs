//! The set in the sdk's test kit, on the real kernel; only for use in a private root.

use std::fs;
use std::path::Path;

use guestd_sdk::testkit::{Settings, TestKit};
use serde_json::{Value, json};

use crate::private::{mounts, sh_in};

/// Starts the set so that it sees nothing but what lies in the test's directory.
pub fn start(base: &Path, config: Value) -> TestKit {
    let mut config = config;
    config["include"] = json!([format!("{}/**", base.display())]);
    let run_dir = base.join("run");
    fs::create_dir_all(&run_dir).unwrap();
    if !mounts().contains(run_dir.to_str().unwrap()) {
        sh_in(base, "mount -t tmpfs -o mode=700 none run");
    }
    let settings = Settings { config, facts: json!({"run-dir": run_dir}) };
    TestKit::start_with(guestd_fsfreeze::plugin_module(), settings).unwrap_or_else(|error| panic!("{}", error.desc()))
}

pub fn call(kit: &TestKit, command: &str) -> Result<Value, String> {
    kit.call(command, json!({})).map_err(|error| error.desc().to_owned())
}
