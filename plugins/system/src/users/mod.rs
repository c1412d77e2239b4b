//! `guest-get-users`: who is logged in.

mod logind;
mod utmp;

use std::collections::HashMap;
use std::io;

use guestd_sdk::prelude::*;

use crate::System;
use crate::guest::Guest;
use crate::types::{Number, User};

/// The file of utmp(5), `_PATH_UTMP` of the C library.
const UTMP: &str = "/var/run/utmp";

/// More than any number of logins takes, in bytes: users of the group `utmp` can write the file.
const UTMP_LIMIT: usize = 8 * 1024 * 1024;

/// A login, from wherever it is known.
#[derive(Debug, PartialEq)]
struct Login {
    user: String,
    /// In seconds since 1970.
    time: f64,
}

/// `guest-get-users`: each user once with the earliest login, in the order of utmp(5). Where there is no utmp, or
/// nothing is ever written to it, the sessions of systemd-logind count.
pub fn users(ctx: &Ctx<System>, _: NoArgs) -> Result<Vec<User>, CommandError> {
    Ok(unique(logins(&ctx.state.guest)?))
}

fn logins(guest: &Guest) -> Result<Vec<Login>, CommandError> {
    match guest.read(UTMP, UTMP_LIMIT) {
        // The record of the boot is always there where anything writes records.
        Ok(records) if records.len() >= utmp::RECORD_SIZE => Ok(utmp::logins(&records)),
        Ok(_) => Ok(logind::logins(guest)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(logind::logins(guest)),
        Err(error) => Err(CommandError::os(format_args!("open(\"{UTMP}\")"), &error)),
    }
}

fn unique(logins: Vec<Login>) -> Vec<User> {
    let mut users: Vec<User> = Vec::new();
    let mut places = HashMap::new();
    for Login { user, time } in logins {
        let place = *places.entry(user).or_insert_with_key(|user| {
            users.push(User { user: user.clone(), login_time: Number(time) });
            users.len() - 1
        });
        if let Some(known) = users.get_mut(place)
            && time < known.login_time.0
        {
            known.login_time = Number(time);
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_counts_once_with_the_earliest_login() {
        let login = |user: &str, time| Login { user: user.to_owned(), time };
        let user = |user: &str, time| User { user: user.to_owned(), login_time: Number(time) };
        let found = unique(vec![login("zed", 3.0), login("bob", 2.0), login("zed", 1.5), login("zed", 9.0)]);
        assert_eq!(found, [user("zed", 1.5), user("bob", 2.0)]);
    }
}
