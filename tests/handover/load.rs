//! Many handovers, while clients ask all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use crate::byhand::Wire;
use crate::daemon::eventually;
use crate::house::House;
use crate::origin::Origin;

const HANDOVERS: usize = 20;
const CLIENTS: usize = 6;

/// Asks over one connection, or over a new one each time, until it is told to leave; how often.
fn client(address: String, keeps: bool, asked: Arc<AtomicU64>, leave: Arc<AtomicBool>) {
    let mut wire = Wire::to(&address);
    let port = wire.socket.local_addr().unwrap();
    while !leave.load(SeqCst) {
        if !keeps {
            wire = Wire::to(&address);
        }
        let answer = wire.get("shop.test", "/now");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "done"), "{answer:?}");
        assert_eq!(answer.field("connection"), None);
        asked.fetch_add(1, SeqCst);
    }
    assert!(!keeps || wire.socket.local_addr().unwrap().as_socket() == port.as_socket());
}

#[test]
fn twenty_handovers_under_load_lose_nothing_and_close_no_connection() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let (asked, leave) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut gateway = house.gateway();
    let mut idle: Vec<_> = (0..50).map(|_| house.connect_and_ask()).collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (address, asked, leave) = (house.address.clone(), Arc::clone(&asked), Arc::clone(&leave));
            std::thread::spawn(move || client(address, number % 3 != 0, asked, leave))
        })
        .collect();
    for _ in 0..HANDOVERS {
        // Each handover is among requests.
        let before = asked.load(SeqCst);
        let mut next = house.gateway();
        gateway.hand_over_to(&mut next);
        let gave = gateway.has_handed_over();
        let took = next.has_adopted();
        assert_eq!((gave.connections, gave.refused), (took.connections, took.refused));
        assert!(gave.connections >= 50 && gave.refused == 0, "{gave:?}");
        eventually(|| {
            assert!(!clients.iter().any(std::thread::JoinHandle::is_finished), "a client failed");
            (asked.load(SeqCst) > before + 20).then_some(())
        });
        gateway = next;
    }
    leave.store(true, SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    for client in &mut idle {
        assert_eq!(client.get("shop.test", "/now").text(), "done");
    }
}
