//! `guest-exec-status`: what became of a program.

use guestd_sdk::prelude::*;
use guestd_sdk::{answer, args};

use crate::exec::Exec;
use crate::jobs::State;
use crate::running::Exit;
use crate::stream::Captured;

/// The arguments of `guest-exec-status`.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StatusArgs {
    /// The process number that `guest-exec` answered.
    pid: i64,
}

/// QEMU's `GuestExecStatus`.
// For the schema only: `finished` writes the text itself.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code)]
pub struct ExecStatus {
    /// Whether the program has ended. If it has not, there is nothing else.
    exited: bool,
    /// Its exit status, 0 to 255; absent if it was killed.
    #[schemars(skip_serializing_if = "Option::is_none")]
    exitcode: Option<i32>,
    /// The number of the signal that killed it.
    #[schemars(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    /// What it wrote to stdout, in base64: the first 16 MiB. Absent if that is nothing, or was not captured.
    #[schemars(skip_serializing_if = "Option::is_none")]
    out_data: Option<String>,
    /// What it wrote to stderr, likewise.
    #[schemars(skip_serializing_if = "Option::is_none")]
    err_data: Option<String>,
    /// Whether it wrote more to stdout; absent without any output.
    #[schemars(skip_serializing_if = "Option::is_none")]
    out_truncated: Option<bool>,
    /// Whether it wrote more to stderr, likewise.
    #[schemars(skip_serializing_if = "Option::is_none")]
    err_truncated: Option<bool>,
}

/// `guest-exec-status`: whether the program has ended, and if so its exit status or signal and its output, which is
/// told once. Fails where there is no such program, or no more.
pub fn exec_status(ctx: &Ctx<Exec>, request: Request) -> Result<Reply, CommandError> {
    let StatusArgs { pid } = args::parse(args::text_of(&request)?)?;
    match ctx.state.jobs.take(pid) {
        State::Running => Ok(answer::reply_of(b"{\"exited\": false}".to_vec())),
        State::Finished(text) => Ok(answer::reply_of(text)),
        State::Unknown => Err(CommandError::new(format!("PID {pid} does not exist"))),
    }
}

/// The answer for a program that has ended: QEMU's `GuestExecStatus`, in qemu-ga's order. A stream that was empty or
/// not captured is left out.
pub(crate) fn finished(exit: Exit, output: Option<&Captured>, error: Option<&Captured>) -> Vec<u8> {
    let has_content = |stream: &&Captured| !stream.data.is_empty() || stream.truncated;
    let [output, error] = [output, error].map(|stream| stream.filter(has_content));
    let encoded = |stream: Option<&Captured>| stream.map_or(0, |stream| stream.data.len().div_ceil(3) * 4);
    let mut text = Vec::with_capacity(128 + encoded(output) + encoded(error));
    text.push(b'{');
    match exit {
        Exit::Code(code) => text.extend_from_slice(format!("\"exitcode\": {code}, ").as_bytes()),
        Exit::Signal(signal) => text.extend_from_slice(format!("\"signal\": {signal}, ").as_bytes()),
        Exit::Unknown => {}
    }
    for (key, stream) in [("err-data", error), ("out-data", output)] {
        if let Some(stream) = stream {
            text.extend_from_slice(format!("\"{key}\": \"").as_bytes());
            base64_simd::STANDARD.encode_append(&stream.data, &mut text);
            text.extend_from_slice(b"\", ");
        }
    }
    for (key, stream) in [("err-truncated", error), ("out-truncated", output)] {
        if let Some(stream) = stream {
            text.extend_from_slice(format!("\"{key}\": {}, ", stream.truncated).as_bytes());
        }
    }
    text.extend_from_slice(b"\"exited\": true}");
    text
}
