//! A gateway whose keeper is gone, as it was told or not, while the next start has begun.

use std::os::fd::{AsFd, OwnedFd};

use hitless::handover::control::{Destination, ToGateway};
use hitless::handover::mailbox;
use hitless::telemetry::ledger::{Fate, Ledger};

use crate::byhand::Wire;
use crate::daemon::{admin, eventually};
use crate::house::{Gateway, House};
use crate::origin::Origin;

fn restartable(origin: &Origin, settings: &str) -> House {
    let mut house = House::of(&origin.address, settings);
    house.passed = true;
    house
}

fn adopts(gateway: &mut Gateway, kept: &OwnedFd) {
    gateway.say(ToGateway::Adopt, &[kept.as_fd()]);
}

fn asking(house: &House, origin: &Origin) -> Wire {
    let mut asking = house.connect();
    asking.ask("shop.test", "/slow");
    origin.has_one();
    asking
}

fn is_kept(client: &mut Wire) {
    let answer = client.get("shop.test", "/now");
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("done", None));
}

/// Until so many connections are there.
fn has_adopted(house: &House, count: u64) {
    eventually(|| (house.status()["totals"]["connections_adopted"] == count).then_some(()));
}

fn pages(house: &House) -> Vec<(u64, i64, Fate)> {
    let answer = admin(&house.folder, "GET /ledger");
    let ledger: Ledger = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert!(ledger.residue().is_zero() && ledger.in_transit() == Some((0, 0)), "{ledger:#?}");
    ledger.gateways.iter().map(|page| (page.gateway, i64::from(page.pid), page.fate)).collect()
}

#[test]
fn a_restart_does_not_wait_for_a_request_in_flight() {
    let origin = Origin::start();
    let house = restartable(&origin, "");
    let mut before = house.gateway();
    let mut idle: Vec<_> = (0..300).map(|_| house.connect_and_ask()).collect();
    let mut slow = asking(&house, &origin);
    let kept = before.leaves_into_the_store(&[]);
    assert_eq!((before.name().as_str(), before.listens()), ("(hitless)", 0));

    let mut after = house.gateway();
    adopts(&mut after, &kept);
    has_adopted(&house, 300);
    idle.iter_mut().for_each(is_kept);
    is_kept(&mut house.connect());
    assert_eq!(house.who_answers(), after.pid());
    assert_eq!(pages(&house), [(1, after.pid(), Fate::Alive)], "as far as it knows");

    origin.release();
    assert_eq!(slow.message().text(), "done");
    before.ends_well();
    assert_eq!(after.has_adopted().connections, 301);
    is_kept(&mut slow);
    assert_eq!(pages(&house), [(1, before.pid(), Fate::Ended), (2, after.pid(), Fate::Alive)]);
    assert!(before.log().contains("handed over: 301 connections"), "{}", before.log());
}

/// Each of three processes has a request of its own.
#[test]
fn a_restart_while_the_gateway_before_still_finishes_loses_nothing() {
    let origin = Origin::start();
    let house = restartable(&origin, "");
    let mut first = house.gateway();
    let (mut idle, mut slow) = (house.connect_and_ask(), asking(&house, &origin));
    let one = first.leaves_into_the_store(&[]);
    let mut second = house.gateway();
    adopts(&mut second, &one);
    has_adopted(&house, 1);
    is_kept(&mut idle);
    let mut slower = asking(&house, &origin);
    // What is in the first mailbox from here on is for the third.
    let two = second.leaves_into_the_store(&[0]);
    let mut third = house.gateway();
    adopts(&mut third, &one);
    adopts(&mut third, &two);
    drop((one, two));
    has_adopted(&house, 1);
    let mut slowest = asking(&house, &origin);
    (0..3).for_each(|_| origin.release());
    for client in [&mut slow, &mut slower, &mut slowest] {
        assert_eq!(client.message().text(), "done");
    }
    first.ends_well();
    second.ends_well();
    let adopted = [third.has_adopted().connections, third.has_adopted().connections];
    assert_eq!(adopted.iter().sum::<u64>(), 3);
    for client in [&mut idle, &mut slow, &mut slower, &mut slowest] {
        is_kept(client);
    }
    let ended = [(1, first.pid(), Fate::Ended), (2, second.pid(), Fate::Ended)];
    assert_eq!(pages(&house), [&ended[..], &[(3, third.pid(), Fate::Alive)]].concat());
}

#[test]
fn an_adopting_gateway_that_dies_leaves_the_rest_to_the_one_after_it() {
    let origin = Origin::start();
    let house = restartable(&origin, "");
    let mut before = house.gateway();
    let (idle, mut slow) = (house.connect_and_ask(), asking(&house, &origin));
    let kept = before.leaves_into_the_store(&[]);
    let mut after = house.gateway();
    adopts(&mut after, &kept);
    has_adopted(&house, 1);
    after.kill();
    assert!({ idle }.is_closed());
    let mut next = house.gateway();
    adopts(&mut next, &kept);
    origin.release();
    assert_eq!(slow.message().text(), "done");
    before.ends_well();
    assert_eq!(next.has_adopted().connections, 1);
    is_kept(&mut slow);
}

/// Nobody will start again, so that nobody must be promised that the connection is kept.
#[test]
fn a_stop_while_the_gateway_before_still_finishes_does_not_wait_and_ends_its_clients_in_order() {
    let origin = Origin::start();
    let house = restartable(&origin, "[drain]\nidle-grace = \"60s\"");
    let mut before = house.gateway();
    let mut slow = asking(&house, &origin);
    let kept = before.leaves_into_the_store(&[]);
    let mut after = house.gateway();
    adopts(&mut after, &kept);
    after.say(ToGateway::Drain { limit: None }, &[]);
    assert_eq!(after.has_adopted().connections, 0);
    after.ends_well();
    drop(kept);
    // This one finds nobody, and its gateway learns it.
    origin.release();
    assert_eq!(slow.message().text(), "done");
    let answer = slow.get("shop.test", "/now");
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("done", Some("close")));
    before.ends_well();
}

#[test]
fn a_gateway_whose_keeper_died_answers_what_is_in_flight_and_accepts_no_more() {
    let origin = Origin::start();
    // Who were told to stay away would come back to this one.
    let house = restartable(&origin, "[drain]\nlame-duck = \"60s\"\nidle-grace = \"100ms\"");
    let mut before = house.gateway();
    let mut slow = asking(&house, &origin);
    before.keeper_dies();
    eventually(|| (before.name() == "(hitless)" && before.listens() == 0).then_some(()));
    let newcomer = house.connect();
    let after = house.gateway();
    assert_eq!(house.who_answers(), after.pid());
    is_kept(&mut { newcomer });
    origin.release();
    let answer = slow.message();
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("done", Some("close")));
    before.ends_well();
}

#[test]
fn a_keeper_that_dies_while_its_gateway_fills_the_store_changes_nothing() {
    let origin = Origin::start();
    let house = restartable(&origin, "");
    let mut before = house.gateway();
    let (mut idle, mut slow) = (house.connect_and_ask(), asking(&house, &origin));
    let (one, kept) = mailbox::pair().unwrap();
    before.hand_over(Destination::Store, &one);
    drop(one);
    before.keeper_dies();
    let mut after = house.gateway();
    adopts(&mut after, &kept);
    origin.release();
    assert_eq!(slow.message().text(), "done");
    before.ends_well();
    assert_eq!(after.has_adopted().connections, 2);
    is_kept(&mut idle);
    is_kept(&mut slow);
}

/// As no keeper does that it is told by; an older one does not know the word.
#[test]
fn a_gateway_that_serves_does_not_leave() {
    let origin = Origin::start();
    let house = restartable(&origin, "");
    let mut gateway = house.gateway();
    gateway.say(ToGateway::Leave { stored: vec![] }, &[]);
    gateway.say(ToGateway::Reload, &[]);
    gateway.hears(|message| match message {
        hitless::handover::control::ToKeeper::Left => panic!("it left"),
        hitless::handover::control::ToKeeper::Reloaded(_) => Some(()),
        _ => None,
    });
    is_kept(&mut house.connect());
}

/// The kernel ends one that cannot.
#[test]
fn a_gateway_that_is_stuck_when_its_keeper_dies_does_not_stay() {
    let origin = Origin::start();
    let house = restartable(&origin, "");
    let mut gateway = house.gateway();
    let _slow = asking(&house, &origin);
    let control = gateway.process.pid;
    wedge(control);
    gateway.keeper_dies();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(gateway.ends().signal(), Some(libc::SIGALRM));
}

/// Stops the main thread alone, whatever it does: ptrace(2).
fn wedge(pid: i32) {
    let mut status = 0;
    // SAFETY: the process is a child of this thread, and only its state is asked for.
    unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0), 0);
        assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0), 0);
        assert_eq!(libc::waitpid(pid, &raw mut status, libc::__WALL), pid);
    }
}
