//! Files of shell-like assignments, `KEY=value` a line: os-release(5) and the files of systemd-logind.
//!
//! A value in single quotes is what stands between them; in double quotes a backslash takes the meaning from `"`, `'`, `$`,
//! `` ` `` and `\` (`'` is qemu-ga's, not the shell's); without quotes the value ends at a blank or `;`. What follows a value is ignored, and nothing is
//! expanded. Empty lines and those that begin with `#` say nothing. A line that is no assignment, is not UTF-8 or leaves
//! a quote open is skipped, and nothing else is.

/// The assignments of a file in their order, keys and values.
pub(crate) fn assignments(text: &[u8]) -> impl Iterator<Item = (&str, String)> {
    text.split(|&byte| byte == b'\n').filter_map(assignment)
}

fn assignment(line: &[u8]) -> Option<(&str, String)> {
    let line = std::str::from_utf8(line).ok()?.trim_ascii();
    if line.contains('\0') {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    // A shell allows no blanks around the sign, but qemu-ga does.
    let key = key.trim_ascii_end();
    let is_name = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_name { Some((key, unquoted(value.trim_ascii_start())?)) } else { None }
}

fn unquoted(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix('\'') {
        return Some(rest.split_once('\'')?.0.to_owned());
    }
    let Some(rest) = text.strip_prefix('"') else {
        return Some(text.split([' ', ';']).next()?.to_owned());
    };
    let mut value = String::with_capacity(rest.len());
    let mut rest = rest.chars();
    loop {
        match rest.next()? {
            '"' => return Some(value),
            '\\' => match rest.next()? {
                special @ ('"' | '\'' | '$' | '`' | '\\') => value.push(special),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<String> {
        let line = format!("NAME={text}");
        let found: Vec<_> = assignments(line.as_bytes()).map(|(_, value)| value).collect();
        assert!(found.len() <= 1);
        found.into_iter().next()
    }

    #[test]
    fn values_are_what_qemu_ga_makes_of_them_and_single_quotes_are_understood() {
        for (text, expected) in [
            ("", ""),
            ("\"\"", ""),
            ("plain", "plain"),
            ("two words", "two"),
            ("a;b", "a"),
            ("a\tb", "a\tb"),
            ("a#b", "a#b"),
            ("\"two words\" # comment", "two words"),
            ("'two words'", "two words"),
            ("'a\\\"b$c'", "a\\\"b$c"),
            (r#""a\"b \$c \\d \`e \n""#, r#"a"b $c \d `e \n"#),
            (r#""Unit test \"\'\$\`\\ and \\\\ etc.""#, r#"Unit test "'$`\ and \\ etc."#),
            (r"a\ b", r"a\"),
            (r"a\nb\", r"a\nb\"),
            (r#""a"b"c d""#, "a"),
            ("'a'b", "a"),
            ("a'b", "a'b"),
            ("a\"b", "a\"b"),
            ("''", ""),
            ("café", "café"),
            ("$HOME", "$HOME"),
            ("\"quoted\"\r", "quoted"),
        ] {
            assert_eq!(value(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn one_bad_line_drops_only_itself() {
        let text =
            b"A=1\nno assignment\n[section]\n=x\nexport B=2\nC=\"open\nD='open\nE=\"caf\xe9\"\nF=a\0b\nG=\"end\\\n\
            \xef\xbb\xbfH=3\n\n  # I=4\n I = 5 \nA=6";
        let found: Vec<_> = assignments(text).collect();
        let found: Vec<_> = found.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(found, [("A", "1"), ("I", "5"), ("A", "6")]);
    }

    #[test]
    fn every_cut_of_a_good_file_is_read() {
        let text = "ID=test\nNAME=\"a \\\"b\\\" café\" # c\nX='y'\n".as_bytes();
        for end in 0..text.len() {
            let found: Vec<_> = assignments(&text[..end]).collect();
            assert!(found.len() <= 3 && (end < 8 || found[0] == ("ID", "test".to_owned())), "{end}: {found:?}");
        }
    }
}
