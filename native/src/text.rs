//! Text for a terminal. What comes from a file is an attacker's: it is shown escaped, so that it cannot move the
//! cursor, forge a verdict line or reverse the reading direction.

/// `text` in quotes, with control, formatting and bidirectional characters escaped.
pub fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// `text` without quotes, for generated text: line breaks and tabs stay, other control and formatting characters are
/// escaped.
pub fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let keep = matches!(c, '\n' | '\t' | '\'' | '"' | '\\');
            let (kept, escaped) = if keep {
                (Some(c), None)
            } else {
                (None, Some(c.escape_debug()))
            };
            kept.into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

/// `1234567` as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A size with a binary unit: `512 bytes`, `12.3 KiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} bytes");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

/// `n thing`, with an s unless there is one.
pub fn count(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// `text` broken at spaces into lines of at most `width` characters; a longer word stands alone.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_cannot_reach_the_terminal() {
        let hostile = "a\u{1b}[2Jb\u{202e}c\u{9b}31md\re\u{0}f\u{200b}";
        for shown in [quoted(hostile), plain(hostile)] {
            assert!(
                shown
                    .chars()
                    .all(|c| !c.is_control() && !"\u{202e}\u{200b}".contains(c)),
                "{shown}"
            );
        }
        assert_eq!(plain("it's \"so\":\n\té \\"), "it's \"so\":\n\té \\");
        assert_eq!(quoted(" thou\n"), "\" thou\\n\"");
    }

    #[test]
    fn numbers() {
        assert_eq!(
            [0, 999, 1000, 3_542_208].map(grouped),
            ["0", "999", "1,000", "3,542,208"]
        );
        assert_eq!(
            [0, 1023, 1024, 1536 << 20].map(bytes),
            ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 GiB"]
        );
        assert_eq!(
            [count(1, "token"), count(2, "token")],
            ["1 token", "2 tokens"]
        );
    }

    #[test]
    fn wrapping() {
        assert_eq!(
            wrapped("a bb ccc dddddd e", 5),
            ["a bb", "ccc", "dddddd", "e"]
        );
        assert_eq!(wrapped("", 5), [""]);
    }
}
