//! A handover that comes to another end than its own.

use std::time::Duration;

use hitless::handover::control::{Destination, ToGateway, ToKeeper};
use hitless::handover::mailbox;

use crate::house::House;
use crate::origin::Origin;

#[test]
fn what_does_not_end_by_the_deadline_is_cut_and_the_handover_ends() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let mut outgoing = house.gateway();
    let mut asking = house.connect();
    asking.ask("shop.test", "/slow");
    origin.has_one();
    let mut idle = house.connect_and_ask();
    let mut incoming = house.gateway();
    let (one, other) = mailbox::pair().unwrap();
    incoming.say(ToGateway::Adopt, &[std::os::fd::AsFd::as_fd(&other)]);
    outgoing.hand_over_within(Destination::Gateway, &one, Some(Duration::from_millis(200)));
    drop((one, other));
    outgoing.hears(|message| matches!(message, ToKeeper::Draining { .. }).then_some(()));
    assert_eq!(asking.message().status(), 503);
    let cut = outgoing.hears(|message| match message {
        ToKeeper::Drained(drained) => Some(drained.cut),
        _ => None,
    });
    assert_eq!(cut, 1);
    assert_eq!(outgoing.has_handed_over().connections, 1);
    assert_eq!(incoming.has_adopted().connections, 1);
    assert_eq!(idle.get("shop.test", "/now").text(), "done");
}

/// Nobody is there to take them, and nobody says so.
#[test]
fn what_was_not_taken_by_the_deadline_ends_in_order() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "[drain]\nidle-grace = \"60s\"");
    let mut outgoing = house.gateway();
    let mut idle = house.connect_and_ask();
    let (one, other) = mailbox::pair().unwrap();
    drop(other);
    outgoing.hand_over_within(Destination::Gateway, &one, Some(Duration::from_secs(2)));
    drop(one);
    outgoing.hears(|message| matches!(message, ToKeeper::Draining { .. }).then_some(()));
    let answer = idle.get("shop.test", "/now");
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("done", Some("close")));
    let moved = outgoing.has_handed_over();
    assert_eq!((moved.connections, moved.refused), (0, 1));
}

#[test]
fn a_stop_of_both_ends_a_handover_as_a_drain() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "[drain]\nidle-grace = \"100ms\"");
    let mut outgoing = house.gateway();
    let mut asking = house.connect();
    asking.ask("shop.test", "/slow");
    origin.has_one();
    let mut idle = house.connect_and_ask();
    let mut incoming = house.gateway();
    outgoing.hand_over_to(&mut incoming);
    assert_eq!(idle.get("shop.test", "/now").text(), "done");
    for gateway in [&mut outgoing, &mut incoming] {
        gateway.say(ToGateway::Drain { limit: None }, &[]);
        gateway.progress("draining: ");
    }
    assert!(idle.is_closed());
    origin.release();
    let answer = asking.message();
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("done", Some("close")));
    for gateway in [&mut outgoing, &mut incoming] {
        assert_eq!(gateway.ends().code(), Some(0), "{}", gateway.log());
    }
}

#[test]
fn an_end_ends_a_handover_at_once() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let mut outgoing = house.gateway();
    let mut asking = house.connect();
    asking.ask("shop.test", "/slow");
    origin.has_one();
    let mut incoming = house.gateway();
    outgoing.hand_over_to(&mut incoming);
    outgoing.progress("handing over: 1 request, ");
    outgoing.say(ToGateway::End, &[]);
    assert_eq!(outgoing.ends().code(), Some(0));
    assert_eq!(incoming.has_adopted().connections, 0);
}

#[test]
fn what_arrives_at_a_gateway_that_drains_is_drained() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "[drain]\nidle-grace = \"100ms\"");
    let mut outgoing = house.gateway();
    let mut idle = house.connect_and_ask();
    let mut incoming = house.gateway();
    let mut asking = house.connect();
    // Whoever accepts it is kept by it.
    asking.ask("shop.test", "/slow");
    origin.has_one();
    incoming.say(ToGateway::Drain { limit: None }, &[]);
    incoming.progress("draining: ");
    outgoing.hand_over_to(&mut incoming);
    assert!(idle.is_closed());
    origin.release();
    assert_eq!(asking.message().text(), "done");
    let gave = outgoing.has_handed_over();
    assert_eq!(gave.refused, 0);
    assert_eq!(incoming.has_adopted().connections, gave.connections);
    assert_eq!(incoming.ends().code(), Some(0));
}
