//! `--help` and `guestd help`, made from the table.

use super::options::{CliOption, OPTIONS, SUBCOMMANDS, Subcommand, Takes};

/// Where the explanations begin.
const COLUMN: usize = 30;

/// The help for the name that the program was called by.
pub fn program(as_qemu_ga: bool) -> String {
    let (name, what, more) = if as_qemu_ga {
        ("qemu-ga", "guestd, called as the QEMU guest agent.", "")
    } else {
        ("guestd", "A guest agent for virtual machines.", " [SUBCOMMAND]")
    };
    let mut text = format!("Usage: {name} [OPTIONS]{more}\n\n{what}\n\nOptions:\n{}", options(&OPTIONS));
    if !as_qemu_ga {
        text += "\nSubcommands:\n";
        for subcommand in &SUBCOMMANDS {
            text += &row(&synopsis(subcommand), subcommand.help);
        }
        text += "\nWithout a subcommand guestd answers the QEMU guest agent protocol. Its configuration is /etc/guestd/guestd.toml and\n\
                 /etc/guestd/guestd.d/*.toml. `guestd help SUBCOMMAND` says more.\n";
    }
    text
}

/// The help for a subcommand.
pub fn subcommand(subcommand: &Subcommand) -> String {
    let mut text = format!("Usage: guestd {}\n\n{}.\n", synopsis(subcommand), capitalized(subcommand.help));
    if !subcommand.details.is_empty() {
        text += "\n";
        text += subcommand.details;
    }
    if !subcommand.options.is_empty() {
        text += "\nOptions:\n";
        text += &options(subcommand.options);
    }
    text += "\nIt takes the options of guestd that say how it is configured, such as -c FILE, as well.\n";
    text
}

/// `call [--socket ADDRESS] COMMAND`
fn synopsis(subcommand: &Subcommand) -> String {
    let options = subcommand.options.iter().map(|option| format!("[{}]", long(option)));
    let words = std::iter::once(subcommand.name.to_owned()).chain(options);
    words.chain([subcommand.operands.to_owned()]).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn options(options: &[CliOption]) -> String {
    options
        .iter()
        .map(|option| {
            let letter = option.short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
            row(&(letter + &long(option)), option.help)
        })
        .collect()
}

fn long(option: &CliOption) -> String {
    match option.takes {
        Takes::Nothing => format!("--{}", option.long),
        Takes::Value(value) => format!("--{} {value}", option.long),
        Takes::OptionalValue(value) => format!("--{}[={value}]", option.long),
    }
}

/// What something is called and what it is for, beneath each other where there is no room for both in a line.
fn row(name: &str, help: &str) -> String {
    if name.len() + 4 > COLUMN {
        format!("  {name}\n{:COLUMN$}{help}\n", "")
    } else {
        format!("  {name:width$}{help}\n", width = COLUMN - 2)
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_indented_and_short() {
        for text in [program(false), program(true)].into_iter().chain(SUBCOMMANDS.iter().map(subcommand)) {
            for line in text.lines() {
                assert!(line.len() <= 120, "{line}");
            }
            let options = text.split("Options:\n").nth(1).unwrap_or_default();
            for line in options.split("\n\n").next().unwrap_or_default().lines() {
                assert!(line.starts_with("  "), "{line:?}");
            }
        }
    }

    #[test]
    fn everything_of_the_table_is_shown() {
        let text = program(false);
        for option in &OPTIONS {
            assert!(text.contains(&format!("--{}", option.long)) && text.contains(option.help), "{option:?}");
        }
        for row in &SUBCOMMANDS {
            assert!(text.contains(row.name) && text.contains(row.help), "{row:?}");
            assert!(subcommand(row).contains(row.details));
        }
    }
}
