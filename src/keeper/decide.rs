//! PURE: what the keeper does when something happens.
//!
//! One gateway is the front: it accepts, or is about to. Beside it there may be one that is to take its place, and
//! those that only finish what they have.
//!
//! ```text
//! The front
//!            Ready                  died: at once, then after 0.1 … 5 s
//!  Starting ───────▶ Serving ─────────────────────────────▶ Replacing ⇄ Waiting
//!     │ died, failed    ▲            Ready                      │          │
//!     ▼                 └───────────────────────────────────────┘          │ Stop
//!  Ended(StartFailed)      Stop, from anywhere: Stopping ─ all died ─▶ Ended ◀─┘
//!
//! An upgrade, which begins only while Serving
//!
//!  None ──asked──▶ Testing ──passed──▶ Incoming ──Ready──▶ Moving ──outgoing gone──▶ Probation ──over──▶ Settling
//!   ▲                 │                   │                  │ │                         │                 │
//!   ├─ refused ◀──────┘ failed            │                  │ └ probation over ─────────┼────────────────▶┤
//!   ├─ refused ◀──────────────────────────┘ died, late,      │                           │                 │
//!   │                          or the front died             │                           │                 │
//!   ├─ refused: TakeBack, the outgoing is the front ◀────────┘ incoming died             │                 │
//!   ├─ rolled back: the old program in place of the dead one ◀───────────────────────────┴─ incoming died ─┤
//!   └─ the keeper has re-executed itself, or could not ◀───────────────────────────────────────────────────┘
//!
//! A stop
//!   StopAsked ──▶ Asking why ──▶ Drain, or for a restart Store ──StopAsked──▶ End ──StopAsked──▶ Kill
//!                                └ Leave, where the unit allows it: each gateway that goes on alone is let go
//! ```
//!
//! Promises: there is always a front that accepts, one that is being spawned, or a pause until the next; never two that
//! are to accept, once the incoming is ready; an outgoing gateway is told to serve on only when the one that it hands
//! over to is dead; until the keeper has re-executed itself, whatever dies is replaced by the old program; every upgrade
//! gets one verdict; a death is answered at once the first time and ever more slowly while gateways keep dying
//! young; a stop ends in the death of all gateways, but for those that have left.
//! Must not know: processes, timers, words for `systemctl status`.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A gateway that lived for less has died young.
const YOUNG: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A gateway, by the number of its birth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id(pub u32);

/// Who asked for an upgrade, to be answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket(pub u64);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Serving,
    Replacing,
    Waiting,
    Stopping(Stop),
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stop {
    /// systemd is asked whether it is a restart.
    Asking {
        serving: bool,
    },
    Draining,
    Ending,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Upgrade {
    None,
    Testing(Asked),
    Incoming(Asked, Id),
    /// The incoming is the front; the verdict is still to come.
    Moving(Asked, Id),
    /// The verdict is given. The keeper is still the old program.
    Probation,
    /// The new program is tested with what the keeper will give it.
    Settling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub ticket: Ticket,
    /// How many outgoing gateways may still be there.
    pub most_outgoing: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Front,
    Incoming,
    Outgoing {
        to: Id,
    },
    /// Killed, and nothing depends on it any more.
    Unwanted,
}

#[derive(Clone, Debug)]
struct Known {
    role: Role,
    /// What it said about why it cannot start.
    reason: Option<String>,
    killed: bool,
}

/// What the keeper has decided so far.
#[derive(Clone, Debug)]
pub struct Decisions {
    state: State,
    upgrade: Upgrade,
    /// Every process that lives, or is not reaped yet.
    gateways: BTreeMap<Id, Known>,
    next: u32,
    /// Asked for while the one before was on probation.
    asked: Option<Asked>,
    /// Gateways in a row that died young.
    young_deaths: u32,
    /// A reload was asked for while nobody could do it, or was done by a gateway that is outgoing.
    reload_later: bool,
    /// Something from the fd store is still to be adopted.
    stored: bool,
    /// The front was told to take a handover back, and has not said yet that it has.
    taking_back: bool,
    /// How one died that was to drain.
    crashed: Option<String>,
}

/// What a keeper that has re-executed itself goes on with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    pub front: Id,
    /// With whom they hand over to.
    pub outgoing: Vec<(Id, Id)>,
    /// Killed, and not reaped yet.
    #[serde(default)]
    unwanted: Vec<Id>,
    next: u32,
    #[serde(default)]
    asked: Option<Asked>,
    #[serde(default)]
    young_deaths: u32,
    #[serde(default)]
    stored: bool,
}

/// Which program a gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The same as the keeper, also when the file was replaced since.
    Own,
    OnDisk,
}

/// What becomes of the connections at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Drain,
    /// systemd keeps them for the next start.
    Store,
    /// The same, and what is still in flight is finished without the keeper, which ends at once.
    Leave,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Begun,
    Ready(Id),
    StartFailed(Id, String),
    Died {
        id: Id,
        how: String,
        clean: bool,
        lived: Duration,
    },
    /// The gateway serves another configuration.
    Reloaded(Id),
    /// The gateway serves as before a handover: as it was told, or because it cannot hand over.
    TookBack(Id),
    /// What came out of the fd store has been adopted.
    Adopted,
    PauseOver,
    ReloadAsked,
    UpgradeAsked(Asked),
    /// The new program can, or cannot, do what is needed of it.
    Tested(Result<(), String>),
    ProbationOver,
    /// The keeper is still the old program.
    NotReexecuted,
    StopAsked,
    StopIs(Way),
    /// The gateway goes on alone.
    Left(Id),
    /// systemd is about to close the sockets that it passed.
    SocketsClosing,
    /// The gateway did not get ready, or did not end, in the time it had.
    Overdue(Id),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Spawn(Id, Program),
    Pause(Duration),
    AnnounceReady,
    AnnounceReplaced(Id),
    AnnounceDied(String),
    AnnounceOutgoingDied(String),
    AnnounceStopping,
    AnnounceRolledBack(String),
    SendReload(Id),
    SendHandOver {
        from: Id,
        to: Id,
    },
    SendTakeBack(Id),
    /// To adopt what came out of the fd store.
    SendAdopt(Id),
    /// Nothing is in the fd store any more.
    ForgetStored,
    AskWhy,
    SendDrain(Id),
    SendStore(Id),
    /// After one of the two before.
    SendLeave(Id),
    SendSocketsClosing(Id),
    SendEnd(Id),
    Kill(Id),
    /// Try the program on disk.
    Test,
    /// Whatever is tested is of no interest any more.
    AbandonTest,
    ArmProbation,
    DisarmProbation,
    Verdict(Ticket, Result<(), String>),
    /// Try the program of the front, with the state that it would take up.
    TestState,
    Reexecute,
    End(Outcome),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Stopped,
    StartFailed(String),
    /// A gateway died while it drained.
    DiedDraining(String),
}

impl Decisions {
    /// `stored`: whether an earlier start has left something in the fd store.
    pub fn new(stored: bool) -> Decisions {
        Decisions {
            state: State::Starting,
            upgrade: Upgrade::None,
            gateways: BTreeMap::new(),
            next: 1,
            asked: None,
            young_deaths: 0,
            reload_later: false,
            stored,
            taking_back: false,
            crashed: None,
        }
    }

    pub fn stopping(&self) -> bool {
        matches!(self.state, State::Stopping(_) | State::Ended)
    }

    /// The gateway that accepts, or is about to.
    pub fn front(&self) -> Option<Id> {
        self.gateways.iter().find(|(_, known)| known.role == Role::Front).map(|(id, _)| *id)
    }

    /// What to do about `event`, in this order.
    pub fn on(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = self.decide(event);
        effects.extend(self.next_upgrade());
        effects
    }

    fn decide(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Begun if self.state == State::Starting => vec![self.spawn(Role::Front, Program::Own)],
            Event::Ready(id) => self.ready(id),
            Event::StartFailed(id, reason) => {
                if let Some(known) = self.gateways.get_mut(&id) {
                    known.reason = Some(reason);
                }
                vec![]
            }
            Event::Died { id, how, clean, lived } => self.died(id, how, clean, lived),
            Event::Reloaded(id) => self.reloaded(id),
            Event::TookBack(id) => self.took_back(id),
            Event::Adopted if std::mem::take(&mut self.stored) => vec![Effect::ForgetStored],
            Event::PauseOver if self.state == State::Waiting => self.replace_now(),
            Event::ReloadAsked => self.reload_asked(),
            Event::UpgradeAsked(asked) => self.upgrade_asked(asked),
            Event::Tested(result) => self.tested(result),
            Event::ProbationOver => self.probation_over(),
            Event::NotReexecuted if self.upgrade == Upgrade::Settling => {
                self.upgrade = Upgrade::None;
                vec![]
            }
            Event::StopAsked => self.stop_asked(),
            Event::StopIs(way) => self.stop_is(way),
            Event::Left(id) => self.left(id),
            Event::SocketsClosing if self.state == State::Stopping(Stop::Draining) => {
                self.wanted().map(Effect::SendSocketsClosing).collect()
            }
            Event::Overdue(id) => self.overdue(id),
            Event::Begun
            | Event::Adopted
            | Event::PauseOver
            | Event::NotReexecuted
            | Event::SocketsClosing => vec![],
        }
    }

    fn spawn(&mut self, role: Role, program: Program) -> Effect {
        let id = Id(self.next);
        self.next += 1;
        self.gateways.insert(id, Known { role, reason: None, killed: false });
        Effect::Spawn(id, program)
    }

    /// Everyone who has something to do yet.
    fn wanted(&self) -> impl Iterator<Item = Id> {
        self.gateways.iter().filter(|(_, known)| known.role != Role::Unwanted).map(|(id, _)| *id)
    }

    fn kill(&mut self, id: Id) -> Effect {
        if let Some(known) = self.gateways.get_mut(&id) {
            known.killed = true;
        }
        Effect::Kill(id)
    }

    fn ready(&mut self, id: Id) -> Vec<Effect> {
        let Some(role) = self.gateways.get(&id).map(|known| known.role) else { return vec![] };
        let mut effects = match (role, &self.state) {
            (Role::Front, State::Starting) => vec![Effect::AnnounceReady],
            (Role::Front, State::Replacing) => vec![Effect::AnnounceReplaced(id)],
            (Role::Incoming, State::Serving) => self.hand_over(id),
            _ => return vec![],
        };
        self.state = State::Serving;
        if self.stored {
            effects.push(Effect::SendAdopt(id));
        }
        if std::mem::take(&mut self.reload_later) {
            effects.push(Effect::SendReload(id));
        }
        effects
    }

    fn reload_asked(&mut self) -> Vec<Effect> {
        match self.state {
            State::Serving => self.front().map(Effect::SendReload).into_iter().collect(),
            State::Starting | State::Replacing | State::Waiting => {
                self.reload_later = true;
                vec![]
            }
            State::Stopping(_) | State::Ended => vec![],
        }
    }

    /// The incoming gateway was given the configuration before this one.
    fn reloaded(&mut self, id: Id) -> Vec<Effect> {
        match &self.upgrade {
            Upgrade::Incoming(..) => {
                self.reload_later = true;
                vec![]
            }
            Upgrade::Moving(_, outgoing) if *outgoing == id => self.reload_asked(),
            _ => vec![],
        }
    }

    fn overdue(&mut self, id: Id) -> Vec<Effect> {
        let Some(known) = self.gateways.get(&id) else { return vec![] };
        let serves = known.role == Role::Front && matches!(self.state, State::Serving | State::Ended);
        if serves { vec![] } else { vec![self.kill(id)] }
    }
}

/// Deaths.
impl Decisions {
    fn died(&mut self, id: Id, how: String, clean: bool, lived: Duration) -> Vec<Effect> {
        let Some(gone) = self.gateways.remove(&id) else { return vec![] };
        let said = gone.reason.map_or(how.clone(), |reason| format!("{how}: {reason}"));
        match (&self.state, gone.role) {
            (State::Stopping(_), _) => self.died_stopping(said, clean || gone.killed),
            (State::Ended, _) | (_, Role::Unwanted) => vec![],
            (State::Starting, Role::Front) => {
                self.state = State::Ended;
                // The reason alone: nobody has seen this gateway yet.
                let reason = said.strip_prefix(&format!("{how}: ")).unwrap_or(&how).to_owned();
                vec![Effect::End(Outcome::StartFailed(reason))]
            }
            (_, Role::Front) => self.front_died(id, said, lived),
            (_, Role::Incoming) => self.refuse_upgrade(&format!("the incoming gateway {said}")),
            (_, Role::Outgoing { .. }) => self.outgoing_died(id, said, clean || gone.killed),
        }
    }

    fn front_died(&mut self, id: Id, said: String, lived: Duration) -> Vec<Effect> {
        self.taking_back = false;
        match self.upgrade.clone() {
            Upgrade::Moving(_, outgoing) => {
                let mut effects = self.refuse_upgrade(&format!("the incoming gateway {said}"));
                if let Some(known) = self.gateways.get_mut(&outgoing) {
                    known.role = Role::Front;
                }
                effects.push(Effect::SendTakeBack(outgoing));
                self.taking_back = true;
                effects
            }
            Upgrade::Probation | Upgrade::Settling => {
                let mut effects = self.refuse_upgrade("");
                effects.push(Effect::AnnounceDied(said.clone()));
                effects.push(Effect::AnnounceRolledBack(format!("the new gateway {said}")));
                // The old program is not to blame, and does not wait.
                self.young_deaths = 0;
                [effects, self.drain_those_to(id), self.replace_now()].concat()
            }
            Upgrade::None | Upgrade::Testing(_) | Upgrade::Incoming(..) => {
                let mut effects = self.refuse_upgrade("the gateway that serves died meanwhile; try again");
                effects.push(Effect::AnnounceDied(said));
                effects.extend(self.drain_those_to(id));
                effects.extend(self.replace(lived));
                effects
            }
        }
    }

    fn outgoing_died(&mut self, id: Id, said: String, well: bool) -> Vec<Effect> {
        let mut effects = if well { vec![] } else { vec![Effect::AnnounceOutgoingDied(said)] };
        effects.extend(self.drain_those_to(id));
        if matches!(self.upgrade, Upgrade::Moving(_, outgoing) if outgoing == id) {
            effects.extend(self.commit());
        }
        effects
    }

    /// Nobody takes what these have: they end it themselves, in order.
    fn drain_those_to(&self, dead: Id) -> Vec<Effect> {
        let to_dead = |known: &Known| known.role == (Role::Outgoing { to: dead });
        let left = self.gateways.iter().filter(|(_, known)| to_dead(known));
        left.map(|(id, _)| Effect::SendDrain(*id)).collect()
    }

    fn replace(&mut self, lived: Duration) -> Vec<Effect> {
        self.young_deaths = if lived < YOUNG { self.young_deaths + 1 } else { 0 };
        match self.young_deaths {
            0 | 1 => self.replace_now(),
            young => {
                self.state = State::Waiting;
                let doubled = 2u32.saturating_pow(young - 2);
                vec![Effect::Pause(FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE))]
            }
        }
    }

    fn replace_now(&mut self) -> Vec<Effect> {
        self.state = State::Replacing;
        vec![self.spawn(Role::Front, Program::Own)]
    }

    fn died_stopping(&mut self, said: String, well: bool) -> Vec<Effect> {
        if !well {
            self.crashed.get_or_insert(said);
        }
        if self.gateways.is_empty() { self.end() } else { vec![] }
    }

    fn end(&mut self) -> Vec<Effect> {
        self.state = State::Ended;
        // A gateway that had to be killed was reported when it was.
        let outcome = self.crashed.take().map_or(Outcome::Stopped, Outcome::DiedDraining);
        vec![Effect::End(outcome)]
    }
}

/// Upgrades.
impl Decisions {
    fn upgrade_asked(&mut self, asked: Asked) -> Vec<Effect> {
        let refused = |reason: &str| vec![Effect::Verdict(asked.ticket, Err(reason.into()))];
        match (&self.state, &self.upgrade) {
            (State::Stopping(_) | State::Ended, _) => refused("hitless is stopping"),
            (_, Upgrade::Testing(_) | Upgrade::Incoming(..) | Upgrade::Moving(..)) => {
                refused("another upgrade is under way")
            }
            _ if self.asked.is_some() => refused("another upgrade is waiting"),
            (State::Serving, _) => {
                self.asked = Some(asked);
                vec![]
            }
            _ => refused("no gateway serves at the moment; try again"),
        }
    }

    /// Begins what was asked for, as soon as the one before is settled.
    fn next_upgrade(&mut self) -> Vec<Effect> {
        if self.state != State::Serving || self.upgrade != Upgrade::None || self.taking_back {
            return vec![];
        }
        let Some(asked) = self.asked.take() else { return vec![] };
        let outgoing =
            self.gateways.values().filter(|known| matches!(known.role, Role::Outgoing { .. })).count();
        if outgoing >= asked.most_outgoing {
            let reason = format!(
                "{outgoing} outgoing gateways of earlier upgrades still finish what they have, and no more are allowed \
                 (upgrade.outgoing); try again later, or lower upgrade.deadline"
            );
            return vec![Effect::Verdict(asked.ticket, Err(reason))];
        }
        self.upgrade = Upgrade::Testing(asked);
        vec![Effect::Test]
    }

    fn tested(&mut self, result: Result<(), String>) -> Vec<Effect> {
        match (self.upgrade.clone(), result) {
            (Upgrade::Testing(asked), Ok(())) => {
                let spawned = self.spawn(Role::Incoming, Program::OnDisk);
                let Effect::Spawn(id, _) = spawned else { return vec![] };
                self.upgrade = Upgrade::Incoming(asked, id);
                vec![spawned]
            }
            (Upgrade::Testing(asked), Err(reason)) => {
                self.upgrade = Upgrade::None;
                vec![Effect::Verdict(asked.ticket, Err(reason))]
            }
            (Upgrade::Settling, Ok(())) => vec![Effect::Reexecute],
            (Upgrade::Settling, Err(_)) => {
                self.upgrade = Upgrade::None;
                vec![]
            }
            _ => vec![],
        }
    }

    /// The incoming gateway becomes the front.
    fn hand_over(&mut self, incoming: Id) -> Vec<Effect> {
        let (Upgrade::Incoming(asked, id), Some(outgoing)) = (self.upgrade.clone(), self.front()) else {
            return vec![];
        };
        debug_assert_eq!(id, incoming);
        for (id, role) in [(outgoing, Role::Outgoing { to: incoming }), (incoming, Role::Front)] {
            if let Some(known) = self.gateways.get_mut(&id) {
                known.role = role;
            }
        }
        self.upgrade = Upgrade::Moving(asked, outgoing);
        vec![Effect::SendHandOver { from: outgoing, to: incoming }, Effect::ArmProbation]
    }

    fn took_back(&mut self, id: Id) -> Vec<Effect> {
        match &self.upgrade {
            // It accepts, and so must the incoming one no more.
            Upgrade::Moving(_, outgoing) if *outgoing == id => {
                let Some(front) = self.front() else { return vec![] };
                if let Some(known) = self.gateways.get_mut(&front) {
                    known.reason = Some("the outgoing gateway cannot hand over".into());
                }
                vec![self.kill(front)]
            }
            _ if self.state == State::Stopping(Stop::Draining) => vec![Effect::SendDrain(id)],
            _ => {
                self.taking_back &= self.front() != Some(id);
                vec![]
            }
        }
    }

    /// From here on the outgoing gateway is never asked to serve again.
    fn commit(&mut self) -> Vec<Effect> {
        let Upgrade::Moving(asked, _) = self.upgrade else { return vec![] };
        self.upgrade = Upgrade::Probation;
        vec![Effect::Verdict(asked.ticket, Ok(()))]
    }

    fn probation_over(&mut self) -> Vec<Effect> {
        let mut effects = self.commit();
        if self.upgrade == Upgrade::Probation {
            self.upgrade = Upgrade::Settling;
            effects.push(Effect::TestState);
        }
        effects
    }

    /// Ends whatever is under way. An incoming gateway that does not serve yet is killed.
    fn refuse_upgrade(&mut self, reason: &str) -> Vec<Effect> {
        let refused = |asked: Asked| Effect::Verdict(asked.ticket, Err(reason.to_owned()));
        match std::mem::replace(&mut self.upgrade, Upgrade::None) {
            Upgrade::Testing(asked) => vec![Effect::AbandonTest, refused(asked)],
            Upgrade::Incoming(asked, id) => {
                let mut effects = vec![refused(asked)];
                if let Some(known) = self.gateways.get_mut(&id) {
                    known.role = Role::Unwanted;
                    effects.push(self.kill(id));
                }
                effects
            }
            Upgrade::Moving(asked, _) => vec![Effect::DisarmProbation, refused(asked)],
            // The verdict was given.
            Upgrade::Probation => vec![Effect::DisarmProbation],
            Upgrade::Settling => vec![Effect::AbandonTest],
            Upgrade::None => vec![],
        }
    }

    /// What a re-executed keeper goes on with; only in the moment of [`Effect::Reexecute`].
    pub fn settled(&self) -> Option<Settled> {
        let outgoing = |(id, known): (&Id, &Known)| match known.role {
            Role::Outgoing { to } => Some((*id, to)),
            _ => None,
        };
        let unwanted = self.gateways.iter().filter(|(_, known)| known.role == Role::Unwanted);
        Some(Settled {
            front: self.front()?,
            outgoing: self.gateways.iter().filter_map(outgoing).collect(),
            unwanted: unwanted.map(|(id, _)| *id).collect(),
            next: self.next,
            asked: self.asked,
            young_deaths: self.young_deaths,
            stored: self.stored,
        })
    }

    /// The other end of [`Decisions::settled`]; to be told [`Event::Begun`].
    pub fn resume(settled: Settled) -> Decisions {
        let known = |role| Known { role, reason: None, killed: role == Role::Unwanted };
        let outgoing = settled.outgoing.iter().map(|(id, to)| (*id, known(Role::Outgoing { to: *to })));
        let unwanted = settled.unwanted.iter().map(|id| (*id, known(Role::Unwanted)));
        let front = (settled.front, known(Role::Front));
        Decisions {
            state: State::Serving,
            upgrade: Upgrade::None,
            gateways: outgoing.chain(unwanted).chain([front]).collect(),
            next: settled.next,
            asked: settled.asked,
            young_deaths: settled.young_deaths,
            reload_later: false,
            stored: settled.stored,
            taking_back: false,
            crashed: None,
        }
    }
}

/// Stops.
impl Decisions {
    fn stop_asked(&mut self) -> Vec<Effect> {
        match self.state {
            State::Stopping(Stop::Asking { .. }) => self.stop_is(Way::Drain),
            State::Stopping(Stop::Draining) => {
                self.state = State::Stopping(Stop::Ending);
                self.wanted().map(Effect::SendEnd).collect()
            }
            State::Stopping(Stop::Ending) => {
                let all: Vec<Id> = self.gateways.keys().copied().collect();
                all.into_iter().map(|id| self.kill(id)).collect()
            }
            State::Ended => vec![],
            State::Starting | State::Serving | State::Replacing | State::Waiting => self.stop(),
        }
    }

    fn stop(&mut self) -> Vec<Effect> {
        let serving = self.state == State::Serving;
        let mut effects = vec![Effect::AnnounceStopping];
        effects.extend(self.refuse_upgrade("hitless is stopping"));
        let asked = self.asked.take();
        effects.extend(asked.map(|asked| Effect::Verdict(asked.ticket, Err("hitless is stopping".into()))));
        if self.gateways.is_empty() {
            effects.extend(self.end());
        } else {
            self.state = State::Stopping(Stop::Asking { serving });
            effects.push(Effect::AskWhy);
        }
        effects
    }

    /// Only the front has connections that can go into the store: an outgoing one has just what it could not hand over.
    fn stop_is(&mut self, way: Way) -> Vec<Effect> {
        let State::Stopping(Stop::Asking { serving }) = self.state else { return vec![] };
        self.state = State::Stopping(Stop::Draining);
        let stored = self.front().filter(|_| way != Way::Drain && serving);
        // What is kept from here on has the name of what is still being adopted, and would be forgotten with it. That
        // is left to the next start, which finds it empty.
        self.stored &= stored.is_none();
        let end = |id| if Some(id) == stored { Effect::SendStore(id) } else { Effect::SendDrain(id) };
        let leave = |id| (way == Way::Leave).then_some(Effect::SendLeave(id));
        self.wanted().flat_map(|id| [Some(end(id)), leave(id)]).flatten().collect()
    }

    /// Nothing more is known of it, and nothing has to be.
    fn left(&mut self, id: Id) -> Vec<Effect> {
        if !matches!(self.state, State::Stopping(_)) {
            return vec![];
        }
        self.gateways.remove(&id);
        if self.gateways.is_empty() { self.end() } else { vec![] }
    }
}
