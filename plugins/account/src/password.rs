//! `guest-set-user-password`: gives a user another password.

use std::time::Duration;

use guestd_sdk::prelude::*;
use guestd_sdk::{answer::Answer, args, base64};

use crate::accounts::{Accounts, NewPassword, UserKey};

/// How long it may take where the daemon sets no deadline.
const NO_DEADLINE: Duration = Duration::from_secs(20);

/// The arguments of `guest-set-user-password`.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SetArgs {
    /// The user's name.
    username: String,
    /// The password in base64: as it is typed, or its hash.
    password: String,
    /// Whether it is a hash in the form of crypt(5).
    crypted: bool,
}

/// `guest-set-user-password`. What is checked, in which order and with which words is qemu-ga's; a NUL, which chpasswd would
/// take for the end, and what cannot stand in shadow(5) are refused in addition.
pub fn set(ctx: &Ctx<Accounts>, request: Request) -> Result<Reply, CommandError> {
    let args: SetArgs = args::parse(args::text_of(&request)?)?;
    let secret = base64::decode(&args.password)?;
    if secret.iter().any(|byte| matches!(byte, b'\n' | 0)) {
        return Err(CommandError::new("forbidden characters in raw password"));
    }
    if args.username.contains([':', '\n', '\0']) {
        return Err(CommandError::new("forbidden characters in username"));
    }
    if args.crypted && !secret.iter().all(|byte| byte.is_ascii_graphic() && *byte != b':') {
        return Err(CommandError::new("forbidden characters in crypted password"));
    }
    let limit = if request.deadline_ms == 0 { NO_DEADLINE } else { Duration::from_millis(request.deadline_ms.into()) };
    let password = NewPassword { username: &args.username, secret: &secret, crypted: args.crypted };
    let _lock = ctx.state.lock(UserKey::Name(args.username.clone()))?;
    let result = ctx.state.passwords().set(&password, limit);
    match &result {
        Ok(()) => ctx.info(format_args!("the password of '{}' was set", args.username)),
        Err(error) => ctx.warn(format_args!("the password of '{}' was not set: {}", args.username, error.desc())),
    }
    result?;
    ().into_reply()
}
