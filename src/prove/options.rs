//! What load is offered, and where: every number with its default, in sum about 1,250 requests a second.
//!
//! Must not know: how it is offered.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What GETs ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The sample application, whose answers prove that they belong to their requests.
    Sample,
    /// One page of any application, whose answer is right when it is whole and has this status.
    Page { path: String, status: u16 },
}

/// How the load speaks TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// What certificates have to be for; `None`: the host that is asked for.
    pub name: Option<String>,
    pub trust: Trust,
    /// New clients offer the sessions that were given to clients before them.
    pub resume: bool,
    /// Every so many-th connection speaks TLS 1.2; with 0 none does.
    pub old_every: u32,
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that this host trusts.
    System,
    /// Those of the authorities in a PEM file.
    File(PathBuf),
    /// Everybody's: for a host of one's own.
    Anyone,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls { name: None, trust: Trust::System, resume: true, old_every: 0 }
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub address: Address,
    /// Everything at `address` is asked over TLS.
    pub tls: Option<Tls>,
    pub subject: Subject,
    /// The hosts asked for, in turn.
    pub hosts: Vec<String>,
    /// Connections that send one request after the other.
    pub kept_alive: usize,
    /// The mean pause between an answer and the next request on such a connection.
    pub think: Duration,
    /// New connections a second; every other one asks for `Connection: close`.
    pub fresh_per_second: u32,
    /// Kept-alive connections that POST, each with ids of its own.
    pub posting: usize,
    /// POSTs a second, over all of them.
    pub posts_per_second: u32,
    pub slow_per_second: u32,
    /// How long the application takes over a slow request.
    pub slow: Duration,
    pub downloads_per_second: u32,
    pub download_bytes: u64,
    pub uploads_per_second: u32,
    /// An upload is chunked: so many pieces of so many bytes, with a pause after each.
    pub upload_pieces: u32,
    pub upload_piece: usize,
    pub upload_pause: Duration,
    pub streams_per_second: u32,
    /// Server-sent events in one stream, and the pause between two.
    pub stream_events: u32,
    pub stream_pause: Duration,
    pub tunnels: usize,
    /// The pause between two messages of a WebSocket, and the one after which the application speaks of its own
    /// accord.
    pub tunnel_pause: Duration,
    /// Connections that ask once and are then silent until the end.
    pub idle: usize,
    /// Kept-alive connections that ask as often as others, but must last from the beginning to the end.
    pub lasting: usize,
    /// HTTP/2 connections, by ALPN over TLS and by prior knowledge in plaintext, and requests at any time on each.
    pub http2_connections: usize,
    pub http2_streams: usize,
    /// An answer that takes longer, beside what was asked to be slow, is a failure.
    pub patience: Duration,
    /// The endpoints of the application, asked directly for the POSTs they received; empty: through `address`.
    pub posts_from: Vec<Address>,
}

impl Options {
    pub fn new(address: Address, hosts: Vec<String>) -> Options {
        Options {
            address,
            tls: None,
            subject: Subject::Sample,
            hosts,
            kept_alive: 64,
            think: Duration::from_millis(62),
            fresh_per_second: 100,
            posting: 16,
            posts_per_second: 80,
            slow_per_second: 10,
            slow: Duration::from_millis(500),
            downloads_per_second: 10,
            download_bytes: 256 << 10,
            uploads_per_second: 10,
            upload_pieces: 8,
            upload_piece: 8 << 10,
            upload_pause: Duration::from_millis(40),
            streams_per_second: 4,
            stream_events: 8,
            stream_pause: Duration::from_millis(80),
            tunnels: 16,
            tunnel_pause: Duration::from_millis(100),
            idle: 86,
            lasting: 1,
            http2_connections: 0,
            http2_streams: 0,
            patience: Duration::from_secs(30),
            posts_from: Vec::new(),
        }
    }

    /// Nothing is offered: tests switch on the one kind that they look at.
    pub fn silent(address: Address) -> Options {
        Options {
            kept_alive: 0,
            fresh_per_second: 0,
            posting: 0,
            posts_per_second: 0,
            slow_per_second: 0,
            downloads_per_second: 0,
            uploads_per_second: 0,
            streams_per_second: 0,
            tunnels: 0,
            idle: 0,
            lasting: 0,
            ..Options::new(address, vec!["sample.example".to_owned()])
        }
    }

    /// How long the longest request on offer takes by its own nature.
    pub fn longest_request(&self) -> Duration {
        let upload = self.upload_pause * self.upload_pieces;
        let stream = self.stream_pause * self.stream_events.saturating_sub(1);
        let offered = [
            (self.slow_per_second, self.slow),
            (u32::from(self.http2_connections > 0), self.slow),
            (self.uploads_per_second, upload),
            (self.streams_per_second, stream),
        ];
        offered.into_iter().filter(|(rate, _)| *rate > 0).map(|(_, lasts)| lasts).max().unwrap_or_default()
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Address::Unix(path.into())),
            None => {
                text.parse().map(Address::Tcp).map_err(|_| "must be ADDRESS:PORT or unix:/PATH".to_owned())
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
