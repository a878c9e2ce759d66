//! How many connections there may be, in all and from one address, and who waits for one to go.
//!
//! ```text
//!   take ─▶ Slot ─▶ admit ─▶ kept by the connection ─▶ dropped ─▶ one who waits is woken
//!    └─ nothing free ─▶ room ─▶ take again
//! ```
//! Promises: there are never more slots than the limit allowed when each was taken; who waits for
//! room sleeps until a slot is given back or the limit is raised; memory is held only for addresses
//! that have connections. Being full is told once, at most once a second however often it ends and
//! begins again.
//! Must not know: sockets, threads, what a connection is.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;

use crate::config::settings::Limits;
use crate::connection::Claim;
use crate::telemetry::counters::{Counters, Limit};

/// What happens again and again is told no more often.
const TELL_EVERY: Duration = Duration::from_secs(1);
const UNLIMITED: usize = usize::MAX;

/// Shared by all data threads.
pub(super) struct Capacity {
    /// Slots, including those for a look at a socket at which another thread may have been first.
    taken: AtomicUsize,
    /// Slots that have a connection.
    used: AtomicUsize,
    /// `limits.connections`.
    connections: AtomicUsize,
    /// How many there may be in any case: as many as leave a descriptor each for an application.
    descriptors: usize,
    /// `limits.connections-per-address`.
    each: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
    addresses: Addresses,
    full: Condition,
    short: Condition,
    refusals: Mutex<Spoken>,
}

/// The right to one connection, until it is dropped.
pub(super) struct Slot {
    capacity: Arc<Capacity>,
    /// It has a connection.
    used: bool,
    address: Option<IpAddr>,
    /// It counts for its address.
    counted: bool,
}

impl Capacity {
    /// `threads` are about to open `each` descriptors of their own.
    pub(super) fn new(limits: &Limits, threads: usize, each: usize) -> Arc<Capacity> {
        Capacity::within(most_by_descriptors(threads.saturating_mul(each)), limits)
    }

    fn within(descriptors: usize, limits: &Limits) -> Arc<Capacity> {
        let capacity = Capacity {
            taken: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            connections: AtomicUsize::new(UNLIMITED),
            descriptors,
            each: AtomicUsize::new(UNLIMITED),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            addresses: Addresses::default(),
            full: Condition::default(),
            short: Condition::default(),
            refusals: Mutex::default(),
        };
        capacity.set(limits);
        Arc::new(capacity)
    }

    /// Takes effect at once; who is connected stays.
    pub(super) fn set(&self, limits: &Limits) {
        let number = |limit: Option<u64>| limit.map_or(UNLIMITED, |n| n.try_into().unwrap_or(UNLIMITED));
        let connections = number(limits.connections);
        if connections != UNLIMITED && connections > self.descriptors {
            tracing::warn!(
                limit = Limit::Descriptors.name(),
                "limits.connections is {connections}, but LimitNOFILE= leaves {} beside connections to applications; \
                 raise LimitNOFILE= of the unit, or lower limits.connections",
                self.descriptors,
            );
        }
        self.connections.store(connections, SeqCst);
        self.each.store(number(limits.connections_per_address), SeqCst);
        self.freed.notify_waiters();
    }

    fn most(&self) -> usize {
        self.connections.load(SeqCst).min(self.descriptors)
    }

    /// The limit that is reached first.
    fn limit(&self) -> Limit {
        if self.connections.load(SeqCst) <= self.descriptors {
            Limit::Connections
        } else {
            Limit::Descriptors
        }
    }

    /// A slot, if one is free.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let more = |taken| (taken < self.most()).then_some(taken + 1);
        self.taken.fetch_update(SeqCst, SeqCst, more).ok()?;
        Some(Slot { capacity: Arc::clone(self), used: false, address: None, counted: false })
    }

    /// A slot in any case, for who has waited in the kernel until the end.
    pub(super) fn take_beyond(self: &Arc<Self>) -> Slot {
        self.taken.fetch_add(1, SeqCst);
        self.used.fetch_add(1, SeqCst);
        Slot { capacity: Arc::clone(self), used: true, address: None, counted: false }
    }

    fn has_room(&self) -> bool {
        self.taken.load(SeqCst) < self.most()
    }

    /// Resolves when there may be a free slot. Somebody waits for one.
    pub(super) async fn room(&self, counters: &Counters) {
        let mut freed = pin!(self.freed.notified());
        let _waiting = Waiting::at(&self.waiting);
        freed.as_mut().enable();
        // Whoever gives a slot back after this look sees that somebody waits.
        if self.has_room() {
            return;
        }
        self.tell_full(counters);
        freed.await;
    }

    fn tell_full(&self, counters: &Counters) {
        let used = self.used.load(SeqCst);
        // Another thread only looks; when it finds somebody it comes here itself.
        if used < self.most() {
            return;
        }
        let Some(tell) = self.full.begins() else { return };
        let limit = self.limit();
        counters.reached(limit);
        if !tell {
            return;
        }
        match limit {
            Limit::Descriptors => tracing::warn!(
                limit = limit.name(),
                "accepting no more connections: there are {used}, and LimitNOFILE= leaves no more beside connections to \
                 applications; newcomers wait until one has gone; raise LimitNOFILE= of the unit",
            ),
            _ => tracing::warn!(
                limit = limit.name(),
                "accepting no more connections: there are {used}, as many as {} allows; newcomers wait until one has gone",
                limit.name(),
            ),
        }
    }

    /// A slot was given back. Whoever is woken and finds nobody at its socket gives its own back, which wakes
    /// the next one; after the last one nobody waits any more.
    fn given_back(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.freed.notify_one();
        } else if self.full.holds() && self.has_room() && self.full.ends() {
            tracing::info!(limit = self.limit().name(), "accepting connections again: nobody waits any more");
        }
    }

    /// The kernel had no descriptor or no memory for a connection; whether that is to be told.
    pub(super) fn fell_short(&self, counters: &Counters) -> bool {
        let told = self.short.begins();
        if told.is_some() {
            counters.reached(Limit::Descriptors);
        }
        told == Some(true)
    }

    /// The kernel has what a connection needs; whether that is news.
    pub(super) fn has_enough(&self) -> bool {
        self.short.ends()
    }

    /// Counts and tells that the newcomer was one too many of its address.
    pub(super) fn refused(&self, address: IpAddr, counters: &Counters) {
        counters.reached(Limit::ConnectionsPerAddress);
        let due = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).happened();
        if let Some(count) = due {
            let (limit, each) = (Limit::ConnectionsPerAddress.name(), self.each.load(SeqCst));
            let word = if count == 1 { "connection" } else { "connections" };
            tracing::warn!(
                limit,
                client = %address,
                count,
                "refused {count} {word}, the last one of {address}: it has {each}, as many as {limit} allows",
            );
        }
    }
}

impl Slot {
    /// It is for a connection of this address; whether there may be one more of it.
    pub(super) fn admit(&mut self, address: Option<IpAddr>) -> bool {
        if !address.is_none_or(|address| self.move_to(address)) {
            return false;
        }
        self.used = true;
        self.capacity.used.fetch_add(1, SeqCst);
        true
    }

    /// It is for a connection of this address, however many there are.
    pub(super) fn adopt(&mut self, address: Option<IpAddr>) {
        self.address = address.map(network_of);
        self.count();
    }

    /// It is for a connection of this address, and not of the one that it counts for; whether there may be one more.
    fn move_to(&mut self, address: IpAddr) -> bool {
        self.uncount();
        self.address = Some(network_of(address));
        let each = self.capacity.each.load(SeqCst);
        if let Some(address) = self.address.filter(|_| each != UNLIMITED) {
            self.counted = self.capacity.addresses.join(address, each);
            return self.counted;
        }
        true
    }

    fn uncount(&mut self) {
        if let Some(address) = self.address.filter(|_| self.counted) {
            self.capacity.addresses.leave(address);
        }
        self.counted = false;
    }

    /// Counts for its address from now on, when it was taken while there was no such limit.
    pub(super) fn count(&mut self) {
        if self.counted || self.capacity.each.load(SeqCst) == UNLIMITED {
            return;
        }
        if let Some(address) = self.address {
            self.counted = self.capacity.addresses.join(address, UNLIMITED);
        }
    }
}

impl Claim for Slot {
    fn turns_out(&mut self, client: IpAddr, counters: &Counters) -> bool {
        let may = self.move_to(client);
        if !may {
            self.capacity.refused(client, counters);
        }
        may
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.uncount();
        if self.used {
            self.capacity.used.fetch_sub(1, SeqCst);
        }
        self.capacity.taken.fetch_sub(1, SeqCst);
        self.capacity.given_back();
    }
}

/// One more who waits for room, also when the wait is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn at(count: &AtomicUsize) -> Waiting<'_> {
        count.fetch_add(1, SeqCst);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Something that holds or does not, for all threads, and is told when it begins and ends.
#[derive(Default)]
struct Condition {
    holds: AtomicBool,
    told: AtomicBool,
    spoken: Mutex<Spoken>,
}

impl Condition {
    /// `None` when it held before; otherwise whether to tell.
    fn begins(&self) -> Option<bool> {
        if self.holds.swap(true, SeqCst) {
            return None;
        }
        let tell = self.spoken.lock().unwrap_or_else(PoisonError::into_inner).happened().is_some();
        self.told.store(tell, SeqCst);
        Some(tell)
    }

    fn holds(&self) -> bool {
        self.holds.load(SeqCst)
    }

    /// Whether to tell the end of what was told.
    fn ends(&self) -> bool {
        self.holds() && self.holds.swap(false, SeqCst) && self.told.swap(false, SeqCst)
    }
}

/// When something was last told, and how often it has happened since.
#[derive(Default)]
struct Spoken {
    last: Option<Instant>,
    untold: u64,
}

impl Spoken {
    /// How often it has happened since the last time, when it is time to tell.
    fn happened(&mut self) -> Option<u64> {
        self.untold += 1;
        if self.last.is_some_and(|last| last.elapsed() < TELL_EVERY) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }
}

/// Connections by address. An entry is there as long as its number is not 0.
struct Addresses {
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, usize>>; SHARDS],
}

/// Threads that accept at the same time seldom wait for each other.
const SHARDS: usize = 16;

impl Default for Addresses {
    fn default() -> Addresses {
        Addresses { hasher: RandomState::new(), shards: Default::default() }
    }
}

impl Addresses {
    fn shard(&self, address: IpAddr) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        let index = self.hasher.hash_one(address) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, unless there are `most` already.
    fn join(&self, address: IpAddr, most: usize) -> bool {
        let mut shard = self.shard(address);
        let known = shard.get(&address).copied().unwrap_or(0);
        if known >= most {
            return false;
        }
        shard.insert(address, known + 1);
        true
    }

    fn leave(&self, address: IpAddr) {
        let mut shard = self.shard(address);
        match shard.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                shard.remove(&address);
                // A map keeps the room that it once needed.
                if shard.capacity() > 4 * shard.len().max(16) {
                    shard.shrink_to_fit();
                }
            }
        }
    }
}

/// Who has an IPv6 address usually has 2^64 of them (RFC 4291, section 2.5.4; RFC 6177).
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// For operators who ask how it goes, a reload that reads files, and names that are resolved.
const SPARE: usize = 32;

/// A request takes a descriptor for its client and one for its application.
fn most_by_descriptors(own: usize) -> usize {
    let Some(all) = getrlimit(Resource::Nofile).current else { return UNLIMITED };
    // Without /proc, what is open is the least of our problems.
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let all = usize::try_from(all).unwrap_or(UNLIMITED);
    (all.saturating_sub(open + own + SPARE) / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn limits(connections: Option<u64>, each: Option<u64>) -> Limits {
        Limits { connections, connections_per_address: each, ..Limits::default() }
    }

    fn capacity(connections: Option<u64>, each: Option<u64>) -> Arc<Capacity> {
        Capacity::within(100, &limits(connections, each))
    }

    fn used(capacity: &Arc<Capacity>) -> Slot {
        let mut slot = capacity.take().unwrap();
        assert!(slot.admit(None));
        slot
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn entries(capacity: &Capacity) -> usize {
        capacity.addresses.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn there_are_never_more_slots_than_allowed() {
        let capacity = capacity(Some(2), None);
        let (one, _two) = (capacity.take().unwrap(), capacity.take().unwrap());
        assert!(capacity.take().is_none());
        drop(one);
        let _one = capacity.take().unwrap();
        capacity.set(&limits(Some(1), None));
        assert!(capacity.take().is_none(), "lowered below what there is");
        capacity.set(&limits(None, None));
        let rest: Vec<_> = std::iter::from_fn(|| capacity.take()).collect();
        assert_eq!(rest.len(), 98, "descriptors are a limit in any case");
        let _beyond = capacity.take_beyond();
        assert!(capacity.take().is_none());
    }

    #[test]
    fn a_slot_that_is_given_back_wakes_one_who_waits_and_that_one_passes_it_on() {
        let counters = Counters::new();
        let capacity = capacity(Some(1), None);
        let slot = used(&capacity);
        let (mut first, mut second) =
            (Box::pin(capacity.room(&counters)), Box::pin(capacity.room(&counters)));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(slot);
        assert!(first.now_or_never().is_some());
        assert!(second.as_mut().now_or_never().is_none(), "one slot, one to wake");
        drop(capacity.take().unwrap());
        assert!(second.now_or_never().is_some(), "nobody was at the first one's socket");
        assert_eq!(counters.totals().limits["limits.connections"], 1, "one pause");
    }

    #[test]
    fn a_thread_that_only_looks_is_no_full_house() {
        let counters = Counters::new();
        let capacity = capacity(Some(1), None);
        let looking = capacity.take().unwrap();
        let mut room = Box::pin(capacity.room(&counters));
        assert!(room.as_mut().now_or_never().is_none());
        drop(looking);
        assert!(room.now_or_never().is_some());
        assert!(counters.totals().limits.is_empty());
    }

    #[test]
    fn a_wait_that_is_given_up_takes_no_slot_with_it() {
        let counters = Counters::new();
        let capacity = capacity(Some(1), None);
        let slot = used(&capacity);
        let (mut first, mut second) =
            (Box::pin(capacity.room(&counters)), Box::pin(capacity.room(&counters)));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(slot);
        drop(first);
        assert!(second.now_or_never().is_some());
        assert_eq!(capacity.waiting.load(SeqCst), 0);
    }

    #[test]
    fn a_raised_limit_wakes_everybody() {
        let counters = Counters::new();
        let capacity = capacity(Some(1), None);
        let _slot = capacity.take().unwrap();
        let mut waiting = [Box::pin(capacity.room(&counters)), Box::pin(capacity.room(&counters))];
        assert!(waiting.iter_mut().all(|room| room.as_mut().now_or_never().is_none()));
        capacity.set(&limits(Some(3), None));
        assert!(waiting.into_iter().all(|room| room.now_or_never().is_some()));
    }

    #[test]
    fn threads_that_take_and_give_back_at_random_lose_no_slot_and_no_wakening() {
        let capacity = capacity(Some(3), None);
        let work = || {
            let (counters, capacity) = (Counters::new(), Arc::clone(&capacity));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    for _ in 0..2000 {
                        loop {
                            let Some(slot) = capacity.take() else {
                                capacity.room(&counters).await;
                                continue;
                            };
                            tokio::task::yield_now().await;
                            break drop(slot);
                        }
                    }
                });
            })
        };
        let threads: Vec<_> = (0..8).map(|_| work()).collect();
        // A lost wakening would hang here.
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let left = [&capacity.taken, &capacity.used, &capacity.waiting].map(|count| count.load(SeqCst));
        assert_eq!(left, [0, 0, 0]);
    }

    #[test]
    fn an_address_has_its_share_and_an_ipv6_network_is_one_address() {
        let capacity = capacity(None, Some(1));
        let admit = |address: Option<IpAddr>| {
            let mut slot = capacity.take().unwrap();
            slot.admit(address).then_some(slot)
        };
        let one = admit(ip("192.0.2.1")).unwrap();
        assert!(admit(ip("192.0.2.1")).is_none() && admit(ip("::ffff:192.0.2.1")).is_none());
        let _other = admit(ip("192.0.2.2")).unwrap();
        let _v6 = admit(ip("2001:db8::1")).unwrap();
        assert!(admit(ip("2001:db8::ffff:1")).is_none());
        let _next = admit(ip("2001:db8:0:1::1")).unwrap();
        let _unix = [admit(None).unwrap(), admit(None).unwrap()];
        drop(one);
        let _again = admit(ip("192.0.2.1")).unwrap();
        assert_eq!(entries(&capacity), 4);
    }

    #[test]
    fn nothing_is_held_for_an_address_without_connections() {
        let capacity = Capacity::within(10_000, &limits(None, Some(5)));
        let slots: Vec<_> = (0..5000_u32)
            .map(|n| {
                let mut slot = capacity.take().unwrap();
                assert!(slot.admit(Some(IpAddr::V4(n.into()))));
                slot
            })
            .collect();
        assert_eq!(entries(&capacity), 5000);
        drop(slots);
        assert_eq!(entries(&capacity), 0);
        let room: usize = capacity.addresses.shards.iter().map(|s| s.lock().unwrap().capacity()).sum();
        assert!(room <= SHARDS * 64, "{room}");
    }

    #[test]
    fn a_connection_from_before_the_limit_counts_as_soon_as_there_is_one() {
        let capacity = capacity(None, None);
        let mut before = capacity.take().unwrap();
        assert!(before.admit(ip("192.0.2.1")));
        before.count();
        assert_eq!(entries(&capacity), 0);
        capacity.set(&limits(None, Some(1)));
        before.count();
        before.count();
        assert!(!capacity.take().unwrap().admit(ip("192.0.2.1")));
        drop(before);
        assert!(capacity.take().unwrap().admit(ip("192.0.2.1")));
        assert_eq!(entries(&capacity), 0);
    }

    #[test]
    fn what_happens_again_at_once_is_counted_and_told_later() {
        let mut spoken = Spoken::default();
        assert_eq!((spoken.happened(), spoken.happened(), spoken.happened()), (Some(1), None, None));
        spoken.last = Instant::now().checked_sub(TELL_EVERY);
        assert_eq!(spoken.happened(), Some(3));
        let full = Condition::default();
        assert_eq!((full.begins(), full.begins()), (Some(true), None));
        assert_eq!((full.ends(), full.ends()), (true, false));
        assert_eq!((full.begins(), full.ends()), (Some(false), false), "within the same second");
    }
}
