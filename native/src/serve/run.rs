//! POST /v1/runs: checks the request, queues it, streams what comes of it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assay_live::{FaultCode, Line, RequestError, RunRequest, routes};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::access_log::LoggedLater;
use super::http::Peer;
use super::queue::{Job, Unqueued};
use super::refusal::Refusal;
use super::server::Server;
use super::{body, router};

/// An empty line is sent after so much silence: whoever waits in the queue shall not think that nobody is there.
const ALIVE: Duration = Duration::from_secs(5);

/// The route.
pub async fn start(
    State(server): State<Arc<Server>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let asked = Instant::now();
    let max_bytes = RunRequest::max_bytes(server.info.limits.max_prompt);
    let request: RunRequest = body::json(&headers, body, max_bytes).await?;
    request
        .check(&server.info.limits, server.info.model.vocab)
        .map_err(|err| {
            let code = match err {
                RequestError::TooMany { .. } => FaultCode::TooLarge,
                _ => FaultCode::BadRequest,
            };
            Refusal::new(code, err.to_string())
        })?;
    let bytes = server.retained_bytes(&request);
    if bytes > server.retention.max_bytes() {
        let message = "a run of this length takes more memory than this prover has for runs";
        return Err(Refusal::new(FaultCode::TooLarge, message));
    }
    let room = server.retention.reserve(bytes).ok_or_else(|| {
        let message = "as many runs are kept as there is room for; try again in a while";
        Refusal::new(FaultCode::Full, message)
    })?;
    let (lines, receiver) = unbounded_channel();
    let job = Job {
        request,
        lines,
        room,
        peer,
        asked,
    };
    server.queue.push(job).map_err(|why| match why {
        Unqueued::Full => Refusal::new(FaultCode::Busy, "as many requests wait as may"),
        Unqueued::Closed => Refusal::new(FaultCode::Stopping, "the prover is being stopped"),
    })?;
    let mut response = router::typed(routes::NDJSON, Body::from_stream(lines_of(receiver)));
    response.extensions_mut().insert(LoggedLater);
    Ok(response)
}

/// The lines as they come, to the one that ends the run. If there is none, the connection is cut: an answer never looks whole that is
/// not.
fn lines_of(
    receiver: UnboundedReceiver<Line>,
) -> impl stream::Stream<Item = io::Result<Vec<u8>>> + Send {
    stream::unfold(Some(receiver), async |receiver| {
        let mut receiver = receiver?;
        match timeout(ALIVE, receiver.recv()).await {
            Err(_) => Some((Ok(b"\n".to_vec()), Some(receiver))),
            Ok(None) => Some((Err(io::Error::other("the run was dropped")), None)),
            Ok(Some(line)) => {
                let goes_on = matches!(line, Line::Token(_));
                Some((Ok(line.to_bytes()), goes_on.then_some(receiver)))
            }
        }
    })
}
