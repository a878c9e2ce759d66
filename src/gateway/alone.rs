//! A gateway without a keeper: what it has left to do it does by itself, within a bound that the kernel keeps.
//!
//! ```text
//!   told to leave:       the store is being filled, or it drains ─▶ lets go ─▶ Left ─▶ the keeper ends ─▶ the next start
//!   left, by a death:    drains, or goes on filling the store    ─▶ lets go            the next start, a moment later
//! ```
//! To let go is to close whatever the next start needs: its copies of the listening sockets and of the admin sockets,
//! and the mailboxes that the next start reads as well. The unit's `KillMode=process` leaves such a process alone; its
//! name begins with a parenthesis, as those do that systemd itself takes for helpers, so that neither the stop nor
//! the next start warns of it (`unit_log_leftover_process` in systemd's unit.c).
//!
//! Promises: nothing of this process accepts when the keeper hears `Left`; it ends by its deadline, or else by SIGALRM;
//! also when the control loop does not even notice that the keeper is gone.
//! Must not know: how what it has comes to its end.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, mem, thread};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::control::{Control, Input};
use super::drain::{self, AFTER_DEATH};
use crate::handover::control::ToKeeper;
use crate::lifecycle::{Event, Incoming, Phase, deadline};

/// Beyond the deadline: to cut, and to close everything in order.
const MARGIN: Duration = Duration::from_secs(10);
/// For the control loop to notice that the keeper is gone.
const NOTICE: Duration = Duration::from_secs(10);
/// Beats in a row that a thread has missed before it counts as wedged; systemd acts after four.
const MISSED: u32 = 2;
/// Enough for one call.
const STACK: usize = 64 * 1024;

/// What a gateway knows of its being alone.
#[derive(Default)]
pub struct Alone {
    pub lifeline: Lifeline,
    /// Newcomers are being refused until these end.
    pub refusals: Vec<oneshot::Receiver<()>>,
    /// Beats in a row that a data thread has not answered.
    pub missed: u32,
    begun: bool,
    /// The keeper waits for `Left`.
    asked: bool,
}

impl Alone {
    pub fn has_begun(&self) -> bool {
        self.begun
    }
}

impl Control {
    pub(super) fn leave_asked(&mut self, stored: &[u32]) {
        let leaves = match &*self.office.phase.borrow() {
            Phase::HandingOver(handing_over) => handing_over.to == Incoming::Later,
            phase => matches!(phase, Phase::Draining { .. }),
        };
        if !leaves {
            let word = self.office.phase.borrow().word();
            return tracing::warn!("cannot go on alone while {word}, staying");
        }
        self.handovers.leave_mailboxes(Some(stored));
        self.alone.asked = true;
        self.step(Event::LeaveRequested);
    }

    pub(super) fn keeper_gone(&mut self) {
        if self.alone.begun {
            // As it was told.
            return;
        }
        let filling =
            matches!(&*self.office.phase.borrow(), Phase::HandingOver(now) if now.to == Incoming::Later);
        let what = if filling { "going on alone" } else { "draining" };
        tracing::error!("the keeper is gone, {what}");
        self.broken = false;
        // The next start has them too.
        self.handovers.leave_mailboxes(None);
        if !filling && self.drain.is_none() {
            self.drain_begins(self.time_without_keeper(), None);
        }
        self.step(Event::KeeperGone);
    }

    fn time_without_keeper(&self) -> Duration {
        let deadline = deadline::drain(&self.drain_settings(), drain::seen(&self.threads.totals()), None);
        // What a wedged thread has is not answered any more.
        if self.alone.missed < MISSED { deadline } else { deadline.min(AFTER_DEATH) }
    }

    pub(super) fn go_alone(&mut self) {
        if mem::replace(&mut self.alone.begun, true) {
            return;
        }
        // Of the main thread, which this is: the one that systemd looks at.
        let _ = rustix::thread::set_name(c"(hitless)");
        let left = self.time_left();
        self.alone.lifeline.is_noticed(left + MARGIN);
        tracing::info!("finishing alone what is in flight, {:.0} s left", left.as_secs_f64());
        let doors = self.doors.borrow_mut().as_mut().map(crate::admin::Doors::leave);
        let refusals = mem::take(&mut self.alone.refusals);
        let threads = Rc::clone(&self.threads);
        self.then(async move {
            if let Some(doors) = doors {
                doors.await;
            }
            for over in refusals {
                let _ = over.await;
            }
            threads.let_go().await;
            Input::LetGo
        });
    }

    /// Of the drain, or of the handover and the drain that it may end as.
    fn time_left(&self) -> Duration {
        self.drain.as_ref().map_or_else(|| self.handovers.left(), |drain| drain.left())
    }

    pub(super) fn let_go(&mut self) {
        if self.alone.asked {
            self.outbox.send(ToKeeper::Left);
        }
    }
}

/// Watches, beside the control loop, whether the keeper lives.
#[derive(Clone, Default)]
pub struct Lifeline(Arc<Mutex<bool>>);

impl Lifeline {
    /// `control`: a copy of the control socket.
    pub fn begin(control: OwnedFd) -> io::Result<Lifeline> {
        let lifeline = Lifeline::default();
        let watching = lifeline.clone();
        thread::Builder::new().name("lifeline".into()).stack_size(STACK).spawn(move || {
            // Nothing is asked for: the end of the other side is told all the same.
            let mut gone = [PollFd::new(&control, PollFlags::empty())];
            while poll(&mut gone, None) == Err(Errno::INTR) {}
            let noticed = watching.noticed();
            if !*noticed {
                alarm(NOTICE);
            }
        })?;
        Ok(lifeline)
    }

    /// The control loop knows, and ends within this time.
    fn is_noticed(&self, within: Duration) {
        let mut noticed = self.noticed();
        *noticed = true;
        alarm(within);
    }

    fn noticed(&self) -> MutexGuard<'_, bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SIGALRM ends this process when the time is over, whatever state it is in. In the place of one set before.
fn alarm(within: Duration) {
    let seconds = u32::try_from(within.as_secs()).unwrap_or(u32::MAX);
    // SAFETY: has no effect on memory; nobody here handles or blocks SIGALRM.
    unsafe { libc::alarm(seconds.max(1)) };
}
