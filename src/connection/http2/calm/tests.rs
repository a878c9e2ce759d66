//! Storms that are ended, and the heaviest clients that are not.

use proptest::prelude::*;

use super::*;

/// A frame with a payload of zeros.
fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
    let mut bytes = u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.resize(9 + length, 0);
    bytes
}

fn reset(stream: u32, reason: Reason) -> Vec<u8> {
    let mut bytes = frame(RST_STREAM, 0, stream, 4);
    bytes[9..].copy_from_slice(&u32::from(reason).to_be_bytes());
    bytes
}

/// A client that has begun well.
struct Client {
    meter: Meter,
    now: Instant,
    stream: u32,
}

impl Client {
    fn new() -> Client {
        let now = Instant::now();
        let mut client = Client { meter: Meter::new(now), now, stream: 0 };
        client.sends(&[0; PREFACE as usize]);
        client.sends(&frame(SETTINGS, 0, 0, 18));
        client
    }

    fn sends(&mut self, bytes: &[u8]) {
        self.meter.receive(bytes, self.now);
    }

    fn gets(&mut self, bytes: &[u8]) {
        self.meter.send(bytes, |_, _, _| {});
    }

    /// A request that is whole; its stream.
    fn asks(&mut self) -> u32 {
        self.stream += if self.stream == 0 { 1 } else { 2 };
        self.sends(&frame(HEADERS, FIRST_FLAG | END_HEADERS, self.stream, 40));
        self.stream
    }

    /// A piece of an answer, as it was handed over.
    fn is_answered(&mut self, stream: u32, length: usize, last: bool) {
        self.meter.hand_over(length, last);
        self.gets(&frame(DATA, u8::from(last), stream, length));
    }

    fn waits(&mut self, time: Duration) {
        self.now += time;
    }

    fn is_calm(&self) {
        assert_eq!(self.meter.offence(), None);
    }
}

#[test]
fn each_storm_is_ended_and_nothing_short_of_it() {
    let storms: &[(&str, Vec<u8>, Offence)] = &[
        ("ping", frame(PING, 0, 0, 8), Offence::Ping),
        ("settings", frame(SETTINGS, 0, 0, 6), Offence::Settings),
        ("priority", frame(PRIORITY, 0, 9, 5), Offence::Priority),
        ("priority update", frame(PRIORITY_UPDATE, 0, 0, 5), Offence::Priority),
        ("window update", frame(WINDOW_UPDATE, 0, 0, 4), Offence::WindowUpdate),
        ("reset", frame(RST_STREAM, 0, 1, 4), Offence::Reset),
        ("empty data", frame(DATA, 0, 1, 0), Offence::Empty),
        ("unknown", frame(0xfa, 0, 0, 10), Offence::Other),
        ("unasked pong", frame(PING, FIRST_FLAG, 0, 8), Offence::Other),
        ("goaway", frame(7, 0, 0, 8), Offence::Other),
        ("continuation", frame(CONTINUATION, 0, 1, 3), Offence::Continuation),
    ];
    for (name, frame, offence) in storms {
        let mut client = Client::new();
        let taken = (0..u32::MAX).take_while(|_| {
            client.sends(frame);
            client.meter.offence().is_none()
        });
        let spent = u32::from(*offence == Offence::Settings);
        assert_eq!(taken.count() as u32, BUCKETS[*offence as usize].burst - spent, "{name}");
        assert_eq!(client.meter.offence(), Some(*offence), "{name}");
    }
}

#[test]
fn the_size_of_the_table_changes_twice_in_a_block_and_not_three_times() {
    // RFC 7541, section 4.2; the changes are 0 and 4096, the field is `:method: GET`.
    let (none, all, field) = ([0x20].as_slice(), [0x3f, 0xe1, 0x1f].as_slice(), [0x82].as_slice());
    let block = |flags: u8, parts: &[&[u8]]| {
        let payload = parts.concat();
        let mut frame = frame(HEADERS, flags, 1, payload.len());
        let start = frame.len() - payload.len();
        frame[start..].copy_from_slice(&payload);
        frame
    };
    let table: &[(Vec<u8>, bool)] = &[
        (block(END_HEADERS, &[none, all, field]), true),
        (block(END_HEADERS, &[field, none, none, none]), true),
        (block(END_HEADERS, &[none, all, none, field]), false),
        (block(END_HEADERS | PADDED | PRIORITISED, &[&[0; 6], none, all, field]), true),
        (block(END_HEADERS | PADDED, &[&[0; 1], none, none, none, field]), false),
    ];
    for (frame, calm) in table {
        let mut client = Client::new();
        client.sends(frame);
        assert_eq!(client.meter.offence().is_none(), *calm, "{frame:?}");
        // Each block begins anew.
        client.sends(frame);
        assert_eq!(client.meter.offence().is_none(), *calm, "{frame:?}");
    }
}

#[test]
fn a_storm_that_makes_requests_too_is_one() {
    // Rapid reset: CVE-2023-44487.
    let mut client = Client::new();
    for _ in 0..400 {
        let stream = client.asks();
        client.sends(&reset(stream, Reason::CANCEL));
    }
    assert_eq!(client.meter.offence(), Some(Offence::Reset));
    // Made to reset: CVE-2025-8671.
    let mut client = Client::new();
    for _ in 0..400 {
        let stream = client.asks();
        client.sends(&frame(WINDOW_UPDATE, 0, stream, 4));
        client.gets(&reset(stream, Reason::PROTOCOL_ERROR));
    }
    assert_eq!(client.meter.offence(), Some(Offence::MadeReset));
    // Dribble: CVE-2019-9511.
    let mut client = Client::new();
    let stream = client.asks();
    client.meter.hand_over(64 * 1024, true);
    for _ in 0..2000 {
        client.sends(&frame(WINDOW_UPDATE, 0, stream, 4));
        client.gets(&frame(DATA, 0, stream, 1));
    }
    assert_eq!(client.meter.offence(), Some(Offence::Crumbs));
}

#[test]
fn who_takes_nothing_may_not_go_on_for_ever() {
    let mut client = Client::new();
    for _ in 0..1024 {
        client.meter.block();
        client.asks();
    }
    client.is_calm();
    client.gets(&[0]);
    client.meter.block();
    for _ in 0..1025 {
        client.asks();
        client.sends(&frame(DATA, 0, 1, 1));
    }
    assert_eq!(client.meter.offence(), Some(Offence::Deaf));
}

#[test]
fn the_first_frame_is_settings() {
    for first in [frame(PING, 0, 0, 8), frame(SETTINGS, FIRST_FLAG, 0, 0), frame(HEADERS, 0x5, 1, 3)] {
        let now = Instant::now();
        let mut meter = Meter::new(now);
        meter.receive(&[0; PREFACE as usize], now);
        meter.receive(&first, now);
        assert_eq!(meter.offence(), Some(Offence::NoSettings));
        assert_eq!(Offence::NoSettings.reason(), Reason::PROTOCOL_ERROR);
    }
}

#[test]
fn a_head_is_owed_until_its_last_byte() {
    let mut client = Client::new();
    assert_eq!(client.meter.owed_since(), None);
    client.waits(Duration::from_secs(1));
    let since = Some(client.now);
    client.sends(&frame(HEADERS, FIRST_FLAG, 1, 10));
    client.waits(Duration::from_secs(1));
    let end = frame(CONTINUATION, END_HEADERS, 1, 10);
    for byte in &end {
        assert_eq!(client.meter.owed_since(), since);
        client.sends(&[*byte]);
    }
    assert_eq!(client.meter.owed_since(), None);
    client.is_calm();
    let meter = Meter::new(client.now);
    assert_eq!(meter.owed_since(), Some(client.now), "the first SETTINGS");
}

#[test]
fn a_load_generator_at_full_speed_is_calm() {
    // h2load: 100 streams at a time, a WINDOW_UPDATE for each half of its window.
    let mut client = Client::new();
    for round in 0..100 {
        let streams: Vec<u32> = (0..100).map(|_| client.asks()).collect();
        for stream in streams {
            client.gets(&frame(HEADERS, END_HEADERS, stream, 30));
            client.is_answered(stream, 1024, true);
        }
        if round % 2 == 0 {
            client.sends(&frame(WINDOW_UPDATE, 0, 0, 4));
        }
    }
    client.is_calm();
}

#[test]
fn many_small_messages_with_pings_and_window_updates_are_calm() {
    // gRPC both ways: per message a PING to measure the bandwidth, an update of both windows, and a
    // PING answered; messages queue before they go out.
    let mut client = Client::new();
    let stream = client.asks();
    for _ in 0..3000 {
        client.sends(&frame(DATA, 0, stream, 12));
        for _ in 0..3 {
            client.meter.hand_over(12, false);
        }
        for _ in 0..3 {
            client.gets(&frame(DATA, 0, stream, 12));
            client.sends(&frame(WINDOW_UPDATE, 0, 0, 4));
            client.sends(&frame(WINDOW_UPDATE, 0, stream, 4));
            client.sends(&frame(PING, 0, 0, 8));
        }
    }
    client.is_calm();
    // Keep-alive.
    for _ in 0..1000 {
        client.sends(&frame(PING, 0, 0, 8));
        client.waits(Duration::from_secs(1));
    }
    client.is_calm();
}

#[test]
fn a_large_answer_read_in_small_pieces_through_a_small_window_is_calm() {
    let mut client = Client::new();
    let stream = client.asks();
    for _ in 0..200 {
        // A window of 65535 is four frames, and then the crumb of a piece that did not fit.
        client.meter.hand_over(65_835, false);
        for length in [16_384, 16_384, 16_384, 16_383, 300] {
            client.gets(&frame(DATA, 0, stream, length));
        }
        for _ in 0..64 {
            client.sends(&frame(WINDOW_UPDATE, 0, 0, 4));
            client.sends(&frame(WINDOW_UPDATE, 0, stream, 4));
        }
    }
    client.is_calm();
}

#[test]
fn a_browser_that_changes_its_mind_is_calm() {
    let mut client = Client::new();
    for _ in 0..5 {
        client.sends(&frame(PRIORITY, 0, 3, 5));
    }
    for _page in 0..50 {
        for _ in 0..100 {
            let stream = client.asks();
            client.sends(&frame(PRIORITY_UPDATE, 0, 0, 10));
            client.sends(&reset(stream, Reason::CANCEL));
        }
        client.waits(Duration::from_secs(5));
    }
    client.is_calm();
    // A video that is searched.
    for _ in 0..60 {
        for _ in 0..10 {
            let stream = client.asks();
            client.is_answered(stream, 16_384, false);
            client.sends(&reset(stream, Reason::CANCEL));
        }
        client.waits(Duration::from_secs(1));
    }
    client.is_calm();
}

#[test]
fn a_proxy_with_a_malformed_request_now_and_then_is_calm_for_days() {
    let mut client = Client::new();
    for _ in 0..1000 {
        for _ in 0..20 {
            let stream = client.asks();
            client.is_answered(stream, 100, true);
        }
        client.asks();
        client.gets(&reset(client.stream, Reason::PROTOCOL_ERROR));
    }
    client.is_calm();
}

#[test]
fn what_hitless_resets_itself_is_nobodys_offence() {
    let mut client = Client::new();
    for reason in [Reason::NO_ERROR, Reason::INTERNAL_ERROR, Reason::CANCEL] {
        for _ in 0..1000 {
            client.asks();
            client.gets(&reset(client.stream, reason));
        }
    }
    client.is_calm();
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    (0u8..18, any::<u8>(), 0u32..9, 0usize..40)
        .prop_map(|(kind, flags, stream, length)| frame(kind, flags, stream, length))
}

proptest! {
    #[test]
    fn nothing_depends_on_how_the_bytes_are_cut(
        frames in prop::collection::vec(any_frame(), 0..60),
        cuts in prop::collection::vec(1usize..50, 1..20),
    ) {
        let now = Instant::now();
        let bytes = frames.concat();
        let mut all = vec![0; PREFACE as usize];
        all.extend(frame(SETTINGS, 0, 0, 6));
        all.extend(&bytes);
        let (mut whole, mut cut) = (Meter::new(now), Meter::new(now));
        whole.receive(&all, now);
        whole.send(&bytes, |_, _, _| {});
        let mut cuts = cuts.iter().cycle();
        let mut rest = &all[..];
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            cut.receive(piece, now);
            rest = left;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            cut.send(piece, |_, _, _| {});
            rest = left;
        }
        prop_assert_eq!(whole.levels, cut.levels);
        prop_assert_eq!(whole.offence(), cut.offence());
        prop_assert_eq!(whole.owed_since(), cut.owed_since());
        prop_assert_eq!((whole.opened(), whole.due_crumbs), (cut.opened(), cut.due_crumbs));
    }
}
