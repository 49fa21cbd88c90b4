//! HTTP's thread: connections, and how they end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{interval, sleep, timeout};
use tower_service::Service as _;

use super::patience::Patient;
use super::router;
use super::server::Server;
use crate::interrupt;

/// Connections at a time; further ones wait in the system's own queue.
const MAX_CONNECTIONS: usize = 256;
/// For a request's head, also on a connection that was used before.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// For a peer to take some of an answer.
const READ_TIME: Duration = Duration::from_secs(60);
/// Largest head of a request.
const HEAD_BYTES: usize = 64 << 10;
/// For openings that are on their way when the server is stopped.
const GRACE: Duration = Duration::from_secs(10);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Serves until the process is asked to stop, or the engine's thread has.
pub fn serve(listener: std::net::TcpListener, server: &Arc<Server>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the server")?;
    let served = runtime.block_on(async {
        listener.set_nonblocking(true)?;
        accept(TcpListener::from_std(listener)?, server).await
    });
    // What still writes an opening to somebody who does not read has had its time.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn accept(listener: TcpListener, server: &Arc<Server>) -> anyhow::Result<()> {
    let app = router::router(server);
    let (connections, graceful) = (
        Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        GracefulShutdown::new(),
    );
    let mut stop = pin!(stop_asked(server));
    loop {
        let accepted = async {
            let place = Arc::clone(&connections).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (stream, peer, place) = tokio::select! {
            () = &mut stop => break,
            (accepted, place) = accepted => match accepted {
                Ok((stream, peer)) => (stream, peer, place),
                // Out of file descriptors, or a connection that is gone already: others may do better, in a while.
                Err(_) => {
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let connection = graceful.watch(connection(stream, peer, app.clone()));
        tokio::spawn(async move {
            drop(connection.await); // its faults are its peer's
            drop(place);
        });
    }
    drop(listener);
    server.stop();
    drop(timeout(GRACE, graceful.shutdown()).await);
    Ok(())
}

/// One connection's requests.
fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send + 'static {
    drop(stream.set_nodelay(true)); // tokens are small; slower is all that a refusal means
    let service = service_fn(move |request: Request<Incoming>| {
        let mut app = app.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            app.call(request).await
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Patient::new(stream, READ_TIME)), service)
}

/// Until Ctrl-C, SIGTERM, or an end of the engine's thread. Sweeps the store meanwhile.
async fn stop_asked(server: &Server) {
    let mut ticks = interval(Duration::from_millis(100));
    let mut terminated = pin!(terminated());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut terminated => return,
        }
        if interrupt::requested() || server.is_stopping() {
            return;
        }
        server.retention.sweep();
    }
}

/// Until SIGTERM, where there is such a thing.
async fn terminated() {
    #[cfg(unix)]
    if let Ok(mut signal) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    {
        signal.recv().await;
        return;
    }
    std::future::pending::<Infallible>().await;
}
