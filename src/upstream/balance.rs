//! PURE: which endpoint a request goes to, of those that it may go to.
//!
//! | way | what it is |
//! |---|---|
//! | least | the less busy one of two ("power of two choices", Mitzenmacher 2001): one whose turn it is, or drawn by weight where weights differ, and a random one |
//! | turns | each in turn, by weight, smoothly: the one whose turn is over first (earliest deadline) |
//! | hash | the same one for the same key, and few keys move when one comes or goes (rendezvous, Thaler and Ravishankar 1996) |
//!
//! Promises: only candidates are chosen, none of weight 0, none that is to be passed over, and one whenever there is one; in
//! the long run each gets its weight's share of turns. The first two cost the same with a thousand endpoints as with three.
//! Slow start: one that has just become healthy is chosen as often as it should be, from [`FIRST`] up over a time.
//! Must not know: endpoints, health, what is random (it is given).

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Those that requests may go to, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Draw {
    numbers: Box<[usize]>,
    weights: Box<[u32]>,
    /// Of the weights up to each, where they differ.
    sums: Option<Box<[u64]>>,
    /// Where the next one is whose turn it is.
    next: Cell<usize>,
    /// Made when it is needed.
    turns: RefCell<BinaryHeap<Reverse<(u64, usize)>>>,
}

/// What is known of one of them at this moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) in_flight: usize,
    /// How much of its weight it has in slow start, up to 1.
    pub(super) share: f64,
    /// Not to be chosen this time.
    pub(super) passed_over: bool,
}

/// The share of its weight that an endpoint begins with in slow start.
const FIRST: f64 = 0.1;
/// How often one in slow start is passed on from before it is taken.
const PASSES: u32 = 4;
/// The length of a turn of weight 1.
const TURN: u64 = 1 << 20;

/// What there is of a weight so long after its endpoint has become healthy.
pub(super) fn slow_start(age: Option<Duration>, over: Option<Duration>) -> f64 {
    match (age, over) {
        (Some(age), Some(over)) if age < over => {
            FIRST + (1.0 - FIRST) * (age.as_secs_f64() / over.as_secs_f64())
        }
        _ => 1.0,
    }
}

impl Draw {
    /// Each with its weight; `start`: anything, so that threads do not begin with the same one.
    pub(super) fn new(candidates: impl Iterator<Item = (usize, u32)>, start: usize) -> Draw {
        let (numbers, weights): (Vec<usize>, Vec<u32>) = candidates.filter(|(_, weight)| *weight > 0).unzip();
        let differ = weights.windows(2).any(|pair| pair[0] != pair[1]);
        let sums = differ.then(|| {
            let mut sum = 0;
            weights
                .iter()
                .map(|weight| {
                    sum += u64::from(*weight);
                    sum
                })
                .collect()
        });
        let next = Cell::new(if numbers.is_empty() { 0 } else { start % numbers.len() });
        Draw { numbers: numbers.into(), weights: weights.into(), sums, next, turns: RefCell::default() }
    }

    pub(super) fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// The less busy one of two.
    pub(super) fn least(
        &self,
        standing: impl Fn(usize) -> Standing,
        mut random: impl FnMut() -> u64,
    ) -> Option<usize> {
        let count = self.numbers.len();
        let at = |place: usize| standing(self.numbers[place]);
        let first = match count {
            0 => return None,
            1 => return (!at(0).passed_over).then(|| self.numbers[0]),
            _ => self.ready(&at, &mut random)?,
        };
        // Any other one: with two there is no need to draw.
        let beside = if count == 2 { 1 - first } else { (first + 1 + draw(random(), count - 1)) % count };
        let second = self.from(beside, |place| place == first || at(place).passed_over);
        let busy = |place: usize| {
            let Standing { in_flight, share, .. } = at(place);
            (in_flight as f64 + 1.0) / (f64::from(self.weights[place]) * share)
        };
        let chosen = match second {
            Some(second) if busy(second) < busy(first) => second,
            _ => first,
        };
        Some(self.numbers[chosen])
    }

    /// Whose turn it is.
    pub(super) fn in_turn(
        &self,
        standing: impl Fn(usize) -> Standing,
        mut random: impl FnMut() -> u64,
    ) -> Option<usize> {
        let mut turns = self.turns.borrow_mut();
        if turns.is_empty() {
            let half = |place: usize| Reverse((TURN / (2 * u64::from(self.weights[place])), place));
            turns.extend((0..self.numbers.len()).map(half));
        }
        let (mut skipped, mut passes, mut chosen) = (Vec::new(), 0, None);
        while let Some(Reverse((over, place))) = turns.pop() {
            let standing = standing(self.numbers[place]);
            if standing.passed_over {
                skipped.push(Reverse((over, place)));
                continue;
            }
            turns.push(Reverse((over + TURN / u64::from(self.weights[place]), place)));
            passes += 1;
            if passes > PASSES || happens(standing.share, &mut random) {
                chosen = Some(self.numbers[place]);
                break;
            }
        }
        turns.extend(skipped);
        chosen
    }

    /// The one for this key. `mark`: a hash of the endpoint's address, so that it does not matter where in the list it is.
    pub(super) fn hashed(
        &self,
        key: u64,
        mark: impl Fn(usize) -> u64,
        passed_over: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let places = (0..self.numbers.len()).filter(|place| !passed_over(self.numbers[*place]));
        let mixed = |place: usize| mix(key ^ mark(self.numbers[place]).rotate_left(32));
        let chosen = match self.sums {
            None => places.max_by_key(|place| mixed(*place)),
            Some(_) => {
                // Uniform in 0..1, never 0: weighted rendezvous (Schindelhauer and Schomaker 2005).
                let score = |place: usize| {
                    let uniform = ((mixed(place) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
                    f64::from(self.weights[place]) / -uniform.ln()
                };
                places
                    .map(|place| (score(place), place))
                    .max_by(|one, other| one.0.total_cmp(&other.0))
                    .map(|best| best.1)
            }
        };
        chosen.map(|place| self.numbers[place])
    }

    /// One that is not passed over, in turn or by weight, and in slow start only as often as it should be.
    fn ready(&self, at: &impl Fn(usize) -> Standing, random: &mut impl FnMut() -> u64) -> Option<usize> {
        for _ in 0..PASSES {
            let place = self.from(self.drawn(random), |place| at(place).passed_over)?;
            if happens(at(place).share, random) {
                return Some(place);
            }
        }
        self.from(self.drawn(random), |place| at(place).passed_over)
    }

    fn drawn(&self, random: &mut impl FnMut() -> u64) -> usize {
        match &self.sums {
            None => {
                let place = self.next.get();
                self.next.set((place + 1) % self.numbers.len());
                place
            }
            Some(sums) => {
                let all = sums.last().copied().unwrap_or(1);
                let point = ((u128::from(random()) * u128::from(all)) >> 64) as u64;
                sums.partition_point(|sum| *sum <= point).min(sums.len() - 1)
            }
        }
    }

    /// The first one from there on that is not refused.
    fn from(&self, place: usize, refused: impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.numbers.len();
        (0..count).map(|step| (place + step) % count).find(|place| !refused(*place))
    }
}

fn happens(share: f64, random: &mut impl FnMut() -> u64) -> bool {
    share >= 1.0 || ((random() >> 11) as f64) < share * (1_u64 << 53) as f64
}

/// A number below `count`.
fn draw(random: u64, count: usize) -> usize {
    ((u128::from(random) * count as u128) >> 64) as usize
}

/// A key from a text: the same in every process (FNV-1a, mixed).
pub(super) fn key_of(text: &[u8]) -> u64 {
    let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(hash)
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDLE: Standing = Standing { in_flight: 0, share: 1.0, passed_over: false };

    fn weighing(weights: &[u32]) -> Draw {
        Draw::new(weights.iter().copied().enumerate(), 0)
    }

    #[test]
    fn turns_are_smooth_and_by_weight() {
        let draw = weighing(&[5, 1, 1]);
        let order: Vec<usize> = (0..14).map(|_| draw.in_turn(|_| IDLE, || 0).unwrap()).collect();
        assert_eq!(order[..7], order[7..]);
        assert_eq!(
            [0, 1, 2].map(|one| order[..7].iter().filter(|chosen| **chosen == one).count()),
            [5, 1, 1]
        );
        assert!(!order.windows(4).any(|four| four == [0; 4]), "{order:?}");
    }

    #[test]
    fn idle_ones_are_asked_in_turn() {
        let draw = weighing(&[1; 3]);
        let mut rng = fastrand::Rng::with_seed(1);
        let order: Vec<usize> = (0..6).map(|_| draw.least(|_| IDLE, || rng.u64(..)).unwrap()).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn few_keys_move_when_one_goes_and_all_come_back() {
        let (all, without) = (weighing(&[1; 10]), weighing(&[1, 1, 1, 0, 1, 1, 1, 1, 1, 1]));
        let mark = |index: usize| mix(index as u64 + 1);
        let (mut moved, mut on_three) = (0, 0);
        for key in 0..10_000_u64 {
            let before = all.hashed(mix(key), mark, |_| false);
            assert_eq!(
                without.hashed(mix(key), mark, |_| false),
                all.hashed(mix(key), mark, |index| index == 3)
            );
            on_three += u32::from(before == Some(3));
            moved += u32::from(before != without.hashed(mix(key), mark, |_| false));
        }
        assert_eq!(moved, on_three, "only those move that were there");
        assert!((800..1200).contains(&on_three), "{on_three}");
    }

    #[test]
    fn weight_is_how_often_one_is_chosen() {
        let draw = weighing(&[3, 1]);
        let mut rng = fastrand::Rng::with_seed(7);
        let hashed = (0..10_000)
            .filter(|key| draw.hashed(mix(*key), |index| mix(index as u64 + 9), |_| false) == Some(0));
        assert!((7200..7800).contains(&hashed.count()));
        let drawn = (0..10_000).filter(|_| draw.drawn(&mut || rng.u64(..)) == 0).count();
        assert!((7200..7800).contains(&drawn), "{drawn}");
    }

    #[test]
    fn one_in_slow_start_is_chosen_as_seldom_as_it_should_be() {
        let mut rng = fastrand::Rng::with_seed(3);
        let slow = |index: usize| Standing { share: if index == 0 { 0.1 } else { 1.0 }, ..IDLE };
        let draw = weighing(&[1; 4]);
        let turns = (0..10_000).filter(|_| draw.in_turn(slow, || rng.u64(..)) == Some(0)).count();
        assert!((200..600).contains(&turns), "{turns}");
        let least = (0..10_000).filter(|_| draw.least(slow, || rng.u64(..)) == Some(0)).count();
        assert!(least < 600, "{least}");
        assert_eq!(weighing(&[1]).least(slow, || 0), Some(0), "the only one is taken");
        assert_eq!(weighing(&[1]).in_turn(slow, || u64::MAX), Some(0));
    }

    #[test]
    fn weight_grows_from_a_tenth_to_all_of_it() {
        let over = Some(Duration::from_secs(10));
        let age = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(slow_start(age(0), over), 0.1);
        assert!((slow_start(age(5), over) - 0.55).abs() < 1e-9);
        assert_eq!([slow_start(age(10), over), slow_start(None, over), slow_start(age(0), None)], [1.0; 3]);
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        let draw = weighing(&[u32::MAX; 1000].iter().copied().chain([1]).collect::<Vec<_>>());
        assert!(draw.least(|_| IDLE, || u64::MAX).is_some());
        assert!((0..2000).all(|_| draw.in_turn(|_| IDLE, || 0).is_some()));
    }

    proptest! {
        #[test]
        fn whatever_is_chosen_is_a_candidate_and_there_is_one_if_there_can_be(
            weights in prop::collection::vec(prop_oneof![Just(0_u32), Just(1), 1..1000_u32], 0..8),
            standings in prop::collection::vec((0..100_usize, 0.1..1.0_f64, any::<bool>()), 8), seed: u64, key: u64,
        ) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let draw = Draw::new(weights.iter().enumerate().map(|(at, weight)| (at * 3, *weight)), seed as usize);
            let standing = |number: usize| {
                let (in_flight, share, passed_over) = standings[number / 3];
                Standing { in_flight, share, passed_over }
            };
            let could = |number: usize| weights[number / 3] > 0 && !standing(number).passed_over;
            let any = (0..weights.len()).any(|at| could(at * 3));
            for _ in 0..20 {
                let chosen = [
                    draw.least(standing, || rng.u64(..)),
                    draw.in_turn(standing, || rng.u64(..)),
                    draw.hashed(key, |index| mix(index as u64), |number| standing(number).passed_over),
                ];
                for one in chosen {
                    prop_assert_eq!(one.is_some(), any);
                    prop_assert!(one.is_none_or(could));
                }
            }
        }

        #[test]
        fn of_two_the_less_busy_one_is_chosen(one in 0..50_usize, other in 0..50_usize, start: usize) {
            let draw = Draw::new([(0, 1), (1, 1)].into_iter(), start);
            let busy = [one, other];
            let chosen = draw.least(|index| Standing { in_flight: busy[index], ..IDLE }, || 0).unwrap();
            prop_assert!(busy[chosen] <= busy[1 - chosen]);
        }
    }
}
