//! One data thread: its runtime, its accept loops, its commands.
//!
//! Promises: it says that it is ready when every socket is registered with its reactor; its beats
//! are answered by the same loop of events that serves connections, so a wedged thread does not
//! beat; a thread that dies of a panic says so and counts as gone. A panic in accepting or sweeping is
//! the thread's, because it could not go on without them; one in a connection is not.
//! Must not know: HTTP.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::{JoinError, JoinHandle, JoinSet};

use super::accept::Acceptor;
use super::capacity::Slot;
use super::crew::{Command, Crew};
use crate::connection::local::Local;
use crate::connection::{self, Accepted, Blueprint, DrainOrder};
use crate::handover::record::Parcel;

/// How often what is silent is looked for, while there are connections. Timers for later than
/// that cost no system call, because this one is always earlier.
const SWEEP: Duration = Duration::from_secs(1);

/// What a data thread begins with.
pub(super) struct Beginning {
    pub(super) index: usize,
    pub(super) crew: Arc<Crew>,
    pub(super) sockets: Vec<(Arc<str>, OwnedFd)>,
    pub(super) blueprint: Arc<Blueprint>,
    pub(super) commands: UnboundedReceiver<Command>,
    pub(super) ready: mpsc::Sender<io::Result<()>>,
}

/// The life of a data thread.
pub(super) fn run(beginning: Beginning) {
    let (index, crew) = (beginning.index, Arc::clone(&beginning.crew));
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| serve(beginning))) {
        let words = connection::words_of(&*panic);
        tracing::error!(thread = index, "data thread {index} died of a panic, with its connections: {words}");
    }
    crew.died(index);
}

fn serve(beginning: Beginning) {
    let ready = beginning.ready.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    match runtime {
        Ok(runtime) => runtime.block_on(live(beginning)),
        // Whoever started this thread waits for the answer, or has given up.
        Err(error) => drop(ready.send(Err(error))),
    }
}

async fn live(beginning: Beginning) {
    let Beginning { index, crew, sockets, blueprint, mut commands, ready } = beginning;
    let counters = Arc::clone(&crew.members[index].counters);
    let on_leave = {
        let crew = Arc::clone(&crew);
        move || crew.left(index)
    };
    let local = Local::new(blueprint, counters, Arc::clone(&crew.places), on_leave);
    let sockets = sockets.into_iter().map(|(name, socket)| (name, Rc::new(socket))).collect();
    let thread = Rc::new(Thread { index, crew, local, sockets: RefCell::new(sockets) });
    let mut accepting = match thread.accept() {
        Ok(accepting) => accepting,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let mut sweeping = tokio::task::spawn_local(sweep(Rc::clone(&thread)));
    if ready.send(Ok(())).is_err() {
        return;
    }
    drop(ready);
    while let Some(command) = next(&mut commands, &mut accepting, &mut sweeping).await {
        match command {
            Command::Serve(accepted) => connection::begin(&thread.local, accepted),
            Command::Admit(accepted) => {
                thread.local.counters.accepted();
                connection::begin(&thread.local, accepted);
            }
            Command::Install(blueprint, done) => {
                thread.local.install(blueprint);
                thread.count_addresses();
                let _ = done.send(());
            }
            Command::Beat(beat) => thread.crew.members[index].beat(beat),
            Command::Adopt(parcel) => thread.adopt(parcel),
            Command::HandOver(departures) => thread.hand_over(departures, &mut accepting).await,
            Command::TakeBack => thread.take_back(&mut accepting),
            Command::Drain(order) => thread.drain(order, &mut accepting).await,
            Command::LetGo(done) => {
                thread.sockets.take();
                let _ = done.send(());
            }
            Command::Cut => thread.local.cut(),
            Command::Stop => {
                // What was cut just now writes its last words in this turn.
                tokio::task::yield_now().await;
                return;
            }
            #[cfg(test)]
            Command::Run(work) => work(&thread.local),
        }
    }
}

/// The next command. What this thread lives by never ends by itself: a panic in it goes on here.
async fn next(
    commands: &mut UnboundedReceiver<Command>,
    accepting: &mut JoinSet<()>,
    sweeping: &mut JoinHandle<()>,
) -> Option<Command> {
    let ended = tokio::select! {
        command = commands.recv() => return command,
        Some(ended) = accepting.join_next() => ended,
        ended = sweeping => ended,
    };
    if let Some(panic) = ended.err().and_then(|error| JoinError::try_into_panic(error).ok()) {
        resume_unwind(panic);
    }
    commands.recv().await
}

struct Thread {
    index: usize,
    crew: Arc<Crew>,
    local: Rc<Local>,
    /// Where it accepts, by the names of the listeners.
    sockets: RefCell<Vec<(Arc<str>, Rc<OwnedFd>)>>,
}

impl Thread {
    fn accept(self: &Rc<Self>) -> io::Result<JoinSet<()>> {
        let sockets = self.sockets.borrow();
        let acceptors = sockets.iter().map(|(name, socket)| {
            let capacity = Arc::clone(&self.crew.capacity);
            Acceptor::new(Arc::clone(name), Rc::clone(socket), capacity, Arc::clone(&self.local.counters))
        });
        let acceptors = acceptors.collect::<io::Result<Vec<_>>>()?;
        let mut accepting = JoinSet::new();
        for acceptor in acceptors {
            accepting.spawn_local(accept(Rc::clone(self), acceptor));
        }
        Ok(accepting)
    }

    /// A limit per address that is new holds for the connections that there are.
    fn count_addresses(&self) {
        self.local.each_kept(|kept| {
            if let Some(slot) = kept.downcast_mut::<Slot>() {
                slot.count();
            }
        });
    }

    /// Stops accepting, so that what comes waits in the kernel, and only then counts as draining.
    async fn drain(&self, order: DrainOrder, accepting: &mut JoinSet<()>) {
        accepting.shutdown().await;
        self.local.drain(order);
        self.crew.drains(self.index);
    }

    /// As a drain begins; but whoever can departs.
    async fn hand_over(&self, departures: UnboundedSender<Parcel>, accepting: &mut JoinSet<()>) {
        accepting.shutdown().await;
        self.local.hand_over(departures);
        self.crew.drains(self.index);
        let mut next = Some(0);
        while let Some(first) = next {
            next = self.local.call_some(first);
            // Those who are asking have their turn in between.
            tokio::task::yield_now().await;
        }
    }

    /// Not a newcomer, so that no limit keeps it out; but it takes its place.
    fn adopt(&self, parcel: Parcel) {
        let mut slot = self.crew.capacity.take_beyond();
        let client = parcel.record.client();
        slot.adopt(client.filter(|client| !client.header).and_then(|client| client.address));
        let listener = self.name(client.map_or("", |client| &client.listener));
        connection::adopt(&self.local, parcel, listener, Box::new(slot));
    }

    /// A name of a listener, shared if there is still one of that name.
    fn name(&self, name: &str) -> Arc<str> {
        let sockets = self.sockets.borrow();
        let known = sockets.iter().find(|(known, _)| **known == *name);
        known.map_or_else(|| name.into(), |(known, _)| Arc::clone(known))
    }

    /// Accepts again after a handover that came to nothing: whoever came meanwhile waits in the kernel.
    fn take_back(self: &Rc<Self>, accepting: &mut JoinSet<()>) {
        if !self.local.take_back() {
            return;
        }
        self.crew.serves_on(self.index);
        match self.accept() {
            Ok(again) => *accepting = again,
            Err(error) => {
                tracing::error!(thread = self.index, "cannot accept again after a handover: {error}")
            }
        }
    }

    /// Hands a connection to the thread that shall serve it.
    fn place(&self, accepted: Accepted) {
        self.local.counters.accepted();
        let chosen = self.crew.place(self.index);
        if chosen == self.index {
            return connection::begin(&self.local, accepted);
        }
        let sent = self.crew.members[chosen].commands.send(Command::Serve(accepted));
        if let Err(refused) = sent {
            self.crew.left(chosen);
            self.keep(refused.0);
        }
    }

    /// The other thread has just died.
    fn keep(&self, command: Command) {
        if let Command::Serve(accepted) = command {
            self.crew.joined(self.index);
            connection::begin(&self.local, accepted);
        }
    }
}

async fn accept(thread: Rc<Thread>, acceptor: Acceptor) {
    loop {
        let introduced = |address| thread.local.is_introduced(acceptor.name(), address);
        let accepted = acceptor.next(async || thread.local.one_left().await, introduced).await;
        thread.place(accepted);
    }
}

async fn sweep(thread: Rc<Thread>) {
    loop {
        thread.local.somebody().await;
        tokio::time::sleep(SWEEP).await;
        thread.local.sweep(Instant::now());
    }
}
