//! One service's way in, with reloads.

use std::num::NonZeroU32;

use futures_util::FutureExt;

use super::*;
use crate::config::settings::{self, HostPattern, PathPattern, Pool, Protocol, Timeout};
use crate::policy::fault::Fault;

const SECOND: Duration = Duration::from_secs(1);

fn rate(count: u32, by: RateBy) -> Rate {
    let count = NonZeroU32::new(count).unwrap();
    Rate { count, per: SECOND, burst: count, by }
}

fn service(rates: Vec<Rate>, of_route: Vec<Rate>, concurrency: Concurrency) -> Service {
    let route = |id: &str, rates| settings::Route {
        id: id.into(),
        listeners: vec![],
        hosts: vec![HostPattern::Any],
        path: PathPattern("/*".into()),
        methods: vec![],
        fields: Default::default(),
        action: settings::Action::Forward,
        rewrite: None,
        connect: false,
        timeout: Timeout { connect: SECOND, first_byte: None, idle: None, request: None, tunnel_idle: None },
        retry: Default::default(),
        limits: Default::default(),
        replay: Default::default(),
        rates,
        fallback: None,
    };
    Service {
        name: "shop".into(),
        endpoints: vec![],
        resolve: SECOND,
        balance: Default::default(),
        health: None,
        breaker: Default::default(),
        protocol: Protocol::Http1,
        endpoint_tls: Default::default(),
        pool: Pool { idle: SECOND, max_idle: 1 },
        errors: Default::default(),
        tls: Default::default(),
        https: Default::default(),
        rates,
        concurrency,
        deadline_field: None,
        hold: Default::default(),
        unit: Default::default(),
        routes: vec![route("shop[0]", of_route), route("shop[1]", vec![])],
    }
}

fn limited(most: u32, queue: u32) -> Concurrency {
    Concurrency { most: Some(most), queue, ..Concurrency::default() }
}

fn charged(turnstile: &Turnstile, route: &str, origin: &str, now: Instant) -> bool {
    turnstile.charge(route, &HeaderMap::new(), || origin.parse().ok(), now).is_ok()
}

fn key(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
}

#[test]
fn a_request_passes_the_rates_of_its_service_and_of_its_route_and_pays_none_when_one_refuses() {
    let now = Instant::now();
    let service = service(vec![rate(3, RateBy::All)], vec![rate(1, RateBy::All)], Concurrency::default());
    let turnstile = Turnstile::new(&service, None, true, now);
    assert!(charged(&turnstile, "shop[0]", "", now));
    for _ in 0..5 {
        assert!(!charged(&turnstile, "shop[0]", "", now));
    }
    assert!(charged(&turnstile, "shop[1]", "", now) && charged(&turnstile, "shop[1]", "", now));
    assert!(!charged(&turnstile, "shop[1]", "", now));
}

#[test]
fn a_refusal_names_the_rate_and_when_to_come_again() {
    let now = Instant::now();
    let turnstile =
        Turnstile::new(&service(vec![rate(4, RateBy::All)], vec![], limited(1, 1)), None, true, now);
    (0..4).for_each(|_| assert!(charged(&turnstile, "shop[1]", "", now)));
    let refused = turnstile.charge("shop[1]", &HeaderMap::new(), || None, now);
    let quota = Quota { by: "all", count: 4, per: SECOND, wait: Duration::from_millis(250) };
    assert_eq!(refused, Err(Failure::ManyRequests(quota)));
}

#[test]
fn addresses_are_counted_one_by_one_and_those_of_ipv6_by_their_network() {
    let now = Instant::now();
    let service = service(vec![rate(1, RateBy::Address)], vec![], Concurrency::default());
    let turnstile = Turnstile::new(&service, None, true, now);
    for (origin, allowed) in [
        ("192.0.2.1", true),
        ("192.0.2.1", false),
        ("192.0.2.2", true),
        ("::ffff:192.0.2.2", false),
        ("2001:db8:0:1::1", true),
        ("2001:db8:0:1:ffff::9", false),
        ("2001:db8:0:2::1", true),
        ("", true),
        ("", false),
    ] {
        assert_eq!(charged(&turnstile, "shop[0]", origin, now), allowed, "{origin}");
    }
}

#[test]
fn values_of_a_field_are_counted_one_by_one_and_without_it_the_address_counts() {
    let now = Instant::now();
    let by_key = || RateBy::Field("x-key".into());
    let turnstile =
        Turnstile::new(&service(vec![rate(1, by_key())], vec![], Concurrency::default()), None, true, now);
    let origin = || "192.0.2.1".parse().ok();
    for (value, allowed) in [("a", true), ("a", false), ("b", true), ("192.0.2.1", true)] {
        let charged = turnstile.charge("shop[0]", &key("x-key", value), origin, now);
        assert_eq!(charged.is_ok(), allowed, "{value}");
    }
    assert!(charged(&turnstile, "shop[0]", "192.0.2.1", now));
    assert!(!charged(&turnstile, "shop[0]", "192.0.2.1", now));
}

#[test]
fn a_reload_keeps_the_count_of_what_it_does_not_change() {
    let now = Instant::now();
    let first = service(vec![rate(1, RateBy::All)], vec![rate(2, RateBy::Address)], Concurrency::default());
    let turnstile = Turnstile::new(&first, None, true, now);
    assert!(charged(&turnstile, "shop[0]", "192.0.2.1", now));
    let again = Turnstile::new(&first, Some(&turnstile), true, now);
    assert!(!charged(&again, "shop[0]", "192.0.2.1", now));
    let other = service(vec![rate(5, RateBy::All)], vec![rate(2, RateBy::Address)], Concurrency::default());
    let other = Turnstile::new(&other, Some(&again), true, now);
    assert!(charged(&other, "shop[0]", "192.0.2.1", now));
    assert!(!charged(&other, "shop[0]", "192.0.2.1", now), "the route's rate has gone on");
    assert!(charged(&other, "shop[0]", "192.0.2.1", now + SECOND));
}

fn enter(turnstile: &Turnstile, now: Instant) -> Entry {
    turnstile.enter(&HeaderMap::new(), now).unwrap()
}

#[test]
fn a_reload_keeps_those_inside_and_a_new_limit_counts_them() {
    let now = Instant::now();
    let turnstile = Turnstile::new(&service(vec![], vec![], limited(2, 1)), None, true, now);
    let stays: Vec<Entry> = (0..2).map(|_| enter(&turnstile, now)).collect();
    let Entry::Wait(mut queued) = enter(&turnstile, now) else { panic!("there is no room") };
    assert!(turnstile.enter(&HeaderMap::new(), now).is_err());
    let reloaded = Turnstile::new(&service(vec![], vec![], limited(3, 0)), Some(&turnstile), true, now);
    let stay = (&mut queued).now_or_never().unwrap().unwrap();
    assert_eq!(reloaded.shown(), Shown { limit: Some(3), inside: 3, waiting: 0 });
    assert_eq!(reloaded.enter(&HeaderMap::new(), now).unwrap_err(), Failure::NoPlace(3));
    drop((stays, stay));
    assert_eq!(reloaded.shown().inside, 0);
    let unlimited =
        Turnstile::new(&service(vec![], vec![], Concurrency::default()), Some(&reloaded), true, now);
    assert!(matches!(enter(&unlimited, now), Entry::Free));
    assert_eq!(unlimited.shown(), Shown::default());
}

#[test]
fn of_a_full_queue_the_least_urgent_is_shed() {
    let now = Instant::now();
    let concurrency = Concurrency { priority: Some("priority".into()), ..limited(1, 1) };
    let turnstile = Turnstile::new(&service(vec![], vec![], concurrency), None, true, now);
    let ask = |text: &str| turnstile.enter(&key("priority", text), now);
    let _inside = ask("u=7").unwrap();
    let Ok(Entry::Wait(usual)) = ask("i") else { panic!("there is no room") };
    assert!(ask("u=4").is_err());
    let Ok(Entry::Wait(urgent)) = ask("u=1") else { panic!("it is more urgent") };
    assert_eq!(usual.now_or_never().map(|stay| stay.map(|_| ())), Some(Err(Shed)));
    assert!(urgent.now_or_never().is_none());
}

#[test]
fn the_limit_that_is_found_out_holds_from_the_next_request_on_and_stays_below_the_configured_one() {
    let now = Instant::now();
    let concurrency = |most| Concurrency { adaptive: true, ..limited(most, 0) };
    let turnstile = Turnstile::new(&service(vec![], vec![], concurrency(5)), None, true, now);
    assert_eq!(turnstile.shown().limit, Some(5));
    for _ in 0..2000 {
        let Entry::In(mut stay) = enter(&turnstile, now) else { panic!("there is room") };
        stay.answered(now + SECOND, true);
    }
    assert_eq!(turnstile.shown().limit, Some(1), "all were lost");
    let reloaded = Turnstile::new(&service(vec![], vec![], concurrency(9)), Some(&turnstile), true, now);
    assert_eq!(reloaded.shown().limit, Some(1), "what was learnt is kept");
    let fixed = Turnstile::new(&service(vec![], vec![], limited(9, 0)), Some(&reloaded), true, now);
    assert_eq!(fixed.shown().limit, Some(9));
}

#[test]
fn a_fault_lives_through_a_reload_until_faults_are_forbidden() {
    let now = Instant::now();
    let service = service(vec![], vec![], Concurrency::default());
    let turnstile = Turnstile::new(&service, None, true, now);
    let fault = Fault { delay: Some(SECOND), abort: None, share: 1.0, until: now + SECOND };
    turnstile.drill().set(Some(fault));
    let turnstile = Turnstile::new(&service, Some(&turnstile), true, now);
    assert_eq!(turnstile.drill().strike(now, 0.5), Some(fault));
    let turnstile = Turnstile::new(&service, Some(&turnstile), false, now);
    assert_eq!(turnstile.drill().strike(now, 0.5), None);
}

#[test]
fn who_is_turned_away_is_told_once_a_second_with_how_many_it_were() {
    let now = Instant::now();
    let turnstile = Turnstile::new(&service(vec![], vec![], limited(1, 0)), None, true, now);
    let told = |after: u64| turnstile.turned_away(now + Duration::from_millis(after));
    let all = [told(0), told(1), told(999), told(1000), told(1001), told(5000)];
    assert_eq!(all, [Some(1), None, None, Some(3), None, Some(2)]);
}
