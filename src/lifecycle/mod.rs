//! PURE: which phase a gateway is in, and what to do next.
//!
//! ```text
//!              all blockers gone            ReloadRequested
//!  Starting ─────────────────────▶ Serving ◀──────────────▶ Reloading
//!     │                               │       installed,        │
//!     │ DrainRequested                │       refused           │ DrainRequested
//!     │                DrainRequested ▼                         ▼ (the reload is abandoned)
//!     │                      Draining: LameDuck ──▶ Finishing ──▶ Cutting
//!     ▼                                                │ idle       │ idle, or its limit
//!  Stopped ◀───────────────────────────────────────────┴────────────┘
//!
//!  Serving,  ──HandOverRequested──▶              ──idle───────────────────▶ Stopped
//!  Reloading ◀──TakeBackRequested── HandingOver  ──deadline, DrainRequested,
//!                                                  MailboxFull────────────▶ Draining: Finishing
//!
//!  KeeperGone: Serving, Reloading and a handover to a gateway drain at once; what is kept for the next start goes on
//! ```
//!
//! Happy path: every blocker goes, the gateway serves, reloads, and at the end drains until it is
//! idle, or hands over until nothing is left. Failure paths: a start that fails stops; a refused
//! reload goes back to Serving with the same generation; a deadline cuts what is left; a data thread
//! that died drains the others, to be replaced, or lets them hand over. A handover whose incoming
//! gateway is gone is taken back, and all goes on where it was, a reload too; one that takes too
//! long, or that is told to drain, ends as a drain. `EndRequested` stops from anywhere at once. What drains or fills the
//! store may leave its keeper, or be left by it, and goes on as it is.
//!
//! Promises: never ready while a blocker is left; a refused reload has no effect but its report;
//! every drain and every handover ends; newcomers are refused only on sockets that nobody will
//! accept from again; nobody is alone while it accepts; nothing happens after Stopped.
//! Must not know: tokio, sockets, clocks. A caller carries out the effects in order.

pub mod deadline;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

/// Where a gateway is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting { generation: u64, waiting_for: BTreeSet<Blocker> },
    Serving { generation: u64 },
    Reloading { generation: u64, step: ReloadStep, again: bool },
    HandingOver(HandingOver),
    Draining { generation: u64, stage: DrainStage, why: Why, closing: bool },
    Stopped,
}

/// What a gateway that hands over remembers, to end in either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandingOver {
    pub generation: u64,
    pub to: Incoming,
    /// Under way when it began, and asked for again: it goes on if this is taken back.
    pub reload: Option<(ReloadStep, bool)>,
    /// A data thread has died meanwhile.
    pub broken: bool,
    /// systemd is about to close the sockets that it passed.
    pub closing: bool,
}

/// Who takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A gateway that accepts newcomers already.
    Here,
    /// The next start: what moves is kept until then.
    Later,
}

/// Why a gateway drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was told to stop.
    Told,
    /// It is to be replaced: newcomers wait for the next one.
    ThreadDied,
    /// This is what is left of a handover.
    HandedOver(Incoming),
}

/// Whose listening sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Bound by the keeper: they end with it.
    Own,
    /// systemd's, which may keep them open for the next start.
    Passed,
}

/// What a gateway waits for before it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocker {
    Configuration,
    Listeners,
    Admin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadStep {
    /// The files are being read and checked; nothing has changed yet.
    Loading,
    /// Accepted; the data threads are swapping to it.
    Installing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainStage {
    /// Not ready any more, but everything is served.
    LameDuck,
    /// Nothing new is accepted, what is in flight is answered.
    Finishing,
    /// The deadline has passed, the rest is being cut.
    Cutting,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    BlockerGone(Blocker),
    StartFailed,
    ReloadRequested,
    /// The files on disk were accepted.
    ReloadLoaded,
    /// Every data thread serves the new generation.
    ReloadInstalled,
    ReloadRefused,
    DrainRequested {
        lame_duck: bool,
    },
    HandOverRequested {
        to: Incoming,
    },
    /// The incoming gateway is gone.
    TakeBackRequested,
    /// What is to be kept for the next start takes no more.
    MailboxFull,
    /// The keeper is about to end, and the next start to begin.
    LeaveRequested,
    /// The keeper is no more.
    KeeperGone,
    /// systemd is about to close the sockets that it passed.
    SocketsClosing,
    /// A data thread is gone, with what it had.
    ThreadDied,
    LameDuckOver,
    /// No connection is left.
    Idle,
    DeadlinePassed,
    /// What was cut had its time to go.
    CutLimitPassed,
    /// Stop now, whatever is in flight.
    EndRequested,
}

/// What the caller must do, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    AnnounceReady,
    /// Read and check the files, without changing anything.
    Load,
    /// Swap the data threads to what was loaded, as this generation.
    Install {
        generation: u64,
    },
    AnnounceReloaded {
        generation: u64,
    },
    AnnounceRefused {
        generation: u64,
    },
    /// Tell whoever waits for a reload that there will be none.
    AbandonReload,
    AnnounceHandingOver,
    /// Accept nothing from here on; whatever can move departs as soon as it can.
    HandOver,
    /// Accept again, and serve on with everything that was not taken.
    TakeBack,
    AnnounceDraining,
    ArmLameDuck,
    /// From here on new connections wait in the kernel; idle ones are closed after their grace.
    StopAccepting,
    /// Accept what waits already, and refuse whoever comes from here on.
    Refuse(Whose),
    /// In the place of one that is armed.
    ArmDeadline,
    DisarmDeadline,
    Cut,
    ArmCutLimit,
    /// From here on nobody watches this gateway, and the next start needs what it has of listening sockets.
    GoAlone,
    /// Close every resource in reverse order of opening and exit.
    Close,
}

impl Phase {
    /// The beginning: everything is still missing. The first gateway starts with generation 1, one
    /// that replaces a dead one with the generation that was accepted last.
    pub fn starting(generation: u64) -> Phase {
        let waiting_for = [Blocker::Configuration, Blocker::Listeners, Blocker::Admin].into();
        Phase::Starting { generation, waiting_for }
    }

    /// The phase after `event`, and what to do on the way. An event that means nothing in this
    /// phase (a late timer, a result nobody waits for any more) changes nothing.
    pub fn next(self, event: Event) -> (Phase, Vec<Effect>) {
        match (self, event) {
            (Phase::Stopped, _) => (Phase::Stopped, vec![]),
            (phase, Event::EndRequested) => end(&phase),
            (phase, Event::LeaveRequested) => leave(phase),
            (phase, Event::KeeperGone) => orphaned(phase),
            (Phase::Starting { generation, waiting_for }, event) => starting(generation, waiting_for, event),
            (Phase::Serving { generation }, event) => serving(generation, event),
            (Phase::Reloading { generation, step, again }, event) => {
                reloading(generation, step, again, event)
            }
            (Phase::HandingOver(handing_over), event) => handing_over.next(event),
            (Phase::Draining { generation, stage, why, closing }, event) => {
                draining(generation, stage, why, closing, event)
            }
        }
    }

    /// Whether new work should be sent here; otherwise why not, in an operator's words.
    pub fn readiness(&self) -> Result<(), Vec<String>> {
        match self {
            Phase::Serving { .. } | Phase::Reloading { .. } => Ok(()),
            Phase::Starting { waiting_for, .. } => {
                Err(waiting_for.iter().map(|blocker| format!("waiting for {blocker}")).collect())
            }
            Phase::HandingOver(_) => Err(vec!["handing over".into()]),
            Phase::Draining { .. } => Err(vec!["draining".into()]),
            Phase::Stopped => Err(vec!["stopped".into()]),
        }
    }

    /// The word for it in `/status` and in logs.
    pub fn word(&self) -> &'static str {
        match self {
            Phase::Starting { .. } => "starting",
            Phase::Serving { .. } => "serving",
            Phase::Reloading { .. } => "reloading",
            Phase::HandingOver(_) => "handing-over",
            Phase::Draining { stage: DrainStage::LameDuck, .. } => "lame-duck",
            Phase::Draining { .. } => "draining",
            Phase::Stopped => "stopped",
        }
    }
}

fn starting(generation: u64, mut waiting_for: BTreeSet<Blocker>, event: Event) -> (Phase, Vec<Effect>) {
    match event {
        Event::BlockerGone(blocker) => {
            waiting_for.remove(&blocker);
            if waiting_for.is_empty() {
                (Phase::Serving { generation }, vec![Effect::AnnounceReady])
            } else {
                (Phase::Starting { generation, waiting_for }, vec![])
            }
        }
        // Nothing was announced, so nobody was sent here: there is nothing to drain.
        Event::StartFailed | Event::ThreadDied | Event::DrainRequested { .. } => {
            (Phase::Stopped, vec![Effect::Close])
        }
        _ => (Phase::Starting { generation, waiting_for }, vec![]),
    }
}

fn serving(generation: u64, event: Event) -> (Phase, Vec<Effect>) {
    match event {
        Event::ReloadRequested => {
            (Phase::Reloading { generation, step: ReloadStep::Loading, again: false }, vec![Effect::Load])
        }
        Event::HandOverRequested { to } => hand_over(generation, to, None),
        Event::DrainRequested { lame_duck } => drain(generation, lame_duck, vec![]),
        Event::ThreadDied => drain_to_be_replaced(generation, vec![]),
        _ => (Phase::Serving { generation }, vec![]),
    }
}

fn reloading(generation: u64, step: ReloadStep, again: bool, event: Event) -> (Phase, Vec<Effect>) {
    match (step, event) {
        // Many requests during one reload are one more reload: only the last state of the files counts.
        (_, Event::ReloadRequested) => (Phase::Reloading { generation, step, again: true }, vec![]),
        (ReloadStep::Loading, Event::ReloadLoaded) => (
            Phase::Reloading { generation, step: ReloadStep::Installing, again },
            vec![Effect::Install { generation: generation + 1 }],
        ),
        (ReloadStep::Loading, Event::ReloadRefused) => {
            settle(generation, again, Effect::AnnounceRefused { generation })
        }
        (ReloadStep::Installing, Event::ReloadInstalled) => {
            let generation = generation + 1;
            settle(generation, again, Effect::AnnounceReloaded { generation })
        }
        (_, Event::HandOverRequested { to }) => hand_over(generation, to, Some((step, again))),
        (_, Event::DrainRequested { lame_duck }) => drain(generation, lame_duck, vec![Effect::AbandonReload]),
        (_, Event::ThreadDied) => drain_to_be_replaced(generation, vec![Effect::AbandonReload]),
        _ => (Phase::Reloading { generation, step, again }, vec![]),
    }
}

/// A reload has its verdict; the one asked for meanwhile begins.
fn settle(generation: u64, again: bool, verdict: Effect) -> (Phase, Vec<Effect>) {
    if again {
        let step = ReloadStep::Loading;
        (Phase::Reloading { generation, step, again: false }, vec![verdict, Effect::Load])
    } else {
        (Phase::Serving { generation }, vec![verdict])
    }
}

fn hand_over(generation: u64, to: Incoming, reload: Option<(ReloadStep, bool)>) -> (Phase, Vec<Effect>) {
    let mut effects = vec![Effect::AnnounceHandingOver, Effect::ArmDeadline, Effect::HandOver];
    if to == Incoming::Later {
        effects.push(Effect::Refuse(Whose::Own));
    }
    let handing_over = HandingOver { generation, to, reload, broken: false, closing: false };
    (Phase::HandingOver(handing_over), effects)
}

impl HandingOver {
    fn next(mut self, event: Event) -> (Phase, Vec<Effect>) {
        let effects = match event {
            Event::Idle => return (Phase::Stopped, [self.abandoned(), vec![Effect::Close]].concat()),
            Event::DeadlinePassed | Event::DrainRequested { .. } => return self.drain(),
            Event::MailboxFull if self.to == Incoming::Later => return self.drain(),
            Event::TakeBackRequested if self.to == Incoming::Here => return self.take_back(),
            Event::ThreadDied => {
                self.broken = true;
                vec![]
            }
            Event::SocketsClosing if self.to == Incoming::Later && !self.closing => {
                self.closing = true;
                vec![Effect::Refuse(Whose::Passed)]
            }
            event => self.reload_went_on(event),
        };
        (Phase::HandingOver(self), effects)
    }

    /// What was only read is abandoned; what the threads swap to already is there.
    fn reload_went_on(&mut self, event: Event) -> Vec<Effect> {
        match (self.reload, event) {
            (Some((ReloadStep::Loading, _)), Event::ReloadLoaded | Event::ReloadRefused) => {
                self.reload = None;
                vec![Effect::AbandonReload]
            }
            (Some((ReloadStep::Installing, again)), Event::ReloadInstalled) => {
                self.reload = None;
                self.generation += 1;
                let announced = Effect::AnnounceReloaded { generation: self.generation };
                [vec![announced], again.then_some(Effect::AbandonReload).into_iter().collect()].concat()
            }
            _ => vec![],
        }
    }

    fn abandoned(&self) -> Vec<Effect> {
        self.reload.map(|_| Effect::AbandonReload).into_iter().collect()
    }

    /// Newcomers are somebody else's: nobody more is refused than was already.
    fn drain(self) -> (Phase, Vec<Effect>) {
        let begin = vec![Effect::AnnounceDraining, Effect::ArmDeadline, Effect::StopAccepting];
        let effects = [self.abandoned(), begin].concat();
        let HandingOver { generation, to, closing, .. } = self;
        let (stage, why) = (DrainStage::Finishing, Why::HandedOver(to));
        (Phase::Draining { generation, stage, why, closing }, effects)
    }

    fn take_back(self) -> (Phase, Vec<Effect>) {
        let generation = self.generation;
        if self.broken {
            return drain_to_be_replaced(generation, self.abandoned());
        }
        let phase = match self.reload {
            Some((step, again)) => Phase::Reloading { generation, step, again },
            None => Phase::Serving { generation },
        };
        (phase, vec![Effect::DisarmDeadline, Effect::TakeBack])
    }
}

fn drain(generation: u64, lame_duck: bool, mut effects: Vec<Effect>) -> (Phase, Vec<Effect>) {
    effects.push(Effect::AnnounceDraining);
    // The deadline counts from here in any case: the lame-duck time is part of the stop.
    effects.push(Effect::ArmDeadline);
    let stage = if lame_duck {
        effects.push(Effect::ArmLameDuck);
        DrainStage::LameDuck
    } else {
        effects.extend(stop_accepting(false));
        DrainStage::Finishing
    };
    (Phase::Draining { generation, stage, why: Why::Told, closing: false }, effects)
}

/// Everybody else is answered, without a lame-duck time: those who come wait meanwhile.
fn drain_to_be_replaced(generation: u64, mut effects: Vec<Effect>) -> (Phase, Vec<Effect>) {
    effects.extend([Effect::AnnounceDraining, Effect::ArmDeadline, Effect::StopAccepting]);
    let stage = DrainStage::Finishing;
    (Phase::Draining { generation, stage, why: Why::ThreadDied, closing: false }, effects)
}

/// What would wait in a queue that nobody will ever empty is refused instead.
fn stop_accepting(closing: bool) -> Vec<Effect> {
    let mut effects = vec![Effect::StopAccepting, Effect::Refuse(Whose::Own)];
    if closing {
        effects.push(Effect::Refuse(Whose::Passed));
    }
    effects
}

fn draining(
    generation: u64,
    stage: DrainStage,
    why: Why,
    closing: bool,
    event: Event,
) -> (Phase, Vec<Effect>) {
    let at = |stage| Phase::Draining { generation, stage, why, closing };
    match (stage, event) {
        (DrainStage::LameDuck, Event::LameDuckOver) => (at(DrainStage::Finishing), stop_accepting(closing)),
        (DrainStage::LameDuck, Event::DeadlinePassed) => {
            (at(DrainStage::Cutting), [stop_accepting(closing), cut()].concat())
        }
        (DrainStage::Finishing, Event::DeadlinePassed) => (at(DrainStage::Cutting), cut()),
        // Idle in the lame-duck stage is a quiet moment, not the end: it still accepts.
        (DrainStage::Finishing | DrainStage::Cutting, Event::Idle)
        | (DrainStage::Cutting, Event::CutLimitPassed) => (Phase::Stopped, vec![Effect::Close]),
        // The incoming gateway sees to it.
        (_, Event::SocketsClosing) if why == Why::HandedOver(Incoming::Here) => (at(stage), vec![]),
        (_, Event::SocketsClosing) if !closing => {
            let now = stage != DrainStage::LameDuck;
            let effects = now.then_some(Effect::Refuse(Whose::Passed)).into_iter().collect();
            (Phase::Draining { generation, stage, why, closing: true }, effects)
        }
        // There will be no next gateway after all.
        (_, Event::DrainRequested { .. }) if why == Why::ThreadDied => {
            let phase = Phase::Draining { generation, stage, why: Why::Told, closing };
            (phase, vec![Effect::Refuse(Whose::Own)])
        }
        _ => (at(stage), vec![]),
    }
}

/// What still accepts does not leave.
fn leave(phase: Phase) -> (Phase, Vec<Effect>) {
    match phase {
        Phase::Draining { generation, stage: DrainStage::LameDuck, why, closing } => {
            let phase = Phase::Draining { generation, stage: DrainStage::Finishing, why, closing };
            (phase, [stop_accepting(closing), vec![Effect::GoAlone]].concat())
        }
        // Whoever replaces it finds the addresses in use otherwise.
        Phase::Draining { generation, stage, why: Why::ThreadDied, closing } => {
            let phase = Phase::Draining { generation, stage, why: Why::Told, closing };
            (phase, vec![Effect::Refuse(Whose::Own), Effect::GoAlone])
        }
        Phase::Draining { .. } => (phase, vec![Effect::GoAlone]),
        Phase::HandingOver(HandingOver { to: Incoming::Later, .. }) => (phase, vec![Effect::GoAlone]),
        phase => (phase, vec![]),
    }
}

/// The next start is near, so that nobody is told to stay away: no lame-duck time.
fn orphaned(phase: Phase) -> (Phase, Vec<Effect>) {
    let (phase, effects) = match phase {
        Phase::Starting { .. } => return (Phase::Stopped, vec![Effect::Close]),
        Phase::Serving { generation } => drain(generation, false, vec![]),
        Phase::Reloading { generation, .. } => drain(generation, false, vec![Effect::AbandonReload]),
        Phase::HandingOver(handing_over) if handing_over.to == Incoming::Here => handing_over.drain(),
        phase => (phase, vec![]),
    };
    let (phase, alone) = leave(phase);
    (phase, [effects, alone].concat())
}

fn cut() -> Vec<Effect> {
    vec![Effect::Cut, Effect::ArmCutLimit]
}

fn end(phase: &Phase) -> (Phase, Vec<Effect>) {
    let effects = match phase {
        Phase::Starting { .. } | Phase::Stopped => vec![Effect::Close],
        Phase::Serving { .. } => vec![Effect::StopAccepting, Effect::Cut, Effect::Close],
        Phase::Reloading { .. } => {
            vec![Effect::AbandonReload, Effect::StopAccepting, Effect::Cut, Effect::Close]
        }
        Phase::HandingOver(handing_over) => {
            [handing_over.abandoned(), vec![Effect::Cut, Effect::Close]].concat()
        }
        Phase::Draining { stage: DrainStage::LameDuck, .. } => {
            vec![Effect::StopAccepting, Effect::Cut, Effect::Close]
        }
        Phase::Draining { stage: DrainStage::Finishing, .. } => vec![Effect::Cut, Effect::Close],
        Phase::Draining { stage: DrainStage::Cutting, .. } => vec![Effect::Close],
    };
    (Phase::Stopped, effects)
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Blocker::Configuration => "the configuration",
            Blocker::Listeners => "the listeners",
            Blocker::Admin => "the admin sockets",
        })
    }
}
