//! Storms that are ended, and the heaviest clients that are not.

use super::*;

/// The head of a frame.
fn frame(kind: Kind, flags: u8, stream: u32, length: u32) -> Head {
    Head { length, kind, flags, stream }
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
        client.sends(frame(Kind::Settings, 0, 0, 18));
        client
    }

    /// A whole frame.
    fn sends(&mut self, head: Head) {
        self.meter.drain(self.now);
        self.meter.begins(head, self.now);
        self.meter.ends(head);
    }

    fn gets(&mut self, head: Head) {
        self.meter.unblock();
        self.meter.sent(head);
    }

    fn cancels(&mut self, stream: u32) {
        self.sends(frame(Kind::Reset, 0, stream, 4));
    }

    /// A request that is whole; its stream.
    fn asks(&mut self) -> u32 {
        self.stream += if self.stream == 0 { 1 } else { 2 };
        self.sends(frame(Kind::Headers, END_STREAM | END_HEADERS, self.stream, 40));
        self.stream
    }

    /// A piece of an answer, as it was handed over.
    fn is_answered(&mut self, stream: u32, length: u32, last: bool) {
        self.meter.hand_over(length as usize, last);
        self.gets(frame(Kind::Data, u8::from(last), stream, length));
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
    let storms: &[(&str, Head, Offence)] = &[
        ("ping", frame(Kind::Ping, 0, 0, 8), Offence::Ping),
        ("settings", frame(Kind::Settings, 0, 0, 6), Offence::Settings),
        ("priority", frame(Kind::Priority, 0, 9, 5), Offence::Priority),
        ("priority update", frame(Kind::PriorityUpdate, 0, 0, 5), Offence::Priority),
        ("window update", frame(Kind::WindowUpdate, 0, 0, 4), Offence::WindowUpdate),
        ("reset", frame(Kind::Reset, 0, 1, 4), Offence::Reset),
        ("empty data", frame(Kind::Data, 0, 1, 0), Offence::Empty),
        ("unknown", frame(Kind::Unknown(0xfa), 0, 0, 10), Offence::Other),
        ("unasked pong", frame(Kind::Ping, ACK, 0, 8), Offence::Other),
        ("goaway", frame(Kind::GoAway, 0, 0, 8), Offence::Other),
        ("continuation", frame(Kind::Continuation, 0, 1, 3), Offence::Continuation),
    ];
    for (name, frame, offence) in storms {
        let mut client = Client::new();
        let taken = (0..u32::MAX).take_while(|_| {
            client.sends(*frame);
            client.meter.offence().is_none()
        });
        let spent = u32::from(*offence == Offence::Settings);
        assert_eq!(taken.count() as u32, BUCKETS[*offence as usize].burst - spent, "{name}");
        assert_eq!(client.meter.offence(), Some(*offence), "{name}");
    }
}

/// RFC 7541, section 4.2.
#[test]
fn the_size_of_the_table_changes_twice_in_a_block_and_not_three_times() {
    let mut client = Client::new();
    // Each block begins anew.
    for changes in [2, 0, 1, 2, 2] {
        client.meter.resizes(changes);
        client.is_calm();
    }
    client.meter.resizes(3);
    assert_eq!(client.meter.offence(), Some(Offence::TableSize));
}

#[test]
fn a_storm_that_makes_requests_too_is_one() {
    // Rapid reset: CVE-2023-44487.
    let mut client = Client::new();
    for _ in 0..400 {
        let stream = client.asks();
        client.cancels(stream);
    }
    assert_eq!(client.meter.offence(), Some(Offence::Reset));
    // Made to reset: CVE-2025-8671.
    let mut client = Client::new();
    for _ in 0..400 {
        let stream = client.asks();
        client.sends(frame(Kind::WindowUpdate, 0, stream, 4));
        client.meter.resets(Reason::PROTOCOL_ERROR);
    }
    assert_eq!(client.meter.offence(), Some(Offence::MadeReset));
    // Dribble: CVE-2019-9511.
    let mut client = Client::new();
    let stream = client.asks();
    client.meter.hand_over(64 * 1024, true);
    for _ in 0..2000 {
        client.sends(frame(Kind::WindowUpdate, 0, stream, 4));
        client.gets(frame(Kind::Data, 0, stream, 1));
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
    client.meter.unblock();
    client.meter.block();
    for _ in 0..1025 {
        client.asks();
        client.sends(frame(Kind::Data, 0, 1, 1));
    }
    assert_eq!(client.meter.offence(), Some(Offence::Deaf));
}

#[test]
fn the_first_frame_is_settings() {
    for first in
        [frame(Kind::Ping, 0, 0, 8), frame(Kind::Settings, ACK, 0, 0), frame(Kind::Headers, 0x5, 1, 3)]
    {
        let now = Instant::now();
        let mut meter = Meter::new(now);
        meter.begins(first, now);
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
    client.sends(frame(Kind::Headers, END_STREAM, 1, 10));
    client.waits(Duration::from_secs(1));
    let end = frame(Kind::Continuation, END_HEADERS, 1, 10);
    client.meter.begins(end, client.now);
    assert_eq!(client.meter.owed_since(), since);
    client.meter.ends(end);
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
            client.gets(frame(Kind::Headers, END_HEADERS, stream, 30));
            client.is_answered(stream, 1024, true);
        }
        if round % 2 == 0 {
            client.sends(frame(Kind::WindowUpdate, 0, 0, 4));
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
        client.sends(frame(Kind::Data, 0, stream, 12));
        for _ in 0..3 {
            client.meter.hand_over(12, false);
        }
        for _ in 0..3 {
            client.gets(frame(Kind::Data, 0, stream, 12));
            client.sends(frame(Kind::WindowUpdate, 0, 0, 4));
            client.sends(frame(Kind::WindowUpdate, 0, stream, 4));
            client.sends(frame(Kind::Ping, 0, 0, 8));
        }
    }
    client.is_calm();
    // Keep-alive.
    for _ in 0..1000 {
        client.sends(frame(Kind::Ping, 0, 0, 8));
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
            client.gets(frame(Kind::Data, 0, stream, length));
        }
        for _ in 0..64 {
            client.sends(frame(Kind::WindowUpdate, 0, 0, 4));
            client.sends(frame(Kind::WindowUpdate, 0, stream, 4));
        }
    }
    client.is_calm();
}

#[test]
fn a_browser_that_changes_its_mind_is_calm() {
    let mut client = Client::new();
    for _ in 0..5 {
        client.sends(frame(Kind::Priority, 0, 3, 5));
    }
    for _page in 0..50 {
        for _ in 0..100 {
            let stream = client.asks();
            client.sends(frame(Kind::PriorityUpdate, 0, 0, 10));
            client.cancels(stream);
        }
        client.waits(Duration::from_secs(5));
    }
    client.is_calm();
    // A video that is searched.
    for _ in 0..60 {
        for _ in 0..10 {
            let stream = client.asks();
            client.is_answered(stream, 16_384, false);
            client.cancels(stream);
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
        client.meter.resets(Reason::PROTOCOL_ERROR);
    }
    client.is_calm();
}

#[test]
fn what_hitless_resets_itself_is_nobodys_offence() {
    let mut client = Client::new();
    for reason in [Reason::NO_ERROR, Reason::INTERNAL_ERROR, Reason::CANCEL] {
        for _ in 0..1000 {
            client.asks();
            client.meter.resets(reason);
        }
    }
    client.is_calm();
}
