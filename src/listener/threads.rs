//! The handle on all data threads.
//!
//! ```text
//!   start ─▶ (install, beat)* ─▶ drain (─▶ refuse)* ─▶ finished ─▶ join
//!                                  └──────▶ cut ─────────▲      let_go: any time after
//! ```
//! Promises: [`Threads::start`] returns when every thread accepts on every socket, or starts
//! nothing; [`Threads::install`] when every thread has swapped; [`Threads::finished`] when no
//! connection is left anywhere, and none may come. Nothing here waits for a wedged thread except those two and `join`.
//! Must not know: why it is told to drain.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::capacity::Capacity;
use super::crew::{Command, Crew, Member};
use super::refusal::{self, Arriving, Gate};
use super::thread::{self, Beginning};
use crate::connection::{Blueprint, DrainOrder};
use crate::handover::record::Parcel;
use crate::telemetry::counters::Totals;
use crate::telemetry::ledger::Page;

/// Descriptors of a runtime: two of epoll(7), one to wake it, one for signals.
const REACTOR: usize = 4;

/// A listening socket, TCP or Unix, with the name of its listener.
#[derive(Debug)]
pub struct Socket {
    pub name: Arc<str>,
    pub fd: OwnedFd,
    /// By systemd, which keeps it; otherwise it ends with this daemon.
    pub passed: bool,
}

pub struct Threads {
    crew: Arc<Crew>,
    handles: Vec<JoinHandle<()>>,
    /// Until they are let go.
    gates: Mutex<Vec<Arc<Gate>>>,
}

impl Threads {
    /// Starts `count` threads that accept on all `sockets` and serve `first`.
    pub fn start(count: usize, sockets: Vec<Socket>, first: Arc<Blueprint>) -> io::Result<Threads> {
        let (members, commands): (Vec<_>, Vec<_>) = (0..count.max(1))
            .map(|_| {
                let (sender, receiver) = unbounded_channel();
                (Member::new(sender), receiver)
            })
            .unzip();
        let capacity = Capacity::new(&first.settings.limits, count, sockets.len() + REACTOR);
        let mut threads =
            Threads { crew: Crew::of(members, capacity), handles: Vec::new(), gates: Mutex::default() };
        let (ready, started) = mpsc::channel();
        for (index, commands) in commands.into_iter().enumerate() {
            threads.spawn(index, commands, &sockets, &first, ready.clone())?;
        }
        drop(ready);
        for _ in 0..threads.handles.len() {
            started.recv().map_err(|_| io::Error::other("a data thread died while it started"))??;
        }
        let gates = sockets.into_iter().map(|socket| Arc::new(Gate::of(socket)));
        threads.gates = Mutex::new(gates.collect());
        Ok(threads)
    }

    fn spawn(
        &mut self,
        index: usize,
        commands: UnboundedReceiver<Command>,
        sockets: &[Socket],
        first: &Arc<Blueprint>,
        ready: mpsc::Sender<io::Result<()>>,
    ) -> io::Result<()> {
        let own = |socket: &Socket| Ok((Arc::clone(&socket.name), socket.fd.try_clone()?));
        let sockets = sockets.iter().map(own).collect::<io::Result<Vec<_>>>()?;
        let (crew, blueprint) = (Arc::clone(&self.crew), Arc::clone(first));
        let beginning = Beginning { index, crew, sockets, blueprint, commands, ready };
        let builder = std::thread::Builder::new().name(format!("data-{index}"));
        self.handles.push(builder.spawn(move || thread::run(beginning))?);
        Ok(())
    }

    /// Makes `next` the generation of all requests that begin from now on.
    pub async fn install(&self, next: Arc<Blueprint>) {
        self.crew.capacity.set(&next.settings.limits);
        let mut swapped = Vec::with_capacity(self.crew.members.len());
        for member in &self.crew.members {
            let (done, swap) = oneshot::channel();
            member.tell(Command::Install(Arc::clone(&next), done));
            swapped.push(swap);
        }
        for swap in swapped {
            // A dead thread does not answer, and serves nothing.
            let _ = swap.await;
        }
    }

    /// Asks every thread for a sign of life; `beat` grows from call to call.
    pub fn beat(&self, beat: u64) {
        self.tell(|| Command::Beat(beat));
    }

    /// Whether every thread has come round since [`Threads::beat`] was called with `beat`.
    pub fn beaten(&self, beat: u64) -> bool {
        self.crew.members.iter().all(|member| member.has_beaten(beat))
    }

    /// Stops accepting; every connection that can move goes to `departures` when no request of it is in flight. What
    /// cannot move ends there: HTTP/2 connections as in a drain. When all is [`finished`](Threads::finished), `departures`
    /// has everything; after [`Threads::take_back`], [`Threads::drain`] or [`Threads::cut`] it has when it ends, which is when
    /// nobody but the threads keeps a sender.
    pub fn hand_over(&self, departures: &UnboundedSender<Parcel>) {
        self.tell(|| Command::HandOver(departures.clone()));
    }

    /// Accepts again, and keeps what has not departed. After [`Threads::hand_over`], whose departures are to be taken until
    /// they end: one thread knows of this before another one does. HTTP/2 clients that have been told to go still go.
    pub fn take_back(&self) {
        self.tell(|| Command::TakeBack);
    }

    /// Serves what another gateway had, or what has departed in vain. It comes back when no thread is left, or
    /// when it is of a kind that nobody here knows. On a thread that hands over it stays, and goes as in a drain; a
    /// later handover moves it again.
    pub fn adopt(&self, parcel: Parcel) -> Result<(), Box<Parcel>> {
        if parcel.record.client().is_none() {
            return Err(Box::new(parcel));
        }
        self.crew.adopt(parcel)
    }

    /// As long as this lives somebody may call [`Threads::adopt`], and nothing is finished.
    pub fn arriving(&self) -> impl Send + use<> {
        Arriving::at(&self.crew)
    }

    /// Stops accepting; everything here comes to its end in its own time.
    pub fn drain(&self, order: DrainOrder) {
        self.tell(|| Command::Drain(order));
    }

    /// Accepts what waits on the sockets that systemd passed, or on the others, and has the kernel
    /// refuse whoever comes from then on. After [`Threads::drain`]; threads that drain serve what
    /// was accepted here as they serve what they have.
    pub fn refuse(&self, passed: bool) -> impl Future<Output = ()> + use<> {
        let gates = self.gates().iter().filter(|gate| gate.passed == passed).cloned().collect();
        let (crew, arriving) = (Arc::clone(&self.crew), Arriving::at(&self.crew));
        async move {
            refusal::refuse(gates, crew).await;
            drop(arriving);
        }
    }

    /// Closes the listening sockets here, for whoever else has them; resolves when each thread has, also one that died.
    /// After [`Threads::hand_over`] or [`Threads::drain`], neither taken back. A refusal under way keeps its own until
    /// it is done.
    pub fn let_go(&self) -> impl Future<Output = ()> + use<> {
        self.gates().clear();
        let tell = |member: &Member| {
            let (done, gone) = oneshot::channel();
            member.tell(Command::LetGo(done));
            gone
        };
        let each: Vec<_> = self.crew.members.iter().map(tell).collect();
        async move {
            for gone in each {
                let _ = gone.await;
            }
        }
    }

    fn gates(&self) -> MutexGuard<'_, Vec<Arc<Gate>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when a thread has died of a panic.
    pub fn one_died(&self) -> impl Future<Output = ()> + use<> {
        let crew = Arc::clone(&self.crew);
        async move { crew.until(Crew::one_died).await }
    }

    /// Ends at once what a drain has not ended: 503 where no byte was sent, otherwise broken off.
    pub fn cut(&self) {
        self.tell(|| Command::Cut);
    }

    /// Resolves when the threads drain and no connection is left.
    pub async fn finished(&self) {
        self.crew.until(Crew::is_over).await;
    }

    /// What all threads have counted.
    pub fn totals(&self) -> Totals {
        self.crew.members.iter().map(|member| &*member.counters).sum()
    }

    /// The same for the ledger: by service.
    pub fn page(&self) -> Page {
        self.crew.members.iter().map(|member| &*member.counters).sum()
    }

    /// The age of the oldest request in flight, as far as it was noted in the last second.
    pub fn oldest(&self) -> Option<Duration> {
        let totals = self.totals();
        (totals.in_flight > 0).then(|| Duration::from_millis(totals.oldest_ms))
    }

    /// Ends the threads with whatever they still have, and waits for them.
    pub fn join(mut self) {
        self.tell(|| Command::Stop);
        for handle in self.handles.drain(..) {
            // Its panic has been told by itself.
            let _ = handle.join();
        }
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for member in &self.crew.members {
            member.tell(command());
        }
    }

    /// The connections of each thread.
    #[cfg(test)]
    pub(crate) fn loads(&self) -> Vec<u64> {
        self.crew.members.iter().map(|member| member.counters.connections_open()).collect()
    }

    /// Lets the thread do `work` in its turn.
    #[cfg(test)]
    pub(crate) fn run(
        &self,
        index: usize,
        work: impl FnOnce(&crate::connection::local::Local) + Send + 'static,
    ) {
        self.crew.members[index].tell(Command::Run(Box::new(work)));
    }

    /// A thread that does nothing until the sender sends or goes.
    #[cfg(test)]
    pub(crate) fn wedge(&self, index: usize) -> mpsc::Sender<()> {
        let (release, until) = mpsc::channel();
        self.run(index, move |_| {
            // Either way it is released.
            let _ = until.recv();
        });
        release
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.tell(|| Command::Stop);
    }
}
