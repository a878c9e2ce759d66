//! The units of the services: their states become gates, and whoever asks for a stopped one has it started.
//!
//! | the unit | its service's gate |
//! |---|---|
//! | runs | open, once it is connectable or healthy |
//! | is to be stopped, or stops; starts | closed |
//! | is stopped | closed; with `idle-stop` the next request starts it. After `hold.age` nobody waits for it any more |
//! | is not known, or nobody can say | open: as without a unit |
//!
//! Promises: one watch over the system bus for all units; a bus that is missing is told once, and noticed when it comes.
//! A unit is given orders only where `idle-stop` says so.
//! Must not know: D-Bus, how requests wait.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, JoinSet};

use super::control::{Control, Due, Input};
use crate::connection::blueprint::Blueprint;
use crate::systemd::order::{self, Order, Undone};
use crate::systemd::watch::{self, News, State};
use crate::upstream::board::{Board, Lineup};
use crate::upstream::health;
use crate::upstream::held::Reason;

/// What is known of the units of this configuration.
#[derive(Default)]
pub struct Units {
    names: Vec<String>,
    watching: Option<AbortHandle>,
    /// Those who tell that somebody waits.
    listening: JoinSet<()>,
    states: HashMap<String, State>,
    blind: bool,
    /// Since nothing could be seen they have not been.
    unseen: HashSet<String>,
    /// Of services that are stopped when idle: how many requests they had, and since when no more.
    uses: HashMap<String, (u64, Instant)>,
    counting: bool,
    /// It was told that an order is not allowed.
    denied: bool,
}

impl Units {
    pub fn state(&self, unit: &str) -> Option<State> {
        self.states.get(unit).copied()
    }
}

fn of_unit<'a>(blueprint: &'a Blueprint, unit: &'a str) -> impl Iterator<Item = &'a Arc<Lineup>> {
    blueprint.lineups.iter().filter(move |lineup| lineup.settings().unit.name.as_deref() == Some(unit))
}

impl Control {
    /// As the configuration of this generation wants it.
    pub(super) fn watch_units(&mut self) {
        let blueprint = Arc::clone(&self.office.blueprint.borrow());
        let mut names: Vec<String> =
            blueprint.lineups.iter().filter_map(|lineup| lineup.settings().unit.name.clone()).collect();
        names.sort();
        names.dedup();
        for lineup in blueprint.lineups.iter().filter(|lineup| lineup.settings().unit.name.is_none()) {
            lineup.board().held().stopped(false);
            lineup.board().held().open(Reason::Unit);
        }
        self.listen_for_the_idle(&blueprint);
        if names == self.units.names {
            // A service may have come to a unit that is known.
            for (unit, state) in self.units.states.clone() {
                self.unit_seen(&unit, state);
            }
            return;
        }
        if let Some(before) = self.units.watching.take() {
            before.abort();
        }
        self.units.states.retain(|unit, _| names.contains(unit));
        self.units.names.clone_from(&names);
        if names.is_empty() {
            return;
        }
        let queue = self.queue.clone();
        let watching = watch::watch(names, move |news| {
            let _ = queue.send(Input::UnitNews(news));
        });
        self.units.watching = Some(self.tasks.spawn_local(watching));
    }

    pub(super) fn unit_news(&mut self, news: News) {
        match news {
            News::Seen { unit, state } => {
                if std::mem::take(&mut self.units.blind) {
                    tracing::info!("systemd can be asked again: units are watched");
                }
                self.unit_seen(&unit, state);
                // What ended them may have happened unseen.
                if self.units.unseen.remove(&unit) && state == State::Running {
                    self.end_drains_of(&unit);
                }
                self.office.unit_states.borrow_mut().insert(unit.clone(), state.word());
                let before = self.units.states.insert(unit.clone(), state);
                if before == Some(state) {
                    return;
                }
                match state {
                    State::Missing => tracing::warn!(
                        "systemd does not know the unit {unit}: its service is served as without 'unit'"
                    ),
                    _ => tracing::debug!("the unit {unit} is {}", state.word()),
                }
            }
            News::Blind(why) => {
                if !std::mem::replace(&mut self.units.blind, true) {
                    tracing::warn!(
                        "cannot watch units: {why}; until that is over services are served as without 'unit'"
                    );
                }
                self.units.states.clear();
                self.units.unseen = self.units.names.iter().cloned().collect();
                self.office.unit_states.borrow_mut().clear();
                for lineup in &self.office.blueprint.borrow().lineups {
                    lineup.board().held().stopped(false);
                    lineup.board().held().open(Reason::Unit);
                }
            }
        }
    }

    fn unit_seen(&mut self, unit: &str, state: State) {
        let before = self.units.state(unit);
        let blueprint = Arc::clone(&self.office.blueprint.borrow());
        for lineup in of_unit(&blueprint, unit) {
            let held = lineup.board().held();
            held.stopped(state == State::Stopped);
            match state {
                State::Running => {
                    let is_new = before.is_some_and(|before| before != State::Running);
                    if is_new {
                        lineup.board().renewed();
                    }
                    held.open(Reason::Unit);
                }
                State::Missing => held.open(Reason::Unit),
                State::Starting | State::Stopping | State::Stopped => {
                    let was_closed = held.is_closed_for(Reason::Unit);
                    held.close(Reason::Unit);
                    if !was_closed {
                        forget_health(lineup, unit);
                    }
                }
            }
        }
        if state == State::Running && before.is_some_and(|before| before != State::Running) {
            self.end_drains_of(unit);
        }
    }

    /// Who waits for a stopped unit has it started, where that is wanted.
    pub(super) fn somebody_waits(&mut self, service: &str) {
        let blueprint = Arc::clone(&self.office.blueprint.borrow());
        let Some(lineup) = blueprint.lineups.iter().find(|lineup| lineup.settings().name == service) else {
            return;
        };
        let unit = &lineup.settings().unit;
        let (Some(name), Some(_)) = (&unit.name, unit.idle_stop) else { return };
        if self.units.state(name) == Some(State::Stopped)
            && !lineup.board().held().is_closed_for(Reason::Operator)
        {
            tracing::info!(service, "starting {name}: somebody asks for {service}");
            self.order(Order::Start, name);
        }
    }

    fn listen_for_the_idle(&mut self, blueprint: &Blueprint) {
        self.units.listening = JoinSet::new();
        let mut shortest: Option<Duration> = None;
        for lineup in &blueprint.lineups {
            let settings = lineup.settings();
            let (Some(_), Some(idle)) = (&settings.unit.name, settings.unit.idle_stop) else { continue };
            shortest = Some(shortest.map_or(idle, |shortest| shortest.min(idle)));
            let (queue, name, board) =
                (self.queue.clone(), settings.name.clone(), Arc::clone(lineup.board()));
            self.units.listening.spawn_local(async move {
                loop {
                    board.held().somebody().await;
                    if queue.send(Input::SomebodyWaits(name.clone())).is_err() {
                        return;
                    }
                }
            });
        }
        self.units.uses.retain(|name, _| {
            blueprint
                .settings
                .services
                .iter()
                .any(|service| service.name == *name && service.unit.idle_stop.is_some())
        });
        if let (Some(shortest), false) = (shortest, self.units.counting) {
            self.units.counting = true;
            self.after(shortest / 4, Due::Idle);
        }
    }

    /// Stops the units that nobody has used for long enough. How much they are used is counted anyway.
    pub(super) fn stop_the_idle(&mut self) {
        self.units.counting = false;
        let blueprint = Arc::clone(&self.office.blueprint.borrow());
        let page = self.threads.page();
        let now = Instant::now();
        let mut idle = vec![];
        let mut next: Option<Duration> = None;
        for service in &blueprint.settings.services {
            let (Some(unit), Some(limit)) = (&service.unit.name, service.unit.idle_stop) else { continue };
            next = Some(next.map_or(limit, |next| next.min(limit)));
            let account = page.services.get(&service.name).cloned().unwrap_or_default();
            let busy = account.in_flight > 0 || account.tunnels.open > 0;
            let (count, since) =
                self.units.uses.entry(service.name.clone()).or_insert((account.admitted, now));
            if busy || *count != account.admitted {
                (*count, *since) = (account.admitted, now);
            } else if now.duration_since(*since) >= limit
                && self.units.states.get(unit) == Some(&State::Running)
            {
                *since = now;
                if !self.units.denied {
                    tracing::info!(service = service.name, "stopping {unit}: nobody has asked for {limit:?}");
                }
                idle.push(unit.clone());
            }
        }
        for unit in idle {
            self.order(Order::Stop, &unit);
        }
        if let Some(next) = next {
            self.units.counting = true;
            self.after(next / 4, Due::Idle);
        }
    }

    fn order(&mut self, what: Order, unit: &str) {
        let unit = unit.to_owned();
        self.then(async move {
            let result = order::give(what, &unit).await;
            Input::Ordered(unit, result)
        });
    }

    pub(super) fn ordered(&mut self, unit: &str, result: Result<(), Undone>) {
        match result {
            Ok(()) => self.units.denied = false,
            Err(Undone::Denied(told)) if !std::mem::replace(&mut self.units.denied, true) => tracing::error!(
                "cannot start or stop {unit}: {told}; install what 'hitless polkit' prints, or remove 'idle-stop'. \
                 Until then it is left as it is"
            ),
            Err(Undone::Denied(_)) => {}
            Err(error) => tracing::error!("cannot start or stop {unit}: {error}"),
        }
    }
}

/// What was found out about the instance that goes is not true of the next one.
fn forget_health(lineup: &Lineup, unit: &str) {
    if lineup.settings().health.is_none() {
        return;
    }
    let board: &Board = lineup.board();
    for row in lineup.rows().iter() {
        board.found(row, health::State::Unknown, &format!("{unit} stops"));
    }
}
