//! `guest-get-osinfo` and `guest-get-host-name`: what the guest says it is.

use std::ffi::CStr;

use guestd_sdk::prelude::*;
use guestd_sdk::{answer, args};
use rustix::system::uname;

use crate::System;
use crate::assignments::assignments;
use crate::guest::Guest;
use crate::kept_file::KeptFile;
use crate::types::{HostName, OsInfo};

/// Where os-release(5) is looked for; the second file counts only where the first is none.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// How much of a file is read, in bytes; one that is meant well has some hundreds.
const OS_RELEASE_LIMIT: u64 = 1 << 20;

/// The text of the answer of `guest-get-osinfo`. What it says of the kernel stays the same for the life of the daemon.
pub(crate) type OsInfoText = KeptFile<Result<Vec<u8>, CommandError>>;

/// Prepares the answer of `guest-get-osinfo`.
pub(crate) fn os_info_text(guest: &Guest) -> OsInfoText {
    let candidates = match guest.os_release() {
        Some(path) => vec![path.to_owned()],
        None => OS_RELEASE.map(|path| guest.path(path).into_owned()).into(),
    };
    KeptFile::new(candidates, OS_RELEASE_LIMIT, |os_release| answer::to_json(&os_info_of(whole_lines(os_release))))
}

/// `guest-get-osinfo`: uname(2) and os-release(5). Without the file, or where it leaves something out, members are
/// missing; that is no error.
pub fn os_info(ctx: &Ctx<System>, request: Request) -> Result<Reply, CommandError> {
    args::parse::<NoArgs>(args::text_of(&request)?)?;
    Ok(answer::reply_of((*ctx.state.os_info.get()).clone()?))
}

/// `guest-get-host-name`: the name of gethostname(2).
pub fn host_name(_: &Ctx<System>, _: NoArgs) -> Result<HostName, CommandError> {
    Ok(HostName { host_name: text(uname().nodename()) })
}

/// The kernel and what the text of an os-release says; of a key that occurs twice, the last counts.
fn os_info_of(os_release: &[u8]) -> OsInfo {
    let kernel = uname();
    let mut info = OsInfo {
        kernel_release: text(kernel.release()),
        kernel_version: text(kernel.version()),
        machine: text(kernel.machine()),
        ..OsInfo::default()
    };
    for (key, value) in assignments(os_release) {
        let member = match key {
            "ID" => &mut info.id,
            "NAME" => &mut info.name,
            "PRETTY_NAME" => &mut info.pretty_name,
            "VERSION" => &mut info.version,
            "VERSION_ID" => &mut info.version_id,
            "VARIANT" => &mut info.variant,
            "VARIANT_ID" => &mut info.variant_id,
            _ => continue,
        };
        *member = Some(value);
    }
    info
}

/// What was read of a file, without a last line that was cut off at the limit.
fn whole_lines(text: &[u8]) -> &[u8] {
    if (text.len() as u64) < OS_RELEASE_LIMIT {
        return text;
    }
    let end = text.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

fn text(of: &CStr) -> String {
    of.to_string_lossy().into_owned()
}
