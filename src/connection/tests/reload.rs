//! A request keeps the generation with which it began.

use super::world::*;

#[test]
fn a_request_in_flight_stays_with_its_generation_and_the_next_one_goes_to_the_new_one() {
    let (old, new) = (Origin::start(), Origin::start());
    let gateway = gateway(only(&old));
    let mut client = gateway.ask(GET);
    let (mut endpoint, _) = old.request();
    gateway.install(2, only(&new));
    endpoint.send(OK.replace("ok", "v1"));
    assert_eq!(client.answer().1, "v1");
    client.send(GET);
    let (mut endpoint, _) = new.request();
    endpoint.send(OK.replace("ok", "v2"));
    assert_eq!(client.answer().1, "v2");
}

#[test]
fn the_pool_of_an_unchanged_service_survives_a_change_of_another() {
    let (kept, changed, other) = (Origin::start(), Origin::start(), Origin::start());
    let both = |second: &Origin| {
        let mut services = vec![service("kept", &kept), service("second", second)];
        services[0].routes[0].path = crate::config::settings::PathPattern("/kept/*".into());
        settings(services)
    };
    let gateway = gateway(both(&changed));
    let request = "GET /kept/ HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut client = gateway.ask(request);
    let (mut endpoint, _) = kept.request();
    endpoint.send(OK);
    client.answer();
    gateway.install(2, both(&other));
    client.send(request);
    endpoint.head();
    endpoint.send(OK);
    assert_eq!(client.answer().1, "ok");
    assert!(!kept.was_called());
}
