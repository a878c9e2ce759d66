//! What became of the requests and tunnels of one service, counted by one data thread.
//!
//! ```text
//!                    ┌─ Answered    the whole answer was sent                   answered
//!                    ├─ Refused     a failure was told in an answer of our own  shed, by its code
//!   admitted ─ in ───┼─ BrokenOff   the answer had begun and was not finished   cut, by its code
//!             flight ├─ Cut         the drain's deadline came                   cut, as `drained`
//!                    └─ ClientGone  the client left first                       client_gone
//! ```
//! The right column is what [`super::ledger`] calls it. A request begins in the account of those that no service has,
//! and is turned to that of its service when it has a route. It never moves to another gateway while it is in flight,
//! and is never put aside: what `moved` and `spooled` of the identity would be is nothing.
//!
//! Promises: only the thread that has the [`Pen`] writes, by a load and a store; whoever reads meanwhile never sees a
//! request released that has not ended, so a residue that is seen is one. A request that was let go without
//! an ending leaves a residue in its account, which is a bug.
//! Must not know: HTTP, the table of failures, or who asks.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use super::counters::{BUCKETS, Durations, bucket};
use super::ledger::{Account, Passage};

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
pub const CODES: [&str; 46] = [
    "bad-request",
    "no-route",
    "misdirected",
    "wrong-name",
    "plain-http",
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
    "held-too-long",
    "hold-full",
    "many-requests",
    "no-place",
    "long-queue",
    "shed",
    "fault",
    "client-gone",
    "client-silent",
    "no-endpoint",
    "nobody-up",
    "breaker-open",
    "unreachable",
    "untrusted",
    "handshake",
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

/// The code of what was cut at the drain's deadline.
pub(super) const DRAINED: &str = "drained";

/// The word for a failure whose code is not in [`CODES`].
pub const OTHER: &str = "other";

// The rows of endings that are told apart by their codes.
const SHED: usize = 0;
const CUT: usize = 1;
const GONE: usize = 2;

/// The counters of one service on one thread. Aligned so that two threads never write to one cache line.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Tally {
    admitted: Counter,
    /// To another account, when the request's service was known.
    turned: Counter,
    released: Counter,
    answered: Counter,
    /// The other endings, by code.
    failed: [[Counter; CODES.len()]; 3],
    durations: [Counter; BUCKETS],
    tunnels: Door,
}

/// How many came, and what became of them.
#[derive(Debug, Default)]
pub(super) struct Door {
    pub(super) opened: Counter,
    pub(super) adopted: Counter,
    pub(super) closed: Counter,
    pub(super) moved: Counter,
}

impl Tally {
    pub(super) fn new() -> Arc<Tally> {
        Arc::new(Tally {
            admitted: Counter::default(),
            turned: Counter::default(),
            released: Counter::default(),
            answered: Counter::default(),
            failed: std::array::from_fn(|_| std::array::from_fn(|_| Counter::default())),
            durations: Default::default(),
            tunnels: Door::default(),
        })
    }

    /// As it is now. What is counted last is read first.
    pub(super) fn account(&self) -> Account {
        let (turned, released) = (self.turned.value(), self.released.value());
        let answered = self.answered.value();
        let [shed, cut, gone] = [SHED, CUT, GONE].map(|row| by_code(&self.failed[row]));
        let client_gone = gone.values().sum();
        let ended = answered + client_gone + shed.values().sum::<u64>() + cut.values().sum::<u64>();
        // Of those that have ended, some may be about to be released.
        let lost = released.saturating_sub(ended);
        let admitted = self.admitted.value() - turned;
        let in_flight = admitted.saturating_sub(ended + lost);
        let tunnels = self.tunnels.passage();
        Account { admitted, in_flight, answered, client_gone, shed, cut, tunnels }
    }

    /// Codes of the requests whose client left, which the ledger does not tell apart.
    pub(super) fn gone(&self) -> BTreeMap<String, u64> {
        by_code(&self.failed[GONE])
    }

    pub(super) fn durations(&self) -> Durations {
        Durations(self.durations.iter().map(Counter::value).collect())
    }

    fn end(&self, ending: Ending, code: Option<&str>, duration: Duration) {
        self.durations[bucket(duration)].add(1);
        let code = if ending == Ending::Cut { Some(DRAINED) } else { code };
        let row = match ending {
            Ending::Answered => return self.answered.add(1),
            Ending::Refused => SHED,
            Ending::BrokenOff | Ending::Cut => CUT,
            Ending::ClientGone => GONE,
        };
        self.failed[row][code.map_or(CODES.len() - 1, position)].add(1);
    }
}

impl Door {
    fn passage(&self) -> Passage {
        let (closed, moved) = (self.closed.value(), self.moved.value());
        let (begun, adopted) = (self.opened.value(), self.adopted.value());
        Passage { begun, adopted, arriving: 0, open: (begun + adopted) - (closed + moved), closed, moved }
    }
}

/// The right to write into an account, which only its thread has.
#[derive(Clone, Debug)]
#[allow(clippy::redundant_allocation, reason = "cloned twice for each request: without an atomic operation")]
pub struct Pen(Rc<Arc<Tally>>);

impl Pen {
    pub(super) fn of(tally: Arc<Tally>) -> Pen {
        Pen(Rc::new(tally))
    }

    /// A request was admitted; it is in flight until its [`Ticket`] is given back.
    pub fn admit(&self) -> Ticket {
        self.0.admitted.add(1);
        Ticket { pen: self.clone() }
    }

    /// A tunnel is open until the guard is dropped.
    pub fn tunnel(&self) -> OpenTunnel {
        self.0.tunnels.opened.add(1);
        OpenTunnel { pen: self.clone(), moved: false }
    }

    /// The same of one that another gateway opened.
    pub fn adopted_tunnel(&self) -> OpenTunnel {
        self.0.tunnels.adopted.add(1);
        OpenTunnel { pen: self.clone(), moved: false }
    }
}

/// A request in flight. Given back with [`Ticket::end`]; dropped without it, it is no longer in
/// flight and leaves a residue. Stays on its thread.
#[derive(Debug)]
pub struct Ticket {
    pen: Pen,
}

impl Ticket {
    /// Its service is known now.
    pub fn turn_to(&mut self, pen: &Pen) {
        pen.0.admitted.add(1);
        let before = std::mem::replace(&mut self.pen, pen.clone());
        before.0.turned.add(1);
    }

    /// The request ended after `duration`; `code` names the failure, if there was one.
    pub fn end(self, ending: Ending, code: Option<&str>, duration: Duration) {
        self.pen.0.end(ending, code, duration);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pen.0.released.add(1);
    }
}

/// A tunnel that is open until this is dropped. Stays on its thread.
#[derive(Debug)]
pub struct OpenTunnel {
    pen: Pen,
    moved: bool,
}

impl OpenTunnel {
    /// It goes on in another gateway.
    pub fn moved(mut self) {
        self.moved = true;
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        let tunnels = &self.pen.0.tunnels;
        if self.moved { tunnels.moved.add(1) } else { tunnels.closed.add(1) }
    }
}

/// Written by one thread only: a load and a store, not a locked read-modify-write. Whoever sees a count sees
/// everything that was counted before it.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Release);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Acquire)
    }
}

/// A failure is rare enough for a search through thirty short words.
fn position(code: &str) -> usize {
    CODES.iter().position(|known| *known == code).unwrap_or(CODES.len() - 1)
}

fn by_code(counters: &[Counter; CODES.len()]) -> BTreeMap<String, u64> {
    let seen = CODES.iter().zip(counters).map(|(code, count)| (code, count.value()));
    seen.filter(|(_, count)| *count > 0).map(|(code, count)| ((*code).to_owned(), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const ENDINGS: [Ending; 5] =
        [Ending::Answered, Ending::Refused, Ending::BrokenOff, Ending::ClientGone, Ending::Cut];

    #[test]
    fn each_ending_is_one_word_of_the_identity() {
        for (ending, code, told) in [
            (Ending::Answered, None, "answered"),
            (Ending::Refused, Some("unreachable"), "shed unreachable"),
            (Ending::BrokenOff, Some("truncated"), "cut truncated"),
            (Ending::BrokenOff, Some("panicked"), "cut panicked"),
            (Ending::Cut, Some("drained"), "cut drained"),
            (Ending::ClientGone, Some("slow-reader"), "client_gone"),
            (Ending::Refused, Some("never-heard-of"), "shed other"),
            (Ending::Refused, None, "shed other"),
        ] {
            let tally = Tally::new();
            Pen::of(Arc::clone(&tally)).admit().end(ending, code, MS);
            let account = tally.account();
            let mut words = vec![];
            words.extend((account.answered > 0).then(|| "answered".to_owned()));
            words.extend((account.client_gone > 0).then(|| "client_gone".to_owned()));
            words.extend(account.shed.keys().map(|code| format!("shed {code}")));
            words.extend(account.cut.keys().map(|code| format!("cut {code}")));
            assert_eq!(words, [told], "{ending:?} {code:?}");
            assert_eq!((account.admitted, account.residue()), (1, 0));
        }
    }

    #[test]
    fn a_request_let_go_without_an_ending_is_a_residue_of_its_account_and_not_in_flight() {
        let (unrouted, shop) = (Tally::new(), Tally::new());
        let (first, second) = (Pen::of(Arc::clone(&unrouted)), Pen::of(Arc::clone(&shop)));
        let mut ticket = first.admit();
        ticket.turn_to(&second);
        assert_eq!((unrouted.account(), shop.account().in_flight), (Account::default(), 1));
        drop(ticket);
        let account = shop.account();
        assert_eq!((account.admitted, account.in_flight, account.residue()), (1, 0, 1));
        assert_eq!(unrouted.account().residue(), 0);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Admit,
        Turn(usize),
        End(usize, usize),
        Open(usize),
        Adopt(usize),
        Close(usize),
        Move(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Admit),
            3 => (0..3usize).prop_map(Step::Turn),
            4 => (any::<usize>(), 0..ENDINGS.len()).prop_map(|(which, how)| Step::End(which, how)),
            1 => (0..3usize).prop_map(Step::Open),
            1 => (0..3usize).prop_map(Step::Adopt),
            1 => any::<usize>().prop_map(Step::Close),
            1 => any::<usize>().prop_map(Step::Move),
        ];
        prop::collection::vec(step, 0..100)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_happens_nothing_is_unaccounted_for(steps in steps(), dropped in any::<Option<usize>>()) {
            let tallies: Vec<_> = (0..4).map(|_| Tally::new()).collect();
            let pens: Vec<_> = tallies.iter().map(|tally| Pen::of(Arc::clone(tally))).collect();
            let (mut tickets, mut tunnels) = (vec![], vec![]);
            let (mut admitted, mut opened) = (0, 0);
            let pick = |which: usize, among: usize| which % among.max(1);
            for step in steps {
                match step {
                    Step::Admit => { tickets.push(pens[3].admit()); admitted += 1; }
                    Step::Turn(service) => {
                        if let Some(ticket) = tickets.last_mut() { ticket.turn_to(&pens[service]); }
                    }
                    Step::End(which, how) if !tickets.is_empty() => {
                        let ticket: Ticket = tickets.swap_remove(pick(which, tickets.len()));
                        ticket.end(ENDINGS[how], Some("late-idle"), MS);
                    }
                    Step::Open(service) => { tunnels.push(pens[service].tunnel()); opened += 1; }
                    Step::Adopt(service) => { tunnels.push(pens[service].adopted_tunnel()); opened += 1; }
                    Step::Close(which) if !tunnels.is_empty() => {
                        drop(tunnels.swap_remove(pick(which, tunnels.len())));
                    }
                    Step::Move(which) if !tunnels.is_empty() => {
                        let tunnel: OpenTunnel = tunnels.swap_remove(pick(which, tunnels.len()));
                        tunnel.moved();
                    }
                    _ => {}
                }
                let accounts: Vec<_> = tallies.iter().map(|tally| tally.account()).collect();
                for account in &accounts {
                    prop_assert_eq!((account.residue(), account.tunnels.residue()), (0, 0));
                }
                prop_assert_eq!(accounts.iter().map(|account| account.admitted).sum::<u64>(), admitted);
                let in_flight = accounts.iter().map(|account| account.in_flight).sum::<u64>();
                prop_assert_eq!(in_flight, tickets.len() as u64);
                let open = accounts.iter().map(|account| account.tunnels.open).sum::<u64>();
                prop_assert_eq!(open, tunnels.len() as u64);
                let came = accounts.iter().map(|account| account.tunnels.begun + account.tunnels.adopted);
                prop_assert_eq!(came.sum::<u64>(), opened);
            }
            if let Some(which) = dropped.filter(|_| !tickets.is_empty()) {
                drop(tickets.swap_remove(pick(which, tickets.len())));
                let residues = tallies.iter().map(|tally| tally.account().residue());
                prop_assert_eq!(residues.sum::<i64>(), 1);
            }
        }
    }

    #[test]
    fn who_reads_while_requests_run_sees_no_residue() {
        let tally = Tally::new();
        let busy = Arc::clone(&tally);
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let writer = std::thread::spawn(move || {
            let pen = Pen::of(busy);
            let mut count = 0;
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                pen.admit().end(ENDINGS[count % ENDINGS.len()], Some("drained"), MS);
                count += 1;
            }
            count as u64
        });
        for _ in 0..2000 {
            let account = tally.account();
            assert_eq!(account.residue(), 0, "{account:?}");
        }
        drop(stop);
        let count = writer.join().unwrap();
        let account = tally.account();
        assert_eq!((account.admitted, account.in_flight, account.residue()), (count, 0, 0));
    }
}
