//! What a configuration means to the data threads: the part that they share, and each one's own.
//!
//! Promises: a [`Blueprint`] never changes; a [`Generation`] takes over the upstreams, with their
//! pools, of services that did not change. Whoever holds a generation keeps it alive.
//! Must not know: requests, sockets, where settings come from.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::config::settings::Settings;
use crate::policy::{Turnstile, Via};
use crate::route::Table;
use crate::telemetry::access::AccessLog;
use crate::telemetry::counters::{Counters, Pen};
use crate::tls::{Directory, Outward};
use crate::upstream::Upstream;
use crate::upstream::board::Lineup;

/// One accepted configuration, shared by all data threads.
pub struct Blueprint {
    /// Counts the configurations of this process.
    pub number: u64,
    pub settings: Arc<Settings>,
    pub routes: Arc<Table>,
    /// What the endpoints of each service are dialled with, in the order of `settings.services`.
    pub outward: Vec<Option<Arc<Outward>>>,
    /// Their endpoints, as all threads know them, in the same order.
    pub lineups: Vec<Arc<Lineup>>,
    /// The ways into them, in the same order.
    pub turnstiles: Vec<Arc<Turnstile>>,
    pub access: Arc<AccessLog>,
    /// What this gateway says of itself in `Via`.
    pub via: Via,
    /// Which certificate is shown for which name.
    pub tls: Arc<Directory>,
}

/// A blueprint with one data thread's own upstreams.
pub(crate) struct Generation {
    pub(crate) blueprint: Arc<Blueprint>,
    /// In the order of `settings.services`.
    pub(crate) upstreams: Vec<Rc<Upstream>>,
    /// Where what becomes of their requests is counted, in the same order.
    pub(crate) pens: Vec<Pen>,
    /// Places for TLS handshakes: this thread's share.
    pub(crate) handshakes: Semaphore,
    /// Some listener has clients that begin with a PROXY header.
    pub(super) introduces: bool,
}

impl Generation {
    pub(crate) fn new(
        blueprint: Arc<Blueprint>,
        before: Option<&Generation>,
        counters: &Counters,
    ) -> Generation {
        let services = &blueprint.settings.services;
        let upstreams = services.iter().zip(&blueprint.lineups).zip(&blueprint.outward);
        let upstreams = upstreams.map(|((service, lineup), outward)| {
            let kept = before.and_then(|before| before.upstream_of(&service.name));
            Upstream::new(Arc::clone(lineup), outward.clone(), kept.map(|upstream| &**upstream))
        });
        let upstreams = upstreams.collect();
        let pens = services.iter().map(|service| counters.service(&service.name)).collect();
        let share =
            blueprint.settings.tls.handshakes.map(|all| all / blueprint.settings.daemon.threads as u64);
        let share =
            share.map_or(Semaphore::MAX_PERMITS, |share| usize::try_from(share).unwrap_or(usize::MAX));
        let handshakes = Semaphore::new(share.clamp(1, Semaphore::MAX_PERMITS));
        let introduces = blueprint.settings.listeners.iter().any(|listener| !listener.proxy.is_empty());
        Generation { blueprint, upstreams, pens, handshakes, introduces }
    }

    pub(super) fn upstream_of(&self, name: &str) -> Option<&Rc<Upstream>> {
        let services = &self.blueprint.settings.services;
        let index = services.binary_search_by(|service| service.name.as_str().cmp(name)).ok()?;
        self.upstreams.get(index)
    }
}
