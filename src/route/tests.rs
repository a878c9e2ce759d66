//! What a table promises, checked against tables of examples and against a naive scan of all routes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::tree::visits;
use super::*;
use crate::config::settings::*;

fn route(host: &str, path: &str) -> settings::Route {
    settings::Route {
        id: format!("{host}{path}"),
        listeners: vec![],
        hosts: vec![host_pattern(host)],
        path: PathPattern(path.into()),
        methods: vec![],
        fields: BTreeMap::new(),
        action: Action::Forward,
        rewrite: None,
        connect: false,
        timeout: Timeout {
            connect: Duration::from_secs(3),
            first_byte: None,
            idle: None,
            request: None,
            tunnel_idle: None,
        },
        retry: settings::Retry::NEVER,
        replay: Default::default(),
        limits: crate::config::settings::ContentLimits::default(),
        rates: vec![],
        fallback: None,
    }
}

fn host_pattern(host: &str) -> HostPattern {
    match host.strip_prefix("*.") {
        Some(suffix) => HostPattern::Suffix(suffix.into()),
        None if host == "*" => HostPattern::Any,
        None => HostPattern::Exact(host.into()),
    }
}

fn with(mut route: settings::Route, change: impl FnOnce(&mut settings::Route)) -> settings::Route {
    change(&mut route);
    route
}

fn methods(route: settings::Route, methods: &[&str]) -> settings::Route {
    with(route, |route| {
        route.methods = methods.iter().map(|method| method.to_string()).collect();
        route.id = format!("{} {}", methods.join(","), route.id);
    })
}

fn field(route: settings::Route, name: &str, value: &str) -> settings::Route {
    with(route, |route| {
        route.fields.insert(name.into(), value.into());
        route.id = format!("{name}={value} {}", route.id);
    })
}

fn settings(routes: Vec<settings::Route>) -> Settings {
    let service = Service {
        name: "app".into(),
        endpoints: vec![],
        resolve: Duration::from_secs(30),
        balance: Default::default(),
        health: None,
        breaker: Default::default(),
        protocol: Protocol::Http1,
        endpoint_tls: Default::default(),
        pool: Pool { idle: Duration::from_secs(60), max_idle: 64 },
        hold: Default::default(),
        unit: Default::default(),
        errors: Default::default(),
        tls: Default::default(),
        https: Default::default(),
        rates: vec![],
        concurrency: Default::default(),
        deadline_field: None,
        routes,
    };
    let listener =
        |name: &str| Listener { name: name.into(), listen: vec![], backlog: 1, tls: false, proxy: vec![] };
    Settings {
        daemon: Daemon { threads: 1, reload_on_change: false },
        listeners: vec![listener("http"), listener("inside")],
        admin: Admin { socket: PathBuf::new(), listen: vec![], faults: false },
        drain: Drain {
            deadline: DrainDeadline::Fixed(Duration::from_secs(75)),
            idle_grace: Duration::from_secs(1),
            lame_duck: Duration::ZERO,
            extend: false,
            tunnel_jitter: Duration::from_secs(1),
        },
        upgrade: Default::default(),
        log: Log {
            level: LogLevel::Info,
            access: AccessLog::Off,
            access_to: AccessSink::Journal { namespace: None },
        },
        limits: crate::config::settings::Limits::default(),
        tls: Default::default(),
        errors: Default::default(),
        trusted_proxies: vec![],
        services: if service.routes.is_empty() { vec![] } else { vec![Arc::new(service)] },
    }
}

fn table(routes: Vec<settings::Route>) -> Table {
    Table::new(&settings(routes))
}

/// A request that a test asks about.
struct Ask<'a> {
    listener: &'a str,
    method: Method,
    host: &'a str,
    path: &'a str,
    fields: HeaderMap,
}

fn ask<'a>(host: &'a str, path: &'a str) -> Ask<'a> {
    Ask { listener: "http", method: Method::GET, host, path, fields: HeaderMap::new() }
}

impl<'a> Ask<'a> {
    fn method(self, method: Method) -> Ask<'a> {
        Ask { method, ..self }
    }

    fn on(self, listener: &'a str) -> Ask<'a> {
        Ask { listener, ..self }
    }

    fn field(mut self, name: &'static str, value: &'static str) -> Ask<'a> {
        self.fields.append(name, HeaderValue::from_static(value));
        self
    }

    fn lookup(&self) -> Lookup<'_> {
        Lookup {
            listener: self.listener,
            host: self.host,
            method: &self.method,
            path: self.path,
            fields: &self.fields,
        }
    }

    fn of<'t>(&self, table: &'t Table) -> Result<&'t str, Failure> {
        table.find(&self.lookup()).map(|route| route.settings.id.as_str())
    }
}

#[test]
fn the_most_specific_host_serves() {
    let table = table(vec![
        route("*", "/*"),
        route("*.example.com", "/*"),
        route("*.shop.example.com", "/*"),
        route("shop.example.com", "/*"),
        route("[2001:db8::1]", "/*"),
    ]);
    let cases = [
        ("shop.example.com", "shop.example.com/*"),
        ("SHOP.Example.com.", "shop.example.com/*"),
        ("a.shop.example.com", "*.shop.example.com/*"),
        ("a.b.SHOP.example.com", "*.shop.example.com/*"),
        ("blog.example.com", "*.example.com/*"),
        ("example.com", "*/*"),
        (".example.com", "*/*"),
        ("badexample.com", "*/*"),
        ("[2001:DB8::1]", "[2001:db8::1]/*"),
        ("", "*/*"),
    ];
    for (host, expected) in cases {
        assert_eq!(ask(host, "/").of(&table), Ok(expected), "{host}");
    }
    let long = "A.".repeat(200) + "example.com";
    assert_eq!(ask(&long, "/").of(&table), Ok("*/*"), "a name longer than the DNS allows is no name");
}

#[test]
fn the_most_specific_path_serves() {
    let table = table(vec![
        route("*", "/*"),
        route("*", "/static/*"),
        route("*", "/static/css/*"),
        route("*", "/users/{id}"),
        route("*", "/users/me"),
        route("*", "/users/{id}/posts"),
        route("*", "/users/me/*"),
        route("*", "/a"),
        route("*", "/{x}/{y}/*"),
        route("*", "/caf%c3%a9"),
    ]);
    let cases = [
        ("/", "*/*"),
        ("/a", "*/a"),
        ("/a/", "*/*"), // an exact path has no slash that was not written
        ("/static", "*/static/*"),
        ("/static/", "*/static/*"),
        ("/static/x", "*/{x}/{y}/*"), // the longer prefix, in segments
        ("/static/css/x", "*/static/css/*"),
        ("/staticx", "*/*"),
        ("/users/me", "*/users/me"),
        ("/users/7", "*/users/{id}"),
        ("/users/", "*/*"),                        // a parameter is not empty
        ("/users/me/posts", "*/users/{id}/posts"), // the whole path before any prefix
        ("/users/me/x", "*/users/me/*"),
        ("/users/7/x", "*/{x}/{y}/*"),
        ("/caf%C3%A9", "*/caf%c3%a9"),
        ("/%61", "*/a"),
        ("/%75sers/m%65", "*/users/me"),
    ];
    for (path, expected) in cases {
        assert_eq!(ask("h", path).of(&table), Ok(expected), "{path}");
    }
}

#[test]
fn more_conditions_win_and_others_fall_through_to_the_next_less_specific_route() {
    let table = table(vec![
        route("*", "/*"),
        route("*", "/a/*"),
        methods(route("*", "/a"), &["POST"]),
        field(route("*", "/a"), "x-canary", "yes"),
        field(methods(route("*", "/a"), &["POST"]), "x-canary", "yes"),
        methods(route("shop", "/a"), &["PUT"]),
        methods(route("*", "/get"), &["GET"]),
        methods(route("*", "/get"), &["HEAD"]),
    ]);
    let post = || ask("h", "/a").method(Method::POST);
    let cases = [
        (ask("h", "/a"), "*/a/*"),
        (post(), "POST */a"),
        (post().field("x-canary", "yes"), "x-canary=yes POST */a"),
        (post().field("x-canary", "no").field("x-canary", "yes"), "x-canary=yes POST */a"),
        (post().field("x-canary", "Yes"), "POST */a"),
        (ask("h", "/a").field("x-canary", "yes"), "x-canary=yes */a"),
        (ask("shop", "/a").method(Method::PUT), "PUT shop/a"),
        (ask("shop", "/a").method(Method::POST), "POST */a"),
        (ask("shop", "/b"), "*/*"),
        (ask("h", "/get"), "GET */get"),
        (ask("h", "/get").method(Method::HEAD), "HEAD */get"),
        (ask("h", "/get").method(Method::DELETE), "*/*"),
    ];
    for (ask, expected) in cases {
        assert_eq!(ask.of(&table), Ok(expected), "{} {}{}", ask.method, ask.host, ask.path);
    }
}

#[test]
fn get_serves_head_too() {
    let table = table(vec![methods(route("*", "/*"), &["GET"])]);
    assert!(ask("h", "/").method(Method::HEAD).of(&table).is_ok(), "RFC 9110, section 9.3.2");
    assert_eq!(ask("h", "/").method(Method::POST).of(&table), Err(Failure::NoRoute));
}

#[test]
fn a_request_that_nothing_serves_is_told_why() {
    let here = table(vec![
        route("shop", "/a/*"),
        with(route("inner", "/*"), |route| route.listeners = vec!["inside".into()]),
    ]);
    let cases = [
        (ask("shop", "/b"), Failure::NoRoute),
        (ask("blog", "/a"), Failure::Misdirected), // RFC 9110, sections 7.4 and 15.5.20
        (ask("inner", "/"), Failure::Misdirected),
        (ask("inner", "/").on("unheard-of"), Failure::Misdirected),
    ];
    for (ask, failure) in cases {
        assert_eq!(ask.of(&here), Err(failure), "{} {}{}", ask.listener, ask.host, ask.path);
    }
    assert_eq!(ask("inner", "/").on("inside").of(&here), Ok("inner/*"));
    assert_eq!(ask("shop", "/a").on("unheard-of").of(&here), Ok("shop/a/*"));
    assert_eq!(ask("any", "/").of(&table(vec![])), Err(Failure::NoRoute), "no service at all");
}

#[test]
fn a_route_is_reachable_on_its_listeners_only() {
    let inside = |route| with(route, |route: &mut settings::Route| route.listeners = vec!["inside".into()]);
    let table = table(vec![route("*", "/*"), inside(route("*", "/admin/*"))]);
    assert_eq!(ask("h", "/admin/x").of(&table), Ok("*/*"));
    assert_eq!(ask("h", "/admin/x").on("inside").of(&table), Ok("*/admin/*"));
}

#[test]
fn connect_is_refused_unless_a_route_allows_it() {
    let connect = |path| with(route("tunnel", path), |route| route.connect = true);
    let table = table(vec![connect("/*"), route("shop", "/*"), connect("/only/here"), route("deep", "/a/*")]);
    let ask = |host, path| ask(host, path).method(Method::CONNECT);
    assert_eq!(ask("tunnel", "").of(&table), Ok("tunnel/*"));
    assert_eq!(ask("tunnel", "/only/here").of(&table), Ok("tunnel/only/here"), "RFC 8441, section 4");
    assert_eq!(ask("shop", "").of(&table), Err(Failure::ConnectRefused));
    assert_eq!(ask("deep", "").of(&table), Err(Failure::ConnectRefused));
    assert_eq!(ask("elsewhere", "").of(&table), Err(Failure::Misdirected));
}

#[test]
fn a_target_without_a_path_meets_only_routes_for_everything() {
    let table = table(vec![route("h", "/"), route("h", "/{x}"), route("h", "/*")]);
    assert_eq!(ask("h", "*").method(Method::OPTIONS).of(&table), Ok("h/*"), "RFC 9112, section 3.2.4");
    for (method, path) in [(Method::GET, "*"), (Method::GET, ""), (Method::OPTIONS, ""), (Method::GET, "a")] {
        let refused = ask("h", path).method(method).of(&table);
        assert!(matches!(refused, Err(Failure::BadRequest(_))), "{path}: {refused:?}");
    }
}

#[test]
fn a_path_that_applications_read_in_two_ways_is_served_only_when_both_lead_to_one_route() {
    let table = table(vec![route("*", "/*"), route("*", "/api/*"), route("*", "/admin"), route("*", "/v;1")]);
    let served = [
        ("/api/group%2Fproject", "*/api/*"),
        ("/api//x", "*/api/*"),
        ("/api/x;v=1", "*/api/*"),
        ("/x//y%5Cz", "*/*"),
        ("/redirect/https://example.com/", "*/*"),
        ("/v;1", "*/v;1"), // the pattern spells it
    ];
    for (path, expected) in served {
        assert_eq!(ask("h", path).of(&table), Ok(expected), "{path}");
    }
    for path in [
        "//api/x",
        "/api%2Fx",
        "/api%5cx",
        "/api\\x",
        "/api;x/y",
        "//admin",
        "/admin;x",
        "/%2fadmin",
        "/%61pi%2Fx",
    ] {
        let refused = ask("h", path).of(&table);
        assert!(matches!(refused, Err(Failure::BadRequest(_))), "{path}: {refused:?}");
    }
}

#[test]
fn a_route_that_no_request_can_fit_is_not_there() {
    let table =
        table(vec![methods(route("a", "/*"), &["NOT A METHOD"]), field(route("b", "/*"), "not a name", "x")]);
    assert_eq!(ask("a", "/").of(&table), Err(Failure::NoRoute));
}

#[test]
fn a_route_makes_targets_and_locations() {
    let rewrite = with(route("*", "/api/*"), |route| route.rewrite = Some(("/api".into(), String::new())));
    let to = || Action::Redirect { to: "https://{host}{path}{query}".into(), status: 308 };
    let redirect = with(route("*", "/old/*"), |route| route.action = to());
    let table = table(vec![rewrite, redirect]);
    let original = PathAndQuery::from_static("/api/x?y");
    let find = |path| table.find(&ask("h", path).lookup()).unwrap().clone();
    assert_eq!(find("/api/x").target(&original), "/x?y");
    assert_eq!(find("/old/x").target(&original), "/api/x?y");
    assert_eq!(find("/old/x").location("http", "h", &original), "https://h/api/x?y");
}

#[test]
fn the_number_of_routes_does_not_change_the_cost_of_a_lookup() {
    let visits = |count: usize| {
        let mut routes = vec![route("*", "/*"), route("*", "/a/{x}/c"), route("*", "/a/b/*")];
        routes.extend((0..count).map(|n| route("*", &format!("/a/n{n}/c"))));
        routes.extend((0..count).map(|n| route(&format!("h{n}.example"), "/a/b/c")));
        routes.extend((0..count).map(|n| route(&format!("*.s{n}.example"), "/a/b/c")));
        let table = table(routes);
        let visits_of = |host, path| {
            visits::take();
            assert!(ask(host, path).of(&table).is_ok());
            visits::take()
        };
        [("x", "/a/b/d"), ("x", "/a/n7/c"), ("h7.example", "/a/b/c"), ("x.s7.example", "/z")]
            .map(|(host, path)| visits_of(host, path))
    };
    assert_eq!(visits(10), visits(10_000));
}

#[test]
fn a_long_path_is_walked_no_deeper_than_the_longest_pattern() {
    let table = table(vec![route("*", "/*"), route("*", "/{a}/{b}")]);
    let path = "/a".repeat(30_000);
    visits::take();
    assert_eq!(ask("h", &path).of(&table), Ok("*/*"));
    assert_eq!(visits::take(), 3);
}

/// How specific a host pattern is for a host; `None`: it does not match.
fn naive_host(pattern: &HostPattern, host: &str) -> Option<usize> {
    match pattern {
        HostPattern::Exact(exact) => (exact == host).then_some(usize::MAX),
        HostPattern::Suffix(suffix) => {
            let below = host.strip_suffix(suffix.as_str())?.strip_suffix('.')?;
            (!below.is_empty()).then_some(1 + suffix.len())
        }
        HostPattern::Any => Some(0),
    }
}

/// How specific a path pattern is for a path: whole paths first, then by length, then by literals from the left.
fn naive_path(pattern: &str, path: &str) -> Option<(bool, usize, Vec<bool>)> {
    let prefix = pattern.ends_with("/*");
    let parts: Vec<&str> = pattern.trim_end_matches("/*").split('/').skip(1).collect();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let long_enough = if prefix { segments.len() >= parts.len() } else { segments.len() == parts.len() };
    let same = |(part, segment): (&&str, &&str)| match part.starts_with('{') {
        true => !segment.is_empty(),
        false => part == segment,
    };
    let fits = long_enough && parts.iter().zip(&segments).all(same);
    let length = if prefix { parts.len() } else { 0 };
    fits.then(|| (!prefix, length, parts.iter().map(|part| !part.starts_with('{')).collect()))
}

/// The scan that the table must agree with: every fitting route, the best one.
fn naive<'r>(routes: &'r [settings::Route], ask: &Ask<'_>) -> Result<&'r str, Failure> {
    let here = |route: &&settings::Route| {
        route.listeners.is_empty() || route.listeners.iter().any(|name| name == ask.listener)
    };
    let host =
        |route: &settings::Route| route.hosts.iter().filter_map(|host| naive_host(host, ask.host)).max();
    let mut known = false;
    let mut fitting = Vec::new();
    for (order, route) in routes.iter().enumerate().filter(|(_, route)| here(route)) {
        let Some(host) = host(route) else { continue };
        known = true;
        let Some(path) = naive_path(&route.path.0, ask.path) else { continue };
        let method =
            route.methods.is_empty() || route.methods.iter().any(|method| method == ask.method.as_str());
        let fields =
            route.fields.iter().all(|(name, value)| ask.fields.get_all(name).iter().any(|v| v == value));
        let conditions = usize::from(!route.methods.is_empty()) + route.fields.len();
        if method && fields {
            fitting.push(((host, path, conditions, Reverse(order)), route.id.as_str()));
        }
    }
    match fitting.into_iter().max() {
        Some((_, id)) => Ok(id),
        None if known => Err(Failure::NoRoute),
        None if routes.is_empty() => Err(Failure::NoRoute),
        None => Err(Failure::Misdirected),
    }
}

fn a_path(any: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(any, 1..5).prop_map(|segments| format!("/{}", segments.join("/")))
}

prop_compose! {
    fn a_route()(
        hosts in prop::collection::vec(prop::sample::select(vec!["*", "a", "a.b", "*.b", "*.a.b", "*.c"]), 1..3),
        path in a_path("[ab]|\\{x\\}"),
        end in prop::sample::select(vec!["", "/*", "/", "any"]),
        methods in prop::sample::subsequence(vec!["POST", "PUT"], 0..2),
        fields in prop::sample::subsequence(vec!["x-a", "x-b"], 0..2),
        listeners in prop::sample::subsequence(vec!["http", "inside"], 0..2),
    ) -> settings::Route {
        let path = if end == "any" { "/*".to_owned() } else { path + end };
        let mut route = route("*", &path);
        route.hosts = hosts.into_iter().map(host_pattern).collect();
        route.methods = methods.into_iter().map(Into::into).collect();
        route.fields = fields.into_iter().map(|name| (name.into(), "1".into())).collect();
        route.listeners = listeners.into_iter().map(Into::into).collect();
        route
    }
}

proptest! {
    #[test]
    fn a_table_finds_what_a_scan_of_all_routes_finds(
        routes in prop::collection::vec(a_route(), 0..40),
        asks in prop::collection::vec((
            prop::sample::select(vec!["a", "b", "a.b", "c.a.b", "x.b", "c"]),
            a_path("[abc]"),
            any::<bool>(),
            prop::sample::select(vec![Method::GET, Method::POST, Method::PUT]),
            prop::sample::subsequence(vec!["x-a", "x-b"], 0..3),
            prop::sample::select(vec!["http", "inside", "other"]),
        ), 1..20),
    ) {
        let routes: Vec<_> = routes.into_iter().enumerate()
            .map(|(n, route)| with(route, |route| route.id = format!("{n} {}", route.path.0))).collect();
        let table = table(routes.clone());
        for (host, path, slash, method, fields, listener) in asks {
            let path = if slash { path + "/" } else { path };
            let ask = fields.into_iter().fold(ask(host, &path).method(method).on(listener), |ask, name| ask.field(name, "1"));
            prop_assert_eq!(ask.of(&table), naive(&routes, &ask), "{} {}{} on {}", ask.method, host, path, listener);
        }
    }

    #[test]
    fn no_input_makes_a_lookup_panic_or_a_target_lose_its_slash(host in "\\PC{0,40}", path in "(/|%|\\.|[a-c2eEfF5]|\\\\|;|\\PC){0,30}") {
        let rewrite = with(route("*", "/a/*"), |route| route.rewrite = Some(("/a".into(), "/b".into())));
        let table = table(vec![rewrite, route("a", "/{x}/%2f")]);
        let _ = ask(&host, &path).of(&table);
        let _ = host_of(&host);
        if let (Ok(original), Ok(found)) = (PathAndQuery::try_from(path.as_str()), table.find(&ask("z", &path).lookup())) {
            prop_assert!(found.target(&original).as_str().starts_with('/'));
        }
    }
}
