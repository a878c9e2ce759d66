//! What a client does on its connection besides making requests, and when that is too much.
//!
//! HTTP/2 has many frames that cost the sender nothing and the receiver something (RFC 9113, section
//! 10.5). Each kind fills a bucket that drains with time and with useful work; the one that overflows is
//! the [`Offence`], and its connection is ended with ENHANCE_YOUR_CALM. Both directions are followed:
//! what hitless sends tells what the client has got for its frames, and which streams it broke itself.
//!
//! | offence | burst | a second | drained by | whom it must not hit |
//! |---|---|---|---|---|
//! | PING (CVE-2019-9512) | 200 | 10 | each frame with content or a head, in both directions | gRPC measures its bandwidth with one PING per burst of DATA |
//! | SETTINGS (CVE-2019-9515) | 50 | 1 | - | clients that adapt their windows send a dozen |
//! | PRIORITY, PRIORITY_UPDATE (CVE-2019-9513) | 300 | 10 | 4 per request | browsers rearrange a page's worth of images |
//! | WINDOW_UPDATE (CVE-2019-9517) | 1000 | 100 | 4 per frame sent and request, 1 per 512 bytes sent | two for each small DATA, or for each KiB read |
//! | RST_STREAM (CVE-2023-44487) | 300 | 20 | 1 per stream answered to its end | a page that is left cancels all its requests, a video that is searched ten a second |
//! | streams that it made hitless reset (CVE-2025-8671) | 200 | 5 | 1 per stream answered to its end | a proxy whose clients are malformed now and then, for days |
//! | empty HEADERS, CONTINUATION and DATA (CVE-2019-9518) | 100 | 5 | 1 per request | none is needed |
//! | frames of unknown types, GOAWAY, PUSH_PROMISE, unasked acknowledgements | 100 | 10 | 1 per request | extensions that are tried without asking (RFC 9113, section 5.5) |
//! | CONTINUATION of one block (CVE-2024-27316) | 16 | | | a block of the longest list that is taken needs 5 |
//! | windows so small that an answer goes out in crumbs (CVE-2019-9511) | 1000 | 10 | 1 per frame of 4 KiB sent | small messages are no crumbs; the last bytes of a window are, once per window |
//! | frames other than DATA while nothing it is sent is taken | 1024 | | the next byte it takes | one window's worth of requests and resets |
//! | changes of the compression table's size in one block (RFC 7541, section 4.2) | 2 | | | two say all that there is to say |
//! | no SETTINGS first (RFC 9113, section 3.4) | 0 | | | ends with PROTOCOL_ERROR |
//!
//! Promises: depends on the frames and the coarse time only; is told of each frame once, and holds none; an
//! empty bucket forgets, so what was useful yesterday excuses nothing today.
//! Must not know: sockets, streams, what fields and content mean.

use std::fmt;
use std::time::{Duration, Instant};

use crate::http2::Reason;
use crate::http2::frame::{ACK, END_HEADERS, END_STREAM, Head, Kind};

/// Frames after the first one of one header block.
const CONTINUATIONS: u32 = 16;

/// Changes of the table's size at the head of one header block.
const TABLE_SIZES: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offence {
    Ping,
    Settings,
    Priority,
    WindowUpdate,
    Reset,
    MadeReset,
    Empty,
    Other,
    Crumbs,
    Deaf,
    Continuation,
    TableSize,
    NoSettings,
}

/// How much of a kind is too much, and how much of it each second forgives.
struct Bucket {
    burst: u32,
    drain: u32,
}

/// In the order of [`Offence`].
const BUCKETS: [Bucket; 13] = [
    Bucket { burst: 200, drain: 10 },
    Bucket { burst: 50, drain: 1 },
    Bucket { burst: 300, drain: 10 },
    Bucket { burst: 1000, drain: 100 },
    Bucket { burst: 300, drain: 20 },
    Bucket { burst: 200, drain: 5 },
    Bucket { burst: 100, drain: 5 },
    Bucket { burst: 100, drain: 10 },
    Bucket { burst: 1000, drain: 10 },
    Bucket { burst: 1024, drain: 0 },
    Bucket { burst: CONTINUATIONS, drain: 0 },
    Bucket { burst: TABLE_SIZES, drain: 0 },
    Bucket { burst: 0, drain: 0 },
];

/// A frame of an answer that is shorter than this, and than it need be, is a crumb.
const CRUMB: u32 = 512;
/// What the frames of an answer are filled to unless the client wants larger ones.
const FULL: u32 = 16 * 1024;

/// What one connection has done.
pub(super) struct Meter {
    levels: [u32; BUCKETS.len()],
    drained_at: Instant,
    offence: Option<Offence>,
    /// The newest stream that the client has opened.
    newest: u32,
    /// Since when something is owed: the first SETTINGS, or the rest of a header block.
    owed_since: Option<Instant>,
    settled: bool,
    blocked: bool,
    /// Short frames to come that no window is to blame for.
    due_crumbs: u64,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Meter {
        Meter {
            levels: [0; BUCKETS.len()],
            drained_at: now,
            offence: None,
            newest: 0,
            owed_since: Some(now),
            settled: false,
            blocked: false,
            due_crumbs: 0,
        }
    }

    /// The first one; there is no forgiving.
    pub(super) fn offence(&self) -> Option<Offence> {
        self.offence
    }

    /// Since when the client has owed the first SETTINGS, or the rest of a header block.
    pub(super) fn owed_since(&self) -> Option<Instant> {
        self.owed_since
    }

    /// There is something to send, and the client does not take it.
    pub(super) fn block(&mut self) {
        self.blocked = true;
    }

    /// The client has taken something.
    pub(super) fn unblock(&mut self) {
        self.blocked = false;
        self.levels[Offence::Deaf as usize] = 0;
    }

    /// A piece of so many bytes is to be sent. `last`: with the end of its stream.
    pub(super) fn hand_over(&mut self, length: usize, last: bool) {
        let rest = length % FULL as usize;
        if rest > 0 && rest < CRUMB as usize && !last {
            self.due_crumbs += 1;
        }
    }

    /// The head of a frame has come.
    pub(super) fn begins(&mut self, head: Head, now: Instant) {
        if !self.settled && (head.kind != Kind::Settings || head.flags & ACK != 0) {
            return self.charge(Offence::NoSettings);
        }
        if self.blocked && head.kind != Kind::Data {
            self.charge(Offence::Deaf);
        }
        let first_flag = head.flags & ACK != 0;
        match head.kind {
            Kind::Data if head.length == 0 && !first_flag => self.charge(Offence::Empty),
            Kind::Data => self.credit(Offence::Ping, 1),
            Kind::Headers => {
                self.owed_since = Some(now);
                self.levels[Offence::Continuation as usize] = 0;
                if head.length == 0 {
                    self.charge(Offence::Empty);
                }
                if head.stream > self.newest {
                    self.newest = head.stream;
                    self.open();
                }
            }
            Kind::Continuation => {
                self.charge(Offence::Continuation);
                if head.length == 0 {
                    self.charge(Offence::Empty);
                }
            }
            Kind::Priority | Kind::PriorityUpdate => self.charge(Offence::Priority),
            Kind::Reset => self.charge(Offence::Reset),
            Kind::Settings if !first_flag => self.charge(Offence::Settings),
            // One for each of ours; an unexpected one is an error.
            Kind::Settings => {}
            Kind::Ping if !first_flag => self.charge(Offence::Ping),
            Kind::WindowUpdate => self.charge(Offence::WindowUpdate),
            _ => self.charge(Offence::Other),
        }
    }

    /// The last byte of a frame has come.
    pub(super) fn ends(&mut self, head: Head) {
        match head.kind {
            Kind::Headers | Kind::Continuation if head.flags & END_HEADERS != 0 => self.owed_since = None,
            Kind::Settings if !self.settled => {
                self.settled = true;
                self.owed_since = None;
            }
            _ => {}
        }
    }

    /// A header block has changed the size of the table so often.
    pub(super) fn resizes(&mut self, count: u32) {
        self.levels[Offence::TableSize as usize] = 0;
        for _ in 0..count {
            self.charge(Offence::TableSize);
        }
    }

    fn open(&mut self) {
        self.credit(Offence::Ping, 1);
        self.credit(Offence::Priority, 4);
        self.credit(Offence::WindowUpdate, 4);
        self.credit(Offence::Empty, 1);
        self.credit(Offence::Other, 1);
    }

    /// The client takes the first byte of this frame.
    pub(super) fn sent(&mut self, head: Head) {
        if !matches!(head.kind, Kind::Data | Kind::Headers) {
            return;
        }
        self.credit(Offence::Ping, 1);
        self.credit(Offence::WindowUpdate, 4 + head.length / 512);
        if head.flags & END_STREAM != 0 {
            self.credit(Offence::Reset, 1);
            self.credit(Offence::MadeReset, 1);
        } else if head.kind == Kind::Data && head.length < CRUMB {
            match self.due_crumbs.checked_sub(1) {
                Some(due) => self.due_crumbs = due,
                None => self.charge(Offence::Crumbs),
            }
        } else if head.kind == Kind::Data && head.length >= FULL / 4 {
            self.credit(Offence::Crumbs, 1);
        }
    }

    /// A stream is reset with this code. hitless resets streams of its own accord with some: the rest is the
    /// client's making.
    pub(super) fn resets(&mut self, reason: Reason) {
        if !matches!(reason, Reason::NO_ERROR | Reason::INTERNAL_ERROR | Reason::CANCEL) {
            self.charge(Offence::MadeReset);
        }
    }

    fn charge(&mut self, offence: Offence) {
        let level = &mut self.levels[offence as usize];
        *level += 1;
        if *level > BUCKETS[offence as usize].burst && self.offence.is_none() {
            self.offence = Some(offence);
        }
    }

    fn credit(&mut self, offence: Offence, amount: u32) {
        let level = &mut self.levels[offence as usize];
        *level = level.saturating_sub(amount);
    }

    /// By whole seconds: a clock is read per read, not per frame.
    pub(super) fn drain(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.drained_at).as_secs();
        if seconds == 0 {
            return;
        }
        self.drained_at += Duration::from_secs(seconds);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        for (level, bucket) in self.levels.iter_mut().zip(&BUCKETS) {
            *level = level.saturating_sub(bucket.drain.saturating_mul(seconds));
        }
    }
}

impl Offence {
    /// What the client is told.
    pub(super) fn reason(self) -> Reason {
        match self {
            Offence::NoSettings => Reason::PROTOCOL_ERROR,
            _ => Reason::ENHANCE_YOUR_CALM,
        }
    }
}

/// For the log: what there was too much of.
impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Offence::Ping => "too many PING frames",
            Offence::Settings => "too many SETTINGS frames",
            Offence::Priority => "too many PRIORITY frames",
            Offence::WindowUpdate => "too many WINDOW_UPDATE frames",
            Offence::Reset => "too many requests begun and reset",
            Offence::MadeReset => "too many streams in error",
            Offence::Empty => "too many empty frames",
            Offence::Other => "too many frames without a use",
            Offence::Crumbs => "windows of a few bytes",
            Offence::Deaf => "it sends, and does not read",
            Offence::Continuation => "too many CONTINUATION frames for one head",
            Offence::TableSize => "too many changes of the compression table's size",
            Offence::NoSettings => "it did not begin with SETTINGS",
        })
    }
}

#[cfg(test)]
mod tests;
