//! What moves, and that its client cannot tell.

use hitless::handover::control::ToGateway;
use hitless::handover::control::ToKeeper;

use crate::house::House;
use crate::origin::Origin;

#[test]
fn connections_move_between_their_requests_and_serve_on_over_the_same_socket() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let mut outgoing = house.gateway();
    let mut idle: Vec<_> = (0..20).map(|_| house.connect_and_ask()).collect();
    let mut new = house.connect();
    let mut half = house.connect_and_ask();
    half.say("GET /now HTTP/1.1\r\nHost: sh");
    let mut asking = house.connect_and_ask();
    asking.ask("shop.test", "/slow");
    origin.has_one();
    // Behind a request that is in flight.
    asking.ask("shop.test", "/now");

    let mut incoming = house.gateway();
    outgoing.hand_over_to(&mut incoming);
    outgoing.progress("handing over: 1 request, ");
    for client in &mut idle {
        assert_eq!(client.get("shop.test", "/now").text(), "done");
    }
    assert_eq!(new.get("shop.test", "/now").text(), "done");
    half.say("op.test\r\n\r\n");
    assert_eq!(half.message().text(), "done");

    origin.release();
    let answer = asking.message();
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("done", None));
    assert_eq!(asking.message().text(), "done", "what was asked behind it");
    assert_eq!(asking.get("shop.test", "/now").text(), "done");

    let gave = outgoing.has_handed_over();
    let took = incoming.has_adopted();
    assert_eq!((gave.connections, gave.tunnels, gave.refused), (23, 0, 0));
    assert_eq!((took.connections, took.tunnels, took.refused), (23, 0, 0));
    for id in [hitless::telemetry::event::HANDING_OVER, hitless::telemetry::event::HANDED_OVER] {
        assert!(outgoing.log().contains(id), "{}", outgoing.log());
    }
    assert!(incoming.log().contains(hitless::telemetry::event::ADOPTED), "{}", incoming.log());
}

#[test]
fn a_gateway_with_nothing_hands_nothing_over_and_is_gone() {
    let house = House::of("127.0.0.1:9", "");
    let (mut outgoing, mut incoming) = (house.gateway(), house.gateway());
    outgoing.hand_over_to(&mut incoming);
    assert_eq!(outgoing.has_handed_over().connections, 0);
    assert_eq!(incoming.has_adopted().connections, 0);
}

#[test]
fn the_incoming_gateway_answers_the_operator_and_the_outgoing_one_again_when_taken_back() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let mut outgoing = house.gateway();
    let mut asking = house.connect();
    asking.ask("shop.test", "/slow");
    origin.has_one();
    let mut incoming = house.gateway();
    outgoing.hand_over_to(&mut incoming);
    outgoing.progress("handing over: ");
    assert_eq!(house.who_answers(), incoming.pid());
    outgoing.say(ToGateway::Reload, &[]);
    let reason = outgoing.hears(|message| match message {
        ToKeeper::Refused { reason, .. } => Some(reason),
        _ => None,
    });
    assert_eq!(reason, "cannot reload: hitless is handing over, ask again");
    incoming.kill();
    outgoing.takes_back();
    assert_eq!(house.who_answers(), outgoing.pid());
    outgoing.say(ToGateway::Reload, &[]);
    let generation = outgoing.hears(|message| match message {
        ToKeeper::Reloaded(summary) => Some(summary.generation),
        _ => None,
    });
    assert_eq!(generation, 2);
    origin.release();
    assert_eq!(asking.message().text(), "done");
}

/// A handover that begins while what an earlier one moves still arrives.
#[test]
fn what_arrives_at_a_gateway_that_hands_over_goes_on_to_the_next() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let mut first = house.gateway();
    let mut late = house.connect();
    late.ask("shop.test", "/slow");
    origin.has_one();
    let mut idle = house.connect_and_ask();
    let mut second = house.gateway();
    first.hand_over_to(&mut second);
    first.progress("handing over: 1 request, ");
    let mut third = house.gateway();
    second.hand_over_to(&mut third);
    second.progress("handing over: ");
    assert_eq!(idle.get("shop.test", "/now").text(), "done");
    origin.release();
    assert_eq!(late.message().text(), "done");
    assert_eq!(first.has_handed_over().connections, 2);
    assert_eq!(second.has_handed_over().connections, 2);
    assert_eq!(third.has_adopted().connections, 2);
    for client in [&mut idle, &mut late] {
        let answer = client.get("shop.test", "/now");
        assert_eq!((answer.text().as_str(), answer.field("connection")), ("done", None));
    }
}
