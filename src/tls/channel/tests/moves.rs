//! Two channels over sockets of any width, either of which moves at any moment.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// So much is offered, and the socket takes so much.
    Write(usize, usize),
    Flush(usize),
    /// The socket gives so much at once, and there is so much by then.
    Read(usize, usize),
    Move,
    /// The other side wants our next key (TLS 1.3).
    Asked,
}

fn step() -> impl Strategy<Value = (bool, Step)> {
    let width = prop_oneof![3 => 0..40_usize, 1 => 0..40_000_usize];
    let kind = prop_oneof![
        4 => (1..40_000_usize, width.clone()).prop_map(|(offered, takes)| Step::Write(offered, takes)),
        2 => (1..60_usize, width.clone()).prop_map(|(offered, takes)| Step::Write(offered, takes)),
        1 => width.clone().prop_map(Step::Flush),
        5 => (1..20_000_usize, width).prop_map(|(gives, there)| Step::Read(gives, there)),
        4 => Just(Step::Move),
        1 => Just(Step::Asked),
    ];
    (any::<bool>(), kind)
}

static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(500_000));

/// A side with what it has said and heard.
struct Talker {
    side: Side,
    /// On the wire towards it.
    coming: VecDeque<u8>,
    text: &'static [u8],
    written: usize,
    heard: BytesMut,
}

impl Talker {
    fn new(role: Role, seal: &Seal, first: usize) -> Talker {
        let (coming, heard) = (VecDeque::new(), BytesMut::new());
        Talker { side: Side::new(role, seal), coming, text: &TEXT[first..], written: 0, heard }
    }

    fn write(&mut self, offered: usize, takes: usize) {
        self.side.takes = takes;
        let end = (self.written + offered).min(self.text.len());
        if let Poll::Ready(written) = self.side.write(&self.text[self.written..end]) {
            let written = written.unwrap();
            assert!(self.written + written <= end);
            self.written += written;
        }
    }

    fn read(&mut self, gives: usize, there: usize) {
        self.side.gives = gives;
        let there = there.min(self.coming.len());
        self.side.incoming.bytes.extend(self.coming.drain(..there));
        let before = self.heard.len();
        let mut heard = std::mem::take(&mut self.heard);
        match self.side.fill(&mut heard) {
            Poll::Ready(read) => assert_eq!(heard.len() - before, read.unwrap()),
            Poll::Pending => assert_eq!(heard.len(), before),
        }
        self.heard = heard;
    }
}

fn take(step: Step, talker: &mut Talker) {
    match step {
        Step::Write(offered, takes) => talker.write(offered, takes),
        Step::Flush(takes) => talker.write(0, takes),
        Step::Read(gives, there) => talker.read(gives, there),
        // What the socket holds stays in it.
        Step::Move => talker.side.moves(),
        Step::Asked => talker.side.channel.update_owed = true,
    }
}

fn carry_on(from: &mut Talker, to: &mut Talker) {
    to.coming.append(&mut from.side.outgoing.bytes);
}

fn talk(suite: u16, steps: &[(bool, Step)]) {
    // In TLS 1.3 keys become worn on the way.
    let near = if suite >> 8 == 0x13 { (1 << 24) - (1 << 16) - 3 } else { 5 };
    let (client, server) = seals(suite, near, near + 2);
    let (mut client, mut server) =
        (Talker::new(Role::Client, &client, 0), Talker::new(Role::Server, &server, 100));
    for (is_client, step) in steps {
        if *is_client {
            take(*step, &mut client);
            carry_on(&mut client, &mut server);
        } else {
            take(*step, &mut server);
            carry_on(&mut server, &mut client);
        }
    }
    // What was promised is written, and everything is read, to the end.
    for (from, to) in [(true, false), (false, true)] {
        let (from, to) = if from && !to { (&mut client, &mut server) } else { (&mut server, &mut client) };
        from.write(1_000_000, usize::MAX);
        from.side.takes = usize::MAX;
        assert!(matches!(from.side.shutdown(), Poll::Ready(Ok(()))));
        carry_on(from, to);
        loop {
            let before = to.heard.len();
            to.read(usize::MAX, usize::MAX);
            if to.heard.len() == before {
                break;
            }
        }
        assert!(to.heard == from.text[..from.written], "{suite:x}: {} of {}", to.heard.len(), from.written);
        let mut end = BytesMut::new();
        assert!(matches!(to.side.fill(&mut end), Poll::Ready(Ok(0))) && !to.side.channel.was_cut());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_reordered_whenever_either_side_moves(
        suite in prop::sample::select([&TLS13[..], &TLS12[..]].concat()),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        talk(suite, &steps);
    }
}

#[test]
fn each_byte_may_be_followed_by_a_move_on_both_sides() {
    for suite in TLS13.into_iter().chain(TLS12) {
        let (mut client, mut server) = pair(suite);
        let mut heard = BytesMut::new();
        client.takes = 1;
        while client.write(b"to and fro").is_pending() {
            client.moves();
            carry(&mut client, &mut server);
            assert!(server.fill(&mut heard).is_pending());
            server.moves();
        }
        carry(&mut client, &mut server);
        assert!(matches!(server.fill(&mut heard), Poll::Ready(Ok(10))));
        assert_eq!(heard, b"to and fro"[..]);
    }
}
