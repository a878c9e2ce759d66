//! Services and their routes, out of the checked tree.
//!
//! Promises: a service that is returned without a report has at least one route, each route a host,
//! and each one that forwards an endpoint.
//! Must not know: other services; `unique` looks at them side by side.

use std::path::Path;

use super::build::{Around, count, flag, limit, size, text, time, word};
use super::endpoints;
use super::keys::last;
use super::message::{Mark, Report, closest, either, quote};
use super::pages;
use super::settings::{
    Action, ContentLimits, Hold, HostPattern, PathPattern, Pool, Protocol, Replay, Route, Service, Timeout,
    Unit,
};
use super::shape::{ROOT, Shape};
use super::tls;
use super::tree::{Branch, Found, Node, Section};
use super::turnstile;
use super::value::{Value, path};
use super::work;

/// The most combinations of listener, host, path and method that the routes of one service may have: a short
/// file must not become a large table.
const MOST_COMBINATIONS: usize = 100_000;

/// A service and the origin of each of its routes.
pub(super) type Marked = (Service, Vec<Origin>);

/// Where a route was written, and under which key.
pub(super) struct Origin {
    pub mark: Mark,
    pub path: String,
    /// Whether all of its conditions were accepted.
    pub sound: bool,
}

/// All services in the order of their names. Without `listeners` it is not known which there are.
pub(super) fn services(
    root: &Section<'_>,
    listeners: Option<&[&str]>,
    around: &Around<'_>,
    report: &mut Report,
) -> Vec<Marked> {
    let defaults = root.below("defaults", None);
    let inherited = Inherited {
        timeout: defaults.below("timeout", None),
        replay: None,
        together: size(&root.below("limits", None), "replay"),
        limits: root.below("limits", None),
        errors: root.below("errors", None),
        retry: root.below("retry", None),
    };
    let services = root.below("service", None);
    let sound = services.named().filter(|(_, section)| section.is_sound());
    sound
        .map(|(name, section)| {
            Build {
                name,
                section,
                listeners,
                around,
                report,
                forwards: false,
                hostless: false,
                combinations: 0,
            }
            .service(&inherited)
        })
        .collect()
}

/// The tables from which those of the same name below inherit.
struct Inherited<'a> {
    timeout: Section<'a>,
    /// Of the service.
    replay: Option<Section<'a>>,
    /// What all copies of content may take together.
    together: Option<u64>,
    limits: Section<'a>,
    errors: Section<'a>,
    /// Of a service, for its routes.
    retry: Section<'a>,
}

struct Build<'a, 'r> {
    name: &'a str,
    section: Section<'a>,
    listeners: Option<&'r [&'r str]>,
    around: &'r Around<'r>,
    report: &'r mut Report,
    /// Whether some route asks the application.
    forwards: bool,
    /// Whether some route has no host.
    hostless: bool,
    combinations: usize,
}

/// One table of routes, or the service itself when it has none.
struct Part<'a> {
    /// `service.shop.route[1]`, or `service.shop`.
    path: String,
    id: String,
    mark: Mark,
    section: Section<'a>,
}

impl Build<'_, '_> {
    fn service(mut self, inherited: &Inherited<'_>) -> Marked {
        let section = self.section;
        let own = Inherited {
            timeout: section.below("timeout", Some(&inherited.timeout)),
            replay: Some(section.below("replay", None)),
            together: inherited.together,
            limits: section.below("limits", Some(&inherited.limits)),
            errors: section.below("errors", Some(&inherited.errors)),
            retry: section.below("retry", None),
        };
        let path = format!("service.{}", self.name);
        self.known_listeners(&path, &section);
        let mut routes = Vec::new();
        let mut origins = Vec::new();
        for part in self.parts(&section) {
            let conditions = ["listeners", "hosts", "path", "methods", "fields"];
            let sound = !conditions.iter().any(|name| part.section.find(name).is_some_and(Found::is_broken));
            for route in self.routes(&part, &own) {
                routes.push(route);
                origins.push(Origin { mark: part.mark, path: part.path.clone(), sound });
            }
        }
        self.complete(&routes);
        let pool = section.below("pool", None);
        let hold = section.below("hold", None);
        let unit = self.unit(&section);
        let service = Service {
            name: self.name.to_owned(),
            endpoints: endpoints::endpoints(&section),
            resolve: time(&section, "resolve"),
            balance: endpoints::balance(&section),
            health: endpoints::health(&section),
            breaker: endpoints::breaker(&section),
            protocol: match word(&section, "protocol") {
                "h2c" => Protocol::H2c,
                "https" => Protocol::Https,
                _ => Protocol::Http1,
            },
            endpoint_tls: tls::to_endpoints(&section, self.around.places),
            pool: Pool {
                idle: time(&pool, "idle"),
                max_idle: count(&pool, "max-idle").and_then(|n| n.try_into().ok()).unwrap_or_default(),
            },
            hold: Hold {
                count: count(&hold, "count"),
                bytes: size(&hold, "bytes"),
                age: limit(&hold, "age"),
                rate: count(&hold, "rate"),
                on_breaker: flag(&hold, "on-breaker"),
                on_connect: flag(&hold, "on-connect"),
            },
            unit,
            errors: pages::of(&own.errors, self.around.places, self.around.pages),
            tls: tls::of_service(&section, self.around.places),
            https: tls::https(&section),
            rates: turnstile::rates(&section, &path, self.report),
            concurrency: turnstile::concurrency(&section, &path, self.report),
            deadline_field: section.below("deadline", None).one("field", text),
            routes,
        };
        (service, origins)
    }

    /// What is stopped when nobody asks has to be a unit.
    fn unit(&mut self, section: &Section<'_>) -> Unit {
        let unit = Unit { name: section.one("unit", text), idle_stop: limit(section, "idle-stop") };
        if let (Some(written), Some(_), None) = (section.own("idle-stop"), unit.idle_stop, &unit.name) {
            self.report.error(
                written.mark,
                format!("service.{}.idle-stop", self.name),
                "found without 'unit'",
                "allowed: beside the unit that is to be stopped and started",
                "add unit = \"NAME.service\", or remove it",
            );
        }
        unit
    }

    fn parts<'s>(&self, service: &'s Section<'s>) -> Vec<Part<'s>> {
        let shape = service.shape.field("route").and_then(|route| route.each.as_deref());
        let shape: &'static Shape = shape.unwrap_or(service.shape);
        let part = |index: usize, path: String, table: Option<&'s Branch>| Part {
            path,
            id: format!("{}[{index}]", self.name),
            mark: table.map_or_else(|| self.mark(), |table| table.mark),
            section: Section { shape, table, above: Some(service) },
        };
        let path = format!("service.{}", self.name);
        match service.own("route") {
            None => vec![part(0, path, None)],
            Some(list) => {
                let sound = list.list().iter().enumerate().filter(|(_, table)| table.table().is_some());
                sound
                    .map(|(index, table)| part(index, format!("{path}.route[{index}]"), Some(table)))
                    .collect()
            }
        }
    }

    fn mark(&self) -> Mark {
        self.section.table.map_or(Mark { source: 0, offset: 0 }, |table| table.mark)
    }

    /// One route for each path of a part.
    fn routes(&mut self, part: &Part<'_>, inherited: &Inherited<'_>) -> Vec<Route> {
        let section = &part.section;
        if section.table.is_some() {
            self.known_listeners(&part.path, section);
        }
        self.exclusive(part);
        if !self.is_moderate(part) {
            return Vec::new();
        }
        let timeout = section.below("timeout", Some(&inherited.timeout));
        let limits = section.below("limits", Some(&inherited.limits));
        let replay = section.below("replay", inherited.replay.as_ref());
        let route = Route {
            id: part.id.clone(),
            listeners: section.all("listeners", text),
            hosts: section.all("hosts", host),
            path: PathPattern(String::new()),
            methods: section.all("methods", text),
            fields: section.one("fields", fields).unwrap_or_default(),
            action: self.action(part),
            rewrite: rewrite(section),
            connect: flag(section, "connect"),
            timeout: deadlines(&timeout),
            retry: endpoints::retry(&section.below("retry", Some(&inherited.retry))),
            limits: ContentLimits {
                content: size(&limits, "content"),
                content_rate: size(&limits, "content-rate"),
                answer_rate: size(&limits, "answer-rate"),
            },
            // Those of the service are counted there.
            rates: turnstile::rates(section, &part.path, self.report),
            fallback: turnstile::fallback(section),
            replay: Replay {
                memory: size(&replay, "memory").unwrap_or_default(),
                file: size(&replay, "file"),
                together: inherited.together,
            },
        };
        self.forwards |= route.action == Action::Forward;
        self.hostless |= section.find("hosts").is_none();
        let paths = section.all("path", text);
        self.rewritable(part, &paths);
        work::did(paths.len() * (route.hosts.len() + route.listeners.len() + route.methods.len()));
        paths.into_iter().map(|path| Route { path: PathPattern(path), ..route.clone() }).collect()
    }

    /// Whether the service still has few enough combinations; said once when it has not.
    fn is_moderate(&mut self, part: &Part<'_>) -> bool {
        let conditions = ["listeners", "hosts", "path", "methods"];
        let counts =
            conditions.map(|name| part.section.find(name).map_or(1, |found| found.values().len().max(1)));
        let before = self.combinations;
        self.combinations = counts.into_iter().fold(1, usize::saturating_mul).saturating_add(before);
        if before <= MOST_COMBINATIONS && self.combinations > MOST_COMBINATIONS {
            self.report.error(
                part.mark,
                part.path.as_str(),
                "found too many combinations of listener, host, path and method in one service",
                format!("allowed: {MOST_COMBINATIONS}"),
                "use suffixes of hosts and prefixes of paths, or make several services of it",
            );
        }
        self.combinations <= MOST_COMBINATIONS
    }

    fn action(&mut self, part: &Part<'_>) -> Action {
        let redirect = part.section.below("redirect", None);
        if redirect.is_sound() {
            let status = count(&redirect, "status").and_then(|n| n.try_into().ok()).unwrap_or_default();
            return Action::Redirect { to: redirect.one("to", text).unwrap_or_default(), status };
        }
        let answer = part.section.below("answer", None);
        if !answer.is_sound() {
            // A table that was refused would have been an answer: no endpoint is missing then.
            let refused = redirect.table.is_some() || answer.table.is_some();
            return if refused { Action::Redirect { to: String::new(), status: 0 } } else { Action::Forward };
        }
        let status = count(&answer, "status").and_then(|n| n.try_into().ok()).unwrap_or_default();
        let body = answer.one("body", text).unwrap_or_default();
        if let (Some(written), 204 | 205 | 304, false) = (answer.own("body"), status, body.is_empty()) {
            self.report.error(
                written.mark,
                format!("{}.answer.body", part.path),
                format!("found a body, but status {status} has none"),
                "allowed: no body",
                "remove it, or use another status",
            );
        }
        Action::Answer { status, content_type: answer.one("content-type", text).unwrap_or_default(), body }
    }

    /// Keys of one route that contradict each other.
    fn exclusive(&mut self, part: &Part<'_>) {
        let own = |name| part.section.own(name);
        let answers = ["redirect", "answer"].into_iter().find(|name| own(name).is_some());
        let pairs = [
            ("answer", answers.filter(|name| *name == "redirect")),
            ("connect", answers.filter(|_| flag(&part.section, "connect"))),
            ("strip-prefix", answers),
            ("replace-prefix", answers.or(own("strip-prefix").map(|_| "strip-prefix"))),
        ];
        for (name, other) in pairs {
            if let (Some(written), Some(other)) = (own(name), other) {
                self.report.error(
                    written.mark,
                    format!("{}.{name}", part.path),
                    format!("found beside '{other}'"),
                    "allowed: one of the two",
                    format!("remove '{name}' or '{other}', or make two routes of them"),
                );
            }
        }
    }

    /// A rewrite that some path of its route does not begin with would not happen.
    fn rewritable(&mut self, part: &Part<'_>, paths: &[String]) {
        let Some((from, _)) = rewrite(&part.section).filter(|(from, _)| !from.is_empty()) else { return };
        let begins = |path: &&String| Path::new(path::stem(path)).starts_with(&from);
        let Some(other) = paths.iter().find(|path| !begins(path)) else { return };
        let strip = part.section.own("strip-prefix").map(|written| (written.mark, "strip-prefix"));
        let replace = part.section.own("replace-prefix").map(|written| (written.mark, "replace-prefix"));
        let Some((mark, name)) = strip.or(replace) else { return };
        self.report.error(
            mark,
            format!("{}.{name}", part.path),
            format!("found {}, which not every path below {} begins with", quote(&from), quote(other)),
            "allowed: what all paths of the route begin with",
            format!("write path = \"{from}/*\", or a shorter prefix"),
        );
    }

    fn known_listeners(&mut self, path: &str, section: &Section<'_>) {
        let Some(known) = self.listeners else { return };
        for branch in section.own("listeners").map_or(&[][..], Branch::list) {
            let Node::Leaf(Value::Text(name)) = &branch.node else { continue };
            if !known.contains(&name.as_str()) {
                work::did(known.len());
                let near = closest(name, known.iter().copied());
                let add = format!("add [listener.{name}] to hitless.toml");
                let remedy =
                    near.map_or(add.clone(), |near| format!("did you mean \"{near}\"? otherwise {add}"));
                let found = format!("found {}, which is no listener", quote(name));
                let allowed = format!("allowed: {}", either(known.iter().copied()));
                self.report.error(branch.mark, format!("{path}.listeners"), found, allowed, remedy);
            }
        }
    }

    /// What the service as a whole lacks.
    fn complete(&mut self, routes: &[Route]) {
        let endpoints = self.section.own("endpoints");
        if endpoints.is_none() && self.forwards {
            self.missing("endpoints", "the service forwards requests");
        }
        if self.hostless {
            self.missing("hosts", "nothing says by which host it is reached");
        }
        if let (Some(endpoints), false, false) = (endpoints, self.forwards, routes.is_empty()) {
            self.report.warning(
                endpoints.mark,
                format!("service.{}.endpoints", self.name),
                "has no effect, because every route answers by itself",
                "remove it, or add a route that forwards",
            );
        }
        if let Some(list) = self.section.own("route").filter(|list| list.node == Node::List(Vec::new())) {
            self.report.error(
                list.mark,
                format!("service.{}.route", self.name),
                "found an empty list",
                "allowed: at least one route, or none written",
                "remove it",
            );
        }
    }

    fn missing(&mut self, name: &str, why: &str) {
        let row = ROOT.at("service.NAME").and_then(|service| service.field(name)).and_then(|shape| shape.key);
        let Some((key, _)) = row else { return };
        self.report.missing(
            self.mark(),
            format!("service.{}.{name}", self.name),
            format!("missing, and {why}"),
            format!("allowed: {}", key.kind.allowed()),
            format!("for example {} = {}", last(key.at[0]), key.example),
        );
    }
}

fn host(value: &Value) -> Option<HostPattern> {
    match value {
        Value::Host(host) => Some(host.clone()),
        _ => None,
    }
}

fn fields(value: &Value) -> Option<std::collections::BTreeMap<String, String>> {
    match value {
        Value::Fields(fields) => Some(fields.clone()),
        _ => None,
    }
}

fn rewrite(section: &Section<'_>) -> Option<(String, String)> {
    let replace = section.below("replace-prefix", None);
    if replace.is_sound() {
        return Some((replace.one("from", text)?, replace.one("to", text)?));
    }
    section.one("strip-prefix", text).map(|prefix| (prefix, String::new()))
}

fn deadlines(section: &Section<'_>) -> Timeout {
    Timeout {
        connect: time(section, "connect"),
        first_byte: limit(section, "first-byte"),
        idle: limit(section, "idle"),
        request: limit(section, "request"),
        tunnel_idle: limit(section, "tunnel-idle"),
    }
}
