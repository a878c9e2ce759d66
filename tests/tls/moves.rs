//! Connections that move between gateways: by clients of rustls and of OpenSSL, that cannot tell.

use crate::client::Client;
use crate::echo;
use crate::house::House;
use crate::movers::{Kind, Mover, OpenSsl, Rustls, SClient, SUITES};
use crate::pki::Authority;

/// So often is each connection moved, unless HITLESS_MOVES says otherwise.
const MOVES: usize = 1000;

/// A house whose door is TLS, in front of what gives everything back.
pub fn house() -> (House, Client) {
    let address = echo::start();
    let house = House::of(&address, "tls = true");
    let root = Authority::new("test root");
    root.write(house.folder.path(), "root");
    root.leaf(&["shop.test"]).pair().write(house.folder.path(), "shop");
    let certificates = "certificates = [{ chain = \"shop.pem\", key = \"shop.key\" }]";
    house.folder.passing_with("shop", &address, certificates);
    (house, Client::trusting(&root))
}

/// `HITLESS_SEED`, or any.
fn seed() -> u64 {
    let seed = std::env::var("HITLESS_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("HITLESS_SEED={seed}");
    seed
}

/// One of each: both versions, all suites, both libraries, HTTP and WebSockets.
fn everybody(house: &House, client: &Client, seed: u64) -> (Vec<Box<dyn Mover>>, u64, u64) {
    let mut movers: Vec<Box<dyn Mover>> = vec![];
    let mut kinds: Vec<(usize, Kind)> = (0..SUITES.len()).map(|place| (place, Kind::Http)).collect();
    kinds.extend([(0, Kind::WebSocket), (4, Kind::WebSocket)]);
    for (number, (place, kind)) in kinds.iter().enumerate() {
        let seed = seed.wrapping_add(number as u64);
        movers.push(Box::new(Rustls::new(&house.address, client, *place, *kind, seed)));
        movers.push(Box::new(OpenSsl::new(&house.address, house.folder.path(), *place, *kind, seed)));
    }
    let tunnels = 2 * kinds.iter().filter(|(_, kind)| *kind == Kind::WebSocket).count() as u64;
    let connections = movers.len() as u64 - tunnels;
    (movers, connections, tunnels)
}

/// Each is moved in the middle of what it says: between any two bytes of its records, with requests before and
/// behind, and now and then with new keys.
#[test]
fn a_connection_is_moved_a_thousand_times_and_its_client_cannot_tell() {
    let (house, client) = house();
    let mut gateway = house.gateway();
    let seed = seed();
    let (mut movers, connections, tunnels) = everybody(&house, &client, seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let moves = std::env::var("HITLESS_MOVES").map_or(MOVES, |moves| moves.parse().unwrap());
    for number in 0..moves {
        let mut next = house.gateway();
        // When the rest of what is said comes: before the move, meanwhile, or when it is over.
        let when = rng.usize(..3);
        let all = |movers: &mut Vec<Box<dyn Mover>>| movers.iter_mut().for_each(|mover| mover.finish());
        movers.iter_mut().for_each(|mover| mover.prepare(when == 2));
        if when == 0 {
            all(&mut movers);
        }
        gateway.hand_over_to(&mut next);
        if when == 1 {
            all(&mut movers);
            movers.iter_mut().for_each(|mover| mover.finished());
        }
        let (gave, took) = (gateway.has_handed_over(), next.has_adopted());
        assert_eq!(
            (gave.connections, gave.tunnels, gave.refused),
            (connections, tunnels, 0),
            "move {number}"
        );
        assert_eq!(
            (took.connections, took.tunnels, took.refused),
            (connections, tunnels, 0),
            "move {number}"
        );
        if when == 2 {
            all(&mut movers);
        }
        if when != 1 {
            movers.iter_mut().for_each(|mover| mover.finished());
        }
        gateway = next;
    }
}

/// `K` asks for new keys of both directions, `k` renews those of the client's (s_client(1)).
#[test]
fn keys_are_renewed_after_a_move_by_s_client() {
    for (_, suite, _) in SUITES.iter().filter(|(_, _, version)| *version == "1.3") {
        let (house, _) = house();
        let mut gateway = house.gateway();
        let root = house.folder.path().join("root.pem");
        let mut client = SClient::to(&house.address, &root, &["-tls1_3", "-ciphersuites", suite]);
        let mut asked = 0;
        let mut asks = |client: &mut SClient| {
            asked += 1;
            let text = format!("what came {asked} times");
            let length = text.len();
            client.say(&format!(
                "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {length}\r\n\r\n{text}"
            ));
            client.hears(&text);
        };
        client.hears("Verify return code: 0 (ok)");
        asks(&mut client);
        for command in ["K\n", "k\n", "K\n"] {
            let mut next = house.gateway();
            gateway.hand_over_to(&mut next);
            assert_eq!(gateway.has_handed_over().connections, 1);
            assert_eq!(next.has_adopted().connections, 1);
            gateway = next;
            asks(&mut client);
            client.say(command);
            client.hears("KEYUPDATE");
            asks(&mut client);
            asks(&mut client);
        }
    }
}
