//! Frames of the connection: settings, pings, field blocks in pieces, sizes, compression.

use crate::frames::*;
use crate::table::{Allowed, COMPRESSION, FLOW, PROTOCOL, SIZE, get, head, holds, post, row};

#[test]
fn settings_are_taken_to_the_letter() {
    let values = "RFC 9113, section 6.5.2";
    let form = "RFC 9113, section 6.5";
    let passes = |name: &str, citation, values: &[(u16, u32)]| {
        row(name, citation).says(settings(values)).says(get("/x")).passes_with(&[])
    };
    holds(vec![
        row("ENABLE_PUSH 2", values).says(settings(&[(2, 2)])).goes_away(PROTOCOL),
        row("INITIAL_WINDOW_SIZE 2^31", values).says(settings(&[(4, 1 << 31)])).goes_away(FLOW),
        row("MAX_FRAME_SIZE 16,383", values).says(settings(&[(5, 16_383)])).goes_away(PROTOCOL),
        row("MAX_FRAME_SIZE 2^24", values).says(settings(&[(5, 1 << 24)])).goes_away(PROTOCOL),
        row("ENABLE_CONNECT_PROTOCOL 2", "RFC 8441, section 3").says(settings(&[(8, 2)])).goes_away(PROTOCOL),
        row("of 5 bytes", form).says(frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0])).goes_away(SIZE),
        row("an acknowledgement with a payload", form).says(frame(SETTINGS, ACK, 0, &[0; 6])).goes_away(SIZE),
        row("on a stream", form).says(frame(SETTINGS, 0, 1, &[])).goes_away(PROTOCOL),
        passes("one that nobody knows", values, &[(0xf000, 7), (0x7, 1)]),
        passes("ENABLE_PUSH 1", values, &[(2, 1)]),
        passes("MAX_FRAME_SIZE 2^24-1", values, &[(5, (1 << 24) - 1)]),
        passes("INITIAL_WINDOW_SIZE 2^31-1", values, &[(4, (1 << 31) - 1)]),
        passes("one several times", form, &[(4, 0), (4, 65_535)]),
        passes("MAX_CONCURRENT_STREAMS 0, which is about pushes", values, &[(3, 0)]),
        passes("no value at all", form, &[]),
        row("a preface without SETTINGS", "RFC 9113, section 3.4")
            .says_only(&[PREFACE, &ping(0, [0; 8])].concat())
            .allows(&[Allowed::Goaway(PROTOCOL), Allowed::Closed]),
        row("a preface and then HTTP/1.1", "RFC 9113, section 3.4")
            .says_only(&[PREFACE, b"GET /evil HTTP/1.1\r\nhost: a.test\r\n\r\n"].concat())
            .allows(&[Allowed::Goaway(PROTOCOL), Allowed::Goaway(SIZE), Allowed::Closed]),
        row("a preface that is none", "RFC 9113, section 3.4")
            .says_only(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
            .allows(&[Allowed::Goaway(PROTOCOL), Allowed::Closed]),
    ]);
}

#[test]
fn pings_priorities_and_what_nobody_knows() {
    let ping_ = "RFC 9113, section 6.7";
    let unknown = "RFC 9113, section 5.5";
    let priority = "RFC 9113, sections 5.3.2 and 6.3";
    let passes = |name: &str, citation, bytes: Vec<u8>| {
        row(name, citation).says(bytes).says(get("/x")).passes_with(&[])
    };
    let itself = [Allowed::Status(200), Allowed::Reset(PROTOCOL), Allowed::Goaway(PROTOCOL)];
    holds(vec![
        row("PING of 7 bytes", ping_).says(frame(PING, 0, 0, &[0; 7])).goes_away(SIZE),
        row("PING of 9 bytes", ping_).says(frame(PING, 0, 0, &[0; 9])).goes_away(SIZE),
        row("PING on a stream", ping_).says(frame(PING, 0, 1, &[0; 8])).goes_away(PROTOCOL),
        passes("an answer to no PING", ping_, ping(ACK, *b"whatever")),
        passes("a frame of an unknown kind", unknown, frame(0xbb, 0xff, 0, b"hello")),
        passes("a frame of an unknown kind on an idle stream", unknown, frame(0xbb, 0xff, 9, b"hello")),
        passes("unknown flags", "RFC 9113, section 4.1", frame(PING, 0xfe, 0, &[0; 8])),
        passes("the reserved bit of the stream", "RFC 9113, section 4.1", frame(PING, 0, 1 << 31, &[0; 8])),
        row("PRIORITY on stream 0", priority)
            .says(frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 15]))
            .goes_away(PROTOCOL),
        row("PRIORITY of 4 bytes", "RFC 9113, section 6.3")
            .says(post("/hang", &[]))
            .says(frame(PRIORITY, 0, 1, &[0; 4]))
            .fails(SIZE)
            .whatever_reaches(),
        row(
            "PRIORITY of a stream that depends on itself",
            "RFC 7540, section 5.3.1; RFC 9113, section 5.3.2",
        )
        .says(frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 15]))
        .says(get("/x"))
        .allows(&itself)
        .reaches(&["GET /x HTTP/1.1", "host: a.test"]),
        row("HEADERS of a stream that depends on itself", "RFC 7540, section 5.3.1; RFC 9113, section 5.3.2")
            .says({
                let block = [&[0, 0, 0, 1, 15][..], &block(&head("GET", "/x", &[]))].concat();
                frame(HEADERS, PRIORITISED | END_HEADERS | END_STREAM, 1, &block)
            })
            .allows(&itself)
            .reaches(&["GET /x HTTP/1.1", "host: a.test"]),
        row("PUSH_PROMISE of a client", "RFC 9113, section 8.4")
            .says(frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]))
            .goes_away(PROTOCOL),
        row("GOAWAY on a stream", "RFC 9113, section 6.8")
            .says(frame(GOAWAY, 0, 1, &[0; 8]))
            .goes_away(PROTOCOL),
        row("GOAWAY of 7 bytes", "RFC 9113, sections 4.2 and 6.8")
            .says(frame(GOAWAY, 0, 0, &[0; 7]))
            .goes_away(SIZE),
    ]);
}

#[test]
fn a_field_block_is_one_even_in_pieces() {
    let block_ = "RFC 9113, section 6.10";
    let whole = block(&head("GET", "/x", &[("x-a", "b")]));
    let (one, rest) = whole.split_at(20);
    let (two, three) = rest.split_at(20);
    let begun = |name: &str| row(name, block_).says(frame(HEADERS, END_STREAM, 1, one));
    let ended = frame(CONTINUATION, END_HEADERS, 1, rest);
    holds(vec![
        begun("in three pieces")
            .says(frame(CONTINUATION, 0, 1, two))
            .says(frame(CONTINUATION, END_HEADERS, 1, three))
            .passes_with(&["x-a: b"]),
        row("with an empty first piece", block_)
            .says(frame(HEADERS, END_STREAM, 1, b""))
            .says(frame(CONTINUATION, END_HEADERS, 1, &whole))
            .passes_with(&["x-a: b"]),
        begun("with an empty last piece")
            .says(frame(CONTINUATION, 0, 1, rest))
            .says(frame(CONTINUATION, END_HEADERS, 1, b""))
            .passes_with(&["x-a: b"]),
        begun("with DATA inside").says(data(1, 0, b"hello")).goes_away(PROTOCOL),
        begun("with PING inside").says(ping(0, [0; 8])).says(ended.clone()).goes_away(PROTOCOL),
        begun("with SETTINGS inside").says(settings(&[])).says(ended.clone()).goes_away(PROTOCOL),
        begun("with WINDOW_UPDATE inside").says(window_update(0, 1)).says(ended.clone()).goes_away(PROTOCOL),
        begun("with RST_STREAM inside").says(reset(1, 8)).goes_away(PROTOCOL),
        begun("with another stream's HEADERS inside")
            .says(headers(3, END_STREAM, &head("GET", "/x", &[])))
            .goes_away(PROTOCOL),
        begun("with another stream's CONTINUATION")
            .says(frame(CONTINUATION, END_HEADERS, 3, rest))
            .goes_away(PROTOCOL),
        begun("with an unknown frame inside")
            .says(frame(0xbb, 0, 1, b"x"))
            .says(ended.clone())
            .goes_away(PROTOCOL),
        row("CONTINUATION of nothing", block_)
            .says(frame(CONTINUATION, END_HEADERS, 1, &whole))
            .goes_away(PROTOCOL),
        row("CONTINUATION on stream 0", block_)
            .says(frame(CONTINUATION, END_HEADERS, 0, &whole))
            .goes_away(PROTOCOL),
        row("CONTINUATION after the end of the block", block_)
            .says(headers(1, 0, &head("POST", "/hang", &[])))
            .says(frame(CONTINUATION, END_HEADERS, 1, &whole))
            .goes_away(PROTOCOL)
            .nothing_whole(),
        row("HEADERS on stream 0", "RFC 9113, section 6.2")
            .says(frame(HEADERS, 5, 0, &whole))
            .goes_away(PROTOCOL),
        row("DATA on stream 0", "RFC 9113, section 6.1").says(data(0, 0, b"hello")).goes_away(PROTOCOL),
        row("RST_STREAM on stream 0", "RFC 9113, section 6.4").says(reset(0, 8)).goes_away(PROTOCOL),
        row("RST_STREAM of 3 bytes", "RFC 9113, section 6.4")
            .says(post("/x", &[]))
            .says(frame(RST_STREAM, 0, 1, &[0; 3]))
            .goes_away(SIZE)
            .nothing_whole(),
    ]);
}

#[test]
fn a_frame_is_no_larger_than_was_said() {
    let size = "RFC 9113, section 4.2";
    let large = vec![0; 16_385];
    holds(vec![
        row("DATA of 16,385 bytes", size)
            .says(post("/x", &[]))
            .says(data(1, END_STREAM, &large))
            .fails(SIZE)
            .nothing_whole(),
        row("HEADERS of 16,385 bytes", size).says(frame(HEADERS, 5, 1, &large)).goes_away(SIZE),
        row("SETTINGS of 16,386 bytes", size).says(frame(SETTINGS, 0, 0, &[0; 16_386])).goes_away(SIZE),
        row("CONTINUATION of 16,385 bytes", size)
            .says(frame(HEADERS, END_STREAM, 1, &block(&head("GET", "/x", &[]))))
            .says(frame(CONTINUATION, END_HEADERS, 1, &large))
            .goes_away(SIZE),
        row("an unknown frame of 16,385 bytes", size)
            .says(frame(0xbb, 0, 0, &large))
            .of_connection()
            .allows(&[Allowed::Goaway(SIZE), Allowed::Alive]),
        row("DATA of 16,384 bytes", size)
            .says(post("/x", &[]))
            .says(data(1, END_STREAM, &vec![b'x'; 16_384]))
            .passes(&["POST /x HTTP/1.1", "host: a.test", "transfer-encoding: chunked", "= 16384 bytes"]),
    ]);
}

#[test]
fn a_field_block_that_cannot_be_read_ends_the_connection() {
    let compression = "RFC 9113, section 4.3; RFC 7541";
    let bad = |name: &str, more: &[u8]| {
        let block = [&block(&head("GET", "/x", &[])), more].concat();
        row(name, compression).says(frame(HEADERS, 5, 1, &block)).goes_away(COMPRESSION)
    };
    let good = |name: &str, before: &[u8]| {
        let block = [before, &block(&head("GET", "/x", &[]))].concat();
        row(name, "RFC 7541, section 4.2").says(frame(HEADERS, 5, 1, &block)).passes_with(&[])
    };
    holds(vec![
        bad("index 0 (RFC 7541, section 6.1)", &[0x80]),
        bad("an index beyond both tables (section 2.3.3)", &[0xff, 0x80, 0x01]),
        bad("a name index beyond both tables (section 2.3.3)", &[0x0f, 0x7f, 1, b'a']),
        bad("a literal that breaks off", &[0, 3, b'x']),
        bad("a literal without a value", &[0, 1, b'x']),
        bad("an integer that breaks off (section 5.1)", &[0xff]),
        bad(
            "an integer without end (section 5.1)",
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ),
        bad("a Huffman code with EOS (section 5.2)", &[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
        bad("Huffman padding of more than 7 bits (section 5.2)", &[0, 1, b'x', 0x82, 0x1f, 0xff]),
        bad("Huffman padding of zeros (section 5.2)", &[0, 1, b'x', 0x81, 0x18]),
        bad("a table size update at the end (section 4.2)", &[0x20]),
        row("a table size update beyond the setting (section 6.3)", compression)
            .says(frame(HEADERS, 5, 1, &[&[0x3f, 0xe2, 0x1f][..], &block(&head("GET", "/x", &[]))].concat()))
            .goes_away(COMPRESSION),
        good("a table size update at the beginning", &[0x20]),
        good("two table size updates at the beginning", &[0x20, 0x3f, 0xe1, 0x1f]),
        row("a block of trailers that cannot be read", compression)
            .says(post("/hang", &[]))
            .says(frame(HEADERS, 5, 1, &[0x80]))
            .goes_away(COMPRESSION)
            .nothing_whole(),
    ]);
}
