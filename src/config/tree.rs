//! What the files say, checked key by key, with the place of each value.
//!
//! Promises: holds only keys of the table with values that they accept; what was refused is still
//! there as `Broken`, so that nothing is called missing that is merely wrong.
//! Must not know: TOML, or what the values are for.

use std::collections::BTreeMap;

use super::message::Mark;
use super::shape::Shape;
use super::value::Value;

/// A value or table and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Branch {
    pub mark: Mark,
    pub node: Node,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Table(Table),
    /// A list of values, or of tables.
    List(Vec<Branch>),
    Leaf(Value),
    /// Refused, and reported.
    Broken,
}

pub(super) type Table = BTreeMap<String, Branch>;

/// A table as its reader sees it: its own values, then those of the tables it inherits from, then
/// the defaults.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    pub shape: &'static Shape,
    pub table: Option<&'a Branch>,
    pub above: Option<&'a Section<'a>>,
}

static NOTHING: Shape = Shape::NOTHING;

/// A value in effect.
#[derive(Clone, Copy)]
pub(super) enum Found<'a> {
    Written(&'a Branch),
    Default(&'static [Value]),
}

impl Branch {
    pub fn table(&self) -> Option<&Table> {
        match &self.node {
            Node::Table(table) => Some(table),
            _ => None,
        }
    }

    pub fn list(&self) -> &[Branch] {
        match &self.node {
            Node::List(list) => list,
            _ => &[],
        }
    }

    /// Whether anything in it was refused.
    pub fn is_broken(&self) -> bool {
        match &self.node {
            Node::Broken => true,
            Node::Leaf(_) => false,
            Node::List(list) => list.iter().any(Branch::is_broken),
            Node::Table(table) => table.values().any(Branch::is_broken),
        }
    }

    fn values(&self) -> Vec<&Value> {
        match &self.node {
            Node::Leaf(value) => vec![value],
            Node::List(list) => list.iter().flat_map(Branch::values).collect(),
            Node::Table(_) | Node::Broken => Vec::new(),
        }
    }
}

impl<'a> Found<'a> {
    pub fn is_broken(self) -> bool {
        matches!(self, Found::Written(branch) if branch.is_broken())
    }

    pub fn values(self) -> Vec<&'a Value> {
        match self {
            Found::Written(branch) => branch.values(),
            Found::Default(values) => values.iter().collect(),
        }
    }
}

impl<'a> Section<'a> {
    /// What is written in this table itself.
    pub fn own(&self, name: &str) -> Option<&'a Branch> {
        self.table?.table()?.get(name)
    }

    /// The value in effect; `None` when nothing is written and there is no default.
    pub fn find(&self, name: &str) -> Option<Found<'a>> {
        if let Some(branch) = self.own(name) {
            return Some(Found::Written(branch));
        }
        match self.above.filter(|above| above.shape.field(name).is_some()) {
            Some(above) => above.find(name),
            None => self.shape.field(name)?.default.as_deref().map(Found::Default),
        }
    }

    /// The table `name` below this one, inheriting from `above`.
    pub fn below(&self, name: &str, above: Option<&'a Section<'a>>) -> Section<'a> {
        let shape = self.shape.field(name).unwrap_or(&NOTHING);
        Section { shape, table: self.own(name), above }
    }

    /// The tables under names of the operator's choice.
    pub fn named(&self) -> impl Iterator<Item = (&'a str, Section<'a>)> {
        let shape = self.shape.named.as_deref().unwrap_or(&NOTHING);
        let tables = self.table.and_then(Branch::table).into_iter().flatten();
        tables.map(move |(name, branch)| (name.as_str(), Section { shape, table: Some(branch), above: None }))
    }

    /// Whether this table was written and not refused.
    pub fn is_sound(&self) -> bool {
        self.table.is_some_and(|branch| branch.table().is_some())
    }

    /// All values of a list; a refused one is left out.
    pub fn all<T>(&self, name: &str, pick: impl Fn(&Value) -> Option<T>) -> Vec<T> {
        self.find(name).map_or_else(Vec::new, |found| found.values().into_iter().filter_map(pick).collect())
    }

    /// The value of a key; `None` when it was refused.
    pub fn one<T>(&self, name: &str, pick: impl Fn(&Value) -> Option<T>) -> Option<T> {
        self.find(name)?.values().first().and_then(|value| pick(value))
    }
}
