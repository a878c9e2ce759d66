//! The states of a stream, and the frames that do not fit them.

use crate::frames::*;
use crate::table::{Allowed, CLOSED, FLOW, PROTOCOL, SIZE, get, head, holds, post, row};

#[test]
fn a_frame_that_does_not_fit_the_state_of_its_stream_is_an_error() {
    let idle = "RFC 9113, section 5.1, idle";
    let ids = "RFC 9113, section 5.1.1";
    let half = "RFC 9113, section 5.1, half-closed (remote)";
    let closed = "RFC 9113, section 5.1, closed";
    let another = |stream| headers(stream, END_STREAM, &head("GET", "/x", &[]));
    holds(vec![
        row("DATA on an idle stream", idle).says(data(5, 0, b"hello")).goes_away(PROTOCOL),
        row("RST_STREAM on an idle stream", "RFC 9113, section 6.4").says(reset(5, 8)).goes_away(PROTOCOL),
        row("WINDOW_UPDATE on an idle stream", idle).says(window_update(5, 1)).goes_away(PROTOCOL),
        row("CONTINUATION on an idle stream", "RFC 9113, section 6.10")
            .says(frame(CONTINUATION, END_HEADERS, 5, &block(&head("GET", "/x", &[]))))
            .goes_away(PROTOCOL),
        row("PRIORITY on an idle stream is nothing", "RFC 9113, section 6.3")
            .says(frame(PRIORITY, 0, 5, &[0, 0, 0, 0, 15]))
            .says(get("/x"))
            .passes_with(&[]),
        row("HEADERS on stream 2", ids).says(another(2)).goes_away(PROTOCOL),
        row("DATA on stream 2", ids).says(data(2, END_STREAM, b"hello")).goes_away(PROTOCOL),
        row("HEADERS on a stream below the last", ids)
            .says(another(5))
            .after_end_of(5)
            .says(another(3))
            .of_connection()
            .fails(CLOSED)
            .reaches(&["GET /x HTTP/1.1", "host: a.test"]),
        row("streams may be skipped", ids)
            .says(another(7))
            .says(another(99))
            .of_stream(99)
            .after_end_of(7)
            .passes_with(&[])
            .reaches(&["GET /x HTTP/1.1", "host: a.test"]),
        row("DATA on a stream that the client has ended", half)
            .says(get("/hang"))
            .after_arrival_of(1)
            .says(data(1, END_STREAM, b"hello"))
            .fails(CLOSED)
            .reaches(&["GET /hang HTTP/1.1", "host: a.test", "! gone"]),
        row("HEADERS on a stream that the client has ended", half)
            .says(get("/hang"))
            .after_arrival_of(1)
            .says(another(1))
            .fails(CLOSED)
            .reaches(&["GET /hang HTTP/1.1", "host: a.test", "! gone"]),
        row("WINDOW_UPDATE and PRIORITY on a stream that the client has ended", half)
            .says(get("/hang"))
            .after_arrival_of(1)
            .says(window_update(1, 7))
            .says(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15]))
            .of_connection()
            .allows(&[Allowed::Alive])
            .whatever_reaches(),
        row("DATA on a closed stream", closed)
            .says(get("/x"))
            .after_end_of(1)
            .says(data(1, END_STREAM, b"hello"))
            .of_connection()
            .fails(CLOSED)
            // What is left over may be ignored.
            .allows(&[Allowed::Alive])
            .reaches(&["GET /x HTTP/1.1", "host: a.test"]),
        row("HEADERS on a closed stream", closed)
            .says(get("/x"))
            .after_end_of(1)
            .says(another(1))
            .of_connection()
            .fails(CLOSED)
            // What is left over may be ignored.
            .allows(&[Allowed::Alive])
            .reaches(&["GET /x HTTP/1.1", "host: a.test"]),
        row("DATA after the client's own RST_STREAM", closed)
            .says(post("/x", &[]))
            .after_arrival_of(1)
            .says(reset(1, 8))
            .says(data(1, END_STREAM, b"hello"))
            .of_connection()
            .allows(&[Allowed::Alive, Allowed::Goaway(CLOSED), Allowed::Goaway(PROTOCOL)])
            .nothing_whole(),
        row("WINDOW_UPDATE and RST_STREAM on a closed stream", "RFC 9113, section 5.1, closed")
            .says(get("/x"))
            .after_end_of(1)
            .says(window_update(1, 7))
            .says(reset(1, 8))
            .of_connection()
            .allows(&[Allowed::Alive])
            .reaches(&["GET /x HTTP/1.1", "host: a.test"]),
        row("RST_STREAM twice", closed)
            .says(get("/hang"))
            .after_arrival_of(1)
            .says(reset(1, 8))
            .says(reset(1, 8))
            .of_connection()
            .allows(&[Allowed::Alive])
            .reaches(&["GET /hang HTTP/1.1", "host: a.test", "! gone"]),
    ]);
}

#[test]
fn windows_are_kept() {
    let update = "RFC 9113, section 6.9";
    let most = "RFC 9113, section 6.9.1";
    let gone = ["GET /hang HTTP/1.1", "host: a.test", "! gone"];
    let held = |name: &str, citation| row(name, citation).says(get("/hang")).after_arrival_of(1);
    holds(vec![
        row("an increment of 0 for the connection", update).says(window_update(0, 0)).goes_away(PROTOCOL),
        held("an increment of 0 for a stream", update)
            .says(window_update(1, 0))
            .fails(PROTOCOL)
            .reaches(&gone),
        row("a window of the connection beyond 2^31-1", most)
            .says(window_update(0, 0x7fff_ffff))
            .goes_away(FLOW),
        held("a window of a stream beyond 2^31-1", most)
            .says(window_update(1, 0x7fff_ffff))
            .fails(FLOW)
            .reaches(&gone),
        held("a window of a stream beyond 2^31-1 by SETTINGS", "RFC 9113, section 6.9.2")
            .says(window_update(1, 0x7fff_0000))
            .says(settings(&[(4, 0x7fff_ffff)]))
            .goes_away(FLOW)
            .reaches(&gone),
        row("WINDOW_UPDATE of 3 bytes", update).says(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])).goes_away(SIZE),
        row("WINDOW_UPDATE of 5 bytes", update)
            .says(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1, 0]))
            .goes_away(SIZE),
        row("the reserved bit of an increment", update)
            .says(window_update(0, 0x8000_0001))
            .says(get("/x"))
            .passes_with(&[]),
        row("content that waits for a window", "RFC 9113, section 6.9.2")
            .says(settings(&[(4, 0)]))
            .says(get("/x"))
            .says(window_update(1, 1))
            .says(window_update(1, 1))
            .after_end_of(1)
            .says(settings(&[(4, 65_535)]))
            .passes_with(&[])
            .with(|answer| answer.content == "ok"),
        row("a window that SETTINGS takes below zero", "RFC 9113, section 6.9.2")
            .says(get("/x"))
            .says(settings(&[(4, 0)]))
            .says(settings(&[(4, 10)]))
            .passes_with(&[])
            .with(|answer| answer.content == "ok"),
    ]);
}
