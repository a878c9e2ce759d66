//! Sessions that are resumed, whichever gateway has begun them.

use std::os::fd::AsFd;

use hitless::handover::control::{Destination, ToGateway};
use hitless::handover::mailbox;

use crate::client::{Client, TLS12, TLS13};
use crate::dialogue::Secured;
use crate::house::House;
use crate::moves::house;
use crate::site::Site;

/// Asks over a new connection; whether its session was resumed.
fn resumes(client: &Client, address: &str, host: &str) -> bool {
    let mut wire = client.to(address, host);
    let resumed = wire.resumed();
    // With the answer come the tickets of TLS 1.3.
    assert_eq!(wire.get(host, "/").status(), 200);
    resumed
}

fn clients(client: &Client) -> [Client; 2] {
    [TLS12, TLS13].map(|versions| client.clone().speaking(versions).remembering())
}

#[test]
fn a_session_is_resumed_also_after_a_reload() {
    let site = Site::new();
    site.serves("blog", &["blog.test"], "");
    let mut gateway = site.start();
    let (address, clients) = (gateway.address.clone(), clients(&gateway.client()));
    for client in &clients {
        assert!(!resumes(client, &address, "blog.test"), "the first");
        assert!(resumes(client, &address, "blog.test"));
    }
    gateway.folder.answering("other", "other");
    gateway.reloads();
    for client in &clients {
        assert!(resumes(client, &address, "blog.test"));
    }
}

fn survive(over: impl Fn(&House, crate::house::Gateway) -> crate::house::Gateway) {
    let (mut house, client) = house();
    house.passed = true;
    let mut gateway = house.gateway();
    let clients = clients(&client);
    for client in &clients {
        assert!(!resumes(client, &house.address, "shop.test"), "the first");
    }
    for _ in 0..3 {
        gateway = over(&house, gateway);
        for client in &clients {
            assert!(resumes(client, &house.address, "shop.test"));
        }
    }
}

#[test]
fn a_session_is_resumed_after_an_upgrade_and_the_one_after_it() {
    survive(|house, mut gateway| {
        let mut next = house.gateway();
        gateway.hand_over_to(&mut next);
        gateway.has_handed_over();
        next.has_adopted();
        next
    });
}

#[test]
fn a_session_is_resumed_after_a_restart() {
    survive(|house, mut gateway| {
        let (one, kept) = mailbox::pair().unwrap();
        gateway.hand_over(Destination::Store, &one);
        drop(one);
        gateway.has_handed_over();
        let mut next = house.gateway();
        next.say(ToGateway::Adopt, &[kept.as_fd()]);
        drop(kept);
        next.has_adopted();
        next
    });
}

/// Of another gateway, which has other keys: the handshake is a whole one.
#[test]
fn a_ticket_that_nobody_can_read_costs_a_handshake_and_nothing_else() {
    let (house, client) = house();
    let mut gateway = house.gateway();
    let clients = clients(&client);
    for client in &clients {
        assert!(!resumes(client, &house.address, "shop.test"));
    }
    gateway.kill();
    let _next = house.gateway();
    for client in &clients {
        assert!(!resumes(client, &house.address, "shop.test"));
        assert!(resumes(client, &house.address, "shop.test"));
    }
}
