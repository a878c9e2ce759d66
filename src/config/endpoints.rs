//! What a service says about its endpoints: tables → settings.
//!
//! Promises: as [`super::build`].
//! Must not know: as [`super::build`].

use super::build::{count, flag, limit, text, time, word};
use super::settings::{
    Balance, Breaker, Endpoint, HashKey, Health, HealthKind, Retry, RetryOn, RetryWay, Way,
};
use super::tree::Section;
use super::value::Value;

pub(super) fn endpoints(service: &Section<'_>) -> Vec<Endpoint> {
    service.all("endpoints", |value| match value {
        Value::Endpoint(endpoint) => Some(endpoint.clone()),
        _ => None,
    })
}

pub(super) fn balance(service: &Section<'_>) -> Balance {
    let section = service.below("balance", None);
    let key = section.one("key", text).unwrap_or_default();
    Balance {
        way: match word(&section, "way") {
            "turns" => Way::Turns,
            "hash" => Way::Hash,
            _ => Way::Least,
        },
        key: match key.split_once(':') {
            Some(("field", name)) => HashKey::Field(name.to_owned()),
            Some(("cookie", name)) => HashKey::Cookie(name.to_owned()),
            _ => HashKey::Address,
        },
        sticky: section.one("sticky", text),
        slow_start: limit(&section, "slow-start"),
        panic: number(&section, "panic"),
    }
}

pub(super) fn health(service: &Section<'_>) -> Option<Health> {
    let section = service.below("health", None);
    if !section.is_sound() {
        return None;
    }
    let status = section.one("status", |value| match value {
        Value::Statuses(from, to) => Some((*from, *to)),
        _ => None,
    });
    Some(Health {
        kind: match word(&section, "kind") {
            "tcp" => HealthKind::Tcp,
            "grpc" => HealthKind::Grpc,
            _ => HealthKind::Http,
        },
        path: section.one("path", text).unwrap_or_default(),
        status: status.unwrap_or_default(),
        body: section.one("body", text).filter(|body| !body.is_empty()),
        host: section.one("host", text),
        interval: time(&section, "interval"),
        timeout: time(&section, "timeout"),
        rise: number(&section, "rise"),
        fall: number(&section, "fall"),
        jitter: percent(&section, "jitter").unwrap_or_default(),
    })
}

pub(super) fn breaker(service: &Section<'_>) -> Breaker {
    let section = service.below("breaker", None);
    Breaker {
        failures: count(&section, "failures").and_then(|count| count.try_into().ok()),
        share: percent(&section, "share"),
        volume: number(&section, "volume"),
        window: time(&section, "window"),
        open: time(&section, "open"),
        open_most: time(&section, "open-most"),
        trials: number(&section, "trials"),
        service: flag(&section, "service"),
    }
}

/// `section` inherits already.
pub(super) fn retry(section: &Section<'_>) -> Retry {
    let on = section.all("on", |value| match value {
        Value::Word(word) => Some(*word),
        _ => None,
    });
    Retry {
        attempts: number(section, "attempts"),
        way: match word(section, "way") {
            "fixed" => RetryWay::Fixed,
            "exponential" => RetryWay::Exponential,
            _ => RetryWay::Jitter,
        },
        wait: time(section, "wait"),
        wait_most: time(section, "wait-most"),
        budget: percent(section, "budget").unwrap_or_default(),
        floor: number(section, "floor"),
        on: RetryOn {
            connect: on.contains(&"connect"),
            reset: on.contains(&"reset"),
            bad_gateway: on.contains(&"502"),
            unavailable: on.contains(&"503"),
            gateway_timeout: on.contains(&"504"),
        },
        idempotency_key: flag(section, "idempotency-key"),
    }
}

fn number(section: &Section<'_>, name: &str) -> u32 {
    count(section, name).and_then(|count| count.try_into().ok()).unwrap_or_default()
}

/// In thousandths, or `None` for "off".
fn percent(section: &Section<'_>, name: &str) -> Option<u32> {
    section.one(name, |value| match value {
        Value::Percent(thousandths) => Some(*thousandths),
        _ => None,
    })
}
