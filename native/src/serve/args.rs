//! Flags of `assay serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::http::HeaderValue;

use crate::activations_arg::ActivationsArgs;
use crate::model_arg::ModelArgs;
use crate::numerics_arg::NumericsArgs;
use crate::sparse::rule::SparseArgs;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub model: ModelArgs,

    #[command(flatten)]
    pub numerics: NumericsArgs,

    #[command(flatten)]
    pub activations: ActivationsArgs,

    #[command(flatten)]
    pub sparse: SparseArgs,

    /// Where to listen; port 0 is any free one, and the address is printed
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8737")]
    pub listen: SocketAddr,

    /// Answer only who knows the token in this file
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Answer pages of this origin, such as https://example.org; `*` is all [default: none]
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub allow_origin: Vec<HeaderValue>,

    /// Longest prompt, tokens
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub max_prompt: u32,

    /// Most tokens to generate
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub max_tokens: u32,

    /// Longest time for one run, seconds
    #[arg(long, value_name = "S", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub run_seconds: u32,

    /// Requests that may wait while one runs
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub queue: u32,

    /// Keep a finished run for this long, so that it can be opened
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub retain_seconds: u32,

    /// Keep at most so many runs, those that run or wait included
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10000))]
    pub retain_runs: u32,

    /// Memory for them, MiB
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    pub retain_mib: u64,
}

impl Args {
    /// Positions that prompt and output may take together.
    pub fn capacity(&self) -> usize {
        self.max_prompt as usize + self.max_tokens as usize
    }
}

/// `*`, or what a browser sends: scheme, host and maybe a port, nothing after it.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let host = text.split_once("://").map(|(_, host)| host);
    let sound = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', ' ']));
    if text != "*" && !sound {
        return Err("want an origin such as https://example.org, without a path".to_owned());
    }
    text.to_ascii_lowercase()
        .parse()
        .map_err(|_| "want an origin in ASCII".to_owned())
}

#[cfg(test)]
mod tests {
    use super::origin;

    #[test]
    fn origins() {
        for good in ["*", "https://example.org", "http://localhost:8080"] {
            assert!(origin(good).is_ok_and(|origin| origin == good), "{good}");
        }
        assert!(origin("HTTPS://Example.org").is_ok_and(|origin| origin == "https://example.org"));
        for bad in [
            "",
            "example.org",
            "https://",
            "https://example.org/",
            "https://a b",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
