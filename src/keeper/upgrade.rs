//! Another program takes over, as [`super::decide`] says: tried, spawned, handed over to, watched, and become.
//!
//! Who asks for an upgrade does so at the gateway's admin socket, whose connection the gateway passes on: neither
//! gateway lives through the whole of an upgrade, only the keeper does. So it answers, and its end of the connection is
//! the end of the answer. (A socket of the keeper's own would be one more file and one more protocol; a gateway
//! that forwards the verdict would have to stay for it, and the verdict waits for its end.)
//!
//! Promises: everyone who asked is answered, or sees the end of the connection when the keeper dies.
//! Must not know: HTTP, what moves.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::Accepted;
use super::child::Gateway;
use super::decide::{Asked, Decisions, Event, Id, Ticket};
use super::reexec::{self, GatewayState, SocketState, State};
use super::sockets::{Opened, Sockets};
use super::trial::{Trial, Unfit, Versions};
use super::watch::{self, DRAIN_MARGIN, Household, Keeper, Kept};
use crate::handover::control::{self, Destination, ToGateway};
use crate::handover::mailbox;
use crate::lifecycle::deadline;
use crate::systemd::watchdog;
use crate::telemetry::{event, log};

/// Lines on their way to a slow reader are not waited for longer.
const LAST_LINES: Duration = Duration::from_millis(500);

/// What an upgrade under way needs beside the decisions.
#[derive(Default)]
pub struct Upgrading {
    pub trial: Option<Trial>,
    pub probation: Option<Instant>,
    askers: Vec<(Ticket, OwnedFd)>,
    tickets: u64,
    /// What the program that was tried last said of itself.
    version: String,
    needs_restart: bool,
}

impl Upgrading {
    /// The next thing to decide on. May be cancelled.
    pub async fn happens(&mut self) -> Event {
        let trial = async {
            match &mut self.trial {
                Some(trial) => trial.verdict().await,
                None => std::future::pending().await,
            }
        };
        let verdict = tokio::select! {
            verdict = trial => verdict,
            () = watch::until(self.probation) => {
                self.probation = None;
                return Event::ProbationOver;
            }
        };
        self.trial = None;
        Event::Tested(self.learn(verdict))
    }

    fn learn(&mut self, verdict: Result<Versions, Unfit>) -> Result<(), String> {
        match verdict {
            Ok(versions) => {
                self.version = versions.version;
                Ok(())
            }
            Err(unfit) => {
                self.version = unfit.version;
                self.needs_restart = unfit.needs_restart;
                Err(unfit.reason)
            }
        }
    }
}

impl Keeper {
    pub(super) fn upgrade_asked(&mut self, fds: Vec<OwnedFd>) -> Option<Event> {
        let asker = fds.into_iter().next()?;
        let ticket = Ticket(self.upgrading.tickets);
        self.upgrading.tickets += 1;
        self.upgrading.askers.push((ticket, asker));
        let most_outgoing = self.household.accepted.settings.upgrade.outgoing;
        Some(Event::UpgradeAsked(Asked { ticket, most_outgoing }))
    }

    pub(super) fn test(&mut self) -> Option<Event> {
        self.upgrading.version = String::new();
        self.upgrading.needs_restart = false;
        let program = self.household.program.clone();
        let begun = self.begin_trial(&program);
        begun.err().map(|reason| Event::Tested(Err(reason)))
    }

    /// Of what the front is, whatever lies on the disk by now: that is what has stood the probation.
    pub(super) fn test_state(&mut self) -> Option<Event> {
        let begun = self.begin_trial(&self.program_of_the_front());
        begun.err().map(|reason| Event::Tested(Err(reason)))
    }

    fn begin_trial(&mut self, program: &Path) -> Result<(), String> {
        let state = self.state().ok_or("no gateway serves")?;
        let sources = watch::sources(&self.household.accepted.snapshot)?;
        let trial = Trial::begin(program, &state, &sources)
            .map_err(|error| format!("cannot run '{}': {error}", program.display()))?;
        self.upgrading.trial = Some(trial);
        Ok(())
    }

    fn program_of_the_front(&self) -> PathBuf {
        let pid = self.decisions.front().map_or(0, |id| self.pid(id));
        PathBuf::from(format!("/proc/{pid}/exe"))
    }

    pub(super) async fn send_hand_over(&mut self, from: Id, to: Id) {
        let (sends, receives) = match mailbox::pair() {
            Ok(pair) => pair,
            Err(error) => {
                tracing::error!("cannot make a mailbox: {error}");
                return self.kill(to);
            }
        };
        let settings = &self.household.accepted.settings;
        let limit = settings.upgrade.deadline;
        let longest = limit + deadline::longest(&settings.drain, None) + DRAIN_MARGIN;
        self.send_adopt(to, &receives).await;
        self.be_patient(from, Some(longest));
        let hand_over = ToGateway::HandOver { to: Destination::Gateway, limit: Some(limit) };
        self.give(from, hand_over, &sends).await;
    }

    pub(super) async fn send_adopt(&mut self, id: Id, end: &OwnedFd) {
        if let Some(kept) = self.gateways.get_mut(&id) {
            kept.adopting += 1;
            kept.adopts += 1;
        }
        self.give(id, ToGateway::Adopt, end).await;
    }

    /// A gateway that cannot be given something is of no use, and is replaced.
    pub(super) async fn give(&self, id: Id, message: ToGateway, end: &OwnedFd) {
        let Some(Kept { gateway, .. }) = self.gateways.get(&id) else { return };
        if let Err(reason) = gateway.give(message, end).await {
            tracing::error!(gateway_pid = gateway.pid(), "cannot reach the gateway: {reason}");
            gateway.kill();
        }
    }

    pub(super) async fn send_take_back(&mut self, id: Id) {
        self.be_patient(id, None);
        if let Some(kept) = self.gateways.get(&id) {
            self.report.serves(kept.summary.clone());
        }
        self.tell(id, ToGateway::TakeBack).await;
    }

    pub(super) fn arm_probation(&mut self) {
        self.upgrading.probation = Some(Instant::now() + self.household.accepted.settings.upgrade.probation);
    }

    pub(super) fn announce_rolled_back(&mut self, reason: &str) {
        self.report.not_upgraded(reason);
        tracing::error!(
            message_id = event::UPGRADE_UNDONE,
            reason,
            "upgrade rolled back: {reason}; the program from before takes its place"
        );
    }

    pub(super) fn verdict(&mut self, ticket: Ticket, result: Result<(), String>) {
        let probation = self.household.accepted.settings.upgrade.probation;
        let upgrade = control::Upgrade {
            accepted: result.is_ok(),
            version: self.upgrading.version.clone(),
            reason: result.err().unwrap_or_default(),
            needs_restart: self.upgrading.needs_restart,
            probation,
        };
        if upgrade.accepted {
            self.report.upgraded();
            let pid = self.decisions.front().map_or(0, |id| self.pid(id));
            tracing::info!(
                message_id = event::UPGRADED,
                gateway_pid = pid,
                version = upgrade.version,
                "upgraded: hitless {} serves as process {pid}, on probation for {probation:?}",
                upgrade.version
            );
        } else {
            let reason = &upgrade.reason;
            self.report.not_upgraded(reason);
            tracing::error!(message_id = event::UPGRADE_REFUSED, reason, "upgrade refused: {reason}");
        }
        self.tell_status();
        let Some(index) = self.upgrading.askers.iter().position(|(one, _)| *one == ticket) else { return };
        let (_, asker) = self.upgrading.askers.swap_remove(index);
        let answer = serde_json::to_vec(&upgrade).unwrap_or_default();
        // A few hundred bytes into an empty buffer; who has gone meanwhile is its own business.
        let _ = File::from(asker).write_all(&answer);
    }

    /// Does not return when it is done.
    pub(super) fn reexecute(&mut self) -> Option<Event> {
        let state = self.state()?;
        let program = self.program_of_the_front();
        self.household.log.flush(LAST_LINES);
        let error = reexec::execute(&program, &state);
        tracing::error!(
            "cannot execute the new program in place of the keeper: {error}; the keeper from before goes on, \
             and a gateway that dies is replaced by the old program: restart hitless when it suits"
        );
        Some(Event::NotReexecuted)
    }

    /// Everything that a keeper is.
    fn state(&self) -> Option<State> {
        let Household { directory, program, pseudonym, sockets, accepted, certificates, .. } =
            &self.household;
        let socket = |socket: &Opened| SocketState {
            record: socket.record.clone(),
            fd: socket.fd.as_raw_fd(),
            file: socket.file(),
        };
        let left = |moment: Instant| moment.saturating_duration_since(Instant::now());
        let gateway = |(id, kept): (&Id, &Kept)| GatewayState {
            id: *id,
            pid: kept.gateway.pid(),
            control: kept.gateway.control().as_raw_fd(),
            age_ms: milliseconds(kept.gateway.lived()),
            patience_ms: kept.patience.map(left).map(milliseconds),
            adopting: kept.adopting,
            adopts: kept.adopts,
            adopts_stored: kept.adopts_stored.clone(),
            summary: kept.summary.clone(),
        };
        Some(State {
            version: reexec::VERSION,
            directory: directory.clone(),
            program: program.clone(),
            pseudonym: pseudonym.clone(),
            generation: accepted.generation,
            snapshot: accepted.snapshot.as_raw_fd(),
            certificates: certificates.as_ref().map(AsRawFd::as_raw_fd),
            sockets: sockets.opened.iter().map(socket).collect(),
            gateways: self.gateways.iter().map(gateway).collect(),
            stored: sockets.stored.iter().map(AsRawFd::as_raw_fd).collect(),
            askers: self.upgrading.askers.iter().map(|(ticket, fd)| (*ticket, fd.as_raw_fd())).collect(),
            tickets: self.upgrading.tickets,
            settled: self.decisions.settled()?,
            report: self.report.clone(),
        })
    }

    /// The other end of [`Keeper::state`], in another program. Needs a tokio runtime.
    pub(super) fn resume(state: State, accepted: Accepted, log: log::Handle) -> std::io::Result<Keeper> {
        let mut opened = vec![];
        for SocketState { record, fd, file } in state.sockets {
            opened.push(Opened::resume(record, reexec::own(fd)?, file));
        }
        let mut stored = vec![];
        for fd in state.stored {
            stored.push(reexec::own(fd)?);
        }
        let household = Household {
            directory: state.directory,
            program: state.program,
            pseudonym: state.pseudonym,
            sockets: Sockets { opened, stored },
            accepted,
            certificates: state.certificates.map(reexec::own).transpose()?,
            watchdog: watchdog::interval(),
            log,
        };
        let mut keeper = Keeper::new(household, Decisions::resume(state.settled), state.report);
        for state in state.gateways {
            let GatewayState { id, adopting, adopts, adopts_stored, summary, .. } = state;
            let age = Duration::from_millis(state.age_ms);
            let gateway = Gateway::resume(state.pid, reexec::own(state.control)?, age)?;
            let patience = state.patience_ms.map(|left| Instant::now() + Duration::from_millis(left));
            let kept = Kept { gateway, patience, adopting, adopts, adopts_stored, summary };
            keeper.gateways.insert(id, kept);
        }
        keeper.upgrading.tickets = state.tickets;
        for (ticket, fd) in state.askers {
            keeper.upgrading.askers.push((ticket, reexec::own(fd)?));
        }
        Ok(keeper)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
