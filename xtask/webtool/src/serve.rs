//! The page on this machine, for this machine only.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use axum::Router;
use axum::http::{HeaderValue, header};
use tokio::net::TcpListener;
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;

/// Where to look for a free port first.
pub const FIRST_PORT: u16 = 8080;

/// Serves until interrupted.
pub fn run(folder: &Path, port: u16) -> Result<()> {
    ensure!(
        folder.join("index.html").is_file(),
        "{} holds no page",
        folder.display()
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the server")?;
    runtime.block_on(serve(folder, port))
}

async fn serve(folder: &Path, port: u16) -> Result<()> {
    let listener = listen(port).await?;
    let address = listener.local_addr().context("the server has no address")?;
    // Types by file name, Range and If-Modified-Since are ServeDir's. Browsers shall ask each time, as the next build has
    // the same address.
    let app = Router::new().fallback_service(ServeDir::new(folder)).layer(
        SetResponseHeaderLayer::overriding(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache"),
        ),
    );
    println!("web: http://{address} (Ctrl-C ends it)");
    tokio::select! {
        served = axum::serve(listener, app) => served.context("the server failed"),
        stopped = tokio::signal::ctrl_c() => stopped.context("cannot wait for Ctrl-C"),
    }
}

/// The first free port from `port` on; any at all if `port` is 0.
async fn listen(port: u16) -> Result<TcpListener> {
    for candidate in port..=port.saturating_add(if port == 0 { 0 } else { 99 }) {
        match TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, candidate))).await {
            Ok(listener) => return Ok(listener),
            Err(err) if err.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(err) => {
                return Err(err).with_context(|| format!("cannot listen on port {candidate}"));
            }
        }
    }
    bail!("no free port from {port} on")
}
