//! From a host to the trees of paths that may serve it, the most specific first.
//!
//! Promises: a host is compared without regard to case, trailing dot and brackets, without
//! allocating. Worst case: one hash lookup per label of the host, and one walk of a tree for each
//! level (exact, each configured suffix of the host, any) where nothing fits.
//! Must not know: what a path looks like.

use std::collections::HashMap;
use std::sync::Arc;

use super::tree::Tree;
use super::{Lookup, Route};
use crate::config::settings::HostPattern;

/// What is reachable on one listener.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: HashMap<Box<str>, Tree>,
    suffix: HashMap<Box<str>, Tree>,
    any: Option<Tree>,
}

#[derive(Clone, Copy)]
pub(super) enum Search<'t> {
    Found(&'t Arc<Route>),
    /// The host is served here, the rest of the request is not.
    NothingFits,
    UnknownHost,
}

impl Search<'_> {
    pub(super) fn spells_odd_forms(&self) -> bool {
        matches!(self, Search::Found(route) if route.pattern.odd)
    }

    pub(super) fn agrees(&self, other: &Search<'_>) -> bool {
        match (self, other) {
            (Search::Found(one), Search::Found(two)) => Arc::ptr_eq(one, two),
            (Search::Found(_), _) | (_, Search::Found(_)) => false,
            _ => true,
        }
    }
}

impl Hosts {
    pub(super) fn new<'r>(routes: impl Iterator<Item = &'r Arc<Route>>) -> Hosts {
        let mut hosts = Hosts::default();
        for route in routes {
            for host in &route.settings.hosts {
                hosts.tree(host).insert(route);
            }
        }
        hosts
    }

    fn tree(&mut self, host: &HostPattern) -> &mut Tree {
        match host {
            HostPattern::Exact(host) => self.exact.entry(key(host)).or_default(),
            HostPattern::Suffix(host) => self.suffix.entry(key(host)).or_default(),
            HostPattern::Any => self.any.get_or_insert_default(),
        }
    }

    pub(super) fn find(&self, lookup: &Lookup<'_>, path: Option<&[u8]>) -> Search<'_> {
        let mut lowered = [0; LONGEST];
        let host = lower(trim(lookup.host), &mut lowered);
        let mut search = Search::UnknownHost;
        for tree in self.levels(host) {
            match tree.find(path, &|route: &Route| route.fits(lookup)) {
                Some(route) => return Search::Found(route),
                None => search = Search::NothingFits,
            }
        }
        search
    }

    /// The trees for a host, the most specific first.
    fn levels<'t>(&'t self, host: &str) -> impl Iterator<Item = &'t Tree> {
        let exact = self.exact.get(host);
        let suffixes = if self.suffix.is_empty() { "" } else { host };
        // A name below a suffix has at least one octet before its dot.
        let dots = suffixes.char_indices().filter(|(at, char)| *char == '.' && *at > 0);
        let suffixes = dots.filter_map(|(at, _)| self.suffix.get(&suffixes[at + 1..]));
        exact.into_iter().chain(suffixes).chain(&self.any)
    }
}

/// Longer names do not exist in the DNS (RFC 1035, section 3.1); they meet only routes for any host.
const LONGEST: usize = 255;

fn key(host: &str) -> Box<str> {
    trim(host).to_ascii_lowercase().into()
}

/// Without the root's dot or the brackets of an IP literal.
fn trim(host: &str) -> &str {
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    literal.unwrap_or_else(|| host.strip_suffix('.').unwrap_or(host))
}

/// In lower case, without allocating; empty when it is too long to be a name.
fn lower<'h>(host: &'h str, room: &'h mut [u8; LONGEST]) -> &'h str {
    if !host.bytes().any(|b| b.is_ascii_uppercase()) {
        return host;
    }
    let Some(room) = room.get_mut(..host.len()) else { return "" };
    room.copy_from_slice(host.as_bytes());
    room.make_ascii_lowercase();
    std::str::from_utf8(room).unwrap_or("")
}
