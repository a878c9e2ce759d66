//! PURE: which route serves a request.
//!
//! A [`Table`] is built once per generation and then only read. Of all the routes that fit a
//! request, the most specific one is found:
//!
//! 1. host: exact, then the longest `*.suffix`, then any ([`hosts`]);
//! 2. path: exact, then with parameters (a literal segment before a parameter, from the left),
//!    then the longest prefix, the last of which is `/*` ([`tree`]);
//! 3. conditions: the more of them (a method list is one, each field is one), the earlier; then the
//!    order in which the routes were configured.
//!
//! A route whose conditions do not hold is not there: the next less specific one is looked at, on
//! the same path, then on shorter prefixes, then for less specific hosts.
//!
//! ## What a path is
//! Routing reads the path as it was sent, because that is what is forwarded ([`path`]). Nothing is
//! normalised on the way: a path is served as it is, or refused with 400.
//!
//! | in the path | is read as | forwarded |
//! |---|---|---|
//! | `%41` | the octet `A`: `/%61pi` cannot dodge `/api` (RFC 3986, section 6.2.2.2, extended to every octet but `/` and `%`, since applications decode every octet) | as sent |
//! | `%`, `%4`, `%zz`, `%u002e`; `%00` | refused: no encoding (section 2.1); a string's end in C | |
//! | `.` and `..` as a segment, in any disguise: `%2e`, `..%2f`, `..%5c`, `..;x`, `..%3f`, `%252e%252e` | refused: who sends has removed them (section 5.2.4), who has not wants two readers to disagree | |
//! | `%c0%ae` and other overlong UTF-8 | refused (RFC 3629, section 3) | |
//! | `"`, `#`, `<`, `>`, `\`, `` ` ``, controls, space, octets from 0x80, as they are | refused (section 3.3; the `http` crate lets some of them pass) | |
//! | `[`, `]`, `{`, `}`, `^`, `\|` as they are | themselves: browsers send them | as sent |
//! | `//`, `%2F`, `%5C`, `;` and `%3B`, `%3F`, `%23`, `%25` with two digits | odd forms, see below | as sent |
//! | empty, after an authority | `/` (RFC 9110, section 4.2.3), for OPTIONS `*` (RFC 9112, section 3.2.4) | so |
//! | everything else, letters of either case among it | itself | as sent |
//!
//! Odd forms are legal and read in different ways by different applications. Such a path is looked up
//! as it is and as lenient applications would read it ([`path::leniently`]: decoded twice, slashes
//! merged, parameters cut off, `//name` taken for an authority); it is served when all lead to the same
//! route and refused when they do not. A pattern that spells such a form itself is taken at its word.
//!
//! The query is neither read nor changed. A fragment is refused by the HTTP/1 front; in a `:path` the
//! `http` crate cuts it off, so that it is neither routed by nor forwarded. What a letter's case or a
//! full-width dot means on an application's file system is not foreseen.
//!
//! Promises: no input makes it panic; a lookup allocates nothing unless the path has a `%` or one of
//! the forms above; its cost grows with the path (and the routes that share one host and path), not
//! with the number of routes.
//! Must not know: sockets, threads, endpoints, or what is done with the route.

mod authority;
mod hosts;
mod path;
mod pattern;
mod rewrite;
#[cfg(test)]
mod tests;
mod tree;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::method::Method;
use http::uri::PathAndQuery;

use crate::config::settings::{self, Action, Settings};
use crate::response::Failure;

pub use authority::{check_authority, host_of};
pub use path::target_of;

use hosts::{Hosts, Search};
use pattern::Pattern;
use rewrite::{Rewrite, Template};

/// Every route of one generation, arranged for finding.
#[derive(Debug)]
pub struct Table {
    /// What is reachable on each listener.
    listeners: HashMap<Box<str>, Hosts>,
    /// What is reachable on a listener that no route and no setting names.
    everywhere: Hosts,
    empty: bool,
}

/// What a request is routed by.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    pub listener: &'a str,
    /// Without port, in any case, with or without a trailing dot; see [`host_of`].
    pub host: &'a str,
    pub method: &'a Method,
    /// As sent; `*` for `OPTIONS *`, empty for an ordinary `CONNECT`.
    pub path: &'a str,
    pub fields: &'a HeaderMap,
}

/// A configured route, made ready for comparing.
#[derive(Debug)]
pub struct Route {
    /// Index in `settings.services`.
    pub service: usize,
    pub settings: settings::Route,
    pattern: Pattern,
    /// Empty: any.
    methods: Vec<Method>,
    /// `HEAD` is allowed because `GET` is (RFC 9110, section 9.3.2), not because it is listed.
    implies_head: bool,
    fields: Vec<(HeaderName, Box<[u8]>)>,
    rewrite: Option<Rewrite>,
    location: Option<Template>,
    /// What browsers are told to remember (RFC 6797).
    pub strict: Option<HeaderValue>,
}

impl Table {
    pub fn new(settings: &Settings) -> Table {
        let routes = compile(settings);
        let named = settings.listeners.iter().map(|listener| &listener.name);
        let listeners: HashMap<Box<str>, Hosts> = named
            .chain(routes.iter().flat_map(|route| &route.settings.listeners))
            .map(|name| (name.as_str().into(), Hosts::new(routes.iter().filter(|r| r.is_on(name)))))
            .collect();
        let everywhere = Hosts::new(routes.iter().filter(|route| route.settings.listeners.is_empty()));
        Table { listeners, everywhere, empty: routes.is_empty() }
    }

    /// The route for a request. Fails with `BadRequest` (the path), `NoRoute` (nothing fits, or there
    /// is no service at all), `Misdirected` (the host is not served on this listener) or `ConnectRefused`.
    pub fn find(&self, lookup: &Lookup<'_>) -> Result<&Arc<Route>, Failure> {
        let path = path::of(lookup)?;
        let hosts = self.listeners.get(lookup.listener).unwrap_or(&self.everywhere);
        let found = hosts.find(lookup, path.strict());
        let agree = |lenient: &Vec<u8>| found.agrees(&hosts.find(lookup, Some(lenient)));
        if !found.spells_odd_forms() && !path.lenient().iter().all(agree) {
            return Err(Failure::BadRequest(
                "the path can be read in two ways that lead to different routes",
            ));
        }
        let connect = lookup.method == Method::CONNECT;
        match found {
            Search::Found(route) if connect && !route.settings.connect => Err(Failure::ConnectRefused),
            Search::Found(route) => Ok(route),
            _ if self.empty => Err(Failure::NoRoute),
            Search::NothingFits if connect => Err(Failure::ConnectRefused),
            Search::NothingFits => Err(Failure::NoRoute),
            Search::UnknownHost => Err(Failure::Misdirected),
        }
    }
}

impl Route {
    /// What is asked of the endpoint: the prefix stripped or replaced, the query kept. Begins with `/`
    /// (or is the `*` of `OPTIONS *`).
    pub fn target(&self, original: &PathAndQuery) -> PathAndQuery {
        match &self.rewrite {
            Some(rewrite) => rewrite.apply(original),
            None => original.clone(),
        }
    }

    /// The `Location` of a redirect; `/` for a route that is none. `host` as it shall be shown.
    pub fn location(&self, scheme: &str, host: &str, original: &PathAndQuery) -> HeaderValue {
        match &self.location {
            Some(template) => template.fill(scheme, host, original),
            None => HeaderValue::from_static("/"),
        }
    }

    fn is_on(&self, listener: &str) -> bool {
        let listeners = &self.settings.listeners;
        listeners.is_empty() || listeners.iter().any(|name| name == listener)
    }

    /// Whether the conditions beside host and path hold.
    fn fits(&self, lookup: &Lookup<'_>) -> bool {
        let method = self.methods.is_empty() || self.methods.contains(lookup.method);
        method && self.fields.iter().all(|(name, value)| carries(lookup.fields, name, value))
    }

    /// Orders the routes of one host and path: most conditions first; who lists `HEAD` before who implies it.
    fn rank(&self) -> (Reverse<usize>, bool) {
        let conditions = usize::from(!self.methods.is_empty()) + self.fields.len();
        (Reverse(conditions), self.implies_head)
    }
}

/// Whether a field line of this name has exactly this value.
fn carries(fields: &HeaderMap, name: &HeaderName, value: &[u8]) -> bool {
    fields.get_all(name).iter().any(|line| line.as_bytes() == value)
}

/// Every route that a request can meet, in the order of configuration.
fn compile(settings: &Settings) -> Vec<Arc<Route>> {
    let of_service = |(index, service): (usize, &Arc<settings::Service>)| {
        service
            .routes
            .iter()
            .filter_map(move |route| compile_route(index, service, route))
            .collect::<Vec<_>>()
    };
    settings.services.iter().enumerate().flat_map(of_service).map(Arc::new).collect()
}

/// `None` for a route that no request can fit: its method or field name is not one.
fn compile_route(index: usize, service: &settings::Service, settings: &settings::Route) -> Option<Route> {
    let mut methods = settings
        .methods
        .iter()
        .map(|method| Method::from_bytes(method.as_bytes()).ok())
        .collect::<Option<Vec<_>>>()?;
    let implies_head = methods.contains(&Method::GET) && !methods.contains(&Method::HEAD);
    if implies_head {
        methods.push(Method::HEAD);
    }
    let fields = settings
        .fields
        .iter()
        .map(|(name, value)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value.as_bytes().into())))
        .collect::<Option<Vec<_>>>()?;
    let strict = service.https.hsts.and_then(|hsts| HeaderValue::try_from(hsts.to_string()).ok());
    Some(Route {
        service: index,
        strict,
        pattern: Pattern::new(&settings.path.0),
        methods,
        implies_head,
        fields,
        rewrite: settings.rewrite.as_ref().map(|(from, to)| Rewrite::new(from, to)),
        location: match &settings.action {
            Action::Redirect { to, .. } => Some(Template::new(to)),
            _ => None,
        },
        settings: settings.clone(),
    })
}
