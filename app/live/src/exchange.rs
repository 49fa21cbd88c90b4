//! The whole exchange, over whatever carries it.

use assay_trace::Digest;

use crate::{
    Answer, Body, Call, Challenged, Commit, Committed, ExchangeError, Failed, Fault, Info, Lines,
    Method, OpeningRequest, Response, Step, Transport, TransportError, Wanted, routes,
};

/// What goes on, for whoever shows it.
#[derive(Debug)]
pub enum News<'a> {
    /// What the prover says of itself.
    Info(&'a Info),
    /// A token came.
    Token(u32),
    /// The receipt came, and is in order.
    Committed(Digest),
    /// This was asked for.
    Challenged(&'a OpeningRequest),
    /// So many bytes of the opening came, of at most so many.
    Opening {
        /// Bytes so far.
        got: u64,
        /// Most that there can be.
        of: u64,
    },
}

/// Asks a prover for what is `wanted`, and has it opened. `random` fills its argument with random bytes of the system's, each time
/// anew: it is called once for the nonce, and once, after the receipt is here, for the challenge.
///
/// # Errors
/// [`Failed`], whose error says whether that is the prover's conduct.
pub async fn exchange<T: Transport>(
    transport: &mut T,
    wanted: &Wanted,
    random: &mut dyn FnMut(&mut [u8; 32]) -> Result<(), String>,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<Answer, Failed> {
    let mut draw = || {
        let mut bytes = [0; 32];
        random(&mut bytes).map_err(ExchangeError::Random)?;
        Ok(bytes)
    };
    let info = info(transport).await.map_err(Failed::early)?;
    tell(News::Info(&info));
    let nonce = draw().map_err(Failed::early)?;
    let commit = Commit::new(wanted, info, nonce).map_err(Failed::early)?;
    let committed = run(transport, commit, tell).await.map_err(Failed::early)?;
    let receipt = committed.digest();
    tell(News::Committed(receipt));
    let failed = |error, challenged, opened| Failed {
        error,
        challenged,
        receipt: Some(receipt),
        opened,
    };
    let challenged = draw()
        .and_then(|seed| committed.challenge(seed))
        .map_err(|error| failed(error, false, Vec::new()))?;
    tell(News::Challenged(challenged.request()));
    let trace = opening(transport, &challenged, tell)
        .await
        .map_err(|error| failed(error, true, Vec::new()))?;
    // The prover may forget the run now; whether it hears of that is all the same here.
    let path = routes::run(challenged.id());
    transport.notify(call(Method::Delete, &path, None));
    match challenged.check(&trace) {
        Ok(()) => Ok(challenged.into_answer(trace)),
        Err(error) => Err(failed(error, true, trace)),
    }
}

fn call<'a>(method: Method, path: &'a str, body: Option<&'a [u8]>) -> Call<'a> {
    Call { method, path, body }
}

async fn info(transport: &mut impl Transport) -> Result<Info, ExchangeError> {
    let response = transport
        .call(call(Method::Get, routes::INFO, None))
        .await?;
    let response = success(response, routes::JSON, false).await?;
    Info::parse(&read(response.body, Info::MAX_BYTES).await?)
}

async fn run<'a, T: Transport>(
    transport: &mut T,
    mut commit: Commit<'a>,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<Committed<'a>, ExchangeError> {
    let request = json(&commit.request())?;
    let response = transport
        .call(call(Method::Post, routes::RUNS, Some(&request)))
        .await?;
    let mut body = success(response, routes::NDJSON, false).await?.body;
    let mut lines = Lines::new(commit.max_line_bytes());
    // A prover that has nothing to say may say so now and then, not without end.
    let mut alive = 0_u32;
    loop {
        let Some(bytes) = body.chunk().await? else {
            return Err(ExchangeError::Protocol(
                "the run ended without a receipt".to_owned(),
            ));
        };
        lines.push(&bytes);
        while let Some(line) = lines.next_line().map_err(too_long)? {
            match commit.take(line)? {
                Step::Alive if alive == MAX_ALIVE => {
                    return Err(ExchangeError::Protocol("too many empty lines".to_owned()));
                }
                Step::Alive => alive += 1,
                Step::Token(id) => tell(News::Token(id)),
                Step::Committed(committed) => {
                    end(body, lines).await?;
                    return Ok(*committed);
                }
            }
        }
    }
}

/// Empty lines that a run may have: at one in five seconds, four hours.
const MAX_ALIVE: u32 = 3000;

/// Nothing may follow a receipt.
async fn end(mut body: impl Body, lines: Lines) -> Result<(), ExchangeError> {
    if lines.has_rest() || body.chunk().await?.is_some() {
        return Err(ExchangeError::Protocol(
            "something follows the receipt".to_owned(),
        ));
    }
    Ok(())
}

fn too_long(err: crate::LineTooLong) -> ExchangeError {
    ExchangeError::Protocol(err.to_string())
}

async fn opening(
    transport: &mut impl Transport,
    challenged: &Challenged,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<Vec<u8>, ExchangeError> {
    let request = json(challenged.request())?;
    let path = routes::opening(challenged.id());
    let response = transport
        .call(call(Method::Post, &path, Some(&request)))
        .await?;
    let response = success(response, routes::TRACE, true).await?;
    let of = challenged.max_bytes();
    if response.length.is_some_and(|length| length > of) {
        return Err(challenged.too_long());
    }
    let (mut body, mut trace) = (response.body, Vec::new());
    while let Some(bytes) = body.chunk().await? {
        let got = trace.len() as u64 + bytes.len() as u64;
        if got > of {
            return Err(challenged.too_long());
        }
        trace
            .try_reserve(bytes.len())
            .map_err(|_| ExchangeError::TooLarge {
                bytes: of,
                max: got,
            })?;
        trace.extend_from_slice(&bytes);
        tell(News::Opening { got, of });
    }
    Ok(trace)
}

/// The response, if it is a success of the right type.
async fn success<B: Body>(
    response: Response<B>,
    content_type: &str,
    challenged: bool,
) -> Result<Response<B>, ExchangeError> {
    let status = response.status;
    let named = response.content_type.split(';').next().unwrap_or_default();
    if status == 200 {
        if named.trim().eq_ignore_ascii_case(content_type) {
            return Ok(response);
        }
        let got = crate::fault::shown(named, 60);
        return Err(ExchangeError::Protocol(format!(
            "an answer is `{got}`, want `{content_type}`"
        )));
    }
    let fault = match read(response.body, Fault::MAX_BYTES).await {
        Ok(body) => crate::json::read(&body).ok(),
        Err(ExchangeError::Cancelled) => return Err(ExchangeError::Cancelled),
        Err(_) => None,
    };
    Err(ExchangeError::refusal(status, fault.as_ref(), challenged))
}

async fn read(mut body: impl Body, max_bytes: usize) -> Result<Vec<u8>, ExchangeError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        if bytes.len() + chunk.len() > max_bytes {
            return Err(TransportError::Protocol(format!(
                "an answer has more than {max_bytes} bytes"
            ))
            .into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, ExchangeError> {
    serde_json::to_vec(value).map_err(|err| ExchangeError::Request(err.to_string()))
}
