//! What plugins answer, before it goes to a client.

use std::sync::{Mutex, PoisonError};

use guestd_abi::{CallError, Reply, reply_flags};

use crate::wire::to_line;

/// The answers that are remembered, in bytes: below, judging one takes no longer than comparing it; above are blocks of
/// files, whose content does not come twice.
const REMEMBERED: std::ops::Range<usize> = 256..5 << 10;

/// Checks answers. Hosts ask the same things again and again, so the last good answer is remembered, and another one of
/// the same text is not judged again.
#[derive(Default)]
pub struct Answers {
    last_good: Mutex<Vec<u8>>,
}

impl Answers {
    /// A command's answer, if it is JSON; it is one line then.
    pub fn check(&self, command: &str, answer: Result<Reply, CallError>) -> Result<Reply, CallError> {
        let mut reply = answer?;
        if reply.flags & reply_flags::HANDED_BACK != 0 {
            return Err(bad(command, "handed back its request where it may block"));
        }
        let body = reply.body.as_mut_slice();
        if !REMEMBERED.contains(&body.len()) {
            return if to_line(body) { Ok(reply) } else { Err(not_json(command)) };
        }
        let mut last_good = self.last_good.lock().unwrap_or_else(PoisonError::into_inner);
        if *last_good != body {
            if !to_line(body) {
                return Err(not_json(command));
            }
            last_good.clear();
            last_good.extend_from_slice(body);
        }
        Ok(reply)
    }
}

fn not_json(command: &str) -> CallError {
    bad(command, "answered what is not JSON")
}

fn bad(command: &str, what: &str) -> CallError {
    tracing::error!("{command} has {what}");
    CallError { class: "GenericError".into(), desc: format!("Command {command} has {what}").into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answers: &Answers, body: &str) -> Result<String, String> {
        let reply = Reply { body: body.as_bytes().to_vec().into(), flags: 0 };
        let checked = answers.check("guest-x", Ok(reply));
        checked.map(|reply| String::from_utf8(reply.body.into_vec()).unwrap()).map_err(|error| error.desc.into())
    }

    #[test]
    fn every_answer_is_json_on_one_line_remembered_or_not() {
        let answers = Answers::default();
        for size in [1, 300, 10_000, 100_000] {
            let good = format!("[1,\n\"{}\"]", "x".repeat(size));
            let line = good.replace('\n', " ");
            let bad = good.replace(']', "}");
            for _ in 0..2 {
                assert_eq!(check(&answers, &good), Ok(line.clone()));
                assert_eq!(check(&answers, &line), Ok(line.clone()));
                assert_eq!(check(&answers, &bad), Err("Command guest-x has answered what is not JSON".to_owned()));
            }
        }
    }
}
