//! The configuration: files as written → checked → settings.
//!
//! [`read`] takes the files from the disk, [`parse`] turns their text into [`Loaded`] settings or
//! into every error of every file. In between: `check` walks each file beside the table of keys
//! ([`KEYS`]), `build` merges the files and looks at what values mean to each other. From the same table come
//! [`explain`], [`show`], [`schema`], [`example`], [`example_service`] and [`man`].
//!
//! Promises: `parse` depends on its argument alone, never panics, and is linear in its size.
//! Must not know: who asks, and what a reload is.

mod build;
mod check;
mod endpoints;
mod example;
mod explain;
mod files;
mod keys;
mod kind;
mod man;
mod message;
mod pages;
mod routes;
mod schema;
pub mod settings;
mod shape;
mod show;
mod tls;
mod tree;
mod turnstile;
mod unique;
mod value;
mod work;

use std::path::Path;
use std::sync::Arc;

pub use example::{example, example_service};
pub use explain::{Unknown, explain};
pub use files::{Source, Sources};
pub use keys::{KEYS, Key, Unset};
pub use kind::Kind;
pub use man::man;
pub use message::{Errors, Message};
pub use schema::schema;
pub use show::show;

use build::Around;
use message::{Finding, Places, Report};
use settings::Settings;
use tree::{Branch, Table};

/// A configuration that was accepted.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub settings: Arc<Settings>,
    pub origins: Origins,
    /// What is accepted and has no effect, or an unexpected one.
    pub warnings: Vec<Message>,
}

/// Where each value was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Origins {
    root: Branch,
    places: Places,
}

/// Reads `<dir>/hitless.toml`, which may be absent, `<dir>/services.d/*.toml`, and the error pages
/// that they name. When a file cannot be read, the errors in the others are reported along with it.
pub fn read(dir: &Path) -> Result<Sources, Errors> {
    let mut reading = files::read(dir);
    let mut report = Report::default();
    for folder in pages::folders(&reading.sources) {
        if let Err(files::Refusal { found, allowed, remedy }) = reading.pages(&folder.path) {
            report.error(folder.mark, folder.key, found, allowed, remedy);
        }
    }
    let files::Reading { sources, mut errors, .. } = reading;
    errors.extend(messages(&sources, report.errors));
    if errors.is_empty() {
        return Ok(sources);
    }
    if let Err(others) = parse_part(&sources, false) {
        errors.extend(others.0);
    }
    Err(Errors(errors))
}

fn messages(sources: &Sources, findings: Vec<Finding>) -> Vec<Message> {
    if findings.is_empty() {
        return Vec::new();
    }
    let mut places = Places::default();
    for source in &sources.0 {
        places.add(&source.name, &source.text);
    }
    places.messages(findings, &texts(sources))
}

fn texts(sources: &Sources) -> Vec<&str> {
    sources.0.iter().map(|source| source.text.as_str()).collect()
}

/// Checks the text of all files and makes settings of them.
pub fn parse(sources: &Sources) -> Result<Loaded, Errors> {
    parse_part(sources, true)
}

/// `whole` says that no file is missing from the sources.
fn parse_part(sources: &Sources, mut whole: bool) -> Result<Loaded, Errors> {
    let mut report = Report::default();
    let mut places = Places::default();
    let mut tables: Vec<Option<Table>> = Vec::new();
    for (index, source) in sources.0.iter().enumerate() {
        places.add(&source.name, &source.text);
        if source.is_page() {
            continue;
        }
        let of_services = source.is_of_services();
        let table = check::check(index, &source.text, of_services, &mut report);
        whole &= table.is_some() || of_services;
        tables.push(table);
    }
    let pages = pages::collect(sources, &mut report);
    let root = build::merge(tables.into_iter().flatten(), &places, &mut report);
    let settings = build::build(&root, whole, &Around { places: &places, pages: &pages }, &mut report);
    let texts = texts(sources);
    let errors = places.messages(report.errors, &texts);
    if !errors.is_empty() {
        return Err(Errors(errors));
    }
    let warnings = places.messages(report.warnings, &texts);
    Ok(Loaded { settings: Arc::new(settings), origins: Origins { root, places }, warnings })
}

#[cfg(test)]
mod tests {
    use super::settings::{
        Action, Address, ContentLimits, DrainDeadline, HostPattern, Limits, PathPattern, Pool, Protocol,
        Timeout,
    };
    use super::*;
    use std::time::Duration;

    fn parse_one(text: &str) -> Result<Loaded, Errors> {
        parse(&Sources(vec![Source { name: "hitless.toml".into(), text: text.into() }]))
    }

    #[test]
    fn three_lines_are_a_service() {
        let text = "[service.blog]\nhosts = [\"blog.example.com\"]\nendpoints = [\"127.0.0.1:3000\"]\n";
        let settings = parse_one(text).unwrap().settings;
        let service = &settings.services[0];
        assert_eq!((settings.services.len(), service.name.as_str()), (1, "blog"));
        assert_eq!(service.endpoints, [Address::Ip("127.0.0.1:3000".parse().unwrap()).into()]);
        assert_eq!(service.protocol, Protocol::Http1);
        assert_eq!(service.pool, Pool { idle: Duration::from_secs(60), max_idle: 64 });
        let [route] = &service.routes[..] else { panic!("{:?}", service.routes) };
        assert_eq!(route.id, "blog[0]");
        assert_eq!(route.hosts, [HostPattern::Exact("blog.example.com".into())]);
        assert_eq!(route.path, PathPattern("/*".into()));
        assert_eq!((&route.action, &route.rewrite, route.connect), (&Action::Forward, &None, false));
        assert!(route.listeners.is_empty() && route.methods.is_empty() && route.fields.is_empty());
        let seconds = |n| Some(Duration::from_secs(n));
        let timeout = Timeout {
            connect: Duration::from_secs(3),
            first_byte: seconds(60),
            idle: seconds(60),
            request: None,
            tunnel_idle: seconds(3600),
        };
        assert_eq!(route.timeout, timeout);
        // What tests elsewhere begin with.
        assert_eq!(route.limits, ContentLimits::default());
    }

    #[test]
    fn nothing_at_all_is_a_daemon_with_one_listener() {
        let settings = parse(&Sources::default()).unwrap().settings;
        assert!(settings.daemon.threads > 0 && !settings.daemon.reload_on_change);
        let listeners: Vec<_> =
            settings.listeners.iter().map(|l| (l.name.as_str(), l.listen.len())).collect();
        assert_eq!(listeners, [("http", 0)]);
        assert_eq!(settings.admin.socket, Path::new("/run/hitless/admin.sock"));
        assert_eq!(settings.drain.deadline, DrainDeadline::Fixed(Duration::from_secs(75)));
        assert!(settings.services.is_empty() && settings.trusted_proxies.is_empty());
        assert_eq!(settings.limits, Limits::default());
    }

    #[test]
    fn every_limit_is_what_was_written() {
        let text = r#"
            [limits]
            request-line = "1KiB"
            fields = "2KiB"
            field-count = 30
            head-time = "4s"
            keep-alive = "off"
            keep-alive-requests = 5
            connections = 60
            connections-per-address = 7
            streams = 8
            tunnels = 0
        "#;
        let limits = Limits {
            request_line: 1024,
            fields: 2048,
            field_count: 30,
            head_time: Duration::from_secs(4),
            keep_alive: None,
            keep_alive_requests: Some(5),
            connections: Some(60),
            connections_per_address: Some(7),
            streams: 8,
            tunnels: Some(0),
        };
        assert_eq!(parse_one(text).unwrap().settings.limits, limits);
    }

    #[test]
    fn a_route_inherits_the_limits_of_content_from_its_service_and_that_from_the_daemon() {
        let text = r#"
            limits = { content = "1MiB", content-rate = "1KiB", answer-rate = "3KiB" }
            [service.shop]
            hosts = ["shop.example"]
            endpoints = ["shop:80"]
            limits.content = "2MiB"
            [[service.shop.route]]
            [[service.shop.route]]
            path = "/upload"
            limits = { content = "off", content-rate = "2KiB", answer-rate = "off" }
            [service.blog]
            hosts = ["blog.example"]
            endpoints = ["blog:80"]
            limits.content-rate = "off"
            limits.answer-rate = "4KiB"
        "#;
        let settings = parse_one(text).unwrap().settings;
        let limits: Vec<_> = settings
            .services
            .iter()
            .flat_map(|service| &service.routes)
            .map(|route| (route.limits.content, route.limits.content_rate, route.limits.answer_rate))
            .collect();
        let (mib, kib) = (1 << 20, 1 << 10);
        assert_eq!(
            limits,
            [
                (Some(mib), None, Some(4 * kib)),
                (Some(2 * mib), Some(kib), Some(3 * kib)),
                (None, Some(2 * kib), None)
            ],
            "blog, shop, its uploads"
        );
        let route =
            parse_one("[service.shop]\nhosts = [\"shop.example\"]\nendpoints = [\"shop:80\"]").unwrap();
        assert_eq!(
            route.settings.services[0].routes[0].limits.answer_rate,
            Some(240),
            "unless somebody says else"
        );
    }

    #[test]
    fn a_route_inherits_from_its_service_and_that_from_the_defaults() {
        let text = r#"
            defaults.timeout = { connect = "1s", idle = "off" }
            [service.shop]
            hosts = ["shop.example"]
            endpoints = ["shop:80"]
            timeout = { connect = "2s" }
            [[service.shop.route]]
            [[service.shop.route]]
            hosts = ["api.shop.example"]
            path = ["/v1/*", "/v2/*"]
            timeout = { connect = "3s", request = "1m" }
            [[service.shop.route]]
            path = "/old/*"
            redirect = "/new{path}"
        "#;
        let settings = parse_one(text).unwrap().settings;
        let routes = &settings.services[0].routes;
        let said =
            |i: usize| (routes[i].id.as_str(), routes[i].hosts[0].to_string(), routes[i].path.0.as_str());
        assert_eq!(said(0), ("shop[0]", "shop.example".into(), "/*"));
        assert_eq!(said(1), ("shop[1]", "api.shop.example".into(), "/v1/*"));
        assert_eq!(said(2), ("shop[1]", "api.shop.example".into(), "/v2/*"));
        let connects: Vec<_> = routes.iter().map(|route| route.timeout.connect.as_secs()).collect();
        assert_eq!(connects, [2, 3, 3, 2]);
        assert_eq!(
            (routes[2].timeout.idle, routes[2].timeout.request),
            (None, Some(Duration::from_secs(60)))
        );
        assert_eq!(routes[3].action, Action::Redirect { to: "/new{path}".into(), status: 308 });
    }

    #[test]
    fn a_rewrite_strips_or_replaces() {
        let text = r#"
            [service.shop]
            hosts = ["shop.example"]
            endpoints = ["shop:80"]
            [[service.shop.route]]
            path = "/a/*"
            strip-prefix = "/a"
            [[service.shop.route]]
            path = "/b/{id}/*"
            replace-prefix = { from = "/b", to = "/c/d" }
        "#;
        let settings = parse_one(text).unwrap().settings;
        let rewrites: Vec<_> =
            settings.services[0].routes.iter().map(|r| r.rewrite.clone().unwrap()).collect();
        assert_eq!(rewrites, [("/a".into(), String::new()), ("/b".into(), "/c/d".into())]);
    }

    /// What is said about the texts, and the steps that it took.
    fn steps(texts: Vec<String>) -> usize {
        let name = |i: usize| format!("services.d/{i}.toml");
        let source = |(i, text): (usize, String)| Source { name: name(i), text };
        let sources = Sources(texts.into_iter().enumerate().map(source).collect());
        work::taken();
        let said = parse(&sources).map_or_else(|errors| errors.to_string(), |_| String::new());
        assert!(said.len() < 1_000_000, "{} bytes of messages", said.len());
        work::taken()
    }

    /// Four times the text is not much more than four times the work.
    fn is_linear(what: &str, texts: impl Fn(usize) -> Vec<String>) {
        let (few, many) = (steps(texts(500)), steps(texts(2000)));
        assert!(many <= 6 * few + 2000, "{what}: {few} steps, and {many} for four times as much");
    }

    #[test]
    fn the_work_grows_with_the_text_however_many_mistakes_it_has() {
        for piece in ["x", "= ", "[a]\n", "a=1\n", "\"", "[[", "{", "a.b.", "é", "a = [", "#\u{0}\n"] {
            is_linear(piece, |n| vec![piece.repeat(n)]);
        }
        let lines = |n: usize, of: &dyn Fn(usize) -> String| (0..n).map(of).collect::<String>();
        let service = |rest: String| vec![format!("[service.a]\nendpoints = [\"a:1\"]\n{rest}")];
        let list = |key: &str, n: usize, of: &dyn Fn(usize) -> String| {
            format!("{key} = [{}]\n", lines(n, &|i| format!("\"{}\", ", of(i))))
        };
        is_linear("unknown keys", |n| service(lines(n, &|i| format!("hots{i} = 1\n"))));
        is_linear("unknown keys on one line", |n| {
            vec![format!("service.a = {{ {} x = 1 }}", lines(n, &|i| format!("k{i} = 1, ")))]
        });
        is_linear("wrong values", |n| service(list("hosts", n, &|i| format!("-{i}"))));
        is_linear("the same value", |n| service(list("hosts", n, &|_| "a".into())));
        is_linear("unknown listeners", |n| service(list("listeners", n, &|i| format!("l{i}"))));
        is_linear("many hosts on many paths", |n| {
            let paths = list("path", n, &|i| format!("/p{i}"));
            service(format!("{}{paths}", list("hosts", n, &|i| format!("h{i}"))))
        });
        is_linear("the same route", |n| {
            service(format!("hosts = [\"a\"]\n{}", lines(n, &|_| "[[service.a.route]]\n".into())))
        });
        is_linear("bad names", |n| vec![lines(n, &|i| format!("[service.-{i}]\n"))]);
        is_linear("empty services", |n| vec![lines(n, &|i| format!("[service.s{i}]\n"))]);
        is_linear("good services", |n| {
            let good = |i| format!("[service.s{i}]\nhosts = [\"s{i}\"]\nendpoints = [\"a:1\"]\n");
            vec![lines(n, &good)]
        });
        is_linear("one service in many files", |n| vec![service("hosts = [\"a\"]\n".into()).concat(); n]);
    }

    #[test]
    fn services_come_in_the_order_of_their_names_whatever_their_files() {
        let service =
            |name: &str| format!("[service.{name}]\nhosts = [\"{name}.example\"]\nendpoints = [\"a:1\"]\n");
        let file =
            |file: &str, name: &str| Source { name: format!("services.d/{file}.toml"), text: service(name) };
        let settings = parse(&Sources(vec![file("a", "zoo"), file("b", "ant")])).unwrap().settings;
        let names: Vec<_> = settings.services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["ant", "zoo"]);
    }

    #[test]
    fn two_generations_of_the_same_text_are_equal() {
        let text = example_service();
        assert_eq!(parse_one(&text).unwrap().settings, parse_one(&text).unwrap().settings);
    }
}
