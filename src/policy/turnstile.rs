//! The way into one service, for all threads: how often, how many at a time, and with which faults.
//!
//! ```text
//!   route ─▶ charge: rates ─┬─▶ enter: a place, at once or after a while ─▶ fault ─▶ upstream
//!                           └─▶ 429                └─▶ 503
//! ```
//! Promises: what is counted lives as long as the service has its name: a reload takes over those inside and waiting, the
//! fault, and the count of each rate that it does not change. A request that one rate refuses has cost nothing at the others.
//! A [`Stay`] gives its place back once. Requests of a service without limits cost nothing here.
//! Must not know: timers, clocks (times are given), what happens inside.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::adaptive::{Adaptive, Rules, Sample};
use super::bucket::{Bucket, Buckets, Reply};
use super::crowd::{self, Asked, Crowd, Shed};
use super::fault::Drill;
use super::urgency::{Urgency, urgency};
use crate::config::settings::{Concurrency, Rate, RateBy, Service, Settings};
use crate::response::Failure;
use crate::response::failure::Quota;

/// How many addresses, or values of a field, a rate remembers; a mebibyte at most.
const KEYS: usize = 65_536;
/// Where a limit that is found out begins.
const INITIAL: u32 = 20;
/// The most that is tried.
const MOST: u32 = 10_000;

/// The way into one service.
pub struct Turnstile {
    meters: Vec<Arc<Meter>>,
    /// By the ids of the routes that have some.
    routes: HashMap<String, Vec<Arc<Meter>>>,
    concurrency: Concurrency,
    inner: Arc<Inner>,
}

/// What outlives a reload.
struct Inner {
    epoch: Instant,
    crowd: Arc<Crowd>,
    adaptive: Mutex<Option<Adaptive>>,
    drill: Drill,
    notes: Notes,
}

/// One rate, counted.
struct Meter {
    rate: Rate,
    epoch: Instant,
    count: Count,
}

enum Count {
    All(Bucket),
    Each(Buckets),
}

/// Whose requests are counted together.
#[derive(Hash)]
enum Key<'a> {
    V4([u8; 4]),
    /// The first half of the address: the rest is its owner's.
    V6([u16; 4]),
    Unix,
    Value(&'a [u8]),
}

/// Whether a request is in.
#[derive(Debug)]
pub enum Entry {
    /// Nothing is limited.
    Free,
    In(Stay),
    Wait(Queued),
}

/// Ready with a place; shed when somebody more urgent came.
#[derive(Debug)]
pub struct Queued {
    waiting: crowd::Waiting,
    inner: Arc<Inner>,
}

/// A request inside. Its place is free when this is dropped.
#[derive(Debug)]
pub struct Stay {
    inner: Arc<Inner>,
    since: Option<Instant>,
}

/// What is shown of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `None`: nothing is limited.
    pub limit: Option<u32>,
    pub inside: u32,
    pub waiting: u32,
}

impl Turnstile {
    /// `before`: that of the same service in the generation before. `faults`: whether one may go on.
    pub fn new(service: &Service, before: Option<&Turnstile>, faults: bool, now: Instant) -> Arc<Turnstile> {
        let meters = |rates: &[Rate], before: Option<&Vec<Arc<Meter>>>| -> Vec<Arc<Meter>> {
            let mut left: Vec<&Arc<Meter>> = before.into_iter().flatten().collect();
            let mut meter = |rate: &Rate| {
                let same = left.iter().position(|meter| meter.rate == *rate);
                same.map_or_else(|| Meter::new(rate, now), |index| Arc::clone(left.swap_remove(index)))
            };
            rates.iter().map(&mut meter).collect()
        };
        let limited = service.routes.iter().filter(|route| !route.rates.is_empty());
        let routes = limited.map(|route| {
            let before = before.and_then(|before| before.routes.get(&route.id));
            (route.id.clone(), (before, &route.rates))
        });
        // Several routes may have one id: they were written as one.
        let routes: HashMap<_, _> = routes.collect();
        let routes = routes.into_iter().map(|(id, (before, rates))| (id, meters(rates, before)));
        let inner = before.map_or_else(|| Inner::new(now), |before| Arc::clone(&before.inner));
        inner.adjust(&service.concurrency);
        if !faults {
            inner.drill.set(None);
        }
        Arc::new(Turnstile {
            meters: meters(&service.rates, before.map(|before| &before.meters)),
            routes: routes.collect(),
            concurrency: service.concurrency.clone(),
            inner,
        })
    }

    /// Those of all services, in their order. `before`: those of the generation before.
    pub fn all(
        settings: &Settings,
        before: Option<(&Settings, &[Arc<Turnstile>])>,
        now: Instant,
    ) -> Vec<Arc<Turnstile>> {
        let known: HashMap<&str, &Turnstile> = before.map_or_else(HashMap::new, |(settings, turnstiles)| {
            let named = settings.services.iter().zip(turnstiles);
            named.map(|(service, turnstile)| (service.name.as_str(), &**turnstile)).collect()
        });
        let services = settings.services.iter();
        let before = |service: &Service| known.get(service.name.as_str()).copied();
        services.map(|service| Turnstile::new(service, before(service), settings.admin.faults, now)).collect()
    }

    /// One more request on the route of this id. `origin`: its client's address, asked for when needed.
    pub fn charge(
        &self,
        route: &str,
        headers: &HeaderMap,
        origin: impl Fn() -> Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Failure> {
        if self.meters.is_empty() && self.routes.is_empty() {
            return Ok(());
        }
        let own = self.routes.get(route).into_iter().flatten();
        let meters: Vec<&Arc<Meter>> = self.meters.iter().chain(own).collect();
        let needs_origin = |meter: &&Arc<Meter>| meter.rate.by != RateBy::All;
        let origin = if meters.iter().any(needs_origin) { origin() } else { None };
        for (index, meter) in meters.iter().enumerate() {
            let reply = meter.take(headers, origin, now);
            if !reply.allowed {
                meters[..index].iter().for_each(|meter| meter.give_back(headers, origin));
                return Err(Failure::ManyRequests(meter.quota(reply)));
            }
        }
        Ok(())
    }

    /// Asks for a place, for a request with these fields.
    pub fn enter(&self, headers: &HeaderMap, now: Instant) -> Result<Entry, Failure> {
        if !self.concurrency.is_limited() {
            return Ok(Entry::Free);
        }
        let inner = &self.inner;
        if inner.crowd.enter() {
            return Ok(Entry::In(Stay::new(inner, now)));
        }
        let urgency: Urgency = self
            .concurrency
            .priority
            .as_deref()
            .map_or(super::urgency::USUAL, |field| urgency(headers, field));
        match inner.crowd.ask(urgency, self.concurrency.queue) {
            Asked::In => Ok(Entry::In(Stay::new(inner, now))),
            Asked::Wait(waiting) => Ok(Entry::Wait(Queued { waiting, inner: Arc::clone(inner) })),
            Asked::Refused => Err(Failure::NoPlace(inner.crowd.limit())),
        }
    }

    /// How long one may wait for a place.
    pub fn queue_time(&self) -> Duration {
        self.concurrency.queue_time
    }

    pub fn drill(&self) -> &Drill {
        &self.inner.drill
    }

    /// A request was turned away. How many were since somebody was last told to say so: once a second at most.
    pub fn turned_away(&self, now: Instant) -> Option<u64> {
        self.inner.notes.one_more(now.saturating_duration_since(self.inner.epoch))
    }

    pub fn shown(&self) -> Shown {
        let crowd = &self.inner.crowd;
        match self.concurrency.is_limited() {
            true => Shown { limit: Some(crowd.limit()), inside: crowd.inside(), waiting: crowd.waiting() },
            false => Shown::default(),
        }
    }
}

impl Inner {
    fn new(now: Instant) -> Arc<Inner> {
        Arc::new(Inner {
            epoch: now,
            crowd: Crowd::new(u32::MAX),
            adaptive: Mutex::default(),
            drill: Drill::default(),
            notes: Notes::default(),
        })
    }

    /// To what the configuration says now.
    fn adjust(&self, concurrency: &Concurrency) {
        let most = concurrency.most.unwrap_or(MOST);
        let rules = Rules { least: 1, most, initial: INITIAL.min(most) };
        let mut adaptive = self.adaptive.lock().unwrap_or_else(PoisonError::into_inner);
        if !concurrency.adaptive {
            *adaptive = None;
            return self.crowd.set_limit(concurrency.most.unwrap_or(u32::MAX));
        }
        let adaptive = adaptive.get_or_insert_with(|| Adaptive::new(rules));
        adaptive.bound(rules);
        self.crowd.set_limit(adaptive.limit());
    }
}

impl Meter {
    fn new(rate: &Rate, epoch: Instant) -> Arc<Meter> {
        let count = match rate.by {
            RateBy::All => Count::All(Bucket::new(rate)),
            RateBy::Address | RateBy::Field(_) => Count::Each(Buckets::new(rate, KEYS)),
        };
        Arc::new(Meter { rate: rate.clone(), epoch, count })
    }

    fn key<'a>(&self, headers: &'a HeaderMap, origin: Option<IpAddr>) -> Key<'a> {
        if let RateBy::Field(name) = &self.rate.by
            && let Some(value) = headers.get(name)
        {
            return Key::Value(value.as_bytes());
        }
        match origin.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => Key::V4(address.octets()),
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                Key::V6([a, b, c, d])
            }
            None => Key::Unix,
        }
    }

    fn take(&self, headers: &HeaderMap, origin: Option<IpAddr>, now: Instant) -> Reply {
        // Never 0, which is no time.
        let now = now.saturating_duration_since(self.epoch).as_nanos().saturating_add(1);
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        match &self.count {
            Count::All(bucket) => bucket.take(now),
            Count::Each(buckets) => buckets.take(&self.key(headers, origin), now),
        }
    }

    fn give_back(&self, headers: &HeaderMap, origin: Option<IpAddr>) {
        match &self.count {
            Count::All(bucket) => bucket.give_back(),
            Count::Each(buckets) => buckets.give_back(&self.key(headers, origin)),
        }
    }

    fn quota(&self, reply: Reply) -> Quota {
        let Rate { count, per, by, .. } = &self.rate;
        Quota { by: by.word(), count: count.get(), per: *per, wait: reply.wait }
    }
}

impl Future for Queued {
    type Output = Result<Stay, Shed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stay, Shed>> {
        ready!(Pin::new(&mut self.waiting).poll(cx))?;
        Poll::Ready(Ok(Stay { inner: Arc::clone(&self.inner), since: None }))
    }
}

impl Stay {
    fn new(inner: &Arc<Inner>, now: Instant) -> Stay {
        Stay { inner: Arc::clone(inner), since: Some(now) }
    }

    /// It goes to the application now: waiting before was not its doing.
    pub fn begin(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// The head of its answer is there, or none will come. `lost`: to overload, as far as anybody can tell.
    pub fn answered(&mut self, now: Instant, lost: bool) {
        let Some(since) = self.since.take() else { return };
        // What another thread says at this moment is as good.
        let mut adaptive = match self.inner.adaptive.try_lock() {
            Ok(adaptive) => adaptive,
            Err(TryLockError::Poisoned(adaptive)) => adaptive.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if let Some(adaptive) = &mut *adaptive {
            let crowd = &self.inner.crowd;
            adaptive.ended(Sample {
                now: now.saturating_duration_since(self.inner.epoch),
                took: now.saturating_duration_since(since),
                lost,
                inside: crowd.inside(),
                full: crowd.was_full(),
            });
            crowd.set_limit(adaptive.limit());
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.inner.crowd.leave();
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("crowd", &self.crowd).finish_non_exhaustive()
    }
}

/// When something was last said, and how often it was not.
#[derive(Debug, Default)]
struct Notes {
    /// In seconds since an epoch, plus one.
    last: AtomicU64,
    since: AtomicU64,
}

impl Notes {
    fn one_more(&self, now: Duration) -> Option<u64> {
        self.since.fetch_add(1, Relaxed);
        let (last, now) = (self.last.load(Relaxed), now.as_secs() + 1);
        let is_first = now > last && self.last.compare_exchange(last, now, Relaxed, Relaxed).is_ok();
        is_first.then(|| self.since.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests;
