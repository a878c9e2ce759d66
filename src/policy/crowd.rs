//! How many may be inside at a time, and who waits for whom.
//!
//! ```text
//!   enter ──room, nobody waits──▶ inside ──leave──▶ gone
//!     └─────▶ queue ──a place is left──▶ inside
//!               ├── no room for one more: refused, or a less urgent one is shed in its stead
//!               └── dropped: it has given up
//! ```
//! Promises: whoever finds room when nobody waits takes no lock, only one atomic operation on a number that all threads
//! share. Those who wait go in by urgency, then by the time of their coming, whatever thread they are on; nobody
//! overtakes them. A place is given back exactly once, also by who was let in and did not look any more. No more than
//! `queue` wait.
//! Must not know: what is inside, clocks, a runtime: it wakes.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::urgency::Urgency;

/// Of those who wait, in the upper half of the counts.
const WAITING: u64 = 1 << 32;

#[derive(Debug)]
pub struct Crowd {
    /// How many wait, above how many are inside. The upper half changes under the lock only.
    counts: AtomicU64,
    limit: AtomicU32,
    /// Somebody has found no room since this was last asked.
    full: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// By urgency, then by the order of their coming.
    waiting: BTreeMap<Turn, Arc<Waiter>>,
    came: u64,
}

type Turn = (Urgency, u64);

#[derive(Debug)]
struct Waiter {
    /// What has become of it.
    fate: AtomicU8,
    waker: AtomicWaker,
}

const WAITS: u8 = 0;
const LET_IN: u8 = 1;
const SHED: u8 = 2;

/// What comes of asking for a place when there was none.
#[derive(Debug)]
pub enum Asked {
    /// There is one after all; to be given back by [`Crowd::leave`].
    In,
    Wait(Waiting),
    /// As many wait as may.
    Refused,
}

/// Somebody more urgent has come while the queue was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed;

/// Ready with a place, which is then to be given back by [`Crowd::leave`], or when it is shed.
#[derive(Debug)]
pub struct Waiting {
    crowd: Arc<Crowd>,
    waiter: Arc<Waiter>,
    turn: Turn,
    over: bool,
}

impl Crowd {
    pub fn new(limit: u32) -> Arc<Crowd> {
        Arc::new(Crowd {
            counts: AtomicU64::new(0),
            limit: AtomicU32::new(limit),
            full: AtomicBool::new(false),
            queue: Mutex::default(),
        })
    }

    /// A place, if one is free and nobody waits for it; to be given back by [`Crowd::leave`].
    pub fn enter(&self) -> bool {
        let entered = self.counts.fetch_update(AcqRel, Acquire, |counts| self.one_more(counts)).is_ok();
        if !entered && !self.full.load(Relaxed) {
            self.full.store(true, Relaxed);
        }
        entered
    }

    fn one_more(&self, counts: u64) -> Option<u64> {
        let (waiting, inside) = (counts / WAITING, counts % WAITING);
        (waiting == 0 && inside < u64::from(self.limit.load(Relaxed))).then_some(counts + 1)
    }

    /// Asks for a place, to wait for it. `queue`: how many may wait.
    pub fn ask(self: &Arc<Self>, urgency: Urgency, queue: u32) -> Asked {
        let mut waiting = self.lock();
        let more_waits = |counts| self.one_more(counts).or(Some(counts + WAITING));
        if waiting.waiting.len() >= queue as usize {
            if self.enter() {
                return Asked::In;
            }
            let less_urgent = |turn: &Turn| turn.0 > urgency;
            let last = waiting.waiting.last_entry().filter(|last| less_urgent(last.key()));
            let Some(last) = last else { return Asked::Refused };
            last.remove().told(SHED);
        } else {
            // Whoever leaves after this sees that somebody waits, and whoever left before has left a place.
            let before = self.counts.fetch_update(AcqRel, Acquire, more_waits).unwrap_or_else(|same| same);
            if self.one_more(before).is_some() {
                return Asked::In;
            }
        }
        waiting.came += 1;
        let turn = (urgency, waiting.came);
        let waiter = Arc::new(Waiter { fate: AtomicU8::new(WAITS), waker: AtomicWaker::new() });
        waiting.waiting.insert(turn, Arc::clone(&waiter));
        Asked::Wait(Waiting { crowd: Arc::clone(self), waiter, turn, over: false })
    }

    /// Gives a place back.
    pub fn leave(&self) {
        let before = self.counts.fetch_sub(1, AcqRel);
        debug_assert!(!before.is_multiple_of(WAITING), "a place was given back twice");
        if before / WAITING > 0 {
            self.let_in();
        }
    }

    /// As many as there is room for.
    fn let_in(&self) {
        let mut queue = self.lock();
        while let Some(first) = queue.waiting.first_entry() {
            let room = |counts: u64| {
                let room = counts % WAITING < u64::from(self.limit.load(Relaxed));
                room.then_some(counts + 1 - WAITING)
            };
            if self.counts.fetch_update(AcqRel, Acquire, room).is_err() {
                return;
            }
            first.remove().told(LET_IN);
        }
    }

    /// Takes effect at once; who is inside stays.
    pub fn set_limit(&self, limit: u32) {
        if self.limit.swap(limit, Relaxed) < limit && self.waiting() > 0 {
            self.let_in();
        }
    }

    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    pub fn inside(&self) -> u32 {
        (self.counts.load(Relaxed) % WAITING) as u32
    }

    pub fn waiting(&self) -> u32 {
        (self.counts.load(Relaxed) / WAITING) as u32
    }

    /// Whether somebody has found no room since this was last asked.
    pub fn was_full(&self) -> bool {
        self.full.load(Relaxed) && self.full.swap(false, Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in here panics between two changes that belong together.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    fn told(&self, fate: u8) {
        self.fate.store(fate, Release);
        self.waker.wake();
    }
}

impl Future for Waiting {
    type Output = Result<(), Shed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Shed>> {
        self.waiter.waker.register(cx.waker());
        let fate = self.waiter.fate.load(Acquire);
        self.over = fate != WAITS;
        match fate {
            WAITS => Poll::Pending,
            LET_IN => Poll::Ready(Ok(())),
            _ => Poll::Ready(Err(Shed)),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut queue = self.crowd.lock();
        if queue.waiting.remove(&self.turn).is_some() {
            self.crowd.counts.fetch_sub(WAITING, AcqRel);
            return;
        }
        drop(queue);
        // It was let in, and has not looked.
        if self.waiter.fate.load(Acquire) == LET_IN {
            self.crowd.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn wait(crowd: &Arc<Crowd>, urgency: Urgency, queue: u32) -> Waiting {
        match crowd.ask(urgency, queue) {
            Asked::Wait(waiting) => waiting,
            other => panic!("{other:?}"),
        }
    }

    fn is_in(waiting: &mut Waiting) -> bool {
        waiting.now_or_never() == Some(Ok(()))
    }

    #[test]
    fn first_come_first_served_and_nobody_overtakes_who_waits() {
        let crowd = Crowd::new(1);
        assert!(crowd.enter() && !crowd.enter());
        let (mut one, mut two) = (wait(&crowd, 3, 9), wait(&crowd, 3, 9));
        assert!(!is_in(&mut one) && !is_in(&mut two));
        crowd.leave();
        assert!(!crowd.enter());
        assert!(is_in(&mut one) && !is_in(&mut two));
        crowd.leave();
        assert!(is_in(&mut two));
        crowd.leave();
        assert_eq!((crowd.inside(), crowd.waiting()), (0, 0));
        assert!(crowd.enter());
    }

    #[test]
    fn the_more_urgent_goes_first_and_takes_the_place_of_the_less_urgent_in_a_full_queue() {
        let crowd = Crowd::new(1);
        assert!(crowd.enter());
        let (mut usual, mut idle) = (wait(&crowd, 3, 2), wait(&crowd, 7, 2));
        assert!(matches!(crowd.ask(7, 2), Asked::Refused));
        let mut urgent = wait(&crowd, 0, 2);
        assert_eq!((&mut idle).now_or_never(), Some(Err(Shed)));
        assert_eq!(crowd.waiting(), 2);
        assert!(matches!(crowd.ask(3, 2), Asked::Refused), "of the same urgency, first come first served");
        crowd.leave();
        assert!(!is_in(&mut usual) && is_in(&mut urgent));
        crowd.leave();
        assert!(is_in(&mut usual));
    }

    #[test]
    fn who_gives_up_leaves_no_gap_whether_it_was_let_in_or_not() {
        let crowd = Crowd::new(1);
        assert!(crowd.enter());
        let (gives_up, let_in, mut last) = (wait(&crowd, 3, 9), wait(&crowd, 3, 9), wait(&crowd, 3, 9));
        drop(gives_up);
        assert_eq!(crowd.waiting(), 2);
        crowd.leave();
        assert!(!is_in(&mut last));
        drop(let_in);
        assert!(is_in(&mut last));
        assert_eq!((crowd.inside(), crowd.waiting()), (1, 0));
    }

    #[test]
    fn a_higher_limit_lets_in_at_once_and_a_lower_one_nobody_until_enough_have_left() {
        let crowd = Crowd::new(1);
        assert!(crowd.enter());
        let mut waiting: Vec<Waiting> = (0..3).map(|_| wait(&crowd, 3, 9)).collect();
        crowd.set_limit(3);
        assert_eq!(waiting.iter_mut().map(is_in).collect::<Vec<_>>(), [true, true, false]);
        crowd.set_limit(1);
        crowd.leave();
        crowd.leave();
        assert!(!is_in(&mut waiting[2]));
        crowd.leave();
        assert!(is_in(&mut waiting[2]));
    }

    #[test]
    fn without_a_queue_nobody_waits_and_that_it_was_full_is_remembered_once() {
        let crowd = Crowd::new(1);
        assert!(crowd.enter() && !crowd.was_full());
        assert!(matches!(crowd.ask(0, 0), Asked::Refused));
        assert!(crowd.was_full() && !crowd.was_full());
    }

    #[test]
    fn threads_never_have_more_inside_than_may_be_and_leave_nobody_waiting() {
        let crowd = Crowd::new(3);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        if !crowd.enter() {
                            match crowd.ask(3, 1000) {
                                Asked::In => {}
                                Asked::Wait(waiting) => {
                                    block_on(waiting).unwrap();
                                }
                                Asked::Refused => panic!("there is room in the queue"),
                            }
                        }
                        most.fetch_max(inside.fetch_add(1, AcqRel) + 1, AcqRel);
                        std::thread::yield_now();
                        inside.fetch_sub(1, AcqRel);
                        crowd.leave();
                    }
                });
            }
        });
        assert!(most.into_inner() <= 3);
        assert_eq!((crowd.inside(), crowd.waiting()), (0, 0));
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(future)
    }

    proptest! {
        /// Against a list that is looked through.
        #[test]
        fn whatever_happens_the_places_add_up(
            limit in 1..4_u32, queue in 0..4_u32, steps in prop::collection::vec((0..4_u8, 0..8_u8), 1..200),
        ) {
            let crowd = Crowd::new(limit);
            let (mut inside, mut waiting): (u32, Vec<Waiting>) = (0, vec![]);
            for (step, urgency) in steps {
                match step {
                    0 | 1 => match if crowd.enter() { Asked::In } else { crowd.ask(urgency, queue) } {
                        Asked::In => inside += 1,
                        Asked::Wait(turn) => waiting.push(turn),
                        Asked::Refused => prop_assert!(waiting.len() >= queue as usize),
                    },
                    2 if inside > 0 => {
                        crowd.leave();
                        inside -= 1;
                    }
                    3 if !waiting.is_empty() => drop(waiting.remove(usize::from(urgency) % waiting.len())),
                    _ => {}
                }
                let best = waiting.iter().map(|waiting| waiting.turn).min();
                let mut still = vec![];
                for mut turn in waiting {
                    match (&mut turn).now_or_never() {
                        None => still.push(turn),
                        Some(Ok(())) => {
                            prop_assert_eq!(Some(turn.turn), best);
                            inside += 1;
                        }
                        Some(Err(Shed)) => {}
                    }
                }
                waiting = still;
                prop_assert_eq!((crowd.inside(), crowd.waiting()), (inside, waiting.len() as u32));
                prop_assert!(inside <= limit && waiting.len() <= queue as usize);
                prop_assert!(waiting.is_empty() || inside == limit);
            }
        }
    }
}
