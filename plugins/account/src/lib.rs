#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]
//! The command set `account`: passwords, and the keys that a user may log in with by ssh.
//!
//! * `password` is `guest-set-user-password`; `chpasswd` sets the password, by the program of that name,
//! * `ssh` are the `guest-ssh-*-authorized-keys` commands; `authorized_keys` is the format of the file they work
//!   on, `key_file` the way to it and its replacement, which trust nothing in the user's home directory,
//! * `users` looks users up, `identity` lends a thread a user's rights,
//! * `rehearsal` stands in for the guest's users and passwords in tests.

mod accounts;
mod authorized_keys;
mod chpasswd;
mod config;
mod identity;
mod key_file;
mod password;
mod rehearsal;
mod replace;
mod ssh;
mod users;

use accounts::Accounts;

// chpasswd(8) has 15 s: PAM waits some seconds after a failure, and a directory service may have to be asked.
guestd_sdk::plugin! {
    name: "account",
    vendor: "guestd",
    summary: "Set passwords and manage the keys for ssh logins",
    capabilities: [CAP_AUDIT_WRITE, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_SETGID, CAP_SETUID],
    state: Accounts = Accounts::start,
    overdue_limit: 8,
    commands: {
        "guest-set-user-password" within 20 => raw password::set as fn(password::SetArgs) -> (),
        "guest-ssh-get-authorized-keys" => ssh::get,
        "guest-ssh-add-authorized-keys" => raw ssh::add as fn(ssh::AddArgs) -> (),
        "guest-ssh-remove-authorized-keys" => raw ssh::remove as fn(ssh::RemoveArgs) -> (),
    }
}
