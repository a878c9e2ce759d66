//! What a drain needs beside the decisions: its deadline, its progress, its report. A handover has the first two.
//!
//! Promises: the deadline lies within what configuration and unit allow; with `drain.extend` a
//! drain goes beyond the unit's limit only while something moves.
//! Must not know: how connections end.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::control::{Control, Due, Input};
use crate::config::settings;
use crate::connection::DrainOrder;
use crate::handover::control::{Drained, Progress, ToKeeper};
use crate::lifecycle::deadline::{self, Seen};
use crate::lifecycle::{DrainStage, Event, Phase, Whose};
use crate::telemetry::counters::Totals;
use crate::telemetry::{event, ledger};

/// How often the keeper hears how it goes.
const PROGRESS: Duration = Duration::from_secs(1);
/// What was cut gets this long to take its 503.
const CUT_LIMIT: Duration = Duration::from_secs(1);
/// Beyond the unit's limit a drain without progress for this long is over. Less than what the
/// keeper asks systemd for each time.
const STANDSTILL: Duration = Duration::from_secs(5);
/// When a data thread has died: newcomers wait in the kernel meanwhile, so what the other threads
/// have in flight gets no more than they can be kept waiting.
pub(super) const AFTER_DEATH: Duration = Duration::from_secs(5);
/// "Nearly all requests": for an adaptive deadline.
const NEARLY_ALL: f64 = 0.999;

/// A drain under way, or a handover.
pub struct Drain {
    handing_over: bool,
    began: Instant,
    deadline: Duration,
    unit_limit: Option<Duration>,
    at_start: Totals,
    last: Totals,
    moved: Instant,
}

impl Control {
    pub(super) fn drain_asked(&mut self, unit_limit: Option<Duration>) {
        self.broken = false;
        // Whoever fills them drains then.
        self.handovers.end_mailboxes();
        let settings = self.drain_settings();
        if self.drain.is_none() {
            let deadline = deadline::drain(&settings, seen(&self.threads.totals()), unit_limit);
            self.drain_begins(deadline, unit_limit);
        }
        self.step(Event::DrainRequested { lame_duck: !settings.lame_duck.is_zero() });
    }

    /// What it had is lost. The others finish, and the keeper replaces all of them at once: what a
    /// panic has left of a process is not to be trusted for long.
    pub(super) fn thread_died(&mut self) {
        if matches!(*self.office.phase.borrow(), Phase::HandingOver(_)) {
            tracing::error!("a data thread is gone: handing over what the others have");
        } else if self.drain.is_none() {
            self.drain_of_the_others_begins();
        }
        self.step(Event::ThreadDied);
    }

    pub(super) fn drain_of_the_others_begins(&mut self) {
        tracing::error!("a data thread is gone: finishing what the others have, to be replaced");
        self.broken = true;
        let deadline = deadline::drain(&self.drain_settings(), Seen::default(), None);
        self.drain_begins(deadline.min(AFTER_DEATH), None);
    }

    pub(super) fn drain_begins(&mut self, deadline: Duration, unit_limit: Option<Duration>) {
        self.drain = Some(Drain::begin(deadline, unit_limit, self.threads.totals()));
    }

    pub(super) fn announce_draining(&mut self) {
        let Some(drain) = &self.drain else { return };
        let progress = drain.progress();
        tracing::info!(
            message_id = event::DRAINING,
            requests = progress.requests,
            tunnels = progress.tunnels,
            connections = progress.connections,
            "{}",
            progress.line()
        );
        self.outbox.send(ToKeeper::Draining { deadline: drain.deadline });
        self.outbox.send(ToKeeper::Progress(progress));
        self.arm_progress();
    }

    pub(super) fn arm_progress(&mut self) {
        self.disarm_progress();
        self.after(PROGRESS, Due::Progress(self.armed.progress));
    }

    pub(super) fn disarm_progress(&mut self) {
        self.armed.progress += 1;
    }

    pub(super) fn arm_deadline(&mut self) {
        self.disarm_deadline();
        let Some(deadline) = self.course().map(|course| course.deadline) else { return };
        self.after(deadline, Due::Deadline(self.armed.deadline));
    }

    pub(super) fn disarm_deadline(&mut self) {
        self.armed.deadline += 1;
    }

    /// Of the drain, or else of the handover.
    fn course(&mut self) -> Option<&mut Drain> {
        match &mut self.drain {
            Some(drain) => Some(drain),
            None => self.handovers.course(),
        }
    }

    pub(super) fn deadline_passed(&mut self) {
        if matches!(*self.office.phase.borrow(), Phase::HandingOver(_)) {
            self.handover_overdue();
        }
        self.step(Event::DeadlinePassed);
    }

    pub(super) fn arm_lame_duck(&mut self) {
        let time = self.drain_settings().lame_duck;
        self.after(time, Due::LameDuckOver);
    }

    pub(super) fn stop_accepting(&mut self) {
        let settings = self.drain_settings();
        self.threads
            .drain(DrainOrder { idle_grace: settings.idle_grace, tunnel_jitter: settings.tunnel_jitter });
        self.handovers.give_no_more();
        if !self.handovers.are_departing() {
            self.await_idle();
        }
    }

    pub(super) fn await_idle(&mut self) {
        let threads = std::rc::Rc::clone(&self.threads);
        self.then(async move {
            threads.finished().await;
            Input::Idle
        });
    }

    /// `Idle` comes only when this has ended.
    pub(super) fn refuse(&mut self, whose: Whose) {
        let refusal = self.threads.refuse(whose == Whose::Passed);
        let (going, over) = oneshot::channel();
        self.alone.refusals.push(over);
        self.tasks.spawn_local(async move {
            refusal.await;
            drop(going);
        });
    }

    pub(super) fn cut(&mut self) {
        self.threads.cut();
    }

    pub(super) fn arm_cut_limit(&mut self) {
        self.after(CUT_LIMIT, Due::CutLimit);
    }

    pub(super) fn progress(&mut self) {
        let totals = self.threads.totals();
        let extend = self.drain_settings().extend;
        let Some(course) = self.course() else { return };
        course.look(totals);
        let progress = course.progress();
        let over = extend && course.stands_still_beyond_the_unit();
        self.outbox.send(ToKeeper::Progress(progress));
        self.arm_progress();
        let waiting = matches!(
            *self.office.phase.borrow(),
            Phase::HandingOver(_) | Phase::Draining { stage: DrainStage::Finishing, .. }
        );
        if over && waiting {
            tracing::warn!("nothing has moved for {STANDSTILL:?}, not asking systemd for more time");
            self.deadline_passed();
        }
    }

    /// The report at the end; a gateway that never drained has none.
    pub(super) fn announce_drained(&mut self) {
        let Some(drain) = &self.drain else { return };
        let totals = self.threads.totals();
        let report = drain.report(&totals);
        let Drained { answered, cut, took } = report;
        tracing::info!(
            message_id = event::DRAINED,
            answered,
            cut,
            duration_ms = took.as_millis() as u64,
            "drained in {:.1} s: {answered} answered, {cut} cut",
            took.as_secs_f64()
        );
        drain.account(&totals).announce("drain");
        self.outbox.send(ToKeeper::Drained(report));
    }

    pub(super) fn drain_settings(&self) -> settings::Drain {
        self.office.blueprint.borrow().settings.drain.clone()
    }
}

impl Drain {
    pub(super) fn begin(deadline: Duration, unit_limit: Option<Duration>, totals: Totals) -> Drain {
        let began = Instant::now();
        let (at_start, last) = (totals.clone(), totals);
        Drain { handing_over: false, began, deadline, unit_limit, at_start, last, moved: began }
    }

    pub(super) fn of_a_handover(self) -> Drain {
        Drain { handing_over: true, ..self }
    }

    pub(super) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.took())
    }

    fn look(&mut self, totals: Totals) {
        if movement(&totals) != movement(&self.last) {
            self.moved = Instant::now();
        }
        self.last = totals;
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            handing_over: self.handing_over,
            requests: self.last.in_flight.saturating_sub(self.last.tunnels_open),
            tunnels: self.last.tunnels_open,
            connections: self.last.connections_open,
            oldest: Duration::from_millis(self.last.oldest_ms),
            left: self.left(),
            moved: self.moved.elapsed() < PROGRESS * 2,
        }
    }

    fn stands_still_beyond_the_unit(&self) -> bool {
        self.unit_limit.is_some_and(|limit| self.began.elapsed() > limit) && self.moved.elapsed() > STANDSTILL
    }

    /// For the journal: what has happened since it began.
    pub(super) fn account(&self, end: &Totals) -> ledger::Report {
        ledger::report(&self.at_start, end, self.took())
    }

    fn report(&self, end: &Totals) -> Drained {
        Drained {
            answered: end.answered.saturating_sub(self.at_start.answered),
            cut: end.cut.saturating_sub(self.at_start.cut),
            took: self.began.elapsed(),
        }
    }
}

/// Anything that shows that a request in flight gets nearer to its end.
fn movement(totals: &Totals) -> (u64, u64, u64, u64) {
    (totals.in_flight, totals.connections_open, totals.bytes_received, totals.bytes_sent)
}

pub(super) fn seen(totals: &Totals) -> Seen {
    Seen {
        usual: totals.durations.quantile(NEARLY_ALL).unwrap_or_default(),
        oldest: Duration::from_millis(totals.oldest_ms),
    }
}
