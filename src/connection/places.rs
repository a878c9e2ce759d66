//! How many tunnels there may be, over all data threads.
//!
//! Promises: a place is taken before an endpoint is asked for a tunnel and given back exactly once;
//! places are counted without a limit too, so that one that a reload brings counts those that are.
//! Must not know: what a tunnel is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Those that are taken.
#[derive(Debug, Default)]
pub(crate) struct Places(AtomicU64);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Places>);

impl Places {
    /// `None`: there are `limit` already.
    pub(super) fn take(self: &Arc<Places>, limit: Option<u64>) -> Option<Place> {
        let more = |taken| (taken < limit.unwrap_or(u64::MAX)).then_some(taken + 1);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Place(Arc::clone(self)))
    }

    /// For a tunnel that there is already: no limit keeps it out.
    pub(super) fn take_beyond(self: &Arc<Places>) -> Place {
        self.0.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_left_and_a_limit_counts_those_taken_without_one() {
        let places = Arc::new(Places::default());
        let one = places.take(None).unwrap();
        let _two = places.take(Some(2)).unwrap();
        assert!(places.take(Some(2)).is_none() && places.take(Some(1)).is_none());
        drop(one);
        assert!(places.take(Some(2)).is_some());
    }

    #[test]
    fn a_tunnel_that_moves_here_takes_its_place_whatever_the_limit() {
        let places = Arc::new(Places::default());
        let _one = places.take(Some(1)).unwrap();
        let moved = places.take_beyond();
        assert!(places.take(Some(2)).is_none());
        drop(moved);
        assert!(places.take(Some(2)).is_some());
    }
}
