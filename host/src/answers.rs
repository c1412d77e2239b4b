//! What plugins answer, before it goes to a client.

use std::sync::{Mutex, PoisonError};

use guestd_abi::{CallError, PANIC_CLASS, RString, Reply, reply_flags};

use crate::wire::to_line;

/// The answers that are remembered, in bytes: below, judging one takes no longer than comparing it; above are blocks of
/// files, whose content does not come twice.
const REMEMBERED: std::ops::Range<usize> = 256..5 << 10;

/// The longest answer, in bytes. The longest that a command of the protocol has is one of 48 MiB in base64, 64 MiB.
const MAX_REPLY: usize = 80 << 20;
/// The longest text of an error, in bytes; what is beyond is cut off.
const MAX_ERROR: usize = 64 << 10;

/// Checks answers. Hosts ask the same things again and again, so the last good answer is remembered, and another one of
/// the same text is not judged again.
#[derive(Default)]
pub struct Answers {
    last_good: Mutex<Vec<u8>>,
}

/// What came of a call.
#[derive(Debug)]
pub struct Judged {
    /// What the client gets.
    pub result: Result<Reply, CallError>,
    /// What the plugin did wrong, a clause about the command, if it did.
    pub fault: Option<String>,
}

impl Answers {
    /// Judges a command's answer. A reply that is passed on is JSON on one line; anything else is a fault of the plugin, and so
    /// is a panic.
    pub fn judge(&self, command: &str, answer: Result<Reply, CallError>) -> Judged {
        match answer {
            Ok(reply) => match self.check(reply) {
                Ok(reply) => Judged { result: Ok(reply), fault: None },
                Err(what) => {
                    tracing::error!("{command} has {what}");
                    let desc = format!("Command {command} has {what}").into();
                    let fault = Some(format!("{command} has {what}"));
                    Judged { result: Err(CallError { class: "GenericError".into(), desc }), fault }
                }
            },
            Err(CallError { class, desc }) => {
                let panicked = class == PANIC_CLASS;
                let class = if panicked { "GenericError".into() } else { class };
                let fault = panicked.then(|| format!("{command} has panicked"));
                Judged { result: Err(CallError { class, desc: cut(desc) }), fault }
            }
        }
    }

    /// The reply, if it may be sent; else what the command has done wrong.
    fn check(&self, mut reply: Reply) -> Result<Reply, &'static str> {
        const NOT_JSON: &str = "answered what is not JSON";
        if reply.flags & reply_flags::HANDED_BACK != 0 {
            return Err("handed back its request where it may block");
        }
        if reply.body.len() > MAX_REPLY {
            return Err("answered more than 80 MiB");
        }
        let body = reply.body.as_mut_slice();
        if !REMEMBERED.contains(&body.len()) {
            return if to_line(body) { Ok(reply) } else { Err(NOT_JSON) };
        }
        let mut last_good = self.last_good.lock().unwrap_or_else(PoisonError::into_inner);
        if *last_good != body {
            if !to_line(body) {
                return Err(NOT_JSON);
            }
            last_good.clear();
            last_good.extend_from_slice(body);
        }
        Ok(reply)
    }
}

/// The text of an error, which is not endless.
fn cut(desc: RString) -> RString {
    if desc.len() <= MAX_ERROR {
        return desc;
    }
    let end = (0..=MAX_ERROR).rev().find(|end| desc.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", desc.get(..end).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answers: &Answers, body: &str) -> Result<String, String> {
        let reply = Reply { body: body.as_bytes().to_vec().into(), flags: 0 };
        let Judged { result, fault } = answers.judge("guest-x", Ok(reply));
        assert_eq!(result.is_err(), fault.is_some());
        result.map(|reply| String::from_utf8(reply.body.into_vec()).unwrap()).map_err(|error| error.desc.into())
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

    #[test]
    fn an_answer_or_an_error_without_end_is_not_passed_on() {
        let answers = Answers::default();
        let longest = format!("\"{}\"", "x".repeat(MAX_REPLY - 2));
        assert!(check(&answers, &longest).is_ok());
        let error = check(&answers, &format!("{longest} ")).unwrap_err();
        assert_eq!(error, "Command guest-x has answered more than 80 MiB");
        let desc = "é".repeat(MAX_ERROR);
        let Judged { result, fault } =
            answers.judge("guest-x", Err(CallError { class: "X".into(), desc: desc.into() }));
        let error = result.err().unwrap();
        assert_eq!((error.class.as_str(), fault), ("X", None), "an error is an answer, and no fault");
        assert_eq!(error.desc, format!("{}...", "é".repeat(MAX_ERROR / 2)));
    }

    #[test]
    fn a_panic_is_a_fault_and_a_plain_error_to_the_client() {
        let panicked = CallError { class: PANIC_CLASS.into(), desc: "x panicked".into() };
        let Judged { result, fault } = Answers::default().judge("guest-x", Err(panicked));
        let error = result.err().unwrap();
        assert_eq!((error.class.as_str(), error.desc.as_str()), ("GenericError", "x panicked"));
        assert_eq!(fault.as_deref(), Some("guest-x has panicked"));
    }
}
