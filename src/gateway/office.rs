//! What the admin sockets can see and ask of this gateway.
//!
//! Promises: what is shown is what is served at this moment; a reload that was asked for is always
//! answered, in the end with "the gateway is stopping".
//! Must not know: how a reload is done, or HTTP.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::future::LocalBoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::control::Input;
use super::endpoints;
use crate::admin::{self, Desk, Drill, Gated, Reload, Status, Verdict, Wish};
use crate::config::settings::Protocol;
use crate::connection::blueprint::Blueprint;
use crate::handover::control::{Purpose, Start, Summary};
use crate::lifecycle::Phase;
use crate::listener::threads::Threads;
use crate::policy::Turnstile;
use crate::telemetry::ledger::{Fate, Ledger, Lineage};
use crate::telemetry::log;
use crate::tls::{Shown, Tickets};
use crate::upstream::board::Lineup;

/// What control loop and admin sockets share, on one thread.
pub struct Office {
    pub phase: RefCell<Phase>,
    pub blueprint: RefCell<Arc<Blueprint>>,
    pub last_reload: RefCell<Option<Reload>>,
    pub log: log::Handle,
    pub tickets: Arc<Tickets>,
    /// In words, by the units' names.
    pub unit_states: RefCell<HashMap<String, &'static str>>,
    /// What those before this gateway have left.
    lineage: RefCell<Lineage>,
    start: StartedWith,
    threads: Rc<Threads>,
    queue: mpsc::UnboundedSender<Input>,
    began: Instant,
}

struct StartedWith {
    directory: std::path::PathBuf,
    program: std::path::PathBuf,
    listeners: Vec<admin::Listener>,
    replacements: u64,
    threads: usize,
    keeper_pid: u32,
}

impl Office {
    pub fn new(
        start: &Start,
        blueprint: Arc<Blueprint>,
        tickets: Arc<Tickets>,
        threads: Rc<Threads>,
        log: log::Handle,
        queue: mpsc::UnboundedSender<Input>,
    ) -> Office {
        Office {
            phase: RefCell::new(Phase::starting(start.generation)),
            start: StartedWith {
                directory: start.directory.clone(),
                program: start.program.clone(),
                listeners: start.sockets.iter().filter_map(listener).collect(),
                replacements: start.replacements,
                threads: blueprint.settings.daemon.threads,
                keeper_pid: std::os::unix::process::parent_id(),
            },
            blueprint: RefCell::new(blueprint),
            last_reload: RefCell::new(None),
            log,
            tickets,
            unit_states: RefCell::default(),
            lineage: RefCell::new(Lineage::begin(
                start.gateway,
                start.lost,
                env!("CARGO_PKG_VERSION"),
                std::process::id(),
                now(),
            )),
            threads,
            queue,
            began: Instant::now(),
        }
    }

    /// For the status line.
    pub fn summary(&self) -> Summary {
        let blueprint = self.blueprint.borrow();
        let sockets = self.start.listeners.len();
        let mut listeners: Vec<String> = vec![];
        for listener in &self.start.listeners {
            if !listeners.contains(&listener.name) {
                listeners.push(listener.name.clone());
            }
        }
        let services = blueprint.settings.services.len();
        Summary { generation: blueprint.number, services, listeners, sockets }
    }

    /// Goes on with what another gateway has written, which is no more.
    pub fn inherit(&self, ledger: Ledger) {
        self.lineage.borrow_mut().inherit(ledger);
    }

    /// The last word of this gateway, for the one after it. It has ended well when nothing is in flight any more.
    pub fn close_ledger(&self, fate: Fate) -> Ledger {
        self.lineage.borrow().close(self.threads.page(), fate, now())
    }

    /// The verdict on a reload that will not be, because of what this gateway does now.
    pub fn no_reload(&self) -> Verdict {
        let generation = self.blueprint.borrow().number;
        match *self.phase.borrow() {
            Phase::HandingOver(_) => {
                let messages = vec!["cannot reload: hitless is handing over, ask again".into()];
                Verdict { messages, ..stopping(generation) }
            }
            _ => stopping(generation),
        }
    }

    fn describe(&self, lineup: &Lineup) -> admin::Service {
        let service = lineup.settings();
        let survey = lineup.board().held().survey();
        let held = admin::Held {
            now: survey.now as u64,
            bytes: survey.bytes,
            oldest_ms: survey.oldest.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            reasons: survey.reasons.into_iter().map(|reason| reason.word().to_owned()).collect(),
            total: survey.totals.held,
            released: survey.totals.released,
            shed: survey.totals.shed,
        };
        let states = self.unit_states.borrow();
        let unit = service.unit.name.as_ref().map(|name| admin::Unit {
            name: name.clone(),
            state: states.get(name).copied().unwrap_or("unknown").to_owned(),
        });
        admin::Service { held, unit, ..describe(lineup) }
    }

    /// Data threads are started once; a reload cannot change their number.
    pub fn running_threads(&self) -> usize {
        self.start.threads
    }
}

impl Desk for Office {
    fn readiness(&self) -> Result<(), Vec<String>> {
        self.phase.borrow().readiness()
    }

    fn status(&self) -> Status {
        let blueprint = self.blueprint.borrow();
        let totals = self.threads.totals();
        let readiness = self.readiness();
        Status {
            version: crate::version::text().into(),
            phase: self.phase.borrow().word().into(),
            ready: readiness.is_ok(),
            not_ready: readiness.err().unwrap_or_default(),
            generation: blueprint.number,
            pid: std::process::id(),
            keeper_pid: self.start.keeper_pid,
            uptime_seconds: self.began.elapsed().as_secs_f64(),
            replacements: self.start.replacements,
            program_replaced: is_another(&self.start.program),
            threads: self.start.threads,
            configuration: self.start.directory.clone(),
            listeners: self.start.listeners.clone(),
            services: blueprint
                .lineups
                .iter()
                .zip(&blueprint.turnstiles)
                .map(|(lineup, turnstile)| limited(self.describe(lineup), turnstile))
                .collect(),
            certificates: blueprint.tls.shown(SystemTime::now()).into_iter().map(certificate).collect(),
            last_reload: self.last_reload.borrow().clone(),
            residue: totals.residue(),
            totals,
            dropped_log_lines: self.log.dropped(),
        }
    }

    fn breaker(&self, hand: admin::Hand, service: &str, endpoint: Option<&str>) -> Result<String, String> {
        endpoints::set_breaker(&self.blueprint.borrow(), hand, service, endpoint)
    }

    fn fault(&self, drill: Drill) -> Result<String, String> {
        let blueprint = Arc::clone(&self.blueprint.borrow());
        super::drill::carry_out(&blueprint, drill)
    }

    fn upgrade(&self, asker: OwnedFd) {
        let _ = self.queue.send(Input::UpgradeAsked(asker));
    }

    fn ledger(&self) -> Ledger {
        self.lineage.borrow().ledger(self.threads.page())
    }

    fn gate(&self, wish: Wish) -> LocalBoxFuture<'static, Gated> {
        let (answer, answered) = oneshot::channel();
        let _ = self.queue.send(Input::GateAsked(wish, answer));
        Box::pin(
            async move { answered.await.unwrap_or_else(|_| Gated::refused("hitless is stopping".into())) },
        )
    }

    fn reload(&self) -> LocalBoxFuture<'static, Verdict> {
        let (answer, verdict) = oneshot::channel();
        let _ = self.queue.send(Input::ReloadAsked(Some(answer)));
        let generation = self.blueprint.borrow().number;
        Box::pin(async move {
            // Dropped unanswered when the control loop ends.
            verdict.await.unwrap_or_else(|_| stopping(generation))
        })
    }
}

/// Whether this file is another one than the program that this process is. By its number, for it may say the same
/// version; as long as this process lives no other file gets the number.
fn is_another(program: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    number(program).is_some_and(|found| number(Path::new("/proc/self/exe")).is_some_and(|ours| ours != found))
}

/// In words for people and programs (RFC 3339).
pub fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// The verdict on a reload that will not be.
pub fn stopping(generation: u64) -> Verdict {
    let messages = vec!["cannot reload: hitless is stopping".into()];
    Verdict { accepted: false, generation, messages, stopping: true }
}

fn listener(record: &crate::handover::control::SocketRecord) -> Option<admin::Listener> {
    let Purpose::Listener(name) = &record.purpose else { return None };
    let from = if record.passed { "systemd" } else { "configuration" };
    Some(admin::Listener { name: name.clone(), address: record.address.clone(), from: from.into() })
}

fn certificate(shown: Shown) -> admin::Certificate {
    let not_after = jiff::Timestamp::from_second(shown.not_after);
    admin::Certificate {
        chain: shown.chain,
        names: shown.names,
        not_after: not_after.map_or_else(|_| String::new(), |at| at.to_string()),
        days_left: shown.days_left,
        fault: shown.fault,
    }
}

fn describe(lineup: &Lineup) -> admin::Service {
    let (service, board) = (lineup.settings(), lineup.board());
    let mut hosts: Vec<String> =
        service.routes.iter().flat_map(|route| &route.hosts).map(ToString::to_string).collect();
    hosts.sort();
    hosts.dedup();
    let protocol = match service.protocol {
        Protocol::Http1 => "http1",
        Protocol::H2c => "h2c",
        Protocol::Https => "https",
    };
    admin::Service {
        name: service.name.clone(),
        hosts,
        endpoints: service.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect(),
        protocol: protocol.into(),
        routes: service.routes.len(),
        states: endpoints::shown(lineup),
        breaker: board.fuse().state().word().into(),
        retries_left: board.budget().left(),
        ..admin::Service::default()
    }
}

/// With what limits it, and what goes wrong with it on purpose.
fn limited(service: admin::Service, turnstile: &Turnstile) -> admin::Service {
    let shown = turnstile.shown();
    let (inside, waiting) = (shown.inside, shown.waiting);
    let concurrency = shown.limit.map(|limit| admin::Concurrency { limit, inside, waiting });
    admin::Service { concurrency, fault: super::drill::shown(turnstile), ..service }
}
