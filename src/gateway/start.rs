//! The way from the control socket to a running control loop, and the end of it all.
//!
//! Promises: whatever was opened is closed, in reverse order, when the loop has ended or panicked;
//! a start that fails is told to the keeper with the reason.
//! Must not know: what happens in between.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::Fatal;
use super::alone::Lifeline;
use super::certificates;
use super::control::{Control, Input, Outbox};
use super::office::Office;
use super::reload::Reloads;
use super::resources::Resources;
use crate::admin::{Access, Doors};
use crate::config::{self, Sources};
use crate::connection::blueprint::Blueprint;
use crate::handover::control::{self, Purpose, SocketRecord, Start, ToGateway, ToKeeper};
use crate::handover::mailbox::Mailbox;
use crate::handover::snapshot;
use crate::lifecycle::Blocker;
use crate::listener::threads::{Socket, Threads};
use crate::policy::{Turnstile, Via};
use crate::route::Table;
use crate::telemetry::access::AccessLog;
use crate::telemetry::{event, log};
use crate::tls::{self, Around, Directory, Tickets};
use crate::upstream::board::Lineup;

const LOG_LIMIT: Duration = Duration::from_secs(1);
const OUTBOX_LIMIT: Duration = Duration::from_millis(500);
const ADMIN_LIMIT: Duration = Duration::from_millis(500);
const THREADS_LIMIT: Duration = Duration::from_secs(1);

/// What came with the `Start` message.
struct Received {
    start: Start,
    sources: Sources,
    sockets: Vec<(SocketRecord, OwnedFd)>,
    /// The certificates that served, in memory.
    kept: Option<OwnedFd>,
}

/// The whole life of a gateway.
pub async fn live(socket: OwnedFd) -> Result<(), Fatal> {
    let keeper = Mailbox::new(socket).map_err(|cause| Fatal::System("use the control socket", cause))?;
    let keeper = Rc::new(keeper);
    let lifeline = keeper.as_fd().try_clone_to_owned().and_then(Lifeline::begin);
    let lifeline = lifeline.map_err(|cause| Fatal::System("watch the keeper", cause))?;
    let mut resources = Resources::default();
    let ended = match receive(&keeper).await {
        Ok(Some(received)) => serve(&keeper, lifeline, received, &mut resources).await,
        // The keeper was stopped before it could say anything.
        Ok(None) => Ok(()),
        Err(reason) => Err(Fatal::Start(reason)),
    };
    if let Err(Fatal::Start(reason)) = &ended {
        let reason = reason.clone();
        let _ = control::send(&keeper, ToKeeper::StartFailed { reason }, &[]).await;
    }
    resources.close().await;
    ended
}

async fn receive(keeper: &Mailbox) -> Result<Option<Received>, String> {
    let message = control::receive::<ToGateway>(keeper).await.map_err(|error| error.to_string())?;
    let Some((message, fds)) = message else { return Ok(None) };
    let start = match message {
        ToGateway::Start(start) => start,
        ToGateway::Drain { .. } | ToGateway::Leave { .. } | ToGateway::SocketsClosing | ToGateway::End => {
            return Ok(None);
        }
        ToGateway::Reload | ToGateway::Adopt | ToGateway::HandOver { .. } | ToGateway::TakeBack => {
            return Err("the keeper asked for something before the start".into());
        }
    };
    let mut fds = fds.into_iter();
    let snapshot = fds.next().ok_or("no configuration came with the start message")?;
    let content = snapshot::open(snapshot).map_err(|error| error.to_string())?;
    let sources = serde_json::from_slice(&content).map_err(|error| error.to_string())?;
    let kept = start.certificates.then(|| fds.next_back()).flatten();
    if fds.len() != start.sockets.len() {
        return Err(format!("{} sockets were announced and {} came", start.sockets.len(), fds.len()));
    }
    let sockets = start.sockets.iter().cloned().zip(fds).collect();
    Ok(Some(Received { start, sources, sockets, kept }))
}

async fn serve(
    keeper: &Rc<Mailbox>,
    lifeline: Lifeline,
    received: Received,
    resources: &mut Resources,
) -> Result<(), Fatal> {
    let Received { start, sources, sockets, kept } = received;
    let loaded = config::parse(&sources).map_err(|errors| Fatal::Start(errors.to_string()))?;
    let settings = loaded.settings;
    let log = log::init("gateway", settings.log.level);
    let to_flush = log.clone();
    resources.opened("the log", LOG_LIMIT * 2, move || async move {
        to_flush.flush(LOG_LIMIT);
    });
    tracing::info!(message_id = event::STARTED, version = crate::version::text(), "gateway started");

    let outbox = Outbox::open(Rc::clone(keeper));
    let to_empty = outbox.clone();
    resources.opened("the control socket", OUTBOX_LIMIT, move || async move { to_empty.emptied().await });

    let tickets = Arc::new(Tickets::default());
    let kept = certificates::taken(kept);
    let around = Around { before: None, kept: &kept, tickets: &tickets, now: SystemTime::now() };
    let (directory, warnings) = Directory::load(&settings, &around)
        .map_err(|faults| Fatal::Start(certificates::in_lines(&faults).join("\n")))?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let (outward, wrong) = tls::outward(&settings);
    // A gateway that takes the place of one that died must not fail because of a file that has changed since.
    for error in wrong {
        tracing::error!("{error}; until that and a reload its requests are answered 502");
    }
    let blueprint = Arc::new(Blueprint {
        number: start.generation,
        tls: Arc::new(directory),
        outward,
        lineups: Lineup::all(&settings.services, &[]),
        turnstiles: Turnstile::all(&settings, None, Instant::now()),
        routes: Arc::new(Table::new(&settings)),
        access: AccessLog::new(&settings.log, &log),
        via: Via::new(&start.pseudonym),
        settings: Arc::clone(&settings),
    });
    let (public, private) = sort(sockets);
    let threads = Threads::start(settings.daemon.threads, public, Arc::clone(&blueprint))
        .map_err(|error| Fatal::Start(format!("cannot start the data threads: {error}")))?;
    let threads = Rc::new(threads);
    let to_join = Rc::clone(&threads);
    resources.opened("the data threads", THREADS_LIMIT, move || join(to_join));

    let (queue, inputs) = mpsc::unbounded_channel();
    let office = Rc::new(Office::new(&start, blueprint, tickets, Rc::clone(&threads), log, queue.clone()));
    let doors = Doors::open(private, Rc::clone(&office) as _)
        .map_err(|error| Fatal::Start(format!("cannot open the admin sockets: {error}")))?;
    let doors = Rc::new(RefCell::new(Some(doors)));
    let to_close = Rc::clone(&doors);
    resources.opened("the admin sockets", ADMIN_LIMIT, move || async move {
        let doors = to_close.take();
        if let Some(doors) = doors {
            doors.close().await;
        }
    });

    let mut control = Control::new(start, office, threads, doors, outbox, Reloads::new(sources), queue);
    control.alone.lifeline = lifeline;
    for blocker in [Blocker::Configuration, Blocker::Listeners, Blocker::Admin] {
        control.tell(Input::BlockerGone(blocker));
    }
    control.listen_to(Rc::clone(keeper));
    // After a panic the state may be half-changed, but all that is done with it is to drop it.
    let ended = AssertUnwindSafe(control.run(inputs)).catch_unwind().await;
    ended.unwrap_or_else(|_| {
        tracing::error!("the control loop panicked, closing everything: this is a bug");
        Err(Fatal::Panicked)
    })
}

/// Public sockets for the data threads, private ones for the admin API.
fn sort(sockets: Vec<(SocketRecord, OwnedFd)>) -> (Vec<Socket>, Vec<(OwnedFd, Access)>) {
    let (mut public, mut private) = (vec![], vec![]);
    for (record, fd) in sockets {
        match record.purpose {
            Purpose::Listener(name) => {
                public.push(Socket { name: name.into(), fd, passed: record.passed });
            }
            Purpose::Admin => private.push((fd, Access::Everything)),
            Purpose::AdminReadOnly => private.push((fd, Access::ReadOnly)),
        }
    }
    (public, private)
}

/// Everything that still had a use for the threads was dropped with the control loop.
async fn join(threads: Rc<Threads>) {
    threads.cut();
    match Rc::try_unwrap(threads) {
        Ok(threads) => {
            let _ = tokio::task::spawn_blocking(move || threads.join()).await;
        }
        Err(_) => tracing::warn!("cannot end the data threads in order: they are still in use"),
    }
}
