//! Who may ask: the right token, and no page that was not invited.

use std::sync::Arc;

use assay_live::FaultCode;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;

use super::refusal::Refusal;
use super::server::Server;

/// Lets those in who have the token, if there is one.
pub async fn token(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let known = match &server.token {
        None => true,
        Some(token) => bearer(request.headers())
            .is_some_and(|given| bool::from(given.as_bytes().ct_eq(token.secret().as_bytes()))),
    };
    if known {
        next.run(request).await
    } else {
        Refusal::new(
            FaultCode::Unauthorized,
            "this prover wants a bearer token, and the right one",
        )
        .into_response()
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Keeps pages out that are not invited. CORS alone would only hide the answer from them; and a name that leads a browser here
/// (DNS rebinding) would not even do that.
pub async fn origin(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let allowed = match request.headers().get(ORIGIN) {
        None => true,
        Some(origin) => (server.origins.iter()).any(|known| known == "*" || known == origin),
    };
    if allowed {
        next.run(request).await
    } else {
        Refusal::new(
            FaultCode::Origin,
            "pages of this origin may not ask here; `--allow-origin` lets them",
        )
        .into_response()
    }
}
