//! PURE: who waits for an application, in which order, and how many may.
//!
//! Promises: first come, first served, by tickets; whoever was let go in vain comes back to the place that its ticket
//! has. What is counted is what waits, whatever came before.
//! Must not know: why they wait, clocks, threads.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::config::settings::Hold;

/// `W`: what is kept for each who waits.
#[derive(Debug)]
pub struct Queue<W> {
    waiting: BTreeMap<u64, Waiting<W>>,
    bytes: u64,
    next: u64,
}

#[derive(Debug)]
pub struct Waiting<W> {
    pub since: Instant,
    /// Of content that is kept.
    pub bytes: u64,
    pub what: W,
}

/// The key of the limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full(pub &'static str);

impl<W> Default for Queue<W> {
    fn default() -> Queue<W> {
        Queue { waiting: BTreeMap::new(), bytes: 0, next: 0 }
    }
}

impl<W> Queue<W> {
    /// At the end, or where its ticket from before says. Whoever has one has been counted already and is not refused
    /// for the number of those who wait.
    pub fn join(&mut self, ticket: Option<u64>, waiting: Waiting<W>, limits: &Hold) -> Result<u64, Full> {
        if ticket.is_none() && limits.count.is_some_and(|most| self.waiting.len() as u64 >= most) {
            return Err(Full("hold.count"));
        }
        let bytes = self.bytes.saturating_add(waiting.bytes);
        if waiting.bytes > 0 && limits.bytes.is_some_and(|most| bytes > most) {
            return Err(Full("hold.bytes"));
        }
        let ticket = ticket.filter(|ticket| !self.waiting.contains_key(ticket)).unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        self.next = self.next.max(ticket);
        self.bytes = bytes;
        self.waiting.insert(ticket, waiting);
        Ok(ticket)
    }

    pub fn leave(&mut self, ticket: u64) -> Option<Waiting<W>> {
        let left = self.waiting.remove(&ticket)?;
        self.bytes -= left.bytes;
        Some(left)
    }

    /// Whose turn it is.
    pub fn first(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|(ticket, _)| *ticket)
    }

    pub fn at(&mut self, ticket: u64) -> Option<&mut Waiting<W>> {
        self.waiting.get_mut(&ticket)
    }

    /// Everybody, in their order.
    pub fn take(&mut self) -> impl Iterator<Item = (u64, Waiting<W>)> + use<W> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).into_iter()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Since when the one waits who waits the longest.
    pub fn oldest(&self) -> Option<Instant> {
        // One that came from another service keeps its age, so the first is not always the oldest.
        self.waiting.values().take(64).map(|waiting| waiting.since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: u64) -> Waiting<()> {
        Waiting { since: Instant::now(), bytes, what: () }
    }

    fn limits(count: u64, bytes: u64) -> Hold {
        Hold { count: Some(count), bytes: Some(bytes), ..Hold::default() }
    }

    #[test]
    fn one_more_than_may_wait_is_told_which_limit_it_is() {
        let mut queue = Queue::default();
        let limits = limits(2, 100);
        queue.join(None, one(60), &limits).unwrap();
        assert_eq!(queue.join(None, one(41), &limits), Err(Full("hold.bytes")));
        let second = queue.join(None, one(40), &limits).unwrap();
        assert_eq!(queue.join(None, one(0), &limits), Err(Full("hold.count")));
        queue.leave(second).unwrap();
        queue.join(None, one(0), &limits).unwrap();
        assert_eq!((queue.len(), queue.bytes()), (2, 60));
    }

    #[test]
    fn whoever_comes_back_goes_before_those_who_came_later() {
        let (mut queue, limits) = (Queue::default(), limits(2, 0));
        let first = queue.join(None, one(0), &limits).unwrap();
        queue.leave(first).unwrap();
        let second = queue.join(None, one(0), &limits).unwrap();
        let third = queue.join(None, one(0), &limits).unwrap();
        assert_eq!(queue.join(Some(first), one(0), &limits), Ok(first), "also when it is full");
        for expected in [first, second, third] {
            assert_eq!(queue.first(), Some(expected));
            queue.leave(expected).unwrap();
        }
        assert!(queue.is_empty());
    }

    /// Any order of coming, leaving and coming back, against a plain list.
    #[test]
    fn the_order_and_the_sums_are_those_of_a_plain_list() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut queue = Queue::default();
            // Tickets and bytes, in the order in which they came.
            let (mut plain, mut gone): (Vec<(u64, u64)>, Vec<u64>) = (vec![], vec![]);
            let limits = limits(random.u64(1..20), random.u64(1..200));
            for _ in 0..300 {
                match random.u8(0..4) {
                    0 | 1 => {
                        let bytes = random.u64(0..30);
                        let sum: u64 = plain.iter().map(|(_, bytes)| bytes).sum();
                        let fits = (plain.len() as u64) < limits.count.unwrap()
                            && (bytes == 0 || sum + bytes <= limits.bytes.unwrap());
                        let joined = queue.join(None, one(bytes), &limits);
                        assert_eq!(joined.is_ok(), fits, "seed {seed}");
                        plain.extend(joined.ok().map(|ticket| (ticket, bytes)));
                    }
                    2 if !plain.is_empty() => {
                        let (ticket, _) = plain.remove(random.usize(..plain.len()));
                        queue.leave(ticket).unwrap();
                        gone.push(ticket);
                    }
                    3 if !gone.is_empty() => {
                        let ticket = gone.swap_remove(random.usize(..gone.len()));
                        assert_eq!(queue.join(Some(ticket), one(0), &limits), Ok(ticket));
                        plain.push((ticket, 0));
                        plain.sort_unstable();
                    }
                    _ => {}
                }
                assert_eq!(queue.first(), plain.first().map(|(ticket, _)| *ticket), "seed {seed}");
                let sum: u64 = plain.iter().map(|(_, bytes)| bytes).sum();
                assert_eq!((queue.len(), queue.bytes()), (plain.len(), sum), "seed {seed}");
            }
        }
    }
}
