//! A library with two command sets, which the daemon must refuse: a library has one.

/// A set.
pub mod one {
    use guestd_sdk::prelude::*;

    fn one(_: &Ctx<()>, _: NoArgs) -> Result<i64, CommandError> {
        Ok(1)
    }

    guestd_sdk::plugin! {
        name: "one",
        vendor: "Example Ltd",
        summary: "The first set",
        state: () = |_| Ok(()),
        commands: { "__com.example_one" => one }
    }
}

/// Another.
pub mod other {
    use guestd_sdk::prelude::*;

    fn other(_: &Ctx<()>, _: NoArgs) -> Result<i64, CommandError> {
        Ok(2)
    }

    guestd_sdk::plugin! {
        name: "one",
        vendor: "Example Ltd",
        summary: "The second set",
        state: () = |_| Ok(()),
        commands: { "__com.example_one" => other }
    }
}
