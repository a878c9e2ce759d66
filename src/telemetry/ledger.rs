//! The ledger: what became of every request, connection and tunnel, of this gateway and of those before it.
//!
//! ```text
//!   requests      admitted            = answered + client_gone + shed + cut + in flight
//!   tunnels       opened   + adopted  = open + closed + moved
//!   connections   accepted + adopted  = open + closed + moved           (+ arriving, between two threads)
//! ```
//! for each service, the one of requests that none serves (`-`) included, and for each gateway process, which has a
//! [`Page`]. Left minus right is the [`Residue`]; of a gateway that has ended nothing may be in flight, open or arriving
//! either. Requests do not move while they are in flight and are never put aside, so there is no word for it here.
//!
//! At the end of a handover the outgoing gateway gives its ledger away as its last word ([`Lineage::close`]), and the
//! incoming one goes on with it ([`Lineage::inherit`]). A gateway that died could not: its page says so, and nothing else.
//!
//! Promises: pure; a reader of this version understands an older and a newer one; never more than [`PAGES`] pages of
//! those before, the oldest are summed up.
//! Must not know: who counts, how it travels, or how it is shown.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counters::{Durations, Totals, add};
use super::event;

/// The account of requests that no service has.
pub const UNROUTED: &str = "-";

/// The account of all services together, where they are not told apart any more.
pub const ALL: &str = "*";

/// Pages of earlier gateways that are kept apart.
pub const PAGES: usize = 8;

/// What became of the requests and tunnels of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    pub admitted: u64,
    pub in_flight: u64,
    /// The whole answer, of an endpoint or configured, was sent.
    pub answered: u64,
    /// The client left before it had the whole answer.
    pub client_gone: u64,
    /// Refused with an answer of our own, by the code of the failure.
    pub shed: BTreeMap<String, u64>,
    /// Broken off, or cut at the drain's deadline, by the code of the failure.
    pub cut: BTreeMap<String, u64>,
    pub tunnels: Passage,
}

/// Connections or tunnels: how many came, and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Passage {
    /// Accepted, or opened.
    pub begun: u64,
    /// From another gateway.
    pub adopted: u64,
    /// Accepted by one thread and not yet with the one that serves.
    pub arriving: u64,
    pub open: u64,
    pub closed: u64,
    /// To another gateway.
    pub moved: u64,
}

/// What one gateway process has written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// 1, 2, 3 … over handovers, restarts and deaths.
    pub gateway: u64,
    /// How many gateways before that one this page is also of.
    pub folded: u64,
    pub fate: Fate,
    pub version: String,
    pub pid: u32,
    /// RFC 3339.
    pub began: String,
    pub ended: Option<String>,
    pub connections: Passage,
    pub services: BTreeMap<String, Account>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It serves, or finishes what it has.
    #[default]
    Alive,
    /// It has given its ledger away.
    Ended,
    /// It ended without a word, or after its last one: what it had in flight is not known.
    #[serde(other)]
    Lost,
}

/// The pages of all gateways, from the oldest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    pub gateways: Vec<Page>,
}

/// What nobody can account for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Residue {
    pub requests: u64,
    pub connections: u64,
    pub tunnels: u64,
}

impl Account {
    /// Left minus right, of requests.
    pub fn residue(&self) -> i64 {
        let failed: u64 = self.shed.values().chain(self.cut.values()).sum();
        let right = self.answered + self.client_gone + failed + self.in_flight;
        self.admitted.cast_signed() - right.cast_signed()
    }
}

impl AddAssign<&Account> for Account {
    fn add_assign(&mut self, other: &Account) {
        self.admitted += other.admitted;
        self.in_flight += other.in_flight;
        self.answered += other.answered;
        self.client_gone += other.client_gone;
        add(&mut self.shed, &other.shed);
        add(&mut self.cut, &other.cut);
        self.tunnels += &other.tunnels;
    }
}

impl Sum for Account {
    fn sum<I: Iterator<Item = Account>>(accounts: I) -> Account {
        accounts.fold(Account::default(), |mut sum, account| {
            sum += &account;
            sum
        })
    }
}

impl Passage {
    /// Left minus right.
    pub fn residue(&self) -> i64 {
        let right = self.arriving + self.open + self.closed + self.moved;
        (self.begun + self.adopted).cast_signed() - right.cast_signed()
    }
}

impl AddAssign<&Passage> for Passage {
    fn add_assign(&mut self, other: &Passage) {
        self.begun += other.begun;
        self.adopted += other.adopted;
        self.arriving += other.arriving;
        self.open += other.open;
        self.closed += other.closed;
        self.moved += other.moved;
    }
}

impl Page {
    /// All services together.
    pub fn all(&self) -> Account {
        self.services.values().cloned().sum()
    }

    /// What is left over. What a gateway still had when it ended is left over as well.
    pub fn residue(&self) -> Residue {
        let connections = &self.connections;
        let mut residue = Residue { connections: connections.residue().unsigned_abs(), ..Residue::default() };
        for account in self.services.values() {
            residue.requests += account.residue().unsigned_abs();
            residue.tunnels += account.tunnels.residue().unsigned_abs();
        }
        if self.fate == Fate::Ended {
            let all = self.all();
            residue.requests += all.in_flight;
            residue.tunnels += all.tunnels.open;
            residue.connections += connections.open + connections.arriving;
        }
        residue
    }

    /// A process is known by when it began; one that left no word only by its number.
    fn is_of_the_same(&self, other: &Page) -> bool {
        let process = |page: &Page| (page.pid, page.began.clone());
        match self.pid == 0 || other.pid == 0 {
            true => self.gateway == other.gateway,
            false => process(self) == process(other),
        }
    }

    /// This page and the one after it as one.
    fn fold(&mut self, next: Page) {
        let mut all = self.all();
        all += &next.all();
        self.folded += 1 + next.folded;
        self.gateway = next.gateway;
        self.version = next.version;
        self.pid = next.pid;
        self.ended = next.ended;
        if next.fate == Fate::Lost {
            self.fate = Fate::Lost;
        }
        self.connections += &next.connections;
        self.services = BTreeMap::from([(ALL.to_owned(), all)]);
    }
}

impl Ledger {
    pub fn residue(&self) -> Residue {
        self.gateways.iter().map(Page::residue).fold(Residue::default(), |mut sum, residue| {
            sum.requests += residue.requests;
            sum.connections += residue.connections;
            sum.tunnels += residue.tunnels;
            sum
        })
    }

    /// Connections and tunnels that one gateway gave away and no other has adopted, yet. Not known when a page is
    /// missing.
    pub fn in_transit(&self) -> Option<(u64, u64)> {
        if self.gateways.iter().any(|page| page.fate == Fate::Lost) {
            return None;
        }
        let between = |passage: fn(&Page) -> Passage| {
            let sum = self.gateways.iter().map(passage).fold(Passage::default(), |mut sum, passage| {
                sum += &passage;
                sum
            });
            sum.moved.saturating_sub(sum.adopted)
        };
        Some((between(|page| page.connections.clone()), between(|page| page.all().tunnels)))
    }

    /// For programs: with the sums.
    pub fn told(&self) -> serde_json::Value {
        let (connections, tunnels) = self.in_transit().unwrap_or_default();
        let pages: Vec<serde_json::Value> = self.gateways.iter().map(told).collect();
        serde_json::json!({
            "residue": self.residue(),
            "in_transit": { "connections": connections, "tunnels": tunnels },
            "gateways": pages,
        })
    }
}

fn told(page: &Page) -> serde_json::Value {
    let mut value = serde_json::to_value(page).unwrap_or_default();
    value["residue"] = serde_json::json!(page.residue());
    value["all"] = serde_json::json!(page.all());
    value
}

impl Residue {
    pub fn is_zero(&self) -> bool {
        *self == Residue::default()
    }
}

impl fmt::Display for Residue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [(self.requests, "request"), (self.connections, "connection"), (self.tunnels, "tunnel")];
        let left: Vec<String> =
            kinds.iter().filter(|(count, _)| *count > 0).map(|(count, what)| counted(*count, what)).collect();
        match left.is_empty() {
            true => f.write_str("every request is accounted for"),
            false => write!(f, "{} unaccounted for: a bug, please report it", left.join(" and ")),
        }
    }
}

/// A gateway among those before it.
#[derive(Clone, Debug)]
pub struct Lineage {
    own: Page,
    /// Gateways that died directly before this one.
    lost: u64,
    earlier: Vec<Page>,
}

impl Lineage {
    /// Of a gateway that is the `number`th as far as its keeper knows, and the first one after `lost` that died.
    pub fn begin(number: u64, lost: u64, version: &str, pid: u32, began: String) -> Lineage {
        let own = Page {
            gateway: number.max(lost + 1),
            version: version.to_owned(),
            pid,
            began,
            ..Page::default()
        };
        Lineage { own, lost, earlier: Vec::new() }
    }

    /// The number of this gateway.
    pub fn number(&self) -> u64 {
        self.own.gateway
    }

    /// Takes over what those before have written. One that finished alone is heard of late, when another one may
    /// already have taken its number, as the first of its keeper: the one that began later gets the next.
    pub fn inherit(&mut self, ledger: Ledger) {
        for page in ledger.gateways {
            if let Some(known) = self.earlier.iter_mut().find(|known| known.is_of_the_same(&page)) {
                *known = Page { gateway: known.gateway, ..page };
                continue;
            }
            let place = |page: &Page| (page.gateway, page.began.clone(), page.pid);
            let index = self.earlier.partition_point(|known| place(known) < place(&page));
            self.earlier.insert(index, page);
            for index in 1..self.earlier.len() {
                let least = self.earlier[index - 1].gateway + 1;
                self.earlier[index].gateway = self.earlier[index].gateway.max(least);
            }
        }
        let last = self.earlier.last().map_or(0, |page| page.gateway);
        self.own.gateway = self.own.gateway.max(last + self.lost + 1);
        while self.earlier.len() > PAGES {
            let next = self.earlier.remove(1);
            self.earlier[0].fold(next);
        }
    }

    /// All pages, with what this gateway has counted so far.
    pub fn ledger(&self, counted: Page) -> Ledger {
        let Page { connections, services, .. } = counted;
        let own = Page { connections, services, ..self.own.clone() };
        Ledger {
            gateways: self.earlier.iter().cloned().chain(self.page_of_the_lost()).chain([own]).collect(),
        }
    }

    /// All pages, as the last word of this gateway. It is [`Fate::Ended`] when nothing is counted any more.
    pub fn close(&self, counted: Page, fate: Fate, ended: String) -> Ledger {
        let mut ledger = self.ledger(counted);
        if let Some(own) = ledger.gateways.last_mut() {
            own.fate = fate;
            own.ended = Some(ended);
        }
        ledger
    }

    fn page_of_the_lost(&self) -> Option<Page> {
        let folded = self.lost.checked_sub(1)?;
        Some(Page { gateway: self.own.gateway - 1, folded, fate: Fate::Lost, ..Page::default() })
    }
}

/// What a transition (a drain, a handover) did, for the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub connections_moved: u64,
    pub tunnels_moved: u64,
    pub answered: u64,
    pub client_gone: u64,
    pub refused: u64,
    /// By the code of the failure.
    pub cut: BTreeMap<String, u64>,
    /// The longest request that ended meanwhile took less than this.
    pub longest: Option<Duration>,
    pub residue: u64,
    pub took: Duration,
}

/// What has happened between two looks at the counters.
pub fn report(before: &Totals, after: &Totals, took: Duration) -> Report {
    let since = |count: fn(&Totals) -> u64| count(after).saturating_sub(count(before));
    let cut = after.cut_short.iter().map(|(code, count)| {
        let already = before.cut_short.get(code).copied().unwrap_or(0);
        (code.clone(), count.saturating_sub(already))
    });
    Report {
        connections_moved: since(|totals| totals.connections_moved),
        tunnels_moved: since(|totals| totals.tunnels_moved),
        answered: since(|totals| totals.answered),
        client_gone: since(|totals| totals.client_gone),
        refused: since(|totals| totals.refused),
        cut: cut.filter(|(_, count)| *count > 0).collect(),
        longest: longest(&before.durations, &after.durations),
        residue: after.residue().unsigned_abs(),
        took,
    }
}

fn longest(before: &Durations, after: &Durations) -> Option<Duration> {
    let already = before.0.iter().chain(std::iter::repeat(&0));
    let ended = after.0.iter().zip(already).map(|(count, already)| count.saturating_sub(*already));
    Durations(ended.collect()).quantile(1.0).filter(|_| after.0.iter().sum::<u64>() > before.0.iter().sum())
}

impl Report {
    /// All of it in one sentence.
    pub fn line(&self) -> String {
        let mut parts = vec![];
        if self.connections_moved + self.tunnels_moved > 0 {
            let connections = counted(self.connections_moved, "connection");
            parts.push(format!("{connections} and {} moved", counted(self.tunnels_moved, "tunnel")));
        }
        parts.push(format!("{} answered", counted(self.answered, "request")));
        let others = [(self.refused, "refused"), (self.client_gone, "left by the client")];
        let some = others.iter().filter(|(count, _)| *count > 0);
        parts.extend(some.map(|(count, what)| format!("{count} {what}")));
        let cut: u64 = self.cut.values().sum();
        let why: Vec<String> = self.cut.iter().map(|(code, count)| format!("{code} {count}")).collect();
        parts.push(if cut > 0 { format!("{cut} cut ({})", why.join(", ")) } else { "none cut".to_owned() });
        if let Some(longest) = self.longest {
            parts.push(format!("the longest took less than {longest:?}"));
        }
        let residue = Residue { requests: self.residue, ..Residue::default() };
        format!("in {:.1} s: {}; {residue}", self.took.as_secs_f64(), parts.join(", "))
    }

    /// Writes it to the journal; `what` is over: `drain`, `upgrade`, `restart`.
    pub fn announce(&self, what: &str) {
        let cut: u64 = self.cut.values().sum();
        let why: Vec<String> = self.cut.iter().map(|(code, count)| format!("{code}={count}")).collect();
        tracing::info!(
            message_id = event::TRANSITION,
            transition = what,
            connections_moved = self.connections_moved,
            tunnels_moved = self.tunnels_moved,
            answered = self.answered,
            client_gone = self.client_gone,
            refused = self.refused,
            cut,
            cut_why = why.join(" "),
            longest_ms = millis(self.longest.unwrap_or_default()),
            duration_ms = millis(self.took),
            residue = self.residue,
            "{what} over {}",
            self.line()
        );
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::super::counters::{Counters, Ending};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A gateway that has answered so many requests of one service.
    fn page(gateway: u64, answered: u64) -> Page {
        let account = Account { admitted: answered, answered, ..Account::default() };
        let services = BTreeMap::from([("shop".to_owned(), account)]);
        Page { gateway, fate: Fate::Ended, services, ..Page::default() }
    }

    fn begin(number: u64, lost: u64) -> Lineage {
        Lineage::begin(number, lost, "0.1.0", 7 + number as u32, "2026-11-21T12:00:00Z".into())
    }

    fn numbers(ledger: &Ledger) -> Vec<(u64, u64, Fate)> {
        ledger.gateways.iter().map(|page| (page.gateway, page.folded, page.fate)).collect()
    }

    /// Restarts do not wait for the gateway before, so that its last word may come behind that of its successors.
    #[test]
    fn who_is_heard_of_late_keeps_its_place() {
        let said = |began: &str, pid, answered| {
            let page = Page { pid, began: began.into(), ..page(1, answered) };
            Ledger { gateways: vec![page] }
        };
        let order = |first: Ledger, second: Ledger| {
            let mut last = Lineage::begin(1, 0, "1.0.0", 7, "2026-01-01T00:00:30Z".into());
            last.inherit(first);
            assert_eq!(last.number(), 2);
            last.inherit(second);
            last.inherit(said("2026-01-01T00:00:20Z", 3, 5));
            let pages = last.ledger(Page::default()).gateways;
            pages.iter().map(|page| (page.gateway, page.pid, page.all().answered)).collect::<Vec<_>>()
        };
        let (long, short) = (said("2026-01-01T00:00:00Z", 4, 1), said("2026-01-01T00:00:20Z", 3, 2));
        let expected = [(1, 4, 1), (2, 3, 5), (3, 7, 0)];
        assert_eq!(order(long.clone(), short.clone()), expected);
        assert_eq!(order(short, long), expected);
    }

    #[test]
    fn the_residue_is_left_minus_right_of_each_identity() {
        let account = |admitted, answered, begun, closed| Account {
            admitted,
            answered,
            tunnels: Passage { begun, closed, ..Passage::default() },
            ..Account::default()
        };
        let mut page = Page::default();
        for (name, account) in
            [("-", account(3, 2, 0, 0)), ("a", account(1, 2, 1, 1)), ("b", account(5, 5, 2, 0))]
        {
            page.services.insert(name.into(), account);
        }
        page.connections = Passage { begun: 4, adopted: 2, open: 1, closed: 2, moved: 2, arriving: 0 };
        // One too many here does not make up for one too few there.
        assert_eq!(page.residue(), Residue { requests: 2, connections: 1, tunnels: 2 });
        let words = "2 requests and 1 connection and 2 tunnels unaccounted for: a bug, please report it";
        assert_eq!(page.residue().to_string(), words);
        assert_eq!(Residue::default().to_string(), "every request is accounted for");
    }

    #[test]
    fn what_a_gateway_had_in_flight_when_it_ended_is_unaccounted_for() {
        let account = Account {
            admitted: 2,
            answered: 1,
            in_flight: 1,
            tunnels: Passage { begun: 1, open: 1, ..Passage::default() },
            ..Account::default()
        };
        let connections = Passage { begun: 3, open: 2, arriving: 1, ..Passage::default() };
        let services = BTreeMap::from([("shop".to_owned(), account)]);
        let mut page = Page { connections, services, ..Page::default() };
        assert!(page.residue().is_zero(), "as long as it lives");
        page.fate = Fate::Ended;
        assert_eq!(page.residue(), Residue { requests: 1, connections: 3, tunnels: 1 });
    }

    #[test]
    fn a_ledger_goes_from_gateway_to_gateway_and_comes_back_from_json() {
        let first = begin(1, 0);
        let told = first.close(page(0, 5), Fate::Ended, "2026-11-21T13:00:00Z".into());
        let text = serde_json::to_string(&told).unwrap();
        let mut second = begin(2, 0);
        second.inherit(serde_json::from_str(&text).unwrap());
        let ledger = second.ledger(page(0, 7));
        assert_eq!(numbers(&ledger), [(1, 0, Fate::Ended), (2, 0, Fate::Alive)]);
        assert_eq!(ledger.gateways[0].ended.as_deref(), Some("2026-11-21T13:00:00Z"));
        assert_eq!((ledger.gateways[0].all().answered, ledger.gateways[1].all().answered), (5, 7));
        let with_sums = serde_json::to_string(&ledger.told()).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&with_sums).unwrap(), ledger);
    }

    #[test]
    fn after_a_restart_the_numbers_go_on_whatever_the_new_keeper_counts() {
        let mut restarted = begin(1, 0);
        restarted.inherit(Ledger { gateways: vec![page(4, 1), page(5, 2)] });
        assert_eq!(restarted.number(), 6);
        // Once more from the same, or from another one that had it too.
        restarted.inherit(Ledger { gateways: vec![page(5, 2)] });
        let pages = numbers(&restarted.ledger(Page::default()));
        assert_eq!(pages, [(4, 0, Fate::Ended), (5, 0, Fate::Ended), (6, 0, Fate::Alive)]);
    }

    #[test]
    fn those_that_died_are_told_as_lost_and_nothing_is_known_of_what_is_under_way() {
        let mut third = begin(3, 2);
        assert_eq!(numbers(&third.ledger(Page::default())), [(2, 1, Fate::Lost), (3, 0, Fate::Alive)]);
        assert_eq!(third.ledger(Page::default()).in_transit(), None);
        assert!(third.ledger(Page::default()).residue().is_zero());
        third.inherit(Ledger { gateways: vec![page(4, 1)] });
        let pages = numbers(&third.ledger(Page::default()));
        assert_eq!(pages, [(4, 0, Fate::Ended), (6, 1, Fate::Lost), (7, 0, Fate::Alive)]);
    }

    #[test]
    fn the_oldest_pages_are_summed_up_and_nothing_is_lost_by_it() {
        let mut ledger = Ledger::default();
        for number in 1..=40 {
            let mut lineage = begin(number, 0);
            lineage.inherit(ledger);
            ledger = lineage.close(page(0, number), Fate::Ended, String::new());
            assert!(ledger.gateways.len() <= PAGES + 1, "{}", ledger.gateways.len());
        }
        let oldest = &ledger.gateways[0];
        assert_eq!((oldest.gateway, oldest.folded), (32, 31));
        assert_eq!(oldest.services.keys().collect::<Vec<_>>(), [ALL]);
        let answered: u64 = ledger.gateways.iter().map(|page| page.all().answered).sum();
        assert_eq!((answered, ledger.residue().is_zero()), ((1..=40).sum(), true));
    }

    #[test]
    fn what_was_given_away_and_not_adopted_is_in_transit() {
        let mut outgoing = page(1, 1);
        outgoing.connections = Passage { begun: 5, moved: 4, closed: 1, ..Passage::default() };
        let tunnels = &mut outgoing.services.get_mut("shop").unwrap().tunnels;
        *tunnels = Passage { begun: 2, moved: 2, ..Passage::default() };
        let mut incoming = Page { gateway: 2, ..Page::default() };
        incoming.connections = Passage { adopted: 3, open: 3, ..Passage::default() };
        let account =
            Account { tunnels: Passage { adopted: 2, open: 2, ..Passage::default() }, ..Account::default() };
        incoming.services.insert("shop".into(), account);
        let ledger = Ledger { gateways: vec![outgoing, incoming] };
        assert_eq!((ledger.in_transit(), ledger.residue().is_zero()), (Some((1, 0)), true));
    }

    #[test]
    fn an_unknown_fate_and_missing_fields_are_understood() {
        let page: Page = serde_json::from_str(r#"{"gateway":3,"fate":"sold","colour":"red"}"#).unwrap();
        assert_eq!((page.gateway, page.fate), (3, Fate::Lost));
    }

    #[test]
    fn a_report_tells_what_happened_in_between_and_no_more() {
        let counters = Counters::new();
        let end = |ending, code, ms| counters.unrouted().admit().end(ending, code, ms * MS);
        end(Ending::Answered, None, 9000);
        end(Ending::BrokenOff, Some("truncated"), 1);
        let (connection, tunnel) = (counters.adopted_connection(), counters.service("shop").tunnel());
        let before = counters.totals();
        assert_eq!(
            report(&before, &before, MS).line(),
            "in 0.0 s: 0 requests answered, none cut; every request is accounted for"
        );
        connection.moved();
        tunnel.moved();
        end(Ending::Answered, None, 100);
        end(Ending::BrokenOff, Some("truncated"), 1);
        end(Ending::Cut, Some("drained"), 1);
        end(Ending::ClientGone, Some("client-gone"), 1);
        let told = report(&before, &counters.totals(), 1500 * MS);
        assert_eq!(
            told.line(),
            "in 1.5 s: 1 connection and 1 tunnel moved, 1 request answered, 1 left by the client, \
             2 cut (drained 1, truncated 1), the longest took less than 128ms; every request is accounted for"
        );
        assert_eq!((told.cut["drained"], told.longest), (1, Some(128 * MS)));
    }
}
