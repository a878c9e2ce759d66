//! What will be told of a tunnel when it has ended: the request that it began with, its bytes, its age.
//!
//! Promises: told once, by the process in which the tunnel ends and as its configuration says then, with everything that
//! went through since the request began. What went through is counted where it did. A tunnel holds its place among the
//! tunnels as long as its story is here.
//! Must not know: what goes through, routes, services other than by their names.

use std::time::Instant;

use super::local::Local;
use super::moving::{age, ago};
use super::places::Place;
use super::seat::Seat;
use crate::handover::record;
use crate::telemetry::access::{self, Entry};
use crate::telemetry::event;

pub(super) struct Story {
    told: record::Story,
    began: Instant,
    /// What had gone through before the tunnel came here.
    before: Carried,
    _place: Option<Place>,
}

/// Bytes that went through a tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) to_client: u64,
    pub(super) from_client: u64,
}

impl Story {
    pub(super) fn begin(told: record::Story, began: Instant, place: Option<Place>) -> Story {
        Story { told, began, before: Carried::default(), _place: place }
    }

    /// Of a tunnel that another process had, through which so much has gone.
    pub(super) fn resume(told: record::Story, before: Carried, local: &Local) -> Story {
        let began = ago(told.age_ms);
        Story { told, began, before, _place: Some(local.places.take_beyond()) }
    }

    /// The tunnel goes to another process, after so much.
    pub(super) fn depart(self, carried: Carried, local: &Local) -> record::Story {
        self.count(carried, local);
        record::Story { age_ms: age(self.began), ..self.told }
    }

    /// The tunnel has ended, after so much.
    pub(super) fn end(self, carried: Carried, seat: &Seat) {
        let local = seat.local();
        self.count(carried, local);
        let access = &local.generation().blueprint.access;
        if !access.wants(false) {
            return;
        }
        let told = &self.told;
        access.write(&Entry {
            request_id: &told.request_id,
            trace_id: &told.trace_id,
            client: seat.address(),
            service: told.service.as_deref(),
            route: told.route.as_deref(),
            endpoint: told.endpoint.as_deref(),
            attempts: 1,
            method: &told.method,
            authority: &told.authority,
            path: &told.path,
            protocol: &told.protocol,
            status: told.status,
            code: access::OK,
            fault: None,
            phase: None,
            error: None,
            sent: told.sent + carried.to_client,
            received: told.received + carried.from_client,
            duration: self.began.elapsed(),
        });
    }

    pub(super) fn warn_of_cut(&self) {
        tracing::warn!(
            message_id = event::CUT,
            request_id = self.told.request_id,
            service = self.told.service.as_deref().unwrap_or("-"),
            age_ms = age(self.began),
            "cut a tunnel at the deadline of the drain",
        );
    }

    fn count(&self, carried: Carried, local: &Local) {
        local.counters.sent(carried.to_client - self.before.to_client);
        local.counters.received(carried.from_client - self.before.from_client);
    }
}
