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
//! Promises: depends on the bytes and the coarse time only, not on how the bytes were cut; holds 9 bytes
//! of a frame per direction and looks into none but trailers; an empty bucket forgets, so what was useful yesterday excuses nothing today.
//! Must not know: sockets, streams, what fields and content mean.

use std::fmt;
use std::time::{Duration, Instant};

use h2::Reason;

use super::trailers::Trailers;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// RFC 9218, section 7.1.
const PRIORITY_UPDATE: u8 = 16;

/// END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING.
const FIRST_FLAG: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// The client's preface, which comes before its frames (RFC 9113, section 3.4).
const PREFACE: u8 = 24;

/// Streams with malformed trailers that are remembered: more than may run.
const MALFORMED: usize = 256;

/// Frames after the first of one header block.
const CONTINUATIONS: u32 = 16;

/// Changes of the table's size at the head of one header block.
const TABLE_SIZES: u32 = 2;

/// Flags of HEADERS that say what comes before the block.
const PADDED: u8 = 0x8;
const PRIORITISED: u8 = 0x20;

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
    received: Frames,
    sent: Frames,
    levels: [u32; BUCKETS.len()],
    drained_at: Instant,
    offence: Option<Offence>,
    /// The newest stream that the client has opened.
    newest: u32,
    /// Requests begun, for whoever wants to take turns.
    opened: u64,
    /// Since when something is owed: the first SETTINGS, or the rest of a header block.
    owed_since: Option<Instant>,
    settled: bool,
    blocked: bool,
    /// The beginning of the block that is being received.
    sizes: Sizes,
    /// The block that is being received, if it is one of trailers.
    trailers: Option<(u32, Trailers)>,
    /// Streams with trailers that must not be, until somebody asks.
    malformed: Vec<u32>,
    /// Short frames to come that no window is to blame for.
    due_crumbs: u64,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Meter {
        Meter {
            received: Frames::after(PREFACE),
            sent: Frames::after(0),
            levels: [0; BUCKETS.len()],
            drained_at: now,
            offence: None,
            newest: 0,
            opened: 0,
            owed_since: Some(now),
            settled: false,
            blocked: false,
            sizes: Sizes::default(),
            trailers: None,
            malformed: Vec::new(),
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

    /// Whether the trailers of this stream had a pseudo-field; it is forgotten then.
    pub(super) fn take_malformed(&mut self, stream: u32) -> bool {
        let found = self.malformed.iter().position(|malformed| *malformed == stream);
        found.map(|at| self.malformed.remove(at)).is_some()
    }

    /// How many requests have begun so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// These bytes came from the client.
    pub(super) fn receive(&mut self, mut bytes: &[u8], now: Instant) {
        self.drain(now);
        while let Some(event) = self.received.follow(&mut bytes) {
            match event {
                Event::Begun(head) => self.received_head(head, now),
                Event::Part(head, part) => {
                    if head.kind != DATA {
                        for _ in 0..self.sizes.follow(part) {
                            self.charge(Offence::TableSize);
                        }
                    }
                    if let Some((_, trailers)) = self.trailers.as_mut().filter(|_| head.kind != DATA) {
                        trailers.follow(part);
                    }
                }
                Event::Ended(head, _) => self.received_end(head),
            }
        }
    }

    /// These bytes were taken by the client's connection; `took` is told how much content of which stream is
    /// among them, and whether its end is.
    pub(super) fn send(&mut self, mut bytes: &[u8], mut took: impl FnMut(u32, usize, bool)) {
        if !bytes.is_empty() {
            self.blocked = false;
            self.levels[Offence::Deaf as usize] = 0;
        }
        while let Some(event) = self.sent.follow(&mut bytes) {
            match event {
                Event::Begun(head) => self.sent_head(head),
                Event::Part(head, part) if head.kind == DATA => took(head.stream, part.len(), false),
                Event::Ended(head, code) if head.kind == RST_STREAM => self.sent_reset(code),
                Event::Ended(head, _) if head.ends_stream() => took(head.stream, 0, true),
                Event::Part(..) | Event::Ended(..) => {}
            }
        }
    }

    /// There is something to send, and the client does not take it.
    pub(super) fn block(&mut self) {
        self.blocked = true;
    }

    /// A piece of so many bytes is to be sent. `last`: with the end of its stream.
    pub(super) fn hand_over(&mut self, length: usize, last: bool) {
        let rest = length % FULL as usize;
        if rest > 0 && rest < CRUMB as usize && !last {
            self.due_crumbs += 1;
        }
    }

    fn received_head(&mut self, head: Head, now: Instant) {
        if !self.settled && (head.kind != SETTINGS || head.flags & FIRST_FLAG != 0) {
            return self.charge(Offence::NoSettings);
        }
        if self.blocked && head.kind != DATA {
            self.charge(Offence::Deaf);
        }
        let first_flag = head.flags & FIRST_FLAG != 0;
        match head.kind {
            DATA if head.length == 0 && !first_flag => self.charge(Offence::Empty),
            DATA => self.credit(Offence::Ping, 1),
            HEADERS => {
                self.owed_since = Some(now);
                self.levels[Offence::Continuation as usize] = 0;
                self.levels[Offence::TableSize as usize] = 0;
                self.sizes = Sizes::before(head.flags);
                if head.length == 0 {
                    self.charge(Offence::Empty);
                }
                if head.stream > self.newest {
                    self.newest = head.stream;
                    self.open();
                } else {
                    self.trailers = Some((head.stream, Trailers::new(head.length, head.flags)));
                }
            }
            CONTINUATION => {
                self.charge(Offence::Continuation);
                if let Some((_, trailers)) = &mut self.trailers {
                    trailers.go_on(head.length);
                }
                if head.length == 0 {
                    self.charge(Offence::Empty);
                }
            }
            PRIORITY | PRIORITY_UPDATE => self.charge(Offence::Priority),
            RST_STREAM => self.charge(Offence::Reset),
            SETTINGS if !first_flag => self.charge(Offence::Settings),
            // One for each of ours; an unexpected one is an error to h2.
            SETTINGS => {}
            PING if !first_flag => self.charge(Offence::Ping),
            WINDOW_UPDATE => self.charge(Offence::WindowUpdate),
            _ => self.charge(Offence::Other),
        }
    }

    fn received_end(&mut self, head: Head) {
        match head.kind {
            HEADERS | CONTINUATION if head.flags & END_HEADERS != 0 => {
                self.owed_since = None;
                self.end_trailers();
            }
            SETTINGS if !self.settled => {
                self.settled = true;
                self.owed_since = None;
            }
            _ => {}
        }
    }

    fn end_trailers(&mut self) {
        let Some((stream, trailers)) = self.trailers.take() else { return };
        if trailers.has_pseudo() {
            if self.malformed.len() == MALFORMED {
                self.malformed.remove(0);
            }
            self.malformed.push(stream);
            self.charge(Offence::MadeReset);
        }
    }

    fn open(&mut self) {
        self.opened += 1;
        self.credit(Offence::Ping, 1);
        self.credit(Offence::Priority, 4);
        self.credit(Offence::WindowUpdate, 4);
        self.credit(Offence::Empty, 1);
        self.credit(Offence::Other, 1);
    }

    fn sent_head(&mut self, head: Head) {
        if !matches!(head.kind, DATA | HEADERS) {
            return;
        }
        self.credit(Offence::Ping, 1);
        self.credit(Offence::WindowUpdate, 4 + head.length / 512);
        if head.flags & FIRST_FLAG != 0 {
            self.credit(Offence::Reset, 1);
            self.credit(Offence::MadeReset, 1);
        } else if head.kind == DATA && head.length < CRUMB {
            match self.due_crumbs.checked_sub(1) {
                Some(due) => self.due_crumbs = due,
                None => self.charge(Offence::Crumbs),
            }
        } else if head.kind == DATA && head.length >= FULL / 4 {
            self.credit(Offence::Crumbs, 1);
        }
    }

    /// hitless resets streams of its own accord with other codes: the rest is the client's making.
    fn sent_reset(&mut self, code: [u8; 4]) {
        let reason = Reason::from(u32::from_be_bytes(code));
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
    fn drain(&mut self, now: Instant) {
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

/// The changes of the table's size that a header block begins with (RFC 7541, section 6.3). Each costs a
/// byte or three, and empties the table.
#[derive(Debug, Default)]
struct Sizes {
    /// Bytes before the block.
    skip: u8,
    /// Within the number of a change.
    within: bool,
    over: bool,
}

impl Sizes {
    /// Before the first byte of a HEADERS frame.
    fn before(flags: u8) -> Sizes {
        let padded = u8::from(flags & PADDED != 0);
        let prioritised = if flags & PRIORITISED != 0 { 5 } else { 0 };
        Sizes { skip: padded + prioritised, within: false, over: false }
    }

    /// How many begin in these bytes.
    fn follow(&mut self, bytes: &[u8]) -> u32 {
        let mut changes = 0;
        for byte in bytes {
            if self.over {
                break;
            }
            if self.skip > 0 {
                self.skip -= 1;
            } else if self.within {
                self.within = byte & 0x80 != 0;
            } else if byte & 0xe0 == 0x20 {
                changes += 1;
                self.within = byte & 0x1f == 0x1f;
            } else {
                self.over = true;
            }
        }
        changes
    }
}

/// The head of a frame (RFC 9113, section 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Head {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn of(bytes: [u8; 9]) -> Head {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Head {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    fn ends_stream(self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & FIRST_FLAG != 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event<'a> {
    /// Its head is here.
    Begun(Head),
    /// Some of the payload of DATA, HEADERS or CONTINUATION is.
    Part(Head, &'a [u8]),
    /// All of it is; with the first four bytes of its payload, as far as there are any.
    Ended(Head, [u8; 4]),
}

/// One direction's bytes, cut into frames.
#[derive(Debug)]
struct Frames {
    /// Bytes before the first frame.
    skip: u8,
    header: [u8; 9],
    read: u8,
    /// The frame whose payload is awaited.
    frame: Option<Head>,
    left: u32,
    payload: [u8; 4],
}

impl Frames {
    fn after(skip: u8) -> Frames {
        Frames { skip, header: [0; 9], read: 0, frame: None, left: 0, payload: [0; 4] }
    }

    /// The next thing that happens in these bytes, which are taken as far as that.
    fn follow<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Event<'a>> {
        if self.skip > 0 {
            let skipped = bytes.len().min(usize::from(self.skip));
            *bytes = &bytes[skipped..];
            self.skip -= skipped as u8;
        }
        match self.frame {
            Some(head) => self.follow_payload(head, bytes),
            None => self.follow_header(bytes),
        }
    }

    fn follow_header<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Event<'a>> {
        let read = usize::from(self.read);
        let count = bytes.len().min(self.header.len() - read);
        self.header[read..read + count].copy_from_slice(&bytes[..count]);
        *bytes = &bytes[count..];
        self.read += count as u8;
        if usize::from(self.read) < self.header.len() {
            return None;
        }
        let head = Head::of(self.header);
        self.read = 0;
        self.left = head.length;
        self.payload = [0; 4];
        self.frame = Some(head);
        Some(Event::Begun(head))
    }

    fn follow_payload<'a>(&mut self, head: Head, bytes: &mut &'a [u8]) -> Option<Event<'a>> {
        let count = bytes.len().min(self.left as usize);
        let at = (head.length - self.left) as usize;
        if at < self.payload.len() {
            let first = count.min(self.payload.len() - at);
            self.payload[at..at + first].copy_from_slice(&bytes[..first]);
        }
        let part = &bytes[..count];
        *bytes = &bytes[count..];
        self.left -= count as u32;
        if count > 0 && matches!(head.kind, DATA | HEADERS | CONTINUATION) {
            return Some(Event::Part(head, part));
        }
        if self.left > 0 {
            return None;
        }
        self.frame = None;
        Some(Event::Ended(head, self.payload))
    }
}

#[cfg(test)]
mod tests;
