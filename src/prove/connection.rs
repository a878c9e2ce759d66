//! One HTTP/1.1 connection as a client sees it, to the byte: what came, and how it ended.
//!
//! Over TLS it is the same connection one layer up: rustls opens the records (`tls`), and a connection that ends
//! without close_notify has ended as if somebody had cut it.
//!
//! Written by hand because a client library hides what is measured here: whether a connection was reset
//! or closed, before or within an answer, and whether its end had been announced.
//! Promises: never retries, never reopens; an answer that is not complete is a loss that says why.
//! Must not know: what is asked for, or how losses are counted.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::options::Address;
use super::stream::Stream;
use super::tls::{Handshakes, Secured};

/// The longest head of an answer, in bytes.
const LONGEST_HEAD: usize = 64 << 10;

/// How a request was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nobody listened.
    Refused,
    /// Connection reset before a byte of the answer.
    Reset,
    /// Connection closed before a byte of the answer.
    Eof,
    /// Connection closed or reset within the answer.
    Truncated,
    /// Answered, but not with the status that belongs there.
    BadStatus,
    /// Answered with other content than there should be.
    DigestMismatch,
    Timeout,
    /// Not HTTP, or not WebSocket.
    Malformed,
    /// Connection over TLS that ended without close_notify, before or within an answer, or at rest.
    Unclosed,
    /// A handshake of TLS that failed, an alert, or a record that cannot be opened.
    Tls,
    /// The client's own fault, such as being out of file descriptors: the measurement is void.
    Client,
}

/// A request that was lost, and what was seen.
#[derive(Clone, Debug)]
pub struct Loss {
    pub kind: Kind,
    pub detail: String,
}

/// The head of an answer, as far as a client needs it.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    pub websocket_accept: Option<String>,
    framing: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

pub struct Connection {
    stream: Stream,
    pub buffer: BytesMut,
    reusable: bool,
    longest_wait: Duration,
}

impl Loss {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Loss {
        Loss { kind, detail: detail.into() }
    }

    pub fn of(error: &io::Error) -> Loss {
        let kind = match error.kind() {
            io::ErrorKind::UnexpectedEof => return Loss::new(Kind::Unclosed, "closed without close_notify"),
            io::ErrorKind::InvalidData => Kind::Tls,
            io::ErrorKind::ConnectionRefused => Kind::Refused,
            // A Unix socket whose file is gone has nobody listening.
            io::ErrorKind::NotFound => Kind::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => {
                Kind::Reset
            }
            io::ErrorKind::TimedOut => Kind::Timeout,
            _ => Kind::Client,
        };
        Loss::new(kind, error.to_string())
    }
}

impl Connection {
    /// Over TLS it is open when the handshake with `host` is done.
    pub async fn open(address: &Address, tls: Option<&Handshakes>, host: &str) -> Result<Connection, Loss> {
        let began = Instant::now();
        let stream = Stream::open(address, tls, host).await?;
        Ok(Connection { stream, buffer: BytesMut::new(), reusable: false, longest_wait: began.elapsed() })
    }

    /// The client's own end, which tells one connection from another; `None` for a Unix socket.
    pub fn local(&self) -> Option<SocketAddr> {
        self.stream.local()
    }

    /// How it was secured; `None` without TLS.
    pub fn secured(&self) -> Option<Secured> {
        self.stream.secured()
    }

    /// Gives back the memory of a buffer that holds nothing: thousands rest at once.
    pub fn rest(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Whether the last answer was whole and left the connection open.
    pub fn reusable(&self) -> bool {
        self.reusable
    }

    /// The longest silence since the last call.
    pub fn take_longest_wait(&mut self) -> Duration {
        std::mem::take(&mut self.longest_wait)
    }

    /// How the connection ended while nothing was asked; `None` while it is open and silent.
    pub fn ended(&mut self) -> Option<Kind> {
        if !self.buffer.is_empty() {
            return Some(Kind::Malformed);
        }
        self.stream.ended()
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Loss> {
        self.reusable = false;
        let began = Instant::now();
        let sent = match self.stream.write_all(bytes).await {
            Ok(()) => self.stream.flush().await,
            failed => failed,
        };
        self.longest_wait = self.longest_wait.max(began.elapsed());
        sent.map_err(|error| Loss::of(&error))
    }

    /// More bytes into the buffer; `Ok(0)` is the end. Safe to cancel.
    pub async fn read(&mut self) -> Result<usize, Loss> {
        let began = Instant::now();
        let read = self.stream.read_buf(&mut self.buffer).await;
        self.longest_wait = self.longest_wait.max(began.elapsed());
        read.map_err(|error| Loss::of(&error))
    }

    /// The head of the answer; interim ones (100, 103) are skipped.
    pub async fn head(&mut self) -> Result<Head, Loss> {
        loop {
            let head = self.any_head().await?;
            if head.status >= 200 || head.status == 101 {
                return Ok(head);
            }
        }
    }

    async fn any_head(&mut self) -> Result<Head, Loss> {
        loop {
            if let Some((head, length, persistent)) = parse(&self.buffer)? {
                self.buffer.advance(length);
                self.reusable = persistent && head.framing != Framing::UntilClose;
                return Ok(head);
            }
            if self.buffer.len() > LONGEST_HEAD {
                return Err(Loss::new(Kind::Malformed, "the head of the answer is longer than 64 KiB"));
            }
            let begun = !self.buffer.is_empty();
            match self.read().await {
                Ok(0) if begun => {
                    return Err(Loss::new(Kind::Truncated, "closed within the head of the answer"));
                }
                Ok(0) => return Err(Loss::new(Kind::Eof, "closed before the answer")),
                Ok(_) => {}
                Err(loss) if begun => return Err(truncated(loss)),
                Err(loss) => return Err(loss),
            }
        }
    }

    /// Hands the whole content of the answer to `take`, piece by piece.
    pub async fn content(&mut self, head: &Head, mut take: impl FnMut(&[u8])) -> Result<(), Loss> {
        let keep = std::mem::take(&mut self.reusable);
        match head.framing {
            Framing::Length(length) => self.exactly(length, &mut take).await?,
            Framing::Chunked => self.chunks(&mut take).await?,
            Framing::UntilClose => loop {
                let length = self.buffer.len();
                take(&self.buffer);
                self.buffer.advance(length);
                if self.read().await.map_err(truncated)? == 0 {
                    break;
                }
            },
        }
        self.reusable = keep;
        Ok(())
    }

    async fn exactly(&mut self, mut left: u64, take: &mut impl FnMut(&[u8])) -> Result<(), Loss> {
        while left > 0 {
            if self.buffer.is_empty() {
                self.more().await?;
            }
            let count = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            take(&self.buffer[..count]);
            self.buffer.advance(count);
            left -= count as u64;
        }
        Ok(())
    }

    /// RFC 9112, section 7.1.
    async fn chunks(&mut self, take: &mut impl FnMut(&[u8])) -> Result<(), Loss> {
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or("").trim();
            let size = u64::from_str_radix(digits, 16)
                .map_err(|_| Loss::new(Kind::Malformed, format!("chunk size '{digits}'")))?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(());
            }
            self.exactly(size, take).await?;
            if !self.line().await?.is_empty() {
                return Err(Loss::new(Kind::Malformed, "a chunk is longer than its size"));
            }
        }
    }

    async fn line(&mut self) -> Result<String, Loss> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.advance(end + 2);
                return Ok(line);
            }
            if self.buffer.len() > LONGEST_HEAD {
                return Err(Loss::new(Kind::Malformed, "a chunk's line is longer than 64 KiB"));
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), Loss> {
        match self.read().await {
            Ok(0) => Err(Loss::new(Kind::Truncated, "closed within the content of the answer")),
            Ok(_) => Ok(()),
            Err(loss) => Err(truncated(loss)),
        }
    }
}

fn truncated(loss: Loss) -> Loss {
    match loss.kind {
        Kind::Reset => Loss::new(Kind::Truncated, format!("within the answer: {}", loss.detail)),
        Kind::Unclosed => Loss::new(Kind::Unclosed, format!("within the answer: {}", loss.detail)),
        _ => loss,
    }
}

/// The head at the front of `bytes`, its length, and whether the connection stays open after the answer.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize, bool)>, Loss> {
    let malformed = |what: &str| Loss::new(Kind::Malformed, what);
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(malformed(&format!("the head of the answer: {error}"))),
    };
    let status = parsed.code.unwrap_or(0);
    let mut persistent = parsed.version == Some(1);
    let mut framing = Framing::UntilClose;
    let mut websocket_accept = None;
    for field in parsed.headers.iter() {
        let value = String::from_utf8_lossy(field.value);
        let lists = |word: &str| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word));
        match field.name.to_ascii_lowercase().as_str() {
            "connection" if lists("close") => persistent = false,
            "connection" if lists("keep-alive") => persistent = true,
            "transfer-encoding" if lists("chunked") => framing = Framing::Chunked,
            "content-length" if framing != Framing::Chunked => {
                framing =
                    Framing::Length(value.trim().parse().map_err(|_| malformed("a bad Content-Length"))?);
            }
            "sec-websocket-accept" => websocket_accept = Some(value.into_owned()),
            _ => {}
        }
    }
    // RFC 9112, section 6.3: these have no content, whatever their fields say.
    if status < 200 || matches!(status, 204 | 304) {
        framing = Framing::Length(0);
    }
    Ok(Some((Head { status, websocket_accept, framing }, length, persistent)))
}
