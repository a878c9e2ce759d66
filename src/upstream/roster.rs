//! The endpoints of a service as one data thread sees them at one version of the board.
//!
//! Promises: made anew when the board has changed, not for a request; connections go along with their row. Who gets
//! requests:
//!
//! | those that are | get requests |
//! |---|---|
//! | drained, unknown, of weight 0, or held open by hand | never |
//! | healthy, with a closed breaker | always |
//! | unhealthy, or with an open breaker | when fewer than `balance.panic` percent of the others are well |
//! | healthy, with an open breaker | also when nobody is well: the last one is never left out for its failures |
//! | healthy, with a breaker that is due or half-open | its trials |
//!
//! Must not know: requests, when to send again.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::balance::{self, Draw, Standing};
use super::board::{Board, Lineup, Row};
use super::breaker::{Hand, Pass, State};
use super::endpoint::Endpoint;
use super::health;
use super::search::GivenUp;
use crate::config::settings::{Balance, Way};

/// How long a half-open breaker that lets nobody through is not asked again.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) struct Roster {
    version: u64,
    endpoints: Box<[Rc<Endpoint>]>,
    /// Those that get requests.
    draw: Draw,
    /// Those of them that are well, in a panic.
    well: Option<Draw>,
    /// Those whose breakers may be tried, and when the first of them is due.
    trials: Box<[usize]>,
    due: Cell<Option<Instant>>,
    /// By their marks, where a cookie names them.
    marks: HashMap<u64, usize>,
}

/// Whom a request goes to.
pub(super) struct Chosen {
    pub(super) endpoint: Rc<Endpoint>,
    /// What its end is told with to the breaker.
    pub(super) pass: Option<Pass>,
}

/// What a request says about whom it wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Preference {
    /// Hashed.
    pub(super) key: Option<u64>,
    /// The mark of the endpoint that the client's cookie names.
    pub(super) mark: Option<u64>,
}

impl Roster {
    /// `open` makes an endpoint of a row that `before` does not have.
    pub(super) fn new(
        lineup: &Lineup,
        before: &[Rc<Endpoint>],
        open: impl Fn(&Arc<Row>) -> Rc<Endpoint>,
    ) -> Roster {
        // Read first: what changes from here on makes another roster.
        let version = lineup.board().version();
        let rows = lineup.rows();
        let known: HashMap<*const Row, &Rc<Endpoint>> =
            before.iter().map(|endpoint| (Arc::as_ptr(endpoint.row()), endpoint)).collect();
        let endpoint = |row: &Arc<Row>| match known.get(&Arc::as_ptr(row)) {
            Some(endpoint) => Rc::clone(endpoint),
            None => open(row),
        };
        let endpoints: Box<[Rc<Endpoint>]> = rows.iter().map(endpoint).collect();
        let balance = &lineup.settings().balance;
        let chosen = eligible(&rows, balance.panic);
        let weights = rows.iter().map(|row| row.weight()).enumerate();
        let draw = Draw::new(weights.filter(|(index, _)| chosen[*index]), fastrand::usize(..));
        let panics = rows.iter().zip(&chosen).any(|(row, chosen)| *chosen && !is_well(row));
        let weights = rows.iter().map(|row| if is_well(row) { row.weight() } else { 0 }).enumerate();
        let well = panics.then(|| Draw::new(weights, fastrand::usize(..)));
        let due = |row: &Arc<Row>| row.fuse().due().filter(|_| can_be_tried(row));
        let due: Vec<(usize, Instant)> =
            rows.iter().enumerate().filter_map(|(index, row)| Some((index, due(row)?))).collect();
        let marks = match &balance.sticky {
            Some(_) => draw.numbers().iter().map(|number| (rows[*number].mark(), *number)).collect(),
            None => HashMap::new(),
        };
        Roster {
            version,
            endpoints,
            draw,
            well,
            trials: due.iter().map(|(index, _)| *index).collect(),
            due: Cell::new(due.iter().map(|(_, at)| *at).min()),
            marks,
        }
    }

    pub(super) fn is_of(&self, board: &Board) -> bool {
        self.version == board.version()
    }

    pub(super) fn endpoints(&self) -> &[Rc<Endpoint>] {
        &self.endpoints
    }

    /// Whether some endpoint that gets requests is not one of these.
    pub(super) fn has_other_than(&self, given_up: &GivenUp) -> bool {
        self.draw.numbers().iter().any(|number| !given_up.has(&self.endpoints[*number]))
    }

    /// Whether all that get requests have as many as they may.
    pub(super) fn is_full(&self, most: Option<u32>) -> bool {
        let mut numbers = self.draw.numbers().iter();
        most.is_some() && numbers.all(|number| is_full(&self.endpoints[*number], most))
    }

    /// Nobody, when all that get requests are among `given_up` or have `most` already. Threads that choose at the same moment
    /// can each find room for one.
    pub(super) fn choose(
        &self,
        board: &Board,
        balance: &Balance,
        most: Option<u32>,
        wanted: Preference,
        given_up: &GivenUp,
    ) -> Option<Chosen> {
        if let Some(chosen) = self.named(wanted, most, given_up) {
            return Some(chosen);
        }
        if let Some(chosen) = self.trial(board, given_up) {
            return Some(chosen);
        }
        let standing = |number: usize| {
            let endpoint = &self.endpoints[number];
            Standing {
                in_flight: endpoint.row().in_flight(),
                share: match balance.slow_start {
                    None => 1.0,
                    over => balance::slow_start(endpoint.row().age(), over),
                },
                passed_over: given_up.has(endpoint) || is_full(endpoint, most),
            }
        };
        let from = |draw: &Draw| match (balance.way, wanted.key) {
            (Way::Hash, Some(key)) => draw.hashed(
                key,
                |number| self.endpoints[number].row().mark(),
                |number| {
                    let endpoint = &self.endpoints[number];
                    given_up.has(endpoint) || is_full(endpoint, most)
                },
            ),
            (Way::Turns, _) => draw.in_turn(standing, || fastrand::u64(..)),
            (Way::Least | Way::Hash, _) => draw.least(standing, || fastrand::u64(..)),
        };
        // In a panic a request that was with one that is ill goes to one that is well.
        let well = self.well.as_ref().filter(|_| !given_up.is_empty());
        let number = well.and_then(from).or_else(|| from(&self.draw));
        Some(self.admitted(number?))
    }

    /// The one that the client's cookie names.
    fn named(&self, wanted: Preference, most: Option<u32>, given_up: &GivenUp) -> Option<Chosen> {
        let number = *self.marks.get(&wanted.mark?)?;
        let endpoint = &self.endpoints[number];
        (!given_up.has(endpoint) && !is_full(endpoint, most)).then(|| self.admitted(number))
    }

    fn admitted(&self, number: usize) -> Chosen {
        let endpoint = Rc::clone(&self.endpoints[number]);
        // In a panic one is asked whose breaker is open: its answer says nothing to the breaker.
        let open = endpoint.row().fuse().state() != State::Closed;
        let pass =
            if open { None } else { endpoint.row().fuse().admit(Instant::now).ok().map(|(pass, _)| pass) };
        Chosen { endpoint, pass }
    }

    /// A breaker that is due gets this request as a trial.
    fn trial(&self, board: &Board, given_up: &GivenUp) -> Option<Chosen> {
        let due = self.due.get()?;
        let now = Instant::now();
        if now < due {
            return None;
        }
        for number in &self.trials {
            let endpoint = &self.endpoints[*number];
            if given_up.has(endpoint) {
                continue;
            }
            if let Ok((pass, change)) = endpoint.row().fuse().admit(|| now) {
                if let Some(change) = change {
                    board.breaker_changed(Some(endpoint.row()), change);
                }
                return Some(Chosen { endpoint: Rc::clone(endpoint), pass: Some(pass) });
            }
        }
        self.due.set(Some(now + PAUSE));
        None
    }
}

fn is_full(endpoint: &Endpoint, most: Option<u32>) -> bool {
    most.is_some_and(|most| endpoint.row().in_flight() >= most as usize)
}

/// Nobody has taken it out.
fn could(row: &Row) -> bool {
    !row.is_drained()
        && row.weight() > 0
        && row.health() != health::State::Unknown
        && row.fuse().hand() != Hand::Open
}

fn can_be_tried(row: &Row) -> bool {
    could(row) && row.health() == health::State::Healthy
}

fn is_well(row: &Row) -> bool {
    can_be_tried(row) && row.fuse().state() == State::Closed
}

/// The table above, but for trials.
fn eligible(rows: &[Arc<Row>], panic: u32) -> Box<[bool]> {
    let count = |is: fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count() as u64;
    let (all, well) = (count(could), count(is_well));
    let enough = well > 0 && well * 100 >= u64::from(panic) * all;
    let gets: fn(&Row) -> bool = match () {
        () if enough => is_well,
        () if panic > 0 => could,
        () => can_be_tried,
    };
    rows.iter().map(|row| gets(row)).collect()
}
