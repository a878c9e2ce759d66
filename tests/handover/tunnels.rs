//! Tunnels: both sockets move, and no byte is lost, doubled or out of order.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use hitless::handover::control::{Destination, ToGateway};
use hitless::handover::mailbox;
use rustix::process::Signal;

use crate::byhand::{Door, Wire};
use crate::daemon::{PATIENCE, eventually};
use crate::house::House;

const HANDOVERS: usize = 20;

/// The client's and the endpoint's end of a tunnel.
fn tunnel(house: &House, door: &Door, protocol: &str) -> (Wire, Wire) {
    let mut client = house.connect();
    client.say(format!(
        "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ));
    let mut endpoint = door.accept();
    endpoint.head();
    endpoint.say(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\u{1}\u{3}hey"
    ));
    assert_eq!(client.head().status(), 101);
    // A whole frame, in case that somebody looks.
    assert_eq!(client.exactly(5), b"\x01\x03hey");
    (client, endpoint)
}

fn both_ways(client: &mut Wire, endpoint: &mut Wire, text: &str) {
    client.say(format!("up {text}"));
    assert_eq!(endpoint.exactly(text.len() + 3), format!("up {text}").as_bytes());
    endpoint.say(format!("down {text}"));
    assert_eq!(client.exactly(text.len() + 5), format!("down {text}").as_bytes());
}

#[test]
fn a_tunnel_moves_at_once_and_its_gateway_does_not_wait_for_its_end() {
    let door = Door::tcp();
    let house = House::of(&door.address, "");
    let mut outgoing = house.gateway();
    let (mut client, mut endpoint) = tunnel(&house, &door, "strange/1");
    let (mut one_way, mut its_endpoint) = tunnel(&house, &door, "strange/1");
    one_way.say("the last").end();
    assert_eq!(its_endpoint.exactly(8), b"the last");
    assert!(its_endpoint.is_closed());
    let mut incoming = house.gateway();
    outgoing.hand_over_to(&mut incoming);
    let gave = outgoing.has_handed_over();
    assert_eq!((gave.connections, gave.tunnels, gave.refused), (0, 2, 0));
    assert_eq!(incoming.has_adopted().tunnels, 2);
    both_ways(&mut client, &mut endpoint, "after the handover");
    its_endpoint.say("still in the other direction");
    assert_eq!(one_way.exactly(28), b"still in the other direction");
    drop(endpoint);
    assert!(client.is_closed());
}

#[test]
fn a_websocket_moves_in_the_middle_of_a_frame_and_is_closed_as_one_later() {
    let door = Door::tcp();
    let house = House::of(&door.address, "[drain]\ntunnel-jitter = \"0s\"");
    let mut outgoing = house.gateway();
    let (mut client, mut endpoint) = tunnel(&house, &door, "websocket");
    // A text of five bytes, of which two have come, and a part of a header in the other direction.
    client.say([0x81, 0x85, 0, 0, 0, 0, b'h', b'e']);
    assert_eq!(endpoint.exactly(8)[6..], *b"he");
    endpoint.say([0x81]);
    assert_eq!(client.exactly(1), [0x81]);
    let mut incoming = house.gateway();
    outgoing.hand_over_to(&mut incoming);
    assert_eq!(outgoing.has_handed_over().tunnels, 1);
    assert_eq!(incoming.has_adopted().tunnels, 1);
    incoming.say(ToGateway::Drain { limit: None }, &[]);
    incoming.progress("draining: 1 tunnel");
    client.say(b"llo");
    assert_eq!(endpoint.exactly(3), b"llo");
    endpoint.say([2, b'o', b'k']);
    assert_eq!(client.exactly(3), [2, b'o', b'k']);
    let close = client.exactly(4);
    assert_eq!((close[0], &close[2..]), (0x88, &1001_u16.to_be_bytes()[..]));
}

/// Gives back whatever comes.
fn echo(door: Door) {
    std::thread::spawn(move || {
        let mut endpoint = door.accept();
        endpoint.head();
        endpoint.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: strange/1\r\n\r\n");
        loop {
            let some = endpoint.some(65_536);
            if some.is_empty() {
                return;
            }
            endpoint.say(some);
        }
    });
}

/// Numbers go through a tunnel, as fast as they are taken, until the last one; how many have come back.
struct Stream {
    came_back: Arc<AtomicU64>,
    reader: std::thread::JoinHandle<()>,
    writer: std::thread::JoinHandle<()>,
    last: Arc<AtomicU64>,
}

impl Stream {
    fn begin(house: &House) -> Stream {
        let mut wire = house.connect();
        wire.say("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: strange/1\r\n\r\n");
        assert_eq!(wire.head().status(), 101);
        let socket = TcpStream::from(OwnedFd::from(wire.socket.try_clone().unwrap()));
        let (came_back, last) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
        let (until, mut to) = (Arc::clone(&last), socket.try_clone().unwrap());
        let writer = std::thread::spawn(move || {
            for block in 0_u64.. {
                // Told before it is written, so that the reader waits for no more.
                let is_last = until.load(SeqCst) == 0;
                if is_last {
                    until.store((block + 1) * 512, SeqCst);
                }
                let numbers = block * 512..(block + 1) * 512;
                to.write_all(&numbers.flat_map(u64::to_be_bytes).collect::<Vec<u8>>()).unwrap();
                if is_last {
                    return;
                }
            }
        });
        let (count, until) = (Arc::clone(&came_back), Arc::clone(&last));
        let reader = std::thread::spawn(move || {
            let mut socket = std::io::BufReader::new(socket);
            let mut number = [0; 8];
            for next in 0_u64.. {
                if next == until.load(SeqCst) && next > 0 {
                    return;
                }
                socket.read_exact(&mut number).unwrap();
                assert_eq!(u64::from_be_bytes(number), next, "a gap");
                count.store(next + 1, SeqCst);
            }
        });
        Stream { came_back, reader, writer, last }
    }

    fn flows(&self) {
        let before = self.came_back.load(SeqCst);
        eventually(|| {
            assert!(!self.reader.is_finished() && !self.writer.is_finished(), "the stream ended");
            (self.came_back.load(SeqCst) > before + 1024).then_some(())
        });
    }

    fn end(self) {
        self.last.store(0, SeqCst);
        self.writer.join().unwrap();
        self.reader.join().unwrap();
    }
}

#[test]
fn twenty_handovers_of_a_stream_that_never_pauses_lose_no_byte() {
    let door = Door::tcp();
    let house = House::of(&door.address, "");
    echo(door);
    let mut gateway = house.gateway();
    let stream = Stream::begin(&house);
    for _ in 0..HANDOVERS {
        stream.flows();
        let mut next = house.gateway();
        gateway.hand_over_to(&mut next);
        assert_eq!(gateway.has_handed_over().tunnels, 1);
        assert_eq!(next.has_adopted().tunnels, 1);
        gateway = next;
    }
    stream.flows();
    stream.end();
}

#[test]
fn a_stream_that_nobody_took_goes_on_where_it_was() {
    let door = Door::tcp();
    let house = House::of(&door.address, "");
    echo(door);
    let mut outgoing = house.gateway();
    let stream = Stream::begin(&house);
    for _ in 0..5 {
        stream.flows();
        let mut incoming = house.gateway();
        incoming.process.stop();
        let (one, other) = mailbox::pair().unwrap();
        incoming.say(ToGateway::Adopt, &[other.as_fd()]);
        outgoing.hand_over(Destination::Gateway, &one);
        readable(&other);
        drop((one, other));
        incoming.kill();
        outgoing.takes_back();
    }
    stream.flows();
    stream.end();
}

fn readable(end: &OwnedFd) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&patience)), Ok(1), "no letter comes");
}

#[test]
fn a_stream_that_was_sent_goes_on_although_its_gateway_was_killed() {
    let door = Door::tcp();
    let house = House::of(&door.address, "");
    echo(door);
    let mut outgoing = house.gateway();
    let stream = Stream::begin(&house);
    stream.flows();
    let mut incoming = house.gateway();
    incoming.process.stop();
    let (one, other) = mailbox::pair().unwrap();
    incoming.say(ToGateway::Adopt, &[other.as_fd()]);
    outgoing.hand_over(Destination::Gateway, &one);
    readable(&other);
    outgoing.kill();
    drop((one, other));
    incoming.process.signal(Signal::CONT);
    assert_eq!(incoming.has_adopted().tunnels, 1);
    stream.flows();
    stream.end();
}

#[test]
fn a_stream_waits_for_the_next_start_and_goes_on() {
    let door = Door::tcp();
    let house = House::of(&door.address, "");
    echo(door);
    let mut gateway = house.gateway();
    let stream = Stream::begin(&house);
    for _ in 0..5 {
        stream.flows();
        let (one, kept) = mailbox::pair().unwrap();
        gateway.hand_over(Destination::Store, &one);
        drop(one);
        assert_eq!(gateway.has_handed_over().tunnels, 1);
        let mut next = house.gateway();
        next.say(ToGateway::Adopt, &[kept.as_fd()]);
        drop(kept);
        assert_eq!(next.has_adopted().tunnels, 1);
        gateway = next;
    }
    stream.flows();
    stream.end();
}

#[test]
fn a_tunnel_that_nobody_there_understands_is_served_on_until_the_deadline_or_its_end() {
    let door = Door::tcp();
    let house = House::of(&door.address, "");
    let mut outgoing = house.gateway();
    let (mut client, mut endpoint) = tunnel(&house, &door, "strange/1");
    let (one, other) = mailbox::pair().unwrap();
    let incoming = house.mailbox(other);
    outgoing.hand_over(Destination::Gateway, &one);
    drop(one);
    house.other_side(async {
        assert_eq!(incoming.receive().await.unwrap().unwrap().fds.len(), 3);
        incoming.send(br#"{"version":1,"refused":[0]}"#, &[]).await.unwrap();
    });
    both_ways(&mut client, &mut endpoint, "although it is not kept");
    drop(endpoint);
    assert!(client.is_closed());
    assert_eq!(outgoing.has_handed_over().refused, 1);
}
