//! A request's body: JSON, of at most so many bytes, within a time.

use std::time::Duration;

use assay_live::{FaultCode, routes};
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::refusal::Refusal;

/// What is too large is read this far all the same: who still writes when the connection is closed never reads why.
const MOST_DRAINED: usize = 1 << 20;
/// For all of it.
const BODY_TIME: Duration = Duration::from_secs(15);

/// Reads it. The type must be declared: a page that is not invited can send other types without asking first.
pub async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    max_bytes: usize,
) -> Result<T, Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let media_type = text(CONTENT_TYPE).and_then(|value| value.split(';').next());
    if !media_type.is_some_and(|name| name.trim().eq_ignore_ascii_case(routes::JSON)) {
        let message = format!("Content-Type must be {}", routes::JSON);
        return Err(Refusal::new(FaultCode::MediaType, message));
    }
    let declared = text(CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let readable = max_bytes.max(MOST_DRAINED);
    if declared.is_some_and(|length: u64| length > readable as u64) {
        return Err(too_large(max_bytes));
    }
    let bytes = timeout(BODY_TIME, read(body, max_bytes))
        .await
        .map_err(|_| Refusal::new(FaultCode::Timeout, "the body did not come in time"))??;
    serde_json::from_slice(&bytes)
        .map_err(|err| Refusal::new(FaultCode::BadRequest, format!("the body: {err}")))
}

async fn read(body: Body, max_bytes: usize) -> Result<Vec<u8>, Refusal> {
    let (mut pieces, mut bytes, mut got) = (body.into_data_stream(), Vec::new(), 0_usize);
    while let Some(piece) = pieces.next().await {
        let piece =
            piece.map_err(|_| Refusal::new(FaultCode::BadRequest, "the body was cut off"))?;
        got = got.saturating_add(piece.len());
        if got <= max_bytes {
            bytes.extend_from_slice(&piece);
        } else if got > max_bytes.max(MOST_DRAINED) {
            break;
        }
    }
    if got > max_bytes {
        return Err(too_large(max_bytes));
    }
    Ok(bytes)
}

fn too_large(max_bytes: usize) -> Refusal {
    let message = format!("the body has more than {max_bytes} bytes");
    Refusal::new(FaultCode::TooLarge, message)
}
