//! PURE: whether an endpoint, or a whole service, is asked at all.
//!
//! ```text
//!            too many failures in a row, or too large a share of them
//!   Closed ──────────────────────────────────────────────────────────▶ Open ──its time is over──▶ HalfOpen
//!     ▲                                                                  ▲                          │
//!     │                                                                  └──────one trial fails─────┤
//!     └─────────────────────────────all trials succeed──────────────────────────────────────────────┘
//!   by hand: held open, or held closed, until it is left to itself again
//! ```
//! Promises: no transition without its event, and each says that it happened, once; while half open no more than
//! `trials` are out at a time; an open breaker is tried again, after a time that doubles with each trial that failed up to
//! `open_most`. A share counts only over a window with `volume` requests or more. What a request that began in an
//! earlier state comes to is not held against the present one.
//! Must not know: what a failure is, clocks (times are given), how many ask.

use std::time::{Duration, Instant};

use crate::config::settings;

/// From the configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Opens after so many failures in a row; 0: never for that.
    pub row: u32,
    /// Opens when failures are this share of the window; above 1: never for that.
    pub share: f64,
    pub volume: u32,
    pub window: Duration,
    /// How long it stays open at first, and at most.
    pub open: Duration,
    pub open_most: Duration,
    /// How many requests try a half-open one, and have to succeed.
    pub trials: u32,
}

impl From<&settings::Breaker> for Rules {
    fn from(settings: &settings::Breaker) -> Rules {
        Rules {
            row: settings.failures.unwrap_or(0),
            share: settings.share.map_or(f64::INFINITY, |share| f64::from(share) / 1000.0),
            volume: settings.volume,
            window: settings.window,
            open: settings.open,
            open_most: settings.open_most,
            trials: settings.trials,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    Open,
    HalfOpen,
}

impl State {
    /// The word for it in status and log.
    pub fn word(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half-open",
        }
    }
}

/// What an operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hand {
    #[default]
    Auto,
    Open,
    Close,
}

/// A request that was let through; what became of it is told with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Pass {
    epoch: u64,
}

impl Pass {
    /// For a breaker that is closed in this epoch.
    pub(super) fn of(epoch: u64) -> Pass {
        Pass { epoch }
    }
}

/// What changed, for a line in the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    OpenedByRow(u32),
    OpenedByShare { failed: u32, of: u32 },
    TrialFailed,
    Tried,
    Recovered,
}

#[derive(Clone, Debug)]
pub struct Breaker {
    rules: Rules,
    hand: Hand,
    state: State,
    /// Counts the states it has been in: a pass of another one says nothing of this one.
    epoch: u64,
    row: u32,
    window: Window,
    /// Of `Open`.
    until: Instant,
    open_for: Duration,
    /// Of `HalfOpen`.
    out: u32,
    succeeded: u32,
}

/// What happened lately, in ten slices of the window.
#[derive(Clone, Debug)]
struct Window {
    slices: [(u32, u32); SLICES],
    /// The number of the newest slice since `begin`.
    newest: u64,
    begin: Instant,
}

const SLICES: usize = 10;

impl Window {
    fn new(now: Instant) -> Window {
        Window { slices: [(0, 0); SLICES], newest: 0, begin: now }
    }

    fn add(&mut self, failed: bool, length: Duration, now: Instant) {
        let slice = (length / SLICES as u32).max(Duration::from_nanos(1));
        let number = (now.saturating_duration_since(self.begin).as_nanos() / slice.as_nanos()) as u64;
        let steps = number.saturating_sub(self.newest).min(SLICES as u64);
        for step in 1..=steps {
            self.slices[((self.newest + step) % SLICES as u64) as usize] = (0, 0);
        }
        if number > self.newest + steps {
            self.slices = [(0, 0); SLICES];
        }
        self.newest = self.newest.max(number);
        let (all, bad) = &mut self.slices[(self.newest % SLICES as u64) as usize];
        *all = all.saturating_add(1);
        *bad = bad.saturating_add(u32::from(failed));
    }

    fn sum(&self) -> (u32, u32) {
        self.slices
            .iter()
            .fold((0, 0), |(all, bad), slice| (all.saturating_add(slice.0), bad.saturating_add(slice.1)))
    }
}

impl Breaker {
    pub fn new(rules: Rules, now: Instant) -> Breaker {
        Breaker {
            rules,
            hand: Hand::Auto,
            state: State::Closed,
            epoch: 0,
            row: 0,
            window: Window::new(now),
            until: now,
            open_for: rules.open,
            out: 0,
            succeeded: 0,
        }
    }

    pub fn state(&self) -> State {
        match self.hand {
            Hand::Auto => self.state,
            Hand::Open => State::Open,
            Hand::Close => State::Closed,
        }
    }

    /// When an open one may be tried.
    pub fn until(&self) -> Option<Instant> {
        (self.hand == Hand::Auto && self.state == State::Open).then_some(self.until)
    }

    /// Other rules from now on; what was seen stays.
    pub fn rule(&mut self, rules: Rules) {
        if self.rules.open != rules.open {
            self.open_for = rules.open;
        }
        self.rules = rules;
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn hand(&self) -> Hand {
        self.hand
    }

    /// Closed, with no failure in its window: a success would change nothing.
    pub(super) fn is_quiet(&self) -> bool {
        self.hand == Hand::Auto && self.state == State::Closed && self.row == 0 && self.window.sum().1 == 0
    }

    /// By hand; left to itself again it begins closed.
    pub fn set(&mut self, hand: Hand, now: Instant) {
        if self.hand != hand {
            self.hand = hand;
            self.close(now);
        }
    }

    /// Whether a request may go there now, and if so with which pass.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(Pass, Option<Change>), ()> {
        let mut change = None;
        match (self.hand, self.state) {
            (Hand::Open, _) => return Err(()),
            (Hand::Close, _) | (Hand::Auto, State::Closed) => {}
            (Hand::Auto, State::Open) if now < self.until => return Err(()),
            (Hand::Auto, State::Open) => {
                self.enter(State::HalfOpen);
                change = Some(Change::Tried);
            }
            (Hand::Auto, State::HalfOpen) => {}
        }
        if self.hand == Hand::Auto && self.state == State::HalfOpen {
            if self.out + self.succeeded >= self.rules.trials.max(1) {
                return Err(());
            }
            self.out += 1;
        }
        Ok((Pass { epoch: self.epoch }, change))
    }

    /// What a request came to. `None`: nothing that says anything of the endpoint (its client has gone).
    pub fn ended(&mut self, pass: Pass, failed: Option<bool>, now: Instant) -> Option<Change> {
        if pass.epoch != self.epoch || self.hand != Hand::Auto {
            return None;
        }
        match (self.state, failed) {
            (State::Closed, Some(failed)) => self.counted(failed, now),
            (State::HalfOpen, failed) => {
                self.out -= 1;
                match failed {
                    None => None,
                    Some(true) => {
                        self.open_for = (self.open_for * 2).min(self.rules.open_most.max(self.rules.open));
                        self.open(now);
                        Some(Change::TrialFailed)
                    }
                    Some(false) => {
                        self.succeeded += 1;
                        (self.succeeded >= self.rules.trials.max(1)).then(|| {
                            self.close(now);
                            Change::Recovered
                        })
                    }
                }
            }
            (State::Closed, None) | (State::Open, _) => None,
        }
    }

    fn counted(&mut self, failed: bool, now: Instant) -> Option<Change> {
        self.row = if failed { self.row.saturating_add(1) } else { 0 };
        self.window.add(failed, self.rules.window, now);
        if !failed {
            return None;
        }
        let (all, bad) = self.window.sum();
        let change = if self.rules.row > 0 && self.row >= self.rules.row {
            Change::OpenedByRow(self.row)
        } else if all >= self.rules.volume.max(1) && f64::from(bad) >= self.rules.share * f64::from(all) {
            Change::OpenedByShare { failed: bad, of: all }
        } else {
            return None;
        };
        self.open(now);
        Some(change)
    }

    fn open(&mut self, now: Instant) {
        self.until = now + self.open_for;
        self.enter(State::Open);
    }

    fn close(&mut self, now: Instant) {
        self.open_for = self.rules.open;
        self.row = 0;
        self.window = Window::new(now);
        self.enter(State::Closed);
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
        (self.out, self.succeeded) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules {
        row: 5,
        share: 0.5,
        volume: 20,
        window: Duration::from_secs(10),
        open: Duration::from_secs(1),
        open_most: Duration::from_secs(8),
        trials: 2,
    };

    fn ask(breaker: &mut Breaker, failed: bool, now: Instant) -> Result<Option<Change>, ()> {
        let (pass, _) = breaker.admit(now)?;
        Ok(breaker.ended(pass, Some(failed), now))
    }

    #[test]
    fn failures_in_a_row_open_it_and_trials_close_it_again() {
        let begin = Instant::now();
        let mut breaker = Breaker::new(RULES, begin);
        for _ in 0..4 {
            assert_eq!(ask(&mut breaker, true, begin), Ok(None));
        }
        assert_eq!(ask(&mut breaker, false, begin), Ok(None), "one that succeeds begins the row anew");
        for _ in 0..4 {
            assert_eq!(ask(&mut breaker, true, begin), Ok(None));
        }
        assert_eq!(ask(&mut breaker, true, begin), Ok(Some(Change::OpenedByRow(5))));
        assert_eq!(breaker.state(), State::Open);
        assert_eq!(breaker.admit(begin + RULES.open - Duration::from_nanos(1)), Err(()));
        let later = begin + RULES.open;
        let (first, change) = breaker.admit(later).unwrap();
        assert_eq!(change, Some(Change::Tried));
        let (second, _) = breaker.admit(later).unwrap();
        assert_eq!(breaker.admit(later), Err(()), "no third one is out");
        assert_eq!(breaker.ended(first, Some(false), later), None);
        assert_eq!(breaker.admit(later), Err(()), "two are enough");
        assert_eq!(breaker.ended(second, Some(false), later), Some(Change::Recovered));
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn a_trial_that_fails_opens_it_for_twice_as_long_up_to_the_most() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(RULES, now);
        (0..5).for_each(|_| assert!(ask(&mut breaker, true, now).is_ok()));
        let mut times = vec![];
        for _ in 0..5 {
            let until = breaker.until().unwrap();
            times.push(until - now);
            now = until;
            assert_eq!(ask(&mut breaker, true, now), Ok(Some(Change::TrialFailed)));
        }
        assert_eq!(times.iter().map(Duration::as_secs).collect::<Vec<_>>(), [1, 2, 4, 8, 8]);
    }

    #[test]
    fn a_share_counts_from_a_volume_on_and_only_lately() {
        let begin = Instant::now();
        let rules = Rules { row: 0, ..RULES };
        let mut breaker = Breaker::new(rules, begin);
        for at in 0..19 {
            assert_eq!(ask(&mut breaker, at % 2 == 0, begin), Ok(None), "too few");
        }
        assert_eq!(ask(&mut breaker, true, begin), Ok(Some(Change::OpenedByShare { failed: 11, of: 20 })));
        let mut breaker = Breaker::new(rules, begin);
        (0..19).for_each(|_| assert!(ask(&mut breaker, true, begin).is_ok()));
        let later = begin + rules.window + rules.window / 10;
        assert_eq!(ask(&mut breaker, true, later), Ok(None), "what was then is forgotten");
        assert_eq!(breaker.window.sum(), (1, 1));
    }

    #[test]
    fn a_hand_holds_it_and_lets_it_go() {
        let now = Instant::now();
        let mut breaker = Breaker::new(RULES, now);
        breaker.set(Hand::Open, now);
        assert_eq!((breaker.state(), breaker.admit(now)), (State::Open, Err(())));
        breaker.set(Hand::Close, now);
        for _ in 0..100 {
            assert_eq!(ask(&mut breaker, true, now), Ok(None));
        }
        breaker.set(Hand::Auto, now);
        assert_eq!(breaker.state(), State::Closed);
        (0..5).for_each(|_| assert!(ask(&mut breaker, true, now).is_ok()));
        assert_eq!(breaker.state(), State::Open);
    }

    proptest! {
        /// Any interleaving of passes and ends, at any time.
        #[test]
        fn half_open_never_lets_out_more_than_its_trials_and_no_state_is_for_ever(
            steps in prop::collection::vec((0..4_u8, any::<prop::sample::Index>(), 0..2000_u64), 1..400),
        ) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(RULES, now);
            let mut out: Vec<Pass> = vec![];
            for (what, which, millis) in steps {
                now += Duration::from_millis(millis);
                match what {
                    0 | 1 => out.extend(breaker.admit(now).ok().map(|(pass, _)| pass)),
                    _ if out.is_empty() => {}
                    what => {
                        let pass = out.swap_remove(which.index(out.len()));
                        let _ = breaker.ended(pass, [Some(true), Some(false)][usize::from(what) - 2], now);
                    }
                }
                if breaker.state == State::HalfOpen {
                    let trials = out.iter().filter(|pass| pass.epoch == breaker.epoch).count();
                    prop_assert_eq!(trials as u32, breaker.out);
                    prop_assert!(breaker.out <= RULES.trials);
                }
            }
            // Left alone with an endpoint that is well it closes.
            for pass in out {
                let _ = breaker.ended(pass, Some(false), now);
            }
            for _ in 0..10 {
                now += RULES.open_most;
                let _ = ask(&mut breaker, false, now);
            }
            prop_assert_eq!(breaker.state(), State::Closed);
        }
    }
}
