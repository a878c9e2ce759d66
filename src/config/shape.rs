//! The table of keys as a tree, to be walked beside a file.
//!
//! Promises: built once, from the table alone; every default is already read.
//! Must not know: files, settings.

use std::sync::LazyLock;

use toml::Spanned;
use toml::de::DeValue;

use super::keys::{KEYS, Key, Unset};
use super::kind::Kind;
use super::value::Value;

/// One place where something may be written.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The row, and which of its places this is; the tables in between have none.
    pub key: Option<(&'static Key, usize)>,
    row: Option<usize>,
    /// Keys of this table, in the order of the rows.
    pub fields: Vec<(&'static str, Shape)>,
    /// What stands under a name of the operator's choice.
    pub named: Option<Box<Shape>>,
    /// What each element of a list of tables is.
    pub each: Option<Box<Shape>>,
    /// The default: one value, or the elements of a list.
    pub default: Option<Vec<Value>>,
}

/// The root of a file.
pub(super) static ROOT: LazyLock<Shape> = LazyLock::new(|| {
    let mut root = Shape::default();
    for (row, key) in KEYS.iter().enumerate() {
        for (place, path) in key.at.iter().enumerate() {
            let shape = path.split('.').fold(&mut root, Shape::grow);
            shape.key = Some((key, place));
            shape.row = Some(row);
            shape.default = default(key);
        }
    }
    root.sort();
    root
});

impl Shape {
    /// Nothing, for a name that is not in the table of keys.
    pub const NOTHING: Shape =
        Shape { key: None, row: None, fields: Vec::new(), named: None, each: None, default: None };

    fn grow(&mut self, segment: &'static str) -> &mut Shape {
        if segment == "NAME" {
            return self.named.get_or_insert_default();
        }
        let name = segment.trim_end_matches("[]");
        let index = self.fields.iter().position(|(field, _)| *field == name).unwrap_or_else(|| {
            self.fields.push((name, Shape::default()));
            self.fields.len() - 1
        });
        let field = &mut self.fields[index].1;
        if name == segment { field } else { field.each.get_or_insert_default() }
    }

    /// A table in between stands where the first of its own tables is explained, not where a key below
    /// it happens to be mentioned first.
    fn sort(&mut self) {
        self.fields.iter_mut().for_each(|(_, field)| field.sort());
        self.named.iter_mut().chain(&mut self.each).for_each(|below| below.sort());
        self.fields.sort_by_key(|(_, field)| field.rank());
    }

    fn rank(&self) -> usize {
        let below = self.named.as_deref().or(self.each.as_deref()).map(Shape::rank);
        let first = || self.fields.iter().map(|(_, field)| field.rank()).min().unwrap_or_default();
        self.row.or(below).unwrap_or_else(first)
    }

    pub fn field(&self, name: &str) -> Option<&Shape> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, shape)| shape)
    }

    /// The shape at a path of plain segments such as `service.NAME.route[]`.
    pub fn at(&self, path: &str) -> Option<&Shape> {
        path.split('.').try_fold(self, |shape, segment| match segment {
            "NAME" => shape.named.as_deref(),
            field => match field.strip_suffix("[]") {
                Some(field) => shape.field(field)?.each.as_deref(),
                None => shape.field(field),
            },
        })
    }

    pub fn kind(&self) -> Kind {
        self.key.map_or(Kind::Table { short: "" }, |(key, _)| key.kind)
    }

    pub fn is_table(&self) -> bool {
        self.each.is_some() || matches!(self.kind(), Kind::Table { .. })
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|(name, _)| *name)
    }
}

fn default(key: &Key) -> Option<Vec<Value>> {
    let Unset::Default(text) = key.unset else { return None };
    let value = DeValue::parse(text).ok()?;
    let read = |kind: &Kind, value: &Spanned<DeValue<'_>>| kind.read(value.get_ref()).ok();
    match (key.kind.element(), value.get_ref()) {
        (Some(kind), DeValue::Array(elements)) => {
            elements.iter().map(|element| read(kind, element)).collect()
        }
        (Some(kind), _) => read(kind, &value).map(|value| vec![value]),
        (None, _) => read(&key.kind, &value).map(|value| vec![value]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_that_its_key_accepts() {
        for key in KEYS.iter().filter(|key| matches!(key.unset, Unset::Default(_))) {
            assert!(default(key).is_some(), "{:?}", key.at);
        }
    }

    #[test]
    fn every_place_of_every_row_is_found_again() {
        for key in KEYS {
            for (index, path) in key.at.iter().enumerate() {
                assert_eq!(ROOT.at(path).and_then(|shape| shape.key), Some((key, index)), "{path}");
            }
        }
    }
}
