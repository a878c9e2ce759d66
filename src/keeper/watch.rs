//! The keeper's loop: signals, the gateway's words and end, timers; what was decided is carried out.
//!
//! Promises: one event at a time; nothing here waits for the gateway longer than a second.
//! Must not know: what to decide; that is [`super::decide`].

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use tokio::time::Instant;

use super::child::{self, Gateway, Sign};
use super::decide::{Decisions, Effect, Event, Outcome};
use super::report::Report;
use super::sockets::Sockets;
use super::{Accepted, Fatal};
use crate::config::{self, Sources};
use crate::handover::control::{Drained, Progress, Start, Summary, ToGateway, ToKeeper};
use crate::handover::snapshot;
use crate::lifecycle::deadline;
use crate::systemd::{machine, notify, unit};
use crate::telemetry::{event, log};

/// A gateway reads no disk at its start and opens no socket: it is ready in milliseconds or never.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Given to the gateway beyond its own deadline; less than `deadline::MARGIN`.
const DRAIN_MARGIN: Duration = Duration::from_secs(3);
/// For a gateway that was told to end at once.
const END_LIMIT: Duration = Duration::from_secs(3);
/// Asked from systemd while a drain makes progress, which is reported once a second.
const EXTENSION: Duration = Duration::from_secs(10);

/// What the keeper looks after.
pub struct Household {
    pub directory: PathBuf,
    pub sockets: Sockets,
    pub accepted: Accepted,
    pub watchdog: Option<Duration>,
    pub log: log::Handle,
}

pub fn run(household: Household) -> Result<(), Fatal> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Fatal::System("start the event loop", cause))?;
    let outcome = runtime.block_on(async {
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])
            .map_err(|cause| Fatal::System("watch for signals", cause))?;
        Ok::<_, Fatal>(Keeper::new(household).run(signals).await)
    });
    runtime.shutdown_background();
    match outcome? {
        Outcome::Stopped => Ok(()),
        Outcome::StartFailed(reason) => Err(Fatal::Start(reason)),
        Outcome::DiedDraining(how) => Err(Fatal::Drain(how)),
    }
}

struct Keeper {
    household: Household,
    decisions: Decisions,
    report: Report,
    gateway: Option<Gateway>,
    /// How many there have been.
    spawned: u64,
    /// Until the next gateway is spawned.
    pause: Option<Instant>,
    /// Until the gateway must be ready, or gone.
    patience: Option<Instant>,
    /// What this host is called in `Via`.
    pseudonym: String,
    /// TimeoutStopSec= of the unit, once systemd has told it.
    timeout_stop: Option<Duration>,
    /// Asked while it stops, until the answer is that the passed sockets are being closed.
    sockets: SocketsFate,
}

/// 48 bits of the application's id of this host: enough to tell hosts apart, and the same after a restart. A
/// host without an id gets a name that lasts as long as this keeper.
fn pseudonym() -> String {
    let id = machine::application_id().unwrap_or_else(|| fastrand::u128(..));
    format!("{:012x}", id >> 80)
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
    Gateway(Sign),
    PauseOver,
    PatienceOver,
    TimeoutStop(Option<Duration>),
    SocketsFate(bool),
}

impl Keeper {
    fn new(household: Household) -> Keeper {
        Keeper {
            household,
            decisions: Decisions::new(),
            report: Report::default(),
            gateway: None,
            spawned: 0,
            pause: None,
            patience: None,
            pseudonym: pseudonym(),
            timeout_stop: None,
            sockets: SocketsFate::Kept,
        }
    }

    async fn run(mut self, mut signals: Signals) -> Outcome {
        // Asked in the background: neither the start nor a stop waits for a bus.
        let mut asking = Some(Box::pin(unit::timeout_stop()));
        notify::status("starting");
        if let Some(outcome) = self.carry_out(Event::Begun).await {
            return outcome;
        }
        loop {
            let woken = tokio::select! {
                biased;
                Some(signal) = signals.next() => Woken::Signal(signal),
                sign = sign_of(&mut self.gateway) => Woken::Gateway(sign),
                () = until(self.pause) => Woken::PauseOver,
                () = until(self.patience) => Woken::PatienceOver,
                answer = answer_of(&mut asking) => Woken::TimeoutStop(answer),
                closing = self.sockets.told() => Woken::SocketsFate(closing),
            };
            if matches!(woken, Woken::TimeoutStop(_)) {
                asking = None;
            }
            if let Some(outcome) = self.woken(woken).await {
                self.look_after_sockets().await;
                return outcome;
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
            Woken::PatienceOver => {
                self.patience = None;
                Event::Overdue
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
            Woken::Gateway(sign) => self.sign(sign)?,
        };
        self.carry_out(event).await
    }

    async fn carry_out(&mut self, event: Event) -> Option<Outcome> {
        let mut effects = VecDeque::from(self.decisions.on(event));
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Spawn => {
                    if let Some(stillborn) = self.spawn().await {
                        effects.extend(self.decisions.on(stillborn));
                    }
                }
                Effect::Pause(pause) => self.pause = Some(Instant::now() + pause),
                Effect::AnnounceReady => self.announce_ready(),
                Effect::AnnounceReplaced => self.announce_replaced(),
                Effect::AnnounceDied(how) => self.announce_died(&how),
                Effect::AnnounceStopping => notify::stopping("draining"),
                Effect::SendReload => self.tell(ToGateway::Reload).await,
                Effect::SendDrain => self.send_drain().await,
                Effect::SendSocketsClosing => self.tell(ToGateway::SocketsClosing).await,
                Effect::SendEnd => self.send_end().await,
                Effect::Kill => self.kill(),
                Effect::End(outcome) => return Some(outcome),
            }
        }
        None
    }

    /// What the gateway did, as an event to decide on, if it is one.
    fn sign(&mut self, sign: Sign) -> Option<Event> {
        match sign {
            Sign::Said(message, fds) => self.said(*message, fds),
            Sign::Unreadable(error) => {
                tracing::error!("{error}, killing the gateway to replace it");
                self.kill();
                None
            }
            Sign::Exited(status) => {
                self.patience = None;
                let gateway = self.gateway.take();
                let lived = gateway.map_or(Duration::ZERO, |gateway| gateway.lived());
                Some(Event::Died { how: child::how(status), clean: status.success(), lived })
            }
        }
    }

    fn said(&mut self, message: ToKeeper, fds: Vec<OwnedFd>) -> Option<Event> {
        match message {
            ToKeeper::Ready(summary) => {
                if !self.decisions.stopping() {
                    self.patience = None;
                }
                self.report.serves(summary);
                return Some(Event::Ready);
            }
            ToKeeper::StartFailed { reason } => return Some(Event::StartFailed(reason)),
            ToKeeper::Alive => notify::beat(),
            ToKeeper::Reloaded(summary) => self.reloaded(summary, fds),
            ToKeeper::Refused { reason, messages, .. } => {
                self.report.refused(reason, messages);
                self.tell_status();
            }
            ToKeeper::Draining { deadline } => self.patience = Some(Instant::now() + deadline + DRAIN_MARGIN),
            ToKeeper::Progress(progress) => self.progress(&progress),
            ToKeeper::Drained(drained) => self.drained(&drained),
            ToKeeper::Adopted(_) | ToKeeper::HandedOver(_) | ToKeeper::TookBack => {}
        }
        None
    }

    fn reloaded(&mut self, summary: Summary, fds: Vec<OwnedFd>) {
        match accept(summary.generation, fds) {
            Ok(accepted) => self.household.accepted = accepted,
            // The gateway serves it all the same; only a replacement would start with the one before.
            Err(reason) => {
                tracing::error!("cannot keep the snapshot of generation {}: {reason}", summary.generation)
            }
        }
        self.household.log.set_level(self.household.accepted.settings.log.level);
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

    fn progress(&mut self, progress: &Progress) {
        // The sockets may be stopped later than the service.
        if self.decisions.stopping() {
            self.ask_for_sockets();
        }
        notify::status(&progress.line());
        self.patience = Some(Instant::now() + progress.left + DRAIN_MARGIN);
        if progress.moved && self.household.accepted.settings.drain.extend {
            notify::extend(EXTENSION);
        }
    }

    fn drained(&mut self, drained: &Drained) {
        let Drained { answered, cut, took } = drained;
        notify::status(&format!("drained in {:.1} s: {answered} answered, {cut} cut", took.as_secs_f64()));
    }

    fn announce_ready(&mut self) {
        let status = self.report.serving(&self.household.directory);
        tracing::info!(message_id = event::READY, "{status}");
        notify::ready(&status);
    }

    fn announce_replaced(&mut self) {
        let pid = self.gateway.as_ref().map_or(0, Gateway::pid);
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

    fn tell_status(&self) {
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
    async fn spawn(&mut self) -> Option<Event> {
        self.patience = Some(Instant::now() + START_LIMIT);
        self.spawned += 1;
        let gateway = match Gateway::spawn() {
            Ok(gateway) => gateway,
            Err(error) => {
                self.patience = None;
                let how = format!("could not be spawned: {error}");
                return Some(Event::Died { how, clean: false, lived: Duration::ZERO });
            }
        };
        if let Err(reason) = self.start(&gateway).await {
            tracing::error!(gateway_pid = gateway.pid(), "cannot start the gateway: {reason}");
            // Its death is an event like any other.
            gateway.kill();
        }
        self.gateway = Some(gateway);
        None
    }

    async fn start(&self, gateway: &Gateway) -> Result<(), String> {
        let household = &self.household;
        let sockets = &household.sockets.opened;
        let start = Start {
            directory: household.directory.clone(),
            generation: household.accepted.generation,
            sockets: sockets.iter().map(|socket| socket.record.clone()).collect(),
            watchdog: household.watchdog,
            replacements: self.report.deaths(),
            gateway: self.spawned,
            lost: self.report.deaths(),
            pseudonym: self.pseudonym.clone(),
        };
        let snapshot = household.accepted.snapshot.as_fd();
        let fds: Vec<BorrowedFd<'_>> =
            std::iter::once(snapshot).chain(sockets.iter().map(|socket| socket.fd.as_fd())).collect();
        gateway.start(start, &fds).await
    }

    async fn send_drain(&mut self) {
        let limit = self.timeout_stop.map(deadline::unit_limit);
        let longest = deadline::longest(&self.household.accepted.settings.drain, limit);
        self.patience = Some(Instant::now() + longest + DRAIN_MARGIN);
        self.tell(ToGateway::Drain { limit }).await;
        self.ask_for_sockets();
    }

    async fn send_end(&mut self) {
        notify::status("ending at once");
        self.patience = Some(Instant::now() + END_LIMIT);
        self.tell(ToGateway::End).await;
    }

    async fn tell(&self, message: ToGateway) {
        let Some(gateway) = &self.gateway else { return };
        if let Err(reason) = gateway.tell(message).await {
            tracing::warn!(gateway_pid = gateway.pid(), "cannot reach the gateway: {reason}");
        }
    }

    fn kill(&self) {
        let Some(gateway) = &self.gateway else { return };
        tracing::error!(
            gateway_pid = gateway.pid(),
            "killing the gateway: it did not get ready or end in its time"
        );
        gateway.kill();
    }
}

/// The snapshot of a generation that the gateway has accepted.
fn accept(generation: u64, fds: Vec<OwnedFd>) -> Result<Accepted, String> {
    let snapshot = fds.into_iter().next().ok_or("it did not come with the message")?;
    let content = snapshot.try_clone().and_then(snapshot::open).map_err(|error| error.to_string())?;
    let sources: Sources = serde_json::from_slice(&content).map_err(|error| error.to_string())?;
    let loaded = config::parse(&sources).map_err(|errors| errors.to_string())?;
    Ok(Accepted { generation, settings: loaded.settings, snapshot })
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

async fn sign_of(gateway: &mut Option<Gateway>) -> Sign {
    match gateway {
        Some(gateway) => gateway.sign().await,
        None => std::future::pending().await,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn answer_of<T>(asking: &mut Option<std::pin::Pin<Box<impl Future<Output = T>>>>) -> T {
    match asking {
        Some(question) => question.await,
        None => std::future::pending().await,
    }
}
