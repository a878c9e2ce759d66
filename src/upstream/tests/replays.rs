//! Uploads whose endpoint dies before its answer.

use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;

use super::*;

/// More than all that fits into the sockets between two processes.
const SIZE: usize = 24 << 20;
const PIECE: usize = 64 << 10;

const TO_FILE: Replay = Replay { memory: 100_000, file: Some(1 << 30), together: None };

/// Content of [`SIZE`] bytes, in pieces, with or without its length said.
fn upload(said: bool, replay: Replay) -> Content {
    let pieces = (0..SIZE / PIECE)
        .map(|number| Ok::<_, ContentFault>(Frame::data(Bytes::from(vec![number as u8; PIECE]))));
    let frames = StreamBody::new(stream::iter(pieces));
    let length = said.then_some(SIZE as u64);
    Content::stream(Said { frames, length }, Some(LONG), replay)
}

/// With a length that was said, or none.
struct Said<B> {
    frames: B,
    length: Option<u64>,
}

impl<B: http_body::Body + Unpin> http_body::Body for Said<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        std::pin::Pin::new(&mut self.frames).poll_frame(cx)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.length.map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}

fn expected() -> Vec<u8> {
    (0..SIZE / PIECE).flat_map(|number| [number as u8; PIECE]).collect()
}

/// The bytes behind the head, once there are so many of them.
async fn taken(peer: &mut Peer<TcpStream>, least: usize) -> Vec<u8> {
    loop {
        if let Some(head) = find(&peer.seen, b"\r\n\r\n")
            && peer.seen.len() - head - 4 >= least
        {
            return peer.seen[head + 4..].to_vec();
        }
        peer.more().await.expect("the stream ended early");
    }
}

/// An upload to one of two endpoints that dies after `least` bytes; the other one takes all of it.
async fn cut_after(least: usize, method: &str, content: Content) -> (Result<Answer, Failure>, Vec<Vec<u8>>) {
    let ((one, at_one), (other, at_other)) = (listen().await, listen().await);
    let upstream = upstream(&[at_one, at_other]);
    let server = async {
        let (mut first, other) = tokio::select! {
            first = accept(&one) => (first, &other),
            first = accept(&other) => (first, &one),
        };
        let part = taken(&mut first, least).await;
        drop(first);
        let mut second = accept(other).await;
        let whole = taken(&mut second, SIZE).await;
        second.say(OK).await;
        (part, whole)
    };
    let mut server = Box::pin(server);
    let mut asked = pin!(upstream.send(request(method, content), &PATIENT, &Nobody));
    let mut seen = vec![];
    let answer = loop {
        tokio::select! {
            biased;
            (part, whole) = &mut server, if seen.is_empty() => seen = vec![part, whole],
            answer = &mut asked => break answer,
        }
    };
    (answer, seen)
}

#[test]
fn an_upload_that_was_cut_is_sent_again_from_its_start() {
    on_one_thread(async {
        for least in [1, 90_000, 1 << 20, 8 << 20] {
            for method in ["POST", "PUT"] {
                let (answer, seen) = cut_after(least, method, upload(true, TO_FILE)).await;
                assert_eq!(body(answer.unwrap()).await.unwrap(), "ok", "{method} {least}");
                assert!(seen[1] == expected(), "{method} {least}");
            }
        }
    });
}

#[test]
fn without_a_file_a_long_upload_is_sent_once() {
    on_one_thread(async {
        let (answer, seen) = cut_after(1 << 20, "POST", upload(true, Replay::default())).await;
        assert!(matches!(answer, Err(Failure::NoAnswer(_))) && seen.is_empty());
        // Too long for the file as well; its length is known before, or turns out.
        for said in [true, false] {
            let short = Replay { file: Some(1 << 20), ..TO_FILE };
            let (answer, seen) = cut_after(4 << 20, "POST", upload(said, short)).await;
            assert!(matches!(answer, Err(Failure::NoAnswer(_))) && seen.is_empty(), "{said}");
        }
    });
}

/// Whoever had all of it may have acted on it.
#[test]
fn an_upload_that_was_taken_whole_is_not_posted_again() {
    on_one_thread(async {
        let (answer, seen) = cut_after(SIZE, "POST", upload(true, TO_FILE)).await;
        assert!(matches!(answer, Err(Failure::NoAnswer(_))) && seen.is_empty());
    });
}
