//! The keeper's loop: signals, the gateways' words and ends, timers; what was decided is carried out.
//!
//! Promises: one event at a time; nothing here waits for a gateway longer than a second.
//! Must not know: what to decide; that is [`super::decide`].

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::time::Instant;

use super::child::{self, Gateway, Sign};
use super::decide::{Decisions, Effect, Event, Id, Outcome, Program, Way};
use super::report::Report;
use super::signals::{SIGHUP, Signals};
use super::sockets::Sockets;
use super::upgrade::Upgrading;
use super::{Accepted, Fatal};
use crate::config::{self, Sources};
use crate::handover::control::{Drained, Progress, Start, Summary, ToGateway, ToKeeper};
use crate::handover::snapshot;
use crate::lifecycle::deadline;
use crate::systemd::store::Barrier;
use crate::systemd::{notify, unit};
use crate::telemetry::{event, log};

/// A gateway reads no disk at its start and opens no socket: it is ready in milliseconds or never.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Given to the gateway beyond its own deadline; less than `deadline::MARGIN`.
pub(super) const DRAIN_MARGIN: Duration = Duration::from_secs(3);
/// For a gateway that was told to end at once.
const END_LIMIT: Duration = Duration::from_secs(3);
/// Asked from systemd while a drain makes progress, which is reported once a second.
const EXTENSION: Duration = Duration::from_secs(10);

/// What the keeper looks after.
pub struct Household {
    pub directory: PathBuf,
    /// The file that an upgrade runs.
    pub program: PathBuf,
    /// What this host is called in `Via`.
    pub pseudonym: String,
    pub sockets: Sockets,
    pub accepted: Accepted,
    /// What a gateway has accepted as certificates, in a sealed memory file that nobody reads here.
    pub certificates: Option<OwnedFd>,
    pub watchdog: Option<Duration>,
    pub log: log::Handle,
}

pub fn run(begin: impl FnOnce() -> Result<Keeper, Fatal>) -> Result<(), Fatal> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Fatal::System("start the event loop", cause))?;
    let outcome = runtime.block_on(async {
        let signals = Signals::new().map_err(|cause| Fatal::System("watch for signals", cause))?;
        begin()?.run(signals).await
    });
    runtime.shutdown_background();
    match outcome? {
        Outcome::Stopped => Ok(()),
        Outcome::StartFailed(reason) => Err(Fatal::Start(reason)),
        Outcome::DiedDraining(how) => Err(Fatal::Drain(how)),
    }
}

pub struct Keeper {
    pub(super) household: Household,
    pub(super) decisions: Decisions,
    pub(super) report: Report,
    pub(super) gateways: BTreeMap<Id, Kept>,
    pub(super) upgrading: Upgrading,
    /// Until the next gateway is spawned.
    pause: Option<Instant>,
    /// TimeoutStopSec= of the unit, once systemd has told it.
    pub(super) timeout_stop: Option<Duration>,
    /// Asked while it stops, until the answer is that the passed sockets are being closed.
    sockets: SocketsFate,
    /// Asked when it is to stop: whether what is open is to be kept for the next start.
    pub(super) why: Option<Pin<Box<dyn Future<Output = Way>>>>,
    /// Something was put into the fd store; passed when systemd knows.
    pub(super) stored: Option<Barrier>,
}

/// A gateway, and what is waited for from it.
pub struct Kept {
    pub gateway: Gateway,
    /// Until it must be ready, or gone.
    pub patience: Option<Instant>,
    /// Mailboxes that it has not emptied yet.
    pub adopting: u32,
    /// Mailboxes that it was given so far, and which of them, by their numbers, are from the fd store.
    pub adopts: u32,
    pub adopts_stored: Vec<u32>,
    /// What it serves.
    pub summary: Summary,
}

/// What is known of the passed sockets while the keeper stops.
#[derive(Default)]
enum SocketsFate {
    /// Not asked, or they stay, as far as is known.
    #[default]
    Kept,
    Asking(Pin<Box<dyn Future<Output = bool>>>),
    Closing,
}

/// What the loop waits for.
enum Woken {
    Signal(i32),
    Gateway(Id, Sign),
    PauseOver,
    PatienceOver(Id),
    TimeoutStop(Option<Duration>),
    SocketsFate(bool),
    Why(Way),
    Upgrading(Event),
}

impl Keeper {
    pub fn new(household: Household, decisions: Decisions, report: Report) -> Keeper {
        Keeper {
            household,
            decisions,
            report,
            gateways: BTreeMap::new(),
            upgrading: Upgrading::default(),
            pause: None,
            timeout_stop: None,
            sockets: SocketsFate::Kept,
            why: None,
            stored: None,
        }
    }

    async fn run(mut self, signals: Signals) -> Result<Outcome, Fatal> {
        // Asked in the background: neither the start nor a stop waits for a bus.
        let mut asking = Some(Box::pin(unit::timeout_stop()));
        if let Some(outcome) = self.carry_out(Event::Begun).await {
            return Ok(outcome);
        }
        loop {
            let patience = self.patience();
            let woken = tokio::select! {
                biased;
                signal = signals.next() => {
                    Woken::Signal(signal.map_err(|cause| Fatal::System("watch for signals", cause))?)
                }
                (id, sign) = any_sign(&mut self.gateways) => Woken::Gateway(id, sign),
                () = until(self.pause) => Woken::PauseOver,
                () = until(patience.map(|(moment, _)| moment)) => match patience {
                    Some((_, id)) => Woken::PatienceOver(id),
                    None => continue,
                },
                event = self.upgrading.happens() => Woken::Upgrading(event),
                answer = answer_of(&mut asking) => Woken::TimeoutStop(answer),
                way = answer_of(&mut self.why) => Woken::Why(way),
                closing = self.sockets.told() => Woken::SocketsFate(closing),
            };
            if matches!(woken, Woken::TimeoutStop(_)) {
                asking = None;
            }
            if let Some(outcome) = self.woken(woken).await {
                self.look_after_sockets().await;
                self.look_after_store();
                return Ok(outcome);
            }
        }
    }

    async fn woken(&mut self, woken: Woken) -> Option<Outcome> {
        let event = match woken {
            Woken::Signal(SIGHUP) => Event::ReloadAsked,
            Woken::Signal(_) => Event::StopAsked,
            Woken::PauseOver => {
                self.pause = None;
                Event::PauseOver
            }
            Woken::PatienceOver(id) => {
                self.be_patient(id, None);
                Event::Overdue(id)
            }
            Woken::TimeoutStop(answer) => {
                self.timeout_stop = answer;
                self.warn_of_conflict();
                return None;
            }
            Woken::SocketsFate(false) => {
                self.sockets = SocketsFate::Kept;
                return None;
            }
            Woken::SocketsFate(true) => {
                self.sockets = SocketsFate::Closing;
                Event::SocketsClosing
            }
            Woken::Why(way) => {
                self.why = None;
                Event::StopIs(way)
            }
            Woken::Upgrading(event) => event,
            Woken::Gateway(id, sign) => self.sign(id, sign)?,
        };
        self.carry_out(event).await
    }

    async fn carry_out(&mut self, event: Event) -> Option<Outcome> {
        let mut effects = VecDeque::from(self.decisions.on(event));
        while let Some(effect) = effects.pop_front() {
            let follows = match effect {
                Effect::End(outcome) => return Some(outcome),
                Effect::Spawn(id, program) => self.spawn(id, program).await,
                Effect::Test => self.test(),
                Effect::TestState => self.test_state(),
                Effect::Reexecute => self.reexecute(),
                effect => {
                    self.carry_out_one(effect).await;
                    None
                }
            };
            if let Some(event) = follows {
                effects.extend(self.decisions.on(event));
            }
        }
        None
    }

    /// What has no consequence here.
    async fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Pause(pause) => self.pause = Some(Instant::now() + pause),
            Effect::AnnounceReady => self.announce_ready(),
            Effect::AnnounceReplaced(id) => self.announce_replaced(id),
            Effect::AnnounceDied(how) => self.announce_died(&how),
            Effect::AnnounceOutgoingDied(how) => {
                tracing::error!("an outgoing gateway died: it {how}; what it had not handed over is lost");
            }
            Effect::AnnounceStopping => notify::stopping("draining"),
            Effect::AnnounceRolledBack(reason) => self.announce_rolled_back(&reason),
            Effect::SendReload(id) => self.tell(id, ToGateway::Reload).await,
            Effect::SendHandOver { from, to } => self.send_hand_over(from, to).await,
            Effect::SendTakeBack(id) => self.send_take_back(id).await,
            Effect::SendAdopt(id) => self.send_adopt_stored(id).await,
            Effect::ForgetStored => self.forget_stored(),
            Effect::AskWhy => self.ask_why(),
            Effect::SendDrain(id) => self.send_drain(id).await,
            Effect::SendStore(id) => self.send_store(id).await,
            Effect::SendLeave(id) => self.send_leave(id).await,
            Effect::SendSocketsClosing(id) => self.tell(id, ToGateway::SocketsClosing).await,
            Effect::SendEnd(id) => self.send_end(id).await,
            Effect::Kill(id) => self.kill(id),
            Effect::AbandonTest => self.upgrading.trial = None,
            Effect::ArmProbation => self.arm_probation(),
            Effect::DisarmProbation => self.upgrading.probation = None,
            Effect::Verdict(ticket, result) => self.verdict(ticket, result),
            // Those with a consequence.
            Effect::End(_) | Effect::Spawn(..) | Effect::Test | Effect::TestState | Effect::Reexecute => {}
        }
    }

    /// Who must be ready or gone the soonest.
    fn patience(&self) -> Option<(Instant, Id)> {
        self.gateways.iter().filter_map(|(id, kept)| Some((kept.patience?, *id))).min()
    }

    pub(super) fn be_patient(&mut self, id: Id, limit: Option<Duration>) {
        if let Some(kept) = self.gateways.get_mut(&id) {
            kept.patience = limit.map(|limit| Instant::now() + limit);
        }
    }

    /// What a gateway did, as an event to decide on, if it is one.
    fn sign(&mut self, id: Id, sign: Sign) -> Option<Event> {
        match sign {
            Sign::Said(message, fds) => self.said(id, *message, fds),
            Sign::Unreadable(error) => {
                tracing::error!("{error}, killing the gateway to replace it");
                self.kill(id);
                None
            }
            Sign::Exited(status) => {
                let kept = self.gateways.remove(&id);
                let lived = kept.map_or(Duration::ZERO, |kept| kept.gateway.lived());
                Some(Event::Died { id, how: child::how(status), clean: status.success(), lived })
            }
        }
    }

    fn said(&mut self, id: Id, message: ToKeeper, fds: Vec<OwnedFd>) -> Option<Event> {
        let is_front = self.decisions.front() == Some(id);
        match message {
            ToKeeper::Ready(summary) => return Some(self.is_ready(id, summary)),
            ToKeeper::StartFailed { reason } => return Some(Event::StartFailed(id, reason)),
            // An outgoing gateway that beats does not show that anybody is served.
            ToKeeper::Alive if is_front || self.decisions.stopping() => notify::beat(),
            ToKeeper::Alive => {}
            ToKeeper::Reloaded(summary) => {
                self.reloaded(id, summary, fds);
                return Some(Event::Reloaded(id));
            }
            // Whoever it is from has accepted them, also one that is not in front yet.
            ToKeeper::Certificates => self.household.certificates = fds.into_iter().next(),
            ToKeeper::Refused { reason, messages, .. } => {
                self.report.refused(reason, messages);
                self.tell_status();
            }
            ToKeeper::UpgradeAsked => return self.upgrade_asked(fds),
            ToKeeper::Draining { deadline } => self.be_patient(id, Some(deadline + DRAIN_MARGIN)),
            ToKeeper::Progress(progress) => self.progress(id, &progress),
            ToKeeper::Drained(drained) => self.drained(&drained),
            ToKeeper::Adopted(moved) => return self.adopted(id, &moved),
            ToKeeper::HandedOver(moved) => self.handed_over(&moved),
            ToKeeper::Left => return Some(self.left(id)),
            ToKeeper::TookBack => {
                self.tell_status();
                return Some(Event::TookBack(id));
            }
        }
        None
    }

    fn is_ready(&mut self, id: Id, summary: Summary) -> Event {
        if !self.decisions.stopping() {
            self.be_patient(id, None);
        }
        self.report.serves(summary.clone());
        if let Some(kept) = self.gateways.get_mut(&id) {
            kept.summary = summary;
        }
        Event::Ready(id)
    }

    fn reloaded(&mut self, id: Id, summary: Summary, fds: Vec<OwnedFd>) {
        match accept(summary.generation, fds) {
            Ok(accepted) => self.household.accepted = accepted,
            // The gateway serves it all the same; only a replacement would start with the one before.
            Err(reason) => {
                tracing::error!("cannot keep the snapshot of generation {}: {reason}", summary.generation)
            }
        }
        self.household.log.set_level(self.household.accepted.settings.log.level);
        if let Some(kept) = self.gateways.get_mut(&id) {
            kept.summary = summary.clone();
        }
        self.report.reloaded(summary);
        self.tell_status();
        self.warn_of_conflict();
    }

    /// In the background: the drain does not wait for a bus.
    fn ask_for_sockets(&mut self) {
        let passed = self.household.sockets.opened.iter().any(|socket| socket.record.passed);
        if passed && matches!(self.sockets, SocketsFate::Kept) {
            self.sockets = SocketsFate::Asking(Box::pin(unit::sockets_are_closing()));
        }
    }

    /// Somebody may have taken the stop of the sockets back.
    async fn look_after_sockets(&self) {
        if matches!(self.sockets, SocketsFate::Closing) && !unit::sockets_are_closing().await {
            tracing::error!(
                "the sockets stay open, but were about to be closed, and refuse everybody since: \
                 restart them with 'systemctl restart hitless.socket'"
            );
        }
    }

    fn progress(&mut self, id: Id, progress: &Progress) {
        self.be_patient(id, Some(progress.left + DRAIN_MARGIN));
        if !self.decisions.stopping() {
            return;
        }
        // The sockets may be stopped later than the service.
        self.ask_for_sockets();
        notify::status(&progress.line());
        if progress.moved && self.household.accepted.settings.drain.extend {
            notify::extend(EXTENSION);
        }
    }

    fn drained(&mut self, drained: &Drained) {
        if self.decisions.stopping() {
            let Drained { answered, cut, took } = drained;
            notify::status(&format!(
                "drained in {:.1} s: {answered} answered, {cut} cut",
                took.as_secs_f64()
            ));
        }
    }

    fn announce_ready(&mut self) {
        let status = self.report.serving(&self.household.directory);
        tracing::info!(message_id = event::READY, "{status}");
        notify::ready(&status);
    }

    fn announce_replaced(&mut self, id: Id) {
        let pid = self.pid(id);
        tracing::info!(
            message_id = event::GATEWAY_REPLACED,
            gateway_pid = pid,
            replacements = self.report.deaths(),
            "gateway replaced: process {pid} serves generation {}",
            self.household.accepted.generation
        );
        self.tell_status();
    }

    fn announce_died(&mut self, how: &str) {
        self.report.died(how);
        tracing::error!(
            message_id = event::GATEWAY_DIED,
            how,
            replacements = self.report.deaths(),
            "gateway died: it {how}, replacing it"
        );
        notify::status(&self.report.replacing());
    }

    pub(super) fn tell_status(&self) {
        if !self.decisions.stopping() {
            notify::status(&self.report.serving(&self.household.directory));
        }
    }

    fn warn_of_conflict(&self) {
        let drain = &self.household.accepted.settings.drain;
        let conflict = self.timeout_stop.and_then(|timeout| deadline::conflict(drain, timeout));
        if let Some(conflict) = conflict {
            tracing::warn!(message_id = event::DEADLINE_CONFLICT, "{conflict}");
        }
    }

    /// Its end as an event, when it did not even begin.
    async fn spawn(&mut self, id: Id, program: Program) -> Option<Event> {
        let program = match program {
            Program::Own => Path::new(child::OWN),
            Program::OnDisk => &self.household.program,
        };
        let gateway = match Gateway::spawn(program) {
            Ok(gateway) => gateway,
            Err(error) => {
                let how = format!("could not be spawned: {error}");
                return Some(Event::Died { id, how, clean: false, lived: Duration::ZERO });
            }
        };
        if let Err(reason) = self.start(id, &gateway).await {
            tracing::error!(gateway_pid = gateway.pid(), "cannot start the gateway: {reason}");
            // Its death is an event like any other.
            gateway.kill();
        }
        let patience = Some(Instant::now() + START_LIMIT);
        let (adopts, adopts_stored, summary) = (0, vec![], Summary::default());
        let kept = Kept { gateway, patience, adopting: 0, adopts, adopts_stored, summary };
        self.gateways.insert(id, kept);
        None
    }

    async fn start(&self, id: Id, gateway: &Gateway) -> Result<(), String> {
        let household = &self.household;
        let sockets = &household.sockets.opened;
        let start = Start {
            directory: household.directory.clone(),
            generation: household.accepted.generation,
            sockets: sockets.iter().map(|socket| socket.record.clone()).collect(),
            watchdog: household.watchdog,
            replacements: self.report.deaths(),
            gateway: u64::from(id.0),
            lost: self.report.deaths(),
            pseudonym: household.pseudonym.clone(),
            program: household.program.clone(),
            certificates: household.certificates.is_some(),
        };
        let snapshot = household.accepted.snapshot.as_fd();
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(snapshot)
            .chain(sockets.iter().map(|socket| socket.fd.as_fd()))
            .chain(household.certificates.as_ref().map(|memory| memory.as_fd()))
            .collect();
        gateway.start(start, &fds).await
    }

    pub(super) async fn send_drain(&mut self, id: Id) {
        let stopping = self.decisions.stopping();
        let limit = self.timeout_stop.map(deadline::unit_limit).filter(|_| stopping);
        let longest = deadline::longest(&self.household.accepted.settings.drain, limit);
        self.be_patient(id, Some(longest + DRAIN_MARGIN));
        self.tell(id, ToGateway::Drain { limit }).await;
        if stopping {
            self.ask_for_sockets();
        }
    }

    async fn send_end(&mut self, id: Id) {
        notify::status("ending at once");
        self.be_patient(id, Some(END_LIMIT));
        self.tell(id, ToGateway::End).await;
    }

    pub(super) async fn tell(&self, id: Id, message: ToGateway) {
        let Some(Kept { gateway, .. }) = self.gateways.get(&id) else { return };
        if let Err(reason) = gateway.tell(message).await {
            tracing::warn!(gateway_pid = gateway.pid(), "cannot reach the gateway: {reason}");
        }
    }

    pub(super) fn kill(&self, id: Id) {
        let Some(Kept { gateway, .. }) = self.gateways.get(&id) else { return };
        tracing::error!(
            gateway_pid = gateway.pid(),
            "killing the gateway: it did not get ready or end in its time"
        );
        gateway.kill();
    }

    pub(super) fn pid(&self, id: Id) -> u32 {
        self.gateways.get(&id).map_or(0, |kept| kept.gateway.pid())
    }
}

/// The snapshot of a generation that a gateway has accepted.
fn accept(generation: u64, fds: Vec<OwnedFd>) -> Result<Accepted, String> {
    let snapshot = fds.into_iter().next().ok_or("it did not come with the message")?;
    Accepted::open(generation, snapshot)
}

impl Accepted {
    pub fn open(generation: u64, snapshot: OwnedFd) -> Result<Accepted, String> {
        let loaded = config::parse(&sources(&snapshot)?).map_err(|errors| errors.to_string())?;
        Ok(Accepted { generation, settings: loaded.settings, snapshot })
    }
}

/// The files of an accepted configuration.
pub(super) fn sources(snapshot: &OwnedFd) -> Result<Sources, String> {
    let content = snapshot.try_clone().and_then(snapshot::open).map_err(|error| error.to_string())?;
    serde_json::from_slice(&content).map_err(|error| error.to_string())
}

impl SocketsFate {
    /// The answer, when it was asked for.
    async fn told(&mut self) -> bool {
        match self {
            SocketsFate::Asking(question) => question.await,
            SocketsFate::Kept | SocketsFate::Closing => std::future::pending().await,
        }
    }
}

async fn any_sign(gateways: &mut BTreeMap<Id, Kept>) -> (Id, Sign) {
    if gateways.is_empty() {
        return std::future::pending().await;
    }
    let signs = gateways.iter_mut().map(|(id, kept)| Box::pin(async { (*id, kept.gateway.sign().await) }));
    select_all(signs).await.0
}

pub(super) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn answer_of<T>(asking: &mut Option<Pin<Box<impl Future<Output = T> + ?Sized>>>) -> T {
    match asking {
        Some(question) => question.await,
        None => std::future::pending().await,
    }
}
