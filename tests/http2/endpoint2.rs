//! An endpoint of HTTP/2 with prior knowledge that notes what it is asked, and answers in frames of its own.

use std::collections::BTreeMap;
use std::io::Write;

use crate::ears::{Ear, Ears};
use crate::endpoint::{Book, noted};
use crate::frames::*;
use crate::hpack::Decoder;

/// Where it listens, and its book; the request line is noted as `GET /x HTTP/2`.
pub fn start() -> (String, Book) {
    let ears = Ears::listening();
    let (address, book) = (ears.address(), Book::of(ears.clone()));
    let notes = book.clone();
    std::thread::spawn(move || {
        loop {
            let (socket, book) = (ears.accept(), notes.clone());
            std::thread::spawn(move || _ = serve(socket, &book));
        }
    });
    (address, book)
}

#[derive(Default)]
struct Stream {
    place: usize,
    path: String,
    content: String,
    open: bool,
}

fn serve(mut socket: Ear, book: &Book) -> std::io::Result<()> {
    let mut preface = [0; 24];
    std::io::Read::read_exact(&mut socket, &mut preface)?;
    assert_eq!(preface, PREFACE);
    socket.write_all(&settings(&[(1, 0)]))?;
    let mut decoder = Decoder::default();
    let mut streams = BTreeMap::<u32, Stream>::new();
    while let Some(mut frame) = Frame::read(&mut socket)? {
        match frame.kind {
            SETTINGS if !frame.has(ACK) => socket.write_all(&crate::frames::frame(SETTINGS, ACK, 0, &[]))?,
            PING if !frame.has(ACK) => {
                socket.write_all(&crate::frames::frame(PING, ACK, 0, &frame.payload))?
            }
            HEADERS => {
                while !frame.has(END_HEADERS) {
                    let Some(more) = Frame::read(&mut socket)? else { return Ok(()) };
                    frame.payload.extend(more.payload);
                    frame.flags |= more.flags & END_HEADERS;
                }
                let stream = streams.entry(frame.stream).or_default();
                let fields = decoder.fields(&frame.payload);
                if stream.open {
                    fields
                        .iter()
                        .for_each(|(name, value)| book.add(stream.place, format!("+ {name}: {value}")));
                } else {
                    *stream = begin(book, fields);
                }
            }
            DATA => {
                let stream = streams.entry(frame.stream).or_default();
                stream.content.push_str(&String::from_utf8_lossy(&frame.payload));
                if !frame.payload.is_empty() {
                    let length = frame.payload.len() as u32;
                    socket.write_all(
                        &[window_update(0, length), window_update(frame.stream, length)].concat(),
                    )?;
                }
            }
            RST_STREAM => {
                if let Some(stream) = streams.remove(&frame.stream) {
                    book.add(stream.place, "! cut".to_owned());
                }
            }
            _ => {}
        }
        if matches!(frame.kind, HEADERS | DATA) && frame.has(END_STREAM) {
            let Some(stream) = streams.get(&frame.stream) else { continue };
            if !stream.content.is_empty() {
                book.add(stream.place, format!("= {}", stream.content));
            }
            book.finish(stream.place);
            if !stream.path.starts_with("/hang") {
                socket.write_all(&answer(&stream.path, frame.stream))?;
                streams.remove(&frame.stream);
            }
        }
    }
    Ok(())
}

fn begin(book: &Book, fields: Vec<(String, String)>) -> Stream {
    let of = |name: &str| {
        fields.iter().find(|field| field.0 == name).map(|field| field.1.clone()).unwrap_or_default()
    };
    let path = of(":path");
    let first = format!("{} {path} HTTP/2", of(":method"));
    let rest = fields.iter().filter(|field| ![":method", ":path"].contains(&field.0.as_str()));
    let rest: Vec<_> = rest.cloned().collect();
    Stream { place: book.begin(noted(&first, &rest)), path, content: String::new(), open: true }
}

/// What the path asks for.
fn answer(path: &str, stream: u32) -> Vec<u8> {
    let ok = headers(stream, 0, &[(":status", "200"), ("content-length", "2")]);
    match path {
        "/trailers" => [
            headers(stream, 0, &[(":status", "200")]),
            data(stream, 0, b"ok"),
            headers(stream, END_STREAM, &[("x-sum", "9")]),
        ]
        .concat(),
        "/early-hints" => {
            [headers(stream, 0, &[(":status", "103"), ("link", "</a>")]), ok, data(stream, END_STREAM, b"ok")]
                .concat()
        }
        "/reset" => reset(stream, 2),
        "/broken" => [ok, data(stream, 0, b"o"), reset(stream, 2)].concat(),
        "/short" => [ok, data(stream, END_STREAM, b"o")].concat(),
        "/connection" => headers(stream, END_STREAM, &[(":status", "200"), ("connection", "x")]),
        "/uppercase" => headers(stream, END_STREAM, &[(":status", "200"), ("X-A", "b")]),
        "/crlf" => headers(stream, END_STREAM, &[(":status", "200"), ("x-a", "b\r\nx-c: d")]),
        "/no-status" => headers(stream, END_STREAM, &[("x-a", "b")]),
        _ => [ok, data(stream, END_STREAM, b"ok")].concat(),
    }
}
