//! Which cases wait for commands that the agent does not have yet.

use std::collections::BTreeSet;

use crate::cases::Case;
use crate::json::Json;

/// The commands of the protocol on Linux, one a line.
const COMMANDS: &str = include_str!("../commands.txt");

/// The protocol's commands that the case's requests or answers mention and that
/// are not among `listed`, the ones that the agent says it has.
pub fn awaited(case: &Case, listed: &BTreeSet<String>) -> BTreeSet<&'static str> {
    let mut mentioned = BTreeSet::new();
    for step in &case.steps {
        if let Some(send) = &step.send {
            collect(&send.text(&str::to_owned), &mut mentioned);
        }
        for answer in &step.expect {
            collect_json(answer, &mut mentioned);
        }
    }
    mentioned.retain(|name| !listed.contains(*name));
    mentioned
}

fn collect_json(value: &Json, found: &mut BTreeSet<&'static str>) {
    match value {
        Json::Str(text) => collect(text, found),
        Json::List(items) => items.iter().for_each(|item| collect_json(item, found)),
        Json::Object(members) => {
            for (key, value) in members {
                collect(key, found);
                collect_json(value, found);
            }
        }
        Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) => {}
    }
}

/// Find the commands whose names occur in a text as whole words.
fn collect(text: &str, found: &mut BTreeSet<&'static str>) {
    for (at, _) in text.match_indices("guest-") {
        let rest = text.get(at..).unwrap_or_default();
        let end = rest.find(|c: char| !matches!(c, 'a'..='z' | '0'..='9' | '-'));
        let word = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        found.extend(COMMANDS.lines().find(|name| *name == word));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{COMMANDS, awaited};
    use crate::cases::Case;
    use std::collections::BTreeSet;

    fn waits_for(rest: &str, listed: &[&str]) -> Vec<&'static str> {
        let case = Case::parse(&format!(r#"{{"id":"a","area":"b",{rest}}}"#)).unwrap();
        let listed = listed.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        awaited(&case, &listed).into_iter().collect()
    }

    #[test]
    fn there_are_43_commands() {
        assert_eq!(COMMANDS.lines().count(), 43);
        assert!(COMMANDS.lines().all(|name| name.starts_with("guest-")));
    }

    #[test]
    fn a_command_in_a_request_is_awaited_unless_listed() {
        let case = r#""steps":[{"send":"{\"execute\":\"guest-get-load\"}","expect":[]}]"#;
        assert_eq!(waits_for(case, &["guest-ping"]), ["guest-get-load"]);
        assert!(waits_for(case, &["guest-get-load"]).is_empty());
    }

    #[test]
    fn a_command_in_an_expected_answer_is_awaited() {
        let case = r#""steps":[{"send":"{\"execute\":\"guest-info\"}","expect":
            [{"return":{"supported_commands":["<has>",{"name":"guest-fstrim"}]}}]}]"#;
        assert_eq!(waits_for(case, &["guest-info"]), ["guest-fstrim"]);
    }

    #[test]
    fn names_are_whole_words_of_the_protocol() {
        let case = r#""steps":[{"send":"guest-nope guest-get-devices guest-exec-statu guest-pi",
            "expect":[]}]"#;
        assert!(waits_for(case, &[]).is_empty());
        let case = r#""steps":[{"send":"\"guest-fsfreeze-freeze-list\"","expect":[]}]"#;
        assert_eq!(waits_for(case, &[]), ["guest-fsfreeze-freeze-list"]);
    }

    #[test]
    fn options_do_not_make_a_case_wait() {
        let case = r#""extra_args":["-b","guest-get-load"],"steps":
            [{"send":"{\"execute\":\"guest-ping\"}","expect":[]}]"#;
        assert!(waits_for(case, &["guest-ping"]).is_empty());
    }
}
