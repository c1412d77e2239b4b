//! `guest-ssh-get-authorized-keys`, `guest-ssh-add-authorized-keys`, `guest-ssh-remove-authorized-keys`: the keys that
//! a user may log in with.

use std::time::{Duration, Instant};

use guestd_sdk::prelude::*;
use guestd_sdk::{answer::Answer, args};

use crate::accounts::Accounts;
use crate::authorized_keys;
use crate::key_file::{self, KeyFile, SIZE_LIMIT, path_of};
use crate::replace::{Outcome, replace};
use crate::users::User;

/// How long a change may take where the daemon sets no deadline.
const NO_DEADLINE: Duration = Duration::from_secs(60);

/// How often a change is begun anew because somebody else has changed the file meanwhile.
const ATTEMPTS: usize = 5;

/// The arguments of `guest-ssh-get-authorized-keys`.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GetArgs {
    /// The user's name.
    username: String,
}

/// QEMU's `GuestAuthorizedKeys`.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Keys {
    /// The keys, a line of the file each.
    keys: Vec<String>,
}

/// The arguments of `guest-ssh-add-authorized-keys`.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AddArgs {
    /// The user's name.
    username: String,
    /// The keys to add, a line each.
    keys: Vec<String>,
    /// Whether the keys that are there are to go; false if absent.
    reset: Option<bool>,
}

/// The arguments of `guest-ssh-remove-authorized-keys`.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RemoveArgs {
    /// The user's name.
    username: String,
    /// The keys to remove, a line each.
    keys: Vec<String>,
}

/// `guest-ssh-get-authorized-keys`: the keys of a user. A user without a key file is an error, as in qemu-ga.
pub fn get(ctx: &Ctx<Accounts>, args: GetArgs) -> Result<Keys, CommandError> {
    let (user, _locks) = ctx.state.user(&args.username)?;
    match key_file::read(&user)?.content {
        Some(content) => Ok(Keys { keys: authorized_keys::list(&content.text) }),
        None => Err(key_file::missing(&user)),
    }
}

/// `guest-ssh-add-authorized-keys`: adds the keys that a user does not have yet, and makes the file if there is none.
pub fn add(ctx: &Ctx<Accounts>, request: Request) -> Result<Reply, CommandError> {
    let until = end_of(&request);
    let args: AddArgs = args::parse(args::text_of(&request)?)?;
    authorized_keys::check(&args.keys)?;
    let (user, _locks) = ctx.state.user(&args.username)?;
    change(&user, until, |text| match (args.reset, text) {
        (Some(true), _) | (_, None) => Some(authorized_keys::with(b"", &args.keys).unwrap_or_default()),
        (_, Some(text)) => authorized_keys::with(text, &args.keys),
    })?;
    let (count, reset) = (args.keys.len(), if args.reset == Some(true) { ", and no others" } else { "" });
    ctx.info(format_args!("{} ssh keys are authorized for '{}'{reset}", count, args.username));
    ().into_reply()
}

/// `guest-ssh-remove-authorized-keys`: removes keys of a user. A key that is not there is no error.
pub fn remove(ctx: &Ctx<Accounts>, request: Request) -> Result<Reply, CommandError> {
    let until = end_of(&request);
    let args: RemoveArgs = args::parse(args::text_of(&request)?)?;
    authorized_keys::check(&args.keys)?;
    let (user, _locks) = ctx.state.user(&args.username)?;
    change(&user, until, |text| authorized_keys::without(text?, &args.keys))?;
    ctx.info(format_args!("{} ssh keys are not authorized any more for '{}'", args.keys.len(), args.username));
    ().into_reply()
}

/// The moment after which the client has been told that its call failed.
fn end_of(request: &Request) -> Instant {
    let limit = Duration::from_millis(request.deadline_ms.into());
    Instant::now() + if limit.is_zero() { NO_DEADLINE } else { limit }
}

/// Replaces the text of a user's key file by what `edit` makes of it; `None` there is a file that does not exist, and here
/// one that is right as it is.
fn change(user: &User, until: Instant, edit: impl Fn(Option<&[u8]>) -> Option<Vec<u8>>) -> Result<(), CommandError> {
    for _ in 0..ATTEMPTS {
        let found: KeyFile = key_file::read(user)?;
        let Some(text) = edit(found.content.as_ref().map(|content| content.text.as_slice())) else { return Ok(()) };
        if text.len() > SIZE_LIMIT {
            let (path, limit) = (path_of(user), SIZE_LIMIT >> 20);
            return Err(CommandError::new(format!("'{}' would be larger than {limit} MiB", path.display())));
        }
        if replace(user, found, &text, || Instant::now() < until)? == Outcome::Done {
            return Ok(());
        }
    }
    let path = path_of(user);
    Err(CommandError::new(format!("'{}' is being changed by somebody else all the time", path.display())))
}
