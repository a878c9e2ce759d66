//! What happened, counted: one set of counters per data thread, summed when somebody asks.
//!
//! Promises: counting is a plain load and store (only the owning thread writes, anybody may read,
//! so a sum taken while requests run may be off by those being counted at that moment); no lock, no
//! allocation. Every request that was admitted ends in exactly one [`Ending`]:
//!
//! ```text
//!                    ┌─ Answered    the whole answer was sent
//!                    ├─ Refused     a failure was told in an answer of our own
//!   admitted ─ in ───┼─ BrokenOff   the answer had begun and could not be finished
//!             flight ├─ ClientGone  the client left first
//!                    └─ Cut         the drain's deadline came
//! ```
//!
//! A request that was let go without an ending leaves a [`Totals::residue`], which is a bug. A connection or tunnel
//! is closed here or moves to another gateway, which adopts it:
//! `accepted + adopted = open + closed + moved` and `opened + adopted = open + closed + moved`.
//! Must not know: HTTP, the table of failures, or who asks.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::AddAssign;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How an admitted request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The whole answer, of an endpoint or configured, was sent; a tunnel was closed by its ends.
    Answered,
    /// A failure was told to the client in an answer of our own.
    Refused,
    /// The answer had begun and could not be finished.
    BrokenOff,
    /// The client left before it had the whole answer.
    ClientGone,
    /// The drain's deadline came.
    Cut,
}

/// The codes of the table of failures (`response::failure`) that have a counter of their own;
/// any other code is counted as [`OTHER`].
pub const CODES: [&str; 33] = [
    "bad-request",
    "no-route",
    "misdirected",
    "connect-refused",
    "unsupported-version",
    "unknown-coding",
    "unknown-expectation",
    "loop",
    "long-request-line",
    "long-fields",
    "many-fields",
    "long-content",
    "slow-head",
    "slow-content",
    "slow-reader",
    "many-tunnels",
    "client-gone",
    "client-silent",
    "no-endpoint",
    "unreachable",
    "unsent",
    "no-answer",
    "bad-answer",
    "truncated",
    "bad-upgrade",
    "late-connect",
    "late-first-byte",
    "late-idle",
    "late-request",
    "no-descriptor",
    "drained",
    "panicked",
    OTHER,
];

/// The word for a failure whose code is not in [`CODES`].
pub const OTHER: &str = "other";

/// A limit that is reached without a request; those of requests are failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Newcomers had to wait.
    Connections,
    /// A newcomer was turned away.
    ConnectionsPerAddress,
    /// Newcomers had to wait.
    Descriptors,
}

const LIMITS: [Limit; 3] = [Limit::Connections, Limit::ConnectionsPerAddress, Limit::Descriptors];

impl Limit {
    /// Where it is set.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Connections => "limits.connections",
            Limit::ConnectionsPerAddress => "limits.connections-per-address",
            Limit::Descriptors => "LimitNOFILE=",
        }
    }
}

/// Buckets of the histogram of durations: the last one begins at 2^22 ms, about 70 minutes.
pub const BUCKETS: usize = 24;

/// One data thread's counters. Aligned so that two threads never write to one cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    began: Instant,
    connections_accepted: Counter,
    connections_adopted: Counter,
    connections_opened: Counter,
    connections_closed: Counter,
    connections_moved: Counter,
    admitted: Counter,
    released: Counter,
    endings: [Counter; 5],
    attempts: Counter,
    tunnels_opened: Counter,
    tunnels_adopted: Counter,
    tunnels_closed: Counter,
    tunnels_moved: Counter,
    bytes_received: Counter,
    bytes_sent: Counter,
    failures: [Counter; CODES.len()],
    limits: [Counter; LIMITS.len()],
    durations: [Counter; BUCKETS],
    /// Microseconds after `began`, plus one; 0: none.
    oldest: AtomicU64,
}

impl Counters {
    /// Shared, because the guards of its connections and requests keep it alive.
    pub fn new() -> Arc<Counters> {
        Arc::new(Counters {
            began: Instant::now(),
            connections_accepted: Counter::default(),
            connections_adopted: Counter::default(),
            connections_opened: Counter::default(),
            connections_closed: Counter::default(),
            connections_moved: Counter::default(),
            admitted: Counter::default(),
            released: Counter::default(),
            endings: Default::default(),
            attempts: Counter::default(),
            tunnels_opened: Counter::default(),
            tunnels_adopted: Counter::default(),
            tunnels_closed: Counter::default(),
            tunnels_moved: Counter::default(),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            failures: std::array::from_fn(|_| Counter::default()),
            limits: Default::default(),
            durations: Default::default(),
            oldest: AtomicU64::new(0),
        })
    }

    /// A connection was accepted by this thread, whichever thread will serve it.
    pub fn accepted(&self) {
        self.connections_accepted.add(1);
    }

    /// A limit was reached.
    pub fn reached(&self, limit: Limit) {
        self.limits[limit as usize].add(1);
    }

    /// A connection is served by this thread until the guard is dropped.
    pub fn connection(self: &Arc<Self>) -> Open {
        self.connections_opened.add(1);
        self.open(What::Connection)
    }

    /// The same of one that another gateway accepted.
    pub fn adopted_connection(self: &Arc<Self>) -> Open {
        self.connections_adopted.add(1);
        self.connection()
    }

    /// A tunnel is open until the guard is dropped.
    pub fn tunnel(self: &Arc<Self>) -> Open {
        self.tunnels_opened.add(1);
        self.open(What::Tunnel)
    }

    /// The same of one that another gateway opened.
    pub fn adopted_tunnel(self: &Arc<Self>) -> Open {
        self.tunnels_adopted.add(1);
        self.open(What::Tunnel)
    }

    fn open(self: &Arc<Self>, what: What) -> Open {
        Open { counters: Arc::clone(self), what, moved: false, thread: PhantomData }
    }

    /// A request was admitted; it is in flight until its [`Ticket`] is given back.
    pub fn admit(self: &Arc<Self>) -> Ticket {
        self.admitted.add(1);
        Ticket { counters: Arc::clone(self), thread: PhantomData }
    }

    /// An endpoint was asked, once per attempt.
    pub fn attempted(&self) {
        self.attempts.add(1);
    }

    /// Bytes of content that came from clients.
    pub fn received(&self, bytes: u64) {
        self.bytes_received.add(bytes);
    }

    /// Bytes of content that went to clients.
    pub fn sent(&self, bytes: u64) {
        self.bytes_sent.add(bytes);
    }

    /// When the oldest request still in flight began, for those who wait for it.
    pub fn oldest(&self, began: Option<Instant>) {
        let since = began.map_or(0, |at| micros(at.saturating_duration_since(self.began)).saturating_add(1));
        self.oldest.store(since, Relaxed);
    }

    /// Connections that this thread serves now.
    pub fn connections_open(&self) -> u64 {
        self.connections_opened.since(&[&self.connections_closed, &self.connections_moved])
    }

    /// Tunnels that this thread serves now.
    fn tunnels_open(&self) -> u64 {
        let ended = self.tunnels_closed.value() + self.tunnels_moved.value();
        (self.tunnels_opened.value() + self.tunnels_adopted.value()).saturating_sub(ended)
    }

    /// Requests that this thread serves now.
    pub fn in_flight(&self) -> u64 {
        self.admitted.since(&[&self.released])
    }

    /// What this thread has counted so far.
    pub fn totals(&self) -> Totals {
        let ended = |ending: Ending| self.endings[ending as usize].value();
        let seen = self.oldest.load(Relaxed);
        Totals {
            connections_accepted: self.connections_accepted.value(),
            connections_adopted: self.connections_adopted.value(),
            connections_open: self.connections_open(),
            connections_closed: self.connections_closed.value(),
            connections_moved: self.connections_moved.value(),
            admitted: self.admitted.value(),
            in_flight: self.in_flight(),
            answered: ended(Ending::Answered),
            refused: ended(Ending::Refused),
            broken_off: ended(Ending::BrokenOff),
            client_gone: ended(Ending::ClientGone),
            cut: ended(Ending::Cut),
            attempts: self.attempts.value(),
            tunnels_opened: self.tunnels_opened.value(),
            tunnels_adopted: self.tunnels_adopted.value(),
            tunnels_open: self.tunnels_open(),
            tunnels_closed: self.tunnels_closed.value(),
            tunnels_moved: self.tunnels_moved.value(),
            bytes_received: self.bytes_received.value(),
            bytes_sent: self.bytes_sent.value(),
            oldest_ms: seen.checked_sub(1).map_or(0, |since| self.age_ms(since)),
            failures: self.failures_seen(),
            limits: self.limits_reached(),
            durations: Durations(self.durations.iter().map(Counter::value).collect()),
        }
    }

    fn end(&self, ending: Ending, code: Option<&str>, duration: Duration) {
        self.endings[ending as usize].add(1);
        self.durations[bucket(duration)].add(1);
        if let Some(code) = code {
            self.failures[position(code)].add(1);
        }
    }

    fn age_ms(&self, since: u64) -> u64 {
        micros(self.began.elapsed()).saturating_sub(since) / 1000
    }

    fn failures_seen(&self) -> BTreeMap<String, u64> {
        let seen = CODES.iter().zip(&self.failures).filter(|(_, count)| count.value() > 0);
        seen.map(|(code, count)| ((*code).to_owned(), count.value())).collect()
    }

    fn limits_reached(&self) -> BTreeMap<String, u64> {
        let reached = LIMITS.iter().zip(&self.limits).filter(|(_, count)| count.value() > 0);
        reached.map(|(limit, count)| (limit.name().to_owned(), count.value())).collect()
    }
}

/// A request in flight. Given back with [`Ticket::end`]; dropped without it, it is no longer in
/// flight and leaves a residue. Stays on its thread.
#[derive(Debug)]
pub struct Ticket {
    counters: Arc<Counters>,
    thread: PhantomData<Rc<()>>,
}

impl Ticket {
    /// The request ended after `duration`; `code` names the failure, if there was one.
    pub fn end(self, ending: Ending, code: Option<&str>, duration: Duration) {
        self.counters.end(ending, code, duration);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.counters.released.add(1);
    }
}

/// A connection or a tunnel that is open until this is dropped. Stays on its thread.
#[derive(Debug)]
pub struct Open {
    counters: Arc<Counters>,
    what: What,
    moved: bool,
    thread: PhantomData<Rc<()>>,
}

impl Open {
    /// It goes on in another gateway.
    pub fn moved(mut self) {
        self.moved = true;
    }
}

#[derive(Clone, Copy, Debug)]
enum What {
    Connection,
    Tunnel,
}

impl Drop for Open {
    fn drop(&mut self) {
        let counters = &self.counters;
        match (self.what, self.moved) {
            (What::Connection, false) => counters.connections_closed.add(1),
            (What::Connection, true) => counters.connections_moved.add(1),
            (What::Tunnel, false) => counters.tunnels_closed.add(1),
            (What::Tunnel, true) => counters.tunnels_moved.add(1),
        }
    }
}

/// The sum over all data threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    pub connections_accepted: u64,
    /// Accepted by another gateway, which gave them away.
    pub connections_adopted: u64,
    pub connections_open: u64,
    pub connections_closed: u64,
    /// Given to another gateway.
    pub connections_moved: u64,
    /// Requests, by what became of them; see [`Ending`].
    pub admitted: u64,
    pub in_flight: u64,
    pub answered: u64,
    pub refused: u64,
    pub broken_off: u64,
    pub client_gone: u64,
    pub cut: u64,
    /// Requests sent to endpoints, retries included.
    pub attempts: u64,
    pub tunnels_opened: u64,
    pub tunnels_adopted: u64,
    pub tunnels_open: u64,
    pub tunnels_closed: u64,
    pub tunnels_moved: u64,
    /// Content only, without heads.
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// Age of the oldest request in flight, as far as it was told; 0: none.
    pub oldest_ms: u64,
    /// By code, only those seen.
    pub failures: BTreeMap<String, u64>,
    /// How often each limit of connections was reached, by its name, only those that were.
    pub limits: BTreeMap<String, u64>,
    pub durations: Durations,
}

impl Totals {
    /// Admitted requests of which nobody knows what became. 0 when idle, or there is a bug.
    pub fn residue(&self) -> i64 {
        let ended = self.answered + self.refused + self.broken_off + self.client_gone + self.cut;
        self.admitted.cast_signed() - (ended + self.in_flight).cast_signed()
    }
}

impl AddAssign<&Totals> for Totals {
    fn add_assign(&mut self, other: &Totals) {
        self.connections_accepted += other.connections_accepted;
        self.connections_adopted += other.connections_adopted;
        self.connections_open += other.connections_open;
        self.connections_closed += other.connections_closed;
        self.connections_moved += other.connections_moved;
        self.admitted += other.admitted;
        self.in_flight += other.in_flight;
        self.answered += other.answered;
        self.refused += other.refused;
        self.broken_off += other.broken_off;
        self.client_gone += other.client_gone;
        self.cut += other.cut;
        self.attempts += other.attempts;
        self.tunnels_opened += other.tunnels_opened;
        self.tunnels_adopted += other.tunnels_adopted;
        self.tunnels_open += other.tunnels_open;
        self.tunnels_closed += other.tunnels_closed;
        self.tunnels_moved += other.tunnels_moved;
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.oldest_ms = self.oldest_ms.max(other.oldest_ms);
        for (code, count) in &other.failures {
            *self.failures.entry(code.clone()).or_default() += count;
        }
        for (limit, count) in &other.limits {
            *self.limits.entry(limit.clone()).or_default() += count;
        }
        self.durations += &other.durations;
    }
}

impl<'a> std::iter::Sum<&'a Counters> for Totals {
    fn sum<I: Iterator<Item = &'a Counters>>(threads: I) -> Totals {
        threads.fold(Totals::default(), |mut sum, counters| {
            sum += &counters.totals();
            sum
        })
    }
}

/// How long requests took: bucket 0 counts those under 1 ms, bucket `n` those from 2^(n-1) ms to
/// under 2^n ms, the last one everything above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations(pub Vec<u64>);

impl Durations {
    /// The upper bound of the bucket in which this share (0.0 to 1.0) of the requests had ended;
    /// `None` when none has ended.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count: u64 = self.0.iter().sum();
        let wanted = ((count as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        let reached = |ended: &u64| {
            seen += ended;
            seen >= wanted
        };
        self.0.iter().position(reached).map(|bucket| Duration::from_millis(1 << bucket))
    }
}

impl AddAssign<&Durations> for Durations {
    fn add_assign(&mut self, other: &Durations) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (sum, count) in self.0.iter_mut().zip(&other.0) {
            *sum += count;
        }
    }
}

/// Written by one thread only: a load and a store, not a locked read-modify-write.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// How far this one is ahead. A reader may see the later counters first, hence saturating.
    fn since(&self, later: &[&Counter]) -> u64 {
        later.iter().fold(self.value(), |ahead, later| ahead.saturating_sub(later.value()))
    }
}

fn bucket(duration: Duration) -> usize {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    ((u64::BITS - ms.leading_zeros()) as usize).min(BUCKETS - 1)
}

/// A failure is rare enough for a search through twenty short words.
fn position(code: &str) -> usize {
    CODES.iter().position(|known| *known == code).unwrap_or(CODES.len() - 1)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn every_ending_leaves_no_residue() {
        let counters = Counters::new();
        for ending in [Ending::Answered, Ending::Refused, Ending::BrokenOff, Ending::ClientGone, Ending::Cut]
        {
            counters.admit().end(ending, None, MS);
        }
        let waiting = counters.admit();
        let totals = counters.totals();
        assert_eq!((totals.admitted, totals.in_flight, totals.residue()), (6, 1, 0));
        waiting.end(Ending::Answered, None, MS);
        let totals = counters.totals();
        assert_eq!((totals.answered, totals.cut, totals.in_flight, totals.residue()), (2, 1, 0, 0));
    }

    #[test]
    fn a_request_let_go_without_an_ending_is_a_residue_and_not_in_flight() {
        let counters = Counters::new();
        drop(counters.admit());
        let totals = counters.totals();
        assert_eq!((totals.in_flight, totals.residue()), (0, 1));
    }

    #[test]
    fn failures_are_counted_by_code_and_unknown_ones_as_other() {
        let counters = Counters::new();
        for code in ["unreachable", "unreachable", "never-heard-of"] {
            counters.admit().end(Ending::Refused, Some(code), MS);
        }
        let failures = counters.totals().failures;
        assert_eq!(failures.get("unreachable"), Some(&2));
        assert_eq!(failures.get(OTHER), Some(&1));
        assert_eq!(failures.len(), 2);
    }

    #[test]
    fn what_comes_and_goes_by_a_handover_is_neither_accepted_nor_closed() {
        let counters = Counters::new();
        counters.accepted();
        let (accepted, adopted) = (counters.connection(), counters.adopted_connection());
        let (opened, taken, closing) = (counters.tunnel(), counters.adopted_tunnel(), counters.tunnel());
        accepted.moved();
        opened.moved();
        drop(closing);
        let now = counters.totals();
        assert_eq!((now.connections_accepted, now.connections_adopted), (1, 1));
        assert_eq!((now.connections_open, now.connections_closed, now.connections_moved), (1, 0, 1));
        assert_eq!((now.tunnels_opened, now.tunnels_adopted), (2, 1));
        assert_eq!((now.tunnels_open, now.tunnels_closed, now.tunnels_moved), (1, 1, 1));
        drop((adopted, taken));
        let now = counters.totals();
        assert_eq!((now.connections_open, now.connections_closed, now.tunnels_open), (0, 1, 0));
    }

    #[test]
    fn totals_sum_over_threads_and_survive_json() {
        let (one, two) = (Counters::new(), Counters::new());
        one.accepted();
        let _served_elsewhere = two.connection();
        let tunnel = two.tunnel();
        one.admit().end(Ending::Answered, None, MS);
        two.admit().end(Ending::Refused, Some("no-route"), 5 * MS);
        one.received(10);
        two.sent(20);
        drop(tunnel);
        let sum: Totals = [&*one, &*two].into_iter().sum();
        assert_eq!((sum.connections_accepted, sum.connections_open), (1, 1));
        assert_eq!((sum.tunnels_opened, sum.tunnels_open), (1, 0));
        assert_eq!((sum.admitted, sum.bytes_received, sum.bytes_sent), (2, 10, 20));
        let text = serde_json::to_string(&sum).unwrap();
        assert!(text.contains("\"client_gone\":0"), "{text}");
        assert_eq!(serde_json::from_str::<Totals>(&text).unwrap(), sum);
    }

    #[test]
    fn durations_fall_into_powers_of_two() {
        let at = |ms| bucket(Duration::from_millis(ms));
        assert_eq!((bucket(Duration::from_micros(999)), at(1), at(2), at(3), at(4)), (0, 1, 2, 2, 3));
        assert_eq!((at(1 << 22), at(u64::MAX)), (BUCKETS - 1, BUCKETS - 1));
    }

    #[test]
    fn a_quantile_is_the_upper_bound_of_its_bucket() {
        let counters = Counters::new();
        for ms in [0, 0, 0, 3, 100] {
            counters.admit().end(Ending::Answered, None, Duration::from_millis(ms));
        }
        let durations = counters.totals().durations;
        assert_eq!(durations.quantile(0.5), Some(MS));
        assert_eq!(durations.quantile(0.8), Some(4 * MS));
        assert_eq!(durations.quantile(1.0), Some(128 * MS));
        assert_eq!(Durations::default().quantile(0.5), None);
    }

    #[test]
    fn the_oldest_request_has_an_age_only_while_there_is_one() {
        let counters = Counters::new();
        assert_eq!(counters.totals().oldest_ms, 0);
        let began = Instant::now();
        counters.oldest(Some(began));
        let age = counters.totals().oldest_ms;
        assert!(u128::from(age) <= began.elapsed().as_millis());
        counters.oldest(None);
        assert_eq!(counters.totals().oldest_ms, 0);
    }
}
