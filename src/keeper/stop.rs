//! What becomes of connections when the keeper ends: drained, or kept by systemd for the next start.
//!
//! ```text
//!  restart   gateway ── parcels ──▶ one end of a mailbox      the other end ──FDSTORE──▶ systemd
//!  start     gateway ◀── parcels ── LISTEN_FDNAMES=mailbox    and, when it is empty, FDSTOREREMOVE
//! ```
//! Where the unit leaves processes alone (`KillMode=process`) the keeper does not wait for the gateway: that goes on
//! filling the mailbox while the next start begins and reads it, until its last request is answered. With any other
//! `KillMode=` systemd would kill it, so the keeper stays until it has ended. Not when the sockets are closed as well:
//! somebody has to refuse newcomers then.
//!
//! The accepted configuration and certificates go along: a restart must not fail because of a file that nobody has asked
//! to load.
//!
//! Promises: only a restart stores, and only where systemd keeps something (`FileDescriptorStoreMax=`); whenever storing
//! cannot begin, the gateway drains; what was stored is forgotten only when a gateway has adopted all of it; the
//! keeper leaves only gateways that have said that they go on alone.
//! Must not know: what is in the mailbox.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::decide::{Event, Id, Way};
use super::sockets::{CERTIFICATES_NAME, CONFIGURATION_NAME, STORED_NAME};
use super::watch::{DRAIN_MARGIN, Household, Keeper};
use crate::handover::control::{Destination, Moved, ToGateway};
use crate::handover::mailbox;
use crate::lifecycle::deadline;
use crate::systemd::activation::{Kind, Passed};
use crate::systemd::store::Barrier;
use crate::systemd::unit::{self, Ending, Job};
use crate::systemd::{notify, store};

/// systemd answers in milliseconds, or is in trouble itself.
const WHY_LIMIT: Duration = Duration::from_secs(3);
const BARRIER_LIMIT: Duration = Duration::from_secs(3);

/// A mailbox, the configuration, the certificates.
const STORED_EACH: usize = 3;

/// The `KillMode=` with which what the keeper leaves behind is left alone.
const LEAVES: &str = "process";

impl Keeper {
    pub(super) fn ask_why(&mut self) {
        let needed = self.household.sockets.stored.len() + STORED_EACH;
        self.why = Some(Box::pin(async move {
            tokio::time::timeout(WHY_LIMIT, why(needed)).await.unwrap_or(Way::Drain)
        }));
    }

    pub(super) async fn send_store(&mut self, id: Id) {
        let (end, barrier) = match self.put_into_store() {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!("cannot keep connections for the next start: {error}, draining instead");
                return self.send_drain(id).await;
            }
        };
        self.stored = Some(barrier);
        let limit = self.timeout_stop.map(deadline::unit_limit);
        let longest = deadline::longest(&self.household.accepted.settings.drain, limit);
        self.be_patient(id, Some(longest + DRAIN_MARGIN));
        notify::status("keeping connections for the next start");
        self.give(id, ToGateway::HandOver { to: Destination::Store, limit }, &end).await;
    }

    /// The end that a gateway writes into. The other one is systemd's alone, so that its next reader sees the end.
    fn put_into_store(&self) -> std::io::Result<(OwnedFd, Barrier)> {
        let (ours, stored) = mailbox::pair()?;
        store::keep(STORED_NAME, stored.as_fd())?;
        let Household { accepted, certificates, .. } = &self.household;
        let beside = [
            (CONFIGURATION_NAME, Some(accepted.snapshot.as_fd())),
            (CERTIFICATES_NAME, certificates.as_ref().map(AsFd::as_fd)),
        ];
        for (name, fd) in beside.into_iter().filter_map(|(name, fd)| Some((name, fd?))) {
            // One that a start before its adoption has left takes a place that a mailbox may need.
            store::forget(name);
            if let Err(error) = store::keep(name, fd) {
                tracing::warn!("cannot keep the {name} for the next start: {error}");
            }
        }
        Ok((ours, store::barrier()?))
    }

    /// systemd attributes what it reads to the unit by the number of a process that lives. It has had the whole handover
    /// to read this, so that the end, for which newcomers wait, hardly ever waits here.
    pub(super) fn look_after_store(&self) {
        if let Some(Err(error)) = self.stored.as_ref().map(|barrier| barrier.pass(BARRIER_LIMIT)) {
            tracing::warn!("cannot tell whether systemd keeps the connections: {error}");
        }
    }

    pub(super) async fn send_adopt_stored(&mut self, id: Id) {
        // Copies: a gateway that dies over it leaves the rest to the next one.
        for end in
            self.household.sockets.stored.iter().filter_map(|end| end.try_clone().ok()).collect::<Vec<_>>()
        {
            if let Some(kept) = self.gateways.get_mut(&id) {
                kept.adopts_stored.push(kept.adopts);
            }
            self.send_adopt(id, &end).await;
        }
    }

    /// After what it is to finish: the language of control sockets keeps the order.
    pub(super) async fn send_leave(&mut self, id: Id) {
        let stored = self.gateways.get(&id).map(|kept| kept.adopts_stored.clone()).unwrap_or_default();
        self.tell(id, ToGateway::Leave { stored }).await;
    }

    /// It is no child of anybody we know from here on.
    pub(super) fn left(&mut self, id: Id) -> Event {
        let pid = self.pid(id);
        tracing::info!(gateway_pid = pid, "process {pid} finishes alone what is in flight");
        self.gateways.remove(&id);
        Event::Left(id)
    }

    pub(super) fn forget_stored(&mut self) {
        self.household.sockets.stored.clear();
        [STORED_NAME, CONFIGURATION_NAME, CERTIFICATES_NAME].into_iter().for_each(store::forget);
    }

    /// With one mailbox less to empty; an event when it was the last one.
    pub(super) fn adopted(&mut self, id: Id, moved: &Moved) -> Option<Event> {
        let kept = self.gateways.get_mut(&id)?;
        kept.adopting = kept.adopting.saturating_sub(1);
        tracing::debug!(connections = moved.connections, tunnels = moved.tunnels, "a gateway has adopted");
        (kept.adopting == 0).then_some(Event::Adopted)
    }

    pub(super) fn handed_over(&mut self, moved: &Moved) {
        if self.stored.is_some() {
            notify::status(&format!("kept for the next start: {}", moved.line()));
        }
    }
}

/// What the start before has kept under this name, out of all that systemd passed.
pub(super) fn take_kept(passed: &mut Vec<Passed>, name: &str) -> Option<OwnedFd> {
    let kept = passed.extract_if(.., |passed| passed.kind == Kind::Stored && passed.name == name);
    // A restart that was killed may have left an older one.
    kept.last().map(|passed| passed.fd)
}

/// systemd closes what finds no place, without a word.
async fn why(needed: usize) -> Way {
    match unit::ending().await {
        Some(Ending { job: Job::Restart, store, kill_mode, closes_sockets }) if store as usize >= needed => {
            if kill_mode == LEAVES && !closes_sockets {
                Way::Leave
            } else {
                Way::Store
            }
        }
        _ => Way::Drain,
    }
}
