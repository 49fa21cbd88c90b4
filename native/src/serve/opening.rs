//! POST /v1/runs/{id}/opening: opens a kept run, and streams the trace without a copy of it.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use assay_live::{FaultCode, OpeningRequest, RunId, routes};
use assay_trace::FinishedTrace;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use axum::response::Response;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::body;
use super::refusal::Refusal;
use super::router::{no_such_run, typed};
use super::server::Server;

/// Openings on their way at a time; further ones wait.
static OPENINGS: Semaphore = Semaphore::const_new(8);
/// Pieces of a trace (1 MiB each) that wait for whoever reads it.
const PIECES: usize = 4;
/// Who takes no piece for so long is gone.
const PIECE_TIME: Duration = Duration::from_secs(60);

/// The route.
pub async fn open(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let id: RunId = id.parse().map_err(|_| no_such_run())?;
    let trace = server.retention.get(id).ok_or_else(no_such_run)?;
    let max_bytes = OpeningRequest::max_bytes(server.info.model.layers, trace.output_tokens());
    let request: OpeningRequest = body::json(&headers, body, max_bytes).await?;
    let opened = trace
        .open(&request.into())
        .map_err(|err| Refusal::new(FaultCode::BadRequest, err.to_string()))?;
    server.metrics.opening();
    let length = opened.len();
    let mut response = typed(routes::TRACE, written(opened));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    Ok(response)
}

/// A body that is written by a thread of its own, as fast as it is read. If it ends too early, Content-Length tells.
fn written(trace: FinishedTrace) -> Body {
    let (pieces, receiver) = mpsc::channel(PIECES);
    let runtime = Handle::current();
    tokio::spawn(async move {
        let Ok(place) = OPENINGS.acquire().await else {
            return;
        };
        let writing = runtime.clone();
        let write = move || {
            let mut pieces = Pieces {
                pieces,
                runtime: writing,
            };
            drop(trace.write_to(&mut pieces)); // whoever reads is gone, or the server stops
        };
        drop(runtime.spawn_blocking(write).await);
        drop(place);
    });
    Body::from_stream(stream::unfold(receiver, async |mut receiver| {
        let piece: Vec<u8> = receiver.recv().await?;
        Some((io::Result::Ok(piece), receiver))
    }))
}

/// A writer into a channel.
struct Pieces {
    pieces: mpsc::Sender<Vec<u8>>,
    runtime: Handle,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let send = timeout(PIECE_TIME, self.pieces.send(bytes.to_vec()));
        match self.runtime.block_on(send) {
            Ok(Ok(())) => Ok(bytes.len()),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
