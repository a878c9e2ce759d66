//! How many requests may be sent again: a share of those that were sent, not a number for each.
//!
//! A bare count multiplies the load of an application that is failing by that count. With a budget, what is sent again
//! stays a share of what came (Finagle's `RetryBudget`, Linkerd's, Envoy's `retry_budget`).
//! Promises: over any time, retries ≤ share of the requests + floor. Starts with the floor, so that a service that is
//! seldom asked has its retries too; what is saved up is bounded by [`SAVED`] requests' worth. Threads add what they
//! have earned in lots of [`LOT`], so that a request touches nothing that is shared.
//! Must not know: why something is sent again.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many requests' worth of retries can be saved up.
const SAVED: u64 = 1000;
/// Thousandths: integers add up.
const WHOLE: u64 = 1000;
/// Retries that one thread earns before it tells the others.
const LOT: u64 = 10 * WHOLE;

/// A service's, in thousandths of a retry.
#[derive(Debug)]
pub struct Budget {
    saved: AtomicU64,
    most: AtomicU64,
}

/// What one thread has earned and not yet added.
#[derive(Debug, Default)]
pub(super) struct Purse(Cell<u64>);

impl Budget {
    pub(super) fn new(share: u32, floor: u32) -> Budget {
        let budget = Budget { saved: AtomicU64::new(u64::from(floor) * WHOLE), most: AtomicU64::new(0) };
        budget.rule(share, floor);
        budget
    }

    /// Other bounds from now on; what is saved stays.
    pub(super) fn rule(&self, share: u32, floor: u32) {
        self.most.store(u64::from(floor) * WHOLE + SAVED * u64::from(share), Relaxed);
    }

    /// How many are left.
    pub fn left(&self) -> u64 {
        self.saved.load(Relaxed) / WHOLE
    }

    fn add(&self, earned: u64) {
        let most = self.most.load(Relaxed);
        let more = |saved: u64| Some((saved + earned).min(most.max(saved)));
        let _ = self.saved.fetch_update(Relaxed, Relaxed, more);
    }

    fn take(&self) -> bool {
        self.saved.fetch_update(Relaxed, Relaxed, |saved| saved.checked_sub(WHOLE)).is_ok()
    }
}

impl Purse {
    /// A request was sent for the first time; `share` in thousandths.
    pub(super) fn sent(&self, share: u32, budget: &Budget) {
        let earned = self.0.get() + u64::from(share);
        self.0.set(earned);
        if earned >= LOT {
            self.empty(budget);
        }
    }

    /// Whether one may be sent again, which is then taken off.
    pub(super) fn take(&self, budget: &Budget) -> bool {
        self.empty(budget);
        budget.take()
    }

    fn empty(&self, budget: &Budget) {
        budget.add(self.0.replace(0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sent_again_is_a_share_of_what_was_sent(
            share in 0..1000_u32, floor in 0..20_u32, steps in prop::collection::vec((any::<bool>(), 0..3_usize), 0..2000),
        ) {
            let (budget, purses) = (Budget::new(share, floor), [(); 3].map(|()| Purse::default()));
            let (mut sent, mut again) = (0_u64, 0_u64);
            for (is_first, thread) in steps {
                if is_first {
                    purses[thread].sent(share, &budget);
                    sent += 1;
                } else if purses[thread].take(&budget) {
                    again += 1;
                }
                prop_assert!(again * WHOLE <= sent * u64::from(share) + u64::from(floor) * WHOLE);
            }
        }
    }

    #[test]
    fn a_quiet_time_saves_up_no_more_than_so_much() {
        let (budget, purse) = (Budget::new(100, 3), Purse::default());
        (0..1_000_000).for_each(|_| purse.sent(100, &budget));
        assert_eq!(budget.left(), 103);
        assert_eq!((0..1000).filter(|_| purse.take(&budget)).count(), 103);
    }

    #[test]
    fn a_share_that_is_nothing_leaves_the_floor() {
        let (budget, purse) = (Budget::new(0, 2), Purse::default());
        (0..1000).for_each(|_| purse.sent(0, &budget));
        assert_eq!((0..10).filter(|_| purse.take(&budget)).count(), 2);
    }
}
