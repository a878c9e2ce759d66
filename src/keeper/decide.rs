//! PURE: what the keeper does when something happens.
//!
//! ```text
//!            Ready                  died: at once, then after 0.1 … 5 s
//!  Starting ───────▶ Serving ─────────────────────────────▶ Replacing ⇄ Waiting
//!     │ died, failed    ▲            Ready                      │          │
//!     ▼                 └───────────────────────────────────────┘          │ Stop
//!  Ended(StartFailed)      Stop, from anywhere: Stopping ─ died ─▶ Ended ◀─┘
//! ```
//!
//! Promises: there is one gateway at most; a death is answered at once the first time and ever
//! more slowly while gateways keep dying young; a stop ends in the death of the gateway.
//! Must not know: processes, timers, words for people.

use std::time::Duration;

/// A gateway that lived for less has died young.
const YOUNG: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Serving,
    Replacing,
    Waiting,
    Stopping { ending: bool },
    Ended,
}

/// What the keeper has decided so far.
#[derive(Clone, Debug)]
pub struct Decisions {
    state: State,
    /// Gateways in a row that died young.
    young_deaths: u32,
    /// What the gateway said about why it cannot start.
    reason: Option<String>,
    /// A reload was asked for while nobody could do it.
    reload_later: bool,
    killed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Begun,
    Ready,
    StartFailed(String),
    Died {
        how: String,
        clean: bool,
        lived: Duration,
    },
    PauseOver,
    ReloadAsked,
    StopAsked,
    /// systemd is about to close the sockets that it passed.
    SocketsClosing,
    /// The gateway did not get ready, or did not end, in the time it had.
    Overdue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Spawn,
    Pause(Duration),
    AnnounceReady,
    AnnounceReplaced,
    AnnounceDied(String),
    AnnounceStopping,
    SendReload,
    SendDrain,
    SendSocketsClosing,
    SendEnd,
    Kill,
    End(Outcome),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Stopped,
    StartFailed(String),
    /// The gateway died while it drained.
    DiedDraining(String),
}

impl Decisions {
    pub fn new() -> Decisions {
        Decisions {
            state: State::Starting,
            young_deaths: 0,
            reason: None,
            reload_later: false,
            killed: false,
        }
    }

    pub fn stopping(&self) -> bool {
        matches!(self.state, State::Stopping { .. } | State::Ended)
    }

    /// What to do about `event`, in this order.
    pub fn on(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Begun => vec![Effect::Spawn],
            Event::Ready => self.ready(),
            Event::StartFailed(reason) => {
                self.reason = Some(reason);
                vec![]
            }
            Event::Died { how, clean, lived } => self.died(how, clean, lived),
            Event::PauseOver if self.state == State::Waiting => self.spawn(),
            Event::ReloadAsked => self.reload_asked(),
            Event::StopAsked => self.stop_asked(),
            Event::SocketsClosing if self.state == (State::Stopping { ending: false }) => {
                vec![Effect::SendSocketsClosing]
            }
            Event::Overdue if !matches!(self.state, State::Serving | State::Waiting | State::Ended) => {
                self.killed = true;
                vec![Effect::Kill]
            }
            Event::PauseOver | Event::Overdue | Event::SocketsClosing => vec![],
        }
    }

    fn ready(&mut self) -> Vec<Effect> {
        let mut effects = match self.state {
            State::Starting => vec![Effect::AnnounceReady],
            State::Replacing => vec![Effect::AnnounceReplaced],
            _ => return vec![],
        };
        self.state = State::Serving;
        if std::mem::take(&mut self.reload_later) {
            effects.push(Effect::SendReload);
        }
        effects
    }

    fn died(&mut self, how: String, clean: bool, lived: Duration) -> Vec<Effect> {
        let reason = self.reason.take();
        let killed = std::mem::take(&mut self.killed);
        match self.state {
            State::Starting => {
                self.state = State::Ended;
                vec![Effect::End(Outcome::StartFailed(reason.unwrap_or(how)))]
            }
            State::Serving | State::Replacing => {
                let died =
                    Effect::AnnounceDied(reason.map_or(how.clone(), |reason| format!("{how}: {reason}")));
                [vec![died], self.replace(lived)].concat()
            }
            State::Stopping { .. } => {
                self.state = State::Ended;
                // A gateway that had to be killed was reported when it was.
                let outcome = if clean || killed { Outcome::Stopped } else { Outcome::DiedDraining(how) };
                vec![Effect::End(outcome)]
            }
            State::Waiting | State::Ended => vec![],
        }
    }

    fn replace(&mut self, lived: Duration) -> Vec<Effect> {
        self.young_deaths = if lived < YOUNG { self.young_deaths + 1 } else { 0 };
        match self.young_deaths {
            0 | 1 => self.spawn(),
            young => {
                self.state = State::Waiting;
                let doubled = 2u32.saturating_pow(young - 2);
                vec![Effect::Pause(FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE))]
            }
        }
    }

    fn spawn(&mut self) -> Vec<Effect> {
        self.state = State::Replacing;
        vec![Effect::Spawn]
    }

    fn reload_asked(&mut self) -> Vec<Effect> {
        match self.state {
            State::Serving => vec![Effect::SendReload],
            State::Starting | State::Replacing | State::Waiting => {
                self.reload_later = true;
                vec![]
            }
            State::Stopping { .. } | State::Ended => vec![],
        }
    }

    fn stop_asked(&mut self) -> Vec<Effect> {
        match self.state {
            State::Waiting => {
                self.state = State::Ended;
                vec![Effect::AnnounceStopping, Effect::End(Outcome::Stopped)]
            }
            State::Stopping { ending: false } => {
                self.state = State::Stopping { ending: true };
                vec![Effect::SendEnd]
            }
            State::Stopping { ending: true } => {
                self.killed = true;
                vec![Effect::Kill]
            }
            State::Ended => vec![],
            State::Starting | State::Serving | State::Replacing => {
                self.state = State::Stopping { ending: false };
                vec![Effect::AnnounceStopping, Effect::SendDrain]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving() -> Decisions {
        let mut keeper = Decisions::new();
        assert_eq!(keeper.on(Event::Ready), [Effect::AnnounceReady]);
        keeper
    }

    fn died(lived: u64) -> Event {
        Event::Died { how: "was killed by signal 9".into(), clean: false, lived: Duration::from_secs(lived) }
    }

    fn told() -> Effect {
        Effect::AnnounceDied("was killed by signal 9".into())
    }

    #[test]
    fn a_first_gateway_that_does_not_get_ready_ends_the_keeper_with_its_reason() {
        let mut keeper = Decisions::new();
        assert_eq!(keeper.on(Event::StartFailed("no threads".into())), []);
        assert_eq!(keeper.on(died(0)), [Effect::End(Outcome::StartFailed("no threads".into()))]);
    }

    #[test]
    fn a_gateway_that_dies_is_replaced_at_once_and_then_ever_more_slowly() {
        let mut keeper = serving();
        assert_eq!(keeper.on(died(60)), [told(), Effect::Spawn]);
        assert_eq!(keeper.on(died(1)), [told(), Effect::Spawn]);
        let mut pauses = vec![];
        for _ in 0..8 {
            let effects = keeper.on(died(1));
            let [_, Effect::Pause(pause)] = effects[..] else { panic!("{effects:?}") };
            pauses.push(pause.as_millis());
            assert_eq!(keeper.on(Event::PauseOver), [Effect::Spawn]);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(keeper.on(Event::Ready), [Effect::AnnounceReplaced]);
        assert_eq!(keeper.on(died(11)), [told(), Effect::Spawn]);
    }

    #[test]
    fn a_thousand_deaths_do_not_overflow_the_pause() {
        let mut keeper = serving();
        for _ in 0..1000 {
            keeper.on(died(0));
            keeper.on(Event::PauseOver);
        }
    }

    #[test]
    fn a_reload_asked_for_while_the_gateway_is_replaced_is_done_afterwards_once() {
        let mut keeper = serving();
        keeper.on(died(60));
        assert_eq!(keeper.on(Event::ReloadAsked), []);
        assert_eq!(keeper.on(Event::ReloadAsked), []);
        assert_eq!(keeper.on(Event::Ready), [Effect::AnnounceReplaced, Effect::SendReload]);
    }

    #[test]
    fn the_gateway_hears_that_sockets_close_only_while_it_drains() {
        let mut keeper = serving();
        assert_eq!(keeper.on(Event::SocketsClosing), []);
        keeper.on(Event::StopAsked);
        assert_eq!(keeper.on(Event::SocketsClosing), [Effect::SendSocketsClosing]);
        keeper.on(Event::StopAsked);
        assert_eq!(keeper.on(Event::SocketsClosing), []);
    }

    #[test]
    fn a_stop_drains_a_second_one_ends_a_third_one_kills() {
        let mut keeper = serving();
        assert_eq!(keeper.on(Event::StopAsked), [Effect::AnnounceStopping, Effect::SendDrain]);
        assert_eq!(keeper.on(Event::ReloadAsked), []);
        assert_eq!(keeper.on(Event::StopAsked), [Effect::SendEnd]);
        assert_eq!(keeper.on(Event::StopAsked), [Effect::Kill]);
        assert_eq!(keeper.on(died(60)), [Effect::End(Outcome::Stopped)]);
        assert_eq!(keeper.on(Event::StopAsked), []);
    }

    #[test]
    fn a_gateway_that_overstays_is_killed_and_one_that_crashes_in_the_drain_is_told() {
        let mut keeper = serving();
        assert_eq!(keeper.on(Event::Overdue), []);
        keeper.on(Event::StopAsked);
        let mut crashed = keeper.clone();
        assert_eq!(keeper.on(Event::Overdue), [Effect::Kill]);
        assert_eq!(keeper.on(died(60)), [Effect::End(Outcome::Stopped)]);
        let how = "was killed by signal 9".to_string();
        assert_eq!(crashed.on(died(60)), [Effect::End(Outcome::DiedDraining(how))]);
    }

    #[test]
    fn a_stop_between_two_gateways_ends_at_once() {
        let mut keeper = serving();
        keeper.on(died(1));
        keeper.on(died(1));
        assert_eq!(keeper.on(Event::StopAsked), [Effect::AnnounceStopping, Effect::End(Outcome::Stopped)]);
        assert_eq!(keeper.on(Event::PauseOver), []);
    }
}
