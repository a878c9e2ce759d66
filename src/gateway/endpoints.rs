//! The endpoints as an operator, and another gateway, sees them.
//!
//! Promises: what is shown is what all threads know at this moment; what another gateway tells is believed of an
//! endpoint of which this one knows nothing yet.
//! Must not know: how endpoints are asked, HTTP.

use std::sync::Arc;

use crate::admin;
use crate::connection::blueprint::Blueprint;
use crate::handover::record::{EndpointHealth, Health};
use crate::upstream::board::{self, Lineup, Row};
use crate::upstream::breaker::Hand;
use crate::upstream::health::State;

/// For `hitless status`.
pub fn shown(lineup: &Lineup) -> Vec<admin::Endpoint> {
    let gate = lineup.board().gate();
    let shown = |row: &Arc<Row>| admin::Endpoint {
        endpoint: row.label().to_string(),
        state: board::word_of(gate, row).into(),
        breaker: row.fuse().state().word().into(),
        by_hand: row.fuse().hand() != Hand::Auto,
        weight: row.weight(),
        in_flight: row.in_flight(),
        changes: row.changes(),
        opened: row.fuse().opened(),
    };
    lineup.rows().iter().map(shown).collect()
}

/// By an operator's hand; what was done, or why not.
pub fn set_breaker(
    blueprint: &Blueprint,
    hand: admin::Hand,
    service: &str,
    endpoint: Option<&str>,
) -> Result<String, String> {
    let known = || blueprint.settings.services.iter().map(|service| service.name.as_str());
    let Some(index) = known().position(|name| name == service) else {
        let names = known().collect::<Vec<_>>().join(", ");
        let there = if names.is_empty() { "there is none".into() } else { format!("there are: {names}") };
        return Err(format!("cannot set a breaker: no service is called '{service}'; {there}"));
    };
    let lineup = &blueprint.lineups[index];
    let hand = match hand {
        admin::Hand::Open => Hand::Open,
        admin::Hand::Close => Hand::Close,
        admin::Hand::Auto => Hand::Auto,
    };
    let told = match hand {
        Hand::Open => "is held open: no requests, until 'hitless breaker close' or 'auto'",
        Hand::Close => "is held closed, whatever is answered, until 'hitless breaker auto'",
        Hand::Auto => "is left to itself, and begins closed",
    };
    let Some(label) = endpoint else {
        lineup.board().set_breaker(None, hand);
        return Ok(format!("the breaker of service {service} {told}"));
    };
    let Some(row) = lineup.find(label) else {
        let rows = lineup.rows();
        let labels: Vec<&str> = rows.iter().take(20).map(|row| &**row.label()).collect();
        let labels = labels.join(", ");
        return Err(format!(
            "cannot set a breaker: service {service} has no endpoint '{label}'; it has: {labels}"
        ));
    };
    lineup.board().set_breaker(Some(&row), hand);
    Ok(format!("the breaker of endpoint {label} of service {service} {told}"))
}

/// What the gateway after this one need not find out by itself.
pub fn record(lineups: &[Arc<Lineup>]) -> Health {
    let mut endpoints = Vec::new();
    for lineup in lineups {
        for row in lineup.rows().iter() {
            let asked = lineup.settings().health.is_some();
            let healthy = match row.health() {
                State::Healthy if asked => Some(true),
                State::Unhealthy => Some(false),
                _ => None,
            };
            let breaker = match row.fuse().hand() {
                Hand::Auto => None,
                Hand::Open => Some("open".to_owned()),
                Hand::Close => Some("close".to_owned()),
            };
            let (service, endpoint) = (lineup.settings().name.clone(), row.label().to_string());
            let told = EndpointHealth { service, endpoint, healthy, drained: row.is_drained(), breaker };
            if told.healthy.is_some() || told.drained || told.breaker.is_some() {
                endpoints.push(told);
            }
        }
    }
    Health { endpoints }
}

/// What another gateway knew.
pub fn adopt(lineups: &[Arc<Lineup>], health: &Health) {
    for told in &health.endpoints {
        let Some(lineup) = lineups.iter().find(|lineup| lineup.settings().name == told.service) else {
            continue;
        };
        let Some(row) = lineup.find(&told.endpoint) else { continue };
        if let (Some(healthy), State::Unknown) = (told.healthy, row.health()) {
            let state = if healthy { State::Healthy } else { State::Unhealthy };
            lineup.board().found(&row, state, "the gateway before has found it so");
        }
        if told.drained {
            lineup.board().drain(&row, true);
        }
        match (told.breaker.as_deref(), row.fuse().hand()) {
            (Some("open"), Hand::Auto) => lineup.board().set_breaker(Some(&row), Hand::Open),
            (Some("close"), Hand::Auto) => lineup.board().set_breaker(Some(&row), Hand::Close),
            _ => {}
        }
    }
}
