//! A breaker that threads share.
//!
//! Promises: while it is closed and has seen no failure lately, asking it and telling it of a success are one
//! load each, without a lock; otherwise a short lock. A pass that is dropped counts as a request that says nothing.
//! Must not know: what it is the breaker of.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::breaker::{Breaker, Change, Hand, Pass, Rules, State};

pub struct Fuse {
    /// What everybody reads: the epoch in all but the lowest byte, which is the mode.
    word: AtomicU64,
    opened: AtomicU64,
    breaker: Mutex<Breaker>,
}

/// Closed, and a success changes nothing.
const QUIET: u64 = 0;
/// Closed, and counting.
const WATCHED: u64 = 1;
const OPEN: u64 = 2;
const HALF_OPEN: u64 = 3;
const HELD_OPEN: u64 = 4;
const HELD_CLOSED: u64 = 5;

const MODE: u64 = 0xff;

impl Fuse {
    pub(super) fn new(rules: Rules, now: Instant) -> Fuse {
        let breaker = Breaker::new(rules, now);
        Fuse {
            word: AtomicU64::new(word_of(&breaker)),
            opened: AtomicU64::new(0),
            breaker: Mutex::new(breaker),
        }
    }

    pub fn state(&self) -> State {
        match self.mode() {
            OPEN | HELD_OPEN => State::Open,
            HALF_OPEN => State::HalfOpen,
            _ => State::Closed,
        }
    }

    pub fn hand(&self) -> Hand {
        match self.mode() {
            HELD_OPEN => Hand::Open,
            HELD_CLOSED => Hand::Close,
            _ => Hand::Auto,
        }
    }

    /// How often it has opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// When one that is open by itself may be tried; a half-open one at once.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.mode() {
            OPEN | HALF_OPEN => {
                let breaker = self.lock();
                breaker.until().or_else(|| (breaker.state() == State::HalfOpen).then(Instant::now))
            }
            _ => None,
        }
    }

    /// Whether a request may go there now.
    pub(super) fn admit(&self, now: impl FnOnce() -> Instant) -> Result<(Pass, Option<Change>), ()> {
        let word = self.word.load(Acquire);
        match word & MODE {
            QUIET | WATCHED | HELD_CLOSED => Ok((Pass::of(word >> 8), None)),
            HELD_OPEN => Err(()),
            _ => self.locked(|breaker| breaker.admit(now())),
        }
    }

    /// What a request with this pass came to; `None`: nothing that says anything.
    pub(super) fn ended(
        &self,
        pass: Pass,
        failed: Option<bool>,
        now: impl FnOnce() -> Instant,
    ) -> Option<Change> {
        match (self.mode(), failed) {
            (QUIET, Some(false) | None) | (HELD_OPEN | HELD_CLOSED, _) | (WATCHED | OPEN, None) => None,
            _ => self.locked(|breaker| breaker.ended(pass, failed, now())),
        }
    }

    /// Whatever it has learnt, unless it is held by hand.
    pub(super) fn forget(&self) {
        if self.hand() == Hand::Auto {
            self.set(Hand::Auto, Instant::now());
        }
    }

    pub(super) fn set(&self, hand: Hand, now: Instant) {
        self.locked(|breaker| breaker.set(hand, now));
    }

    pub(super) fn rule(&self, rules: Rules) {
        self.locked(|breaker| breaker.rule(rules));
    }

    fn mode(&self) -> u64 {
        self.word.load(Acquire) & MODE
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.lock();
        let before = breaker.state();
        let done = work(&mut breaker);
        if breaker.state() == State::Open && before != State::Open {
            self.opened.fetch_add(1, Relaxed);
        }
        self.word.store(word_of(&breaker), Release);
        done
    }
}

fn word_of(breaker: &Breaker) -> u64 {
    let mode = match (breaker.hand(), breaker.state()) {
        (Hand::Open, _) => HELD_OPEN,
        (Hand::Close, _) => HELD_CLOSED,
        (Hand::Auto, State::Open) => OPEN,
        (Hand::Auto, State::HalfOpen) => HALF_OPEN,
        (Hand::Auto, State::Closed) if breaker.is_quiet() => QUIET,
        (Hand::Auto, State::Closed) => WATCHED,
    };
    (breaker.epoch() << 8) | mode
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::settings;

    fn fuse() -> Fuse {
        Fuse::new(Rules::from(&settings::Breaker::default()), Instant::now())
    }

    fn ask(fuse: &Fuse, failed: bool, now: Instant) -> Option<Change> {
        let (pass, _) = fuse.admit(|| now).unwrap();
        fuse.ended(pass, Some(failed), || now)
    }

    #[test]
    fn it_counts_only_while_there_was_a_failure_lately() {
        let (fuse, begin) = (fuse(), Instant::now());
        let clockless = || -> Instant { panic!("nobody asks for the time") };
        let (pass, _) = fuse.admit(clockless).unwrap();
        assert_eq!(fuse.ended(pass, Some(false), clockless), None);
        assert_eq!(ask(&fuse, true, begin), None);
        assert_eq!(fuse.mode(), WATCHED);
        assert_eq!(ask(&fuse, false, begin), None);
        assert_eq!(fuse.mode(), WATCHED, "the failure is still in the window");
        assert_eq!(ask(&fuse, false, begin + Duration::from_secs(30)), None);
        assert_eq!(fuse.mode(), QUIET);
    }

    #[test]
    fn it_opens_is_tried_and_closes_for_every_thread() {
        let (fuse, begin) = (fuse(), Instant::now());
        for _ in 0..4 {
            assert_eq!(ask(&fuse, true, begin), None);
        }
        assert_eq!(ask(&fuse, true, begin), Some(Change::OpenedByRow(5)));
        assert_eq!((fuse.state(), fuse.opened()), (State::Open, 1));
        assert!(fuse.admit(|| begin).is_err());
        let due = fuse.due().unwrap();
        let trials = [(); 3].map(|()| fuse.admit(|| due).unwrap().0);
        assert!(fuse.admit(|| due).is_err(), "three are out");
        assert_eq!(fuse.state(), State::HalfOpen);
        assert_eq!(fuse.ended(trials[0], None, || due), None);
        let again = fuse.admit(|| due).unwrap().0;
        let closed: Vec<_> =
            [again, trials[1], trials[2]].map(|pass| fuse.ended(pass, Some(false), || due)).into();
        assert_eq!(closed, [None, None, Some(Change::Recovered)]);
        assert_eq!((fuse.state(), fuse.mode()), (State::Closed, QUIET));
    }

    #[test]
    fn a_hand_is_stronger_than_what_is_seen() {
        let (fuse, now) = (fuse(), Instant::now());
        fuse.set(Hand::Open, now);
        assert!(fuse.admit(|| now).is_err() && fuse.due().is_none());
        fuse.set(Hand::Close, now);
        for _ in 0..100 {
            assert_eq!(ask(&fuse, true, now), None);
        }
        assert_eq!(fuse.state(), State::Closed);
        fuse.set(Hand::Auto, now);
        assert_eq!(fuse.mode(), QUIET);
    }
}
