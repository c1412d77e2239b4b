//! The report on a run: failures, what was not run and why, a table, and the score.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::cases::Case;
use crate::matcher::shorten;
use crate::suite::Outcome;

/// Longest description of a failure, in characters.
const LIMIT: usize = 700;

/// How many cases had which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Answered like the reference.
    pub passed: usize,
    /// Answered differently.
    pub failed: usize,
    /// Waiting for commands.
    pub pending: usize,
    /// Quirks left out.
    pub quirk: usize,
    /// Impossible here.
    pub unable: usize,
}

impl Count {
    fn add(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Passed => &mut self.passed,
            Outcome::Failed(_) => &mut self.failed,
            Outcome::Pending(_) => &mut self.pending,
            Outcome::Quirk => &mut self.quirk,
            Outcome::Unable(_) => &mut self.unable,
        } += 1;
    }

    /// Cases that were not run.
    pub fn skipped(self) -> usize {
        self.pending + self.quirk + self.unable
    }

    /// Exit status of the program: a run of no case proves nothing.
    pub fn exit_status(self) -> u8 {
        match (self.failed, self.passed) {
            (1.., _) => 1,
            (0, 0) => 2,
            (0, _) => 0,
        }
    }
}

/// The report's text, which ends with the score, and the total count.
pub fn report(cases: &[Case], outcomes: &[Outcome], list_pending: bool) -> (String, Count) {
    let mut text = String::new();
    let mut areas: BTreeMap<&str, Count> = BTreeMap::new();
    let mut total = Count::default();
    let mut awaited: BTreeMap<&str, usize> = BTreeMap::new();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (case, outcome) in cases.iter().zip(outcomes) {
        areas.entry(&case.area).or_default().add(outcome);
        total.add(outcome);
        match outcome {
            Outcome::Failed(problems) => {
                line(&mut text, &format!("FAIL {}: {}", case.id, one_line(problems)));
            }
            Outcome::Pending(names) => {
                for name in names {
                    *awaited.entry(name).or_default() += 1;
                }
                if list_pending {
                    line(&mut text, &format!("PENDING {}: {}", case.id, names.join(" ")));
                }
            }
            Outcome::Unable(reason) => *reasons.entry(reason).or_default() += 1,
            Outcome::Passed | Outcome::Quirk => {}
        }
    }
    if total.pending > 0 {
        let names: Vec<String> = awaited.iter().map(|(name, count)| format!("{name} ({count})")).collect();
        line(&mut text, &format!("{} pending, waiting for: {}", total.pending, names.join(", ")));
    }
    if total.quirk > 0 {
        line(&mut text, &format!("{} quirks left out; --quirks runs them", total.quirk));
    }
    for (reason, count) in reasons {
        line(&mut text, &format!("{count} not run here: {reason}"));
    }
    table(&mut text, &areas);
    let score = format!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped());
    line(&mut text, &score);
    (text, total)
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn one_line(problems: &[String]) -> String {
    let joined = problems.join("; ").replace('\r', "\\r").replace('\n', "\\n");
    shorten(joined, LIMIT)
}

fn table(text: &mut String, areas: &BTreeMap<&str, Count>) {
    let width = areas.keys().map(|area| area.len()).max().unwrap_or(0).max(4);
    let mut row = |name: &str, cells: [&str; 5]| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{name:width$}");
        for cell in cells {
            let _ = write!(text, " {cell:>8}");
        }
        text.push('\n');
    };
    row("area", ["passed", "failed", "pending", "quirk", "unable"]);
    for (name, count) in areas {
        let counts = [count.passed, count.failed, count.pending, count.quirk, count.unable];
        let cells = counts.map(|count| count.to_string());
        row(name, cells.each_ref().map(String::as_str));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::report;
    use crate::cases::Case;
    use crate::suite::Outcome;

    fn run(outcomes: &[Outcome]) -> (String, u8) {
        let case = |n| Case::parse(&format!(r#"{{"id":"c{n}","area":"x"}}"#)).unwrap();
        let cases: Vec<Case> = (0..outcomes.len()).map(case).collect();
        let (text, count) = report(&cases, outcomes, true);
        (text, count.exit_status())
    }

    #[test]
    fn every_outcome_is_told_and_counted() {
        let (text, status) = run(&[
            Outcome::Passed,
            Outcome::Failed(vec!["a\nb".to_owned(), "c".to_owned()]),
            Outcome::Pending(vec!["guest-a", "guest-b"]),
            Outcome::Pending(vec!["guest-b"]),
            Outcome::Quirk,
            Outcome::Unable("needs root".to_owned()),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        for expected in [
            "FAIL c1: a\\nb; c",
            "PENDING c2: guest-a guest-b",
            "2 pending, waiting for: guest-a (1), guest-b (2)",
            "1 quirks left out; --quirks runs them",
            "1 not run here: needs root",
            "x           1        1        2        1        1",
        ] {
            assert!(lines.contains(&expected), "{expected}\n{text}");
        }
        assert_eq!(lines.last(), Some(&"1 passed, 1 failed, 4 skipped"));
        assert_eq!(status, 1);
    }

    #[test]
    fn a_run_of_nothing_is_no_success() {
        assert_eq!(run(&[]), run(&[]));
        assert_eq!(run(&[]).1, 2);
        assert_eq!(run(&[Outcome::Quirk, Outcome::Pending(vec!["guest-a"])]).1, 2);
        assert_eq!(run(&[Outcome::Passed]).1, 0);
        assert_eq!(run(&[Outcome::Passed, Outcome::Quirk]).1, 0);
        assert!(run(&[]).0.ends_with("\n0 passed, 0 failed, 0 skipped\n"));
    }
}
