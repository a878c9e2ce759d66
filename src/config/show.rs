//! `hitless check --show`: the configuration in effect, and where each value comes from.
//!
//! Promises: what is shown is itself a configuration with the same settings; the origin of a value is
//! `file:line`, or `default`.
//! Must not know: settings; it walks the checked files beside the table of keys, as `build` does.

use super::Loaded;
use super::build::{ONLY_LISTENER, SECURE_LISTENER, only_listener};
use super::keys::header;
use super::message::Places;
use super::shape::{ROOT, Shape};
use super::tls;
use super::tree::{Found, Section};
use super::value::literal;

/// The column of the origins, where the value leaves room.
const ORIGIN: usize = 48;

/// The effective values as TOML with their origins as comments.
pub fn show(loaded: &Loaded) -> String {
    let origins = &loaded.origins;
    let root = Section { shape: &ROOT, table: Some(&origins.root), above: None };
    let mut show = Show { text: String::new(), places: &origins.places };
    for name in ROOT.names().filter(|name| !matches!(*name, "listener" | "service")) {
        show.table(name, &root.below(name, None));
    }
    let listeners = root.below("listener", None);
    if listeners.named().next().is_none() {
        show.table(&format!("listener.{ONLY_LISTENER}"), &only_listener(&listeners));
        if tls::is_configured(&root) {
            show.line(&format!("[listener.{SECURE_LISTENER}]"), None);
            show.line("tls = true", None);
            show.text.push('\n');
        }
    }
    for (name, listener) in listeners.named() {
        show.table(&format!("listener.{}", bare(name)), &listener);
    }
    let defaults = root.below("defaults", None);
    let inherited = [
        ("timeout", defaults.below("timeout", None)),
        ("limits", root.below("limits", None)),
        ("errors", root.below("errors", None)),
    ];
    for (name, service) in root.below("service", None).named() {
        show.service(&format!("service.{}", bare(name)), &service, &inherited);
    }
    show.text
}

struct Show<'p> {
    text: String,
    places: &'p Places,
}

impl Show<'_> {
    /// A table with its values, then the tables below it that do not inherit.
    fn table(&mut self, path: &str, section: &Section<'_>) {
        if section.shape.key.is_some() && says_something(section) {
            self.line(&header(path), section.table.map(Found::Written));
            self.values(section);
            self.text.push('\n');
        }
        for (name, below) in tables(section.shape) {
            if below.each.is_none() && (below.key.is_some_and(|(_, place)| place == 0) || below.key.is_none())
            {
                self.optional(&format!("{path}.{name}"), &section.below(name, None));
            }
        }
    }

    /// A table without defaults of its own is shown when it is written.
    fn optional(&mut self, path: &str, section: &Section<'_>) {
        let means_something =
            section.shape.fields.iter().all(|(_, field)| field.default.is_some() || field.key.is_none());
        let by_itself = section.shape.key.is_none_or(|(key, _)| key.example.is_empty());
        if section.table.is_some() || (means_something && by_itself) {
            self.table(path, section);
        }
    }

    /// `inherited`: the tables from which those of the same name below inherit.
    fn service(&mut self, path: &str, service: &Section<'_>, inherited: &[(&str, Section<'_>)]) {
        self.table(path, service);
        let mut own = self.inheriting(path, service, inherited);
        own.push(("retry", service.below("retry", None)));
        self.list(path, "rate", service);
        let each = service.shape.field("route").and_then(|route| route.each.as_deref());
        for route in service.own("route").map_or(&[][..], |list| list.list()) {
            let shape = each.unwrap_or(service.shape);
            let route = Section { shape, table: Some(route), above: Some(service) };
            let path = format!("{path}.route[]");
            self.table(&path, &route);
            self.inheriting(&path, &route, &own);
            self.list(&path, "rate", &route);
            let fallback = route.below("fallback", None).below("answer", None);
            if fallback.table.is_some() {
                self.table(&format!("{path}.fallback.answer"), &fallback);
            }
        }
    }

    /// The tables of a list that inherit from nothing.
    fn list(&mut self, path: &str, name: &str, section: &Section<'_>) {
        let Some(shape) = section.shape.field(name).and_then(|list| list.each.as_deref()) else { return };
        for table in section.own(name).map_or(&[][..], |list| list.list()) {
            self.table(&format!("{path}.{name}[]"), &Section { shape, table: Some(table), above: None });
        }
    }

    fn inheriting<'a>(
        &mut self,
        path: &str,
        section: &Section<'a>,
        inherited: &'a [(&'a str, Section<'a>)],
    ) -> Vec<(&'a str, Section<'a>)> {
        let below = inherited.iter().map(|(name, above)| (*name, section.below(name, Some(above))));
        let below: Vec<_> = below.collect();
        for (name, table) in &below {
            self.table(&format!("{path}.{name}"), table);
        }
        below
    }

    fn values(&mut self, section: &Section<'_>) {
        for (name, shape) in section.shape.fields.iter().filter(|(_, shape)| !shape.is_table()) {
            let Some(found) = section.find(name) else { continue };
            let values: Vec<String> = found.values().into_iter().map(ToString::to_string).collect();
            let list = shape.kind().element().is_some();
            let value = if list { format!("[{}]", values.join(", ")) } else { values.concat() };
            self.line(&format!("{name} = {value}"), Some(found));
        }
    }

    fn line(&mut self, line: &str, found: Option<Found<'_>>) {
        let origin = match found {
            Some(Found::Written(branch)) => self.places.line(branch.mark),
            _ => "default".into(),
        };
        self.text.push_str(&format!("{line:ORIGIN$} # {origin}\n"));
    }
}

/// Whether it was written, or any of its keys has a value.
fn says_something(section: &Section<'_>) -> bool {
    let has = |(name, shape): &(&str, Shape)| !shape.is_table() && section.find(name).is_some();
    section.table.is_some() || section.shape.fields.iter().any(has)
}

fn tables(shape: &'static Shape) -> impl Iterator<Item = (&'static str, &'static Shape)> {
    shape.fields.iter().filter(|(_, below)| below.is_table()).map(|(name, below)| (*name, below))
}

/// A name as a part of a key: `shop`, `"shop.eu"`.
fn bare(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if plain { name.to_owned() } else { literal(name) }
}

#[cfg(test)]
mod tests {
    use super::super::{Source, Sources, parse};
    use super::*;

    fn loaded(text: &str) -> Loaded {
        let source = |name: &str, text: &str| Source { name: name.into(), text: text.into() };
        parse(&Sources(vec![source("hitless.toml", text)])).unwrap()
    }

    const FULL: &str = r#"
[listener.http]
[listener."in.side"]
listen = ["unix:/run/x.sock"]
[defaults.timeout]
idle = "off"
[drain]
deadline = "adaptive"
[limits]
content = "1MiB"
[service."shop.eu"]
hosts = ["shop.example"]
endpoints = ["127.0.0.1:3000"]
listeners = ["in.side"]
[service."shop.eu".timeout]
connect = "1s"
[service."shop.eu".limits]
content = "5MiB"
[[service."shop.eu".route]]
path = ["/a", "/b/*"]
methods = ["GET"]
fields = { X-Canary = "y\"es" }
timeout = { request = "5m" }
limits = { content-rate = "1KiB" }
[[service."shop.eu".route]]
path = "/old/*"
redirect = "/new{path}"
[[service."shop.eu".route]]
path = "/api/*"
replace-prefix = { from = "/api", to = "/v2" }
[service.blog]
hosts = ["*"]
endpoints = ["unix:/run/blog.sock"]
pool.idle = "5s"
[[service.blog.route]]
answer = { status = 404, body = "line\nbreak" }
[[service."shop.eu".route.rate]]
requests = "5/10s"
[[service."shop.eu".rate]]
requests = "20/m"
burst = 3
by = "field:X-Key"
[service."shop.eu".concurrency]
most = 5
[service."shop.eu".deadline]
field = "X-Deadline"
[service."shop.eu".fallback.answer]
body = "away"
[service."shop.eu".route.fallback]
answer.status = 200
"#;

    #[test]
    fn what_is_shown_is_a_configuration_with_the_same_settings() {
        for text in ["", FULL] {
            let first = loaded(text);
            let shown = show(&first);
            let again = loaded(&shown);
            assert_eq!(again.settings, first.settings, "{shown}");
        }
    }

    #[test]
    fn each_value_has_its_origin() {
        let shown = show(&loaded(FULL));
        let origin = |line: &str| {
            let found = shown
                .lines()
                .find(|l| l.starts_with(line))
                .unwrap_or_else(|| panic!("no {line} in:\n{shown}"));
            found.split(" # ").last().unwrap().to_owned()
        };
        assert_eq!(origin("threads = \"auto\""), "default");
        assert_eq!(origin("deadline = \"adaptive\""), "hitless.toml:8");
        assert_eq!(origin("connect = \"1s\""), "hitless.toml:16");
        assert_eq!(origin("content = \"5MiB\""), "hitless.toml:18");
        assert_eq!(origin("request = \"5m\""), "hitless.toml:23");
        assert_eq!(origin("content-rate = \"1KiB\""), "hitless.toml:24");
        assert_eq!(origin("[[service.\"shop.eu\".route]]"), "hitless.toml:19");
        assert_eq!(
            shown.matches("idle = \"off\"").count(),
            7,
            "inherited by every service and route:\n{shown}"
        );
    }
}
