//! What the data threads know of one another, and the gateway of them.
//!
//! Promises: a load counts a connection from the moment at which a thread is chosen for it until
//! it is gone, so none is ever between two threads; a thread that has died is known as dead.
//! Must not know: what a connection is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{Notify, oneshot};

use super::capacity::Capacity;
use crate::connection::{Accepted, Blueprint, DrainOrder, Places};
use crate::handover::record::Parcel;
use crate::telemetry::counters::Counters;

/// What a data thread is told.
pub(super) enum Command {
    /// A connection that another thread has accepted.
    Serve(Accepted),
    /// One that no thread has.
    Admit(Accepted),
    Install(Arc<Blueprint>, oneshot::Sender<()>),
    Beat(u64),
    /// A connection that another gateway had.
    Adopt(Parcel),
    /// Accepts nothing any more; whoever can move departs.
    HandOver(UnboundedSender<Parcel>),
    /// Accepts again; whoever has not departed stays.
    TakeBack,
    Drain(DrainOrder),
    /// Closes its copies of the listening sockets; after one that stops accepting.
    LetGo(oneshot::Sender<()>),
    Cut,
    Stop,
    /// Something to do on the thread.
    #[cfg(test)]
    Run(Box<dyn FnOnce(&crate::connection::local::Local) + Send>),
}

/// One data thread, as others see it.
pub(super) struct Member {
    pub(super) commands: UnboundedSender<Command>,
    pub(super) counters: Arc<Counters>,
    load: AtomicUsize,
    beaten: AtomicU64,
    draining: AtomicBool,
    dead: AtomicBool,
}

/// All data threads.
pub(super) struct Crew {
    pub(super) members: Vec<Member>,
    pub(super) capacity: Arc<Capacity>,
    /// Who may still bring connections, beside the threads themselves.
    arriving: AtomicIsize,
    /// The tunnels of all threads.
    pub(super) places: Arc<Places>,
    /// A load fell, or a thread began to drain or died, while somebody may wait for the end.
    pub(super) changed: Notify,
}

/// A thread is left alone unless another one has this many connections fewer.
const IMBALANCE: usize = 2;

impl Member {
    pub(super) fn new(commands: UnboundedSender<Command>) -> Member {
        Member {
            commands,
            counters: Counters::new(),
            load: AtomicUsize::new(0),
            beaten: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            dead: AtomicBool::new(false),
        }
    }

    /// A thread that has gone cannot be told anything, and does not have to be.
    pub(super) fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// A dead thread is not asked any more: its death is told otherwise ([`Crew::one_died`]).
    pub(super) fn has_beaten(&self, beat: u64) -> bool {
        self.beaten.load(Ordering::Acquire) >= beat || self.is_dead()
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    pub(super) fn beat(&self, beat: u64) {
        self.beaten.store(beat, Ordering::Release);
    }

    /// `None`: it can serve nothing.
    fn seen_load(&self) -> Option<usize> {
        (!self.dead.load(Ordering::Relaxed)).then(|| self.load.load(Ordering::Relaxed))
    }

    fn is_over(&self) -> bool {
        let empty = self.draining.load(Ordering::SeqCst) && self.load.load(Ordering::SeqCst) == 0;
        empty || self.dead.load(Ordering::SeqCst)
    }
}

impl Crew {
    /// The thread for a connection that `own` has accepted; it counts there from now on.
    pub(super) fn place(&self, own: usize) -> usize {
        let chosen = choose(own, self.members.iter().map(Member::seen_load));
        self.joined(chosen);
        chosen
    }

    /// A connection counts at `index` from now on.
    pub(super) fn joined(&self, index: usize) {
        self.members[index].load.fetch_add(1, Ordering::SeqCst);
    }

    /// A connection counted at `index` has gone, or could not be handed over.
    pub(super) fn left(&self, index: usize) {
        let member = &self.members[index];
        let before = member.load.fetch_sub(1, Ordering::SeqCst);
        if before == 1 && member.draining.load(Ordering::SeqCst) {
            self.changed.notify_waiters();
        }
    }

    /// This thread accepts again.
    pub(super) fn serves_on(&self, index: usize) {
        self.members[index].draining.store(false, Ordering::SeqCst);
    }

    /// This thread accepts nothing any more.
    pub(super) fn drains(&self, index: usize) {
        self.members[index].draining.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(super) fn died(&self, index: usize) {
        self.members[index].dead.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Whether no thread has or will have a connection.
    pub(super) fn is_over(&self) -> bool {
        self.arriving.load(Ordering::SeqCst) == 0 && self.members.iter().all(Member::is_over)
    }

    pub(super) fn arriving(&self, change: isize) {
        self.arriving.fetch_add(change, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(super) fn least_loaded(&self) -> Option<usize> {
        let loads =
            self.members.iter().enumerate().filter_map(|(index, member)| Some((member.seen_load()?, index)));
        loads.min().map(|(_, index)| index)
    }

    /// A connection of another gateway, for the thread with the fewest; it comes back when there is none.
    pub(super) fn adopt(&self, mut parcel: Parcel) -> Result<(), Box<Parcel>> {
        while let Some(index) = self.least_loaded() {
            self.joined(index);
            match self.members[index].commands.send(Command::Adopt(parcel)) {
                Err(SendError(Command::Adopt(back))) => parcel = back,
                _ => return Ok(()),
            }
            // It is dying just now, and about to say so.
            self.left(index);
            self.died(index);
        }
        Err(Box::new(parcel))
    }

    /// Resolves when `holds`, which is asked again after each change.
    pub(super) async fn until(&self, holds: impl Fn(&Crew) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }

    /// Whether a thread has died before it was told to stop.
    pub(super) fn one_died(&self) -> bool {
        self.members.iter().any(Member::is_dead)
    }
}

impl Crew {
    pub(super) fn of(members: Vec<Member>, capacity: Arc<Capacity>) -> Arc<Crew> {
        Arc::new(Crew {
            members,
            capacity,
            arriving: AtomicIsize::new(0),
            places: Arc::default(),
            changed: Notify::new(),
        })
    }
}

/// The least loaded one when `own` has clearly more, otherwise `own`.
fn choose(own: usize, loads: impl Iterator<Item = Option<usize>>) -> usize {
    let mut own_load = usize::MAX;
    let mut least = (usize::MAX, own);
    for (index, load) in loads.enumerate() {
        let Some(load) = load else { continue };
        if index == own {
            own_load = load;
        }
        if load < least.0 {
            least = (load, index);
        }
    }
    if own_load > least.0.saturating_add(IMBALANCE) { least.1 } else { own }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::config::settings::Limits;
    use crate::handover::record::{Connection, Record};

    fn chosen(own: usize, loads: &[Option<usize>]) -> usize {
        choose(own, loads.iter().copied())
    }

    #[test]
    fn a_connection_stays_where_it_was_accepted_unless_another_thread_is_clearly_less_loaded() {
        assert_eq!(chosen(0, &[Some(2), Some(0)]), 0);
        assert_eq!(chosen(0, &[Some(3), Some(0)]), 1);
        assert_eq!(chosen(1, &[Some(5), Some(9), Some(4)]), 2);
        assert_eq!(chosen(0, &[Some(7)]), 0);
    }

    #[test]
    fn a_dead_thread_is_not_chosen() {
        assert_eq!(chosen(0, &[Some(9), None, Some(1)]), 2);
        assert_eq!(chosen(0, &[Some(9), None]), 0);
    }

    #[test]
    fn what_is_adopted_goes_to_a_thread_that_lives_or_comes_back() {
        let (alive, mut commands) = unbounded_channel();
        let (dead, _) = unbounded_channel();
        let members = vec![Member::new(dead), Member::new(alive)];
        let crew = Crew::of(members, Capacity::new(&Limits::default(), 1, 0));
        let parcel = || Parcel { record: Record::Connection(Connection::default()), fds: Vec::new() };
        assert!(crew.adopt(parcel()).is_ok() && crew.one_died());
        assert!(matches!(commands.try_recv(), Ok(Command::Adopt(_))));
        assert_eq!((crew.members[0].load.load(SeqCst), crew.members[1].load.load(SeqCst)), (0, 1));
        drop(commands);
        assert!(crew.adopt(parcel()).is_err() && crew.is_over());
    }
}
