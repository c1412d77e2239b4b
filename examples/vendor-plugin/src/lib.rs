//! A vendor's command set: one command, which greets.
use guestd_sdk::prelude::*;

/// The set's section of the configuration, `[plugins.greeter]`.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Greeter {
    greeting: String,
}

impl Default for Greeter {
    fn default() -> Self {
        Self { greeting: "Hello".to_owned() }
    }
}

#[derive(Deserialize)]
struct GreetArgs<'a> {
    name: &'a str,
    times: Option<u8>,
}

#[derive(Serialize)]
struct Greeting {
    lines: Vec<String>,
}

fn greet(ctx: &Ctx<Greeter>, args: GreetArgs<'_>) -> Result<Greeting, CommandError> {
    if args.name.is_empty() {
        return Err(CommandError::new("there is nobody to greet"));
    }
    let line = format!("{}, {}", ctx.state.greeting, args.name);
    Ok(Greeting { lines: vec![line; args.times.unwrap_or(1).into()] })
}

guestd_sdk::plugin! {
    name: "greeter",
    vendor: "Example Ltd",
    summary: "Greets",
    state: Greeter = |daemon| daemon.config(),
    commands: { "__com.example_greet" [FREEZE_SAFE] within 5 => greet }
}
