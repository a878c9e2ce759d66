//! What happened, counted: one set of counters per data thread, summed when somebody asks.
//!
//! Promises: counting is a plain load and store (only the owning thread writes, anybody may read,
//! so a sum taken while requests run may be off by those being counted at that moment); no lock, no
//! allocation on the way of a request. What became of requests and tunnels is counted for each service by itself, in
//! a [`Tally`] that stays as long as the process; everything else here. A connection is closed here or moves to another
//! gateway, which adopts it: `accepted + adopted = open + closed + moved`.
//! Must not know: HTTP, the table of failures, or who asks.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::AddAssign;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ledger::{Account, Page, Passage, UNROUTED};
pub use super::tally::{CODES, Ending, OTHER, OpenTunnel, Pen, Ticket};
use super::tally::{Counter, DRAINED, Door, Tally};

/// A limit that is reached without a request; those of requests are failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Newcomers had to wait.
    Connections,
    /// A newcomer was turned away.
    ConnectionsPerAddress,
    /// Newcomers had to wait.
    Descriptors,
    /// TLS handshakes had to wait.
    Handshakes,
}

const LIMITS: [Limit; 4] =
    [Limit::Connections, Limit::ConnectionsPerAddress, Limit::Descriptors, Limit::Handshakes];

impl Limit {
    /// Where it is set.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Connections => "limits.connections",
            Limit::ConnectionsPerAddress => "limits.connections-per-address",
            Limit::Descriptors => "LimitNOFILE=",
            Limit::Handshakes => "tls.handshakes",
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
    accepted: Counter,
    connections: Door,
    attempts: Counter,
    retries: Counter,
    handshakes: Counter,
    handshakes_refused: Counter,
    bytes_received: Counter,
    bytes_sent: Counter,
    limits: [Counter; LIMITS.len()],
    /// Microseconds after `began`, plus one; 0: none.
    oldest: AtomicU64,
    /// Of requests that have no service, or not yet.
    unrouted: Arc<Tally>,
    /// Also of services that are gone. Locked to find one, never to count.
    services: Mutex<BTreeMap<Arc<str>, Arc<Tally>>>,
}

impl Counters {
    /// Shared, because the guards of its connections keep it alive.
    pub fn new() -> Arc<Counters> {
        Arc::new(Counters {
            began: Instant::now(),
            accepted: Counter::default(),
            connections: Door::default(),
            attempts: Counter::default(),
            retries: Counter::default(),
            handshakes: Counter::default(),
            handshakes_refused: Counter::default(),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            limits: Default::default(),
            oldest: AtomicU64::new(0),
            unrouted: Tally::new(),
            services: Mutex::default(),
        })
    }

    /// To count requests with before they have a service. For this thread only.
    pub fn unrouted(&self) -> Pen {
        Pen::of(Arc::clone(&self.unrouted))
    }

    /// To count what is the service's, the same one for the same name. For this thread only.
    pub fn service(&self, name: &str) -> Pen {
        if name == UNROUTED {
            return self.unrouted();
        }
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = services.get(name) {
            return Pen::of(Arc::clone(known));
        }
        let tally = Tally::new();
        services.insert(name.into(), Arc::clone(&tally));
        Pen::of(tally)
    }

    /// A connection was accepted by this thread, whichever thread will serve it.
    pub fn accepted(&self) {
        self.accepted.add(1);
    }

    /// A limit was reached.
    pub fn reached(&self, limit: Limit) {
        self.limits[limit as usize].add(1);
    }

    /// A connection is served by this thread until the guard is dropped.
    pub fn connection(self: &Arc<Self>) -> Open {
        self.connections.opened.add(1);
        Open { counters: Arc::clone(self), moved: false, thread: PhantomData }
    }

    /// The same of one that another gateway accepted.
    pub fn adopted_connection(self: &Arc<Self>) -> Open {
        self.connections.adopted.add(1);
        self.connection()
    }

    /// An endpoint was asked, once per attempt.
    pub fn attempted(&self) {
        self.attempts.add(1);
    }

    /// A request was sent again because the configuration allows it.
    pub fn retried(&self) {
        self.retries.add(1);
    }

    /// A client has agreed on TLS.
    pub fn shook_hands(&self) {
        self.handshakes.add(1);
    }

    /// A client of TLS was refused, or has gone before the end of its handshake.
    pub fn refused_handshake(&self) {
        self.handshakes_refused.add(1);
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
        let ended = self.connections.closed.value() + self.connections.moved.value();
        self.connections.opened.value().saturating_sub(ended)
    }

    /// What this thread has counted so far.
    pub fn totals(&self) -> Totals {
        let tallies = self.tallies();
        let account: Account = tallies.iter().map(|(_, tally)| tally.account()).sum();
        let mut failures = BTreeMap::new();
        add(&mut failures, &account.shed);
        add(&mut failures, &account.cut);
        let mut durations = Durations::default();
        for (_, tally) in &tallies {
            add(&mut failures, &tally.gone());
            durations += &tally.durations();
        }
        let cut = account.cut.get(DRAINED).copied().unwrap_or(0);
        let seen = self.oldest.load(Relaxed);
        Totals {
            connections_accepted: self.accepted.value(),
            connections_adopted: self.connections.adopted.value(),
            connections_open: self.connections_open(),
            connections_closed: self.connections.closed.value(),
            connections_moved: self.connections.moved.value(),
            admitted: account.admitted,
            in_flight: account.in_flight,
            answered: account.answered,
            refused: account.shed.values().sum(),
            broken_off: account.cut.values().sum::<u64>() - cut,
            client_gone: account.client_gone,
            cut,
            attempts: self.attempts.value(),
            retries: self.retries.value(),
            handshakes: self.handshakes.value(),
            handshakes_refused: self.handshakes_refused.value(),
            tunnels_opened: account.tunnels.begun,
            tunnels_adopted: account.tunnels.adopted,
            tunnels_open: account.tunnels.open,
            tunnels_closed: account.tunnels.closed,
            tunnels_moved: account.tunnels.moved,
            bytes_received: self.bytes_received.value(),
            bytes_sent: self.bytes_sent.value(),
            oldest_ms: seen.checked_sub(1).map_or(0, |since| self.age_ms(since)),
            failures,
            cut_short: account.cut,
            limits: self.limits_reached(),
            durations,
        }
    }

    /// By service, those without one first: a request is read there before it is read where it has gone.
    fn tallies(&self) -> Vec<(Arc<str>, Arc<Tally>)> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let unrouted = (Arc::from(UNROUTED), Arc::clone(&self.unrouted));
        let named = services.iter().map(|(name, tally)| (Arc::clone(name), Arc::clone(tally)));
        std::iter::once(unrouted).chain(named).collect()
    }

    fn age_ms(&self, since: u64) -> u64 {
        micros(self.began.elapsed()).saturating_sub(since) / 1000
    }

    fn limits_reached(&self) -> BTreeMap<String, u64> {
        let reached = LIMITS.iter().zip(&self.limits).filter(|(_, count)| count.value() > 0);
        reached.map(|(limit, count)| (limit.name().to_owned(), count.value())).collect()
    }
}

/// A connection that is open until this is dropped. Stays on its thread.
#[derive(Debug)]
pub struct Open {
    counters: Arc<Counters>,
    moved: bool,
    thread: PhantomData<Rc<()>>,
}

impl Open {
    /// It goes on in another gateway.
    pub fn moved(mut self) {
        self.moved = true;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let connections = &self.counters.connections;
        if self.moved { connections.moved.add(1) } else { connections.closed.add(1) }
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
    /// Of them, those that the configuration granted after one that failed.
    pub retries: u64,
    /// TLS connections with clients.
    pub handshakes: u64,
    pub handshakes_refused: u64,
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
    /// Of them, those that were broken off or cut at the drain's deadline.
    pub cut_short: BTreeMap<String, u64>,
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
        self.retries += other.retries;
        self.handshakes += other.handshakes;
        self.handshakes_refused += other.handshakes_refused;
        self.tunnels_opened += other.tunnels_opened;
        self.tunnels_adopted += other.tunnels_adopted;
        self.tunnels_open += other.tunnels_open;
        self.tunnels_closed += other.tunnels_closed;
        self.tunnels_moved += other.tunnels_moved;
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.oldest_ms = self.oldest_ms.max(other.oldest_ms);
        add(&mut self.failures, &other.failures);
        add(&mut self.cut_short, &other.cut_short);
        add(&mut self.limits, &other.limits);
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

/// What the threads have counted, as a page of the ledger; who writes it is not said.
impl<'a> std::iter::Sum<&'a Counters> for Page {
    fn sum<I: Iterator<Item = &'a Counters>>(threads: I) -> Page {
        let threads: Vec<&Counters> = threads.collect();
        let sum = |count: fn(&Counters) -> &Counter| threads.iter().map(|thread| count(thread).value()).sum();
        // What is counted last is read first, on every thread: one accepts what another one serves.
        let (closed, moved): (u64, u64) =
            (sum(|thread| &thread.connections.closed), sum(|thread| &thread.connections.moved));
        let opened: u64 = sum(|thread| &thread.connections.opened);
        let (adopted, begun): (u64, u64) =
            (sum(|thread| &thread.connections.adopted), sum(|thread| &thread.accepted));
        let open = opened - (closed + moved);
        let arriving = (begun + adopted).saturating_sub(opened);
        let mut page = Page {
            connections: Passage { begun, adopted, arriving, open, closed, moved },
            ..Page::default()
        };
        for (name, tally) in threads.iter().flat_map(|thread| thread.tallies()) {
            *page.services.entry(name.to_string()).or_default() += &tally.account();
        }
        page
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

pub(super) fn bucket(duration: Duration) -> usize {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    ((u64::BITS - ms.leading_zeros()) as usize).min(BUCKETS - 1)
}

pub(super) fn add(sum: &mut BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) {
    for (name, count) in counts {
        *sum.entry(name.clone()).or_default() += count;
    }
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
            counters.unrouted().admit().end(ending, None, MS);
        }
        let waiting = counters.unrouted().admit();
        let totals = counters.totals();
        assert_eq!((totals.admitted, totals.in_flight, totals.residue()), (6, 1, 0));
        waiting.end(Ending::Answered, None, MS);
        let totals = counters.totals();
        assert_eq!((totals.answered, totals.cut, totals.in_flight, totals.residue()), (2, 1, 0, 0));
    }

    #[test]
    fn a_request_let_go_without_an_ending_is_a_residue_and_not_in_flight() {
        let counters = Counters::new();
        drop(counters.unrouted().admit());
        let totals = counters.totals();
        assert_eq!((totals.in_flight, totals.residue()), (0, 1));
    }

    #[test]
    fn failures_are_counted_by_code_and_unknown_ones_as_other() {
        let counters = Counters::new();
        for code in ["unreachable", "unreachable", "never-heard-of"] {
            counters.unrouted().admit().end(Ending::Refused, Some(code), MS);
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
        let (opened, taken, closing) = (
            counters.service("shop").tunnel(),
            counters.service("shop").adopted_tunnel(),
            counters.service("shop").tunnel(),
        );
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
        let tunnel = two.service("shop").tunnel();
        one.unrouted().admit().end(Ending::Answered, None, MS);
        two.unrouted().admit().end(Ending::Refused, Some("no-route"), 5 * MS);
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
    fn a_page_has_a_line_for_every_service_that_ever_was_and_a_newcomer_between_two_threads_is_arriving() {
        let (one, two) = (Counters::new(), Counters::new());
        for counters in [&one, &two, &one] {
            let mut ticket = counters.unrouted().admit();
            ticket.turn_to(&counters.service("shop"));
            ticket.end(Ending::Answered, None, MS);
        }
        one.unrouted().admit().end(Ending::Refused, Some("no-route"), MS);
        let _blog = two.service("blog");
        one.accepted();
        let page = |threads: [&Counters; 2]| threads.into_iter().sum::<Page>();
        let before = page([&one, &two]);
        assert_eq!((before.connections.arriving, before.connections.open), (1, 0));
        let served = two.connection();
        let after = page([&one, &two]);
        assert_eq!((after.connections.arriving, after.connections.open), (0, 1));
        drop(served);
        let after = page([&one, &two]);
        assert_eq!((after.connections.closed, after.connections.residue()), (1, 0));
        assert_eq!(after.services.keys().collect::<Vec<_>>(), ["-", "blog", "shop"]);
        let admitted = |service: &str| after.services[service].admitted;
        assert_eq!((admitted("-"), admitted("blog"), admitted("shop")), (1, 0, 3));
        assert_eq!(after.services["-"].shed["no-route"], 1);
        assert!(after.residue().is_zero());
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
            counters.unrouted().admit().end(Ending::Answered, None, Duration::from_millis(ms));
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
