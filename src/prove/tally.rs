//! What is counted while the load runs, and the report made of it.
//!
//! Promises: a request counts once, when it begins, and fails at most once; nothing is forgiven here.
//! Must not know: connections, or who asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::connection::{Kind, Loss};
use super::tls::Secured;
use super::wire::numbered::Faults;

/// More failures and endings than this are counted, but not kept one by one.
const KEPT: usize = 20_000;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// On a connection that was used before.
    KeptAlive,
    /// On a connection of its own.
    Fresh,
    Post,
    Slow,
    Download,
    Upload,
    Stream,
    /// On an HTTP/2 connection, beside others.
    Http2,
    /// On a connection that is to last.
    Lasting,
    /// The handshake of a WebSocket.
    Handshake,
    /// The first request of a connection that is silent from then on.
    Opening,
    /// The request at the end that tells whether a silent connection still works.
    Probe,
}

/// A request that failed; times since the load began.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    pub what: What,
    pub kind: Kind,
    pub detail: String,
    /// Whether its connection had carried an answer before.
    pub reused: bool,
    #[serde(skip)]
    pub began: Duration,
    #[serde(skip)]
    pub ended: Duration,
}

/// A connection that ended before its client meant it to; the time since the load began.
#[derive(Clone, Debug, Serialize)]
pub struct Ending {
    pub what: Ended,
    /// `closed 1001`, `reset`, `eof`, …
    pub how: String,
    #[serde(skip)]
    pub at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Silent, or resting between two requests.
    Idle,
    Tunnel,
    /// One that was to last.
    Lasting,
}

/// A handshake of TLS that a client with a new connection made; times since the load began.
#[derive(Clone, Debug, Serialize)]
pub struct Handshake {
    pub resumed: bool,
    /// The certificate's SHA-256 digest; of the session's first handshake, when it was resumed.
    pub certificate: String,
    #[serde(skip)]
    pub began: Duration,
    #[serde(skip)]
    pub ended: Duration,
}

/// A kept-alive connection that was to last from the beginning to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lasting {
    /// The client's end, when it was opened and at the end; `None` for a Unix socket, or when there was none any more.
    pub opened_at: Option<SocketAddr>,
    pub ended_at: Option<SocketAddr>,
    pub answered: u64,
    /// How it ended, when it did not last.
    pub lost: Option<String>,
}

/// Requests and failures of one kind of client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    pub requests: u64,
    pub failed: u64,
}

/// What a run of the load saw, from its beginning to its last answer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub requests: u64,
    pub failed: u64,
    pub failed_kinds: BTreeMap<Kind, u64>,
    /// Silent or resting connections that ended without `Connection: close` before it; HTTP/2 connections that ended
    /// without GOAWAY.
    pub idle_closed: u64,
    pub tunnels: u64,
    /// WebSockets that ended before the client closed them, also when they were closed properly.
    pub tunnels_dropped: u64,
    /// Messages that never came, in either direction.
    pub tunnels_gap: u64,
    /// Messages that came twice.
    pub tunnels_doubled: u64,
    /// Messages that came after later ones.
    pub tunnels_reordered: u64,
    /// Messages with other content.
    pub tunnels_changed: u64,
    /// Connections that were to last, and did not.
    pub lasting_lost: u64,
    pub lasting: Vec<Lasting>,
    /// Handshakes of TLS of the clients that come with a new connection for each request, and how many of them took
    /// up an earlier session.
    pub handshakes: u64,
    pub resumed: u64,
    /// POSTs that the application received more than once; `None` when it could not be asked.
    pub duplicate_posts: Option<u64>,
    /// The longest that an answer kept its client waiting, beyond what was asked to be slow.
    pub worst_stall_ms: u64,
    /// The longest time without any answer at all.
    pub outage_ms: u64,
    #[serde(skip)]
    pub details: Details,
}

impl Report {
    /// Everything that was lost, of every kind, POSTs apart.
    pub fn lost(&self) -> u64 {
        let messages =
            self.tunnels_gap + self.tunnels_doubled + self.tunnels_reordered + self.tunnels_changed;
        self.failed + self.idle_closed + self.tunnels_dropped + messages + self.lasting_lost
    }
}

/// What the numbers of a report are made of.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Details {
    pub shares: BTreeMap<What, Share>,
    pub failures: Vec<Failure>,
    pub idle_kinds: BTreeMap<Kind, u64>,
    /// Connections that ended too early, one by one.
    pub endings: Vec<Ending>,
    /// `closed 1001`, `reset`, `eof`, …
    pub tunnel_kinds: BTreeMap<String, u64>,
    pub duplicates: BTreeMap<String, u64>,
    /// One by one, in the order in which they ended.
    pub handshakes: Vec<Handshake>,
    /// Why the application could not be asked for its POSTs.
    pub posts_unknown: Option<String>,
}

/// Counted as it happens, for who watches from another thread.
#[derive(Default)]
pub struct Live {
    requests: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    idle_closed: AtomicU64,
    messages: AtomicU64,
    resting: AtomicU64,
    tunnels: AtomicU64,
    lost: AtomicU64,
    handshakes: AtomicU64,
    certificate: AtomicU64,
}

/// How far a load has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoFar {
    pub requests: u64,
    pub answered: u64,
    pub failed: u64,
    pub idle_closed: u64,
    /// WebSocket messages that came back, right or wrong.
    pub messages: u64,
    /// Silent connections that have come to rest.
    pub resting: u64,
    /// WebSockets that were opened, the first time and anew.
    pub tunnels: u64,
    /// Connections of any kind that ended too early.
    pub lost: u64,
    /// Handshakes of TLS, those that [`Report::handshakes`] counts.
    pub handshakes: u64,
    /// The first eight bytes of the digest of the certificate that was seen last, in a handshake that showed one.
    pub certificate: u64,
}

impl Live {
    pub fn read(&self) -> SoFar {
        SoFar {
            requests: self.requests.load(Ordering::Relaxed),
            answered: self.answered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            idle_closed: self.idle_closed.load(Ordering::Relaxed),
            messages: self.messages.load(Ordering::Relaxed),
            resting: self.resting.load(Ordering::Relaxed),
            tunnels: self.tunnels.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            handshakes: self.handshakes.load(Ordering::Relaxed),
            certificate: self.certificate.load(Ordering::Relaxed),
        }
    }
}

/// A request that has begun.
#[must_use]
pub struct Begun {
    what: What,
    reused: bool,
    at: Instant,
}

pub struct Tally {
    start: Instant,
    live: Arc<Live>,
    report: Report,
    worst_stall: Duration,
    last_answer: Instant,
    outage: Duration,
    stopped: bool,
}

impl Tally {
    pub fn new(start: Instant, live: Arc<Live>) -> Tally {
        Tally {
            start,
            live,
            report: Report::default(),
            worst_stall: Duration::ZERO,
            last_answer: start,
            outage: Duration::ZERO,
            stopped: false,
        }
    }

    /// `reused`: on a connection that has carried an answer before.
    pub fn begin(&mut self, what: What, reused: bool) -> Begun {
        self.report.requests += 1;
        self.report.details.shares.entry(what).or_default().requests += 1;
        self.live.requests.fetch_add(1, Ordering::Relaxed);
        Begun { what, reused, at: Instant::now() }
    }

    /// `waited` is the longest that the client was kept waiting.
    pub fn answered(&mut self, _begun: Begun, waited: Duration) {
        self.live.answered.fetch_add(1, Ordering::Relaxed);
        self.stalled(waited);
        self.silence_ends(Instant::now());
    }

    pub fn failed(&mut self, begun: Begun, loss: Loss) {
        self.report.failed += 1;
        *self.report.failed_kinds.entry(loss.kind).or_default() += 1;
        self.report.details.shares.entry(begun.what).or_default().failed += 1;
        self.live.failed.fetch_add(1, Ordering::Relaxed);
        if self.report.details.failures.len() < KEPT {
            self.report.details.failures.push(Failure {
                what: begun.what,
                kind: loss.kind,
                detail: loss.detail,
                reused: begun.reused,
                began: begun.at.duration_since(self.start),
                ended: self.start.elapsed(),
            });
        }
    }

    /// Only those of fresh connections are counted: the others are made at the beginning, without a session yet.
    pub fn secured(&mut self, what: What, began: Instant, secured: Secured) {
        if what != What::Fresh {
            return;
        }
        self.live.handshakes.fetch_add(1, Ordering::Relaxed);
        if !secured.resumed {
            self.live.certificate.store(beginning(&secured.certificate), Ordering::Relaxed);
        }
        self.report.handshakes += 1;
        self.report.resumed += u64::from(secured.resumed);
        if self.report.details.handshakes.len() < KEPT {
            let (began, ended) = (began.duration_since(self.start), self.start.elapsed());
            let Secured { resumed, certificate } = secured;
            self.report.details.handshakes.push(Handshake { resumed, certificate, began, ended });
        }
    }

    fn stalled(&mut self, waited: Duration) {
        self.worst_stall = self.worst_stall.max(waited);
    }

    pub fn idle_closed(&mut self, kind: Kind) {
        self.report.idle_closed += 1;
        self.live.idle_closed.fetch_add(1, Ordering::Relaxed);
        *self.report.details.idle_kinds.entry(kind).or_default() += 1;
        self.ended(Ended::Idle, format!("{kind:?}").to_lowercase());
    }

    fn ended(&mut self, what: Ended, how: String) {
        self.live.lost.fetch_add(1, Ordering::Relaxed);
        let at = self.start.elapsed();
        if self.report.details.endings.len() < KEPT {
            self.report.details.endings.push(Ending { what, how, at });
        }
    }

    pub fn rests(&mut self) {
        self.live.resting.fetch_add(1, Ordering::Relaxed);
    }

    pub fn tunnel_opened(&mut self) {
        self.live.tunnels.fetch_add(1, Ordering::Relaxed);
    }

    pub fn lasted(&mut self, lasting: Lasting) {
        if let Some(how) = &lasting.lost {
            self.report.lasting_lost += 1;
            self.ended(Ended::Lasting, how.clone());
        }
        self.report.lasting.push(lasting);
    }

    /// One message of a tunnel came back after `waited`.
    pub fn message(&mut self, waited: Option<Duration>) {
        self.live.messages.fetch_add(1, Ordering::Relaxed);
        self.stalled(waited.unwrap_or_default());
    }

    pub fn tunnel_dropped(&mut self, how: String) {
        self.report.tunnels_dropped += 1;
        *self.report.details.tunnel_kinds.entry(how.clone()).or_default() += 1;
        self.ended(Ended::Tunnel, how);
    }

    /// What one tunnel has seen in all its time.
    pub fn tunnel_faults(&mut self, faults: Faults) {
        self.report.tunnels_gap += faults.missing;
        self.report.tunnels_doubled += faults.doubled;
        self.report.tunnels_reordered += faults.reordered;
        self.report.tunnels_changed += faults.changed;
    }

    /// No more load is offered from now on, so silence means nothing any more.
    pub fn stop(&mut self) {
        self.silence_ends(Instant::now());
        self.stopped = true;
    }

    fn silence_ends(&mut self, now: Instant) {
        if !self.stopped {
            self.outage = self.outage.max(now.duration_since(self.last_answer));
            self.last_answer = now;
        }
    }

    pub fn report(&mut self, tunnels: usize, posts: Result<BTreeMap<String, u64>, String>) -> Report {
        let mut report = std::mem::take(&mut self.report);
        report.tunnels = tunnels as u64;
        report.worst_stall_ms = milliseconds(self.worst_stall);
        report.outage_ms = milliseconds(self.outage);
        match posts {
            Ok(mut times) => {
                times.retain(|_, times| *times > 1);
                report.duplicate_posts = Some(times.values().map(|times| times - 1).sum());
                report.details.duplicates = times;
            }
            Err(why) => report.details.posts_unknown = Some(why),
        }
        report
    }
}

/// The first eight bytes of a digest.
fn beginning(digest: &str) -> u64 {
    digest.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
