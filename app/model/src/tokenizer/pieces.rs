//! Which token shows which part of a text.
use super::utf8::Utf8Stream;

/// What a token gives to a text that is all tokens' bytes.
pub(super) enum Token {
    /// Its name only.
    Special(String),
    /// Bytes, perhaps of a part of a character.
    Bytes(Vec<u8>),
}

/// A piece for each token: names of special ones, and each character at the token that completes it.
pub(super) fn of_bytes(tokens: impl Iterator<Item = Token>) -> Vec<String> {
    let mut stream = Utf8Stream::default();
    let (mut pieces, mut last) = (Vec::new(), None);
    for (at, token) in tokens.enumerate() {
        pieces.push(match token {
            Token::Special(name) => name,
            Token::Bytes(bytes) => {
                last = if bytes.is_empty() { last } else { Some(at) };
                stream.push(&bytes)
            }
        });
    }
    // The text may end in the middle of a character.
    if let Some(piece) = last.and_then(|at: usize| pieces.get_mut(at)) {
        piece.push_str(&stream.finish());
    }
    pieces
}

/// The pieces of a run of tokens that are a byte each and read as `text` together; `bytes` may be empty for one token that is text.
pub(super) fn of_run(text: String, bytes: &[u8]) -> Vec<String> {
    let tokens = bytes.len().max(1);
    if !bytes.is_empty() && text.as_bytes() == bytes {
        return of_bytes(bytes.iter().map(|byte| Token::Bytes(vec![*byte])));
    }
    if text.chars().count() == tokens {
        // Not UTF-8: the library has one U+FFFD for each byte of such a run.
        return text.chars().map(String::from).collect();
    }
    let mut pieces = vec![String::new(); tokens - 1];
    pieces.push(text);
    pieces
}

/// The bytes of a token in the alphabet of byte-level BPE, which writes each byte as a character that can be seen. A token outside
/// of that alphabet is the text that it shows.
pub(super) fn bytes_of_byte_level(token: String) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
    bytes.unwrap_or_else(|| token.into_bytes())
}

/// The byte that a piece like `<0x0A>` stands for.
pub(super) fn byte_piece(piece: &[u8]) -> Option<u8> {
    let digits = piece.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

/// GPT-2 wrote the 68 bytes that cannot be seen as U+0100 and those after it.
fn byte_of(char: char) -> Option<u8> {
    let code = u32::from(char);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_alphabet_has_each_byte_once() {
        let alphabet = (0..0x200).filter_map(char::from_u32);
        let bytes: Vec<u8> = alphabet.filter_map(byte_of).collect();
        assert_eq!(bytes.len(), 256);
        assert_eq!(bytes.into_iter().collect::<BTreeSet<u8>>().len(), 256);
        assert_eq!(bytes_of_byte_level("ĠaĊ".to_owned()), b" a\n");
        assert_eq!(bytes_of_byte_level("<€>".to_owned()), "<€>".as_bytes());
    }

    #[test]
    fn a_run_of_bytes_is_cut_where_its_characters_end() {
        let text = |pieces: &[&str]| pieces.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            of_run("é€".to_owned(), "é€".as_bytes()),
            text(&["", "é", "", "", "€"])
        );
        let broken = "\u{fffd}\u{fffd}".to_owned();
        assert_eq!(of_run(broken, b"\xe2\x82"), text(&["\u{fffd}", "\u{fffd}"]));
        assert_eq!(of_run("x".to_owned(), b" x"), text(&["", "x"]));
        assert_eq!(of_run("two words".to_owned(), b""), text(&["two words"]));
        assert_eq!(of_run(String::new(), b""), text(&[""]));
    }
}
