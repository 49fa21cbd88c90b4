//! `assay --verify http://HOST:PORT`: asks a live prover, and hands on what it opened, to be judged as a file would be.
//!
//! | file | subject |
//! |---|---|
//! | `args` | flags |
//! | `client` | HTTP, with an eye on the clock and on whoever stops it; the window's, too |
//! | `ask` | the exchange, and what the user is told of it |
//! | `verify` | asking and judging in one go |
//!
//! What a window and a page do alike is in `assay_work::live`.

mod args;
mod ask;
pub mod client;
mod verify;

use std::path::Path;

pub use args::LiveArgs;
pub use verify::verify;

/// The address, if this names a live prover and no file.
pub fn address(file: &Path) -> Option<&str> {
    let text = file.to_str()?;
    let known = |scheme: &str| {
        let head = text.get(..scheme.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(scheme))
    };
    (known("http://") || known("https://")).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_no_files() {
        assert!(address(Path::new("http://127.0.0.1:1")).is_some());
        assert!(address(Path::new("HTTPS://host")).is_some());
        for file in [
            "-",
            "trace.bin",
            "http",
            "https:/x",
            "./http://x",
            "\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert!(address(Path::new(file)).is_none(), "{file}");
        }
    }
}
