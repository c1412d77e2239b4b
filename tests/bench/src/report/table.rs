//! The report as a table: as plain text and as Markdown.

use std::fmt::Write;

use super::{Line, Report, Table};
use crate::server::Kind;

const HEAD: [&str; 8] = ["measure", "unit", "echo floor", "qemu-ga", "guestd", "ratio", "target", "met"];
/// The columns of words; the others are numbers, which stand at the right.
const WORDS: [usize; 4] = [0, 1, 6, 7];

impl Report {
    /// The tables for a terminal.
    pub fn text(&self) -> String {
        let mut text = self.machine.sentences();
        for table in &self.tables {
            let rows = cells(table);
            let widths = std::array::from_fn(|column| widest(&rows, column));
            // Writing to a string does not fail.
            let _ = writeln!(text, "\n{}:\n{}", table.placement, about(table));
            for row in rows {
                let padded = pad(&row, &widths);
                let _ = writeln!(text, "{}", padded.join("  ").trim_end());
            }
        }
        text
    }

    /// The tables for a page.
    pub fn markdown(&self) -> String {
        let mut text = self.machine.sentences();
        for table in &self.tables {
            let mut rows = cells(table).into_iter();
            let _ = writeln!(text, "\n**{}**\n{}", table.placement, about(table));
            if let Some(head) = rows.next() {
                let _ = writeln!(text, "| {} |", head.join(" | "));
            }
            let rule =
                std::array::from_fn::<_, { HEAD.len() }, _>(|column| if is_word(column) { "---" } else { "---:" });
            let _ = writeln!(text, "| {} |", rule.join(" | "));
            for row in rows {
                let _ = writeln!(text, "| {} |", row.join(" | "));
            }
        }
        text
    }
}

/// What is said of a table before its rows: of a guest its description, after an empty line.
fn about(table: &Table) -> String {
    table.guest.as_ref().map_or_else(String::new, |guest| format!("\n{}", guest.sentences()))
}

fn is_word(column: usize) -> bool {
    WORDS.contains(&column)
}

fn cells(table: &Table) -> Vec<[String; HEAD.len()]> {
    let head = HEAD.map(str::to_owned);
    std::iter::once(head).chain(table.rows.iter().map(row)).collect()
}

fn row(line: &Line) -> [String; HEAD.len()] {
    let absent = || "-".to_owned();
    let figure = |kind: Kind| {
        line.figures.iter().find(|figure| figure.server == kind).map_or_else(absent, |figure| number(figure.median))
    };
    let join = |parts: Vec<&str>| if parts.is_empty() { String::new() } else { parts.join(", ") };
    [
        line.title.clone(),
        line.unit.to_owned(),
        figure(Kind::Floor),
        figure(Kind::QemuGa),
        figure(Kind::Guestd),
        line.ratio.map_or_else(absent, |ratio| format!("{} x", number(ratio))),
        join(line.targets.iter().map(|verdict| verdict.target.as_str()).collect()),
        join(line.targets.iter().map(|verdict| word(verdict.met)).collect()),
    ]
}

fn word(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    }
}

/// A number with three digits that count.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

fn widest(rows: &[[String; HEAD.len()]], column: usize) -> usize {
    rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or_default()
}

fn pad(row: &[String; HEAD.len()], widths: &[usize; HEAD.len()]) -> Vec<String> {
    let pad = |(column, (cell, &width)): (usize, (&String, &usize))| {
        if is_word(column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    };
    row.iter().zip(widths).enumerate().map(pad).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        assert_eq!([0.123, 1.0, 12.34, 123.4, 51_234.0].map(number), ["0.12", "1.00", "12.3", "123", "51234"]);
    }
}
