//! Routes, and what every request passes through: log, CORS, origin, token.

use std::sync::Arc;

use assay_live::{FaultCode, RunId, routes};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::refusal::Refusal;
use super::server::Server;
use super::{access_log, guard, opening, run};

/// All of it.
pub fn router(server: &Arc<Server>) -> Router {
    let routes = Router::new()
        .route(routes::INFO, get(info))
        .route(routes::METRICS, get(metrics))
        .route(routes::RUNS, post(run::start))
        .route(routes::RUN, delete(forget))
        .route(routes::OPENING, post(opening::open))
        .fallback(async || Refusal::new(FaultCode::NotFound, "there is no such route"))
        .method_not_allowed_fallback(async || {
            Refusal::new(FaultCode::Method, "this route takes another method")
        });
    // The last layer is the outermost. A preflight has no token, and CORS answers it before one is asked for.
    let mut routes = routes
        .layer(from_fn_with_state(Arc::clone(server), guard::token))
        .layer(from_fn_with_state(Arc::clone(server), guard::origin));
    if !server.origins.is_empty() {
        routes = routes.layer(cors(&server.origins));
    }
    routes
        .layer(from_fn_with_state(Arc::clone(server), access_log::request))
        .with_state(Arc::clone(server))
}

/// For pages of these origins. A page on https may ask an address on this machine only if that says so too (Private Network Access).
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let any = origins.iter().any(|origin| origin == "*");
    CorsLayer::new()
        .allow_origin(if any {
            AllowOrigin::any()
        } else {
            AllowOrigin::list(origins.iter().cloned())
        })
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE])
        .allow_private_network(true)
        .max_age(std::time::Duration::from_secs(600))
}

async fn info(State(server): State<Arc<Server>>) -> Response {
    match serde_json::to_vec(&server.info) {
        Ok(json) => typed(routes::JSON, json),
        Err(_) => Refusal::new(FaultCode::Internal, "no JSON form").into_response(),
    }
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    typed("text/plain; version=0.0.4", server.metrics.text(&server))
}

/// A body of this type, which nobody shall keep for another.
pub fn typed(content_type: &'static str, body: impl Into<axum::body::Body>) -> Response {
    let headers = [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")];
    (headers, body.into()).into_response()
}

/// The verifier has what it needs.
async fn forget(
    State(server): State<Arc<Server>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let id: RunId = id.parse().map_err(|_| no_such_run())?;
    if server.retention.remove(id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(no_such_run())
    }
}

/// One answer for ids that never were and for those that no longer are.
pub fn no_such_run() -> Refusal {
    Refusal::new(FaultCode::NotFound, "there is no such run, or no longer")
}
