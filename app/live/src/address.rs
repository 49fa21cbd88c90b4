//! Where a prover is: `http://HOST:PORT`, or `https://HOST` with a path perhaps.

use std::fmt;
use std::str::FromStr;

/// Most bytes of an address.
const MAX_BYTES: usize = 2000;

/// A prover's address, fit to have a route added to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    text: String,
    is_secure: bool,
    /// Ends of the scheme with its `://`, and of host and port after it.
    host: (usize, usize),
}

/// The text is no prover's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme, or none.
    #[error("want http://HOST:PORT or https://HOST")]
    Scheme,
    /// No host, or one with characters that no host has.
    #[error("there is no host in it")]
    Host,
    /// A port that is none.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// `user:password@`: a prover takes a bearer token.
    #[error("a prover takes a token, no user and password")]
    User,
    /// `?` or `#`: routes could not be added.
    #[error("it goes on after `?` or `#`")]
    Query,
    /// Spaces, control characters, characters beyond ASCII, or more of them than any address has.
    #[error("it has characters that no address has, or too many")]
    Characters,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim_end_matches('/');
        let scheme = ["http://", "https://"].into_iter().find(|scheme| {
            let head = text.get(..scheme.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(scheme))
        });
        let scheme = scheme.ok_or(AddressError::Scheme)?;
        if text.len() > MAX_BYTES || !text.bytes().all(is_plain) {
            return Err(AddressError::Characters);
        }
        if text.contains(['?', '#']) {
            return Err(AddressError::Query);
        }
        let after = text.get(scheme.len()..).unwrap_or_default();
        let authority = after.split('/').next().unwrap_or_default();
        if authority.contains('@') {
            return Err(AddressError::User);
        }
        check_authority(authority)?;
        Ok(Self {
            is_secure: scheme.len() == "https://".len(),
            host: (scheme.len(), scheme.len() + authority.len()),
            text: text.to_owned(),
        })
    }
}

/// Backslashes are slashes to some readers of addresses, and none to others.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && byte != b'\\'
}

fn check_authority(authority: &str) -> Result<(), AddressError> {
    // A colon inside of brackets is part of the host.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
        return Err(AddressError::Port);
    }
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = match inside {
        // Which of these are addresses is for whoever connects to find out.
        Some(v6) => {
            v6.contains(':')
                && v6
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte))
        }
        None => {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.bytes().all(known)
        }
    };
    match is_host {
        true => Ok(()),
        false => Err(AddressError::Host),
    }
}

impl Address {
    /// The address of a route, one of [`routes`](crate::routes).
    pub fn route(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }

    /// Host and port, as they were written.
    pub fn host_and_port(&self) -> &str {
        self.text.get(self.host.0..self.host.1).unwrap_or_default()
    }

    /// The host alone.
    pub fn host(&self) -> &str {
        let all = self.host_and_port();
        match all.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => all,
        }
    }

    /// Whether TLS carries it.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Whether its name says that it is this very machine.
    pub fn is_this_machine(&self) -> bool {
        let host = self.host();
        host.eq_ignore_ascii_case("localhost") || matches!(host, "127.0.0.1" | "[::1]")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, host, is_this_machine) in [
            ("http://127.0.0.1:80", "127.0.0.1", true),
            ("HTTP://LOCALHOST:8737/", "LOCALHOST", true),
            ("https://example.org/prover/", "example.org", false),
            ("http://[::1]:8737", "[::1]", true),
            ("http://[2001:db8::7]", "[2001:db8::7]", false),
            // A name that only begins as this machine's.
            (
                "http://127.0.0.1.example.org",
                "127.0.0.1.example.org",
                false,
            ),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.host(), host, "{text}");
            assert_eq!(address.is_this_machine(), is_this_machine, "{text}");
            assert!(!address.to_string().ends_with('/'));
        }
        let address: Address = "https://example.org:444/prover/".parse().unwrap();
        assert!(address.is_secure());
        assert_eq!(address.host_and_port(), "example.org:444");
        assert_eq!(
            address.route(crate::routes::INFO),
            "https://example.org:444/prover/v1/info"
        );
    }

    #[test]
    fn what_is_none_says_why() {
        for (text, want) in [
            ("", AddressError::Scheme),
            ("127.0.0.1:8737", AddressError::Scheme),
            ("file:///etc/passwd", AddressError::Scheme),
            ("http://", AddressError::Scheme),
            ("http:///path", AddressError::Host),
            ("http://a*b/", AddressError::Host),
            ("http://[zz]", AddressError::Host),
            ("http://host:99999", AddressError::Port),
            ("http://host:0", AddressError::Port),
            ("http://host:", AddressError::Port),
            ("http://user:password@host", AddressError::User),
            ("http://host/?a=b", AddressError::Query),
            ("http://host/#x", AddressError::Query),
            ("http://host\\@x", AddressError::Characters),
            ("http://x y", AddressError::Characters),
            ("http://x\r\nHost: y", AddressError::Characters),
            ("http://b\u{fc}cher", AddressError::Characters),
        ] {
            assert_eq!(text.parse::<Address>(), Err(want), "{text}");
        }
        let long = format!("http://host/{}", "x".repeat(MAX_BYTES));
        assert_eq!(long.parse::<Address>(), Err(AddressError::Characters));
    }
}
