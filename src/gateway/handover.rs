//! A handover beside the decisions: the way of parcels out of this gateway, and into it.
//!
//! ```text
//!   data threads ──departures──▶ Departing ──letters──▶ mailbox        outgoing
//!        ▲                           │
//!        └──refused, or taken back───┘
//!
//!   mailbox ──letters──▶ adopt ──▶ data threads                        incoming
//! ```
//! The control loop waits for none of it: a task of its own gives parcels away, and ends when nothing is left
//! here to depart, or when everything that was not taken is back with the threads.
//!
//! Promises: a parcel is with the threads, in the task, or taken by the other side, and is dropped nowhere; what was
//! not delivered is touched by nobody before the other side is known to be gone; what comes from another
//! gateway while this one hands over goes on at once; the mailbox is closed before the keeper hears of the end.
//! Must not know: how a connection departs or is adopted, or what a letter looks like.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{io, mem};

use rustix::net::Shutdown;
use tokio::sync::mpsc::{self, UnboundedReceiver, WeakUnboundedSender};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::control::{Control, Input};
use super::drain::{self, Drain};
use super::endpoints;
use super::office::Office;
use crate::handover::control::{Destination, Moved, ToKeeper};
use crate::handover::mailbox::Mailbox;
use crate::handover::post::{Dispatch, Intake, Undelivered};
use crate::handover::record::{Parcel, Record};
use crate::lifecycle::{Event, Incoming, Phase, deadline};
use crate::listener::threads::Threads;
use crate::telemetry::event;
use crate::telemetry::ledger::Fate;

/// Parcels that are given away at a time; what departs meanwhile waits.
const BATCH: usize = 1024;

/// The handovers of a gateway: the one under way, and what earlier ones have left to do.
#[derive(Default)]
pub struct Handovers {
    /// Until it is taken back; then another one may come.
    now: Option<Handover>,
    /// Tasks that still have parcels.
    departing: usize,
    /// Asked for before the one before was taken back as a whole.
    next: Option<Asked>,
    departures: Departures,
    /// Every mailbox that was ever read here, in the order of the keeper's messages; `None`: it could not be used.
    readings: Vec<Option<Reading>>,
}

/// A mailbox that another gateway fills, or has filled.
struct Reading {
    task: AbortHandle,
    /// It takes no more than what is in it.
    ends: Rc<Notify>,
}

/// The way to the task of the handover under way, as long as a thread has it too.
type Departures = Rc<RefCell<Option<WeakUnboundedSender<Parcel>>>>;

impl Handovers {
    /// How the one under way goes.
    pub(super) fn course(&mut self) -> Option<&mut Drain> {
        self.now.as_mut().map(|handover| &mut handover.course)
    }

    /// What is still here ends here. After the threads were told.
    pub(super) fn give_no_more(&self) {
        if let Some(handover) = &self.now {
            handover.orders.send_replace(Order::Drain);
        }
    }

    /// What is in the mailboxes from the store is for the next start, and so is what still comes. Without their
    /// numbers, all of them: what fills the others drains by itself.
    pub(super) fn leave_mailboxes(&mut self, stored: Option<&[u32]>) {
        let is_left = |number: usize| stored.is_none_or(|stored| stored.contains(&(number as u32)));
        let left = self.readings.iter().enumerate().filter(|(number, _)| is_left(*number));
        // It waits for a letter, and has none half done.
        left.filter_map(|(_, reading)| reading.as_ref()).for_each(|reading| reading.task.abort());
    }

    /// There will be nobody to take what still comes: whoever fills the mailboxes is told by their end.
    pub(super) fn end_mailboxes(&self) {
        self.readings.iter().flatten().for_each(|reading| reading.ends.notify_one());
    }

    /// Until the end of the one under way, whichever it is.
    pub(super) fn left(&self) -> Duration {
        self.now.as_ref().map(|now| now.course.left() + now.leaving).unwrap_or_default()
    }

    /// Whether parcels may still come back to the threads.
    pub(super) fn are_departing(&self) -> bool {
        self.departing > 0
    }
}

/// What the keeper has said.
struct Asked {
    to: Destination,
    limit: Option<Duration>,
    mailbox: Option<OwnedFd>,
}

/// A handover under way.
struct Handover {
    course: Drain,
    /// Time for what has to end here, after that for what can move.
    leaving: Duration,
    /// Until the threads are told.
    begins: Option<(Mailbox, OwnedFd, Destination)>,
    orders: watch::Sender<Order>,
    moved: Rc<RefCell<Moved>>,
    /// The files have changed, and nobody has looked at them.
    missed_change: bool,
}

/// What becomes of parcels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Send,
    /// Back to the threads, which serve on: nobody is there to take them.
    TakeBack,
    /// Back to the threads, which end them.
    Drain,
}

impl Control {
    pub(super) fn hand_over_asked(&mut self, to: Destination, limit: Option<Duration>, fds: Vec<OwnedFd>) {
        let asked = Asked { to, limit, mailbox: fds.into_iter().next() };
        match self.handovers.departing {
            0 => self.begin_handover(asked),
            _ => self.handovers.next = Some(asked),
        }
    }

    fn begin_handover(&mut self, Asked { to, limit, mailbox }: Asked) {
        if !matches!(*self.office.phase.borrow(), Phase::Serving { .. } | Phase::Reloading { .. }) {
            let word = self.office.phase.borrow().word();
            return tracing::warn!("cannot hand over while {word}, going on");
        }
        let opened = usable(mailbox).and_then(|mailbox| Ok((mailbox.try_clone()?, Mailbox::new(mailbox)?)));
        let (copy, mailbox) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!("cannot hand over: cannot use the mailbox: {error}, serving on");
                return self.outbox.send(ToKeeper::TookBack);
            }
        };
        let totals = self.threads.totals();
        // A restart waits for this one; nobody waits for a gateway that another one has taken over from.
        let seen = (to == Destination::Store).then(|| drain::seen(&totals));
        let (moving, leaving) = deadline::handover(&self.drain_settings(), seen, limit);
        self.handovers.now = Some(Handover {
            course: Drain::begin(moving, limit, totals).of_a_handover(),
            leaving,
            begins: Some((mailbox, copy, to)),
            orders: watch::Sender::new(Order::Send),
            moved: Rc::default(),
            missed_change: false,
        });
        let to = match to {
            Destination::Gateway => Incoming::Here,
            Destination::Store => Incoming::Later,
        };
        self.step(Event::HandOverRequested { to });
    }

    pub(super) fn announce_handing_over(&mut self) {
        let Some(handover) = &self.handovers.now else { return };
        let progress = handover.course.progress();
        tracing::info!(
            message_id = event::HANDING_OVER,
            requests = progress.requests,
            tunnels = progress.tunnels,
            connections = progress.connections,
            "{}",
            progress.line()
        );
        self.outbox.send(ToKeeper::Progress(progress));
        self.arm_progress();
    }

    pub(super) fn hand_over(&mut self) {
        self.shut_doors();
        let Some(handover) = &mut self.handovers.now else { return };
        let Some((mailbox, socket, to)) = handover.begins.take() else { return };
        let (departure, departures) = mpsc::unbounded_channel();
        self.threads.hand_over(&departure);
        self.handovers.departures.replace(Some(departure.downgrade()));
        let departing = Departing {
            dispatch: Dispatch::new(mailbox, to),
            socket,
            to,
            departures,
            threads: Rc::clone(&self.threads),
            office: Rc::clone(&self.office),
            orders: handover.orders.subscribe(),
            queue: self.queue.clone(),
            moved: Rc::clone(&handover.moved),
            kept: vec![],
            undeliverable: false,
        };
        self.handovers.departing += 1;
        self.then(async move {
            departing.run().await;
            Input::Departed
        });
    }

    /// What the incoming gateway had taken has gone with it.
    pub(super) fn take_back_asked(&mut self) {
        if self.handovers.next.take().is_some() {
            return self.outbox.send(ToKeeper::TookBack);
        }
        match &*self.office.phase.borrow() {
            Phase::HandingOver(handing_over) if handing_over.to == Incoming::Here => {}
            phase => return tracing::warn!("cannot take a handover back while {}, going on", phase.word()),
        }
        let broken = matches!(&*self.office.phase.borrow(), Phase::HandingOver(now) if now.broken);
        if broken {
            self.drain_of_the_others_begins();
        }
        self.step(Event::TakeBackRequested);
        // Also when it does not serve on, nothing was handed over.
        self.handovers.now = None;
    }

    pub(super) fn take_back(&mut self) {
        let Some(handover) = self.handovers.now.take() else { return };
        self.threads.take_back();
        handover.orders.send_replace(Order::TakeBack);
        self.open_doors();
        self.disarm_progress();
        let heeds_changes = self.office.blueprint.borrow().settings.daemon.reload_on_change;
        if handover.missed_change && heeds_changes {
            self.tell(Input::FilesChanged);
        }
    }

    /// Whether the change must be looked at later, if this gateway serves on.
    pub(super) fn misses_change(&mut self) -> bool {
        let handing_over = matches!(*self.office.phase.borrow(), Phase::HandingOver(_));
        if let Some(handover) = self.handovers.now.as_mut().filter(|_| handing_over) {
            handover.missed_change = true;
        }
        handing_over
    }

    pub(super) fn departed(&mut self) {
        self.handovers.departing -= 1;
        if self.handovers.departing > 0 {
            return;
        }
        let phase = self.office.phase.borrow().clone();
        match phase {
            Phase::HandingOver(_) => self.step(Event::Idle),
            Phase::Draining { .. } => self.await_idle(),
            _ => {
                tracing::info!(message_id = event::TAKEN_BACK, "took a handover back: serving as before");
                self.outbox.send(ToKeeper::TookBack);
                if let Some(asked) = self.handovers.next.take() {
                    self.begin_handover(asked);
                }
            }
        }
    }

    /// The drain that a handover ends as when its time is over.
    pub(super) fn handover_overdue(&mut self) {
        let Some(handover) = &self.handovers.now else { return };
        let leaving = handover.leaving;
        self.drain_begins(leaving, None);
    }

    pub(super) fn mailbox_full(&mut self) {
        if let Some(handover) = &self.handovers.now {
            let left = handover.course.left() + handover.leaving;
            if self.drain.is_none() {
                self.drain_begins(left, None);
            }
            self.step(Event::MailboxFull);
        }
    }

    /// At the end of one that was not taken back.
    pub(super) fn announce_handed_over(&mut self) {
        let Some(handover) = &self.handovers.now else { return };
        let took = handover.course.took();
        let moved = Moved { took, ..handover.moved.borrow().clone() };
        tracing::info!(
            message_id = event::HANDED_OVER,
            connections = moved.connections,
            tunnels = moved.tunnels,
            refused = moved.refused,
            duration_ms = took.as_millis() as u64,
            "handed over: {}",
            moved.line()
        );
        handover.course.account(&self.threads.totals()).announce("handover");
        self.outbox.send(ToKeeper::HandedOver(moved));
    }

    pub(super) fn adopt_asked(&mut self, fds: Vec<OwnedFd>) {
        let mailbox = match usable(fds.into_iter().next()).and_then(Mailbox::new) {
            Ok(mailbox) => mailbox,
            Err(error) => {
                tracing::error!("cannot adopt connections: cannot use the mailbox: {error}");
                self.handovers.readings.push(None);
                return self.outbox.send(ToKeeper::Adopted(Moved::default()));
            }
        };
        let (threads, office) = (Rc::clone(&self.threads), Rc::clone(&self.office));
        let (arriving, departures) = (self.threads.arriving(), Rc::clone(&self.handovers.departures));
        let ends = Rc::new(Notify::new());
        let end = Rc::clone(&ends);
        let task = self.then(async move {
            let moved = adopt(Intake::new(mailbox), &end, &threads, &office, &departures).await;
            drop(arriving);
            Input::Adopted(moved)
        });
        self.handovers.readings.push(Some(Reading { task, ends }));
    }

    pub(super) fn adopted(&mut self, moved: Moved) {
        tracing::info!(
            message_id = event::ADOPTED,
            connections = moved.connections,
            tunnels = moved.tunnels,
            refused = moved.refused,
            duration_ms = moved.took.as_millis() as u64,
            "adopted what another gateway had: {}",
            moved.line()
        );
        self.outbox.send(ToKeeper::Adopted(moved));
    }
}

fn usable(mailbox: Option<OwnedFd>) -> io::Result<OwnedFd> {
    mailbox.ok_or_else(|| io::Error::other("none came with the message"))
}

/// Serves everything that comes out of the mailbox, or passes it on, until its other end is closed.
async fn adopt(
    mut intake: Intake,
    end: &Notify,
    threads: &Threads,
    office: &Office,
    departures: &Departures,
) -> Moved {
    let began = Instant::now();
    let mut moved = Moved::default();
    loop {
        let next = tokio::select! {
            biased;
            () = end.notified() => {
                intake.end();
                continue;
            }
            next = intake.next() => next,
        };
        match next {
            Ok(Some(parcels)) => {
                for parcel in parcels {
                    count(&mut moved, &parcel.record);
                    if let Record::Ledger(ledger) = parcel.record {
                        office.inherit(*ledger);
                        continue;
                    }
                    if let Record::Health(health) = &parcel.record {
                        endpoints::adopt(&office.blueprint.borrow().lineups, health);
                    }
                    let health = matches!(parcel.record, Record::Health(_));
                    let tickets = match &parcel.record {
                        Record::Tickets(tickets) => Some(tickets.clone()),
                        _ => None,
                    };
                    let departures = departures.borrow().as_ref().and_then(WeakUnboundedSender::upgrade);
                    let to_serve = match departures {
                        Some(departures) => departures.send(parcel).map_err(|error| error.0).err(),
                        None => Some(parcel),
                    };
                    if let Some(tickets) = tickets {
                        office.tickets.adopt(*tickets);
                        continue;
                    }
                    if health {
                        continue;
                    }
                    if to_serve.is_some_and(|parcel| threads.adopt(parcel).is_err()) {
                        tracing::error!(
                            "cannot serve a connection that another gateway had: no data thread is left"
                        );
                    }
                }
            }
            Ok(None) => break,
            Err(error) => {
                tracing::warn!("cannot adopt a part of what another gateway had: {error}");
                if error.is_final() {
                    break;
                }
            }
        }
    }
    Moved { refused: intake.refused(), took: began.elapsed(), ..moved }
}

/// The task that gives parcels away.
struct Departing {
    dispatch: Dispatch,
    /// The same as the dispatch's.
    socket: OwnedFd,
    to: Destination,
    departures: UnboundedReceiver<Parcel>,
    threads: Rc<Threads>,
    office: Rc<Office>,
    orders: watch::Receiver<Order>,
    queue: mpsc::UnboundedSender<Input>,
    moved: Rc<RefCell<Moved>>,
    /// Not delivered, and not to be touched before the threads serve or drain.
    kept: Vec<Parcel>,
    /// The mailbox takes no more.
    undeliverable: bool,
}

impl Departing {
    async fn run(mut self) {
        self.first_word().await;
        loop {
            let mut batch = Vec::new();
            let order = *self.orders.borrow_and_update();
            if order != Order::Send {
                self.give_back(order);
            }
            let sending = order == Order::Send && self.kept.is_empty();
            tokio::select! {
                biased;
                count = self.departures.recv_many(&mut batch, BATCH) => match count {
                    // Every thread has heard that nothing departs any more, or has died.
                    0 => break,
                    _ => self.take(batch).await,
                },
                // INVARIANT: the sender lives as long as the control loop, and longer than this task.
                Ok(()) = self.orders.changed() => {}
                () = self.threads.finished(), if sending => {
                    // Whatever has departed did so before its thread was empty.
                    match self.departures.try_recv() {
                        Ok(parcel) => self.take(vec![parcel]).await,
                        Err(_) => break,
                    }
                }
            }
        }
        let order = *self.orders.borrow();
        self.give_back(order);
        if order != Order::TakeBack && !self.undeliverable {
            // What is drained now may outlast the mailbox.
            let fate = if order == Order::Send { Fate::Ended } else { Fate::Lost };
            self.last_word(fate).await;
        }
    }

    /// How endpoints are, and what clients resume their sessions with: they come back to whoever accepts.
    async fn first_word(&mut self) {
        let tickets = self.office.tickets.record();
        let health = endpoints::record(&self.office.blueprint.borrow().lineups);
        let mut words = vec![];
        if !health.endpoints.is_empty() {
            words.push(Record::Health(Box::new(health)));
        }
        if !tickets.keys.is_empty() {
            words.push(Record::Tickets(Box::new(tickets)));
        }
        if words.is_empty() || *self.orders.borrow() != Order::Send {
            return;
        }
        let parcels = words.into_iter().map(|record| Parcel { record, fds: vec![] }).collect();
        // A gateway from before there were tickets refuses them, and its clients make whole handshakes; one from
        // before there was health asks by itself.
        if let Err(Undelivered { error, .. }) = self.send(parcels).await {
            self.undeliverable = true;
            self.tell(&error);
        }
    }

    /// What became of everything, as far as it is known.
    async fn last_word(&mut self, fate: Fate) {
        let ledger = Record::Ledger(Box::new(self.office.close_ledger(fate)));
        let sent = self.send(vec![Parcel { record: ledger, fds: vec![] }]).await;
        if !sent.is_ok_and(|refused| refused.is_empty()) {
            // A gateway from before there were ledgers, or one that is gone.
            tracing::warn!("the ledger of this gateway was not taken, and ends with it");
        }
    }

    async fn take(&mut self, batch: Vec<Parcel>) {
        if self.undeliverable || *self.orders.borrow() != Order::Send {
            self.kept.extend(batch);
            return;
        }
        let all = tally(&batch);
        let sent = self.send(batch).await;
        let back = tally(match &sent {
            Ok(refused) => refused,
            Err(undelivered) => &undelivered.parcels,
        });
        {
            let mut moved = self.moved.borrow_mut();
            moved.connections += all.connections - back.connections;
            moved.tunnels += all.tunnels - back.tunnels;
        }
        match sent {
            Ok(refused) => self.finish(refused),
            Err(Undelivered { error, parcels }) => {
                self.kept = parcels;
                self.undeliverable = true;
                self.tell(&error);
            }
        }
    }

    /// Nobody there knows how to serve them, so they end here: what comes back to a thread that hands over does
    /// not depart again.
    fn finish(&mut self, refused: Vec<Parcel>) {
        self.moved.borrow_mut().refused += refused.len() as u64;
        for parcel in refused {
            let _ = self.threads.adopt(parcel);
        }
    }

    /// A dispatch must not be cancelled. When this is taken back, it waits for nobody: what had been answered by
    /// then counts, everything else comes back.
    async fn send(&mut self, batch: Vec<Parcel>) -> Result<Vec<Parcel>, Undelivered> {
        let mut sending = std::pin::pin!(self.dispatch.send(batch));
        tokio::select! {
            biased;
            sent = &mut sending => return sent,
            Ok(_) = self.orders.wait_for(|order| *order == Order::TakeBack) => {}
        }
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        sending.await
    }

    fn tell(&self, error: &crate::handover::post::Error) {
        let left = self.kept.len();
        match self.to {
            // The keeper knows whether somebody is there.
            Destination::Gateway => {
                tracing::warn!("cannot hand over {left} connections: {error}, keeping them");
            }
            Destination::Store => {
                tracing::warn!(
                    "cannot keep more connections for the next start: {error}, draining what is left"
                );
                let _ = self.queue.send(Input::MailboxFull);
            }
        }
    }

    /// The threads serve, or drain, and take back what was theirs.
    fn give_back(&mut self, order: Order) {
        let kept = mem::take(&mut self.kept);
        if order == Order::Drain {
            self.moved.borrow_mut().refused += kept.len() as u64;
        }
        for parcel in kept {
            // A thread that is left takes it; without one nothing is served any more.
            let _ = self.threads.adopt(parcel);
        }
    }
}

fn tally(parcels: &[Parcel]) -> Moved {
    let mut moved = Moved::default();
    parcels.iter().for_each(|parcel| count(&mut moved, &parcel.record));
    moved
}

fn count(moved: &mut Moved, record: &Record) {
    match record {
        Record::Connection(_) => moved.connections += 1,
        Record::Tunnel(_) => moved.tunnels += 1,
        // Not ours, and never adopted.
        Record::Ledger(_) | Record::Tickets(_) | Record::Health(_) | Record::Unknown => {}
    }
}
