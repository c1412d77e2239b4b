//! `guest-set-user-password`: gives a user another password.

use std::time::Duration;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use guestd_sdk::prelude::*;
use guestd_sdk::{answer::Answer, args};

use crate::accounts::{Accounts, NewPassword};

/// How long it may take where the daemon sets no deadline.
const NO_DEADLINE: Duration = Duration::from_secs(20);

/// RFC 4648's alphabet and padding; bits that no byte needs are ignored, as qemu-ga does.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

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
    let secret = decode(&args.password)?;
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
    let result = ctx.state.passwords().set(&password, limit);
    match &result {
        Ok(()) => ctx.info(format_args!("the password of '{}' was set", args.username)),
        Err(error) => ctx.warn(format_args!("the password of '{}' was not set: {}", args.username, error.desc())),
    }
    result?;
    ().into_reply()
}

/// Decodes base64; line feeds in it are left out.
fn decode(text: &str) -> Result<Vec<u8>, CommandError> {
    let text: Vec<u8> = text.bytes().filter(|&byte| byte != b'\n').collect();
    let alphabet = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=');
    if !text.len().is_multiple_of(4) && text.iter().all(alphabet) {
        return Err(CommandError::new("Base64 data is incomplete"));
    }
    BASE64.decode(text).map_err(|_| CommandError::new("Base64 data contains invalid characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_come_in_base64() {
        for (text, bytes) in [("", ""), ("cHc=", "pw"), ("cH\nc=\n", "pw"), ("cHd=", "pw"), ("w6k=", "é")] {
            assert_eq!(decode(text).unwrap(), bytes.as_bytes(), "{text}");
        }
        for text in ["!!", "!", "cH c=", "cHc=cHc=", "c===", "é"] {
            assert_eq!(decode(text).unwrap_err().desc(), "Base64 data contains invalid characters", "{text}");
        }
        for text in ["c", "cH", "cHc", "cHc=c"] {
            assert_eq!(decode(text).unwrap_err().desc(), "Base64 data is incomplete", "{text}");
        }
    }
}
