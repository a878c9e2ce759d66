//! Faults on purpose: an operator's drill that delays and fails some requests of a service.
//!
//! Promises: a fault ends by itself, by the clock of who asks; without one, asking is one look at a number. What was done is counted.
//! Must not know: timers, clocks (times are given), who asked for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is done to some requests; at least one of the two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    pub delay: Option<Duration>,
    /// The status they are answered with, after the delay.
    pub abort: Option<u16>,
    /// Of the requests, 0.0 to 1.0.
    pub share: f64,
    pub until: Instant,
}

/// The fault of a service, if there is one.
#[derive(Debug, Default)]
pub struct Drill {
    on: AtomicBool,
    fault: Mutex<Option<Fault>>,
    hit: AtomicU64,
}

impl Drill {
    /// In place of the one before, which is returned with the number of requests that it has hit.
    pub fn set(&self, fault: Option<Fault>) -> Option<(Fault, u64)> {
        let mut known = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *known, fault);
        self.on.store(fault.is_some(), Relaxed);
        let hit = self.hit.swap(0, Relaxed);
        before.map(|before| (before, hit))
    }

    /// The one that lasts until then is over; how many requests it has hit. `None`: there is another one by now, or none.
    pub fn end(&self, until: Instant) -> Option<u64> {
        let mut known = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        known.take_if(|fault| fault.until == until)?;
        self.on.store(false, Relaxed);
        Some(self.hit.swap(0, Relaxed))
    }

    /// The one that there is now, and how many requests it has hit.
    pub fn now(&self, now: Instant) -> Option<(Fault, u64)> {
        if !self.on.load(Relaxed) {
            return None;
        }
        let known = *self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = known.filter(|fault| now < fault.until)?;
        Some((fault, self.hit.load(Relaxed)))
    }

    /// What is done to a request. `draw`: 0.0 to below 1.0, at random.
    pub fn strike(&self, now: Instant, draw: f64) -> Option<Fault> {
        let (fault, _) = self.now(now).filter(|(fault, _)| draw < fault.share)?;
        self.hit.fetch_add(1, Relaxed);
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_its_share_and_ends_by_itself() {
        let (drill, now) = (Drill::default(), Instant::now());
        let minute = Duration::from_secs(60);
        assert_eq!(drill.strike(now, 0.0), None);
        let fault = Fault { delay: None, abort: Some(503), share: 0.05, until: now + minute };
        assert_eq!(drill.set(Some(fault)), None);
        let hit = (0..100).filter(|draw| drill.strike(now, f64::from(*draw) / 100.0).is_some()).count();
        assert_eq!((hit, drill.now(now)), (5, Some((fault, 5))));
        assert_eq!((drill.strike(now + minute, 0.0), drill.now(now + minute)), (None, None));
        assert_eq!(drill.end(now), None, "that was another one");
        assert_eq!(drill.end(fault.until), Some(5));
        assert_eq!((drill.set(Some(fault)), drill.set(None)), (None, Some((fault, 0))));
        assert_eq!(drill.strike(now, 0.0), None);
    }
}
