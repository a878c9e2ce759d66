//! Faults on purpose: from the admin socket to a service's turnstile, and to the log.
//!
//! Promises: without `admin.faults` nothing is done; what begins and what ends is logged, with how many requests it has hit.
//! Must not know: what a fault does to a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::{Drill, Faulty};
use crate::connection::blueprint::Blueprint;
use crate::policy::Turnstile;
use crate::policy::fault::Fault;

/// What is to be said of it, or why it cannot be. Needs a local tokio runtime.
pub fn carry_out(blueprint: &Blueprint, drill: Drill) -> Result<String, String> {
    let services = &blueprint.settings.services;
    let Some(index) = services.iter().position(|service| service.name == drill.service) else {
        let known: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
        return Err(format!("there is no service '{}'; there are: {}", drill.service, known.join(", ")));
    };
    let turnstile = &blueprint.turnstiles[index];
    let Drill { service, fault } = drill;
    let Some(faulty) = fault else {
        return Ok(match turnstile.drill().set(None) {
            Some((_, hit)) => {
                tracing::warn!(service, hit, "ended the fault of {service}, which has hit {hit} requests");
                format!("ended the fault of {service}, which has hit {hit} requests")
            }
            None => format!("there is no fault of {service}"),
        });
    };
    if !blueprint.settings.admin.faults {
        return Err(
            "the configuration does not allow it; write faults = true into [admin], and reload".into()
        );
    }
    let Faulty { delay, abort, percent, time } = faulty;
    let until = Instant::now() + time;
    turnstile.drill().set(Some(Fault { delay, abort, share: percent / 100.0, until }));
    tracing::warn!(service, "set a fault of {service} on purpose for {time:?}: {faulty}");
    tokio::task::spawn_local(end(Arc::clone(turnstile), service.clone(), until));
    Ok(format!("for {time:?} {faulty} of {service}; end it with: hitless fault {service} --clear"))
}

/// Says that it is over, unless another one has taken its place.
async fn end(turnstile: Arc<Turnstile>, service: String, until: Instant) {
    tokio::time::sleep_until(until.into()).await;
    if let Some(hit) = turnstile.drill().end(until) {
        tracing::warn!(service, hit, "the fault of {service} is over, it has hit {hit} requests");
    }
}

/// In words, with what is left of it.
pub fn shown(turnstile: &Turnstile) -> Option<String> {
    let now = Instant::now();
    let (Fault { delay, abort, share, until }, hit) = turnstile.drill().now(now)?;
    let left = Duration::from_secs(until.saturating_duration_since(now).as_secs());
    let faulty = Faulty { delay, abort, percent: share * 100.0, time: left };
    Some(format!("{faulty}, {left:?} left, {hit} hit so far"))
}
