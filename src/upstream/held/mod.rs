//! Requests that wait for their application: the gate of a service, and the queue behind it.
//!
//! ```text
//!            closed: operator, drain, unit, away, endpoints
//!   request ─▶ gate ─────────────▶ queue ──age──▶ held-too-long
//!                │ open, nobody      │  └─another generation─▶ routed again
//!                ▼ waits             ▼ open: in waves
//!            an endpoint ◀───────── turn ──refused again─▶ back, by its ticket
//! ```
//! Promises: one for each service, for all threads; who finds the gate open and nobody waiting pays one relaxed load. First
//! come, first served over all threads, in waves that follow the answers (see [`wave`]). Whoever goes away leaves the queue
//! at once. Nothing here waits by a timer but for an age, a rate, or an answer that does not come.
//! Must not know: endpoints, units, HTTP.

pub mod prober;
mod queue;
mod wave;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::config::settings::Hold;
use crate::response::Failure;
use queue::{Full, Queue, Waiting};
use wave::Wave;

/// Why a gate is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `hitless hold`.
    Operator,
    /// `hitless drain`.
    Drain,
    /// Its unit stops, starts, or is stopped.
    Unit,
    /// No endpoint takes a connection.
    Away,
    /// Every endpoint is known to be of no use at the moment.
    Endpoints,
}

const REASONS: [Reason; 5] = [Reason::Operator, Reason::Drain, Reason::Unit, Reason::Away, Reason::Endpoints];

impl Reason {
    const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// The word for it in `hitless status`.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Operator => "held by the operator",
            Reason::Drain => "draining",
            Reason::Unit => "the unit is not running",
            Reason::Away => "no endpoint takes a connection",
            Reason::Endpoints => "no endpoint is healthy",
        }
    }
}

/// Somebody waits.
const QUEUED: u32 = 1 << 16;
/// It was away for longer than anybody waits: who is refused is not held, until somebody is not refused.
const TIRED: u32 = 1 << 17;
/// Of these nobody waits where nothing is held.
const BY_HAND: u32 = Reason::Operator.bit() | Reason::Drain.bit();

/// The gate of a service and the queue behind it.
#[derive(Default)]
pub struct Held {
    /// Why it is closed, and whether somebody waits; what `inside` says, to be read without its lock.
    gate: AtomicU32,
    /// What is known of the endpoints has changed so many times.
    epoch: AtomicU64,
    inside: Mutex<Inside>,
    /// Somebody begins to wait.
    came: Notify,
}

#[derive(Default)]
struct Inside {
    hold: Hold,
    reasons: u32,
    /// Since when no endpoint takes connections.
    away: Option<Instant>,
    /// Since when the unit has been stopped, with nobody starting it.
    stopped: Option<Instant>,
    probing: bool,
    queue: Queue<Option<Waker>>,
    /// Who need not wait any more and does not know it yet.
    told: BTreeMap<u64, Told>,
    wave: Wave,
    /// Those who were let go and have their place in the wave, since when.
    out: BTreeMap<u64, Instant>,
    turns: u64,
    /// Who looks at the clock for all.
    timekeeper: Option<u64>,
    /// When the rate lets the next one go.
    pace: Option<Instant>,
    totals: Totals,
}

/// What became of those who waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub held: u64,
    pub released: u64,
    /// Longer than they may, or one too many.
    pub shed: u64,
}

/// How it stands at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    pub now: usize,
    pub bytes: u64,
    pub oldest: Option<Duration>,
    pub reasons: Vec<Reason>,
    pub totals: Totals,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Go,
    Reroute,
}

/// The waiting of one request, over all its attempts.
#[derive(Debug, Default)]
pub struct Stay {
    since: Option<Instant>,
    ticket: Option<u64>,
}

/// Why a request waits no more, without having been let go.
#[derive(Debug, PartialEq)]
pub enum Out {
    Failed(Failure),
    /// The configuration is another one: it is to be looked at by that.
    Reroute,
}

impl Held {
    /// As the configuration says from now on.
    pub fn configure(&self, hold: Hold) {
        self.change(|inside| {
            inside.hold = hold;
        });
    }

    /// Whether a request may go on without a look at the queue.
    pub fn is_open(&self) -> bool {
        self.gate.load(Ordering::Relaxed) & !TIRED == 0
    }

    pub fn close(&self, reason: Reason) {
        self.change(|inside| inside.reasons |= reason.bit());
    }

    /// What was closed for a reason is open again, unless there is another one.
    pub fn open(&self, reason: Reason) {
        self.change(|inside| {
            if inside.reasons & reason.bit() != 0 {
                inside.reasons &= !reason.bit();
                inside.wave.begin();
            }
        });
    }

    /// Why it is closed, the first of several.
    pub fn reason(&self) -> Option<Reason> {
        let gate = self.gate.load(Ordering::Relaxed);
        REASONS.into_iter().find(|reason| gate & reason.bit() != 0)
    }

    pub fn is_closed_for(&self, reason: Reason) -> bool {
        self.gate.load(Ordering::Relaxed) & reason.bit() != 0
    }

    /// The unit is stopped and nobody starts it, or that is over.
    pub fn stopped(&self, stopped: bool) {
        self.change(|inside| {
            inside.stopped = stopped.then(|| inside.stopped.unwrap_or_else(Instant::now));
        });
    }

    /// How many times [`Held::stir`] was called: what is found out after this is not older.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Something is known of an endpoint that may let a request go to it.
    pub fn stir(&self) {
        self.change(|inside| {
            self.epoch.fetch_add(1, Ordering::Release);
            inside.reasons &= !Reason::Endpoints.bit();
        });
    }

    /// No endpoint was of use, as far as was known at `epoch`. False where nothing is held; otherwise it waits, or
    /// something else is known by now.
    pub fn none_of_use(&self, epoch: u64) -> bool {
        self.change(|inside| {
            if self.epoch() == epoch && inside.hold.age.is_some() {
                inside.reasons |= Reason::Endpoints.bit();
            }
            inside.hold.age.is_some()
        })
    }

    /// No endpoint takes a connection. `Some(true)`: whoever asks is to look for the moment when one does
    /// ([`prober`]); `None`: nothing is held for that.
    pub fn away(&self) -> Option<bool> {
        self.change(|inside| {
            let age = inside.hold.age.filter(|_| inside.hold.on_connect)?;
            let since = *inside.away.get_or_insert_with(Instant::now);
            if since.elapsed() >= age {
                return None;
            }
            inside.reasons |= Reason::Away.bit();
            Some(!std::mem::replace(&mut inside.probing, true))
        })
    }

    /// An endpoint has taken a connection, after none did.
    pub fn back(&self) {
        self.change(|inside| {
            inside.away = None;
            inside.probing = false;
            inside.reasons &= !Reason::Away.bit();
            inside.wave.begin();
        });
    }

    /// Whether none has taken one as far as is known; to be told by [`Held::back`] when one does.
    pub fn is_tired(&self) -> bool {
        self.gate.load(Ordering::Relaxed) & TIRED != 0
    }

    /// Nobody looks for it any more. Those who come try by themselves.
    fn give_up_probing(&self) {
        self.change(|inside| {
            inside.probing = false;
            inside.reasons &= !Reason::Away.bit();
        });
    }

    /// All who wait are to be routed again.
    pub fn reroute(&self) {
        let mut inside = self.inside();
        let mut wakers = vec![];
        for (ticket, waiting) in inside.queue.take() {
            inside.told.insert(ticket, Told::Reroute);
            wakers.extend(waiting.what);
        }
        inside.timekeeper = None;
        self.publish(&inside);
        drop(inside);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Resolves when somebody has begun to wait.
    pub async fn somebody(&self) {
        self.came.notified().await;
    }

    pub fn survey(&self) -> Survey {
        let inside = self.inside();
        Survey {
            now: inside.queue.len(),
            bytes: inside.queue.bytes(),
            oldest: inside.queue.oldest().map(|since| since.elapsed()),
            reasons: REASONS.into_iter().filter(|reason| inside.reasons & reason.bit() != 0).collect(),
            totals: inside.totals,
        }
    }

    /// Waits as long as it must; a turn when it had to. `bytes`: of content that is kept meanwhile.
    pub async fn pass(self: &Arc<Held>, stay: &mut Stay, bytes: u64) -> Result<Option<Turn>, Out> {
        if self.is_open() {
            return Ok(None);
        }
        let Some(wait) = self.join(stay, bytes).map_err(Out::Failed)? else { return Ok(None) };
        wait.await.map(Some)
    }

    fn join(self: &Arc<Held>, stay: &mut Stay, bytes: u64) -> Result<Option<Wait>, Failure> {
        let now = Instant::now();
        let since = *stay.since.get_or_insert(now);
        let joined = self.change(|inside| {
            let Some(age) = inside.hold.age else {
                // Nothing is held; who is kept away by hand is told so at once.
                let shut = inside.reasons & BY_HAND != 0;
                inside.totals.shed += u64::from(shut);
                return if shut { Err(Failure::HeldTooLong(Duration::ZERO)) } else { Ok(None) };
            };
            let over = inside.stopped.is_some_and(|stopped| now >= stopped + age) && inside.is_shut();
            if over || now >= since + age {
                inside.totals.shed += 1;
                return Err(Failure::HeldTooLong(age));
            }
            let first_time = stay.ticket.is_none();
            let waiting = Waiting { since, bytes, what: None };
            let hold = inside.hold;
            match inside.queue.join(stay.ticket, waiting, &hold) {
                Ok(ticket) => {
                    inside.totals.held += u64::from(first_time);
                    Ok(Some((ticket, since + age, age)))
                }
                Err(Full(limit)) => {
                    inside.totals.shed += 1;
                    Err(Failure::HoldFull(limit))
                }
            }
        })?;
        let Some((ticket, until, age)) = joined else { return Ok(None) };
        stay.ticket = Some(ticket);
        self.came.notify_one();
        // Nothing is registered before it is polled.
        let timer = Box::pin(tokio::time::sleep_until(until.into()));
        Ok(Some(Wait { held: Arc::clone(self), ticket, until, age, timer, over: false }))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, inside: &Inside) {
        let queued = if inside.queue.is_empty() { 0 } else { QUEUED };
        let tired = if inside.away.is_some() { TIRED } else { 0 };
        // Before a look at what is in flight, see `board::Row::enter`.
        self.gate.store(inside.reasons | queued | tired, Ordering::SeqCst);
    }

    /// Changes something, and lets go whoever may go then.
    fn change<T>(&self, change: impl FnOnce(&mut Inside) -> T) -> T {
        let mut inside = self.inside();
        let result = change(&mut inside);
        let wakers = inside.flow(Instant::now());
        self.publish(&inside);
        drop(inside);
        wakers.into_iter().for_each(Waker::wake);
        result
    }
}

impl Inside {
    fn is_shut(&self) -> bool {
        self.reasons != 0
    }

    /// Lets go whoever may go; who is to be woken.
    fn flow(&mut self, now: Instant) -> Vec<Waker> {
        let mut wakers = vec![];
        self.pace = None;
        while !self.is_shut()
            && let Some(ticket) = self.queue.first()
        {
            match self.wave.may(now, self.hold.rate) {
                Ok(()) => {}
                Err(until) => {
                    self.pace = until;
                    break;
                }
            }
            self.wave.let_go();
            let gone = self.queue.leave(ticket);
            self.told.insert(ticket, Told::Go);
            wakers.extend(gone.and_then(|gone| gone.what));
        }
        if self.timekeeper != self.queue.first() {
            self.timekeeper = self.queue.first();
            let keeper = self.timekeeper.and_then(|ticket| self.queue.at(ticket));
            wakers.extend(keeper.and_then(|keeper| keeper.what.take()));
        }
        wakers
    }

    /// Those who have been out for long give their place to others.
    fn expire(&mut self, now: Instant) {
        while let Some(entry) = self.out.first_entry()
            && now >= *entry.get() + self.wave.patience()
        {
            entry.remove();
            self.wave.gave_up_waiting();
        }
    }

    /// When the timekeeper has to look again.
    fn due(&self) -> Option<Instant> {
        if self.is_shut() {
            return None;
        }
        let slow = self.out.first_key_value().map(|(_, since)| *since + self.wave.patience());
        [self.pace, slow].into_iter().flatten().min()
    }
}

/// One who waits.
struct Wait {
    held: Arc<Held>,
    ticket: u64,
    until: Instant,
    age: Duration,
    timer: Pin<Box<Sleep>>,
    over: bool,
}

impl Future for Wait {
    type Output = Result<Turn, Out>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let held = Arc::clone(&self.held);
        loop {
            let mut inside = held.inside();
            match inside.told.remove(&self.ticket) {
                Some(Told::Go) => {
                    self.over = true;
                    let since = Instant::now();
                    inside.turns += 1;
                    inside.totals.released += 1;
                    let number = inside.turns;
                    inside.out.insert(number, since);
                    drop(inside);
                    return Poll::Ready(Ok(Turn { held, number, since, over: false }));
                }
                Some(Told::Reroute) => {
                    self.over = true;
                    return Poll::Ready(Err(Out::Reroute));
                }
                None => {}
            }
            let now = Instant::now();
            if now >= self.until {
                inside.totals.shed += 1;
                drop(inside);
                return Poll::Ready(Err(Out::Failed(Failure::HeldTooLong(self.age))));
            }
            let due = match inside.timekeeper == Some(self.ticket) {
                true => inside.due().map_or(self.until, |due| due.min(self.until)),
                false => self.until,
            };
            if let Some(waiting) = inside.queue.at(self.ticket) {
                match &mut waiting.what {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
            }
            drop(inside);
            if self.timer.deadline() != due.into() {
                self.timer.as_mut().reset(due.into());
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            held.change(|inside| inside.expire(Instant::now()));
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.held.change(|inside| {
            inside.queue.leave(self.ticket);
            if inside.told.remove(&self.ticket) == Some(Told::Go) {
                inside.wave.lost();
            }
        });
    }
}

/// The turn of one that has waited. Dropped without an answer, it makes room for the next one.
#[must_use]
pub struct Turn {
    held: Arc<Held>,
    number: u64,
    since: Instant,
    over: bool,
}

impl Turn {
    /// The head of an answer has come.
    pub fn answered(mut self) {
        self.over = true;
        let took = self.since.elapsed();
        self.held.change(|inside| {
            if inside.out.remove(&self.number).is_some() {
                inside.wave.answered(took);
            }
        });
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.held.change(|inside| {
            if inside.out.remove(&self.number).is_some() {
                inside.wave.lost();
            }
        });
    }
}

#[cfg(test)]
mod tests;
