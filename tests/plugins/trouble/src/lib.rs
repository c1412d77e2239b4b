//! A plugin that does everything a plugin must not do.
#![allow(clippy::panic)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use guestd_sdk::answer::{hand_back, reply_of};
use guestd_sdk::prelude::*;
use guestd_sdk::request_flags::IN_PLACE;

/// `[plugins.trouble]`
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Trouble {
    /// What goes wrong at the start: `error`, `panic` or `hang`. A path: it waits until there is such a file.
    start: String,
    /// The same at a reload.
    reload: String,
    #[serde(skip)]
    released: AtomicBool,
    #[serde(skip)]
    counted: AtomicU32,
}

#[derive(Deserialize)]
struct RawArgs {
    body: String,
}

fn start(daemon: &Daemon) -> Result<Trouble, CommandError> {
    let trouble: Trouble = daemon.config()?;
    go_wrong(&trouble.start, "start").map(|()| trouble)
}

fn reload(ctx: &Ctx<Trouble>) -> Result<(), CommandError> {
    go_wrong(&ctx.config::<Trouble>()?.reload, "reload")
}

fn go_wrong(how: &str, when: &str) -> Result<(), CommandError> {
    match how {
        "error" => Err(CommandError::new(format!("asked to fail at the {when}"))),
        "panic" => panic!("asked to panic at the {when}"),
        "hang" => loop {
            thread::sleep(Duration::from_secs(1));
        },
        path if path.starts_with('/') => {
            while !Path::new(path).exists() {
                thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Hangs until `release` is called.
fn hang(ctx: &Ctx<Trouble>, _: NoArgs) -> Result<&'static str, CommandError> {
    while !ctx.state.released.load(Ordering::Acquire) {
        thread::sleep(Duration::from_millis(5));
    }
    Ok("released")
}

/// Lets `hang` go. It is instant, so that it is answered though the set is busy.
fn release(ctx: &Ctx<Trouble>, _: NoArgs) -> Result<(), CommandError> {
    ctx.state.released.store(true, Ordering::Release);
    Ok(())
}

fn panics(_: &Ctx<Trouble>, _: NoArgs) -> Result<(), CommandError> {
    panic!("asked to\npanic")
}

/// Answers with `body`, whatever it is.
fn raw(_: &Ctx<Trouble>, request: Request) -> Result<Reply, CommandError> {
    let args: RawArgs = guestd_sdk::args::parse(guestd_sdk::args::text_of(&request)?)?;
    Ok(reply_of(args.body.into_bytes()))
}

/// Hands its request back, as if it had to wait, but only in place, or always.
fn hands_back(_: &Ctx<Trouble>, request: Request) -> Result<Reply, CommandError> {
    match request.flags & IN_PLACE {
        0 => Ok(reply_of(br#""on a worker""#.to_vec())),
        _ => Ok(hand_back(request)),
    }
}

fn always_hands_back(_: &Ctx<Trouble>, request: Request) -> Result<Reply, CommandError> {
    Ok(hand_back(request))
}

#[derive(Deserialize)]
struct LargeArgs {
    mebibytes: usize,
}

/// Answers with a string of that length.
fn large(_: &Ctx<Trouble>, request: Request) -> Result<Reply, CommandError> {
    let args: LargeArgs = guestd_sdk::args::parse(guestd_sdk::args::text_of(&request)?)?;
    let mut body = vec![b'x'; args.mebibytes << 20];
    body.insert(0, b'"');
    body.push(b'"');
    Ok(reply_of(body))
}

/// Counts its calls.
fn count(ctx: &Ctx<Trouble>, _: NoArgs) -> Result<u32, CommandError> {
    Ok(ctx.state.counted.fetch_add(1, Ordering::AcqRel) + 1)
}

fn counted(ctx: &Ctx<Trouble>, _: NoArgs) -> Result<u32, CommandError> {
    Ok(ctx.state.counted.load(Ordering::Acquire))
}

/// Answers how long it may take, in milliseconds.
fn deadline(_: &Ctx<Trouble>, request: Request) -> Result<Reply, CommandError> {
    Ok(reply_of(request.deadline_ms.to_string().into_bytes()))
}

/// Closes the daemon's gate and freezes nothing.
fn freeze(ctx: &Ctx<Trouble>, _: NoArgs) -> Result<(), CommandError> {
    ctx.set_frozen(true)
}

fn thaw(ctx: &Ctx<Trouble>, _: NoArgs) -> Result<(), CommandError> {
    ctx.set_frozen(false)
}

fn fine(_: &Ctx<Trouble>, _: NoArgs) -> Result<&'static str, CommandError> {
    Ok("fine")
}

guestd_sdk::plugin! {
    name: "trouble",
    vendor: "Example Ltd",
    summary: "Does what a plugin must not do",
    state: Trouble = start,
    reload: reload,
    commands: {
        "__com.example_hang" within 1 => hang,
        "__com.example_hang-long" within 60 => hang,
        "__com.example_release" [INSTANT] => release,
        "__com.example_panic" => panics,
        "__com.example_panic-instant" [INSTANT] => panics,
        "__com.example_raw" => raw raw,
        "__com.example_hand-back" [OFTEN_INSTANT] => raw hands_back,
        "__com.example_hand-back-always" [OFTEN_INSTANT] => raw always_hands_back,
        "__com.example_hand-back-instant" [INSTANT] => raw always_hands_back,
        "__com.example_large" => raw large,
        "__com.example_count" => count,
        "__com.example_counted" [INSTANT] => counted,
        "__com.example_deadline" within 600 => raw deadline,
        "__com.example_freeze" => freeze,
        "__com.example_thaw" [FREEZE_SAFE] => thaw,
        "__com.example_fine" => fine,
        "__com.example_fine-frozen" [INSTANT, FREEZE_SAFE] => fine,
        "__com.example_fine-own" [OWN_THREAD] => fine,
    }
}
