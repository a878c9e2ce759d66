//! What HTTP/2 says between a request and the end of its answer.

use futures_util::stream;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http_body::Frame;
use http_body_util::StreamBody;

use super::exchanges::Notes;
use super::*;
use crate::upstream::attempt::INTERIM;

/// An HTTP/2 endpoint that hands each request to `serve`.
async fn streams<F>(serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + 'static) -> Address
where
    F: Future<Output = ()> + 'static,
{
    let serve = Rc::new(serve);
    h2_endpoint(move |mut connection, _| {
        let serve = Rc::clone(&serve);
        async move {
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::task::spawn_local(serve(request, respond));
            }
        }
    })
    .await
}

fn head(status: u16) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

/// All content of a request, and its trailers.
async fn taken(mut content: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = content.data().await {
        let data = data?;
        content.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    Ok((all, content.trailers().await?))
}

fn expecting(content: Content) -> Request<Content> {
    let mut request = request("POST", content);
    request.headers_mut().insert("expect", "100-continue".parse().unwrap());
    request
}

fn frames(frames: impl IntoIterator<Item = Frame<Bytes>> + 'static) -> Content {
    let frames = frames.into_iter().map(Ok::<_, ContentFault>);
    Content::stream(StreamBody::new(stream::iter(frames)), Some(LONG), Replay::default())
}

/// Lets all tasks run as far as they get.
async fn settled() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn interim_answers_are_told_over_h2c_too() {
    on_one_thread(async {
        let address = streams(|_, mut respond| async move {
            let mut hints = head(103);
            hints.headers_mut().insert("link", "</a>; rel=preload".parse().unwrap());
            respond.send_informational(hints).unwrap();
            respond.send_informational(head(102)).unwrap();
            answer_h2(respond);
        })
        .await;
        let notes = Notes::default();
        let answer = h2c(address).send(get(), &PATIENT, &notes).await.unwrap();
        assert_eq!(body(answer).await.unwrap(), "ok");
        assert_eq!(notes.statuses(), [103, 102]);
        assert_eq!(notes.first()["link"], "</a>; rel=preload");
    });
}

#[test]
fn interim_answers_without_end_are_a_bad_answer_over_h2c_too() {
    on_one_thread(async {
        for (count, fine) in [(INTERIM, true), (INTERIM + 1, false)] {
            let address = streams(move |_, mut respond| async move {
                for _ in 0..count {
                    respond.send_informational(head(102)).unwrap();
                }
                answer_h2(respond);
            })
            .await;
            let answer = h2c(address).send(get(), &PATIENT, &Nobody).await;
            match answer {
                Ok(_) => assert!(fine),
                Err(failure) => assert!(!fine && matches!(failure, Failure::BadAnswer(_)), "{failure:?}"),
            }
        }
    });
}

#[test]
fn content_waits_for_the_100_of_an_h2c_endpoint() {
    on_one_thread(async {
        let content = Content::whole("hello".into());
        let state = content.state();
        let address = streams(move |request, mut respond| {
            let state = Rc::clone(&state);
            async move {
                assert_eq!(request.headers()["expect"], "100-continue");
                assert_eq!(request.headers()["content-length"], "5");
                settled().await;
                assert!(!state.touched());
                respond.send_informational(head(100)).unwrap();
                assert_eq!(taken(request.into_body()).await.unwrap().0, b"hello");
                answer_h2(respond);
            }
        })
        .await;
        let notes = Notes::default();
        let answer = h2c(address).send(expecting(content), &PATIENT, &notes).await.unwrap();
        assert_eq!(body(answer).await.unwrap(), "ok");
        assert_eq!(notes.statuses(), [100]);
    });
}

#[test]
fn content_goes_to_an_h2c_endpoint_that_never_says_100() {
    on_one_thread(async {
        let address = streams(|request, respond| async move {
            assert_eq!(taken(request.into_body()).await.unwrap().0, b"hello");
            answer_h2(respond);
        })
        .await;
        let timeout = Timeout { idle: Some(SHORT), ..PATIENT };
        let answer = h2c(address).send(expecting(Content::whole("hello".into())), &timeout, &Nobody).await;
        assert_eq!(body(answer.unwrap()).await.unwrap(), "ok");
    });
}

#[test]
fn content_that_an_h2c_endpoint_does_not_want_is_not_sent() {
    on_one_thread(async {
        let (said, reset) = oneshot::channel();
        let said = RefCell::new(Some(said));
        let address = streams(move |request, mut respond| {
            let said = said.borrow_mut().take().unwrap();
            async move {
                let mut sender = respond.send_response(head(417), false).unwrap();
                sender.send_data("no".into(), true).unwrap();
                let ended = taken(request.into_body()).await;
                said.send(ended.unwrap_err().reason()).unwrap();
            }
        })
        .await;
        let content = Content::whole("hello".into());
        let state = content.state();
        let upstream = h2c(address);
        let answer = upstream.send(expecting(content), &PATIENT, &Nobody).await.unwrap();
        assert_eq!(answer.response.status(), 417);
        assert_eq!(body(answer).await.unwrap(), "no");
        assert_eq!(reset.await.unwrap(), Some(Reason::CANCEL));
        assert!(!state.touched());
    });
}

#[test]
fn an_answer_that_is_reset_is_cut_short_whatever_the_reason() {
    on_one_thread(async {
        for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
            let (begun, go) = oneshot::channel();
            let go = RefCell::new(Some(go));
            let address = streams(move |_, mut respond| {
                let go = go.borrow_mut().take().unwrap();
                async move {
                    let mut sender = respond.send_response(head(200), false).unwrap();
                    sender.send_data("half".into(), false).unwrap();
                    go.await.unwrap();
                    sender.send_reset(reason);
                }
            })
            .await;
            let upstream = h2c(address);
            let answer = upstream.send(get(), &PATIENT, &Nobody).await.unwrap();
            let mut incoming = answer.response.into_body();
            assert_eq!(incoming.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
            begun.send(()).unwrap();
            let end = incoming.frame().await;
            assert!(matches!(end, Some(Err(Failure::Truncated(_)))), "{reason:?}: {end:?}");
            assert!(incoming.frame().await.is_none());
        }
    });
}

#[test]
fn an_answer_that_is_whole_before_its_request_is_whole() {
    on_one_thread(async {
        let address = streams(|request, respond| async move {
            answer_h2(respond);
            // Resets with NO_ERROR (RFC 9113, section 8.1).
            drop(request);
        })
        .await;
        let content = frames(std::iter::repeat_with(|| Frame::data(Bytes::from_static(&[0; 16 * 1024]))));
        let upstream = h2c(address);
        let answer = upstream.send(request("POST", content), &PATIENT, &Nobody).await.unwrap();
        assert_eq!(body(answer).await.unwrap(), "ok");
    });
}

#[test]
fn an_answer_of_another_length_than_it_says_is_cut_short() {
    on_one_thread(async {
        for said in ["3", "1"] {
            let address = streams(move |_, mut respond| async move {
                let mut head = head(200);
                head.headers_mut().insert("content-length", said.parse().unwrap());
                let mut sender = respond.send_response(head, false).unwrap();
                sender.send_data("ok".into(), true).unwrap();
            })
            .await;
            let upstream = h2c(address);
            let failure = match upstream.send(get(), &PATIENT, &Nobody).await {
                Ok(answer) => body(answer).await.unwrap_err(),
                // All of it was there before it was looked at.
                Err(failure) => failure,
            };
            assert!(matches!(failure, Failure::Truncated(_) | Failure::BadAnswer(_)), "{said}: {failure:?}");
        }
    });
}

#[test]
fn trailers_pass_an_h2c_endpoint_in_both_directions() {
    on_one_thread(async {
        let address = streams(|request, mut respond| async move {
            assert!(!request.headers().contains_key("content-length"));
            assert_eq!(request.headers()["te"], "trailers");
            assert!(!request.headers().contains_key("connection"));
            let (all, trailers) = taken(request.into_body()).await.unwrap();
            let mut sender = respond.send_response(head(200), false).unwrap();
            sender.send_data(all.into(), false).unwrap();
            sender.send_trailers(trailers.unwrap()).unwrap();
        })
        .await;
        let sum = HeaderMap::from_iter([("x-sum".parse().unwrap(), "9".parse().unwrap())]);
        let mut asked = request("POST", frames([Frame::data("hello".into()), Frame::trailers(sum.clone())]));
        asked.headers_mut().insert("te", "trailers".parse().unwrap());
        asked.headers_mut().insert("connection", "te".parse().unwrap());
        let answer = h2c(address).send(asked, &PATIENT, &Nobody).await.unwrap();
        let collected = answer.response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&sum));
        assert_eq!(collected.to_bytes(), "hello");
    });
}

#[test]
fn an_h2c_endpoint_that_does_not_read_holds_the_content() {
    on_one_thread(async {
        let address = streams(|request, respond| async move {
            std::future::pending::<()>().await;
            drop((request, respond));
        })
        .await;
        let content = frames(std::iter::repeat_with(|| Frame::data(Bytes::from_static(&[0; 16 * 1024]))));
        let state = content.state();
        let upstream = h2c(address);
        let mut sending = pin!(upstream.send(request("POST", content), &PATIENT, &Nobody));
        let mut before = None;
        // As long as more of it is taken.
        while before != Some(state.bytes()) || state.bytes() == 0 {
            before = Some(state.bytes());
            tokio::select! {
                _ = &mut sending => panic!("answered"),
                () = settled() => {}
            }
        }
        // The window of h2's default, its send buffer here, and a piece.
        assert!(state.bytes() <= 65_535 + 64 * 1024 + 16 * 1024, "{}", state.bytes());
    });
}

#[test]
fn a_slow_reader_holds_an_answer_over_h2c() {
    on_one_thread(async {
        let sent = Rc::new(Cell::new(0));
        let count = Rc::clone(&sent);
        let address = streams(move |_, mut respond| {
            let count = Rc::clone(&count);
            async move {
                let mut sender = respond.send_response(head(200), false).unwrap();
                loop {
                    sender.reserve_capacity(1024);
                    let Some(Ok(room)) = poll_fn(|cx| sender.poll_capacity(cx)).await else { return };
                    count.set(count.get() + room);
                    sender.send_data(Bytes::from(vec![0; room]), false).unwrap();
                }
            }
        })
        .await;
        let upstream = h2c(address);
        let answer = upstream.send(get(), &PATIENT, &Nobody).await.unwrap();
        let mut before = None;
        while before != Some(sent.get()) || sent.get() == 0 {
            before = Some(sent.get());
            settled().await;
        }
        assert!(sent.get() <= 128 * 1024, "{}", sent.get());
        let mut incoming = answer.response.into_body();
        let mut read = 0;
        while read < 1 << 20 {
            read += incoming.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
    });
}

#[test]
fn a_request_that_is_given_up_resets_its_stream() {
    on_one_thread(async {
        let (said, reset) = oneshot::channel();
        let said = RefCell::new(Some(said));
        let (came, arrived) = oneshot::channel();
        let came = RefCell::new(Some(came));
        let address = streams(move |_, mut respond| {
            let said = said.borrow_mut().take().unwrap();
            came.borrow_mut().take().unwrap().send(()).unwrap();
            async move { said.send(poll_fn(|cx| respond.poll_reset(cx)).await.unwrap()).unwrap() }
        })
        .await;
        let upstream = h2c(address);
        tokio::select! {
            _ = upstream.send(get(), &PATIENT, &Nobody) => panic!("answered"),
            arrived = arrived => arrived.unwrap(),
        }
        assert_eq!(reset.await.unwrap(), Reason::CANCEL);
        assert_eq!((upstream.survey()[0].in_flight, upstream.survey()[0].idle), (0, 1));
    });
}

#[test]
fn content_that_does_not_fit_its_length_is_never_whole() {
    on_one_thread(async {
        let whole = Rc::new(Cell::new(false));
        let seen = Rc::clone(&whole);
        let address = streams(move |request, respond| {
            let seen = Rc::clone(&seen);
            async move {
                seen.set(taken(request.into_body()).await.is_ok());
                drop(respond);
            }
        })
        .await;
        struct Said<B>(B);
        impl<B: http_body::Body + Unpin> http_body::Body for Said<B> {
            type Data = B::Data;
            type Error = B::Error;

            fn poll_frame(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<Frame<B::Data>, B::Error>>> {
                std::pin::Pin::new(&mut self.0).poll_frame(cx)
            }

            fn size_hint(&self) -> http_body::SizeHint {
                http_body::SizeHint::with_exact(4)
            }
        }
        let upstream = h2c(address);
        for text in ["abc", "abcde"] {
            let frames =
                stream::iter([Ok::<_, ContentFault>(Frame::data(Bytes::from_static(text.as_bytes())))]);
            let content = Content::stream(Said(StreamBody::new(frames)), Some(LONG), Replay::default());
            let failure = upstream.send(request("POST", content), &PATIENT, &Nobody).await.err();
            assert!(matches!(failure, Some(Failure::BadRequest(_))), "{failure:?}");
        }
        settled().await;
        assert!(!whole.get());
    });
}

#[test]
fn a_post_that_meets_a_goaway_is_answered_or_sent_again() {
    on_one_thread(async {
        for pause in 0..12 {
            let address = h2_endpoint(move |mut connection, _| async move {
                let Some(Ok((_, respond))) = connection.accept().await else { return };
                answer_h2(respond);
                let mut early = Vec::new();
                for _ in 0..pause {
                    // The answer goes out ahead of the GOAWAY.
                    poll_fn(|cx| {
                        if let std::task::Poll::Ready(Some(Ok(taken))) = connection.poll_accept(cx) {
                            early.push(taken);
                        }
                        std::task::Poll::Ready(())
                    })
                    .await;
                    tokio::task::yield_now().await;
                }
                connection.graceful_shutdown();
                early.into_iter().for_each(|(_, respond)| answer_h2(respond));
                answer_the_rest(connection).await;
            })
            .await;
            let upstream = h2c(address);
            for number in 0..20 {
                let answer = upstream.send(post("x"), &PATIENT, &Nobody).await;
                let answer = answer.unwrap_or_else(|failure| panic!("{pause} {number}: {failure:?}"));
                assert_eq!(body(answer).await.unwrap(), "ok", "{pause} {number}");
            }
        }
    });
}
