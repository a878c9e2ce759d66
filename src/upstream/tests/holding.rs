//! Requests whose application is away, on real sockets.

use super::*;
use crate::upstream::held::Reason;
use std::cell::Cell;

fn holding(endpoints: &[Address]) -> Rc<Upstream> {
    let hold = settings::Hold { age: Some(LONG), ..Default::default() };
    let service = settings::Service { hold, ..service(endpoints) };
    begin(service, None)
}

fn numbered(number: usize) -> Request<Content> {
    match number % 2 {
        0 => request("GET", Content::empty()),
        _ => request("POST", Content::whole(Bytes::from(number.to_string()))),
    }
}

/// A port on which nobody listens, until somebody does.
async fn vacant() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// What an endpoint has noticed.
#[derive(Default)]
struct Seen {
    posts: RefCell<Vec<usize>>,
    now: Cell<usize>,
    most: Cell<usize>,
}

/// Answers each request after a moment, and notes how many it has at a time.
async fn slowly(listener: TcpListener, seen: Rc<Seen>) {
    loop {
        let mut peer = accept(&listener).await;
        let seen = Rc::clone(&seen);
        tokio::task::spawn_local(async move {
            while let Some((_, content)) = peer.request().await {
                seen.posts.borrow_mut().extend(content.parse::<usize>().ok());
                seen.now.set(seen.now.get() + 1);
                seen.most.set(seen.most.get().max(seen.now.get()));
                tokio::time::sleep(Duration::from_millis(2)).await;
                seen.now.set(seen.now.get() - 1);
                peer.say(OK).await;
            }
        });
    }
}

#[test]
fn two_thousand_wait_for_an_endpoint_that_is_away_and_none_is_lost_or_doubled() {
    on_one_thread(async {
        let address = vacant().await;
        let upstream = holding(&[Address::Ip(address)]);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..2000 {
            let upstream = Rc::clone(&upstream);
            tasks.spawn_local(async move {
                let answer = upstream.send(numbered(number), &PATIENT, &Nobody).await.unwrap();
                assert_eq!(body(answer).await.unwrap(), "ok");
            });
        }
        let held = Arc::clone(upstream.board().held());
        until(|| held.survey().now == 2000).await;
        let seen = Rc::new(Seen::default());
        tokio::task::spawn_local(slowly(TcpListener::bind(address).await.unwrap(), Rc::clone(&seen)));
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let posts = seen.posts.borrow().clone();
        let mut once = posts.clone();
        once.sort_unstable();
        assert_eq!(once, (0..2000).filter(|number| number % 2 == 1).collect::<Vec<_>>(), "each POST once");
        assert!(seen.most.get() < 2000, "not all at once: {} at a time", seen.most.get());
        // Within a wave they may overtake each other.
        let out_of_place = posts.iter().enumerate().map(|(at, number)| at.abs_diff(number / 2)).max();
        assert!(
            out_of_place < Some(seen.most.get() + 8),
            "{out_of_place:?} places, {} at a time",
            seen.most.get()
        );
        assert!(held.is_open() && held.survey().now == 0);
    });
}

#[test]
fn an_endpoint_that_goes_away_again_keeps_them_waiting_in_their_order() {
    on_one_thread(async {
        let address = vacant().await;
        let upstream = holding(&[Address::Ip(address)]);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..200 {
            let upstream = Rc::clone(&upstream);
            tasks.spawn_local(async move {
                body(upstream.send(numbered(number), &PATIENT, &Nobody).await.unwrap()).await.unwrap();
            });
        }
        let held = Arc::clone(upstream.board().held());
        until(|| held.survey().now == 200).await;
        // It takes one connection and is gone before it has read anything.
        let listener = TcpListener::bind(address).await.unwrap();
        drop(listener.accept().await.unwrap());
        drop(listener);
        until(|| held.survey().now == 200).await;
        let seen = Rc::new(Seen::default());
        tokio::task::spawn_local(slowly(TcpListener::bind(address).await.unwrap(), Rc::clone(&seen)));
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let mut posts = seen.posts.borrow().clone();
        posts.sort_unstable();
        assert_eq!(posts, (0..200).filter(|number| number % 2 == 1).collect::<Vec<_>>());
    });
}

#[test]
fn a_unix_socket_that_is_made_is_noticed() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let upstream = holding(&[Address::Unix(path.clone())]);
        let waiting = {
            let upstream = Rc::clone(&upstream);
            tokio::task::spawn_local(async move { upstream.send(get(), &PATIENT, &Nobody).await })
        };
        until(|| upstream.board().held().survey().now == 1).await;
        let listener = UnixListener::bind(&path).unwrap();
        loop {
            // The first one only looks whether somebody is there.
            let mut peer = Peer::new(listener.accept().await.unwrap().0);
            if peer.request().await.is_some() {
                peer.say(OK).await;
                break;
            }
        }
        assert!(waiting.await.unwrap().is_ok());
    });
}

#[test]
fn a_client_that_leaves_does_not_wait_any_more() {
    on_one_thread(async {
        let upstream = holding(&[Address::Ip(vacant().await)]);
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(upstream.send(get(), &PATIENT, &Nobody))).collect();
        let held = Arc::clone(upstream.board().held());
        while held.survey().now < 3 {
            waiting.iter_mut().for_each(|waiting| assert!(waiting.now_or_never().is_none()));
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        drop(waiting.remove(1));
        assert_eq!(held.survey().now, 2);
        drop(waiting);
        assert_eq!(held.survey().now, 0);
        until(|| held.is_open()).await;
    });
}

#[test]
fn who_waits_too_long_or_is_one_too_many_is_told_so() {
    on_one_thread(async {
        let address = Address::Ip(vacant().await);
        let hold = settings::Hold { age: Some(SHORT), count: Some(1), ..Default::default() };
        let service = settings::Service { hold, ..service(&[address]) };
        let upstream = begin(service, None);
        let first = upstream.send(get(), &PATIENT, &Nobody);
        let second = async {
            until(|| upstream.board().held().survey().now == 1).await;
            upstream.send(get(), &PATIENT, &Nobody).await
        };
        let (first, second) = futures_util::future::join(first, second).await;
        assert_eq!(first.err(), Some(Failure::HeldTooLong(SHORT)));
        assert_eq!(second.err(), Some(Failure::HoldFull("hold.count")));
    });
}

#[test]
fn an_operators_hold_stops_new_requests_and_a_drain_waits_for_the_others() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = holding(&[address]);
        let first = {
            let upstream = Rc::clone(&upstream);
            tokio::task::spawn_local(async move {
                body(upstream.send(get(), &PATIENT, &Nobody).await.unwrap()).await
            })
        };
        let mut peer = accept(&listener).await;
        peer.request().await.unwrap();
        let held = Arc::clone(upstream.board().held());
        held.close(Reason::Drain);
        let second = {
            let upstream = Rc::clone(&upstream);
            tokio::task::spawn_local(async move {
                body(upstream.send(post("x"), &PATIENT, &Nobody).await.unwrap()).await
            })
        };
        until(|| held.survey().now == 1).await;
        let rows = upstream.lineup.rows();
        let mut emptied = Box::pin(rows[0].emptied());
        assert!((&mut emptied).now_or_never().is_none());
        peer.say(OK).await;
        emptied.await;
        assert_eq!(first.await.unwrap().unwrap(), "ok");
        held.open(Reason::Drain);
        tokio::task::spawn_local(closing_after(listener, 9, Rc::default()));
        // It goes on the kept connection, or on a new one.
        tokio::task::spawn_local(async move {
            if peer.request().await.is_some() {
                peer.say(OK).await;
            }
        });
        assert_eq!(second.await.unwrap().unwrap(), "ok");
    });
}
