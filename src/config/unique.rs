//! No two routes for the same requests.
//!
//! Promises: whatever request comes, the order of the files does not decide who serves it.
//! Must not know: how a route is looked up.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::message::{Places, Report};
use super::routes::{Marked, Origin};
use super::settings::{HostPattern, Listener, Route};
use super::value::path;
use super::work;

/// The requests that a route asks for; the method is empty for any.
#[derive(PartialEq, Eq, Hash)]
struct Wanted<'a> {
    listener: &'a str,
    host: &'a HostPattern,
    path: &'a str,
    method: &'a str,
    fields: &'a BTreeMap<String, String>,
}

/// Reports each route that asks for the same requests as one before it, once.
pub(super) fn check(services: &[Marked], listeners: &[Listener], places: &Places, report: &mut Report) {
    let routes = || services.iter().flat_map(|(service, origins)| service.routes.iter().zip(origins));
    let paths: Vec<String> = routes().map(|(route, _)| path::anonymous(&route.path.0)).collect();
    let mut taken: HashMap<Wanted<'_>, (&Route, &Origin)> = HashMap::new();
    for ((route, origin), path) in routes().zip(&paths).filter(|((_, origin), _)| origin.sound) {
        let mut first = None;
        for wanted in wanted(route, path, listeners) {
            work::did(1);
            match taken.entry(wanted) {
                Entry::Vacant(free) => {
                    free.insert((route, origin));
                }
                Entry::Occupied(other) => {
                    let (twin, place) = *other.get();
                    // A value twice in one list has been reported.
                    if place.mark != origin.mark || twin.path != route.path {
                        first.get_or_insert_with(|| (in_words(other.key(), route), place));
                    }
                }
            }
        }
        if let Some((requests, other)) = first {
            report.error(
                origin.mark,
                origin.path.as_str(),
                format!("serves {requests}, and so does {} ({})", other.path, places.line(other.mark)),
                "allowed: one route for the same listener, host, path, method and fields",
                "remove one of them, or give it a condition of its own",
            );
        }
    }
}

fn wanted<'a>(route: &'a Route, path: &'a str, listeners: &'a [Listener]) -> Vec<Wanted<'a>> {
    let all = listeners.iter().map(|listener| listener.name.as_str());
    let listeners: Vec<&str> = if route.listeners.is_empty() {
        all.collect()
    } else {
        route.listeners.iter().map(String::as_str).collect()
    };
    let methods: Vec<&str> =
        if route.methods.is_empty() { vec![""] } else { route.methods.iter().map(String::as_str).collect() };
    let mut wanted = Vec::new();
    for listener in listeners {
        for host in &route.hosts {
            let each = |method: &&'a str| Wanted { listener, host, path, method, fields: &route.fields };
            wanted.extend(methods.iter().map(each));
        }
    }
    wanted
}

fn in_words(wanted: &Wanted<'_>, route: &Route) -> String {
    let space = if wanted.method.is_empty() { "" } else { " " };
    let fields = if route.fields.is_empty() { "" } else { " with the same fields" };
    format!(
        "{}{space}{}{}{fields} on listener '{}'",
        wanted.method, wanted.host, route.path.0, wanted.listener
    )
}
