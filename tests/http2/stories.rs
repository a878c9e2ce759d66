//! What takes more than one look: tunnels, expectations, limits of streams, a client that leaves.

use crate::client::{Client, Outcome};
use crate::daemon::eventually;
use crate::frames::*;
use crate::table::{
    Allowed, CANCEL, CLOSED, FLOW, NO_ERROR, PROTOCOL, REFUSED, Stage, head, head_at, holds, row,
};

#[test]
fn a_tunnel_is_asked_for_in_one_way_only() {
    let connect = "RFC 9113, section 8.5";
    let extended = "RFC 8441, section 4";
    let none = [Allowed::Reset(PROTOCOL), Allowed::Status(400)];
    let refused = [Allowed::Status(405), Allowed::Status(501), Allowed::Status(400), Allowed::Status(403)];
    const CONNECT: Field = (":method", "CONNECT");
    const AUTHORITY: Field = (":authority", "a.test:80");
    const SCHEME: Field = (":scheme", "http");
    const PATH: Field = (":path", "/ws");
    const WEBSOCKET: Field = (":protocol", "websocket");
    holds(vec![
        row("CONNECT where no route allows it", connect)
            .says(headers(1, 0, &[CONNECT, AUTHORITY]))
            .allows(&refused),
        row("CONNECT with :path", connect).says(headers(1, 0, &[CONNECT, AUTHORITY, PATH])).allows(&none),
        row("CONNECT with :scheme", connect).says(headers(1, 0, &[CONNECT, AUTHORITY, SCHEME])).allows(&none),
        row("CONNECT with both", connect)
            .says(headers(1, 0, &[CONNECT, AUTHORITY, SCHEME, PATH]))
            .allows(&none),
        row("CONNECT without :authority", connect).says(headers(1, 0, &[CONNECT])).allows(&none),
        row("CONNECT with CR LF in :authority", connect)
            .says(headers(1, 0, &[CONNECT, (":authority", "a.test:80\r\nx: y")]))
            .allows(&none),
        row(":protocol of a GET", extended)
            .says(headers(1, END_STREAM, &[(":method", "GET"), SCHEME, PATH, AUTHORITY, WEBSOCKET]))
            .allows(&none),
        row(":protocol without :path", extended)
            .says(headers(1, 0, &[CONNECT, SCHEME, AUTHORITY, WEBSOCKET]))
            .allows(&none),
        row(":protocol without :scheme", extended)
            .says(headers(1, 0, &[CONNECT, PATH, AUTHORITY, WEBSOCKET]))
            .allows(&none),
        row(":protocol twice", extended)
            .says(headers(1, 0, &[CONNECT, SCHEME, PATH, AUTHORITY, WEBSOCKET, WEBSOCKET]))
            .allows(&none),
        row(":protocol h2c", "RFC 9113, section 3.1")
            .says(headers(1, 0, &[CONNECT, SCHEME, PATH, AUTHORITY, (":protocol", "h2c")]))
            .allows(&refused),
        row(":protocol with CR LF", "RFC 9113, section 8.2.1")
            .says(headers(1, 0, &[CONNECT, SCHEME, PATH, AUTHORITY, (":protocol", "x\r\ny: z")]))
            .allows(&none)
            .allows(&refused),
        row("an empty :protocol", extended)
            .says(headers(1, 0, &[CONNECT, SCHEME, PATH, AUTHORITY, (":protocol", "")]))
            .allows(&none)
            .allows(&refused),
    ]);
}

/// RFC 8441, section 5; RFC 9110, section 7.8: over HTTP/1.1 it is an upgrade, said to the letter.
#[test]
fn an_extended_connect_is_an_upgrade_at_the_endpoint() {
    let stage = Stage::new();
    stage
        .book
        .script(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x-lines\r\n\r\nhello");
    let mut client = Client::to(&stage.address);
    assert_eq!(client.settings.get(&8), Some(&1), "SETTINGS_ENABLE_CONNECT_PROTOCOL");
    client.say(&headers(
        1,
        0,
        &[
            (":method", "CONNECT"),
            (":scheme", "http"),
            (":path", "/scripted"),
            (":authority", "a.test"),
            (":protocol", "x-lines"),
        ],
    ));
    let Outcome::Answer(answer) = client.outcome(1) else { panic!("no answer") };
    assert_eq!((answer.status, answer.content.as_str()), (200, "hello"), "{answer:?}");
    assert!(answer.field("upgrade").is_none() && answer.field("connection").is_none(), "{answer:?}");
    let received = stage.book.take();
    assert_eq!(
        received[0].lines,
        ["GET /scripted HTTP/1.1", "connection: upgrade", "host: a.test", "upgrade: x-lines",]
    );
}

/// RFC 9110, section 10.1.1: the endpoint is asked first, and its 100 is the client's.
#[test]
fn an_expectation_goes_to_the_endpoint_and_its_100_comes_back() {
    let stage = Stage::new();
    let mut client = Client::to(&stage.address);
    client.say(&headers(1, 0, &head("POST", "/x", &[("expect", "100-continue"), ("content-length", "5")])));
    assert!(client.interim(1, 100), "100 (Continue)");
    client.say(&data(1, END_STREAM, b"hello"));
    let Outcome::Answer(answer) = client.outcome(1) else { panic!("no answer") };
    assert_eq!((answer.status, answer.interim), (200, vec![100]));
    let received = stage.book.take();
    assert_eq!(
        received[0].lines,
        ["POST /x HTTP/1.1", "content-length: 5", "expect: 100-continue", "host: a.test", "= hello",]
    );
}

/// RFC 9113, section 8.1: who waits for it is told to stop, a while after an answer of either kind.
#[test]
fn an_early_answer_is_followed_by_a_reset_without_an_error_when_nothing_more_comes() {
    let stage = Stage::new();
    let mut client = Client::to(&stage.address);
    client.say(&headers(1, 0, &head("POST", "/early", &[("content-length", "10")])));
    client.say(&headers(3, 0, &head_at("nobody.test", "POST", "/", &[("content-length", "10")])));
    for (stream, status) in [(1, 200), (3, 421)] {
        let Outcome::Answer(answer) = client.outcome(stream) else { panic!("no answer") };
        assert_eq!((answer.status, answer.broken), (status, None));
        assert_eq!(client.reset_of(stream), Some(NO_ERROR));
    }
}

/// RFC 9113, section 8.1: an answer may come before the end of the request; the rest is no longer wanted.
#[test]
fn an_early_answer_is_whole() {
    let stage = Stage::new();
    let mut client = Client::to(&stage.address);
    client.say(&headers(1, 0, &head("POST", "/early", &[("content-length", "10")])));
    client.say(&data(1, 0, b"hello"));
    let Outcome::Answer(answer) = client.outcome(1) else { panic!("no answer") };
    assert_eq!((answer.status, answer.content.as_str(), answer.broken), (200, "ok", None));
    client.say(&data(1, END_STREAM, b"world"));
    client.get(3, "a.test", "/x");
    assert!(matches!(client.outcome(3), Outcome::Answer(answer) if answer.status == 200));
}

/// RFC 9113, section 5.1.2: those above the limit are refused, those below are served.
#[test]
fn a_stream_above_the_limit_is_refused() {
    let stage = Stage::new();
    let mut client = Client::to(&stage.address);
    let most = *client.settings.get(&3).expect("SETTINGS_MAX_CONCURRENT_STREAMS");
    assert!((100..=1000).contains(&most), "RFC 9113, section 6.5.2: no smaller than 100");
    for stream in 0..most {
        client.get(2 * stream + 1, "a.test", "/hang");
    }
    client.get(2 * most + 1, "a.test", "/x");
    let refused = client.outcome(2 * most + 1);
    assert!(matches!(refused, Outcome::Reset(REFUSED | PROTOCOL)), "{refused:?}");
    client.say(&reset(1, 8));
    client.get(2 * most + 3, "a.test", "/x");
    let served = client.outcome(2 * most + 3);
    assert!(matches!(&served, Outcome::Answer(answer) if answer.status == 200), "{served:?}");
    let paths: Vec<_> = stage.book.take().iter().map(|one| one.lines[0].clone()).collect();
    assert_eq!(paths.iter().filter(|line| *line == "GET /x HTTP/1.1").count(), 1, "{paths:?}");
}

/// RFC 9113, section 6.9.1: who sends more than the window is told so, and nothing grows without end.
#[test]
fn a_client_that_ignores_the_window_is_stopped() {
    let stage = Stage::new();
    let mut client = Client::to(&stage.address);
    client.say(&headers(1, 0, &head("POST", "/deaf", &[])));
    assert!(stage.book.until(|records| !records.is_empty()));
    let mut writer = client.socket.try_clone().unwrap();
    let flood = std::thread::spawn(move || {
        let frame = data(1, 0, &[0; 16_384]);
        // What fills all buffers on the way, and then the window.
        (0..4096).all(|_| std::io::Write::write_all(&mut writer, &frame).is_ok())
    });
    let outcome = client.outcome(1);
    assert!(matches!(outcome, Outcome::Reset(FLOW | CLOSED) | Outcome::Goaway(FLOW)), "{outcome:?}");
    drop(client);
    flood.join().unwrap();
}

/// RFC 9113, section 6.8: what a client has begun before its GOAWAY is answered.
#[test]
fn a_client_that_leaves_gets_its_answers() {
    let stage = Stage::new();
    let mut client = Client::to(&stage.address);
    client.say(&headers(1, 0, &head("POST", "/x", &[])));
    assert!(stage.book.until(|records| !records.is_empty()));
    client.say(&frame(GOAWAY, 0, 0, &[0; 8]));
    client.say(&data(1, END_STREAM, b"hello"));
    let outcome = client.outcome(1);
    assert!(matches!(&outcome, Outcome::Answer(answer) if answer.status == 200), "{outcome:?}");
    client.closes();
}

/// RFC 9113, section 6.7: with the same eight bytes, and before anything else that waits.
#[test]
fn a_ping_is_answered_with_its_own_bytes() {
    let stage = Stage::new();
    let mut client = Client::to(&stage.address);
    client.say(&ping(0, *b"12345678")).say(&ping(0, *b"abcdefgh"));
    assert_eq!(client.outcome(0), Outcome::Alive);
    assert_eq!(client.pongs, [b"12345678", b"abcdefgh", b"barrier!"]);
}

/// RFC 9113, section 6.5.3: each SETTINGS is acknowledged.
#[test]
fn each_settings_frame_is_acknowledged() {
    let stage = Stage::new();
    let mut client = Client::to(&stage.address);
    client.say(&settings(&[(4, 1000)])).say(&settings(&[]));
    assert_eq!(client.outcome(0), Outcome::Alive);
    assert_eq!(client.acks, 3);
}

/// RFC 9113, section 10.5: who opens no window for its answer is given up, and its other streams go on.
#[test]
fn an_answer_that_is_not_taken_is_broken_off() {
    let stage = Stage::new();
    let mut client = Client::to(&stage.address);
    client.say(&settings(&[(4, 0)]));
    client.get(1, "hasty.test", "/stream");
    let outcome = client.outcome(1);
    assert!(matches!(&outcome, Outcome::Answer(answer) if answer.broken == Some(CANCEL)), "{outcome:?}");
    eventually(|| stage.log().contains("limits.answer-rate").then_some(()));
    client.get(3, "a.test", "/x").say(&window_update(3, 100));
    assert!(matches!(client.outcome(3), Outcome::Answer(answer) if answer.content == "ok"));
}

/// RFC 9113, section 5: a stream whose answer nobody reads does not hold up the others.
#[test]
fn a_stream_without_a_window_does_not_hold_up_another() {
    let stage = Stage::new();
    let mut client = Client::to(&stage.address);
    client.say(&settings(&[(4, 0)]));
    client.get(1, "a.test", "/stream");
    assert_eq!(client.head(1), 200);
    client.get(3, "a.test", "/x").say(&window_update(3, 100));
    let outcome = client.outcome(3);
    assert!(matches!(&outcome, Outcome::Answer(answer) if answer.content == "ok"), "{outcome:?}");
    assert_eq!(client.received(1), 0);
}
