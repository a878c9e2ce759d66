//! The control loop: one task that owns the state of a gateway, fed by one queue.
//!
//! Promises: inputs are taken one at a time, in order; what [`crate::lifecycle`] decides is carried
//! out before the next one; nothing here waits for a client, a disk or the keeper, so that the
//! watchdog's beat is late only when something is wrong.
//! Must not know: how a generation is built ([`super::reload`]), what a drain needs ([`super::drain`]), how
//! connections leave and come ([`super::handover`]).

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::Fatal;
use super::alone::Alone;
use super::certificates::{Certificates, Seen};
use super::changes::Changes;
use super::drain::Drain;
use super::handover::Handovers;
use super::marks::Marks;
use super::office::Office;
use super::reload::{Loaded, Reloads};
use super::units::Units;
use crate::admin::{Doors, Gated, Verdict, Wish};
use crate::handover::control::{self, Moved, Start, ToGateway, ToKeeper};
use crate::handover::mailbox::Mailbox;
use crate::lifecycle::{Blocker, Effect, Event, Phase};
use crate::listener::threads::Threads;
use crate::systemd::order;
use crate::systemd::watch::News;
use crate::telemetry::event;
use crate::upstream::tending;

/// Everything that can happen to a gateway.
pub enum Input {
    BlockerGone(Blocker),
    Keeper(ToGateway, Vec<OwnedFd>),
    KeeperGone,
    /// What was to be kept for the next start does not all fit.
    MailboxFull,
    /// Nothing of a handover is left here, or all of it is back.
    Departed,
    /// Nothing more comes from another gateway.
    Adopted(Moved),
    /// With whoever waits for the verdict.
    ReloadAsked(Option<oneshot::Sender<Verdict>>),
    /// With the connection on which the keeper answers.
    UpgradeAsked(OwnedFd),
    FilesChanged,
    UnitNews(News),
    /// Requests to this service begin to wait.
    SomebodyWaits(String),
    /// An order about this unit was given, or not.
    Ordered(String, Result<(), order::Undone>),
    /// What is held by hand has changed.
    MarksTouched,
    /// With whoever waits for the answer.
    GateAsked(Wish, oneshot::Sender<Gated>),
    /// Files of certificates, or it is time to look at them.
    CertificatesTouched,
    CertificatesSeen(Option<Seen>),
    Loaded(Box<Loaded>),
    Installed,
    /// No connection is left.
    Idle,
    /// Nothing is left here that the next start needs.
    LetGo,
    /// A data thread is gone, as it has said itself.
    ThreadDied,
    /// A moment has come that was waited for.
    Due(Due),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    LameDuckOver,
    /// By its number: an earlier one counts no more.
    Deadline(u64),
    CutLimit,
    /// To say how the drain, or the handover, goes; by its number.
    Progress(u64),
    /// To see whether everything has made progress.
    Beat,
    /// To count the days that certificates have left.
    Certificates,
    /// To see which units nobody uses.
    Idle,
}

pub struct Control {
    pub(super) office: Rc<Office>,
    pub(super) threads: Rc<Threads>,
    /// Open until the end, or until this gateway is alone.
    pub(super) doors: Rc<RefCell<Option<Doors>>>,
    pub(super) outbox: Outbox,
    pub(super) start: Start,
    pub(super) reloads: Reloads,
    pub(super) drain: Option<Drain>,
    pub(super) handovers: Handovers,
    pub(super) armed: Armed,
    pub(super) queue: mpsc::UnboundedSender<Input>,
    /// Timers and waiting, ended with the loop.
    pub(super) tasks: JoinSet<()>,
    changes: Option<Changes>,
    pub(super) certificates: Certificates,
    /// What looks after the endpoints of this generation.
    tending: JoinSet<()>,
    pub(super) units: Units,
    pub(super) marks: Marks,
    beat: u64,
    /// It ends because a data thread has died, and is to be replaced.
    pub(super) broken: bool,
    pub(super) alone: Alone,
}

/// The numbers of the timers that count.
#[derive(Default)]
pub struct Armed {
    pub deadline: u64,
    pub progress: u64,
}

impl Control {
    pub fn new(
        start: Start,
        office: Rc<Office>,
        threads: Rc<Threads>,
        doors: Rc<RefCell<Option<Doors>>>,
        outbox: Outbox,
        reloads: Reloads,
        queue: mpsc::UnboundedSender<Input>,
    ) -> Control {
        let socket = office.blueprint.borrow().settings.admin.socket.clone();
        let touched = queue.clone();
        let marks = Marks::open(&socket, start.gateway <= 1, move || {
            let _ = touched.send(Input::MarksTouched);
        });
        Control {
            office,
            threads,
            doors,
            outbox,
            start,
            reloads,
            drain: None,
            handovers: Handovers::default(),
            armed: Armed::default(),
            queue,
            tasks: JoinSet::new(),
            changes: None,
            certificates: Certificates::default(),
            tending: JoinSet::new(),
            units: Units::default(),
            marks,
            beat: 0,
            broken: false,
            alone: Alone::default(),
        }
    }

    pub fn tell(&self, input: Input) {
        // INVARIANT: the receiver lives as long as the loop; afterwards nobody needs to know.
        let _ = self.queue.send(input);
    }

    /// Turns what the keeper says into inputs.
    pub fn listen_to(&self, keeper: Rc<Mailbox>) {
        let queue = self.queue.clone();
        tokio::task::spawn_local(async move {
            loop {
                let input = match control::receive(&keeper).await {
                    Ok(Some((message, fds))) => Input::Keeper(message, fds),
                    Ok(None) | Err(control::Error::Socket(_)) => Input::KeeperGone,
                    Err(error) => {
                        tracing::warn!("{error}, ignoring it");
                        continue;
                    }
                };
                let gone = matches!(input, Input::KeeperGone);
                if queue.send(input).is_err() || gone {
                    return;
                }
            }
        });
    }

    /// Until the gateway has stopped.
    pub async fn run(mut self, mut inputs: mpsc::UnboundedReceiver<Input>) -> Result<(), Fatal> {
        self.watch_files();
        self.watch_certificates();
        self.tend_endpoints();
        self.count_days();
        self.marks_touched();
        self.watch_units();
        let one_died = self.threads.one_died();
        self.then(async move {
            one_died.await;
            Input::ThreadDied
        });
        while let Some(input) = inputs.recv().await {
            self.take(input);
            while self.tasks.try_join_next().is_some() {}
            if *self.office.phase.borrow() == Phase::Stopped {
                break;
            }
        }
        tracing::info!(message_id = event::STOPPED, "gateway stopped");
        if self.broken { Err(Fatal::ThreadDied) } else { Ok(()) }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::BlockerGone(blocker) => self.step(Event::BlockerGone(blocker)),
            Input::Keeper(message, fds) => self.told(message, fds),
            Input::MailboxFull => self.mailbox_full(),
            Input::Departed => self.departed(),
            Input::Adopted(moved) => self.adopted(moved),
            Input::KeeperGone => self.keeper_gone(),
            Input::LetGo => self.let_go(),
            Input::ReloadAsked(waiting) => self.reload_asked(waiting),
            Input::UpgradeAsked(asker) => self.outbox.send_with(ToKeeper::UpgradeAsked, vec![asker]),
            Input::FilesChanged => self.files_changed(),
            Input::UnitNews(news) => self.unit_news(news),
            Input::SomebodyWaits(service) => self.somebody_waits(&service),
            Input::Ordered(unit, result) => self.ordered(&unit, result),
            Input::MarksTouched => self.marks_touched(),
            Input::GateAsked(wish, answer) => self.gate_asked(&wish, answer),
            Input::CertificatesTouched => self.certificates_touched(),
            Input::CertificatesSeen(seen) => self.certificates_seen(seen),
            Input::Loaded(loaded) => self.loaded(*loaded),
            Input::Installed => self.step(Event::ReloadInstalled),
            Input::Idle => self.step(Event::Idle),
            Input::ThreadDied => self.thread_died(),
            Input::Due(due) => self.due(due),
        }
    }

    fn told(&mut self, message: ToGateway, fds: Vec<OwnedFd>) {
        match message {
            ToGateway::Drain { limit } => self.drain_asked(limit),
            ToGateway::SocketsClosing => self.step(Event::SocketsClosing),
            ToGateway::Leave { stored } => self.leave_asked(&stored),
            ToGateway::End => self.step(Event::EndRequested),
            ToGateway::Reload => self.reload_asked(None),
            ToGateway::Adopt => self.adopt_asked(fds),
            ToGateway::HandOver { to, limit } => self.hand_over_asked(to, limit, fds),
            ToGateway::TakeBack => self.take_back_asked(),
            ToGateway::Start(_) => tracing::warn!("the keeper said Start twice, ignoring it"),
        }
    }

    fn due(&mut self, due: Due) {
        match due {
            Due::LameDuckOver => self.step(Event::LameDuckOver),
            Due::Deadline(number) if number == self.armed.deadline => self.deadline_passed(),
            Due::CutLimit => self.step(Event::CutLimitPassed),
            Due::Progress(number) if number == self.armed.progress => self.progress(),
            Due::Deadline(_) | Due::Progress(_) => {}
            Due::Beat => self.beat(),
            Due::Certificates => self.count_days(),
            Due::Idle => self.stop_the_idle(),
        }
    }

    /// Lets the lifecycle decide, and carries it out.
    pub(super) fn step(&mut self, event: Event) {
        let phase = self.office.phase.borrow().clone();
        let (phase, effects) = phase.next(event);
        self.office.phase.replace(phase);
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::AnnounceReady => self.announce_ready(),
            Effect::Load => self.load(),
            Effect::Install { generation } => self.install(generation),
            Effect::AnnounceReloaded { generation } => self.announce_reloaded(generation),
            Effect::AnnounceRefused { generation } => self.announce_refused(generation),
            Effect::AbandonReload => self.abandon_reload(),
            Effect::AnnounceHandingOver => self.announce_handing_over(),
            Effect::HandOver => self.hand_over(),
            Effect::TakeBack => self.take_back(),
            Effect::AnnounceDraining => self.announce_draining(),
            Effect::ArmLameDuck => self.arm_lame_duck(),
            Effect::StopAccepting => self.stop_accepting(),
            Effect::Refuse(whose) => self.refuse(whose),
            Effect::ArmDeadline => self.arm_deadline(),
            Effect::DisarmDeadline => self.disarm_deadline(),
            Effect::Cut => self.cut(),
            Effect::ArmCutLimit => self.arm_cut_limit(),
            Effect::GoAlone => self.go_alone(),
            // The loop ends, and with it everything is closed.
            Effect::Close => {
                self.announce_drained();
                self.announce_handed_over();
            }
        }
    }

    fn announce_ready(&mut self) {
        // The keeper tells it to everybody.
        self.outbox.send(ToKeeper::Ready(self.office.summary()));
        self.threads.beat(self.beat);
        self.beat();
    }

    /// Says that all is well if every data thread has answered the last beat; this loop, by being here.
    fn beat(&mut self) {
        let Some(interval) = self.start.watchdog else { return };
        if self.threads.beaten(self.beat) {
            self.outbox.send(ToKeeper::Alive);
            self.beat += 1;
            self.threads.beat(self.beat);
            self.alone.missed = 0;
        } else {
            self.alone.missed += 1;
        }
        self.after(interval, Due::Beat);
    }

    /// Queues `due` when `time` has passed.
    pub(super) fn after(&mut self, time: Duration, due: Due) {
        let queue = self.queue.clone();
        self.tasks.spawn_local(async move {
            tokio::time::sleep(time).await;
            let _ = queue.send(Input::Due(due));
        });
    }

    /// Queues what `task` results in.
    pub(super) fn then(&mut self, task: impl Future<Output = Input> + 'static) -> AbortHandle {
        let queue = self.queue.clone();
        self.tasks.spawn_local(async move {
            let _ = queue.send(task.await);
        })
    }

    /// Looks names up, and asks endpoints how they are. What was found before is on their boards.
    pub(super) fn tend_endpoints(&mut self) {
        self.tending = JoinSet::new();
        let blueprint = Arc::clone(&self.office.blueprint.borrow());
        for (lineup, outward) in blueprint.lineups.iter().zip(&blueprint.outward) {
            if tending::is_needed(lineup) {
                self.tending.spawn_local(tending::tend(Arc::clone(lineup), outward.clone()));
            }
        }
    }

    /// As the configuration of this generation wants it.
    pub(super) fn watch_files(&mut self) {
        if !self.office.blueprint.borrow().settings.daemon.reload_on_change {
            self.changes = None;
            return;
        }
        if self.changes.is_some() {
            return;
        }
        let queue = self.queue.clone();
        let watching = Changes::watch(&self.start.directory, move || {
            let _ = queue.send(Input::FilesChanged);
        });
        match watching {
            Ok(changes) => self.changes = Some(changes),
            Err(error) => tracing::warn!(
                "cannot watch '{}' for changes: {error}, reloading on signals only",
                self.start.directory.display()
            ),
        }
    }

    /// The folder of services may have come or gone, so that it must be watched anew.
    fn files_changed(&mut self) {
        self.changes = None;
        self.watch_files();
        if !self.misses_change() {
            self.step(Event::ReloadRequested);
        }
    }

    /// Another gateway answers there from here on.
    pub(super) fn shut_doors(&self) {
        if let Some(doors) = &mut *self.doors.borrow_mut() {
            doors.shut();
        }
    }

    pub(super) fn open_doors(&self) {
        let opened = self.doors.borrow_mut().as_mut().map_or(Ok(()), Doors::open_again);
        if let Err(error) = opened {
            tracing::error!("cannot open the admin sockets again after a handover: {error}");
        }
    }

    fn reload_asked(&mut self, waiting: Option<oneshot::Sender<Verdict>>) {
        let by_signal = waiting.is_none();
        self.reloads.asked(waiting);
        self.step(Event::ReloadRequested);
        let reloading = matches!(*self.office.phase.borrow(), Phase::Reloading { .. });
        if !reloading {
            self.refuse_reload(by_signal);
        }
    }
}

/// What is said to the keeper, in order, without waiting for it.
#[derive(Clone)]
pub struct Outbox {
    letters: mpsc::UnboundedSender<Letter>,
}

enum Letter {
    Message(ToKeeper, Vec<OwnedFd>),
    /// Everything before it has been sent.
    Mark(oneshot::Sender<()>),
}

impl Outbox {
    /// Needs a local tokio runtime.
    pub fn open(keeper: Rc<Mailbox>) -> Outbox {
        let (letters, mut waiting) = mpsc::unbounded_channel();
        tokio::task::spawn_local(async move {
            while let Some(letter) = waiting.recv().await {
                match letter {
                    Letter::Message(message, fds) => {
                        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
                        // A keeper that is gone is noticed by whoever listens to it.
                        let _ = control::send(&keeper, message, &fds).await;
                    }
                    Letter::Mark(reached) => {
                        let _ = reached.send(());
                    }
                }
            }
        });
        Outbox { letters }
    }

    pub fn send(&self, message: ToKeeper) {
        self.send_with(message, vec![]);
    }

    pub fn send_with(&self, message: ToKeeper, fds: Vec<OwnedFd>) {
        let _ = self.letters.send(Letter::Message(message, fds));
    }

    /// Waits until everything said so far has been sent.
    pub async fn emptied(&self) {
        let (reached, mark) = oneshot::channel();
        let _ = self.letters.send(Letter::Mark(reached));
        let _ = mark.await;
    }
}
