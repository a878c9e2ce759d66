//! A simulated application in virtual time: it does so many at a time and lets the others wait.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;

const RULES: Rules = Rules { least: 1, most: 1000, initial: 20 };

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    /// With the time at which it was admitted.
    Done(Duration),
}

/// How much the time that one request takes differs from the next.
#[derive(Clone, Copy, Debug)]
enum Jitter {
    None,
    /// From half to one and a half.
    Uniform,
    Exponential,
}

struct World {
    random: fastrand::Rng,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    number: u64,
    /// Requests that the application does at a time, and what each takes.
    capacity: usize,
    service: f64,
    usual: f64,
    jitter: Jitter,
    /// Offered, as a multiple of what it can do.
    load: f64,
    busy: usize,
    waiting: VecDeque<Duration>,
    adaptive: Adaptive,
    full: bool,
    /// Of those that are done, since it was last looked at.
    took: Vec<f64>,
    shed: u64,
}

impl World {
    fn new(rules: Rules, capacity: usize, jitter: Jitter) -> World {
        // As many as can be simulated in a moment.
        let service = if capacity > 8 { 0.040 } else { 0.010 };
        let mut world = World {
            random: fastrand::Rng::with_seed(7),
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            number: 0,
            capacity,
            service,
            usual: service,
            jitter,
            load: 4.0,
            busy: 0,
            waiting: VecDeque::new(),
            adaptive: Adaptive::new(rules),
            full: false,
            took: vec![],
            shed: 0,
        };
        world.after(0.0, Event::Arrives);
        world
    }

    fn after(&mut self, seconds: f64, event: Event) {
        self.number += 1;
        let at = self.now + Duration::from_secs_f64(seconds);
        self.events.push(Reverse((at, self.number, event)));
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.random.f64()).ln()
    }

    fn begin(&mut self, admitted: Duration) {
        self.busy += 1;
        let factor = match self.jitter {
            Jitter::None => 1.0,
            Jitter::Uniform => 0.5 + self.random.f64(),
            Jitter::Exponential => self.exponential(),
        };
        self.after(self.service * factor, Event::Done(admitted));
    }

    fn run(&mut self, time: Duration) -> Seen {
        (self.took, self.shed) = (vec![], 0);
        let (began, end) = (self.now, self.now + time);
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = at;
            match event {
                Event::Arrives => self.arrives(),
                Event::Done(admitted) => self.done(admitted),
            }
            if self.now > end {
                break;
            }
        }
        let mut took = std::mem::take(&mut self.took);
        took.sort_by(f64::total_cmp);
        let best = (self.capacity as f64 / self.service).min(self.load * self.capacity as f64 / self.service);
        Seen {
            done: took.len() as u64,
            goodput: took.len() as f64 / (self.now - began).as_secs_f64() / best,
            median: took[took.len() / 2] / self.service,
            late: took[took.len() * 99 / 100] / self.service,
            shed: self.shed,
        }
    }

    fn arrives(&mut self) {
        let next = self.exponential() * self.service / (self.load * self.capacity as f64);
        self.after(next, Event::Arrives);
        let inside = self.busy + self.waiting.len();
        if inside >= self.adaptive.limit() as usize {
            self.full = true;
            self.shed += 1;
        } else if self.busy < self.capacity {
            self.begin(self.now);
        } else {
            self.waiting.push_back(self.now);
        }
    }

    fn done(&mut self, admitted: Duration) {
        let inside = (self.busy + self.waiting.len()) as u32;
        let took = self.now - admitted;
        self.took.push(took.as_secs_f64());
        let full = std::mem::take(&mut self.full);
        self.adaptive.ended(Sample { now: self.now, took, lost: false, inside, full });
        self.busy -= 1;
        while self.busy < self.capacity {
            let Some(admitted) = self.waiting.pop_front() else { break };
            self.begin(admitted);
        }
    }
}

#[derive(Debug)]
struct Seen {
    /// As a share of the best.
    goodput: f64,
    done: u64,
    /// Of those let in, as multiples of what one takes.
    median: f64,
    late: f64,
    shed: u64,
}

const MINUTE: Duration = Duration::from_secs(60);

const JITTERS: [Jitter; 3] = [Jitter::None, Jitter::Uniform, Jitter::Exponential];

#[test]
fn it_finds_what_the_application_bears_from_above_and_from_below_and_keeps_to_it() {
    for jitter in JITTERS {
        for (initial, capacity) in [(20, 1), (20, 8), (500, 8), (1, 64), (20, 64)] {
            let mut world = World::new(Rules { initial, ..RULES }, capacity, jitter);
            world.run(MINUTE / 2);
            let limit = world.adaptive.limit();
            let seen = world.run(MINUTE / 2);
            let what = format!("{jitter:?} {initial} {capacity} {limit}: {seen:?}");
            assert!(seen.goodput > 0.9 && seen.shed > 0, "{what}");
            assert!(seen.median < 5.0 && seen.late < 15.0, "{what}");
        }
    }
}

#[test]
fn an_application_that_can_bear_less_or_more_all_at_once_is_followed() {
    for jitter in [Jitter::Uniform, Jitter::Exponential] {
        let mut world = World::new(RULES, 64, jitter);
        world.run(MINUTE);
        for (capacity, slower) in [(8, 1.0), (64, 1.0), (64, 3.0), (64, 1.0)] {
            (world.capacity, world.service) = (capacity, world.usual * slower);
            world.run(MINUTE);
            let seen = world.run(MINUTE / 3);
            let what = format!("{jitter:?} {capacity} {slower} {}: {seen:?}", world.adaptive.limit());
            assert!(seen.goodput > 0.9, "{what}");
            assert!(seen.median < 5.0 && seen.late < 15.0, "{what}");
        }
    }
}

#[test]
fn below_its_capacity_hardly_anybody_is_shed() {
    for (capacity, load) in [(1, 0.25), (8, 0.5), (64, 0.5), (64, 0.8)] {
        for jitter in [Jitter::Uniform, Jitter::Exponential] {
            let mut world = World::new(RULES, capacity, jitter);
            world.load = load;
            world.run(MINUTE);
            let seen = world.run(MINUTE / 2);
            let shed = seen.shed as f64 / (seen.shed + seen.done) as f64;
            assert!(shed < 0.02, "{jitter:?} {capacity} {load} {}: {seen:?}", world.adaptive.limit());
        }
    }
}

#[test]
fn a_limit_that_nobody_reaches_is_not_raised_and_one_slow_request_moves_nothing() {
    let mut adaptive = Adaptive::new(RULES);
    for second in 0..10_000 {
        let took = Duration::from_millis(if second % 20 == 0 { 60_000 } else { 1 });
        let now = Duration::from_secs(second);
        adaptive.ended(Sample { now, took, lost: false, inside: 1, full: false });
    }
    assert_eq!(adaptive.limit(), RULES.initial);
}

#[test]
fn what_is_lost_lowers_the_limit_down_to_the_least_and_a_reload_bounds_it() {
    let mut adaptive = Adaptive::new(RULES);
    let sample = |lost| Sample { now: MINUTE, took: MINUTE, lost, inside: 1, full: true };
    (0..5000).for_each(|_| adaptive.ended(sample(true)));
    assert_eq!(adaptive.limit(), 1);
    adaptive.bound(Rules { least: 5, ..RULES });
    assert_eq!(adaptive.limit(), 5);
    adaptive.bound(Rules { most: 3, least: 1, initial: 3 });
    assert_eq!(adaptive.limit(), 3);
}
