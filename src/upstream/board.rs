//! What all threads know of a service and its endpoints.
//!
//! ```text
//!   Board, one per service name ─┬─ Lineup, one per generation ─▶ rows        who is asked
//!                                └─ Row, one per address                      how it is
//! ```
//! Data threads read, count what is in flight and tell breakers how requests ended; the control thread asks endpoints
//! how they are, looks names up, and does what an operator wants.
//! Promises: it stays when a configuration is loaded: a service is the one of its name, an endpoint that of its address.
//! A request reads atomics and takes no lock, unless an endpoint has failed lately. Whatever changes who can take a
//! request changes [`Board::version`] and wakes whoever waits for that ([`Board::watch`]). Each change of a state is
//! one line in the log.
//! Must not know: connections, threads, how an endpoint is asked, where held requests wait.

use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::breaker::{self, Change, Hand, Pass, Rules};
use super::budget::Budget;
use super::fuse::Fuse;
use super::health;
use crate::config::settings::{self, Address};
use crate::telemetry::event;

/// The most addresses of one name that are endpoints.
const ADDRESSES: usize = 1000;

/// The state of a service that all threads share.
pub struct Board {
    name: Arc<str>,
    /// Counts the changes of who can take a request.
    version: AtomicU64,
    changes: watch::Sender<()>,
    /// A bit for each [`Reason`].
    gate: AtomicU8,
    /// Of the service as a whole; asked only where the configuration wants it.
    fuse: Fuse,
    budget: Budget,
    held: Held,
    /// All that there are, to be found again.
    rows: Mutex<Vec<Weak<Row>>>,
}

/// Why a service's requests are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An operator wants it.
    Operator = 1,
    /// Its unit is stopping or starting.
    Unit = 2,
}

/// Whether requests of a service may go to its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Open,
    Held(Reason),
}

/// Requests that are held, of all threads.
#[derive(Debug, Default)]
pub struct Held {
    count: AtomicUsize,
    bytes: AtomicU64,
}

/// Wakes when something has changed that held requests may wait for.
pub struct Watch(watch::Receiver<()>);

/// What all threads know of an endpoint: of one address.
pub struct Row {
    /// As logs and status name it.
    label: Arc<str>,
    /// As the operator wrote it: the name where `address` is one of its addresses.
    written: Address,
    address: Address,
    weight: AtomicU32,
    health: AtomicU8,
    drained: AtomicBool,
    in_flight: AtomicUsize,
    /// When it became able to take requests, in milliseconds; 0: it was from the beginning.
    since: AtomicU64,
    /// Changes of its health.
    changes: AtomicU64,
    fuse: Fuse,
    /// Names it to clients, and in rendezvous: the same in every process.
    mark: u64,
}

/// The endpoints of a service in one generation.
pub struct Lineup {
    board: Arc<Board>,
    settings: Arc<settings::Service>,
    rows: Mutex<Arc<[Arc<Row>]>>,
}

impl Board {
    fn new(service: &settings::Service) -> Arc<Board> {
        let retry = service.routes.first().map_or(settings::Retry::NEVER, |route| route.retry.clone());
        Arc::new(Board {
            name: service.name.as_str().into(),
            version: AtomicU64::new(0),
            changes: watch::Sender::new(()),
            gate: AtomicU8::new(0),
            fuse: Fuse::new(Rules::from(&service.breaker), Instant::now()),
            budget: Budget::new(retry.budget, retry.floor),
            held: Held::default(),
            rows: Mutex::default(),
        })
    }

    /// Of its service.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Changes whenever somebody else can take a request than before.
    pub fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// For whoever waits: what changes from now on is noticed.
    pub fn watch(&self) -> Watch {
        Watch(self.changes.subscribe())
    }

    /// Wakes whoever waits; after something that this room does not see.
    pub fn changed(&self) {
        self.version.fetch_add(1, Release);
        self.changes.send_replace(());
    }

    pub fn gate(&self) -> Gate {
        match self.gate.load(Acquire) {
            0 => Gate::Open,
            bits if bits & Reason::Operator as u8 != 0 => Gate::Held(Reason::Operator),
            _ => Gate::Held(Reason::Unit),
        }
    }

    /// Whether it is held for exactly this reason.
    pub fn is_held_by(&self, reason: Reason) -> bool {
        self.gate.load(Acquire) & reason as u8 != 0
    }

    /// Closes the gate for this reason; false when it was.
    pub fn hold(&self, reason: Reason) -> bool {
        let before = self.gate.fetch_or(reason as u8, Release);
        let is_new = before & reason as u8 == 0;
        if is_new {
            self.changed();
        }
        is_new
    }

    /// The reason is gone; the gate opens with the last one. False when it was none.
    pub fn release(&self, reason: Reason) -> bool {
        let before = self.gate.fetch_and(!(reason as u8), Release);
        let was = before & reason as u8 != 0;
        if was {
            self.changed();
        }
        was
    }

    pub fn held(&self) -> &Held {
        &self.held
    }

    /// The breaker of the service as a whole.
    pub fn fuse(&self) -> &Fuse {
        &self.fuse
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What asking an endpoint has shown.
    pub fn found(&self, row: &Row, state: health::State, why: &str) {
        let before = row.health.swap(state as u8, Release);
        if before == state as u8 {
            return;
        }
        row.changes.fetch_add(1, Relaxed);
        if state == health::State::Healthy && before == health::State::Unhealthy as u8 {
            row.began_now();
        }
        self.changed();
        let (service, endpoint) = (&*self.name, &*row.label);
        match state {
            health::State::Unhealthy => tracing::warn!(
                message_id = event::ENDPOINT_UNHEALTHY,
                service,
                endpoint,
                "{service}: endpoint {endpoint} is unhealthy and gets no requests: {why}"
            ),
            state => tracing::info!(
                message_id = event::ENDPOINT_HEALTHY,
                service,
                endpoint,
                "{service}: endpoint {endpoint} is {}: {why}",
                state.word()
            ),
        }
    }

    /// Takes an endpoint out of balance, or puts it back; what it has in flight ends in peace. False when it was so.
    pub fn drain(&self, row: &Row, drained: bool) -> bool {
        let is_new = row.drained.swap(drained, Release) != drained;
        if is_new {
            if !drained {
                row.began_now();
            }
            self.changed();
        }
        is_new
    }

    /// By hand: of the service as a whole without a row.
    pub fn set_breaker(&self, row: Option<&Row>, hand: Hand) {
        row.map_or(&self.fuse, |row| &row.fuse).set(hand, Instant::now());
        let told = match hand {
            Hand::Open => "held open by hand: it gets no requests",
            Hand::Close => "held closed by hand: it is asked whatever it answers",
            Hand::Auto => "left to itself again, closed",
        };
        self.tell_breaker(row, true, told);
        self.changed();
    }

    /// How a request ended that the breaker had let through.
    pub(super) fn ended(&self, row: Option<&Row>, pass: Pass, failed: Option<bool>) {
        let fuse = row.map_or(&self.fuse, |row| &row.fuse);
        if let Some(change) = fuse.ended(pass, failed, Instant::now) {
            self.breaker_changed(row, change);
        }
    }

    pub(super) fn breaker_changed(&self, row: Option<&Row>, change: Change) {
        let told = match change {
            Change::OpenedByRow(failures) => format!("opened after {failures} failures in a row"),
            Change::OpenedByShare { failed, of } => {
                format!("opened after {failed} failures of {of} requests")
            }
            Change::TrialFailed => "opened again: a trial failed".to_owned(),
            Change::Tried => "is half-open: a few requests try it".to_owned(),
            Change::Recovered => "closed: its trials succeeded".to_owned(),
        };
        let well = matches!(change, Change::Recovered | Change::Tried);
        if let (Change::Recovered, Some(row)) = (change, row) {
            row.began_now();
        }
        self.tell_breaker(row, well, &told);
        self.changed();
    }

    fn tell_breaker(&self, row: Option<&Row>, well: bool, told: &str) {
        let service = &*self.name;
        let endpoint = row.map_or("-", |row| &row.label);
        let whose = row.map_or_else(String::new, |row| format!(" of endpoint {}", row.label));
        let fuse = row.map_or(&self.fuse, |row| &row.fuse);
        let breaker = fuse.state().word();
        let id = event::BREAKER;
        match well {
            true => tracing::info!(
                message_id = id,
                service,
                endpoint,
                breaker,
                "{service}: the breaker{whose} {told}"
            ),
            false => tracing::warn!(
                message_id = id,
                service,
                endpoint,
                breaker,
                "{service}: the breaker{whose} {told}"
            ),
        }
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Weak<Row>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row of this address, a new one if there is none.
    fn row(
        &self,
        written: &Address,
        address: &Address,
        service: &settings::Service,
        first: bool,
    ) -> Arc<Row> {
        let mut rows = self.rows();
        rows.retain(|row| row.strong_count() > 0);
        let mut known = rows.iter().filter_map(Weak::upgrade);
        if let Some(row) = known.find(|row| row.address == *address && row.written == *written) {
            return row;
        }
        let state = match service.health {
            Some(_) => health::State::Unknown,
            None => health::State::Healthy,
        };
        let row = Arc::new(Row::new(written, address, state, Rules::from(&service.breaker)));
        if !first {
            row.began_now();
        }
        rows.push(Arc::downgrade(&row));
        row
    }
}

impl Row {
    fn new(written: &Address, address: &Address, state: health::State, rules: Rules) -> Row {
        let label: Arc<str> = match (written, address) {
            (Address::Name { .. }, Address::Ip(ip)) => format!("{written}/{}", ip.ip()).into(),
            _ => address.to_string().into(),
        };
        let digest = Sha256::digest(label.as_bytes());
        let mut mark = [0; 8];
        mark.copy_from_slice(&digest[..8]);
        Row {
            label,
            written: written.clone(),
            address: address.clone(),
            weight: AtomicU32::new(1),
            health: AtomicU8::new(state as u8),
            drained: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            fuse: Fuse::new(rules, Instant::now()),
            mark: u64::from_be_bytes(mark),
        }
    }

    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn written(&self) -> &Address {
        &self.written
    }

    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    pub fn health(&self) -> health::State {
        health::State::of(self.health.load(Acquire))
    }

    /// How often its health has changed.
    pub fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    pub fn is_drained(&self) -> bool {
        self.drained.load(Acquire)
    }

    /// Requests of all threads.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    pub fn fuse(&self) -> &Fuse {
        &self.fuse
    }

    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// How long it has been able to take requests, if that was not from the beginning.
    pub(super) fn age(&self) -> Option<Duration> {
        match self.since.load(Relaxed) {
            0 => None,
            since => Some(Duration::from_millis(millis().saturating_sub(since))),
        }
    }

    fn began_now(&self) {
        self.since.store(millis(), Relaxed);
    }
}

impl Lineup {
    /// The endpoints of a service, with what is known of them from the generation before.
    pub fn new(settings: &Arc<settings::Service>, before: Option<&Lineup>) -> Arc<Lineup> {
        let board = before.map_or_else(|| Board::new(settings), |before| Arc::clone(&before.board));
        let rules = Rules::from(&settings.breaker);
        if before.is_some() {
            board.fuse.rule(rules);
            let retry = settings.routes.first().map(|route| &route.retry);
            retry.into_iter().for_each(|retry| board.budget.rule(retry.budget, retry.floor));
        }
        let known = before.map(Lineup::rows);
        let mut rows = Vec::with_capacity(settings.endpoints.len());
        for endpoint in &settings.endpoints {
            let of_name = known.iter().flat_map(|known| known.iter());
            let of_name =
                of_name.filter(|row| row.written == endpoint.address).map(|row| row.address.clone());
            let mut addresses: Vec<Address> = of_name.collect();
            if addresses.is_empty() {
                addresses.push(endpoint.address.clone());
            }
            for address in addresses {
                let row = board.row(&endpoint.address, &address, settings, before.is_none());
                row.weight.store(endpoint.weight, Relaxed);
                row.fuse.rule(rules);
                rows.push(row);
            }
        }
        let lineup = Lineup { board, settings: Arc::clone(settings), rows: Mutex::new(rows.into()) };
        if settings.health.is_none() {
            for row in lineup.rows().iter().filter(|row| row.health() != health::State::Healthy) {
                lineup.board.found(row, health::State::Healthy, "nobody asks it any more");
            }
        }
        Arc::new(lineup)
    }

    /// All of a configuration, in the order of its services.
    pub fn all(services: &[Arc<settings::Service>], before: &[Arc<Lineup>]) -> Vec<Arc<Lineup>> {
        let known = |service: &settings::Service| {
            let known = before.iter().find(|lineup| lineup.settings.name == service.name);
            known.map(|lineup| &**lineup)
        };
        services.iter().map(|service| Lineup::new(service, known(service))).collect()
    }

    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    pub fn settings(&self) -> &Arc<settings::Service> {
        &self.settings
    }

    /// At this moment.
    pub fn rows(&self) -> Arc<[Arc<Row>]> {
        Arc::clone(&self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The endpoint of this name in logs and status.
    pub fn find(&self, label: &str) -> Option<Arc<Row>> {
        self.rows().iter().find(|row| *row.label == *label).cloned()
    }

    /// These are the addresses of a name now; without any, those before stay. Whether anything has changed.
    pub fn resolved(&self, name: &Address, addresses: &[std::net::SocketAddr]) -> bool {
        let mut addresses: Vec<Address> = addresses.iter().copied().map(Address::Ip).collect();
        addresses.sort();
        addresses.dedup();
        addresses.truncate(ADDRESSES);
        let before = self.rows();
        let mut had: Vec<&Address> =
            before.iter().filter(|row| row.written == *name).map(|row| &row.address).collect();
        had.sort();
        had.dedup();
        if addresses.is_empty() || had.iter().copied().eq(&addresses) {
            return false;
        }
        let first = had == [name];
        let mut rows = Vec::with_capacity(before.len() + addresses.len());
        for endpoint in &self.settings.endpoints {
            if endpoint.address != *name {
                rows.extend(before.iter().filter(|row| row.written == endpoint.address).cloned());
                continue;
            }
            for address in &addresses {
                let row = self.board.row(name, address, &self.settings, first);
                row.weight.store(endpoint.weight, Relaxed);
                rows.push(row);
            }
        }
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows.into();
        self.board.changed();
        true
    }
}

impl Held {
    /// Counts a request with so many bytes, if that leaves it within these bounds.
    pub fn enter(&self, bytes: u64, most: usize, most_bytes: u64) -> bool {
        let fits = |count: usize| (count < most).then_some(count + 1);
        if self.count.fetch_update(Relaxed, Relaxed, fits).is_err() {
            return false;
        }
        let fits = |sum: u64| sum.checked_add(bytes).filter(|sum| *sum <= most_bytes);
        if self.bytes.fetch_update(Relaxed, Relaxed, fits).is_err() {
            self.count.fetch_sub(1, Relaxed);
            return false;
        }
        true
    }

    pub fn leave(&self, bytes: u64) {
        self.count.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(bytes, Relaxed);
    }

    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

impl Watch {
    /// Waits until something has changed since the last time.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The board is gone, and with it everything that could change.
            std::future::pending().await
        }
    }
}

impl Reason {
    /// The word for it in status and log.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Operator => "operator",
            Reason::Unit => "unit",
        }
    }
}

/// The state of an endpoint as an operator sees it.
pub fn word_of(gate: Gate, row: &Row) -> &'static str {
    match (row.is_drained(), gate, row.health()) {
        (true, ..) => "draining",
        (false, Gate::Held(_), _) => "held",
        (false, Gate::Open, health) => health.word(),
    }
}

/// Whether somebody's breaker lets requests through.
pub fn is_closed(fuse: &Fuse) -> bool {
    fuse.state() == breaker::State::Closed
}

/// Since this process began to count, from 1.
fn millis() -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    let passed = EPOCH.get_or_init(Instant::now).elapsed().as_millis();
    u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(1)
}
