//! The routes of one host, by the segments of their paths.
//!
//! ```text
//!            root ── prefix: /*
//!           /    \
//!       "users"  "static" ── prefix: /static/*
//!          |
//!        {id} ── exact: /users/{id}
//! ```
//! One walk visits each node that the path reaches once, literal child before parameter child, and
//! remembers the longest prefix that fits while it looks for a route of the whole path.
//!
//! Worst case: where a literal and a parameter both match a segment, both are followed, so at most
//! the nodes whose patterns match the beginning of the path are visited: one per segment without
//! such forks, at most doubled by each configured fork, never more than the tree has. A client
//! cannot add nodes. Recursion is as deep as the longest pattern, not as the path.
//!
//! Promises: no allocation while finding. Must not know: hosts, or what the conditions are.

use std::collections::HashMap;
use std::sync::Arc;

use super::Route;
use super::pattern::Segment;

#[derive(Debug)]
pub(super) struct Tree {
    /// The first is the root.
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<[u8]>, usize>,
    parameter: Option<usize>,
    /// Routes whose pattern ends here, in the order of [`Route::rank`].
    exact: Vec<Arc<Route>>,
    /// Routes for this and everything below, in the same order.
    prefix: Vec<Arc<Route>>,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree { nodes: vec![Node::default()] }
    }
}

impl Tree {
    pub(super) fn insert(&mut self, route: &Arc<Route>) {
        let at = route.pattern.segments.iter().fold(0, |at, segment| self.child(at, segment));
        let node = &mut self.nodes[at];
        let list = if route.pattern.prefix { &mut node.prefix } else { &mut node.exact };
        let position = list.partition_point(|other| other.rank() <= route.rank());
        list.insert(position, Arc::clone(route));
    }

    fn child(&mut self, at: usize, segment: &Segment) -> usize {
        let new = self.nodes.len();
        let node = &mut self.nodes[at];
        let child = match segment {
            Segment::Literal(octets) => *node.literals.entry(octets.clone()).or_insert(new),
            Segment::Parameter => *node.parameter.get_or_insert(new),
        };
        if child == new {
            self.nodes.push(Node::default());
        }
        child
    }

    /// The most specific route of a path (with its leading slash) that fits; without a path, only
    /// routes for everything are looked at.
    pub(super) fn find(&self, path: Option<&[u8]>, fits: &impl Fn(&Route) -> bool) -> Option<&Arc<Route>> {
        let mut walk = Walk { tree: self, fits, longest: None };
        let exact = walk.visit(0, path.map(|path| path.strip_prefix(b"/").unwrap_or(path)), 0);
        exact.or(walk.longest.map(|(_, route)| route))
    }
}

struct Walk<'t, 'f, F> {
    tree: &'t Tree,
    fits: &'f F,
    /// The longest prefix that fits so far, with its depth.
    longest: Option<(usize, &'t Arc<Route>)>,
}

impl<'t, F: Fn(&Route) -> bool> Walk<'t, '_, F> {
    /// `rest` is what follows the slash after this node; `None`: the path ends here.
    fn visit(&mut self, at: usize, rest: Option<&[u8]>, depth: usize) -> Option<&'t Arc<Route>> {
        #[cfg(test)]
        visits::count();
        let node = &self.tree.nodes[at];
        let exact = match rest {
            None => self.first(&node.exact),
            Some(rest) => self.descend(node, rest, depth),
        };
        // Children came first, so a longer prefix, or an equally long and more literal one, is already there.
        if exact.is_none() && self.longest.is_none_or(|(longest, _)| longest < depth) {
            self.longest = self.first(&node.prefix).map(|route| (depth, route)).or(self.longest);
        }
        exact
    }

    fn descend(&mut self, node: &'t Node, rest: &[u8], depth: usize) -> Option<&'t Arc<Route>> {
        if node.literals.is_empty() && node.parameter.is_none() {
            return None;
        }
        let mut halves = rest.splitn(2, |byte| *byte == b'/');
        let segment = halves.next().unwrap_or_default();
        let rest = halves.next();
        let literal = node.literals.get(segment).and_then(|child| self.visit(*child, rest, depth + 1));
        if literal.is_some() || segment.is_empty() {
            return literal;
        }
        node.parameter.and_then(|child| self.visit(child, rest, depth + 1))
    }

    fn first(&self, candidates: &'t [Arc<Route>]) -> Option<&'t Arc<Route>> {
        candidates.iter().find(|route| (self.fits)(route))
    }
}

/// Counts the nodes that lookups of this thread visit.
#[cfg(test)]
pub(super) mod visits {
    use std::cell::Cell;

    thread_local! {
        static VISITS: Cell<usize> = const { Cell::new(0) };
    }

    pub(in crate::route) fn count() {
        VISITS.set(VISITS.get() + 1);
    }

    pub(in crate::route) fn take() -> usize {
        VISITS.take()
    }
}
