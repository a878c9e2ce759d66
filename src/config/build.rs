//! Checked trees → settings: merges the files, and looks at what values mean to each other.
//!
//! Promises: goes on after an error, so that all are found at once; what it returns is only used
//! when nothing was reported, therefore a refused value may be stood in for by anything.
//! Must not know: how a value is written.

use std::collections::HashMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::message::{Mark, Places, Report, quote};
use super::pages::{self, Folders};
use super::routes;
use super::settings::{
    AccessLog, AccessSink, Address, Admin, Daemon, Drain, DrainDeadline, Limits, Listener, Log, LogLevel,
    Network, Settings, Upgrade,
};
use super::shape::ROOT;
use super::tls;
use super::tree::{Branch, Node, Section, Table};
use super::unique;
use super::value::Value;
use super::work;

/// The listener that there is without any in the configuration, as `hitless.socket` names it.
pub(super) const ONLY_LISTENER: &str = "http";
/// The one that is beside it when there is a certificate.
pub(super) const SECURE_LISTENER: &str = "https";
const WHERE: Mark = Mark { source: 0, offset: 0 };

/// All files as one tree; the same service in two of them is reported.
pub(super) fn merge(tables: impl Iterator<Item = Table>, places: &Places, report: &mut Report) -> Branch {
    let mut root = Table::new();
    for table in tables {
        for (key, branch) in table {
            match root.get_mut(&key) {
                None => {
                    root.insert(key, branch);
                }
                Some(first) => join(&key, first, branch, places, report),
            }
        }
    }
    Branch { mark: WHERE, node: Node::Table(root) }
}

fn join(path: &str, first: &mut Branch, second: Branch, places: &Places, report: &mut Report) {
    let (Node::Table(first), Node::Table(second)) = (&mut first.node, second.node) else { return };
    for (name, branch) in second {
        work::did(1);
        match first.get(&name) {
            None => {
                first.insert(name, branch);
            }
            Some(other) => report.error(
                branch.mark,
                format!("{path}.{name}"),
                format!("found a second time, first in {}", places.line(other.mark)),
                "allowed: each in one file",
                "remove one of them, or give it another name",
            ),
        }
    }
}

/// What was read beside the tree.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub places: &'a Places,
    pub pages: &'a Folders,
}

/// The settings. `whole` says that the daemon's own file could be read as TOML: without it the
/// listeners are not known.
pub(super) fn build(root: &Branch, whole: bool, around: &Around<'_>, report: &mut Report) -> Settings {
    let places = around.places;
    let root = Section { shape: &ROOT, table: Some(root), above: None };
    let listeners = listeners(&root.below("listener", None), tls::is_configured(&root));
    let admin = admin(&root.below("admin", None));
    sockets(&root, places, report);
    let names: Option<Vec<&str>> = whole.then(|| listeners.iter().map(|l| l.name.as_str()).collect());
    let services = routes::services(&root, names.as_deref(), around, report);
    unique::check(&services, &listeners, places, report);
    let tls = tls::tls(&root, places);
    tls::check(&root, &services, &listeners, whole, report);
    Settings {
        tls,
        daemon: daemon(&root.below("daemon", None)),
        admin,
        drain: drain(&root.below("drain", None), report),
        upgrade: upgrade(&root.below("upgrade", None)),
        log: log(&root.below("log", None), report),
        limits: limits(&root.below("limits", None), report),
        errors: pages::of(&root.below("errors", None), places, around.pages),
        trusted_proxies: trusted(&root.below("forwarded", None), report),
        services: services.into_iter().map(|(service, _)| Arc::new(service)).collect(),
        listeners,
    }
}

/// A duration; 0 stands in for a refused one.
pub(super) fn time(section: &Section<'_>, name: &str) -> Duration {
    limit(section, name).unwrap_or_default()
}

/// A duration, or `None` for a word such as "off".
pub(super) fn limit(section: &Section<'_>, name: &str) -> Option<Duration> {
    section.one(name, |value| match value {
        Value::Duration(duration) => Some(*duration),
        _ => None,
    })
}

pub(super) fn flag(section: &Section<'_>, name: &str) -> bool {
    section.one(name, |value| (*value == Value::Flag(true)).then_some(())).is_some()
}

pub(super) fn count(section: &Section<'_>, name: &str) -> Option<u64> {
    section.one(name, |value| match value {
        Value::Count(count) => Some(*count),
        _ => None,
    })
}

/// Bytes, or `None` for a word such as "off".
pub(super) fn size(section: &Section<'_>, name: &str) -> Option<u64> {
    section.one(name, |value| match value {
        Value::Size(bytes) => Some(*bytes),
        _ => None,
    })
}

pub(super) fn word(section: &Section<'_>, name: &str) -> &'static str {
    let word = section.one(name, |value| match value {
        Value::Word(word) => Some(*word),
        _ => None,
    });
    word.unwrap_or_default()
}

pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

pub(super) fn address(value: &Value) -> Option<Address> {
    match value {
        Value::Address(address) => Some(address.clone()),
        _ => None,
    }
}

fn narrow<T: TryFrom<u64> + Default>(count: Option<u64>) -> T {
    count.and_then(|count| T::try_from(count).ok()).unwrap_or_default()
}

fn daemon(section: &Section<'_>) -> Daemon {
    let processors = || std::thread::available_parallelism().map_or(1, NonZero::get);
    Daemon {
        threads: count(section, "threads").map_or_else(processors, |count| narrow(Some(count))),
        reload_on_change: word(section, "reload") == "on-change",
    }
}

/// `secure` says that there is a certificate.
fn listeners(section: &Section<'_>, secure: bool) -> Vec<Listener> {
    let listener = |(name, section): (&str, Section<'_>)| Listener {
        name: name.to_owned(),
        listen: section.all("listen", address),
        backlog: narrow(count(&section, "backlog")),
        tls: flag(&section, "tls"),
        proxy: section.all("proxy-protocol", network),
    };
    let mut listeners: Vec<Listener> = section.named().map(listener).collect();
    let only = listener((ONLY_LISTENER, only_listener(section)));
    let beside = Listener { name: SECURE_LISTENER.into(), tls: true, ..only.clone() };
    if listeners.is_empty() {
        listeners.push(only);
    }
    // Whoever has systemd open the doors, and says nothing of TLS, opens one more by its socket unit.
    let has_own =
        |listener: &Listener| listener.tls || !listener.listen.is_empty() || listener.name == SECURE_LISTENER;
    if secure && !listeners.iter().any(has_own) {
        listeners.push(beside);
    }
    listeners
}

/// One that there is without any in the configuration.
pub(super) fn only_listener<'a>(listeners: &Section<'a>) -> Section<'a> {
    Section { shape: listeners.shape.named.as_deref().unwrap_or(listeners.shape), table: None, above: None }
}

fn admin(section: &Section<'_>) -> Admin {
    Admin {
        socket: section.one("socket", text).map(PathBuf::from).unwrap_or_default(),
        listen: section.all("listen", address),
        faults: flag(section, "faults"),
    }
}

/// Reports an address that two sockets would be bound to.
fn sockets(root: &Section<'_>, places: &Places, report: &mut Report) {
    let admin = root.below("admin", None);
    let listeners = root.below("listener", None);
    let named =
        listeners.named().map(|(name, section)| (format!("listener.{name}.listen"), section.own("listen")));
    let lists = named.chain([("admin.listen".into(), admin.own("listen"))]);
    let mut taken: HashMap<Address, (String, String)> = HashMap::new();
    if let Some(path) = admin.one("socket", text) {
        let line = admin.own("socket").map_or("the default".into(), |branch| places.line(branch.mark));
        taken.insert(Address::Unix(path.into()), ("admin.socket".into(), line));
    }
    for (key, list) in lists {
        for branch in list.map_or(&[][..], Branch::list) {
            let Node::Leaf(Value::Address(address)) = &branch.node else { continue };
            // Port 0 is another port each time.
            let any_port = matches!(address, Address::Ip(ip) if ip.port() == 0);
            let line = places.line(branch.mark);
            match taken.insert(address.clone(), (key.clone(), line)) {
                Some((other, line)) if !any_port && other != key => report.error(
                    branch.mark,
                    key.as_str(),
                    format!("found {}, which {other} has too ({line})", quote(&address.to_string())),
                    "allowed: each address once",
                    "remove one of them, or give it another port or path",
                ),
                _ => {}
            }
        }
    }
}

fn drain(section: &Section<'_>, report: &mut Report) -> Drain {
    let adaptive = word(section, "deadline") == "adaptive";
    let (least, most) = (time(section, "deadline-least"), time(section, "deadline-most"));
    let written = |name: &'static str| Some((name, section.own(name)?));
    let bounds = [written("deadline-most"), written("deadline-least")];
    for (name, bound) in bounds.into_iter().flatten().filter(|_| !adaptive) {
        report.warning(
            bound.mark,
            format!("drain.{name}"),
            "has no effect, because the deadline is fixed",
            "write deadline = \"adaptive\", or remove it",
        );
    }
    if let (Some((name, bound)), true) = (bounds[0].or(bounds[1]), adaptive && least > most) {
        report.error(
            bound.mark,
            format!("drain.{name}"),
            "found bounds that leave nothing between them",
            "allowed: deadline-least up to deadline-most",
            "raise deadline-most or lower deadline-least",
        );
    }
    let fixed = DrainDeadline::Fixed(time(section, "deadline"));
    Drain {
        deadline: if adaptive { DrainDeadline::Adaptive { least, most } } else { fixed },
        idle_grace: time(section, "idle-grace"),
        lame_duck: time(section, "lame-duck"),
        extend: flag(section, "extend"),
        tunnel_jitter: time(section, "tunnel-jitter"),
    }
}

fn upgrade(section: &Section<'_>) -> Upgrade {
    Upgrade {
        probation: time(section, "probation"),
        outgoing: count(section, "outgoing").and_then(|most| usize::try_from(most).ok()).unwrap_or_default(),
        deadline: time(section, "deadline"),
    }
}

fn log(section: &Section<'_>, report: &mut Report) -> Log {
    let share = section.one("access-sample", |value| match value {
        Value::Share(share) => Some(*share),
        _ => None,
    });
    let access = word(section, "access");
    if let (Some(sample), false) = (section.own("access-sample"), access == "sampled") {
        report.warning(
            sample.mark,
            "log.access-sample",
            format!("has no effect, because access is \"{access}\""),
            "write access = \"sampled\", or remove it",
        );
    }
    let sink = |value: &Value| match value {
        Value::Sink(sink) => Some(sink.clone()),
        _ => None,
    };
    Log {
        level: match word(section, "level") {
            "error" => LogLevel::Error,
            "warning" => LogLevel::Warning,
            "notice" => LogLevel::Notice,
            "debug" => LogLevel::Debug,
            _ => LogLevel::Info,
        },
        access: match access {
            "all" => AccessLog::All,
            "sampled" => AccessLog::Sampled(share.unwrap_or_default()),
            _ => AccessLog::Off,
        },
        access_to: section.one("access-to", sink).unwrap_or(AccessSink::Journal { namespace: None }),
    }
}

fn limits(section: &Section<'_>, report: &mut Report) -> Limits {
    let connections = count(section, "connections");
    let per_address = count(section, "connections-per-address");
    if let (Some(written), Some(most), Some(each)) =
        (section.own("connections-per-address"), connections, per_address)
        && each >= most
    {
        report.warning(
            written.mark,
            "limits.connections-per-address",
            format!("has no effect, because limits.connections is {most}"),
            "lower it, or remove it",
        );
    }
    Limits {
        request_line: size(section, "request-line").unwrap_or_default(),
        fields: size(section, "fields").unwrap_or_default(),
        field_count: count(section, "field-count").unwrap_or_default(),
        head_time: time(section, "head-time"),
        keep_alive: limit(section, "keep-alive"),
        keep_alive_requests: count(section, "keep-alive-requests"),
        connections,
        connections_per_address: per_address,
        streams: count(section, "streams").unwrap_or_default(),
        tunnels: count(section, "tunnels"),
    }
}

fn trusted(section: &Section<'_>, report: &mut Report) -> Vec<Network> {
    for branch in section.own("trusted").map_or(&[][..], Branch::list) {
        if let Node::Leaf(Value::Network(network @ Network::Block { prefix: 0, .. })) = branch.node {
            report.warning(
                branch.mark,
                "forwarded.trusted",
                format!("believes everyone, because {network} is every address"),
                "name the addresses of your own proxies",
            );
        }
    }
    section.all("trusted", network)
}

fn network(value: &Value) -> Option<Network> {
    match value {
        Value::Network(network) => Some(*network),
        _ => None,
    }
}
