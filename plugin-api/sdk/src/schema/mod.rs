//! JSON Schemas of the commands, for the command reference and for tests (feature `schema`).
//!
//! With the feature, [`plugin!`](crate::plugin) also lists what each command takes and answers. It costs a plugin's author
//! a derive and a doc comment:
//!
//! ```ignore
//! #[derive(Deserialize)]
//! #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
//! struct GreetArgs {
//!     /// Who is to be greeted.
//!     name: String,
//! }
//! ```
//!
//! A command whose types do not derive it has no schema, and builds all the same. A `raw` command names its types behind
//! the function: `=> raw greet as fn(GreetArgs) -> Greeting`, where `NoArgs` and `Silent` need no import. Nothing of this is in a library that is built without the
//! feature.

#[cfg(feature = "schema-check")]
pub mod check;
mod make;

use std::marker::PhantomData;

use schemars::{JsonSchema, Schema};

use crate::{CommandError, Ctx};

/// The schemas of a set, as `plugin!` declares them.
pub struct SetSchemas {
    /// The set's name.
    pub set: &'static str,
    /// Its commands, in the order of the table.
    pub commands: &'static [CommandSchemas],
}

/// A command.
pub struct CommandSchemas {
    /// The name on the wire.
    pub name: &'static str,
    /// Makes the schemas; `None` where a type has none.
    pub make: fn() -> Option<Schemas>,
}

/// What a command takes and answers, as JSON Schema (draft 2020-12). Types that occur in it are in its `$defs`.
///
/// Both are strict: no member may be there that the schema does not name.
#[derive(Debug, Clone)]
pub struct Schemas {
    /// The arguments: an object, whose members are the arguments.
    pub arguments: Schema,
    /// The answer; `false` where a success is not answered.
    pub answer: Schema,
}

inventory::collect!(SetSchemas);

/// The schemas of the command sets of this program, in no particular order.
pub fn sets() -> impl Iterator<Item = &'static SetSchemas> {
    inventory::iter::<SetSchemas>.into_iter()
}

/// The types of a command. `types` below is one method for types with a schema and another for all others.
pub struct Probe<A, R>(PhantomData<(A, R)>);

impl<A, R> Probe<A, R> {
    /// Of types that are named.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(PhantomData)
    }

    /// Of the types that a command has.
    pub fn of<S>(_: impl FnOnce(&Ctx<S>, A) -> Result<R, CommandError>) -> Self {
        Self(PhantomData)
    }
}

impl<A: JsonSchema, R: JsonSchema> Probe<A, R> {
    /// Their schemas.
    pub fn schemas(&self) -> Option<Schemas> {
        Some(Schemas { arguments: make::arguments::<A>(), answer: make::answer::<R>() })
    }
}

/// For types without a schema: a method of the type itself comes before that of a trait, where it can be called at all.
pub trait Without {
    /// Nothing.
    fn schemas(&self) -> Option<Schemas> {
        None
    }
}

impl<A, R> Without for Probe<A, R> {}

/// The part of `plugin!` that this feature adds.
#[doc(hidden)]
#[macro_export]
macro_rules! schemas {
    ($set:literal, $({$command:literal, $form:ident, $handler:path, [$($args:ty, $answer:ty)?]})*) => {
        const _: () = {
            // The last two are what the types of a `raw` command may be without an import of their own.
            #[allow(unused_imports)]
            use $crate::{answer::Silent, args::NoArgs, schema::Without as _};

            $crate::export::inventory::submit! {
                $crate::schema::SetSchemas {
                    set: $set,
                    commands: &[$($crate::schema::CommandSchemas {
                        name: $command,
                        make: || $crate::schemas!(@make $form, $handler, [$($args, $answer)?]),
                    },)*],
                }
            }
        };
    };
    (@make typed, $handler:path, []) => { $crate::schema::Probe::of($handler).schemas() };
    (@make raw, $handler:path, []) => { ::core::option::Option::None };
    (@make raw, $handler:path, [$args:ty, $answer:ty]) => { $crate::schema::Probe::<$args, $answer>::new().schemas() };
}
