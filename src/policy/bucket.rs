//! How often something may happen: the generic cell rate algorithm (ITU-T I.371, what nginx's `limit_req` and
//! Envoy's local rate limit count as a token bucket), for one thing or for each of many.
//!
//! ```text
//!   a bucket is one number: the time at which it will be full again ("theoretical arrival time")
//!   now ───────── full again          room left = burst − (full again − now) / interval
//! ```
//! Promises: in any span of time t no more than `burst + t / interval` are let through; a refusal says when the next one
//! will be. [`Buckets`] has a fixed size, whatever the number of keys: when it has no place for a new key it forgets one
//! of those that have most room, so that others must have spent as much as somebody who is limited to give him new room.
//! Must not know: what is counted, clocks (times are given).

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::settings::Rate;

/// A rate in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// From one to the next, never 0.
    interval: u64,
    /// What fills the bucket.
    depth: u64,
}

/// What a bucket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    pub allowed: bool,
    /// Until the next one is let through; zero if one would be now.
    pub wait: Duration,
}

impl Terms {
    fn of(rate: &Rate) -> Terms {
        let interval = (nanos(rate.per) / u64::from(rate.count.get())).max(1);
        Terms { interval, depth: interval.saturating_mul(u64::from(rate.burst.get())) }
    }

    /// When a bucket that is full again at `full` will be if one more is taken; `None`: there is no room.
    fn take(self, full: u64, now: u64) -> Option<u64> {
        let next = full.max(now).saturating_add(self.interval);
        (next - now <= self.depth).then_some(next)
    }

    fn wait(self, full: u64, now: u64) -> Duration {
        let room = self.depth.saturating_sub(full.saturating_sub(now));
        Duration::from_nanos(self.interval.saturating_sub(room))
    }

    fn reply(self, taken: Option<u64>, full: u64, now: u64) -> Reply {
        Reply { allowed: taken.is_some(), wait: self.wait(taken.unwrap_or(full), now) }
    }

    /// One that was taken was not used.
    fn give_back(self, full: u64) -> u64 {
        full.saturating_sub(self.interval)
    }
}

/// One bucket for all threads, without a lock.
#[derive(Debug)]
pub struct Bucket {
    terms: Terms,
    /// When it is full again, in nanoseconds since an epoch that its owner has chosen; 0 is always full.
    full: AtomicU64,
}

impl Bucket {
    pub fn new(rate: &Rate) -> Bucket {
        Bucket { terms: Terms::of(rate), full: AtomicU64::new(0) }
    }

    /// `now`: nanoseconds since an epoch that is the same for all calls.
    pub fn take(&self, now: u64) -> Reply {
        let taken = self.full.fetch_update(Relaxed, Relaxed, |full| self.terms.take(full, now));
        match taken {
            Ok(before) => self.terms.reply(self.terms.take(before, now), before, now),
            Err(full) => self.terms.reply(None, full, now),
        }
    }

    pub fn give_back(&self) {
        let _ = self.full.fetch_update(Relaxed, Relaxed, |full| Some(self.terms.give_back(full)));
    }
}

/// How many buckets a set has: those that a key may be in.
const WAYS: usize = 8;
/// Parts with a lock each.
const SHARDS: usize = 64;

/// A bucket for each key, in a fixed amount of memory, for all threads.
pub struct Buckets {
    terms: Terms,
    hasher: RandomState,
    shards: Box<[Mutex<Box<[Set]>>]>,
    sets: usize,
}

/// The hashes of the keys, then when their buckets are full again. Two keys of one hash share a bucket, which is as likely
/// as guessing 64 bits that are drawn anew by each process. Plain numbers, so that memory that was never
/// used is never touched.
type Set = [u64; 2 * WAYS];

impl Buckets {
    /// Room for `keys` at least, 16 bytes each.
    pub fn new(rate: &Rate, keys: usize) -> Buckets {
        let sets = keys.div_ceil(WAYS * SHARDS).next_power_of_two();
        let shard = || Mutex::new(vec![[0; 2 * WAYS]; sets].into_boxed_slice());
        let shards = (0..SHARDS).map(|_| shard()).collect();
        Buckets { terms: Terms::of(rate), hasher: RandomState::new(), shards, sets }
    }

    /// One more for this key. `now`: nanoseconds since an epoch that is the same for all calls.
    pub fn take(&self, key: &(impl Hash + ?Sized), now: u64) -> Reply {
        self.with(key, |hashes, fulls, hash| {
            let way = known(hashes, fulls, hash).unwrap_or_else(|| {
                // The one with most room: what it has owed is forgiven.
                let most = (0..WAYS).min_by_key(|way| fulls[*way]).unwrap_or(0);
                (hashes[most], fulls[most]) = (hash, 0);
                most
            });
            let full = fulls[way];
            let taken = self.terms.take(full, now);
            fulls[way] = taken.unwrap_or(full);
            self.terms.reply(taken, full, now)
        })
    }

    pub fn give_back(&self, key: &(impl Hash + ?Sized)) {
        self.with(key, |hashes, fulls, hash| {
            if let Some(way) = known(hashes, fulls, hash) {
                fulls[way] = self.terms.give_back(fulls[way]);
            }
        });
    }

    fn with<T>(&self, key: &(impl Hash + ?Sized), look: impl FnOnce(&mut [u64], &mut [u64], u64) -> T) -> T {
        let hash = self.hasher.hash_one(key);
        let (shard, set) = (hash as usize % SHARDS, (hash as usize / SHARDS) % self.sets);
        // A panic while it was held has left numbers, and any numbers are buckets.
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        let (hashes, fulls) = shard[set].split_at_mut(WAYS);
        look(hashes, fulls, hash)
    }

    /// How many keys it has room for, at most.
    pub fn capacity(&self) -> usize {
        self.sets * WAYS * SHARDS
    }
}

fn known(hashes: &[u64], fulls: &[u64], hash: u64) -> Option<usize> {
    (0..WAYS).find(|way| hashes[*way] == hash && fulls[*way] > 0)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::config::settings::RateBy;

    const SECOND: u64 = 1_000_000_000;

    fn rate(count: u32, per: Duration, burst: u32) -> Rate {
        let number = |number| NonZeroU32::new(number).unwrap();
        Rate { count: number(count), per, burst: number(burst), by: RateBy::All }
    }

    #[test]
    fn a_burst_is_let_through_and_then_one_for_each_interval() {
        let bucket = Bucket::new(&rate(10, Duration::from_secs(1), 5));
        let now = 7 * SECOND;
        let replies: Vec<Reply> = (0..7).map(|_| bucket.take(now)).collect();
        let allowed: Vec<bool> = replies.iter().map(|reply| reply.allowed).collect();
        assert_eq!(allowed, [true, true, true, true, true, false, false]);
        assert_eq!(replies[3].wait, Duration::ZERO);
        assert_eq!(replies[6].wait, Duration::from_millis(100));
        assert!(!bucket.take(now + SECOND / 10 - 1).allowed);
        assert!(bucket.take(now + SECOND / 10).allowed);
        assert!(!bucket.take(now + SECOND / 10).allowed);
        // Full again, and no fuller.
        assert_eq!((0..9).filter(|_| bucket.take(now + 60 * SECOND).allowed).count(), 5);
    }

    #[test]
    fn what_was_given_back_can_be_taken_again() {
        let rate = rate(1, Duration::from_secs(1), 1);
        let (one, each) = (Bucket::new(&rate), Buckets::new(&rate, 1));
        for _ in 0..3 {
            assert!(one.take(SECOND).allowed && each.take("a", SECOND).allowed);
            one.give_back();
            each.give_back("a");
        }
        assert!(one.take(SECOND).allowed && each.take("a", SECOND).allowed);
        assert!(!one.take(SECOND).allowed && !each.take("a", SECOND).allowed);
    }

    #[test]
    fn extreme_rates_are_counted_as_well() {
        let nanosecond = Duration::from_nanos(1);
        for (per, count) in [(Duration::MAX, u32::MAX), (Duration::MAX, 1), (nanosecond, u32::MAX)] {
            let bucket = Bucket::new(&rate(count, per, u32::MAX));
            for now in [0, 1, u64::MAX / 2, u64::MAX] {
                let _ = bucket.take(now);
            }
        }
    }

    #[test]
    fn a_million_keys_take_no_more_memory_and_give_the_one_that_is_limited_no_room() {
        let buckets = Buckets::new(&rate(1, Duration::from_secs(1), 3), 10_000);
        assert!(buckets.capacity() >= 10_000 && buckets.capacity() < 70_000, "{}", buckets.capacity());
        let mut allowed = 0;
        for key in 0..1_000_000_u32 {
            let _ = buckets.take(&("flood", key), SECOND);
            if key % 100 == 0 {
                allowed += u32::from(buckets.take("greedy", SECOND).allowed);
            }
        }
        // It is among the least roomy of its set from its second request on.
        assert!(allowed <= 4, "{allowed} of 10,000");
    }

    #[test]
    fn threads_that_take_at_once_get_no_more_than_there_is() {
        let rate = rate(1, Duration::from_secs(1), 1000);
        let (one, each) = (Bucket::new(&rate), Buckets::new(&rate, 100));
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let allowed = |_: &u32| one.take(SECOND).allowed;
                    taken.fetch_add((0..500).filter(allowed).count() as u64, Relaxed);
                    let allowed = |_: &u32| each.take("a", SECOND).allowed;
                    taken.fetch_add((0..500).filter(allowed).count() as u64, Relaxed);
                });
            }
        });
        assert_eq!(taken.load(Relaxed), 2000);
    }

    proptest! {
        #[test]
        fn no_span_of_time_has_more_than_its_share(
            count in 1..50_u32, burst in 1..20_u32, steps in prop::collection::vec(0..200_000_000_u64, 1..200),
        ) {
            let rate = rate(count, Duration::from_secs(1), burst);
            let terms = Terms::of(&rate);
            let (bucket, each) = (Bucket::new(&rate), Buckets::new(&rate, 100));
            let (mut now, mut let_through) = (SECOND, vec![]);
            for step in steps {
                now += step;
                let reply = bucket.take(now);
                prop_assert_eq!(each.take("same", now), reply);
                if reply.allowed {
                    let_through.push(now);
                } else {
                    // The wait it names is exact.
                    let (wait, full) = (nanos(reply.wait), bucket.full.load(Relaxed));
                    prop_assert_eq!(terms.take(full, now + wait - 1), None);
                    prop_assert!(terms.take(full, now + wait).is_some());
                }
            }
            for (first, begin) in let_through.iter().enumerate() {
                for (last, end) in let_through.iter().enumerate().skip(first) {
                    let share = u64::from(burst) + (end - begin) / terms.interval;
                    prop_assert!((last - first + 1) as u64 <= share);
                }
            }
        }
    }
}
