//! One file → a checked tree: everything that can be said about a value without looking at others.
//!
//! Promises: never panics, whatever the text; every finding of the file is reported in one run; the
//! work is linear in the size of the file.
//! Must not know: which key means what; that is the table's business.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::keys::{KEYS, Unset, header, last, parent};
use super::kind::{Kind, wrong};
use super::message::{Mark, Report, bare, boundary, closest, quote};
use super::shape::{ROOT, Shape};
use super::tree::{Branch, Node, Table};
use super::value::{Refusal, Value, name};
use super::work;

/// More syntax errors than these in one file are echoes of the first ones.
const MOST_SYNTAX: usize = 5;
/// In a text longer than this only the first syntax error is looked for.
const LONG: usize = 256 * 1024;

/// Checks one file; `None` when it is not TOML.
pub(super) fn check(source: usize, text: &str, of_services: bool, report: &mut Report) -> Option<Table> {
    let root = match DeTable::parse(text) {
        Ok(root) => root.into_inner(),
        // A long text that is no TOML at all would give an error for each of its words.
        Err(first) if text.len() > LONG => {
            syntax(source, text, &[first], report);
            return None;
        }
        Err(_) => {
            syntax(source, text, &DeTable::parse_recoverable(text).1, report);
            return None;
        }
    };
    let mut check = Check { source, of_services, path: String::new(), report };
    Some(check.table(&ROOT, &root, 0))
}

struct Check<'r> {
    source: usize,
    of_services: bool,
    /// The table that is looked at, such as `service.shop.route[0]`.
    path: String,
    report: &'r mut Report,
}

impl Check<'_> {
    fn mark(&self, offset: usize) -> Mark {
        Mark { source: self.source, offset }
    }

    /// Looks at what is below `segment`.
    fn below<T>(&mut self, segment: &str, look: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 && !segment.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(segment);
        let seen = look(self);
        self.path.truncate(length);
        seen
    }

    /// An application's file may speak of services only.
    fn of_the_daemon(&mut self, key: &Spanned<DeString<'_>>) {
        let mark = self.mark(key.span().start);
        self.report.error(
            mark,
            key.get_ref().as_ref(),
            "found a table of the daemon in the file of a service",
            "allowed here: service",
            "move it to hitless.toml",
        );
    }

    fn branch(&mut self, shape: &Shape, value: &Spanned<DeValue<'_>>) -> Branch {
        let mark = self.mark(value.span().start);
        Branch { mark, node: self.node(shape, value) }
    }

    fn node(&mut self, shape: &Shape, value: &Spanned<DeValue<'_>>) -> Node {
        let at = value.span().start;
        work::did(1);
        match (shape.kind(), value.get_ref()) {
            _ if shape.each.is_some() => self.tables(shape, value),
            (Kind::Table { .. }, DeValue::Table(table)) => Node::Table(self.table(shape, table, at)),
            (Kind::Table { short }, DeValue::String(_)) if !short.is_empty() => {
                self.shorthand(shape, short, value)
            }
            (Kind::Fields, DeValue::Table(table)) => self.fields(table),
            (Kind::OneOrMore(kind), DeValue::String(_)) => match kind.read(value.get_ref()) {
                Ok(read) => Node::List(vec![Branch { mark: self.mark(at), node: Node::Leaf(read) }]),
                Err(refusal) => self.refuse(shape, at, refusal),
            },
            (kind, DeValue::Array(elements)) if kind.element().is_some() => self.list(shape, elements, at),
            (Kind::Table { .. }, _) => self.refuse(shape, at, wrong(value.get_ref())),
            (kind, _) => match kind.read(value.get_ref()) {
                Ok(read) => Node::Leaf(read),
                Err(refusal) => self.refuse(shape, at, refusal),
            },
        }
    }

    fn table(&mut self, shape: &Shape, table: &DeTable<'_>, at: usize) -> Table {
        let mut checked = Table::new();
        let mut meant = Vec::new();
        for (key, value) in table.iter() {
            let name = key.get_ref().as_ref();
            let below = match &shape.named {
                Some(named) => self.own_name(key).then_some(&**named),
                None => shape.field(name),
            };
            match below {
                Some(_) if self.of_services && self.path.is_empty() && name != "service" => {
                    self.of_the_daemon(key)
                }
                Some(below) => {
                    let branch = self.below(name, |check| check.branch(below, value));
                    checked.insert(name.to_owned(), branch);
                }
                None if shape.named.is_none() => meant.extend(self.unknown(shape, key)),
                None => {}
            }
        }
        // What was written under a wrong name is wrong, not missing.
        for (name, mark) in meant {
            checked.entry(name.to_owned()).or_insert(Branch { mark, node: Node::Broken });
        }
        self.missing(shape, &checked, at);
        checked
    }

    fn missing(&mut self, shape: &Shape, checked: &Table, at: usize) {
        let mark = self.mark(at);
        for (name, below) in &shape.fields {
            let required = below.key.is_some_and(|(key, _)| key.unset == Unset::Required);
            if required && !checked.contains_key(*name) {
                let (key, remedy) = (format!("{}.{name}", self.path), self.for_example(below));
                self.report.missing(mark, key, "missing", allowed(below), remedy);
            }
        }
    }

    fn own_name(&mut self, key: &Spanned<DeString<'_>>) -> bool {
        let Err(refusal) = name::own(key.get_ref()) else { return true };
        let mark = self.mark(key.span().start);
        let allowed = format!("allowed: {}", name::OWN);
        self.report.error(mark, self.path.as_str(), refusal.found, allowed, refusal.remedy);
        false
    }

    /// Reports a key that is not in the table, and finds the one of this table that was meant.
    fn unknown(&mut self, shape: &Shape, key: &Spanned<DeString<'_>>) -> Option<(&'static str, Mark)> {
        let (name, mark) = (key.get_ref().as_ref(), self.mark(key.span().start));
        let allowed = format!("allowed here: {}", shape.names().collect::<Vec<_>>().join(", "));
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{}", self.path, bare(name));
        let (field, remedy) = meant(shape, name);
        self.report.error(mark, path, "unknown key", allowed, remedy);
        field.map(|field| (field, mark))
    }

    /// A plain string in place of a table.
    fn shorthand(&mut self, shape: &Shape, short: &'static str, value: &Spanned<DeValue<'_>>) -> Node {
        let Some(below) = shape.field(short) else { return Node::Broken };
        let branch = self.branch(below, value);
        Node::Table(Table::from([(short.to_owned(), branch)]))
    }

    /// A list of tables.
    fn tables(&mut self, shape: &Shape, value: &Spanned<DeValue<'_>>) -> Node {
        let (Some(each), DeValue::Array(elements)) = (shape.each.as_deref(), value.get_ref()) else {
            let mut refusal = wrong(value.get_ref());
            refusal.remedy = format!("write [[{}]]", self.path);
            self.report_refusal(value.span().start, refusal, "allowed: a list of tables".into());
            return Node::Broken;
        };
        let element =
            |(index, element)| self.below(&format!("[{index}]"), |check| check.branch(each, element));
        Node::List(elements.iter().enumerate().map(element).collect())
    }

    fn list(&mut self, shape: &Shape, elements: &[Spanned<DeValue<'_>>], at: usize) -> Node {
        let Some(kind) = shape.kind().element() else { return Node::Broken };
        if elements.is_empty() && !matches!(shape.kind(), Kind::List(_)) {
            return self.refuse(shape, at, Refusal::new("found an empty list", ""));
        }
        let list: Vec<Branch> = elements.iter().map(|element| self.element(shape, kind, element)).collect();
        self.twice(&list);
        Node::List(list)
    }

    fn element(&mut self, shape: &Shape, kind: &Kind, element: &Spanned<DeValue<'_>>) -> Branch {
        let at = element.span().start;
        let node = match kind.read(element.get_ref()) {
            Ok(value) => Node::Leaf(value),
            Err(mut refusal) => {
                if refusal.remedy.is_empty() {
                    refusal.remedy = self.for_example(shape);
                }
                self.report_refusal(at, refusal, format!("allowed: {}", kind.allowed()));
                Node::Broken
            }
        };
        Branch { mark: self.mark(at), node }
    }

    /// The same value twice in a list is a slip of the pen that would hide a missing one.
    fn twice(&mut self, list: &[Branch]) {
        let mut seen = BTreeMap::new();
        for branch in list {
            work::did(1);
            let Node::Leaf(value) = &branch.node else { continue };
            if seen.insert(value.to_string(), ()).is_some() {
                let found = format!("found {} twice in the list", quote(value.to_string().trim_matches('"')));
                let path = self.path.as_str();
                self.report.error(branch.mark, path, found, "allowed: each value once", "remove one of them");
            }
        }
    }

    fn fields(&mut self, table: &DeTable<'_>) -> Node {
        let mut fields = BTreeMap::new();
        let mut sound = true;
        for (key, value) in table.iter() {
            let name = name::field(key.get_ref());
            let text = match value.get_ref() {
                DeValue::String(text) => name::field_value(text),
                other => Err(Refusal::new(wrong(other).found, "write the value as a string")),
            };
            let name = self.sound(key.span().start, name, "a field name, without ':' and spaces");
            let text = self.sound(value.span().start, text, "a string without line breaks");
            let (Some(name), Some(text)) = (name, text) else {
                sound = false;
                continue;
            };
            if fields.insert(name.clone(), text).is_some() {
                let found =
                    format!("found the field {} twice, names being the same in any case", quote(&name));
                let mark = self.mark(key.span().start);
                self.report.error(
                    mark,
                    self.path.as_str(),
                    found,
                    "allowed: each field once",
                    "remove one of them",
                );
            }
        }
        if sound { Node::Leaf(Value::Fields(fields)) } else { Node::Broken }
    }

    fn sound(&mut self, at: usize, read: Result<String, Refusal>, allowed: &str) -> Option<String> {
        read.map_err(|refusal| self.report_refusal(at, refusal, format!("allowed: {allowed}"))).ok()
    }

    fn refuse(&mut self, shape: &Shape, at: usize, mut refusal: Refusal) -> Node {
        if refusal.remedy.is_empty() {
            refusal.remedy = self.for_example(shape);
        }
        self.report_refusal(at, refusal, allowed(shape));
        Node::Broken
    }

    fn report_refusal(&mut self, at: usize, refusal: Refusal, allowed: String) {
        self.report.error(self.mark(at), self.path.as_str(), refusal.found, allowed, refusal.remedy);
    }

    fn for_example(&self, shape: &Shape) -> String {
        match shape.key {
            Some((key, place)) if !key.example.is_empty() => {
                format!("for example {} = {}", last(key.at[place]), key.example)
            }
            _ if shape.named.is_some() => format!("write it as [{}.NAME]", self.path),
            _ => match self.path.rsplit_once('[').filter(|(_, index)| index.ends_with(']')) {
                Some((list, _)) => format!("write it as [[{list}]]"),
                None => format!("write it as [{}]", self.path),
            },
        }
    }
}

fn allowed(shape: &Shape) -> String {
    let names = shape.names().collect::<Vec<_>>().join(", ");
    match shape.kind() {
        Kind::Table { .. } if shape.named.is_some() => "allowed: a table of named tables".into(),
        kind @ Kind::Table { .. } => format!("allowed: {} with {names}", kind.allowed()),
        kind => format!("allowed: {}", kind.allowed()),
    }
}

/// What an unknown key was probably meant to be.
fn meant(shape: &Shape, name: &str) -> (Option<&'static str>, String) {
    work::did(KEYS.len());
    let called = |(field, below): &(&'static str, Shape)| {
        below.key.is_some_and(|(key, _)| key.elsewhere.contains(&name)).then_some(*field)
    };
    if let Some(field) = shape.fields.iter().find_map(called) {
        return (Some(field), format!("it is called '{field}' here"));
    }
    if let Some(near) = closest(name, shape.names()) {
        return (Some(near), format!("did you mean '{near}'?"));
    }
    let places = KEYS.iter().filter(|key| !key.example.is_empty()).flat_map(|key| key.at.iter());
    match places.copied().find(|path| last(path) == name) {
        Some(path) => (None, format!("move it into {}", header(parent(path)))),
        None => (None, "remove it".into()),
    }
}

fn syntax(source: usize, text: &str, errors: &[toml::de::Error], report: &mut Report) {
    // What follows on the line of the last one, or comes back to an earlier one, is an echo.
    let mut echoes = 0;
    let mut shown = 0;
    for error in errors {
        work::did(1);
        let offset = boundary(text, error.span().map_or(text.len(), |span| span.start));
        if shown == MOST_SYNTAX {
            break;
        }
        if offset < echoes {
            continue;
        }
        let line = text[offset..].find('\n').unwrap_or(text.len() - offset);
        work::did(line);
        (echoes, shown) = (offset + line + 1, shown + 1);
        let (found, remedy) = in_words(error.message());
        report.error(Mark { source, offset }, "", found, "allowed: TOML, see hitless.toml(5)", remedy);
    }
}

/// The parser's words, and what to do about the most frequent ones.
fn in_words(message: &str) -> (String, &'static str) {
    let plain = message.trim_end_matches(", expected literal string").replace('`', "'");
    let found = format!("not TOML: {plain}");
    let remedy = if message.starts_with("duplicate key") {
        "write each key and each table once"
    } else if message.contains("string values must be quoted") || message.contains("missing value") {
        "put texts into double quotes"
    } else if message.contains("invalid basic string") || message.contains("between array elements") {
        "look for a double quote that is missing, here or on the line before"
    } else if message.starts_with("key with no value") {
        "write it as key = value"
    } else if message.starts_with("unclosed") {
        "close what is open on this line"
    } else {
        "correct the line"
    };
    (found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let mut report = Report::default();
        check(0, text, false, &mut report);
        report.errors.into_iter().map(|finding| format!("{}: {}", finding.key, finding.found)).collect()
    }

    #[test]
    fn every_example_is_a_value_that_its_key_accepts() {
        for key in KEYS.iter().filter(|key| !key.example.is_empty()) {
            for path in key.at {
                let path = path.replace("NAME", "a");
                let lists = path.match_indices("[].").map(|(end, _)| header(&format!("{}[]", &path[..end])));
                let below = path.rsplit("[].").next().unwrap();
                let text = format!("{}\n{below} = {}", lists.collect::<Vec<_>>().join("\n"), key.example);
                // Alone, one half of a pair is missing the other.
                let wrong: Vec<_> = found(&text).into_iter().filter(|f| !f.ends_with(": missing")).collect();
                assert_eq!(wrong, Vec::<String>::new(), "{text}");
            }
        }
    }

    #[test]
    fn every_word_from_elsewhere_is_answered_with_the_word_used_here() {
        for key in KEYS {
            for (path, word) in
                key.at.iter().flat_map(|path| key.elsewhere.iter().map(move |word| (path, word)))
            {
                let (Some(table), name) = (ROOT.at(parent(path)), last(path)) else { panic!("{path}") };
                assert_eq!(meant(table, word).0, Some(name), "{word} in {path}");
                assert!(table.field(word).is_none(), "{word} is itself a key beside {path}");
            }
        }
    }

    #[test]
    fn a_wrong_name_is_not_also_missing() {
        let text = "[service.a]\n[[service.a.route]]\nredirect = { location = \"/x\" }\n";
        assert_eq!(found(text), ["service.a.route[0].redirect.location: unknown key"]);
    }

    #[test]
    fn a_mistake_deep_down_hides_no_other() {
        let text = "drain.deadline = 1\n[[service.a.route]]\nanswer = { status = 1, bdoy = 2 }\nx = 1\n";
        assert_eq!(found(text).len(), 4, "{:?}", found(text));
    }
}
