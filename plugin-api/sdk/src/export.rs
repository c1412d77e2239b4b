//! What [`plugin!`](crate::plugin) expands to calls of: the panic guard and the table of commands.
//! Not for direct use; it may change with every version of this crate.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::OnceLock;

use guestd_abi::abi_stable::prefix_type::PrefixTypeTrait;
use guestd_abi::abi_stable::type_level::downcasting::TD_Opaque;
use guestd_abi::{
    CallError, Command, CommandRef, HostArc, LogLevel, PANIC_CLASS, Plugin, Plugin_TO, PluginBox, PluginMod,
    PluginModRef, RResult, RSlice, Reply, Request,
};
use serde::Deserialize;

use crate::answer::Answer;
use crate::{CommandError, Ctx, Daemon, args};

use guestd_abi::manifest::BY_NAME;
pub use guestd_abi::manifest::Note;
pub use inventory;

/// One line of a plugin's table.
pub struct Entry<S> {
    /// The name on the wire.
    pub name: &'static str,
    /// A set of [`crate::flags`].
    pub flags: u32,
    /// The deadline in seconds; 0: the daemon's default.
    pub seconds: u32,
    /// The command.
    pub run: fn(&Ctx<S>, Request) -> Result<Reply, CommandError>,
}

/// What the macro implements for a plugin.
pub trait Declared: 'static {
    /// What commands share.
    type State: Send + Sync + 'static;
    /// The set's name.
    const NAME: &'static str;
    /// The set's version.
    const VERSION: &'static str;
    /// The set's commands.
    const COMMANDS: &'static [Entry<Self::State>];

    /// Makes the state.
    fn state(daemon: &Daemon) -> Result<Self::State, CommandError>;

    /// Carries out a command that comes from the configuration.
    fn by_name(_: &Ctx<Self::State>, name: &str, _: Request) -> Result<Reply, CommandError> {
        Err(CommandError::new(format!("the set has no command {name}")))
    }

    /// The configuration was read again.
    fn reload(_: &Ctx<Self::State>) -> Result<(), CommandError> {
        Ok(())
    }

    /// The daemon is about to end.
    fn stop(_: &Ctx<Self::State>) {}
}

/// Carries out a command with typed arguments, which may borrow from the request.
pub fn typed<'r, S, A: Deserialize<'r>, R: Answer>(
    ctx: &Ctx<S>,
    request: &'r Request,
    command: impl FnOnce(&Ctx<S>, A) -> Result<R, CommandError>,
) -> Result<Reply, CommandError> {
    command(ctx, args::parse(args::text_of(request)?)?)?.into_reply()
}

/// Carries out a command that takes the request as it is.
pub fn raw<S>(
    ctx: &Ctx<S>,
    request: Request,
    command: impl FnOnce(&Ctx<S>, Request) -> Result<Reply, CommandError>,
) -> Result<Reply, CommandError> {
    command(ctx, request)
}

/// The root module of a plugin. Its tables are made once and live as long as the process.
pub fn module<P: Declared>() -> PluginModRef {
    let commands: Vec<CommandRef> = P::COMMANDS
        .iter()
        .map(|entry| {
            Command { name: entry.name.into(), flags: entry.flags, deadline_ms: entry.seconds.saturating_mul(1000) }
                .leak_into_prefix()
        })
        .collect();
    PluginMod {
        name: P::NAME.into(),
        version: P::VERSION.into(),
        unwinds: cfg!(panic = "unwind"),
        commands: RSlice::from_slice(commands.leak()),
        start: start::<P>,
    }
    .leak_into_prefix()
}

/// Where this library's panics are logged: each library has a panic hook of its own.
static DAEMON: OnceLock<Daemon> = OnceLock::new();

pub(crate) fn log_panic(info: &panic::PanicHookInfo<'_>) {
    if let Some(daemon) = DAEMON.get() {
        let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
        let text = payload_text(info.payload()).replace('\n', "; ");
        daemon.log(LogLevel::Error, format_args!("panicked{place}: {text}"));
    }
}

fn payload_text(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no text",
    }
}

extern "C" fn start<P: Declared>(host: HostArc) -> RResult<PluginBox, CallError> {
    let daemon = Daemon::new(host);
    let _ = DAEMON.set(daemon.clone());
    let made = guard("start", || {
        let state = P::state(&daemon)?;
        Ok(Plugin_TO::from_value(Started::<P>(Ctx::new(state, daemon.clone())), TD_Opaque))
    });
    made.into()
}

/// Runs `body` and turns its panic into an error: no panic may cross the boundary.
fn guard<T>(what: &str, body: impl FnOnce() -> Result<T, CommandError>) -> Result<T, CallError> {
    match panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result.map_err(CallError::from),
        Err(payload) => {
            let error = CommandError::with_class(PANIC_CLASS, format!("{what} panicked: {}", payload_text(&*payload)));
            // A payload's own destructor may panic as well.
            std::mem::forget(payload);
            Err(error.into())
        }
    }
}

/// The name of the command that a request is for.
fn name_of(request: &Request) -> Option<String> {
    let members = args::members(&request.buf)?;
    let name = members.iter().find(|member| member.key == "execute")?.value;
    serde_json::from_slice(name).ok()
}

struct Started<P: Declared>(Ctx<P::State>);

impl<P: Declared> Plugin for Started<P> {
    fn call(&self, index: u32, request: Request) -> RResult<Reply, CallError> {
        if index == BY_NAME {
            return match name_of(&request) {
                Some(name) => guard(&name, || P::by_name(&self.0, &name, request)).into(),
                None => RResult::RErr(CommandError::new("the request names no command").into()),
            };
        }
        let Some(entry) = P::COMMANDS.get(index as usize) else {
            return RResult::RErr(CommandError::new(format!("the set has no command number {index}")).into());
        };
        guard(entry.name, || (entry.run)(&self.0, request)).into()
    }

    fn reload(&self) -> RResult<(), CallError> {
        guard("reload", || P::reload(&self.0)).into()
    }

    fn stop(&self) {
        // A failed stop has been logged by the panic hook, and nobody waits for its result.
        let _ = guard("stop", || {
            P::stop(&self.0);
            Ok(())
        });
    }
}

/// Declares a plugin: the table of commands, the manifest in the ELF note, the root module, the panic guard. A library
/// has one; a program may link several, see [`root`](crate::root).
///
/// ```text
/// guestd_sdk::plugin! {
///     name: "hello",                          // [a-z][a-z0-9-]*; the configuration's section is [plugins.hello]
///     vendor: "Example Ltd",
///     summary: "Says hello",                  // one line
///     capabilities: [CAP_SYS_ADMIN],          // optional: what capabilities(7) the commands need
///     state: Hello = Hello::start,            // a type, and fn(&Daemon) -> Result<Hello, CommandError>
///     reload: Hello::reload,                  // optional: fn(&Ctx<Hello>) -> Result<(), CommandError>
///     stop: Hello::stop,                      // optional: fn(&Ctx<Hello>)
///     start_if: "watch",                      // optional: start with the daemon if the section has this key
///     by_name: ("commands", Hello::by_name),  // optional: the keys of this table in the section are commands too
///     overdue_limit: 8,                       // optional: the set is busy when so many calls hang; 1 without it
///     commands: {
///         "__com.example_hello" => hello,
///         "__com.example_now" [INSTANT, FREEZE_SAFE] => now,
///         "__com.example_bulk" [FREEZE_SAFE] within 60 => raw bulk as fn(BulkArgs) -> Bulk,
///     }
/// }
/// ```
///
/// A command is `fn(&Ctx<State>, Args) -> Result<Answer, CommandError>`, where `Args` is any type that serde can
/// deserialize from an object and that may borrow ([`args::NoArgs`](crate::args::NoArgs): there are none), and
/// `Answer` is an [`Answer`](crate::answer::Answer). After `raw` the function gets the [`Request`](crate::Request) as it came and returns the
/// [`Reply`](crate::Reply) itself; `as fn(Args) -> Answer` says what they hold, for the command's schema, and may be left
/// out. Flags are those of [`flags`](crate::flags); `within` is the deadline in seconds. `OFTEN_INSTANT` needs a `raw` command,
/// which hands the request back by [`hand_back`](crate::answer::hand_back). The version is the crate's.
///
/// It also defines `plugin_module()`, which the test kit takes. A crate built with `panic = "abort"` is refused.
#[macro_export]
macro_rules! plugin {
    (
        name: $name:literal,
        vendor: $vendor:literal,
        summary: $summary:literal,
        $(capabilities: [$($capability:ident),* $(,)?],)?
        state: $state:ty = $start:expr,
        $(reload: $reload:expr,)?
        $(stop: $stop:expr,)?
        $(start_if: $start_if:literal,)?
        $(by_name: ($table:literal, $by_name:expr),)?
        $(overdue_limit: $overdue_limit:literal,)?
        commands: { $($commands:tt)* } $(,)?
    ) => {
        $crate::plugin! {
            @commands
            [$name, $vendor, $summary, [$($($capability),*)?], $state, $start, [$($reload)?], [$($stop)?],
                [$($start_if)?], [$($table, $by_name)?], [$($overdue_limit)?]]
            [] $($commands)*
        }
    };

    (@commands $head:tt [$($done:tt)*]
        $command:literal $([$($flag:ident),* $(,)?])? $(within $seconds:literal)? => raw $handler:path
        $(as fn($args:ty) -> $answer:ty)?
        $(, $($rest:tt)*)?
    ) => {
        $crate::plugin! { @commands $head
            [$($done)* {$command, [$($($flag)*)?], [$($seconds)?], raw, $handler, [$($args, $answer)?]}] $($($rest)*)? }
    };
    (@commands $head:tt [$($done:tt)*]
        $command:literal $([$($flag:ident),* $(,)?])? $(within $seconds:literal)? => $handler:path
        $(, $($rest:tt)*)?
    ) => {
        $crate::plugin! { @commands $head
            [$($done)* {$command, [$($($flag)*)?], [$($seconds)?], typed, $handler, []}] $($($rest)*)? }
    };
    (@commands
        [$name:literal, $vendor:literal, $summary:literal, [$($capability:ident),*], $state:ty, $start:expr,
            [$($reload:expr)?], [$($stop:expr)?], [$($start_if:literal)?], [$($table:literal, $by_name:expr)?],
            [$($overdue_limit:literal)?]]
        [$({$command:literal, [$($flag:ident)*], [$($seconds:literal)?], $form:ident, $handler:path,
            $types:tt})*]
    ) => {
        #[cfg(panic = "abort")]
        compile_error!("a guestd plugin must be built with panic = \"unwind\": its panics would end the daemon");

        /// The plugin, as the macro declared it.
        struct GuestdPlugin;

        impl $crate::export::Declared for GuestdPlugin {
            type State = $state;
            const NAME: &'static str = $name;
            const VERSION: &'static str = env!("CARGO_PKG_VERSION");
            const COMMANDS: &'static [$crate::export::Entry<$state>] = &[$(
                $crate::export::Entry {
                    name: $command,
                    flags: 0 $(| $crate::flags::$flag)*,
                    seconds: 0 $(+ $seconds)?,
                    run: |ctx, request| $crate::plugin!(@call $form, ctx, request, $handler),
                },
            )*];

            fn state(daemon: &$crate::Daemon) -> ::core::result::Result<$state, $crate::CommandError> {
                let start: fn(&$crate::Daemon) -> ::core::result::Result<$state, $crate::CommandError> = $start;
                start(daemon)
            }

            $(fn by_name(
                ctx: &$crate::Ctx<$state>,
                name: &str,
                request: $crate::Request,
            ) -> ::core::result::Result<$crate::Reply, $crate::CommandError> {
                let by_name: fn(
                    &$crate::Ctx<$state>,
                    &str,
                    $crate::Request,
                ) -> ::core::result::Result<$crate::Reply, $crate::CommandError> = $by_name;
                by_name(ctx, name, request)
            })?

            $(fn reload(ctx: &$crate::Ctx<$state>) -> ::core::result::Result<(), $crate::CommandError> {
                let reload: fn(&$crate::Ctx<$state>) -> ::core::result::Result<(), $crate::CommandError> = $reload;
                reload(ctx)
            })?

            $(fn stop(ctx: &$crate::Ctx<$state>) {
                let stop: fn(&$crate::Ctx<$state>) = $stop;
                stop(ctx)
            })?
        }

        /// The plugin's root module, for the test kit.
        #[doc(hidden)]
        pub fn plugin_module() -> $crate::abi::PluginModRef {
            $crate::export::module::<GuestdPlugin>()
        }

        $crate::schemas! { $name, $({$command, $form, $handler, $types})* }

        #[allow(unsafe_code)]
        const _: () = {
            const MANIFEST: &str = concat!(
                "guestd-plugin 1\nabi ", $crate::abi::version!(),
                "\nname ", $name,
                "\nversion ", env!("CARGO_PKG_VERSION"),
                "\nvendor ", $vendor,
                "\nsummary ", $summary,
                $("\ncapability ", stringify!($capability),)*
                $("\nstart-if ", $start_if,)?
                $("\ncommands-from ", $table,)?
                $("\noverdue-limit ", $overdue_limit,)?
                $("\ncommand ", $command, " ", $crate::plugin!(@seconds $($seconds)?) $(, " ", stringify!($flag))*,)*
                "\n"
            );

            // SAFETY: the section holds notes and nothing else, and `Note` is laid out as one.
            #[unsafe(link_section = ".note.guestd")]
            #[used]
            static NOTE: $crate::export::Note<{ MANIFEST.len() }> = $crate::export::Note::new(MANIFEST);

            $crate::export::inventory::submit! {
                $crate::root::Set { manifest: NOTE.text(), module: plugin_module }
            }
        };
    };

    (@call typed, $ctx:ident, $request:ident, $handler:path) => {
        $crate::export::typed($ctx, &$request, $handler)
    };
    (@call raw, $ctx:ident, $request:ident, $handler:path) => {
        $crate::export::raw($ctx, $request, $handler)
    };
    (@seconds) => { "0" };
    (@seconds $seconds:literal) => { stringify!($seconds) };
}
