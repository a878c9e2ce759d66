//! Gates by hand: hold, release, drain, and what becomes of them.
//!
//! Promises: what is asked for holds when the answer is given; a drain is answered when nothing is in flight any more, or
//! when its time is over, whichever comes first, and is still one then.
//! Must not know: HTTP, where marks are kept.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::control::Control;
use super::marks::Mark;
use crate::admin::{Gate, Gated, Wish};
use crate::upstream::board::{Lineup, Row};
use crate::upstream::held::Reason;
use tokio::sync::oneshot;

impl Control {
    /// Somebody has changed the marks, perhaps another gateway.
    pub(super) fn marks_touched(&mut self) {
        let (all, gone) = self.marks.look();
        for mark in gone {
            self.unmark(&mark);
        }
        all.iter().for_each(|mark| self.mark(mark));
    }

    fn lineup(&self, service: &str) -> Option<Arc<Lineup>> {
        let blueprint = self.office.blueprint.borrow();
        blueprint.lineups.iter().find(|lineup| lineup.settings().name == service).cloned()
    }

    fn mark(&self, mark: &Mark) {
        let Some(lineup) = self.lineup(mark.service()) else { return };
        let board = lineup.board();
        match mark {
            Mark::Hold(_) => board.held().close(Reason::Operator),
            Mark::Drain(_) => board.held().close(Reason::Drain),
            Mark::DrainEndpoint(_, endpoint) => {
                if let Some(row) = lineup.find(endpoint) {
                    board.drain(&row, true);
                }
            }
        }
    }

    fn unmark(&self, mark: &Mark) {
        let Some(lineup) = self.lineup(mark.service()) else { return };
        let board = lineup.board();
        match mark {
            Mark::Hold(_) => board.held().open(Reason::Operator),
            Mark::Drain(_) => board.held().open(Reason::Drain),
            Mark::DrainEndpoint(_, endpoint) => {
                if let Some(row) = lineup.find(endpoint) {
                    board.drain(&row, false);
                }
            }
        }
    }

    fn put(&mut self, mark: Mark) {
        self.mark(&mark);
        self.marks.put(mark);
    }

    fn remove(&mut self, mark: &Mark) {
        self.marks.remove(mark);
        self.unmark(mark);
    }

    /// The application that was drained has been followed by a new one.
    pub(super) fn end_drains_of(&mut self, unit: &str) {
        let services: Vec<String> = {
            let blueprint = self.office.blueprint.borrow();
            let of_unit =
                blueprint.settings.services.iter().filter(|one| one.unit.name.as_deref() == Some(unit));
            of_unit.map(|service| service.name.clone()).collect()
        };
        for service in services {
            self.end_drains(&service, None);
        }
    }

    fn end_drains(&mut self, service: &str, endpoint: Option<&str>) {
        let is_meant = |mark: &&Mark| match mark {
            Mark::Drain(name) => name == service && endpoint.is_none(),
            Mark::DrainEndpoint(name, of) => {
                name == service && endpoint.is_none_or(|endpoint| endpoint == of)
            }
            Mark::Hold(_) => false,
        };
        let over: Vec<Mark> = self.marks.all().filter(is_meant).cloned().collect();
        for mark in over {
            self.remove(&mark);
        }
    }

    pub(super) fn gate_asked(&mut self, wish: &Wish, answer: oneshot::Sender<Gated>) {
        let Some(lineup) = self.lineup(&wish.service) else {
            let told = format!("there is no service '{}'", wish.service);
            let _ = answer.send(Gated::refused(told));
            return;
        };
        let row = wish.endpoint.as_deref().map(|endpoint| lineup.find(endpoint));
        let row = match row {
            Some(None) => {
                let known: Vec<String> = lineup.rows().iter().map(|row| row.label().to_string()).collect();
                let told = format!(
                    "'{}' is no endpoint of {}; there are {}",
                    wish.endpoint.as_deref().unwrap_or(""),
                    wish.service,
                    known.join(", ")
                );
                let _ = answer.send(Gated::refused(told));
                return;
            }
            Some(row) => row,
            None => None,
        };
        let service = wish.service.clone();
        match wish.gate {
            Gate::Hold => {
                tracing::info!(service, "requests to {service} are held by an operator");
                self.put(Mark::Hold(service));
                let _ = answer.send(gated(&lineup, None, true));
            }
            Gate::Release => {
                tracing::info!(service, "requests to {service} are released by an operator");
                self.remove(&Mark::Hold(service.clone()));
                self.end_drains(&service, None);
                let _ = answer.send(gated(&lineup, None, true));
            }
            Gate::Started => {
                self.end_drains(&service, wish.endpoint.as_deref());
                let _ = answer.send(gated(&lineup, None, true));
            }
            Gate::Drain => {
                // Another endpoint takes the load, if there is one.
                let alone = lineup.rows().iter().filter(|row| !row.is_drained()).count() <= 1;
                let mark = match &row {
                    Some(row) if !alone => Mark::DrainEndpoint(service.clone(), row.label().to_string()),
                    _ => Mark::Drain(service.clone()),
                };
                tracing::info!(
                    service,
                    endpoint = wish.endpoint.as_deref().unwrap_or("-"),
                    "draining {service}"
                );
                self.put(mark);
                let limit = wish.limit.unwrap_or(Duration::from_secs(30));
                self.tasks.spawn_local(async move {
                    let rows: Vec<Arc<Row>> = match &row {
                        Some(row) => vec![Arc::clone(row)],
                        None => lineup.rows().iter().cloned().collect(),
                    };
                    let emptied = join_all(rows.iter().map(|row| row.emptied()));
                    let done = tokio::time::timeout(limit, emptied).await.is_ok();
                    let _ = answer.send(gated(&lineup, row.as_deref(), done));
                });
            }
        }
    }
}

fn gated(lineup: &Lineup, row: Option<&Row>, done: bool) -> Gated {
    let in_flight = match row {
        Some(row) => row.in_flight(),
        None => lineup.rows().iter().map(|row| row.in_flight()).sum(),
    };
    let held = lineup.board().held().survey();
    Gated { done, held: held.now as u64, in_flight: in_flight as u64, refused: None }
}
