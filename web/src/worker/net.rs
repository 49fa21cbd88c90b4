//! Fetching: whole small files, large ones piece by piece, and ranges of them; and saying what went wrong in words that help.

use assay_work::message::Failure;
use eframe::wasm_bindgen::{JsCast as _, JsValue};
use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    ReadableStreamDefaultReader, Request, RequestInit, RequestMode, Response, XmlHttpRequest,
    XmlHttpRequestResponseType,
};

use super::handles::words;
use super::scope;

/// Awaits a promise.
pub async fn wait(promise: Promise) -> Result<JsValue, JsValue> {
    JsFuture::from(promise).await
}

/// What a server said about a file before its bytes.
pub struct Answer {
    response: Response,
    /// Length of the whole file; `None` where the server does not say.
    pub bytes: Option<u64>,
    /// What names this version of the file: its ETag, or else the date of its last change.
    pub version: String,
    /// Byte that the body starts at: 0, or what was asked for where the server answers ranges.
    pub from: u64,
}

/// What may become of a file's bytes besides what this worker does with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The browser may have a copy on disk, as of any file.
    AsUsual,
    /// They are secret: no copy.
    Never,
}

/// Asks for `url` from byte `from` on. `None` if there is no such file.
pub async fn ask(url: &str, from: u64) -> Result<Option<Answer>, Failure> {
    ask_as(url, from, Keep::AsUsual).await
}

async fn ask_as(url: &str, from: u64, keep: Keep) -> Result<Option<Answer>, Failure> {
    let init = RequestInit::new();
    if keep == Keep::Never {
        drop(Reflect::set(&init, &"cache".into(), &"no-store".into()));
    }
    let request =
        Request::new_with_str_and_init(url, &init).map_err(|err| bad_address(url, &words(err)))?;
    if from > 0 {
        drop(request.headers().set("Range", &format!("bytes={from}-")));
    }
    let response = match wait(scope().fetch_with_request(&request)).await {
        Ok(response) => response.unchecked_into::<Response>(),
        Err(err) => return Err(unreachable(url, &words(err)).await),
    };
    if response.status() == 404 {
        return Ok(None);
    }
    if !response.ok() {
        return Err(Failure::new(
            "network",
            format!("the server answered {} for {url}", response.status()),
        )
        .with_next("check the address; open it in a tab of its own to see what the server says"));
    }
    let header = |name: &str| response.headers().get(name).ok().flatten();
    let length = header("Content-Length").and_then(|length| length.parse::<u64>().ok());
    // `Content-Range: bytes 100-999/1000`; cross-origin it is hidden unless the server exposes it.
    let is_part = response.status() == 206;
    let total =
        header("Content-Range").and_then(|range| range.rsplit('/').next()?.parse::<u64>().ok());
    // What was compressed on the way has another length when it comes out.
    let is_plain = header("Content-Encoding").is_none_or(|encoding| encoding == "identity");
    let from = if is_part { from } else { 0 };
    let bytes = total.or_else(|| length.filter(|_| is_plain).map(|length| from + length));
    let version = header("ETag")
        .or_else(|| header("Last-Modified"))
        .unwrap_or_default();
    Ok(Some(Answer {
        response,
        bytes,
        version,
        from,
    }))
}

impl Answer {
    /// Hands the body to `take`, piece by piece. Ends early with the error of `take`; a connection that breaks is an error, too.
    pub async fn read(
        self,
        url: &str,
        take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Some(body) = self.response.body() else {
            return Ok(());
        };
        let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
        let mut at = self.from;
        loop {
            let step = wait(reader.read().unchecked_into())
                .await
                .map_err(|_err| interrupted(url, at, self.bytes))?;
            let is_done = Reflect::get(&step, &"done".into()).is_ok_and(|done| done.is_truthy());
            if is_done {
                break;
            }
            let piece = Reflect::get(&step, &"value".into()).unwrap_or(JsValue::UNDEFINED);
            let piece = Uint8Array::new(&piece).to_vec();
            at += piece.len() as u64;
            if let Err(failure) = take(&piece) {
                drop(reader.cancel());
                return Err(failure);
            }
        }
        match self.bytes {
            Some(bytes) if at < bytes => Err(interrupted(url, at, Some(bytes))),
            _ => Ok(()),
        }
    }
}

/// A whole file into memory; `None` if there is no such file.
pub async fn small_file(
    url: &str,
    most: u64,
    fetched: &mut dyn FnMut(u64, u64) -> Result<(), Failure>,
) -> Result<Option<Vec<u8>>, Failure> {
    whole_file(url, most, Keep::AsUsual, fetched).await
}

/// The same, with what may become of its bytes.
pub async fn whole_file(
    url: &str,
    most: u64,
    keep: Keep,
    fetched: &mut dyn FnMut(u64, u64) -> Result<(), Failure>,
) -> Result<Option<Vec<u8>>, Failure> {
    let Some(answer) = ask_as(url, 0, keep).await? else {
        return Ok(None);
    };
    let total = answer.bytes.unwrap_or(0);
    let too_large = |bytes: u64| {
        Failure::new(
            "too-large",
            format!("{url} has {bytes} bytes or more, and at most {most} are read here"),
        )
        .with_next("is this the right file? The desktop program opens larger ones")
    };
    if total > most {
        return Err(too_large(total));
    }
    let mut bytes = Vec::new();
    answer
        .read(url, &mut |piece| {
            if (bytes.len() + piece.len()) as u64 > most {
                return Err(too_large((bytes.len() + piece.len()) as u64));
            }
            bytes.extend_from_slice(piece);
            fetched(bytes.len() as u64, total)
        })
        .await?;
    Ok(Some(bytes))
}

/// There must be such a file.
pub fn missing(url: &str) -> Failure {
    Failure::new("not-found", format!("there is no file at {url}"))
        .with_next("check the address; open it in a tab of its own to see what the server says")
}

fn bad_address(url: &str, words: &str) -> Failure {
    Failure::new("request", format!("{url:?} is no address: {words}"))
}

/// The code of a download that stopped short.
pub const INTERRUPTED: &str = "interrupted-download";

fn interrupted(url: &str, at: u64, bytes: Option<u64>) -> Failure {
    let of = bytes
        .map(|bytes| format!(" of {bytes}"))
        .unwrap_or_default();
    Failure::new(
        INTERRUPTED,
        format!("the connection broke after {at}{of} bytes of {url}"),
    )
    .with_next("try again; or download the file and open it from your disk")
}

/// Browsers do not tell scripts why a fetch failed. A second one that may not look at the answer tells the two main causes apart: it
/// succeeds where a server is there and only forbids other pages to read.
async fn unreachable(url: &str, browser_words: &str) -> Failure {
    let init = RequestInit::new();
    init.set_mode(RequestMode::NoCors);
    let probe = Request::new_with_str_and_init(url, &init);
    let answers = match probe {
        Ok(probe) => wait(scope().fetch_with_request(&probe)).await.is_ok(),
        Err(_) => false,
    };
    match answers {
        true => Failure::new(
            "cors",
            format!("the server of {url} does not allow other pages to read it (CORS)"),
        )
        .with_next(
            "download the file and drop it here; or have its server send Access-Control-Allow-Origin",
        ),
        false => Failure::new(
            "network",
            format!("{url} cannot be reached ({browser_words})"),
        )
        .with_next("check the address and the connection"),
    }
}

/// `len` bytes from `offset`, while this worker waits.
pub fn read_range(url: &str, offset: u64, len: usize) -> Result<Vec<u8>, String> {
    let request = XmlHttpRequest::new().map_err(words)?;
    request.open_with_async("GET", url, false).map_err(words)?;
    request.set_response_type(XmlHttpRequestResponseType::Arraybuffer);
    let last = offset + len as u64 - 1;
    request
        .set_request_header("Range", &format!("bytes={offset}-{last}"))
        .map_err(words)?;
    request
        .send()
        .map_err(|_err| "the connection broke".to_owned())?;
    match request.status().map_err(words)? {
        206 => {
            let body = request.response().map_err(words)?;
            Ok(Uint8Array::new(&body).to_vec())
        }
        200 => Err("its server does not answer requests for a part of a file".to_owned()),
        status => Err(format!("its server answered {status}")),
    }
}
