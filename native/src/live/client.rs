//! HTTP for the exchange. A thread reads and this one waits for it, so that a clock and whoever stops it are heard in between.

use std::io::Read as _;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use assay_live::{Address, Body, Call, Method, Response, Transport, TransportError};
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use ureq::http::{HeaderMap, HeaderName, Request};
use ureq::{Agent, Proxy};

/// A prover says something at least every five seconds, if only that it is there.
const SILENCE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(15);
/// How often it is asked whether to stop.
const LOOK_UP: Duration = Duration::from_millis(50);
/// Bytes read at once, and pieces that wait.
const PIECE: usize = 64 << 10;
const PIECES: usize = 16;

/// Whether the user wants it no more: Ctrl-C in a terminal, a cancelled job in a window.
pub type Stop = Rc<dyn Fn() -> bool>;

/// One prover.
pub struct Client {
    agent: Agent,
    base: Address,
    authorization: Option<String>,
    stop: Stop,
    total: Duration,
    until: Instant,
}

/// What the reading thread says.
enum Said {
    Head {
        status: u16,
        content_type: String,
        length: Option<u64>,
    },
    Piece(Vec<u8>),
    End,
    Fault(TransportError),
}

impl Client {
    /// For the prover at `base`, which has so long in all from now on.
    pub fn new(base: Address, token: Option<&str>, total: Duration, stop: Stop) -> Self {
        let here = base.is_this_machine();
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would take the token elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(if here { None } else { Proxy::try_from_env() })
            .timeout_connect(Some(CONNECT))
            // For the thread, should nobody wait for it any more.
            .timeout_per_read(Some(SILENCE + CONNECT))
            .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Self {
            agent,
            base,
            authorization: token.map(|token| format!("Bearer {token}")),
            stop,
            total,
            until: Instant::now() + total,
        }
    }

    /// Starts a thread that sends `call`, and says what comes of it.
    fn send(&self, call: &Call<'_>) -> Result<Receiver<Said>, TransportError> {
        let request = self.request(call)?;
        let (said, receiver) = sync_channel(PIECES);
        let (agent, has_body) = (self.agent.clone(), call.body.is_some());
        thread::Builder::new()
            .name("prover".to_owned())
            .spawn(move || read(&agent, request, has_body, &said))
            .map_err(|err| TransportError::Unreachable(err.to_string()))?;
        Ok(receiver)
    }

    fn request(&self, call: &Call<'_>) -> Result<Request<Vec<u8>>, TransportError> {
        let method = match call.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        };
        let mut request = Request::builder()
            .method(method)
            .uri(self.base.route(call.path));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if call.body.is_some() {
            request = request.header(CONTENT_TYPE, assay_live::routes::JSON);
        }
        request
            .body(call.body.unwrap_or_default().to_vec())
            .map_err(|err| TransportError::Unreachable(err.to_string()))
    }
}

impl Transport for Client {
    type Body = Pieces;

    async fn call(&mut self, call: Call<'_>) -> Result<Response<Pieces>, TransportError> {
        let mut body = Pieces {
            receiver: self.send(&call)?,
            stop: Rc::clone(&self.stop),
            total: self.total,
            until: self.until,
        };
        match body.wait()? {
            Said::Head {
                status,
                content_type,
                length,
            } => Ok(Response {
                status,
                content_type,
                length,
                body,
            }),
            Said::Fault(err) => Err(err),
            Said::Piece(_) | Said::End => Err(TransportError::Protocol("no head".to_owned())),
        }
    }

    fn notify(&mut self, call: Call<'_>) {
        drop(self.send(&call)); // the thread goes on without a listener, to the answer's head
    }
}

/// A body as the thread reads it.
pub struct Pieces {
    receiver: Receiver<Said>,
    stop: Stop,
    total: Duration,
    until: Instant,
}

impl Pieces {
    fn wait(&mut self) -> Result<Said, TransportError> {
        let since = Instant::now();
        loop {
            if (self.stop)() {
                return Err(TransportError::Cancelled);
            }
            let now = Instant::now();
            if now >= self.until {
                let seconds = self.total.as_secs();
                return Err(TransportError::Slow { seconds });
            }
            if now.duration_since(since) >= SILENCE {
                let seconds = SILENCE.as_secs();
                return Err(TransportError::Silent { seconds });
            }
            match self.receiver.recv_timeout(LOOK_UP.min(self.until - now)) {
                Ok(said) => return Ok(said),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(TransportError::Cut("the reader ended".to_owned()));
                }
            }
        }
    }
}

impl Body for Pieces {
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        match self.wait()? {
            Said::Piece(bytes) => Ok(Some(bytes)),
            Said::End => Ok(None),
            Said::Fault(err) => Err(err),
            Said::Head { .. } => Err(TransportError::Protocol("two heads".to_owned())),
        }
    }
}

/// The thread: says what comes, until there is no more, or nobody listens.
fn read(agent: &Agent, request: Request<Vec<u8>>, has_body: bool, said: &SyncSender<Said>) {
    let ran = if has_body {
        agent.run(request)
    } else {
        agent.run(request.map(|_| ()))
    };
    let response = match ran {
        Ok(response) => response,
        Err(err) => {
            drop(said.send(Said::Fault(before_the_head(&err))));
            return;
        }
    };
    let head = Said::Head {
        status: response.status().as_u16(),
        content_type: header(response.headers(), &CONTENT_TYPE).to_owned(),
        length: header(response.headers(), &CONTENT_LENGTH).parse().ok(),
    };
    if said.send(head).is_err() {
        return;
    }
    let mut body = response.into_body().into_reader();
    let mut piece = vec![0; PIECE];
    loop {
        let next = match body.read(&mut piece) {
            Ok(0) => Said::End,
            Ok(n) => Said::Piece(piece.get(..n).unwrap_or_default().to_vec()),
            Err(err) => Said::Fault(TransportError::Cut(err.to_string())),
        };
        let last = !matches!(next, Said::Piece(_));
        if said.send(next).is_err() || last {
            return;
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// A fault before there was an answer: no connection, one that was lost, or something that is no HTTP.
fn before_the_head(err: &ureq::Error) -> TransportError {
    let reason = crate::text::plain(&err.to_string());
    match err {
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => {
            TransportError::Protocol(reason)
        }
        ureq::Error::Io(io) if is_loss(io.kind()) => TransportError::Cut(reason),
        _ => TransportError::Unreachable(reason),
    }
}

/// Whether there was a connection to be lost.
fn is_loss(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        kind,
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}
