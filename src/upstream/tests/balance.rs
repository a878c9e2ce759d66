//! Balance, breakers, retries and health, against real sockets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::config::settings::{Balance, HashKey, Health, HealthKind, RetryWay, Way};
use crate::upstream::board::Row;
use crate::upstream::breaker::{Hand, State as Breaker};
use crate::upstream::health::State;
use crate::upstream::tending;

/// What an endpoint answers, and what it has been asked.
#[derive(Clone)]
struct App {
    address: Address,
    answer: Rc<RefCell<String>>,
    asked: Rc<Cell<u32>>,
}

impl App {
    /// Answers every request on every connection with what `answer` is at that moment; empty: it closes instead.
    async fn start(answer: &str) -> App {
        let (listener, address) = listen().await;
        let app = App { address, answer: Rc::new(RefCell::new(answer.to_owned())), asked: Rc::default() };
        let this = app.clone();
        tokio::task::spawn_local(async move {
            loop {
                let (mut peer, this) = (accept(&listener).await, this.clone());
                tokio::task::spawn_local(async move {
                    while peer.request().await.is_some() {
                        this.asked.set(this.asked.get() + 1);
                        let answer = this.answer.borrow().clone();
                        if answer.is_empty() {
                            return;
                        }
                        peer.say(&answer).await;
                    }
                });
            }
        });
        app
    }

    fn says(&self, answer: &str) {
        *self.answer.borrow_mut() = answer.to_owned();
    }
}

const BAD: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

fn of(apps: &[&App]) -> settings::Service {
    let addresses: Vec<_> = apps.iter().map(|app| app.address.clone()).collect();
    settings::Service { routes: vec![route(retrying())], ..service(&addresses) }
}

fn row(upstream: &Upstream, number: usize) -> Arc<Row> {
    Arc::clone(&upstream.lineup.rows()[number])
}

fn retrying() -> settings::Retry {
    settings::Retry { wait: Duration::ZERO, ..Default::default() }
}

async fn status(upstream: &Rc<Upstream>, request: Request<Content>, terms: Terms<'_>) -> u16 {
    match upstream.send(request, terms, &Nobody).await {
        Ok(answer) => {
            let status = answer.response.status().as_u16();
            let _ = body(answer).await;
            status
        }
        Err(failure) => failure.verdict().status,
    }
}

async fn ask(upstream: &Rc<Upstream>) -> u16 {
    status(upstream, get(), Terms::from(&PATIENT)).await
}

fn refusing() -> Address {
    // Bound and let go: nobody listens there.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    Address::Ip(socket.local_addr().unwrap())
}

#[test]
fn requests_are_spread_by_weight_and_none_goes_where_it_is_nothing() {
    on_one_thread(async {
        for way in [Way::Least, Way::Turns] {
            let apps = [App::start(OK).await, App::start(OK).await, App::start(OK).await];
            let mut settings = of(&[&apps[0], &apps[1], &apps[2]]);
            settings.endpoints[0].weight = 3;
            settings.endpoints[2].weight = 0;
            settings.balance = Balance { way, ..Balance::default() };
            let upstream = begin(settings, None);
            for _ in 0..400 {
                assert_eq!(ask(&upstream).await, 200);
            }
            let asked = apps.each_ref().map(|app| app.asked.get());
            assert_eq!(asked[2], 0);
            match way {
                Way::Turns => assert_eq!(asked[..2], [300, 100]),
                _ => assert!((250..350).contains(&asked[0]), "{asked:?}"),
            }
        }
    });
}

#[test]
fn nothing_but_weights_of_nothing_is_nobody() {
    on_one_thread(async {
        let app = App::start(OK).await;
        let mut settings = of(&[&app]);
        settings.endpoints[0].weight = 0;
        assert!(matches!(begin(settings, None).send(get(), &PATIENT, &Nobody).await, Err(Failure::NobodyUp)));
        assert_eq!(app.asked.get(), 0);
    });
}

#[test]
fn the_same_key_goes_to_the_same_endpoint_while_it_is_there() {
    on_one_thread(async {
        let apps = [App::start(OK).await, App::start(OK).await, App::start(OK).await];
        let mut settings = of(&[&apps[0], &apps[1], &apps[2]]);
        settings.balance =
            Balance { way: Way::Hash, key: HashKey::Field("x-tenant".into()), ..Balance::default() };
        let upstream = begin(settings, None);
        let tenant = async |name: usize| {
            let mut request = get();
            request.headers_mut().insert("x-tenant", name.into());
            let answer = upstream.send(request, &PATIENT, &Nobody).await.unwrap();
            let endpoint = answer.endpoint.to_string();
            body(answer).await.unwrap();
            endpoint
        };
        let mut before = BTreeMap::new();
        for name in 0..60 {
            before.insert(name, tenant(name).await);
        }
        let gone = row(&upstream, 1);
        upstream.board().drain(&gone, true);
        for (name, endpoint) in &before {
            let now = tenant(*name).await;
            assert_eq!(now == *endpoint, **endpoint != **gone.label(), "only those move that were there");
        }
        upstream.board().drain(&gone, false);
        for (name, endpoint) in &before {
            assert_eq!(tenant(*name).await, *endpoint);
        }
        assert!(apps.iter().all(|app| app.asked.get() > 0));
    });
}

#[test]
fn a_cookie_keeps_a_client_at_its_endpoint_until_that_is_gone() {
    on_one_thread(async {
        let apps = [App::start(OK).await, App::start(OK).await, App::start(OK).await];
        let mut settings = of(&[&apps[0], &apps[1], &apps[2]]);
        settings.balance = Balance { sticky: Some("at".into()), ..Balance::default() };
        let upstream = begin(settings, None);
        let send = async |cookie: Option<&str>| {
            let mut request = get();
            if let Some(cookie) = cookie {
                request.headers_mut().insert("cookie", cookie.parse().unwrap());
            }
            let answer = upstream.send(request, &PATIENT, &Nobody).await.unwrap();
            let set = answer.response.headers().get("set-cookie").map(|set| set.to_str().unwrap().to_owned());
            let endpoint = answer.endpoint.to_string();
            body(answer).await.unwrap();
            (endpoint, set)
        };
        let (endpoint, set) = send(None).await;
        let set = set.unwrap();
        let cookie = set.split(';').next().unwrap().to_owned();
        assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
        assert!(!set.contains("127.0.0.1") && cookie.len() == "at=".len() + 16, "{set}");
        for _ in 0..20 {
            assert_eq!(send(Some(&format!("other=1; {cookie}"))).await, (endpoint.clone(), None));
        }
        let gone = upstream.lineup.find(&endpoint).unwrap();
        upstream.board().set_breaker(Some(&gone), Hand::Open);
        let (other, set) = send(Some(&cookie)).await;
        assert!(other != endpoint && set.is_some());
        for hostile in ["at=", "at=zz", "at=ffffffffffffffffffffff", "at=-1", "at"] {
            assert!(send(Some(hostile)).await.1.is_some(), "{hostile}");
        }
    });
}

#[test]
fn a_breaker_takes_its_endpoint_out_and_trials_put_it_back() {
    on_one_thread(async {
        let (ill, well) = (App::start(BAD).await, App::start(OK).await);
        let mut settings = of(&[&ill, &well]);
        settings.breaker.open = Duration::from_millis(50);
        let upstream = begin(settings, None);
        let fuse = row(&upstream, 0);
        until_async(async || {
            ask(&upstream).await;
            fuse.fuse().opened() > 0
        })
        .await;
        assert_eq!(ill.asked.get(), 5, "five in a row");
        ill.says(OK);
        until_async(async || {
            assert_eq!(ask(&upstream).await, 200);
            fuse.fuse().state() == Breaker::Closed
        })
        .await;
        assert_eq!(ill.asked.get(), 8, "and three trials");
    });
}

/// Does something until it is so.
async fn until_async(mut done: impl AsyncFnMut() -> bool) {
    while !done().await {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
}

#[test]
fn the_last_endpoint_is_asked_whatever_its_breaker_says() {
    on_one_thread(async {
        for panic in [0, 50, 100] {
            let app = App::start(BAD).await;
            let mut settings = of(&[&app]);
            settings.balance.panic = panic;
            let upstream = begin(settings, None);
            for _ in 0..20 {
                assert_eq!(ask(&upstream).await, 503);
            }
            assert_eq!(app.asked.get(), 20);
            assert_eq!(row(&upstream, 0).fuse().state(), Breaker::Open);
            app.says(OK);
            assert_eq!(ask(&upstream).await, 200);
        }
    });
}

#[test]
fn an_endpoint_that_is_held_open_by_hand_is_never_asked() {
    on_one_thread(async {
        let app = App::start(OK).await;
        let upstream = begin(of(&[&app]), None);
        upstream.board().set_breaker(Some(&row(&upstream, 0)), Hand::Open);
        assert!(matches!(upstream.send(get(), &PATIENT, &Nobody).await, Err(Failure::NobodyUp)));
        upstream.board().set_breaker(Some(&row(&upstream, 0)), Hand::Auto);
        assert_eq!(ask(&upstream).await, 200);
        upstream.board().set_breaker(None, Hand::Open);
        assert!(matches!(upstream.send(get(), &PATIENT, &Nobody).await, Err(Failure::BreakerOpen)));
        upstream.board().set_breaker(None, Hand::Auto);
        assert_eq!(ask(&upstream).await, 200);
    });
}

#[test]
fn the_breaker_of_a_service_answers_for_it_and_lets_trials_through() {
    on_one_thread(async {
        let app = App::start(BAD).await;
        let mut settings = of(&[&app]);
        settings.breaker.service = true;
        settings.breaker.open = Duration::from_millis(50);
        let upstream = begin(settings, None);
        for _ in 0..5 {
            assert_eq!(ask(&upstream).await, 503);
        }
        assert!(matches!(upstream.send(get(), &PATIENT, &Nobody).await, Err(Failure::BreakerOpen)));
        assert_eq!(app.asked.get(), 5);
        app.says(OK);
        until_async(async || {
            ask(&upstream).await;
            upstream.board().fuse().state() == Breaker::Closed
        })
        .await;
    });
}

#[test]
fn a_request_that_is_dropped_says_nothing_to_the_breaker() {
    on_one_thread(async {
        let (_silent, address) = listen().await;
        let upstream = upstream(&[address]);
        for _ in 0..20 {
            let asked = upstream.send(get(), &PATIENT, &Nobody);
            assert!(tokio::time::timeout(Duration::from_millis(2), asked).await.is_err());
        }
        assert_eq!(row(&upstream, 0).fuse().state(), Breaker::Closed);
        assert_eq!(row(&upstream, 0).in_flight(), 0);
    });
}

#[test]
fn a_status_is_asked_for_again_only_of_another_endpoint() {
    on_one_thread(async {
        let (retry, timeout) = (retrying(), PATIENT);
        let terms = Terms { timeout: &timeout, retry: &retry };
        let alone = App::start(BAD).await;
        assert_eq!(status(&begin(of(&[&alone]), None), get(), terms).await, 503);
        assert_eq!(alone.asked.get(), 1, "there is no other one");
        let (ill, well) = (App::start(BAD).await, App::start(OK).await);
        let upstream = begin(of(&[&ill, &well]), None);
        for _ in 0..4 {
            assert_eq!(status(&upstream, get(), terms).await, 200);
        }
        assert!(ill.asked.get() > 0);
        let before = ill.asked.get() + well.asked.get();
        for _ in 0..4 {
            status(&upstream, post("once"), terms).await;
        }
        assert_eq!(ill.asked.get() + well.asked.get(), before + 4, "a POST is sent once");
        let keyed = || {
            let mut request = post("key");
            request.headers_mut().insert("idempotency-key", "1".parse().unwrap());
            request
        };
        let without = settings::Retry { idempotency_key: false, ..retrying() };
        let before = ill.asked.get() + well.asked.get();
        for _ in 0..4 {
            status(&upstream, keyed(), Terms { retry: &without, ..terms }).await;
        }
        assert_eq!(ill.asked.get() + well.asked.get(), before + 4, "not where the route does not allow it");
        upstream.board().set_breaker(Some(&row(&upstream, 0)), Hand::Close);
        for _ in 0..4 {
            assert_eq!(status(&upstream, keyed(), terms).await, 200, "with a key it may be repeated");
        }
    });
}

#[test]
fn a_post_whose_endpoint_died_after_reading_it_is_never_sent_again() {
    on_one_thread(async {
        let (retry, timeout) = (retrying(), PATIENT);
        let terms = Terms { timeout: &timeout, retry: &retry };
        let (dying, other) = (App::start("").await, App::start("").await);
        let upstream = begin(of(&[&dying, &other]), None);
        for number in 1..=6 {
            assert_eq!(status(&upstream, post("x"), terms).await, 502);
            assert_eq!(dying.asked.get() + other.asked.get(), number);
        }
        // What may be repeated goes to the other one, and no further than the attempts.
        let before = dying.asked.get() + other.asked.get();
        assert_eq!(status(&upstream, get(), terms).await, 502);
        assert_eq!(dying.asked.get() + other.asked.get(), before + 3);
    });
}

#[test]
fn retries_end_with_their_budget() {
    on_one_thread(async {
        let retry = settings::Retry { floor: 4, budget: 0, attempts: 20, ..retrying() };
        let timeout = PATIENT;
        let app = App::start("").await;
        let mut settings = of(&[&app]);
        settings.routes = vec![route(retry.clone())];
        let upstream = begin(settings, None);
        for _ in 0..10 {
            assert_eq!(status(&upstream, get(), Terms { timeout: &timeout, retry: &retry }).await, 502);
        }
        assert_eq!(app.asked.get(), 14, "ten requests and four retries");
        assert_eq!(upstream.board().budget().left(), 0);
    });
}

fn route(retry: settings::Retry) -> settings::Route {
    settings::Route {
        id: "shop[0]".into(),
        listeners: Vec::new(),
        hosts: Vec::new(),
        path: settings::PathPattern("/*".into()),
        methods: Vec::new(),
        fields: Default::default(),
        action: settings::Action::Forward,
        rewrite: None,
        connect: false,
        timeout: PATIENT,
        retry,
        replay: Default::default(),
        limits: Default::default(),
        rates: vec![],
        fallback: None,
    }
}

#[test]
fn a_retry_after_that_is_too_long_is_passed_on() {
    on_one_thread(async {
        let timeout = PATIENT;
        let retry = settings::Retry { way: RetryWay::Fixed, floor: 100, ..retrying() };
        for (told, expected) in [("0", 200), ("1", 503), ("Wed, 21 Oct 2026 07:28:00 GMT", 503)] {
            let busy = format!("HTTP/1.1 503 Busy\r\nretry-after: {told}\r\ncontent-length: 0\r\n\r\n");
            let (ill, well) = (App::start(&busy).await, App::start(OK).await);
            let mut settings = of(&[&ill, &well]);
            settings.routes = vec![route(retry.clone())];
            let upstream = begin(settings, None);
            let mut seen = Vec::new();
            while ill.asked.get() == 0 {
                seen.push(status(&upstream, get(), Terms { timeout: &timeout, retry: &retry }).await);
            }
            assert_eq!(seen.last(), Some(&expected), "{told}");
        }
    });
}

#[test]
fn a_thousand_endpoints_that_refuse_cost_a_request_no_more_than_one_dial_each() {
    on_one_thread(async {
        let well = App::start(OK).await;
        let mut addresses: Vec<Address> = (1..1000)
            .map(|number| {
                Address::Ip(SocketAddr::new(
                    IpAddr::from([127, 9, (number / 250) as u8, (number % 250 + 1) as u8]),
                    9,
                ))
            })
            .collect();
        addresses.push(well.address.clone());
        let upstream = upstream(&addresses);
        for _ in 0..20 {
            assert_eq!(ask(&upstream).await, 200);
        }
        assert_eq!(well.asked.get(), 20);
    });
}

fn checked(settings: settings::Service, health: Health) -> settings::Service {
    settings::Service { health: Some(health), ..settings }
}

fn quick(kind: HealthKind) -> Health {
    Health {
        kind,
        path: "/healthz".into(),
        interval: Duration::from_millis(5),
        timeout: LONG,
        ..Health::default()
    }
}

#[test]
fn an_unknown_endpoint_gets_no_requests_before_it_has_answered() {
    on_one_thread(async {
        let app = App::start(OK).await;
        let upstream = begin(checked(of(&[&app]), quick(HealthKind::Http)), None);
        assert!(matches!(upstream.send(get(), &PATIENT, &Nobody).await, Err(Failure::NobodyUp)));
        assert_eq!(app.asked.get(), 0);
        let mut watch = upstream.board().watch();
        let tending = tokio::task::spawn_local(tending::tend(Arc::clone(&upstream.lineup), None));
        watch.changed().await;
        assert_eq!(row(&upstream, 0).health(), State::Healthy);
        assert_eq!(ask(&upstream).await, 200);
        app.says(BAD);
        while row(&upstream, 0).health() != State::Unhealthy {
            watch.changed().await;
        }
        app.says(OK);
        while row(&upstream, 0).health() != State::Healthy {
            watch.changed().await;
        }
        assert_eq!(row(&upstream, 0).changes(), 3);
        tending.abort();
    });
}

#[test]
fn an_unhealthy_endpoint_is_left_out_and_asked_in_a_panic_only() {
    on_one_thread(async {
        for (panic, expected) in [(0, None), (50, Some(200))] {
            let (ill, well) = (App::start(OK).await, App::start(OK).await);
            let mut settings = checked(of(&[&ill, &well]), quick(HealthKind::Http));
            settings.balance.panic = panic;
            let upstream = begin(settings, None);
            upstream.board().found(&row(&upstream, 0), State::Unhealthy, "a test");
            upstream.board().found(&row(&upstream, 1), State::Healthy, "a test");
            for _ in 0..10 {
                assert_eq!(ask(&upstream).await, 200);
            }
            assert_eq!((ill.asked.get(), well.asked.get()), (0, 10));
            upstream.board().found(&row(&upstream, 1), State::Unhealthy, "a test");
            match expected {
                Some(status) => assert_eq!(ask(&upstream).await, status),
                None => {
                    assert!(matches!(upstream.send(get(), &PATIENT, &Nobody).await, Err(Failure::NobodyUp)))
                }
            }
        }
    });
}

/// The state after the first question.
async fn first_state(service: settings::Service) -> State {
    let upstream = begin(service, None);
    let mut watch = upstream.board().watch();
    let tending = tokio::task::spawn_local(tending::tend(Arc::clone(&upstream.lineup), None));
    watch.changed().await;
    tending.abort();
    row(&upstream, 0).health()
}

#[test]
fn what_an_endpoint_answers_decides() {
    on_one_thread(async {
        type Change = fn(&mut Health);
        let table: [(&str, Change, State); 9] = [
            (OK, |_| {}, State::Healthy),
            (OK, |health| health.status = (204, 204), State::Unhealthy),
            (OK, |health| health.body = Some("ok".into()), State::Healthy),
            (OK, |health| health.body = Some("fine".into()), State::Unhealthy),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
                |health| health.body = Some("ok".into()),
                State::Healthy,
            ),
            ("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", |_| {}, State::Healthy),
            (BAD, |_| {}, State::Unhealthy),
            ("SSH-2.0-OpenSSH_9.2\r\n\r\n", |_| {}, State::Unhealthy),
            ("", |_| {}, State::Unhealthy),
        ];
        for (answer, change, expected) in table {
            let app = App::start(answer).await;
            let mut health = quick(HealthKind::Http);
            change(&mut health);
            assert_eq!(first_state(checked(of(&[&app]), health)).await, expected, "{answer}");
        }
        assert_eq!(
            first_state(checked(service(&[refusing()]), quick(HealthKind::Tcp))).await,
            State::Unhealthy
        );
        let app = App::start(OK).await;
        assert_eq!(first_state(checked(of(&[&app]), quick(HealthKind::Tcp))).await, State::Healthy);
    });
}

#[test]
fn an_endpoint_that_never_answers_or_never_ends_is_given_up() {
    on_one_thread(async {
        let (listener, silent) = listen().await;
        let health = || Health { timeout: Duration::from_millis(30), ..quick(HealthKind::Http) };
        assert_eq!(first_state(checked(service(&[silent]), health())).await, State::Unhealthy);
        drop(listener);
        // A body without end, in which what is looked for never comes.
        let (listener, endless) = listen().await;
        tokio::task::spawn_local(async move {
            loop {
                let mut peer = accept(&listener).await;
                tokio::task::spawn_local(async move {
                    peer.request().await;
                    peer.say("HTTP/1.1 200 OK\r\n\r\n").await;
                    while peer.stream.write_all(&[b'x'; 4096]).await.is_ok() {}
                });
            }
        });
        let health = Health { body: Some("fine".into()), ..quick(HealthKind::Http) };
        assert_eq!(first_state(checked(service(&[endless]), health)).await, State::Unhealthy);
    });
}

#[test]
fn a_grpc_endpoint_says_whether_it_is_serving() {
    on_one_thread(async {
        for (message, trailer, expected) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], "0", State::Healthy),
            (&[0, 0, 0, 0, 2, 8, 2], "0", State::Unhealthy),
            (&[0, 0, 0, 0, 2, 8, 1], "5", State::Unhealthy),
            (b"what?", "0", State::Unhealthy),
        ] {
            let address = h2_endpoint(move |mut connection, _| async move {
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    assert_eq!(request.headers()["content-type"], "application/grpc");
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    body.send_data(Bytes::copy_from_slice(message), false).unwrap();
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", trailer.parse().unwrap());
                    body.send_trailers(trailers).unwrap();
                }
            })
            .await;
            assert_eq!(first_state(checked(service(&[address]), quick(HealthKind::Grpc))).await, expected);
        }
    });
}

#[test]
fn state_stays_over_a_reload_for_the_same_address() {
    on_one_thread(async {
        let (one, other) = (App::start(OK).await, App::start(OK).await);
        let before = Lineup::new(&Arc::new(checked(of(&[&one]), quick(HealthKind::Http))), None);
        let known = Arc::clone(&before.rows()[0]);
        before.board().found(&known, State::Healthy, "a test");
        before.board().set_breaker(Some(&known), Hand::Open);
        let after =
            Lineup::new(&Arc::new(checked(of(&[&other, &one]), quick(HealthKind::Http))), Some(&before));
        assert!(Arc::ptr_eq(before.board(), after.board()));
        let rows = after.rows();
        assert!(Arc::ptr_eq(&rows[1], &known));
        assert_eq!((rows[0].health(), rows[1].health()), (State::Unknown, State::Healthy));
        assert_eq!(rows[1].fuse().hand(), Hand::Open);
        let unchecked = Lineup::new(&Arc::new(of(&[&other])), Some(&after));
        assert_eq!(unchecked.rows()[0].health(), State::Healthy, "nobody asks it any more");
    });
}

#[test]
fn each_address_of_a_name_is_an_endpoint_and_connections_stay_when_others_come() {
    on_one_thread(async {
        let app = App::start(OK).await;
        let Address::Ip(ip) = app.address else { unreachable!() };
        let name = Address::Name { host: "localhost".into(), port: ip.port() };
        let upstream = upstream(std::slice::from_ref(&name));
        assert_eq!(ask(&upstream).await, 200, "before it is looked up by the control thread");
        assert!(upstream.lineup.resolved(&name, &[ip]));
        assert_eq!(ask(&upstream).await, 200);
        let label = format!("localhost:{}/127.0.0.1", ip.port());
        assert_eq!(upstream.survey()[0], Survey { endpoint: label.as_str().into(), in_flight: 0, idle: 1 });
        let other = SocketAddr::new([127, 0, 0, 9].into(), ip.port());
        assert!(upstream.lineup.resolved(&name, &[other, ip]));
        assert!(!upstream.lineup.resolved(&name, &[ip, other, other]), "in any order, any number of times");
        assert!(!upstream.lineup.resolved(&name, &[]), "what cannot be looked up stays");
        assert_eq!(upstream.survey().iter().map(|seen| seen.idle).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(ask(&upstream).await, 200);
    });
}

#[test]
fn a_name_is_looked_up_by_whoever_tends_it() {
    on_one_thread(async {
        let app = App::start(OK).await;
        let Address::Ip(ip) = app.address else { unreachable!() };
        let name = Address::Name { host: "localhost".into(), port: ip.port() };
        let upstream = upstream(&[name]);
        assert!(tending::is_needed(&upstream.lineup));
        let mut watch = upstream.board().watch();
        let tending = tokio::task::spawn_local(tending::tend(Arc::clone(&upstream.lineup), None));
        watch.changed().await;
        tending.abort();
        assert!(upstream.survey().iter().any(|seen| seen.endpoint.ends_with("/127.0.0.1")));
        assert_eq!(ask(&upstream).await, 200);
    });
}
