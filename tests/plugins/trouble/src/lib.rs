//! A plugin that does everything a plugin must not do.
#![allow(clippy::panic)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use guestd_sdk::answer::{hand_back, reply_of};
use guestd_sdk::prelude::*;
use guestd_sdk::request_flags::IN_PLACE;

/// `[plugins.trouble]`
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Trouble {
    /// What goes wrong at the start: `error`, `panic` or `hang`.
    start: String,
    #[serde(skip)]
    released: AtomicBool,
}

#[derive(Deserialize)]
struct RawArgs {
    body: String,
}

fn start(daemon: &Daemon) -> Result<Trouble, CommandError> {
    let trouble: Trouble = daemon.config()?;
    match trouble.start.as_str() {
        "error" => Err(CommandError::new("asked to fail at the start")),
        "panic" => panic!("asked to panic at the start"),
        "hang" => loop {
            thread::sleep(Duration::from_secs(1));
        },
        _ => Ok(trouble),
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

fn fine(_: &Ctx<Trouble>, _: NoArgs) -> Result<&'static str, CommandError> {
    Ok("fine")
}

guestd_sdk::plugin! {
    name: "trouble",
    vendor: "Example Ltd",
    summary: "Does what a plugin must not do",
    state: Trouble = start,
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
        "__com.example_fine" => fine,
    }
}
