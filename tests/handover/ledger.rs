//! The ledger goes from gateway to gateway, and what one gave away another has adopted.

use std::os::fd::AsFd;

use hitless::handover::control::{Destination, ToGateway};
use hitless::handover::mailbox;
use hitless::telemetry::event::TRANSITION;
use hitless::telemetry::ledger::{Fate, Ledger};

use crate::daemon::{admin, eventually};
use crate::house::House;
use crate::origin::Origin;

fn ledger(house: &House) -> Ledger {
    let answer = admin(&house.folder, "GET /ledger");
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

/// Of so many gateways, of which the last one lives, when nothing is between two of them any more.
fn balanced(house: &House, gateways: u64) -> Ledger {
    let ledger = eventually(|| Some(ledger(house)).filter(|ledger| ledger.in_transit() == Some((0, 0))));
    assert!(ledger.residue().is_zero(), "{ledger:#?}");
    let pages: Vec<(u64, Fate)> = ledger.gateways.iter().map(|page| (page.gateway, page.fate)).collect();
    let ended = (1..gateways).map(|number| (number, Fate::Ended));
    assert_eq!(pages, ended.chain([(gateways, Fate::Alive)]).collect::<Vec<_>>());
    ledger
}

#[test]
fn an_upgrade_and_a_restart_carry_it_and_nothing_is_unaccounted_for() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let mut first = house.gateway();
    let mut clients: Vec<_> = (0..5).map(|_| house.connect_and_ask()).collect();
    let mut asking = house.connect();
    asking.ask("shop.test", "/slow");
    origin.has_one();

    let mut second = house.gateway();
    first.hand_over_to(&mut second);
    first.progress("handing over: 1 request, ");
    origin.release();
    assert_eq!(asking.message().text(), "done");
    assert_eq!(first.has_handed_over().connections, 6);
    second.has_adopted();
    let log = first.log();
    assert!(log.contains(TRANSITION) && log.contains("handover over in "), "{log}");
    assert!(log.contains("6 connections and 0 tunnels moved, 1 request answered, none cut"), "{log}");
    let ledger = balanced(&house, 2);
    let page = &ledger.gateways[0];
    assert_eq!((page.services["shop"].admitted, page.services["shop"].answered), (6, 6));
    assert_eq!((page.connections.begun, page.connections.moved), (6, 6));
    assert_eq!(ledger.gateways[1].connections.adopted, 6);

    clients.push(asking);
    for client in &mut clients {
        assert_eq!(client.get("shop.test", "/now").text(), "done");
    }
    let (one, kept) = mailbox::pair().unwrap();
    second.hand_over(Destination::Store, &one);
    drop(one);
    second.has_handed_over();
    let mut third = house.gateway();
    assert_eq!(ledger_numbers(&house), [1], "as far as it knows");
    third.say(ToGateway::Adopt, &[kept.as_fd()]);
    drop(kept);
    third.has_adopted();
    let ledger = balanced(&house, 3);
    let answered: Vec<u64> = ledger.gateways.iter().map(|page| page.all().answered).collect();
    assert_eq!(answered, [6, 6, 0]);
    let printed = house.folder.verb("ledger");
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.starts_with("gateway 1: hitless ") && printed.contains("\ngateway 3: "), "{printed}");
}

fn ledger_numbers(house: &House) -> Vec<u64> {
    ledger(house).gateways.iter().map(|page| page.gateway).collect()
}

/// Its mailbox is closed before its drain is over.
#[test]
fn of_a_handover_that_ends_as_a_drain_the_next_gateway_knows_that_it_does_not_know_all() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "[drain]\nidle-grace = \"0s\"");
    let mut outgoing = house.gateway();
    let mut asking = house.connect();
    asking.ask("shop.test", "/slow");
    origin.has_one();
    let mut incoming = house.gateway();
    let (one, other) = mailbox::pair().unwrap();
    incoming.say(ToGateway::Adopt, &[other.as_fd()]);
    let soon = Some(std::time::Duration::from_millis(200));
    outgoing.hand_over_within(Destination::Gateway, &one, soon);
    drop((one, other));
    assert_eq!(asking.message().status(), 503);
    outgoing.has_handed_over();
    incoming.has_adopted();
    let ledger = ledger(&house);
    let pages: Vec<(u64, Fate)> = ledger.gateways.iter().map(|page| (page.gateway, page.fate)).collect();
    assert_eq!(pages, [(1, Fate::Lost), (2, Fate::Alive)]);
    assert_eq!((ledger.gateways[0].all().admitted, ledger.residue().is_zero()), (1, true));
}
