//! Hashes, as file names, as the service worker compares them, and as a Content-Security-Policy wants them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// SHA-256, hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The part of [`hex`] that goes into a file name: 48 bits tell versions of one file apart.
pub fn short(bytes: &[u8]) -> String {
    hex(bytes)[..12].to_owned()
}

/// What allows exactly this inline script or style.
pub fn policy_source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        // FIPS 180-2's example.
        assert_eq!(short(b"abc"), "ba7816bf8f01");
        assert_eq!(
            policy_source("abc"),
            "'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0='"
        );
    }
}
