//! Which names a set may give its commands.

use guestd_abi::manifest::Manifest;

/// The vendor of the stock sets: theirs are the names of QEMU's commands and of guestd's own.
pub const STOCK_VENDOR: &str = "guestd";

/// The beginning of guestd's own extensions.
const OWN_PREFIX: &str = "__org.guestd_";

/// Checks the names of a set's commands. A vendor's are `__RFQDN_name`, QEMU's rule for downstream extensions of
/// its protocols (docs/devel/qapi-code-gen, "Downstream extensions"); with `may_override` it may take QEMU's too.
pub fn check(manifest: &Manifest, may_override: bool) -> Result<(), String> {
    if manifest.commands.is_empty() && manifest.commands_from.is_none() {
        return Err("has no commands".to_owned());
    }
    let stock = manifest.vendor == STOCK_VENDOR;
    for command in &manifest.commands {
        let name = command.name.as_str();
        if is_standard(name) || name.starts_with(OWN_PREFIX) {
            if !stock && !may_override {
                return Err(format!(
                    "claims {name:?}, which is not its own to give: only the stock sets may, unless [plugins] override lists {:?}",
                    manifest.name
                ));
            }
        } else if !is_vendors(name) {
            return Err(format!("names a command {name:?}; a vendor's are spelt __com.example_name"));
        }
    }
    Ok(())
}

fn is_standard(name: &str) -> bool {
    name.strip_prefix("guest-").is_some_and(is_word)
}

/// Checks the name of a command that comes from the configuration.
pub fn check_configured(name: &str) -> Result<(), String> {
    if is_vendors(name) && !name.starts_with(OWN_PREFIX) {
        return Ok(());
    }
    Err(format!("names a command {name:?}; it must be spelt __com.example_name"))
}

/// `__`, a reversed domain name with at least one dot, `_`, a word.
fn is_vendors(name: &str) -> bool {
    let Some((domain, word)) = name.strip_prefix("__").and_then(|rest| rest.split_once('_')) else { return false };
    domain.contains('.') && domain.split('.').all(is_word) && is_word(word)
}

fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= 128 && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use guestd_abi::manifest::ManifestCommand;

    fn manifest(vendor: &str, commands: &[&str]) -> Manifest {
        let commands = commands.iter().map(|name| ManifestCommand { name: (*name).into(), flags: 0, deadline_ms: 0 });
        Manifest {
            abi: (1, 0),
            name: "x".into(),
            version: "1".into(),
            vendor: vendor.into(),
            summary: String::new(),
            capabilities: Vec::new(),
            commands: commands.collect(),
            commands_from: None,
            start_if: None,
            overdue_limit: 1,
        }
    }

    #[test]
    fn each_party_has_its_names() {
        for (vendor, name, may_override, good) in [
            ("guestd", "guest-ping", false, true),
            ("guestd", "__org.guestd_report", false, true),
            ("Example", "__com.example_hello", false, true),
            ("Example", "__com.example_hello_world", false, true),
            ("Example", "guest-ping", false, false),
            ("Example", "guest-ping", true, true),
            ("Example", "__org.guestd_report", false, false),
            ("Example", "hello", true, false),
            ("Example", "__example_hello", false, false),
            ("Example", "__com.example_", false, false),
            ("Example", "__com..example_x", false, false),
            ("Example", "guest-", true, false),
            ("Example", "__com.example_a b", false, false),
        ] {
            assert_eq!(check(&manifest(vendor, &[name]), may_override).is_ok(), good, "{vendor} {name}");
        }
        assert!(check(&manifest("guestd", &[]), false).is_err());
    }
}
