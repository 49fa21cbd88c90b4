//! How to say no.

use assay_live::{Fault, FaultCode, routes};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// An answer that is no success.
#[derive(Debug)]
pub struct Refusal {
    code: FaultCode,
    message: String,
}

impl Refusal {
    /// With a sentence for people.
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let fault = Fault::new(self.code, self.message);
        let json = serde_json::to_vec(&fault).unwrap_or_default();
        let status = StatusCode::from_u16(self.code.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = [(CONTENT_TYPE, routes::JSON), (CACHE_CONTROL, "no-store")];
        let mut response = (status, headers, json).into_response();
        let extra = match self.code {
            FaultCode::Unauthorized => Some((WWW_AUTHENTICATE, "Bearer")),
            FaultCode::Busy | FaultCode::Full => Some((RETRY_AFTER, "10")),
            FaultCode::Method => Some((ALLOW, "GET, POST, DELETE")),
            _ => None,
        };
        if let Some((name, value)) = extra {
            let headers = response.headers_mut();
            headers
                .entry(name)
                .or_insert(HeaderValue::from_static(value));
        }
        response
    }
}
