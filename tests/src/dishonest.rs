//! A dishonest live prover: it stands between a verifier and an honest one, and lies in one place of the exchange.
//!
//! What it does not lie about is the honest prover's, so that nothing but the lie can be what a verifier sees.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use assay_live::{Info, Line, OpeningRequest, ReceiptLine, RunRequest, routes};
use assay_trace::{Digest, EditableTrace, Manifest, Sampler, Trace};

/// Where it lies, or fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Nowhere: it only carries.
    None,
    /// Says no before it has committed to anything.
    Refuse,
    /// Is no HTTP server.
    NoHttp,
    /// Sends the verifier elsewhere.
    Redirect,
    /// Answers pages.
    Html,
    /// Serves another model, and says so.
    OtherModel,
    /// Commits to another model than it said.
    OtherModelInReceipt,
    /// Runs with a nonce of its own.
    OtherNonce,
    /// Runs another prompt.
    OtherPrompt,
    /// Runs with another sampler.
    OtherSampler,
    /// Goes on after ends of sequences, or does not.
    OtherEosRule,
    /// Stops one token early, and says that all are there.
    FewerTokens,
    /// Gives a receipt in which something is open.
    OpenReceipt,
    /// Streams another token than it commits to.
    SwappedToken,
    /// Streams one token too many.
    MoreTokens,
    /// Streams something that means nothing.
    Garbage,
    /// Streams a line without end.
    EndlessLine,
    /// Ends without a receipt, in good order.
    NoReceipt,
    /// Drops the connection while it streams.
    CutStream,
    /// Falls silent while it streams.
    StallStream,
    /// Says no to the challenge.
    Withhold,
    /// Drops the connection in the opening.
    CutOpening,
    /// Falls silent in the opening.
    StallOpening,
    /// Opens another run: other tokens, in a file that holds together.
    OtherRun,
    /// Opens the same tokens with other hidden states, in a file that holds together.
    OtherRoot,
    /// Opens a layer that was not asked for in place of one that was.
    OtherLayer,
    /// Opens one layer fewer.
    FewerLayers,
    /// Opens everything.
    MoreLayers,
    /// Opens all hidden states, of which a few were asked for.
    MoreStates,
    /// Opens no rows of logits.
    NoLogits,
    /// Opens bytes that are no trace.
    GarbageOpening,
    /// Says that the opening has a terabyte.
    HugeOpening,
    /// Opens without end.
    EndlessOpening,
}

/// Longer than any test waits.
const STALL: Duration = Duration::from_secs(30);

/// Starts to listen; the threads end with the process. Gives the address.
pub fn start(honest: &str, lie: Lie) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", listener.local_addr()?);
    let liar = Arc::new(Liar {
        lie,
        honest: honest.to_owned(),
        agent: ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into(),
        request: Mutex::new(None),
    });
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let liar = Arc::clone(&liar);
            thread::spawn(move || drop(liar.serve(stream))); // a verifier that has seen enough hangs up
        }
    });
    Ok(address)
}

struct Liar {
    lie: Lie,
    honest: String,
    agent: ureq::Agent,
    /// What the honest prover was asked for last.
    request: Mutex<Option<RunRequest>>,
}

struct Asked {
    method: String,
    path: String,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    content_type: String,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            content_type: content_type.to_owned(),
            body: body.into(),
        }
    }

    fn refusal() -> Self {
        let body = br#"{"code":"not-now","message":"ask me \u001b[2J later"}"#;
        Self::new(503, routes::JSON, *body)
    }
}

impl Liar {
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let asked = read_request(&stream)?;
        if self.lie == Lie::NoHttp {
            return stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n");
        }
        let json = |value: Vec<u8>| Answer::new(200, routes::JSON, value);
        let answer = match (asked.method.as_str(), asked.path.as_str()) {
            (_, _) if self.lie == Lie::Html => Answer::new(200, "text/html", "<h1>Sign in</h1>"),
            (_, _) if self.lie == Lie::Redirect => {
                let head = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\n\
                            Content-Length: 0\r\nConnection: close\r\n\r\n";
                return stream.write_all(head.as_bytes());
            }
            ("GET", routes::INFO) => {
                let answer = self.honest(&asked.method, &asked.path, None)?;
                let mut info: Info = from_json(&answer.body)?;
                if self.lie == Lie::OtherModel {
                    info.model.root = Digest::of(b"another");
                }
                json(to_json(&info)?)
            }
            ("POST", routes::RUNS) => return self.run(&asked, stream),
            ("POST", _) => return self.opening(&asked, stream),
            _ => self.honest(&asked.method, &asked.path, None)?,
        };
        send(&mut stream, &answer)
    }

    fn run(&self, asked: &Asked, mut stream: TcpStream) -> io::Result<()> {
        if self.lie == Lie::Refuse {
            return send(&mut stream, &Answer::refusal());
        }
        let mut request: RunRequest = from_json(&asked.body)?;
        match self.lie {
            Lie::OtherNonce => request.nonce = Digest::of(b"another"),
            Lie::OtherPrompt => request.prompt = other_prompt(&request.prompt),
            Lie::OtherSampler => request.sampler = Sampler::Greedy,
            Lie::OtherEosRule => request.ignore_eos = !request.ignore_eos,
            Lie::FewerTokens => request.max_tokens -= 1,
            _ => {}
        }
        *self.kept() = Some(request.clone());
        let answer = self.honest("POST", routes::RUNS, Some(&to_json(&request)?))?;
        let mut lines: Vec<Line> = answer
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(from_json)
            .collect::<io::Result<_>>()?;
        if let Some(Line::Receipt(receipt)) = lines.last_mut() {
            self.twist(receipt)?;
        }
        match self.lie {
            Lie::SwappedToken => {
                if let Some(Line::Token(id)) = lines.first_mut() {
                    *id ^= 1;
                }
            }
            Lie::MoreTokens => lines.insert(0, Line::Token(1)),
            Lie::NoReceipt | Lie::CutStream | Lie::StallStream | Lie::Garbage => drop(lines.pop()),
            _ => {}
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            routes::NDJSON
        );
        stream.write_all(head.as_bytes())?;
        for line in &lines {
            chunk(&mut stream, &line.to_bytes())?;
        }
        match self.lie {
            Lie::CutStream => return Ok(()),
            Lie::StallStream => return stall(stream),
            Lie::Garbage => chunk(&mut stream, b"\xff\xfe<html>\n")?,
            Lie::EndlessLine => loop {
                chunk(&mut stream, &[b' '; 4096])?;
            },
            _ => {}
        }
        stream.write_all(b"0\r\n\r\n")
    }

    /// Lies in the receipt.
    fn twist(&self, receipt: &mut ReceiptLine) -> io::Result<()> {
        let mut manifest = Manifest::parse(&receipt.manifest).map_err(io::Error::other)?;
        match self.lie {
            Lie::OtherModelInReceipt => manifest.model.root = Digest::of(b"another"),
            Lie::OpenReceipt => manifest.opened = vec![0],
            _ => {}
        }
        receipt.manifest = manifest.canonical_json();
        Ok(())
    }

    fn opening(&self, asked: &Asked, mut stream: TcpStream) -> io::Result<()> {
        match self.lie {
            Lie::Withhold => return send(&mut stream, &Answer::refusal()),
            Lie::StallOpening => return stall(stream),
            Lie::EndlessOpening => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nConnection: close\r\n\r\n",
                    routes::TRACE
                );
                stream.write_all(head.as_bytes())?;
                loop {
                    stream.write_all(&[0; 1 << 16])?;
                }
            }
            _ => {}
        }
        let mut request: OpeningRequest = from_json(&asked.body)?;
        match self.lie {
            Lie::OtherLayer => {
                let free = (0..).find(|layer| !request.layers.contains(layer));
                request.layers.pop();
                request.layers.extend(free);
                request.layers.sort_unstable();
            }
            Lie::FewerLayers => drop(request.layers.pop()),
            Lie::MoreLayers => {
                let answer = self.honest("GET", routes::INFO, None)?;
                let info: Info = from_json(&answer.body)?;
                request.layers = (0..info.model.layers).collect();
            }
            Lie::MoreStates => {
                let answer = self.honest("GET", routes::INFO, None)?;
                let info: Info = from_json(&answer.body)?;
                request.states = (0..=info.model.layers).collect();
            }
            Lie::NoLogits => request.logits.clear(),
            _ => {}
        }
        let path = match self.lie {
            Lie::OtherRun => self.another_run()?,
            _ => asked.path.clone(),
        };
        let mut answer = self.honest("POST", &path, Some(&to_json(&request)?))?;
        match self.lie {
            Lie::OtherRoot => {
                let trace = Trace::parse(&answer.body).map_err(io::Error::other)?;
                let mut trace = EditableTrace::from_trace(&trace);
                if let Some(digest) = trace.logits_digests.first_mut() {
                    *digest = Digest::of(b"another");
                }
                for rows in trace.states.values_mut() {
                    rows.iter_mut().for_each(|x| *x *= 1.5);
                }
                answer.body = trace.seal().map_err(io::Error::other)?;
            }
            Lie::GarbageOpening => answer.body.fill(7),
            _ => {}
        }
        let declared = match self.lie {
            Lie::HugeOpening => 1 << 40,
            _ => answer.body.len(),
        };
        if self.lie == Lie::CutOpening {
            answer.body.truncate(declared / 2);
        }
        send_declared(&mut stream, &answer, declared)
    }

    /// The same request with another prompt of the same length: where to have that opened.
    fn another_run(&self) -> io::Result<String> {
        let mut request = self
            .kept()
            .clone()
            .ok_or_else(|| io::Error::other("no run"))?;
        request.prompt = other_prompt(&request.prompt);
        let answer = self.honest("POST", routes::RUNS, Some(&to_json(&request)?))?;
        let last = answer
            .body
            .split(|byte| *byte == b'\n')
            .rfind(|line| !line.is_empty());
        match from_json(last.unwrap_or_default())? {
            Line::Receipt(receipt) => Ok(routes::opening(receipt.id)),
            line => Err(io::Error::other(format!("{line:?}"))),
        }
    }

    /// Asks the honest prover.
    fn honest(&self, method: &str, path: &str, body: Option<&[u8]>) -> io::Result<Answer> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.honest));
        let ran = match body {
            Some(body) => {
                let request = request
                    .header("Content-Type", routes::JSON)
                    .body(body.to_vec());
                self.agent.run(request.map_err(io::Error::other)?)
            }
            None => self.agent.run(request.body(()).map_err(io::Error::other)?),
        };
        let mut response = ran.map_err(io::Error::other)?;
        let content_type = response.headers().get("Content-Type");
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let mut answer = Answer::new(response.status().as_u16(), content_type, []);
        response
            .body_mut()
            .as_reader()
            .read_to_end(&mut answer.body)?;
        Ok(answer)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<RunRequest>> {
        self.request.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn other_prompt(prompt: &[u32]) -> Vec<u32> {
    prompt.iter().map(|id| id ^ 1).collect()
}

fn read_request(stream: &TcpStream) -> io::Result<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Asked { method, path, body })
}

fn send(stream: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    send_declared(stream, answer, answer.body.len())
}

fn send_declared(stream: &mut TcpStream, answer: &Answer, declared: usize) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {} Whatever\r\nContent-Type: {}\r\nContent-Length: {declared}\r\nConnection: close\r\n\r\n",
        answer.status, answer.content_type
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&answer.body)
}

fn chunk(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    write!(stream, "{:x}\r\n", bytes.len())?;
    stream.write_all(bytes)?;
    stream.write_all(b"\r\n")
}

/// Says nothing until the verifier hangs up.
fn stall(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(STALL))?;
    stream.read(&mut [0]).map(drop)
}

fn from_json<T: for<'de> serde::Deserialize<'de>>(bytes: &[u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(io::Error::other)
}

fn to_json(value: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::other)
}
