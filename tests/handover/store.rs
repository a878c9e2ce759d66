//! A restart: what moves is kept, by the test in the place of systemd, until the next gateway is there.

use std::os::fd::AsFd;

use hitless::handover::control::{Destination, ToGateway};
use hitless::handover::mailbox;

use crate::house::House;
use crate::origin::Origin;

#[test]
fn what_was_kept_is_adopted_by_the_next_gateway() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "");
    let mut before = house.gateway();
    let mut clients: Vec<_> = (0..600).map(|_| house.connect_and_ask()).collect();
    let mut asking = house.connect();
    asking.ask("shop.test", "/slow");
    origin.has_one();
    let (one, kept) = mailbox::pair().unwrap();
    before.hand_over(Destination::Store, &one);
    drop(one);
    before.progress("handing over: 1 request, ");
    origin.release();
    assert_eq!(asking.message().text(), "done");
    clients.push(asking);
    let moved = before.has_handed_over();
    assert_eq!((moved.connections, moved.refused), (601, 0));

    // Some do not wait for an answer to their next request.
    for client in &mut clients[..300] {
        client.ask("shop.test", "/now");
    }
    let mut after = house.gateway();
    after.say(ToGateway::Adopt, &[kept.as_fd()]);
    drop(kept);
    assert_eq!(after.has_adopted().connections, 601);
    for client in &mut clients[..300] {
        assert_eq!(client.message().text(), "done");
    }
    for client in &mut clients {
        let answer = client.get("shop.test", "/now");
        assert_eq!((answer.text().as_str(), answer.field("connection")), ("done", None));
    }
}

#[test]
fn what_finds_no_room_in_the_store_ends_in_order() {
    let origin = Origin::start();
    let house = House::of(&origin.address, "[drain]\nidle-grace = \"100ms\"");
    let mut before = house.gateway();
    let clients: Vec<_> = (0..2000).map(|_| house.connect_and_ask()).collect();
    let (one, kept) = mailbox::pair().unwrap();
    // The kernel makes the least of it that there is.
    socket2::SockRef::from(&one).set_send_buffer_size(1).unwrap();
    before.hand_over(Destination::Store, &one);
    drop(one);
    let moved = before.has_handed_over();
    assert!(moved.connections > 0 && moved.refused > 0, "{moved:?}");
    assert!(moved.connections + moved.refused <= 2000, "{moved:?}");
    assert!(before.log().contains("draining what is left"), "{}", before.log());

    let mut after = house.gateway();
    after.say(ToGateway::Adopt, &[kept.as_fd()]);
    drop(kept);
    assert_eq!(after.has_adopted().connections, moved.connections);
    let mut served = 0;
    for mut client in clients {
        use std::io::{Read, Write};
        let asked = client.socket.write_all(b"GET /now HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        let mut byte = [0];
        served += u64::from(asked.is_ok() && client.socket.read(&mut byte).is_ok_and(|count| count == 1));
    }
    assert_eq!(served, moved.connections);
}
