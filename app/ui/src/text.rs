//! Words and numbers for people. What comes from a prover is an attacker's: it is shown escaped and cut, so that it cannot
//! reverse the reading direction, hide, forge a line or fill the screen.

pub(crate) use assay_verify::shown::number;

use crate::theme::fonts;

/// Most characters of a prover's string that are shown.
pub(crate) const SHOWN: usize = 400;

/// `text` with control, formatting and bidirectional characters escaped, and what our fonts cannot show; at most `room`
/// characters of it.
pub(crate) fn plain(text: &str, room: usize) -> String {
    let mut shown = String::new();
    for (index, c) in text.chars().enumerate() {
        if index >= room {
            shown.push('…');
            break;
        }
        match c {
            '\n' => shown.push('↲'),
            '\t' => shown.push('→'),
            '\r' => shown.push('←'),
            _ if is_plain(c) && fonts::can_show(c) => shown.push(c),
            _ => shown.extend(c.escape_unicode()),
        }
    }
    shown
}

/// The same for text in lines.
pub(crate) fn lines(text: &str, room: usize) -> String {
    let lines = text.split('\n').map(|line| plain(line, room));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether `c` shows as itself: no control, no format character, no odd space.
fn is_plain(c: char) -> bool {
    if c == ' ' {
        return true;
    }
    let formats = matches!(
        u32::from(c),
        0xAD | 0x61C
            | 0x180E
            | 0x115F
            | 0x1160
            | 0x2000..=0x200F
            | 0x2028..=0x202F
            | 0x205F..=0x206F
            | 0x3000
            | 0x3164
            | 0xFE00..=0xFE0F
            | 0xFEFF
            | 0xFFA0
            | 0xFFF0..=0xFFFB
            | 0xE0000..=0xE0FFF
    );
    // Marks that stand on what is before them could pile up on a neighbour.
    let marks = matches!(u32::from(c), 0x300..=0x36F | 0x483..=0x489 | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF);
    !(c.is_control() || c.is_whitespace() || formats || marks)
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(n: u64) -> String {
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
pub(crate) fn bytes(n: u64) -> String {
    if n < 1024 {
        return format!("{n} bytes");
    }
    let mut value = n as f64;
    let mut unit = "bytes";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

/// `n thing`, with an s unless there is one.
pub(crate) fn count(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// A time to go or gone.
pub(crate) fn seconds(s: f64) -> String {
    if !s.is_finite() || s < 0.0 {
        String::new()
    } else if s < 9.95 {
        format!("{s:.1} s")
    } else if s < 99.5 {
        format!("{s:.0} s")
    } else if s < 3600.0 {
        format!("{:.0} min {:02.0} s", (s / 60.0).floor(), s % 60.0)
    } else {
        format!(
            "{:.0} h {:02.0} min",
            (s / 3600.0).floor(),
            (s % 3600.0) / 60.0
        )
    }
}

/// The first and last digits of a hash.
pub(crate) fn short_hash(hash: &str) -> String {
    let chars: Vec<char> = hash.chars().collect();
    if chars.len() <= 20 {
        return hash.to_owned();
    }
    let head: String = chars.iter().take(8).collect();
    let tail: String = chars.iter().skip(chars.len() - 8).collect();
    format!("{head}…{tail}")
}

/// A sampler in words.
pub(crate) fn sampler(sampler: &assay_trace::Sampler) -> String {
    match sampler {
        assay_trace::Sampler::Greedy => "greedy choice".to_owned(),
        assay_trace::Sampler::Gumbel {
            seed,
            temperature,
            top_k,
            top_p,
        } => {
            let mut words = format!("temperature {temperature}");
            if *top_k > 0 {
                words += &format!(", top-k {top_k}");
            }
            if top_p.to_f64() < 1.0 {
                words += &format!(", top-p {top_p}");
            }
            format!("{words}, seed {seed}")
        }
    }
}

/// Now, UTC, as RFC 3339 has it.
pub(crate) fn now() -> String {
    let since = web_time::SystemTime::now().duration_since(web_time::UNIX_EPOCH);
    rfc3339(since.map_or(0, |since| since.as_secs()))
}

fn rfc3339(seconds: u64) -> String {
    // Howard Hinnant's civil_from_days.
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_escaped_and_cut() {
        let hostile = "a\u{1b}[2Jb\u{202e}c\u{9b}31md\re\u{0}f\u{200b}g\u{301}\u{feff}\u{2066}\u{e0041}\u{ad}";
        let shown = plain(hostile, SHOWN);
        assert!(shown.chars().all(is_plain), "{shown}");
        assert!(
            shown.contains("\\u{202e}") && shown.contains("\\u{301}"),
            "{shown}"
        );
        assert_eq!(plain("aあ", SHOWN), r"a\u{3042}");
        assert_eq!(plain("abcdef", 3), "abc…");
        assert_eq!(plain("it's \"é\"\n", SHOWN), "it's \"é\"↲");
    }

    #[test]
    fn numbers_and_times() {
        let shown = [0.0, 24.0, 1.23456e-7, 0.012_345, 1.5, 123.456, 1e9].map(number);
        assert_eq!(
            shown,
            ["0", "24", "1.23e-7", "0.01235", "1.500", "123.5", "1.00e9"]
        );
        assert_eq!(
            [2.0, 42.0, 125.0, 7300.0].map(seconds),
            ["2.0 s", "42 s", "2 min 05 s", "2 h 02 min"]
        );
        assert_eq!([512, 1536 << 20].map(bytes), ["512 bytes", "1.5 GiB"]);
        assert_eq!(count(1, "token"), "1 token");
    }

    #[test]
    fn dates() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_280_461), "2026-11-21T17:01:01Z");
    }
}
