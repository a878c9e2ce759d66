//! Certificates that change by themselves, beside the generations: watched, looked at, swapped in place.
//!
//! ```text
//!   files ─touched─▶ looked at, off the control loop ─▶ the same directory shows the new pair
//!   hourly ─────────▶       └─▶ said once; the keeper gets what is accepted now
//! ```
//! Promises: no connection and no generation ends because a certificate changes; one look at a time, and another one
//! when something was touched meanwhile. Who renews nothing is told 14, 3 and 1 days before the end, each once.
//! Must not know: what is in a certificate.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::control::{Control, Due, Input};
use crate::handover::control::ToKeeper;
use crate::handover::sealed;
use crate::telemetry::event;
use crate::tls::{Change, Directory, Fault, Kept, Shown, Watch};

/// More than all certificates of a host; a reader allocates no more than this.
const MOST: u64 = 64 << 20;
/// So often files are looked at whatever was noticed.
const LOOK: Duration = Duration::from_secs(60 * 60);
/// So many days before the end.
const WARNED: [i64; 3] = [14, 3, 1];

#[derive(Default)]
pub struct Certificates {
    watch: Option<Watch>,
    looking: bool,
    touched: bool,
    /// The keeper has some.
    kept: bool,
    /// The last warning about each pair, by its end: its days.
    warned: HashMap<(String, i64), i64>,
}

impl Control {
    /// Those of the generation that serves now.
    pub(super) fn watch_certificates(&mut self) {
        let places = self.office.blueprint.borrow().tls.places();
        self.certificates.watch = None;
        if places.is_empty() {
            if std::mem::take(&mut self.certificates.kept) {
                self.outbox.send(ToKeeper::Certificates);
            }
            return;
        }
        let queue = self.queue.clone();
        let touched = move || _ = queue.send(Input::CertificatesTouched);
        match Watch::begin(&places, touched) {
            Ok(watch) => self.certificates.watch = Some(watch),
            Err(error) => tracing::warn!(
                "cannot watch certificates for changes: {error}, looking at them hourly and at each reload"
            ),
        }
        self.keep_certificates();
        // What was touched between the reading and the watching.
        self.tell(Input::CertificatesTouched);
    }

    pub(super) fn count_days(&mut self) {
        self.tell(Input::CertificatesTouched);
        self.after(LOOK, Due::Certificates);
    }

    pub(super) fn certificates_touched(&mut self) {
        // Those of systemd's credentials vanish with the keeper; nobody new is shown any.
        if self.alone.has_begun() {
            return;
        }
        if std::mem::replace(&mut self.certificates.looking, true) {
            self.certificates.touched = true;
            return;
        }
        let directory = Arc::clone(&self.office.blueprint.borrow().tls);
        self.then(async move {
            let look = tokio::task::spawn_blocking(move || {
                let now = SystemTime::now();
                (directory.refresh(now), directory.shown(now), directory)
            });
            Input::CertificatesSeen(look.await.ok())
        });
    }

    pub(super) fn certificates_seen(&mut self, seen: Option<Seen>) {
        self.certificates.looking = false;
        let Some((changes, shown, directory)) = seen else {
            return tracing::error!("cannot look at the certificates: the look panicked, which is a bug");
        };
        for change in &changes {
            match change {
                Change::Taken(what) => {
                    tracing::info!(message_id = event::CERTIFICATE_TAKEN, "{what}");
                }
                Change::Refused(fault) => tracing::warn!(
                    message_id = event::CERTIFICATE_REFUSED,
                    "certificate refused, the one before it stays: {fault}"
                ),
            }
        }
        self.warn_of_ends(&shown);
        if Arc::ptr_eq(&directory, &self.office.blueprint.borrow().tls)
            && changes.iter().any(|change| matches!(change, Change::Taken(_)))
        {
            self.keep_certificates();
        }
        if std::mem::take(&mut self.certificates.touched) {
            self.certificates_touched();
        }
    }

    fn warn_of_ends(&mut self, shown: &[Shown]) {
        let is_shown =
            |chain: &str, end: i64| shown.iter().any(|pair| pair.chain == chain && pair.not_after == end);
        self.certificates.warned.retain(|(chain, end), _| is_shown(chain, *end));
        for pair in shown {
            let Some(days) = WARNED.into_iter().rev().find(|days| pair.days_left < *days) else { continue };
            let before = self.certificates.warned.insert((pair.chain.clone(), pair.not_after), days);
            if before != Some(days) {
                let names = pair.names.join(", ");
                let when = match pair.days_left {
                    ..0 => "has expired".to_owned(),
                    0 => "expires within a day".into(),
                    1 => "expires in 1 day".into(),
                    days => format!("expires in {days} days"),
                };
                tracing::warn!("the certificate {} ({names}) {when}; renew it", pair.chain);
            }
        }
    }

    /// With the keeper, in memory: for a gateway that comes in the place of this one while a file is broken.
    fn keep_certificates(&mut self) {
        let kept = self.office.blueprint.borrow().tls.keep();
        let content = serde_json::to_vec(&kept).map(zeroize::Zeroizing::new);
        let sealed = content.map_err(std::io::Error::from);
        self.certificates.kept = true;
        match sealed.and_then(|content| sealed::seal(c"hitless-certificates", &content)) {
            Ok(memory) => self.outbox.send_with(ToKeeper::Certificates, vec![memory]),
            Err(error) => tracing::error!("cannot seal the certificates for the keeper: {error}"),
        }
    }
}

/// For people.
pub fn in_lines(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

/// What served in another process, for files that do not load.
pub fn taken(memory: Option<OwnedFd>) -> Kept {
    let Some(memory) = memory else { return Kept::default() };
    let content = sealed::open(memory, "memory of certificates", MOST);
    let kept = content.and_then(|content| {
        let content = zeroize::Zeroizing::new(content);
        Ok(serde_json::from_slice(&content[..])?)
    });
    kept.unwrap_or_else(|error| {
        tracing::warn!("cannot use the certificates that the keeper has: {error}, reading the files only");
        Kept::default()
    })
}

/// What became of the files, what is shown by now, and by which directory.
pub type Seen = (Vec<Change>, Vec<Shown>, Arc<Directory>);
