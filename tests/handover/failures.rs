//! One side dies, or does not understand.

use std::os::fd::{AsFd, OwnedFd};

use hitless::handover::control::{Destination, ToGateway};
use hitless::handover::mailbox;
use hitless::handover::post::Intake;
use rustix::process::Signal;

use crate::byhand::Wire;
use crate::daemon::{PATIENCE, eventually};
use crate::house::House;
use crate::origin::Origin;

/// More than go into two letters.
const MANY: usize = 600;
/// As many as go into one, at most.
const ONE_LETTER: usize = 252;

fn serves_on(client: &mut Wire) {
    let answer = client.get("shop.test", "/now");
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("done", None));
}

/// How many still serve; the others must be closed, in order.
fn alive(clients: Vec<Wire>) -> usize {
    let alive = |client: &mut Wire| {
        use std::io::{Read, Write};
        let asked = client.socket.write_all(b"GET /now HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        let mut byte = [0];
        asked.is_ok() && client.socket.read(&mut byte).is_ok_and(|count| count == 1)
    };
    clients.into_iter().filter_map(|mut client| alive(&mut client).then_some(())).count()
}

#[test]
fn an_incoming_gateway_that_dies_before_it_reads_anything_takes_nothing_with_it() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let mut outgoing = house.gateway();
    let mut clients: Vec<_> = (0..MANY).map(|_| house.connect_and_ask()).collect();
    let mut asking = house.connect();
    asking.ask("shop.test", "/slow");
    origin.has_one();
    let mut incoming = house.gateway();
    incoming.process.stop();
    outgoing.hand_over_to(&mut incoming);
    outgoing.progress("handing over: 1 request, ");
    // It is answered here and departs, to whom nobody reads.
    origin.release();
    assert_eq!(asking.message().text(), "done");
    incoming.kill();
    outgoing.takes_back();
    clients.push(asking);
    clients.push(house.connect());
    clients.iter_mut().for_each(serves_on);
    assert!(outgoing.log().contains(hitless::telemetry::event::TAKEN_BACK), "{}", outgoing.log());

    // Nothing of it is left that would keep the next one from everything.
    let mut next = house.gateway();
    outgoing.hand_over_to(&mut next);
    assert_eq!(outgoing.has_handed_over().connections, MANY as u64 + 2);
    clients.iter_mut().for_each(serves_on);
}

#[test]
fn an_incoming_gateway_that_dies_among_the_letters_takes_only_what_it_has_a_receipt_for() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let mut outgoing = house.gateway();
    let clients: Vec<_> = (0..MANY).map(|_| house.connect_and_ask()).collect();
    let (one, other) = mailbox::pair().unwrap();
    let mut intake = Intake::new(house.mailbox(other));
    outgoing.hand_over(Destination::Gateway, &one);
    drop(one);
    let taken = house.other_side(async { intake.next().await }).unwrap().unwrap();
    let count = taken.len();
    assert!((1..=ONE_LETTER).contains(&count));
    // With it goes what it had taken, and a letter that it may have, but has said nothing of.
    drop((taken, intake));
    outgoing.takes_back();
    assert_eq!(alive(clients), MANY - count);
    serves_on(&mut house.connect());
}

#[test]
fn an_incoming_gateway_that_dies_after_the_last_letter_leaves_what_was_still_here() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let mut outgoing = house.gateway();
    let mut idle = house.connect_and_ask();
    let mut asking = house.connect();
    asking.ask("shop.test", "/slow");
    origin.has_one();
    let mut incoming = house.gateway();
    outgoing.hand_over_to(&mut incoming);
    outgoing.progress("handing over: 1 request, ");
    eventually(|| (house.status()["totals"]["connections_adopted"] == 1).then_some(()));
    serves_on(&mut idle);
    incoming.kill();
    outgoing.takes_back();
    origin.release();
    assert_eq!(asking.message().text(), "done");
    serves_on(&mut asking);
    serves_on(&mut house.connect());
    assert!(idle.is_closed());
}

#[test]
fn what_an_outgoing_gateway_has_sent_is_served_although_it_dies() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let mut outgoing = house.gateway();
    let clients: Vec<_> = (0..MANY).map(|_| house.connect_and_ask()).collect();
    let mut incoming = house.gateway();
    incoming.process.stop();
    let (one, other) = mailbox::pair().unwrap();
    incoming.say(ToGateway::Adopt, &[other.as_fd()]);
    outgoing.hand_over(Destination::Gateway, &one);
    is_readable(&other);
    outgoing.kill();
    drop((one, other));
    incoming.process.signal(Signal::CONT);
    let adopted = incoming.has_adopted().connections;
    assert!((1..=ONE_LETTER as u64).contains(&adopted));
    assert_eq!(alive(clients) as u64, adopted);
    serves_on(&mut house.connect());
}

fn is_readable(end: &OwnedFd) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&patience)), Ok(1), "no letter comes");
}

#[test]
fn connections_that_nobody_there_understands_end_in_order() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "[drain]\nidle-grace = \"60s\"");
    let mut outgoing = house.gateway();
    let (mut one_more, mut gone) = (house.connect_and_ask(), house.connect_and_ask());
    let (one, other) = mailbox::pair().unwrap();
    let incoming = house.mailbox(other);
    outgoing.hand_over(Destination::Gateway, &one);
    drop(one);
    house.other_side(async {
        let mut refused = 0;
        while refused < 2 {
            refused += incoming.receive().await.unwrap().unwrap().fds.len() - 1;
            incoming.send(br#"{"version":99,"all":true}"#, &[]).await.unwrap();
        }
    });
    // It is served on for its grace, but not kept.
    let answer = one_more.get("shop.test", "/now");
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("done", Some("close")));
    assert!(one_more.is_closed());
    gone.end();
    assert!(gone.is_closed());
    house.other_side(async {
        // Its ledger is not understood either.
        assert_eq!(incoming.receive().await.unwrap().unwrap().fds.len(), 1);
        incoming.send(br#"{"version":99,"all":true}"#, &[]).await.unwrap();
    });
    let moved = outgoing.has_handed_over();
    assert_eq!((moved.connections, moved.refused), (0, 2));
    house.other_side(async { assert!(incoming.receive().await.unwrap().is_none()) });
}

#[test]
fn a_letter_of_another_version_is_refused_and_the_next_one_is_not() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let mut incoming = house.gateway();
    let (one, other) = mailbox::pair().unwrap();
    incoming.say(ToGateway::Adopt, &[other.as_fd()]);
    drop(other);
    let outgoing = house.mailbox(one);
    let letter = hitless::handover::snapshot::seal(br#"{"version":99,"souls":[]}"#).unwrap();
    let receipt = house.other_side(async {
        outgoing.send(b"parcels", &[letter.as_fd()]).await.unwrap();
        outgoing.receive().await.unwrap().unwrap()
    });
    let receipt: serde_json::Value = serde_json::from_slice(&receipt.content).unwrap();
    assert_eq!(receipt["all"], true, "{receipt}");
    drop(outgoing);
    assert_eq!(incoming.has_adopted().connections, 0);
    serves_on(&mut house.connect());
}

#[test]
fn a_handover_whose_other_side_just_stops_reading_is_taken_back() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let mut outgoing = house.gateway();
    let mut clients: Vec<_> = (0..MANY).map(|_| house.connect_and_ask()).collect();
    let (one, other) = mailbox::pair().unwrap();
    outgoing.hand_over(Destination::Gateway, &one);
    is_readable(&other);
    // Its end stays open all the while.
    outgoing.takes_back();
    clients.iter_mut().for_each(serves_on);
    drop((one, other));
}
