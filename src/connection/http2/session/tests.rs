//! Connections as a client sees them, without any socket.

use std::io::IoSlice;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use super::super::outbox::SLICES;
use super::*;
use crate::http2::frame::{END_HEADERS, END_STREAM};

/// `GET http://a/` (RFC 7541, appendix A).
const GET: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
const POST: [u8; 6] = [0x83, 0x86, 0x84, 0x41, 1, b'a'];

fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = Head { length: payload.len() as u32, kind, flags, stream };
    [&head.bytes()[..], payload].concat()
}

fn get(stream: u32) -> Vec<u8> {
    frame(Kind::Headers, END_HEADERS | END_STREAM, stream, &GET)
}

fn post(stream: u32) -> Vec<u8> {
    frame(Kind::Headers, END_HEADERS, stream, &POST)
}

fn data(stream: u32, flags: u8, length: usize) -> Vec<u8> {
    frame(Kind::Data, flags, stream, &vec![b'x'; length])
}

fn widen(stream: u32, by: u32) -> Vec<u8> {
    frame(Kind::WindowUpdate, 0, stream, &by.to_be_bytes())
}

struct Talk {
    session: Session,
    now: Instant,
    asked: Vec<u32>,
}

impl Talk {
    /// A client that has begun well, with a limit for its streams.
    fn new(streams: u64) -> Talk {
        let now = Instant::now();
        let session = Session::new(Limits { streams, ..Limits::default() }, now);
        let mut talk = Talk { session, now, asked: vec![] };
        talk.says(PREFACE);
        talk.says(&frame(Kind::Settings, 0, 0, &[]));
        talk.hears();
        talk
    }

    fn says(&mut self, bytes: &[u8]) {
        self.says_in(bytes, usize::MAX);
    }

    fn says_in(&mut self, bytes: &[u8], pieces: usize) {
        let mut unread = BytesMut::new();
        for piece in bytes.chunks(pieces.min(bytes.len().max(1))) {
            unread.extend_from_slice(piece);
            while let Some(asked) = self.session.receive(&mut unread, self.now) {
                self.asked.push(asked.stream);
            }
        }
    }

    /// All that is due now.
    fn raw(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        loop {
            self.session.pump();
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.session.outbox.slices(&mut slices);
            let now: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            if now.is_empty() {
                return heard;
            }
            self.session.wrote(now.len());
            heard.extend(now);
        }
    }

    fn hears(&mut self) -> Vec<(Kind, u32, Vec<u8>)> {
        let (raw, mut frames) = (self.raw(), vec![]);
        let mut rest = &raw[..];
        while let Some(head) = Head::parse(rest) {
            let (payload, behind) = rest[Head::SIZE..].split_at(head.length as usize);
            frames.push((head.kind, head.stream, payload.to_vec()));
            rest = behind;
        }
        frames
    }

    fn answers(&mut self, stream: u32, content: usize) {
        self.session.send_head(stream, StatusCode::OK, HeaderMap::new(), false);
        self.session.send_content(stream, Bytes::from(vec![b'y'; content]), true);
    }

    /// How long the DATA frames are that come now, and of which stream.
    fn pieces(&mut self) -> Vec<(u32, usize)> {
        let data = self.hears().into_iter().filter(|frame| frame.0 == Kind::Data);
        data.map(|(_, stream, payload)| (stream, payload.len())).collect()
    }
}

fn code(reason: Reason) -> Vec<u8> {
    u32::from(reason).to_be_bytes().to_vec()
}

#[test]
fn a_request_is_asked_for_once_and_answered_in_its_stream() {
    let mut talk = Talk::new(9);
    talk.says(&[get(1), frame(Kind::Ping, 0, 0, &[7; 8])].concat());
    assert_eq!(talk.asked, [1]);
    assert_eq!(talk.hears(), [(Kind::Ping, 0, vec![7; 8])]);
    talk.answers(1, 2);
    let heard = talk.hears();
    assert_eq!((heard[0].0, heard[0].2[0], &heard[1].2[..]), (Kind::Headers, 0x88, &b"yy"[..]));
    assert_eq!(talk.session.streams.open(), 0);
    assert!(talk.session.streams.get(1).is_some_and(|stream| stream.is_taken()));
}

#[test]
fn streams_take_turns_by_frames_when_the_window_of_all_is_small() {
    let mut talk = Talk::new(9);
    talk.says(&[widen(1, 1 << 20), get(1), get(3)].concat());
    assert!(talk.session.has_ended(), "a window of a stream that never began");
    let mut talk = Talk::new(9);
    talk.says(&[get(1), get(3), widen(1, 1 << 20)].concat());
    talk.answers(1, 100_000);
    assert_eq!(talk.pieces(), [(1, 16_384), (1, 16_384), (1, 16_384), (1, 16_383)]);
    talk.answers(3, 20_000);
    assert_eq!(talk.pieces(), []);
    talk.says(&widen(0, 50_000));
    assert_eq!(talk.pieces(), [(1, 16_384), (3, 16_384), (1, 16_384), (3, 848)]);
    talk.says(&widen(0, 50_000));
    assert_eq!(talk.pieces(), [(1, 1_697), (3, 2_768)]);
}

#[test]
fn a_stream_counts_until_both_sides_have_ended_it() {
    let mut talk = Talk::new(2);
    talk.says(&[get(1), post(3), get(5)].concat());
    assert_eq!(talk.asked, [1, 3]);
    assert_eq!(talk.hears(), [(Kind::Reset, 5, code(Reason::REFUSED_STREAM))]);
    talk.answers(3, 1);
    talk.says(&get(7));
    talk.answers(1, 1);
    talk.says(&get(9));
    talk.says(&data(3, END_STREAM, 1));
    talk.says(&get(11));
    assert_eq!(talk.asked, [1, 3, 9, 11]);
}

#[test]
fn what_still_comes_for_a_stream_that_was_reset_is_ignored_and_its_window_is_given_back() {
    let mut talk = Talk::new(9);
    talk.says(&post(1));
    talk.session.reset(1, Reason::CANCEL, Over::Given, talk.now);
    assert_eq!(talk.hears(), [(Kind::Reset, 1, code(Reason::CANCEL))]);
    talk.session.streams.with(1, |stream| stream.let_go());
    talk.session.forget(1, talk.now);
    let all: Vec<u8> = (0..32).flat_map(|_| data(1, 0, 16_384)).collect();
    talk.says(&[all, frame(Kind::Headers, END_HEADERS | END_STREAM, 1, &[0x0f, 0x0d, 1, b'1'])].concat());
    assert_eq!(talk.hears(), [(Kind::WindowUpdate, 0, (512 * 1024u32).to_be_bytes().to_vec())]);
    assert!(!talk.session.has_ended());
    talk.now += std::time::Duration::from_secs(6);
    talk.session.tick(talk.now);
    talk.says(&data(1, 0, 1));
    assert_eq!(talk.hears(), [(Kind::Reset, 1, code(Reason::STREAM_CLOSED))]);
}

#[test]
fn who_is_told_to_go_is_told_in_two_steps_and_later_streams_are_not_taken() {
    let mut talk = Talk::new(9);
    talk.says(&get(1));
    talk.session.leave();
    talk.says(&get(3));
    let told = |last: u32| [last.to_be_bytes(), [0; 4]].concat();
    let heard = talk.hears();
    assert_eq!(heard, [(Kind::GoAway, 0, told(MOST)), (Kind::Ping, 0, OURS.to_vec())]);
    talk.says(&[frame(Kind::Ping, frame::ACK, 0, &OURS), get(5), data(5, END_STREAM, 0)].concat());
    assert_eq!(talk.hears(), [(Kind::GoAway, 0, told(3))]);
    assert_eq!(talk.asked, [1, 3]);
    for stream in [1, 3] {
        talk.answers(stream, 1);
        assert!(!talk.session.is_done());
        talk.hears();
        talk.session.streams.with(stream, |stream| stream.let_go());
        talk.session.forget(stream, talk.now);
    }
    assert!(talk.session.is_done());
}

#[test]
fn an_end_that_waits_for_its_window_goes_out_after_its_task_has_gone() {
    let mut talk = Talk::new(9);
    let no_window = [0, 4, 0, 0, 0, 0];
    talk.says(&[frame(Kind::Settings, 0, 0, &no_window), get(1)].concat());
    talk.answers(1, 5);
    talk.session.streams.with(1, |stream| stream.let_go());
    talk.session.forget(1, talk.now);
    assert_eq!(talk.pieces(), []);
    talk.says(&widen(1, 9));
    assert_eq!(talk.pieces(), [(1, 5)]);
    assert!(talk.session.streams.is_empty());
}

#[test]
fn windows_that_are_exceeded_end_their_stream_or_everything() {
    let mut talk = Talk::new(9);
    talk.says(&[post(1), post(3), post(5), post(7), post(9)].concat());
    let fill = |stream| (0..16).flat_map(|_| data(stream, 0, 16_384)).collect::<Vec<u8>>();
    talk.says(&[fill(1), data(1, 0, 1)].concat());
    assert_eq!(talk.hears(), [(Kind::Reset, 1, code(Reason::FLOW_CONTROL_ERROR))]);
    let rest = 1024 * 1024 - 3 * 256 * 1024 - 1;
    talk.says(&[fill(3), fill(5), fill(7)[..15 * (9 + 16_384)].to_vec()].concat());
    talk.says(&data(9, 0, rest - 15 * 16_384));
    assert_eq!(talk.hears(), []);
    talk.says(&data(9, 0, 1));
    let heard = talk.hears();
    assert_eq!((heard[0].0, &heard[0].2[4..]), (Kind::GoAway, &code(Reason::FLOW_CONTROL_ERROR)[..]));
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![5 => Just(0u8), 5 => Just(1u8), 1 => Just(3), 1 => Just(4), 1 => Just(6), 2 => Just(8),
        1 => Just(9), 1 => 0..18u8];
    let payload = prop_oneof![
        3 => Just(GET.to_vec()),
        1 => Just(vec![0, 0, 0, 9]),
        1 => Just(vec![0; 8]),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    let stream = (0u32..8).prop_map(|stream| if stream < 2 { stream } else { 2 * stream - 1 });
    (kind, prop_oneof![Just(0u8), Just(1), Just(4), Just(5), any::<u8>()], stream, payload)
        .prop_map(|(kind, flags, stream, payload)| frame(Kind::from(kind), flags, stream, &payload))
}

proptest! {
    /// Whatever comes: no panic, and the same is said however the bytes were cut.
    #[test]
    fn nothing_depends_on_how_the_bytes_are_cut(
        frames in prop::collection::vec(any_frame(), 0..60),
        pieces in 1usize..50,
    ) {
        let bytes = frames.concat();
        let (mut whole, mut cut) = (Talk::new(9), Talk::new(9));
        whole.says(&bytes);
        cut.says_in(&bytes, pieces);
        prop_assert_eq!(&whole.asked, &cut.asked);
        prop_assert_eq!(whole.raw(), cut.raw());
        prop_assert_eq!(whole.session.offence(), cut.session.offence());
        prop_assert_eq!(whole.session.streams.open(), cut.session.streams.open());
        prop_assert!(whole.session.streams.open() <= 9);
    }
}
