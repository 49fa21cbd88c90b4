//! Text whose bytes come token by token.

/// UTF-8 in parts. All texts together are what `String::from_utf8_lossy` makes of all bytes together.
#[derive(Default)]
pub(super) struct Utf8Stream {
    /// The beginning of a character: three bytes at most.
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// The text that is complete with `bytes`; the beginning of a character waits for its rest.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let bytes = [std::mem::take(&mut self.pending).as_slice(), bytes].concat();
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            let unfinished =
                std::str::from_utf8(invalid).is_err_and(|err| err.error_len().is_none());
            if unfinished && chunks.peek().is_none() {
                self.pending = invalid.to_vec();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text
    }

    /// What stands for a character that was never finished.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_character_appears_with_its_last_byte() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(b"a\xf0\x9f"), "a");
        assert_eq!(stream.push(b"\xa6"), "");
        assert_eq!(stream.push(b"\x80b\xe2"), "🦀b");
        assert_eq!(stream.push(b"c"), "\u{fffd}c");
        assert_eq!(stream.push(b"\xe2\x82"), "");
        assert_eq!(stream.finish(), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn parts_are_as_lossy_as_the_whole(
            parts in prop::collection::vec(prop::collection::vec(prop_oneof![any::<u8>(), 0x80u8..=0xf4], 0..4), 0..20)
        ) {
            let mut stream = Utf8Stream::default();
            let mut text: String = parts.iter().map(|part| stream.push(part)).collect();
            prop_assert!(stream.pending.len() < 4);
            text += &stream.finish();
            prop_assert_eq!(text, String::from_utf8_lossy(&parts.concat()).into_owned());
        }
    }
}
