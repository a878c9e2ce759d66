//! PURE: how fast those who waited are let go.
//!
//! ```text
//!   begin ─▶ growing: a few at first, two for each that is answered ─┐
//!               ▲       answers come slower than at first            │
//!               │                     ▼                              │
//!            it is away again     settled: half as many, then one more for each round
//! ```
//! An application that has just started is not asked by thousands at the same moment: the number of those let go and not
//! yet answered grows with its answers, as TCP's window does (RFC 5681, section 3.1), and stops growing where
//! they take longer than they did at first (as HyStart does, RFC 9406). One that takes its time gives its place
//! back after a while, so that a request that is slow by nature does not keep all others waiting.
//!
//! Promises: never fewer than [`FIRST`] at a time, so that it always goes on; with a rate never more in a second, in
//! whatever pieces.
//! Must not know: who waits, clocks (moments are given).

use std::time::{Duration, Instant};

/// How many are let go at first.
pub const FIRST: usize = 8;
/// Answers of a round, of which the quickest one counts: requests differ.
const ROUND: usize = 8;
/// Slower than at first is more than twice as slow, and this.
const SLACK: Duration = Duration::from_millis(5);
/// How long an answer may take before its place is given to another one.
const PATIENCE: Duration = Duration::from_millis(100);
const MOST_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub struct Wave {
    /// How many may be out.
    window: usize,
    /// Let go, and neither answered nor given up for slow.
    out: usize,
    growing: bool,
    /// Answers since the window last grew, when settled.
    answers: usize,
    /// The quickest answer of all.
    quickest: Option<Duration>,
    /// How many are left of this round, and its quickest answer.
    round: (usize, Duration),
    patience: Duration,
    /// With a rate: what may go now, in thousandths, and since when that is so.
    purse: (u64, Option<Instant>),
}

impl Default for Wave {
    fn default() -> Wave {
        Wave {
            window: FIRST,
            out: 0,
            growing: true,
            answers: 0,
            quickest: None,
            round: (0, Duration::MAX),
            patience: PATIENCE,
            purse: (0, None),
        }
    }
}

impl Wave {
    /// The application is a new one: what was learnt of it counts no more. Those who are out stay out.
    pub fn begin(&mut self) {
        *self = Wave { out: self.out, purse: self.purse, ..Wave::default() };
    }

    /// Whether one more may go. With a `rate`, otherwise, when to ask again.
    pub fn may(&mut self, now: Instant, rate: Option<u64>) -> Result<(), Option<Instant>> {
        if self.out >= self.window {
            return Err(None);
        }
        let Some(rate) = rate else { return Ok(()) };
        let (coins, since) = self.purse;
        // A tenth of a second's worth may go at once, and one at least.
        let most = (rate * 100).max(1000);
        let passed = since.map_or(u64::MAX, |since| {
            u64::try_from(now.saturating_duration_since(since).as_micros()).unwrap_or(u64::MAX)
        });
        let coins = coins.saturating_add(passed.saturating_mul(rate) / 1000).min(most);
        if coins >= 1000 {
            self.purse = (coins, Some(now));
            return Ok(());
        }
        // What is not yet a whole one is kept by leaving its time uncounted.
        let missing = (1000 - self.purse.0).saturating_mul(1000).div_ceil(rate);
        Err(Some(since.unwrap_or(now) + Duration::from_micros(missing)))
    }

    pub fn let_go(&mut self) {
        self.out += 1;
        self.purse.0 = self.purse.0.saturating_sub(1000);
    }

    /// The head of its answer came after so long.
    pub fn answered(&mut self, took: Duration) {
        self.out = self.out.saturating_sub(1);
        self.patience = PATIENCE;
        let quickest = *self.quickest.get_or_insert(took);
        self.quickest = Some(quickest.min(took));
        let slow = |took| took > quickest * 2 + SLACK;
        if !slow(took) {
            self.grow();
        }
        if self.round.0 == 0 {
            self.round = (ROUND.max(self.window / 2), Duration::MAX);
        }
        self.round = (self.round.0 - 1, self.round.1.min(took));
        if self.round.0 == 0 && slow(self.round.1) {
            self.window = (self.window / 2).max(FIRST);
            self.growing = false;
        }
    }

    fn grow(&mut self) {
        self.answers += 1;
        if self.growing || self.answers >= self.window {
            self.window += 1;
            self.answers = 0;
        }
    }

    /// How long one that is out keeps its place.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Its time is over, and it goes on without a place. When no answer comes at all the next ones get more time.
    pub fn gave_up_waiting(&mut self) {
        self.out = self.out.saturating_sub(1);
        self.patience = (self.patience + self.patience / FIRST as u32).min(MOST_PATIENCE);
    }

    /// It went without an answer: its client has gone, or it failed.
    pub fn lost(&mut self) {
        self.out = self.out.saturating_sub(1);
    }

    #[cfg(test)]
    fn state(&self) -> (usize, usize, bool) {
        (self.window, self.out, self.growing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn each_answer_lets_two_go() {
        let (mut wave, now) = (Wave::default(), Instant::now());
        let mut gone = 0;
        for round in 1..6 {
            let mut out = 0;
            while wave.may(now, None).is_ok() {
                wave.let_go();
                out += 1;
            }
            gone += out;
            assert_eq!(out, FIRST << (round - 1), "after {gone}");
            (0..out).for_each(|_| wave.answered(MS));
        }
    }

    #[test]
    fn answers_that_become_slow_halve_it_and_it_grows_by_one_a_round_from_there() {
        let (mut wave, now) = (Wave::default(), Instant::now());
        let go = |wave: &mut Wave, took| {
            let mut out = 0;
            while wave.may(now, None).is_ok() {
                wave.let_go();
                out += 1;
            }
            (0..out).for_each(|_| wave.answered(took));
        };
        for _ in 0..3 {
            go(&mut wave, MS);
        }
        assert_eq!(wave.state(), (64, 0, true));
        go(&mut wave, 40 * MS);
        let (window, _, growing) = wave.state();
        assert!(!growing && window < 64, "{window}");
        wave.begin();
        assert_eq!(wave.state(), (FIRST, 0, true));
    }

    #[test]
    fn a_rate_is_kept_to_whatever_the_pieces_in_which_it_is_asked() {
        let began = Instant::now();
        for (rate, step) in [(10, 1), (10, 333), (1000, 7), (7, 50)] {
            let (mut wave, mut gone) = (Wave::default(), 0_u64);
            let mut at = 0;
            while at < 10_000 {
                while wave.may(began + MS * at, Some(rate)).is_ok() {
                    wave.let_go();
                    wave.lost();
                    gone += 1;
                }
                at += step;
            }
            let most = rate * 10 + (rate / 10).max(1);
            assert!(gone <= most, "{gone} of {most} at {rate} a second, asked each {step} ms");
            assert!(gone + 1 >= rate * 9 || step > 100, "{gone} at {rate} a second");
        }
    }

    #[test]
    fn whoever_has_to_wait_for_the_rate_is_told_until_when() {
        let (mut wave, now) = (Wave::default(), Instant::now());
        wave.may(now, Some(10)).unwrap();
        wave.let_go();
        let Err(Some(at)) = wave.may(now, Some(10)) else { panic!() };
        assert!(wave.may(at, Some(10)).is_ok(), "{:?}", at - now);
    }

    /// An application that does `places` requests at a time, each for `work`, and queues the others.
    struct Application {
        places: usize,
        work: u64,
        /// When each place is free.
        free: Vec<u64>,
    }

    impl Application {
        fn takes(&mut self, now: u64) -> u64 {
            self.free.resize(self.places, 0);
            let place = self.free.iter_mut().min().unwrap();
            *place = (*place).max(now) + self.work;
            *place
        }
    }

    /// In milliseconds: how long it took until all were answered, and the longest that one was out.
    fn release(held: usize, places: usize, work: u64) -> (u64, u64) {
        let mut app = Application { places, work, free: vec![] };
        let (mut wave, began) = (Wave::default(), Instant::now());
        let (mut left, mut now, mut worst) = (held, 0, 0);
        // When it was let go, when it will be answered, whether it has its place.
        let mut out: Vec<(u64, u64, bool)> = vec![];
        while left > 0 || !out.is_empty() {
            let moment = began + MS * u32::try_from(now).unwrap();
            while left > 0 && wave.may(moment, None).is_ok() {
                wave.let_go();
                left -= 1;
                out.push((now, app.takes(now), true));
            }
            now += 1;
            let patience = u64::try_from(wave.patience().as_millis()).unwrap();
            out.retain_mut(|(since, until, placed)| {
                if *until <= now {
                    worst = worst.max(*until - *since);
                    if *placed {
                        wave.answered(MS * u32::try_from(*until - *since).unwrap());
                    }
                    return false;
                }
                if *placed && now - *since >= patience {
                    *placed = false;
                    wave.gave_up_waiting();
                }
                true
            });
            assert!(now < 600_000, "it hangs with {left} left");
        }
        (now, worst)
    }

    #[test]
    fn two_thousand_do_not_drown_an_application_that_does_a_few_at_a_time() {
        for (places, work) in [(4, 2), (16, 2), (16, 10), (64, 5), (256, 20)] {
            let (took, worst) = release(2000, places, work);
            let least = 2000 * work / places as u64;
            assert!(took <= least * 3 / 2 + 100, "{places} of {work} ms: {took} ms, at best {least}");
            // All at once the last one would take `least`.
            assert!(worst <= (least / 2).max(work * 8), "{places} of {work} ms: one took {worst} ms");
        }
    }
}
