//! Runs a plugin inside its own tests, without a daemon and without loading a library.
//!
//! ```ignore
//! let kit = TestKit::start(my_plugin::plugin_module())?;
//! assert_eq!(kit.call("__com.example_hello", json!({"name": "Ann"}))?, json!({"text": "Hello, Ann"}));
//! ```
//!
//! The daemon behind it keeps what the plugin told it: [`TestKit::log`], [`TestKit::frozen`]. Numbers are taken from
//! a counter in memory. Declare the dependency in `[dev-dependencies]` with `features = ["testkit"]`.

mod skip;

pub use skip::{not_here, note, ran_as_nobody, skip};

use std::sync::{Arc, Mutex, PoisonError};

use guestd_abi::abi_stable::std_types::RArc;
use guestd_abi::abi_stable::type_level::downcasting::TD_Opaque;
use guestd_abi::manifest::BY_NAME;
use guestd_abi::{
    CallError, Host, Host_TO, HostArc, LogLevel, PluginBox, PluginModRef, RResult, RStr, RString, RVec, Reply, Request,
    reply_flags, request_flags,
};
use serde_json::{Value, json};

use crate::CommandError;

/// A plugin under test and the daemon in miniature that runs it.
pub struct TestKit {
    module: PluginModRef,
    plugin: PluginBox,
    world: Arc<Mutex<World>>,
}

/// What the daemon in miniature knows.
struct World {
    config: Value,
    facts: Value,
    log: Vec<(LogLevel, String)>,
    frozen: bool,
    freeze_error: Option<String>,
    generation: u64,
    next_number: Option<u64>,
}

/// What a plugin is started with.
pub struct Settings {
    /// Its section of the configuration.
    pub config: Value,
    /// Facts about the daemon, which are put over the usual ones: `{"state-dir": "/tmp/x"}`.
    pub facts: Value,
}

impl Default for Settings {
    fn default() -> Self {
        Self { config: json!({}), facts: json!({}) }
    }
}

impl TestKit {
    /// Starts a plugin with an empty configuration.
    pub fn start(module: PluginModRef) -> Result<Self, CommandError> {
        Self::start_with(module, Settings::default())
    }

    /// Starts a plugin. The error is the one that the plugin's start returned.
    pub fn start_with(module: PluginModRef, settings: Settings) -> Result<Self, CommandError> {
        let mut facts = json!({"version": "0.0.0", "reported-version": "0.0.0"});
        if let (Some(facts), Value::Object(more)) = (facts.as_object_mut(), settings.facts) {
            facts.extend(more);
        }
        let world = Arc::new(Mutex::new(World {
            config: settings.config,
            facts,
            log: Vec::new(),
            frozen: false,
            freeze_error: None,
            generation: 0,
            next_number: None,
        }));
        let host: HostArc = Host_TO::from_ptr(RArc::new(TestHost { module, world: Arc::clone(&world) }), TD_Opaque);
        let plugin = as_result(module.start()(host))?;
        Ok(Self { module, plugin, world })
    }

    /// Calls a command by its name and returns the value of its answer.
    pub fn call(&self, command: &str, arguments: Value) -> Result<Value, CommandError> {
        let reply = self.call_raw(command, &arguments.to_string(), 0)?;
        serde_json::from_slice(&reply.body)
            .map_err(|error| CommandError::new(format!("{command} answered what is not JSON: {error}")))
    }

    /// Calls a command with the text of its arguments and a deadline in milliseconds, and returns the reply as it is.
    pub fn call_raw(&self, command: &str, arguments: &str, deadline_ms: u32) -> Result<Reply, CommandError> {
        let (index, request) = self.request(command, arguments, deadline_ms);
        compared(command, arguments, as_result(self.plugin.call(index, request)))
    }

    /// Calls an `OFTEN_INSTANT` command as the daemon does in its event loop; `None`: the request was handed back.
    ///
    /// Panics if it comes back changed, for the daemon would make the call with what it is then.
    pub fn call_in_place(&self, command: &str, arguments: Value) -> Result<Option<Reply>, CommandError> {
        let arguments = arguments.to_string();
        let (index, mut request) = self.request(command, &arguments, 0);
        request.flags = request_flags::IN_PLACE;
        let sent = request.buf.clone();
        let reply = compared(command, &arguments, as_result(self.plugin.call(index, request)))?;
        let handed_back = reply.flags & reply_flags::HANDED_BACK != 0;
        assert!(!handed_back || reply.body == sent, "a request must be handed back as it came");
        Ok((!handed_back).then_some(reply))
    }

    /// A request, and the index of its command.
    fn request(&self, command: &str, arguments: &str, deadline_ms: u32) -> (u32, Request) {
        // What is not in the table is taken for a command that comes from the configuration.
        let index = self.module.commands().iter().position(|entry| entry.name() == command);
        let head = format!("{{\"execute\": {}, \"arguments\": ", Value::from(command));
        let buf = RVec::from(format!("{head}{arguments}}}").into_bytes());
        let request = Request { buf, args_at: head.len(), args_len: arguments.len(), deadline_ms, flags: 0 };
        (index.map_or(BY_NAME, |index| index as u32), request)
    }

    /// Whether a reply would not be sent.
    pub fn is_silent(reply: &Reply) -> bool {
        reply.flags & reply_flags::SILENT != 0
    }

    /// Changes the plugin's section of the configuration and has the plugin read it.
    pub fn reload(&self, config: Value) -> Result<(), CommandError> {
        self.with_world(|world| world.config = config);
        as_result(self.plugin.reload())
    }

    /// Tells the plugin that the daemon ends.
    pub fn stop(&self) {
        self.plugin.stop();
    }

    /// Takes the log so far.
    pub fn log(&self) -> Vec<(LogLevel, String)> {
        self.with_world(|world| std::mem::take(&mut world.log))
    }

    /// Whether the plugin last said that file systems are frozen.
    pub fn frozen(&self) -> bool {
        self.with_world(|world| world.frozen)
    }

    /// Makes the daemon refuse the next closing of its gate, as when its marker cannot be written.
    pub fn refuse_freeze(&self, why: &str) {
        self.with_world(|world| world.freeze_error = Some(why.to_owned()));
    }

    /// Says that the answer of [`crate::Daemon::commands`] may have changed.
    pub fn commands_changed(&self) {
        self.with_world(|world| world.generation += 1);
    }

    fn with_world<T>(&self, use_it: impl FnOnce(&mut World) -> T) -> T {
        use_it(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The result of a call, unless it contradicts the command's schema, where there are schemas.
#[cfg(not(feature = "schema-check"))]
fn compared(_: &str, _: &str, result: Result<Reply, CommandError>) -> Result<Reply, CommandError> {
    result
}

#[cfg(feature = "schema-check")]
use crate::schema::check::exchange as compared;

fn as_result<T>(answer: RResult<T, CallError>) -> Result<T, CommandError> {
    answer.into_result().map_err(|error| {
        let class = if error.class == "CommandNotFound" { "CommandNotFound" } else { "GenericError" };
        CommandError::with_class(class, error.desc)
    })
}

#[derive(Clone)]
struct TestHost {
    module: PluginModRef,
    world: Arc<Mutex<World>>,
}

impl TestHost {
    fn with_world<T>(&self, use_it: impl FnOnce(&mut World) -> T) -> T {
        use_it(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Host for TestHost {
    fn log_level(&self) -> u8 {
        LogLevel::Trace as u8
    }

    fn log(&self, level: u8, message: RStr<'_>) {
        self.with_world(|world| world.log.push((LogLevel::from_number(level), message.to_string())));
    }

    fn config(&self) -> RString {
        self.with_world(|world| world.config.to_string().into())
    }

    fn facts(&self) -> RString {
        self.with_world(|world| world.facts.to_string().into())
    }

    fn commands_generation(&self) -> u64 {
        self.with_world(|world| world.generation)
    }

    fn commands(&self) -> RString {
        let commands: Vec<Value> = self
            .module
            .commands()
            .iter()
            .map(|entry| {
                let silent = entry.flags() & guestd_abi::command_flags::NO_SUCCESS_RESPONSE != 0;
                json!({"name": entry.name().as_str(), "set": self.module.name().as_str(), "enabled": true,
                    "success-response": !silent})
            })
            .collect();
        Value::from(commands).to_string().into()
    }

    fn frozen(&self) -> bool {
        self.with_world(|world| world.frozen)
    }

    fn set_frozen(&self, frozen: bool) -> RResult<(), CallError> {
        self.with_world(|world| match world.freeze_error.take() {
            Some(why) if frozen => RResult::RErr(CommandError::new(why).into()),
            _ => {
                world.frozen = frozen;
                RResult::ROk(())
            }
        })
    }

    fn take_numbers(&self, _: RStr<'_>, first: u64, count: u32) -> RResult<u64, CallError> {
        self.with_world(|world| {
            let next = world.next_number.unwrap_or(first);
            world.next_number = Some(next + u64::from(count));
            RResult::ROk(next)
        })
    }
}
