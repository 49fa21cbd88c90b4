//! What the exchange needs of a platform: something that carries requests. Natively an HTTP client, in a browser `fetch`.

use std::future::Future;

/// HTTP methods that the exchange uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST with a body of JSON.
    Post,
    /// DELETE.
    Delete,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Its method.
    pub method: Method,
    /// Path, to be added to the prover's address.
    pub path: &'a str,
    /// JSON.
    pub body: Option<&'a [u8]>,
}

/// An answer whose body has yet to come.
#[derive(Debug)]
pub struct Response<B> {
    /// HTTP status.
    pub status: u16,
    /// The header Content-Type; empty if there is none.
    pub content_type: String,
    /// The header Content-Length.
    pub length: Option<u64>,
    /// The rest.
    pub body: B,
}

/// Carries requests to one prover, with whatever token it wants.
///
/// A transport has the clocks: it gives up on a prover that is silent for too long, or takes too long in all. It follows no redirects and
/// undoes no compression.
pub trait Transport {
    /// Bodies of its answers.
    type Body: Body;

    /// Sends `call`, and waits for the head of the answer.
    fn call(
        &mut self,
        call: Call<'_>,
    ) -> impl Future<Output = Result<Response<Self::Body>, TransportError>>;

    /// Sends `call`, and waits for nothing.
    fn notify(&mut self, call: Call<'_>);
}

/// A body as it comes.
pub trait Body {
    /// The next piece, of moderate size; `None` at the end. An end that came too early (by Content-Length or chunks) is
    /// [`TransportError::Cut`].
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, TransportError>>;
}

/// Why nothing was carried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection: address, name, TLS.
    #[error("cannot reach the prover: {0}")]
    Unreachable(String),
    /// The connection was lost half-way.
    #[error("the connection was lost: {0}")]
    Cut(String),
    /// Nothing came for too long.
    #[error("the prover was silent for {seconds} s")]
    Silent {
        /// How long was waited.
        seconds: u64,
    },
    /// It took too long in all.
    #[error("the prover did not end within {seconds} s")]
    Slow {
        /// How long was waited.
        seconds: u64,
    },
    /// What came is no HTTP.
    #[error("the prover does not speak HTTP: {0}")]
    Protocol(String),
    /// The user stopped it.
    #[error("cancelled")]
    Cancelled,
}
