//! A line a request on stderr: when, who, what, how it ended, how long it took. Ids of runs are secrets and stand in none.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use assay_verify::statement::rfc3339;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::http::Peer;
use super::server::Server;
use crate::text;

/// On a response whose line is written once it has ended.
#[derive(Debug, Clone, Copy)]
pub struct LoggedLater;

/// Counts and logs a request.
pub async fn request(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    // The pattern, not the path: that has ids, or whatever somebody likes to see in a log.
    let route = match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().to_owned(),
        None => "other".to_owned(),
    };
    let method = text::plain(request.method().as_str());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    server.metrics.request(&route, status);
    if response.extensions().get::<LoggedLater>().is_none() {
        let peer = peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
        let took = started.elapsed().as_secs_f64();
        line(&format!("{peer} {method} {route} {status} {took:.3} s"));
    }
    response
}

/// Logs a run that has ended.
pub fn run(peer: SocketAddr, ending: &str, tokens: u64, took: Duration) {
    let took = took.as_secs_f64();
    line(&format!(
        "{peer} POST /v1/runs 200 {took:.3} s {ending}, {}",
        text::count(tokens, "token")
    ));
}

/// Logs the prover's own trouble.
pub fn fault(what: &str) {
    line(&format!("error: {}", text::plain(what).replace('\n', " ")));
}

fn line(what: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    // Nobody can be told if that fails.
    drop(writeln!(
        std::io::stderr().lock(),
        "{} {what}",
        rfc3339(now)
    ));
}
