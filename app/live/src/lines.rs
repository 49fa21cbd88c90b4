//! Lines out of pieces of a stream, none longer than was allowed.

/// Collects bytes until there is a line.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were handed out.
    taken: usize,
    max_bytes: usize,
}

/// A line that has no end, or whose end is too far.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a line has more than {max_bytes} bytes")]
pub struct LineTooLong {
    /// The limit.
    pub max_bytes: usize,
}

impl Lines {
    /// For lines of at most so many bytes, without their line breaks.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            max_bytes,
        }
    }

    /// Adds what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line, if it is all there. Call until `None` before more is pushed: what is buffered is then at most a line.
    ///
    /// # Errors
    /// [`LineTooLong`], from which there is no way on.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, LineTooLong> {
        let max_bytes = self.max_bytes;
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n');
        if end.unwrap_or(rest.len()) > max_bytes {
            return Err(LineTooLong { max_bytes });
        }
        let Some(end) = end else {
            return Ok(None);
        };
        let start = self.taken;
        self.taken += end + 1;
        let line = self.buffer.get(start..start + end).unwrap_or_default();
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Whether bytes are left that no line break ended.
    pub fn has_rest(&self) -> bool {
        self.taken < self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_any_cut() {
        let text = b"one\n\r\ntwo\r\nrest";
        for step in 1..=text.len() {
            let (mut lines, mut got) = (Lines::new(4), Vec::new());
            for piece in text.chunks(step) {
                lines.push(piece);
                while let Some(line) = lines.next_line().unwrap() {
                    got.push(String::from_utf8(line.to_vec()).unwrap());
                }
            }
            assert_eq!(got, ["one", "", "two"], "{step}");
            assert!(lines.has_rest());
        }
    }

    #[test]
    fn long_lines_end_it() {
        let mut lines = Lines::new(4);
        lines.push(b"12345");
        assert_eq!(lines.next_line(), Err(LineTooLong { max_bytes: 4 }));
        let mut lines = Lines::new(4);
        lines.push(b"12345\n");
        assert!(lines.next_line().is_err());
    }
}
