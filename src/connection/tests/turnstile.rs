//! Rates, places, urgency and faults, as clients and endpoints see them.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::world::*;
use crate::config::settings::{Concurrency, HostPattern, PathPattern, Rate, RateBy, Service, Settings};
use crate::policy::fault::Fault;
use crate::policy::turnstile::Shown;

const HOUR: Duration = Duration::from_secs(3600);

fn rate(count: u32, by: RateBy) -> Rate {
    let count = NonZeroU32::new(count).unwrap();
    Rate { count, per: HOUR, burst: count, by }
}

fn limited(most: u32, queue: u32) -> Concurrency {
    Concurrency { most: Some(most), queue, queue_time: HOUR, ..Concurrency::default() }
}

fn with(service: Service, concurrency: Concurrency) -> Settings {
    settings(vec![Service { concurrency, ..service }])
}

/// Waits until the turnstile of the first service has so many inside and waiting.
fn until(gateway: &Gateway, inside: u32, waiting: u32) {
    loop {
        let shown = gateway.turnstile(0).shown();
        if (shown.inside, shown.waiting) == (inside, waiting) {
            return;
        }
        gateway.settle();
    }
}

fn get(field: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n")
}

#[test]
fn a_rate_answers_429_before_content_is_read_and_says_when_to_come_again() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.rates = vec![rate(1, RateBy::All)];
    let gateway = gateway(settings(vec![app]));
    let mut first = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    assert_eq!(first.answer().1, "ok");
    let mut second = gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    let head = second.head();
    assert!(head.starts_with("http/1.1 429 ") && head.contains("\r\nretry-after: 3"), "{head}");
    assert!(head.contains("\r\nratelimit-policy: \"all\";q=1;w=3600\r\n"), "{head}");
    assert!(head.contains("\r\nratelimit: \"all\";r=0;t=3"), "{head}");
    assert!(!origin.was_called());
    let totals = gateway.until(|totals| totals.refused == 1);
    assert_eq!(totals.failures.get("many-requests"), Some(&1));
}

#[test]
fn a_route_has_rates_of_its_own_and_a_reload_keeps_the_count() {
    let origin = Origin::start();
    let app = || {
        let mut app = service("app", &origin);
        let mut login = route("app");
        login.path = PathPattern("/login".into());
        login.rates = vec![rate(1, RateBy::Address)];
        app.routes[0].id = "app[1]".into();
        app.routes.insert(0, login);
        settings(vec![app])
    };
    let gateway = gateway(app());
    let login = "GET /login HTTP/1.1\r\nHost: a\r\n\r\n";
    let once = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let mut client = gateway.ask(login);
    let (mut endpoint, _) = origin.request();
    endpoint.send(once);
    assert_eq!(client.answer().1, "ok");
    gateway.install(2, app());
    client.send(login);
    let (head, _) = client.answer();
    assert!(head.starts_with("http/1.1 429 ") && !head.contains("connection: close"), "{head}");
    client.send(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send(once);
    assert_eq!(client.answer().1, "ok");
}

#[test]
fn of_a_trusted_proxy_the_client_counts_that_it_names() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.rates = vec![rate(1, RateBy::Address)];
    let mut settings = settings(vec![app]);
    settings.trusted_proxies =
        vec![crate::config::settings::Network::Block { address: "127.0.0.1".parse().unwrap(), prefix: 32 }];
    let gateway = gateway(settings);
    for (named, status) in [("192.0.2.1", 200), ("192.0.2.2", 200), ("192.0.2.1", 429)] {
        let mut client = gateway.ask(&get(&format!("X-Forwarded-For: 9.9.9.9, {named}\r\n")));
        if status == 200 {
            let (mut endpoint, _) = origin.request();
            endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
        let (head, _) = client.answer();
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{named}: {head}");
    }
}

#[test]
fn who_finds_no_place_waits_and_when_as_many_wait_is_answered_503() {
    let origin = Origin::start();
    let gateway = Gateway::start(2, with(service("app", &origin), limited(1, 2)), false);
    let mut first = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    let mut second = gateway.ask(&get("X-Turn: second\r\n"));
    until(&gateway, 1, 1);
    let mut third = gateway.ask(&get("X-Turn: third\r\n"));
    until(&gateway, 1, 2);
    let (head, body) = gateway.ask(GET).answer();
    assert!(head.starts_with("http/1.1 503 ") && head.contains("retry-after: 1\r\n"), "{head}");
    assert!(body.contains("as many requests as it can take"), "{body}");
    assert!(!origin.was_called());
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    assert_eq!(first.answer().1, "ok");
    for (turn, client) in [("second", &mut second), ("third", &mut third)] {
        let (mut endpoint, head) = origin.request();
        assert!(head.contains(&format!("x-turn: {turn}\r\n")), "{head}");
        endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        assert_eq!(client.answer().1, "ok");
    }
    until(&gateway, 0, 0);
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.failures.get("no-place"), totals.answered), (Some(&1), 3));
}

#[test]
fn who_has_waited_too_long_is_answered_503_and_who_goes_away_leaves_the_queue() {
    let origin = Origin::start();
    let concurrency = |time| Concurrency { queue_time: time, ..limited(1, 5) };
    let gateway = gateway(with(service("app", &origin), concurrency(HOUR)));
    let _first = gateway.ask(GET);
    let (_endpoint, _) = origin.request();
    let gone = gateway.ask(GET);
    until(&gateway, 1, 1);
    drop(gone);
    until(&gateway, 1, 0);
    gateway.install(2, with(service("app", &origin), concurrency(Duration::from_millis(1))));
    let (head, _) = gateway.ask(GET).answer();
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    let totals = gateway.until(|totals| totals.refused == 1);
    assert_eq!((totals.failures.get("long-queue"), totals.client_gone), (Some(&1), 1));
}

#[test]
fn the_more_urgent_goes_first_and_the_least_urgent_is_shed() {
    let origin = Origin::start();
    let concurrency = Concurrency { priority: Some("priority".into()), ..limited(1, 2) };
    let gateway = gateway(with(service("app", &origin), concurrency));
    let mut first = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    let mut idle = gateway.ask(&get("Priority: u=6, i\r\n"));
    until(&gateway, 1, 1);
    let mut usual = gateway.ask(GET);
    until(&gateway, 1, 2);
    let mut urgent = gateway.ask(&get("Priority: u=0\r\n"));
    assert!(idle.head().starts_with("http/1.1 503 "));
    until(&gateway, 1, 2);
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    assert_eq!(first.answer().1, "ok");
    for (client, is_urgent) in [(&mut urgent, true), (&mut usual, false)] {
        let (mut endpoint, head) = origin.request();
        assert_eq!(head.contains("priority: u=0\r\n"), is_urgent, "{head}");
        endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        assert_eq!(client.answer().1, "ok");
    }
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!(totals.failures.get("shed"), Some(&1));
}

#[test]
fn a_place_is_left_when_the_answer_was_read_and_by_a_tunnel_at_once() {
    let origin = Origin::start();
    let gateway = gateway(with(service("app", &origin), limited(1, 0)));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nha");
    client.until("ha");
    assert!(gateway.ask(GET).head().starts_with("http/1.1 503 "));
    endpoint.send("lf");
    client.until("lf");
    until(&gateway, 0, 0);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    let (mut tunnel, _) = origin.request();
    tunnel.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(client.head().starts_with("http/1.1 101 "));
    until(&gateway, 0, 0);
    let mut other = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    assert_eq!(other.answer().1, "ok");
}

#[test]
fn an_endpoint_with_as_many_as_it_may_have_is_not_chosen() {
    let (one, other) = (Origin::start(), Origin::start());
    let mut app = service("app", &one);
    app.endpoints.push(crate::config::settings::Address::Ip(other.address).into());
    let concurrency = Concurrency { per_endpoint: Some(1), ..Concurrency::default() };
    let gateway = gateway(with(app, concurrency));
    let _clients = [gateway.ask(GET), gateway.ask(GET)];
    let (mut first, _) = one.request();
    let (_second, _) = other.request();
    let (head, _) = gateway.ask(GET).answer();
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    first.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    gateway.until(|totals| totals.answered == 1);
    let mut third = gateway.ask(GET);
    let (mut again, _) = one.request();
    again.send(OK);
    assert_eq!(third.answer().1, "ok");
}

/// A bulkhead: what one service may hold is bounded by its own limits, whatever is asked of it.
#[test]
fn a_service_that_hangs_with_10_000_requests_takes_nothing_from_another() {
    let (hangs, works) = (Origin::start(), Origin::start());
    let at = |name: &str, origin: &Origin| {
        let mut service = service(name, origin);
        service.routes[0].hosts = vec![HostPattern::Exact(name.into())];
        service
    };
    let concurrency = limited(50, 100);
    let gateway = gateway(settings(vec![Service { concurrency, ..at("a", &hangs) }, at("b", &works)]));
    let clients: Vec<Peer> = (0..100_u32)
        .map(|_| {
            let mut client = gateway.connect();
            client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
            // `GET http://a/`, see http2.rs.
            for stream in (0..100_u32).map(|number| 2 * number + 1) {
                let mut frame = vec![0, 0, 6, 1, 5];
                frame.extend(stream.to_be_bytes());
                frame.extend([0x82, 0x86, 0x84, 0x41, 1, b'a']);
                client.send(frame);
            }
            client
        })
        .collect();
    let totals = gateway.until(|totals| totals.admitted == 10_000 && totals.refused >= 9_850);
    assert_eq!((totals.refused, totals.in_flight), (9_850, 150));
    assert_eq!(totals.failures.get("no-place"), Some(&9_850));
    assert_eq!(gateway.turnstile(0).shown(), Shown { limit: Some(50), inside: 50, waiting: 100 });
    let mut client = gateway.ask("GET / HTTP/1.1\r\nHost: b\r\n\r\n");
    let (mut endpoint, _) = works.request();
    endpoint.send(OK);
    assert_eq!(client.answer().1, "ok");
    for _ in 0..100 {
        client.send("GET / HTTP/1.1\r\nHost: b\r\n\r\n");
        endpoint.head();
        endpoint.send(OK);
        assert_eq!(client.answer().1, "ok");
    }
    drop(clients);
    until(&gateway, 0, 0);
}

#[test]
fn a_limit_that_is_found_out_follows_what_the_application_says() {
    let origin = Origin::start();
    let concurrency = Concurrency { adaptive: true, queue: 0, ..Concurrency::default() };
    let gateway = gateway(with(service("app", &origin), concurrency));
    let limit = || gateway.turnstile(0).shown().limit.unwrap();
    assert_eq!(limit(), 20);
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    for request in 0..60 {
        endpoint.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno");
        assert_eq!(client.answer().1, "no");
        if request < 59 {
            client.send(GET);
            endpoint.head();
        }
    }
    assert!(limit() < 20, "{}", limit());
}

#[test]
fn a_fault_delays_and_fails_requests_and_ends_with_the_request() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let turnstile = gateway.turnstile(0);
    let until = Instant::now() + HOUR;
    let fault = Fault { delay: None, abort: Some(418), share: 1.0, until };
    turnstile.drill().set(Some(fault));
    // The tests' blueprint allows it as long as nothing is reloaded.
    let mut client = gateway.ask(GET);
    let (head, body) = client.answer();
    assert!(head.starts_with("http/1.1 418 ") && body.contains("on purpose"), "{head}{body}");
    turnstile.drill().set(Some(Fault { delay: Some(HOUR), abort: None, ..fault }));
    let waits = gateway.ask(GET);
    gateway.until(|totals| totals.in_flight == 1);
    drop(waits);
    gateway.until(|totals| totals.client_gone == 1);
    assert!(!origin.was_called());
    assert_eq!(turnstile.drill().set(None).map(|(_, hit)| hit), Some(1));
    client.send(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send(OK);
    assert_eq!(client.answer().1, "ok");
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!(totals.failures.get("fault"), Some(&1));
}

#[test]
fn a_fallback_stands_in_when_nobody_can_be_asked_and_not_for_what_an_application_answers() {
    let (dead, origin) = (Origin::start(), Origin::start());
    let mut app = service("app", &origin);
    app.routes[0].fallback = Some(crate::config::settings::Fallback {
        status: 200,
        content_type: "application/json".into(),
        body: "[]".into(),
    });
    let mut away = app.clone();
    away.endpoints = vec![crate::config::settings::Address::Ip(dead.address).into()];
    drop(dead);
    let gateway = gateway(settings(vec![away]));
    let (head, body) = gateway.ask(GET).answer();
    assert!(
        head.starts_with("http/1.1 200 ") && head.contains("content-type: application/json\r\n"),
        "{head}"
    );
    assert!(head.contains("cache-control: no-store\r\n") && body == "[]", "{head}{body}");
    let totals = gateway.until(|totals| totals.refused == 1);
    assert_eq!(totals.failures.get("unreachable"), Some(&1));
    gateway.install(2, settings(vec![app]));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = origin.request();
    endpoint.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\nbug");
    assert_eq!(client.answer().1, "bug");
}

#[test]
fn the_application_is_told_what_is_left_and_only_a_trusted_proxy_shortens_it() {
    let origin = Origin::start();
    let told = |trusted: bool, field: &str| {
        let mut app = service("app", &origin);
        app.deadline_field = Some("x-deadline".into());
        app.routes[0].timeout.request = Some(HOUR);
        let mut settings = settings(vec![app]);
        if trusted {
            let address = "127.0.0.1".parse().unwrap();
            settings.trusted_proxies = vec![crate::config::settings::Network::Block { address, prefix: 32 }];
        }
        let gateway = gateway(settings);
        let _client = gateway.ask(&get(field));
        let (_endpoint, head) = origin.request();
        let lines = head
            .lines()
            .filter(|line| line.starts_with("x-deadline: ") || line.starts_with("grpc-timeout: "));
        let told: Vec<String> = lines.map(str::to_owned).collect();
        assert_eq!(told.len(), 1, "{head}");
        let digits: String = told[0].chars().filter(char::is_ascii_digit).collect();
        (told[0].starts_with("x-"), digits.parse::<u64>().unwrap())
    };
    // A deadline of an hour, of which the test takes less than a half.
    let about = |told: (bool, u64), most: u64| told.1 <= most && told.1 > most / 2;
    assert!(about(told(false, ""), 3_600_000));
    assert!(about(told(false, "X-Deadline: 1000000\r\n"), 3_600_000));
    assert!(about(told(true, "X-Deadline: 1000000\r\n"), 1_000_000));
    assert!(about(told(true, "X-Deadline: 9000000\r\n"), 3_600_000));
    let grpc = told(true, "Content-Type: application/grpc\r\nGrpc-Timeout: 1000S\r\n");
    assert!(!grpc.0 && about(grpc, 1_000_000), "{grpc:?}");
}
