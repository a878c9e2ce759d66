//! The promises of the upstream, against real sockets.
//!
//! Servers run on the same thread as what they test unless a race is what is tested, so that their
//! steps come in the order in which they are written.

mod balance;
mod exchanges;
mod holding;
mod replays;
mod secure;
mod streams;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::poll_fn;
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::oneshot;

use super::*;
use crate::config::settings::{Address, Replay};
use crate::response::{Deadline, Retry};

/// Who does not want to know how a request gets on.
struct Nobody;

impl Asker for Nobody {
    fn asks(&self, _: &Rc<str>) {}

    fn interim(&self, _: Response<()>) {}
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_millis(60);

fn on_one_thread<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async { tokio::time::timeout(LONG * 2, test).await.expect("the test hangs") };
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

const PATIENT: Timeout =
    Timeout { connect: LONG, first_byte: Some(LONG), idle: Some(LONG), request: None, tunnel_idle: None };

fn service(endpoints: &[Address]) -> settings::Service {
    settings::Service {
        name: "shop".into(),
        endpoints: endpoints.iter().cloned().map(Into::into).collect(),
        resolve: LONG,
        balance: Default::default(),
        health: None,
        breaker: Default::default(),
        protocol: Protocol::Http1,
        endpoint_tls: Default::default(),
        pool: settings::Pool { idle: LONG, max_idle: 8 },
        hold: settings::Hold { age: None, ..Default::default() },
        unit: Default::default(),
        errors: Default::default(),
        tls: Default::default(),
        https: Default::default(),
        rates: vec![],
        concurrency: Default::default(),
        deadline_field: None,
        routes: Vec::new(),
    }
}

fn begin(service: settings::Service, outward: Option<Arc<Outward>>) -> Rc<Upstream> {
    Upstream::new(Lineup::new(&Arc::new(service), None), outward, None)
}

fn upstream(endpoints: &[Address]) -> Rc<Upstream> {
    begin(service(endpoints), None)
}

fn h2c(endpoint: Address) -> Rc<Upstream> {
    begin(settings::Service { protocol: Protocol::H2c, ..service(&[endpoint]) }, None)
}

fn request(method: &str, content: Content) -> Request<Content> {
    let request = Request::builder().method(method).uri("/thing").header("host", "shop.example");
    request.body(content).unwrap()
}

fn get() -> Request<Content> {
    request("GET", Content::empty())
}

fn post(text: &'static str) -> Request<Content> {
    request("POST", Content::whole(Bytes::from_static(text.as_bytes())))
}

async fn body(answer: Answer) -> Result<Bytes, Failure> {
    let Answer { response, lease, .. } = answer;
    let read = response.into_body().collect().await;
    drop(lease);
    Ok(read?.to_bytes())
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
        // Readiness is looked for when the runtime has nothing else to do.
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
}

async fn listen() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Ip(listener.local_addr().unwrap());
    (listener, address)
}

/// The endpoint's side of a connection.
struct Peer<S> {
    stream: S,
    seen: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    fn new(stream: S) -> Peer<S> {
        Peer { stream, seen: Vec::new() }
    }

    /// The next request with its content (by its length), or nothing at the end of the stream.
    async fn request(&mut self) -> Option<(String, String)> {
        let head = loop {
            if let Some(end) = find(&self.seen, b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let text = String::from_utf8(self.seen[..head].to_vec()).unwrap();
        let length = length_of(&text);
        while self.seen.len() < head + length {
            self.more().await?;
        }
        let content = String::from_utf8(self.seen[head..head + length].to_vec()).unwrap();
        self.seen.drain(..head + length);
        Some((text, content))
    }

    /// Everything up to and with `end`.
    async fn up_to(&mut self, end: &str) -> String {
        while find(&self.seen, end.as_bytes()).is_none() {
            self.more().await.expect("the stream ended early");
        }
        String::from_utf8(std::mem::take(&mut self.seen)).unwrap()
    }

    async fn more(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.seen).await.unwrap_or(0);
        (read > 0).then_some(())
    }

    async fn say(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn length_of(head: &str) -> usize {
    let line = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    line.map_or(0, |length| length.parse().unwrap())
}

async fn accept(listener: &TcpListener) -> Peer<TcpStream> {
    Peer::new(listener.accept().await.unwrap().0)
}

/// Answers every request on every connection, `per_connection` times, and then closes unannounced;
/// counts by content.
async fn closing_after(
    listener: TcpListener,
    per_connection: usize,
    seen: Rc<RefCell<HashMap<String, u32>>>,
) {
    loop {
        let mut peer = accept(&listener).await;
        let seen = Rc::clone(&seen);
        tokio::task::spawn_local(async move {
            for _ in 0..per_connection {
                let Some((_, content)) = peer.request().await else { return };
                *seen.borrow_mut().entry(content).or_default() += 1;
                peer.say(OK).await;
            }
        });
    }
}

/// hyper reports broken chunks as an input error below its own.
fn fault(error: &hyper::Error) -> ContentFault {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    match cause.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData) => {
            ContentFault::Malformed("broken chunks")
        }
        _ => ContentFault::Gone,
    }
}

/// Content that a real client streams to a real HTTP server: what is written to the returned socket
/// after the head arrives as the content.
async fn streamed(head: &str, idle: Option<Duration>) -> (TcpStream, Content) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let (sender, content) = oneshot::channel();
    let sender = RefCell::new(Some(sender));
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let _ = sender.borrow_mut().take().unwrap().send(request.into_body());
        std::future::pending::<Result<Response<Empty<Bytes>>, std::convert::Infallible>>()
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    tokio::task::spawn_local(connection);
    client.write_all(format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n\r\n").as_bytes()).await.unwrap();
    (client, Content::stream(content.await.unwrap().map_err(|error| fault(&error)), idle, Replay::default()))
}

#[test]
fn a_connection_is_used_again_for_the_next_request() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let seen = Rc::default();
        tokio::task::spawn_local(closing_after(listener, usize::MAX, Rc::clone(&seen)));
        for _ in 0..5 {
            let answer = upstream.send(get(), &PATIENT, &Nobody).await.unwrap();
            assert_eq!(upstream.survey()[0].in_flight, 1);
            assert_eq!(body(answer).await.unwrap(), "ok");
            let survey = &upstream.survey()[0];
            assert_eq!((survey.in_flight, survey.idle), (0, 1));
        }
    });
}

#[test]
fn an_idle_connection_that_the_endpoint_closes_leaves_the_pool() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        tokio::task::spawn_local(closing_after(listener, 1, Rc::default()));
        body(upstream.send(get(), &PATIENT, &Nobody).await.unwrap()).await.unwrap();
        until(|| upstream.survey()[0].idle == 0).await;
    });
}

#[test]
fn closing_kept_connections_unannounced_fails_no_request_and_doubles_none() {
    on_one_thread(async {
        for per_connection in [1, 2, 3, 7] {
            let (listener, address) = listen().await;
            let upstream = upstream(&[address]);
            let seen = Rc::new(RefCell::new(HashMap::new()));
            tokio::task::spawn_local(closing_after(listener, per_connection, Rc::clone(&seen)));
            for number in 0..1000 {
                let (method, content) = if number % 3 == 0 { ("GET", "") } else { ("POST", "order") };
                let content = Bytes::from(format!("{content}{number}"));
                let answer = upstream.send(request(method, Content::whole(content)), &PATIENT, &Nobody).await;
                assert_eq!(body(answer.unwrap()).await.unwrap(), "ok");
            }
            assert_eq!(seen.borrow().len(), 1000);
            assert!(seen.borrow().values().all(|times| *times == 1));
        }
    });
}

/// An endpoint on threads of its own that closes after `per_connection` answers, or after `idle`
/// without a request, so that a request may be on its way into a socket that is being closed.
struct Racer {
    per_connection: usize,
    idle: Option<Duration>,
    /// The content of every request that was read, in order.
    read: std::sync::Mutex<Vec<String>>,
    /// Connections closed with a request in the kernel that was not read.
    unread: AtomicUsize,
    closed: AtomicUsize,
}

impl Racer {
    fn start(per_connection: usize, idle: Option<Duration>) -> (Arc<Racer>, Address) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Ip(listener.local_addr().unwrap());
        let (read, unread) = (std::sync::Mutex::default(), AtomicUsize::new(0));
        let racer = Arc::new(Racer { per_connection, idle, read, unread, closed: AtomicUsize::new(0) });
        let server = Arc::clone(&racer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let server = Arc::clone(&server);
                std::thread::spawn(move || server.serve(stream.unwrap()));
            }
        });
        (racer, address)
    }

    fn serve(&self, mut stream: std::net::TcpStream) {
        let mut bytes = Vec::new();
        for served in 0..self.per_connection {
            // A connection that has not been used yet is not idle: a client that was not scheduled for
            // a few milliseconds would find even its fresh connection closed, which no second attempt
            // is made for.
            stream.set_read_timeout(self.idle.filter(|_| served > 0)).unwrap();
            let Some(content) = self.request(&mut stream, &mut bytes) else { break };
            self.read.lock().unwrap().push(content);
            if stream.write_all(OK.as_bytes()).is_err() {
                return;
            }
        }
        self.closed.fetch_add(1, SeqCst);
        // What arrives between this look and the close is not counted, but as rare.
        stream.set_nonblocking(true).unwrap();
        let look = stream.peek(&mut [0; 1]);
        drop(stream);
        if look.is_ok_and(|unread| unread > 0) {
            self.unread.fetch_add(1, SeqCst);
        }
    }

    fn request(&self, stream: &mut std::net::TcpStream, bytes: &mut Vec<u8>) -> Option<String> {
        loop {
            if let Some(end) = find(bytes, b"\r\n\r\n") {
                let head = end + 4;
                let length = length_of(std::str::from_utf8(&bytes[..head]).unwrap());
                if bytes.len() >= head + length {
                    let content = String::from_utf8(bytes[head..head + length].to_vec()).unwrap();
                    bytes.drain(..head + length);
                    return Some(content);
                }
            }
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
            bytes.extend_from_slice(&chunk[..count]);
        }
    }

    /// No POST (they have odd numbers) was read twice, and about as many were lost as met a closing
    /// socket in the kernel.
    fn judge(&self, lost: usize) {
        let mut posts = self.read.lock().unwrap().clone();
        posts.retain(|number| number.parse::<u32>().unwrap() % 2 == 1);
        let all = posts.len();
        posts.sort();
        posts.dedup();
        assert_eq!(all, posts.len(), "a POST was doubled");
        let (unread, closed) = (self.unread.load(SeqCst), self.closed.load(SeqCst));
        assert!(lost <= unread + 2, "{lost} lost, {unread} unread of {closed} closed");
    }
}

/// How many POSTs of `count` requests brought no answer; nothing else may fail.
async fn lost_of(count: u32, upstream: &Rc<Upstream>, pause: impl AsyncFn(u32)) -> usize {
    let mut lost = 0;
    for number in 0..count {
        pause(number).await;
        let content = Content::whole(Bytes::from(number.to_string()));
        let method = if number % 2 == 0 { "GET" } else { "POST" };
        match upstream.send(request(method, content), &PATIENT, &Nobody).await {
            Ok(answer) => assert_eq!(body(answer).await.unwrap(), "ok"),
            Err(Failure::NoAnswer(_)) if method == "POST" => lost += 1,
            Err(failure) => panic!("{method} {number}: {failure:?}"),
        }
    }
    lost
}

#[test]
fn racing_with_an_endpoint_that_closes_after_an_answer_loses_no_get_and_doubles_no_post() {
    on_one_thread(async {
        let (racer, address) = Racer::start(3, None);
        racer.judge(lost_of(4000, &upstream(&[address]), async |_| ()).await);
    });
}

#[test]
fn racing_with_an_endpoint_that_closes_what_is_idle_loses_no_get_and_doubles_no_post() {
    on_one_thread(async {
        // The read timeout of a socket counts in ticks of 4 ms here and there.
        let (racer, address) = Racer::start(usize::MAX, Some(Duration::from_millis(4)));
        let about_the_same = async |number: u32| {
            tokio::time::sleep(Duration::from_micros(3000 + u64::from(number * 97 % 3000))).await;
        };
        racer.judge(lost_of(600, &upstream(&[address]), about_the_same).await);
    });
}

#[test]
fn a_fin_before_the_request_arrives_proves_it_unsent() {
    on_one_thread(async {
        let (mut line, mut peer) = connected().await;
        line.write_all(b"first").await.unwrap();
        let mark = line.written();
        peer.up_to("first").await;
        drop(peer);
        line.write_all(b"second").await.unwrap();
        assert_eq!(line.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(line.untaken_since(mark, true));
        assert!(!line.usable());
    });
}

#[test]
fn a_close_after_reading_the_request_proves_nothing() {
    on_one_thread(async {
        let (mut line, mut peer) = connected().await;
        let mark = line.written();
        line.write_all(b"request").await.unwrap();
        peer.up_to("request").await;
        drop(peer);
        assert_eq!(line.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(!line.untaken_since(mark, false));
    });
}

#[test]
fn a_reset_proves_nothing_even_when_a_write_has_swallowed_it() {
    on_one_thread(async {
        for write_first in [false, true] {
            let (mut line, mut peer) = connected().await;
            let mark = line.written();
            line.write_all(b"request").await.unwrap();
            // Half read, then closed: the kernel resets.
            peer.stream.read_exact(&mut [0; 3]).await.unwrap();
            drop(peer);
            if write_first {
                line.write_all(b"more").await.unwrap();
            }
            let _ = line.read(&mut [0; 8]).await;
            assert!(!line.untaken_since(mark, false));
        }
    });
}

#[test]
fn what_the_kernel_did_not_take_is_unsent() {
    on_one_thread(async {
        let (mut line, peer) = connected().await;
        line.write_all(b"half").await.unwrap();
        let mark = line.written();
        drop(peer);
        // The reset for the unread bytes is here; the next write meets it.
        assert_eq!(line.pulse(), line::Pulse::Dead);
        line.write_all(b"request").await.unwrap();
        assert!(line.untaken_since(mark, true));
    });
}

async fn connected() -> (Line, Peer<TcpStream>) {
    let (listener, address) = listen().await;
    let line = dial::connect_to(&address).await.unwrap();
    (line, accept(&listener).await)
}

/// Serves `first` on a first connection with `then` after it; later connections answer everything.
/// Returns how many requests arrived.
async fn second_request_meets(
    method: &str,
    then: impl AsyncFnOnce(Peer<TcpStream>),
) -> (Result<Bytes, Failure>, u32) {
    let (listener, address) = listen().await;
    let upstream = upstream(&[address]);
    let warm_up = async {
        let mut peer = accept(&listener).await;
        peer.request().await.unwrap();
        peer.say(OK).await;
        peer
    };
    let (answer, peer) = tokio::join!(upstream.send(get(), &PATIENT, &Nobody), warm_up);
    body(answer.unwrap()).await.unwrap();
    // Kept open for so long, the connection is good enough for a POST.
    tokio::time::sleep(http1::HASTE).await;
    let arrived = Rc::new(Cell::new(0));
    let count = Rc::clone(&arrived);
    tokio::task::spawn_local(async move {
        loop {
            let mut peer = accept(&listener).await;
            while peer.request().await.is_some() {
                count.set(count.get() + 1);
                peer.say(OK).await;
            }
        }
    });
    let asked = async {
        let answer =
            upstream.send(request(method, Content::whole("order".into())), &PATIENT, &Nobody).await?;
        body(answer).await
    };
    let (answer, ()) = tokio::join!(asked, then(peer));
    (answer, arrived.get())
}

#[test]
fn a_post_goes_out_on_a_connection_that_was_seen_open() {
    on_one_thread(async {
        let answer_again = async |mut peer: Peer<TcpStream>| {
            assert_eq!(peer.request().await.unwrap().1, "order");
            peer.say(OK).await;
        };
        let (answer, elsewhere) = second_request_meets("POST", answer_again).await;
        assert_eq!((answer.unwrap().as_ref(), elsewhere), (&b"ok"[..], 0));
    });
}

#[test]
fn a_post_that_was_read_is_never_sent_again() {
    on_one_thread(async {
        let read_and_close = async |mut peer: Peer<TcpStream>| {
            peer.request().await.unwrap();
        };
        let (answer, again) = second_request_meets("POST", read_and_close).await;
        assert!(matches!(answer, Err(Failure::NoAnswer(_))), "{answer:?}");
        assert_eq!(again, 0);
    });
}

#[test]
fn a_post_that_was_reset_is_never_sent_again() {
    on_one_thread(async {
        let read_and_reset = async |mut peer: Peer<TcpStream>| {
            peer.request().await.unwrap();
            socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
        };
        let (answer, again) = second_request_meets("POST", read_and_reset).await;
        assert!(matches!(answer, Err(Failure::NoAnswer(_))), "{answer:?}");
        assert_eq!(again, 0);
    });
}

#[test]
fn a_put_that_was_reset_on_a_kept_connection_is_sent_again_once() {
    on_one_thread(async {
        let read_and_reset = async |mut peer: Peer<TcpStream>| {
            peer.request().await.unwrap();
            socket2::SockRef::from(&peer.stream).set_linger(Some(Duration::ZERO)).unwrap();
        };
        let (answer, again) = second_request_meets("PUT", read_and_reset).await;
        assert_eq!(answer.unwrap(), "ok");
        assert_eq!(again, 1);
    });
}

#[test]
fn a_broken_answer_is_not_asked_for_again() {
    on_one_thread(async {
        let half_a_head = async |mut peer: Peer<TcpStream>| {
            peer.request().await.unwrap();
            peer.say("HTTP/1.1 200 OK\r\ncontent-").await;
        };
        let (answer, again) = second_request_meets("GET", half_a_head).await;
        assert!(matches!(answer, Err(Failure::NoAnswer(_) | Failure::BadAnswer(_))), "{answer:?}");
        assert_eq!(again, 0);
    });
}

#[test]
fn a_timeout_notice_on_a_kept_connection_is_not_taken_for_an_answer() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let server = async {
            let mut first = accept(&listener).await;
            first.request().await.unwrap();
            first.say(OK).await;
            first.request().await.unwrap();
            first.say("HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            drop(first);
            let mut second = accept(&listener).await;
            second.request().await.unwrap();
            second.say(OK).await;
        };
        let asked = async {
            body(upstream.send(get(), &PATIENT, &Nobody).await.unwrap()).await.unwrap();
            upstream.send(get(), &PATIENT, &Nobody).await.unwrap().response.status()
        };
        assert_eq!(tokio::join!(asked, server).0, 200);
    });
}

#[test]
fn a_kept_connection_on_a_unix_socket_that_closes_fails_no_request() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let upstream = upstream(&[Address::Unix(path)]);
        tokio::task::spawn_local(async move {
            loop {
                let mut peer = Peer::new(listener.accept().await.unwrap().0);
                tokio::task::spawn_local(async move {
                    for _ in 0..3 {
                        let Some(_) = peer.request().await else { return };
                        peer.say(OK).await;
                    }
                });
            }
        });
        for number in 0..300 {
            let request = if number % 2 == 0 { get() } else { post("order") };
            assert_eq!(body(upstream.send(request, &PATIENT, &Nobody).await.unwrap()).await.unwrap(), "ok");
        }
    });
}

#[test]
fn a_full_backlog_of_a_unix_socket_is_waited_for() {
    on_one_thread(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        socket.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(std::os::fd::OwnedFd::from(socket).into()).unwrap();
        let _first = tokio::net::UnixStream::connect(&path).await.unwrap();
        let full = tokio::net::UnixStream::connect(&path).await;
        assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        let upstream = upstream(&[Address::Unix(path)]);
        let server = async {
            let _ = listener.accept().await.unwrap();
            let mut peer = Peer::new(listener.accept().await.unwrap().0);
            peer.request().await.unwrap();
            peer.say(OK).await;
        };
        assert!(tokio::join!(upstream.send(get(), &PATIENT, &Nobody), server).0.is_ok());
    });
}

#[test]
fn an_upstream_that_is_dropped_closes_its_idle_connections() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let server = async {
            let mut peer = accept(&listener).await;
            peer.request().await.unwrap();
            peer.say(OK).await;
            peer
        };
        let (answer, mut peer) = tokio::join!(upstream.send(get(), &PATIENT, &Nobody), server);
        let answer = answer.unwrap();
        drop(upstream);
        assert_eq!(body(answer).await.unwrap(), "ok", "what is in flight ends in peace");
        assert!(peer.request().await.is_none());
    });
}

#[test]
fn a_connect_request_opens_a_tunnel() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let mut asked = request("CONNECT", Content::empty());
        *asked.uri_mut() = "db.example:5432".parse().unwrap();
        let server = async {
            let mut peer = accept(&listener).await;
            let (head, _) = peer.request().await.unwrap();
            peer.say("HTTP/1.1 200 OK\r\n\r\nhello").await;
            (peer, head)
        };
        let (answer, (_peer, head)) = tokio::join!(upstream.send(asked, &PATIENT, &Nobody), server);
        assert!(head.starts_with("CONNECT db.example:5432 HTTP/1.1\r\n"), "{head}");
        let mut hello = [0; 5];
        answer.unwrap().upgraded.unwrap().read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello");
    });
}

#[test]
fn an_unreachable_endpoint_is_passed_over_and_none_left_is_said() {
    on_one_thread(async {
        let (dead, nowhere) = listen().await;
        drop(dead);
        let (listener, address) = listen().await;
        tokio::task::spawn_local(closing_after(listener, usize::MAX, Rc::default()));
        let one_of_two = upstream(&[nowhere.clone(), address.clone()]);
        for _ in 0..4 {
            let answer = one_of_two.send(post("order"), &PATIENT, &Nobody).await.unwrap();
            assert_eq!(answer.endpoint.as_ref(), address.to_string());
        }
        let none = upstream(&[nowhere.clone(), nowhere]);
        assert!(matches!(none.send(get(), &PATIENT, &Nobody).await, Err(Failure::Unreachable(_))));
        let empty = upstream(&[]);
        assert!(matches!(empty.send(get(), &PATIENT, &Nobody).await, Err(Failure::NoEndpoint)));
    });
}

#[test]
fn a_name_is_resolved_at_connect() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        tokio::task::spawn_local(closing_after(listener, usize::MAX, Rc::default()));
        let Address::Ip(address) = address else { unreachable!() };
        let upstream = upstream(&[Address::Name { host: "localhost".into(), port: address.port() }]);
        assert_eq!(body(upstream.send(get(), &PATIENT, &Nobody).await.unwrap()).await.unwrap(), "ok");
    });
}

#[test]
fn the_least_busy_endpoint_is_asked() {
    on_one_thread(async {
        let (first, one) = listen().await;
        let (second, two) = listen().await;
        tokio::task::spawn_local(closing_after(first, usize::MAX, Rc::default()));
        tokio::task::spawn_local(closing_after(second, usize::MAX, Rc::default()));
        let upstream = upstream(&[one, two]);
        let held = [
            upstream.send(get(), &PATIENT, &Nobody).await.unwrap(),
            upstream.send(get(), &PATIENT, &Nobody).await.unwrap(),
        ];
        assert_ne!(held[0].endpoint, held[1].endpoint);
        let [busy, free] = held;
        drop(free.lease);
        for _ in 0..3 {
            let answer = upstream.send(get(), &PATIENT, &Nobody).await.unwrap();
            assert_ne!(answer.endpoint, busy.endpoint);
        }
    });
}

#[test]
fn an_answer_that_does_not_begin_in_time_is_late() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let timeout = Timeout { first_byte: Some(SHORT), ..PATIENT };
        let (answer, mut peer) = tokio::join!(upstream.send(get(), &timeout, &Nobody), accept(&listener));
        assert_eq!(answer.err(), Some(Failure::Late(Deadline::FirstByte, SHORT)));
        assert!(peer.request().await.is_some());
        assert!(peer.request().await.is_none(), "the connection is closed");
        assert_eq!(upstream.survey()[0].in_flight, 0);
    });
}

#[test]
fn the_time_to_the_first_byte_begins_when_the_content_is_sent() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let (mut client, content) = streamed("content-length: 4", Some(LONG)).await;
        let timeout = Timeout { first_byte: Some(SHORT), ..PATIENT };
        let server = async {
            let mut peer = accept(&listener).await;
            peer.up_to("\r\n\r\n").await;
            tokio::time::sleep(SHORT * 2).await;
            client.write_all(b"slow").await.unwrap();
            peer.up_to("slow").await;
            peer.say(OK).await;
            peer
        };
        let (answer, mut peer) =
            tokio::join!(upstream.send(request("POST", content), &timeout, &Nobody), server);
        assert_eq!(body(answer.unwrap()).await.unwrap(), "ok");
        let (answer, _) = tokio::join!(upstream.send(get(), &timeout, &Nobody), peer.request());
        assert_eq!(answer.err(), Some(Failure::Late(Deadline::FirstByte, SHORT)));
    });
}

#[test]
fn a_client_that_stops_sending_is_silent() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let (mut client, content) = streamed("content-length: 4", Some(SHORT)).await;
        client.write_all(b"sl").await.unwrap();
        let state = content.state();
        let (answer, _) =
            tokio::join!(upstream.send(request("POST", content), &PATIENT, &Nobody), accept(&listener));
        assert_eq!(answer.err(), Some(Failure::ClientSilent));
        assert_eq!((state.end(), state.bytes()), (Some(End::ClientSilent), 2));
    });
}

#[test]
fn a_client_that_goes_away_is_gone() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let (mut client, content) = streamed("content-length: 4", Some(LONG)).await;
        let server = async {
            let mut peer = accept(&listener).await;
            peer.up_to("\r\n\r\n").await;
            client.write_all(b"sl").await.unwrap();
            drop(client);
            peer.up_to("sl").await;
            while peer.more().await.is_some() {}
        };
        let (answer, ()) = tokio::join!(upstream.send(request("POST", content), &PATIENT, &Nobody), server);
        assert_eq!(answer.err(), Some(Failure::ClientGone));
    });
}

#[test]
fn broken_framing_is_the_clients_fault() {
    on_one_thread(async {
        let (_listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let (mut client, content) = streamed("transfer-encoding: chunked", Some(LONG)).await;
        client.write_all(b"4\r\nslow\r\nnonsense\r\n").await.unwrap();
        let answer = upstream.send(request("POST", content), &PATIENT, &Nobody).await;
        assert!(matches!(answer, Err(Failure::BadRequest(_))));
    });
}

#[test]
fn an_endpoint_that_takes_no_content_is_late() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let content = Content::whole(vec![b'x'; 64 << 20].into());
        let timeout = Timeout { idle: Some(SHORT), first_byte: Some(SHORT), ..PATIENT };
        let (answer, _peer) =
            tokio::join!(upstream.send(request("POST", content), &timeout, &Nobody), accept(&listener));
        assert!(matches!(answer, Err(Failure::Late(_, SHORT))));
    });
}

#[test]
fn content_keeps_its_exact_length() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let (mut client, content) = streamed("content-length: 10", Some(LONG)).await;
        client.write_all(b"0123456789").await.unwrap();
        let server = async {
            let mut peer = accept(&listener).await;
            let request = peer.request().await.unwrap();
            peer.say(OK).await;
            request
        };
        let (answer, (head, content)) =
            tokio::join!(upstream.send(request("POST", content), &PATIENT, &Nobody), server);
        assert!(head.contains("content-length: 10\r\n") && !head.contains("transfer-encoding"), "{head}");
        assert_eq!(content, "0123456789");
        assert_eq!(answer.unwrap().lease.content().end(), Some(End::Complete));
    });
}

#[test]
fn trailers_of_the_content_pass() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let head = "transfer-encoding: chunked\r\ntrailer: x-sum";
        let (mut client, content) = streamed(head, Some(LONG)).await;
        client.write_all(b"4\r\nslow\r\n0\r\nx-sum: 7\r\n\r\n").await.unwrap();
        let mut sent = request("POST", content);
        sent.headers_mut().insert("trailer", "x-sum".parse().unwrap());
        let server = async {
            let mut peer = accept(&listener).await;
            let text = peer.up_to("x-sum: 7\r\n\r\n").await;
            peer.say(OK).await;
            text
        };
        let (answer, text) = tokio::join!(upstream.send(sent, &PATIENT, &Nobody), server);
        assert!(text.contains("4\r\nslow\r\n0\r\n"), "{text}");
        assert_eq!(body(answer.unwrap()).await.unwrap(), "ok");
    });
}

#[test]
fn an_answer_before_the_end_of_the_content_is_passed_on_and_its_connection_is_not_used_again() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let (mut client, content) = streamed("content-length: 1000000", Some(LONG)).await;
        client.write_all(b"some").await.unwrap();
        let server = async {
            let mut peer = accept(&listener).await;
            peer.up_to("some").await;
            peer.say("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n").await;
            peer
        };
        let (answer, mut peer) =
            tokio::join!(upstream.send(request("POST", content), &PATIENT, &Nobody), server);
        let answer = answer.unwrap();
        assert_eq!(answer.response.status(), 413);
        body(answer).await.unwrap();
        assert!(peer.request().await.is_none(), "the connection is closed");
        assert_eq!(upstream.survey()[0].idle, 0);
    });
}

#[test]
fn an_answer_that_came_before_a_reset_is_passed_on() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let content = Content::whole(vec![b'x'; 8 << 20].into());
        let server = async {
            let mut peer = accept(&listener).await;
            peer.up_to("\r\n\r\n").await;
            peer.say("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await;
        };
        let (answer, ()) = tokio::join!(upstream.send(request("POST", content), &PATIENT, &Nobody), server);
        assert_eq!(answer.unwrap().response.status(), 413);
    });
}

async fn answered_with(text: &str) -> Result<Answer, Failure> {
    let (listener, address) = listen().await;
    let upstream = upstream(&[address]);
    let server = async {
        let mut peer = accept(&listener).await;
        peer.request().await.unwrap();
        peer.say(text).await;
    };
    tokio::join!(upstream.send(get(), &PATIENT, &Nobody), server).0
}

#[test]
fn what_is_not_http_is_a_bad_answer() {
    on_one_thread(async {
        for text in ["220 mail.example ESMTP\r\n\r\n", "hello, world\n\n", "\0\u{1}\u{2}\r\n\r\n"] {
            assert!(matches!(answered_with(text).await, Err(Failure::BadAnswer(_))), "{text:?}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
        assert!(matches!(answered_with(&endless).await, Err(Failure::BadAnswer(_))));
    });
}

#[test]
fn an_answer_that_breaks_off_is_truncated() {
    on_one_thread(async {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        ] {
            let answer = answered_with(text).await.unwrap();
            assert!(matches!(body(answer).await, Err(Failure::Truncated(_))), "{text:?}");
        }
    });
}

#[test]
fn dropping_the_request_closes_the_connection() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let mut peer = {
            let timeout = PATIENT;
            let mut asked = pin!(upstream.send(get(), &timeout, &Nobody));
            let mut arrived = pin!(async {
                let mut peer = accept(&listener).await;
                peer.request().await.unwrap();
                peer
            });
            poll_fn(|cx| {
                assert!(asked.as_mut().poll(cx).is_pending());
                arrived.as_mut().poll(cx)
            })
            .await
        };
        assert!(peer.request().await.is_none());
        assert_eq!(upstream.survey()[0].in_flight, 0);
    });
}

#[test]
fn dropping_the_answer_closes_the_connection() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let server = async {
            let mut peer = accept(&listener).await;
            peer.request().await.unwrap();
            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegin").await;
            peer
        };
        let (answer, mut peer) = tokio::join!(upstream.send(get(), &PATIENT, &Nobody), server);
        drop(answer.unwrap());
        assert!(peer.request().await.is_none());
    });
}

#[test]
fn an_upgrade_hands_over_the_socket_with_the_bytes_that_came_with_it() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let mut asked = get();
        asked.headers_mut().insert("connection", "upgrade".parse().unwrap());
        asked.headers_mut().insert("upgrade", "echo".parse().unwrap());
        let server = async {
            let mut peer = accept(&listener).await;
            peer.request().await.unwrap();
            peer.say("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly")
                .await;
            peer
        };
        let (answer, mut peer) = tokio::join!(upstream.send(asked, &PATIENT, &Nobody), server);
        let answer = answer.unwrap();
        assert_eq!(answer.response.status(), 101);
        let mut line = answer.upgraded.unwrap();
        let mut early = [0; 5];
        line.read_exact(&mut early).await.unwrap();
        assert_eq!(&early, b"early");
        line.write_all(b"ping").await.unwrap();
        peer.up_to("ping").await;
        peer.say("pong").await;
        let mut pong = [0; 4];
        line.read_exact(&mut pong).await.unwrap();
        assert_eq!(&pong, b"pong");
        assert_eq!((upstream.survey()[0].idle, upstream.survey()[0].in_flight), (0, 1));
        drop(answer.lease);
        assert_eq!(upstream.survey()[0].in_flight, 0);
    });
}

#[test]
fn idle_connections_close_after_their_time_and_above_their_number() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let pool = settings::Pool { idle: SHORT, max_idle: 2 };
        let upstream = begin(settings::Service { pool, ..service(&[address]) }, None);
        tokio::task::spawn_local(closing_after(listener, usize::MAX, Rc::default()));
        let at_once = (0..4).map(|_| upstream.send(get(), &PATIENT, &Nobody));
        for answer in futures_util::future::join_all(at_once).await {
            body(answer.unwrap()).await.unwrap();
        }
        assert_eq!(upstream.survey()[0].idle, 2);
        until(|| upstream.survey()[0].idle == 0).await;
    });
}

#[test]
fn a_connection_is_not_used_when_the_endpoint_announced_to_close_it() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = upstream(&[address]);
        let server = async {
            for _ in 0..2 {
                let mut peer = accept(&listener).await;
                peer.request().await.unwrap();
                peer.say("HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok").await;
            }
        };
        let asked = async {
            for _ in 0..2 {
                body(upstream.send(get(), &PATIENT, &Nobody).await.unwrap()).await.unwrap();
            }
        };
        tokio::join!(asked, server);
    });
}

#[test]
fn connections_stay_while_their_endpoint_is_asked_in_the_same_way() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        tokio::task::spawn_local(closing_after(listener, usize::MAX, Rc::default()));
        let before = service(std::slice::from_ref(&address));
        let upstream = begin(before.clone(), None);
        body(upstream.send(get(), &PATIENT, &Nobody).await.unwrap()).await.unwrap();
        let idle = |service: settings::Service| {
            let lineup = Lineup::new(&Arc::new(service), Some(&upstream.lineup));
            let next = Upstream::new(lineup, None, Some(&upstream));
            next.survey().iter().map(|seen| seen.idle).sum::<usize>()
        };
        let (_other, another) = listen().await;
        assert_eq!(idle(service(&[another, address.clone()])), 1, "one more beside it");
        assert_eq!(idle(settings::Service { protocol: Protocol::H2c, ..before.clone() }), 0);
        let pool = settings::Pool { idle: SHORT, max_idle: 8 };
        assert_eq!(idle(settings::Service { pool, ..before.clone() }), 0);
        assert_eq!(idle(settings::Service { endpoints: Vec::new(), ..before }), 0);
    });
}

/// An HTTP/2 endpoint that hands each connection to `serve`.
async fn h2_endpoint<F>(
    serve: impl Fn(h2::server::Connection<TcpStream, Bytes>, u32) -> F + 'static,
) -> Address
where
    F: Future<Output = ()> + 'static,
{
    let (listener, address) = listen().await;
    tokio::task::spawn_local(async move {
        for number in 0.. {
            let (socket, _) = listener.accept().await.unwrap();
            let connection = h2::server::handshake(socket).await.unwrap();
            tokio::task::spawn_local(serve(connection, number));
        }
    });
    address
}

fn answer_h2(mut respond: h2::server::SendResponse<Bytes>) {
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    body.send_data("ok".into(), true).unwrap();
}

/// What is taken before the client has seen the GOAWAY is in time (RFC 9113, section 6.8). A test that let
/// it drop lost a POST whenever the kernel brought the answer before it and the GOAWAY apart.
async fn answer_the_rest(mut connection: h2::server::Connection<TcpStream, Bytes>) {
    while let Some(Ok((_, respond))) = connection.accept().await {
        answer_h2(respond);
    }
}

#[test]
fn requests_share_one_h2c_connection() {
    on_one_thread(async {
        let connections = Rc::new(Cell::new(0));
        let count = Rc::clone(&connections);
        let address = h2_endpoint(move |mut connection, number| {
            count.set(number + 1);
            async move {
                while let Some(Ok((request, respond))) = connection.accept().await {
                    assert_eq!(request.uri(), "http://shop.example/thing");
                    answer_h2(respond);
                }
            }
        })
        .await;
        let upstream = h2c(address);
        let timeout = PATIENT;
        let all = (0..20).map(|_| async { body(upstream.send(post("x"), &timeout, &Nobody).await?).await });
        for answer in futures_util::future::join_all(all).await {
            assert_eq!(answer.unwrap(), "ok");
        }
        assert_eq!(connections.get(), 1);
        assert_eq!((upstream.survey()[0].in_flight, upstream.survey()[0].idle), (0, 1));
    });
}

#[test]
fn a_connect_request_opens_a_tunnel_in_a_stream_of_an_h2c_connection() {
    on_one_thread(async {
        let address = h2_endpoint(|mut connection, _| async move {
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            assert_eq!(request.uri(), "db.example:5432");
            let mut sender = respond.send_response(Response::new(()), false).unwrap();
            sender.send_data("hello".into(), false).unwrap();
            let mut content = request.into_body();
            tokio::task::spawn_local(async move {
                let said = content.data().await.unwrap().unwrap();
                sender.send_data(said, true).unwrap();
            });
            while connection.accept().await.is_some() {}
        })
        .await;
        let mut asked = request("CONNECT", Content::empty());
        *asked.uri_mut() = "db.example:5432".parse().unwrap();
        let upstream = h2c(address);
        let answer = upstream.send(asked, &PATIENT, &Nobody).await.unwrap();
        let mut tunnel = answer.upgraded.unwrap();
        let mut read = [0; 5];
        tunnel.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
        tunnel.write_all(b"ping!").await.unwrap();
        tunnel.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"ping!");
        assert_eq!(tunnel.read(&mut read).await.unwrap(), 0);
        drop(answer.lease);
    });
}

#[test]
fn a_post_refused_by_an_h2c_endpoint_is_sent_again() {
    on_one_thread(async {
        let address = h2_endpoint(|mut connection, number| async move {
            let mut served = 0;
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                served += 1;
                if number == 0 && served > 1 {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                } else {
                    answer_h2(respond);
                }
            }
        })
        .await;
        let upstream = h2c(address);
        for _ in 0..3 {
            assert_eq!(body(upstream.send(post("x"), &PATIENT, &Nobody).await.unwrap()).await.unwrap(), "ok");
        }
    });
}

#[test]
fn an_h2c_connection_that_goes_away_or_closes_is_dialled_anew() {
    on_one_thread(async {
        for politely in [true, false] {
            let address = h2_endpoint(move |mut connection, _| async move {
                for _ in 0..3 {
                    let Some(Ok((_, respond))) = connection.accept().await else { return };
                    answer_h2(respond);
                }
                if politely {
                    connection.graceful_shutdown();
                    answer_the_rest(connection).await;
                } else {
                    // Flush the last answer, then vanish.
                    poll_fn(|cx| {
                        let _ = connection.poll_accept(cx);
                        std::task::Poll::Ready(())
                    })
                    .await;
                }
            })
            .await;
            let upstream = h2c(address);
            for number in 0..100 {
                let answer = upstream.send(post("x"), &PATIENT, &Nobody).await;
                let answer = answer.unwrap_or_else(|failure| panic!("{politely} {number}: {failure:?}"));
                assert_eq!(body(answer).await.unwrap(), "ok", "{politely} {number}");
            }
        }
    });
}

#[test]
fn an_h2c_endpoint_that_speaks_something_else_is_a_failure_of_its_own() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        tokio::task::spawn_local(async move {
            loop {
                let mut peer = accept(&listener).await;
                peer.say("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
                while peer.more().await.is_some() {}
            }
        });
        let failure = h2c(address).send(get(), &PATIENT, &Nobody).await.err().unwrap();
        assert_eq!(failure.verdict().status, 502, "{failure:?}");
    });
}

#[test]
fn an_h2c_answer_with_a_field_whose_name_is_no_token_is_a_bad_one() {
    on_one_thread(async {
        let address = h2_endpoint(async |mut connection, _| {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut answer = Response::new(());
                let quoted = http::HeaderName::from_lowercase(b"x\"").unwrap();
                answer.headers_mut().insert(quoted, http::HeaderValue::from_static("1"));
                respond.send_response(answer, true).unwrap();
            }
        })
        .await;
        let failure = h2c(address).send(get(), &PATIENT, &Nobody).await.err().unwrap();
        assert!(matches!(failure, Failure::BadAnswer(_)), "{failure:?}");
    });
}

#[test]
fn a_hyper_server_answers_over_h2c() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        tokio::task::spawn_local(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let echo = hyper::service::service_fn(async |request: Request<hyper::body::Incoming>| {
                let content = request.into_body().collect().await.unwrap().to_bytes();
                Ok::<_, std::convert::Infallible>(Response::new(http_body_util::Full::new(content)))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(socket), echo).await;
        });
        let content = Bytes::from(vec![b'x'; 3 << 20]);
        let answer =
            h2c(address).send(request("POST", Content::whole(content.clone())), &PATIENT, &Nobody).await;
        assert_eq!(body(answer.unwrap()).await.unwrap(), content);
    });
}

#[test]
fn content_ends_when_its_attempt_is_over() {
    on_one_thread(async {
        let (_client, mut content) = streamed("content-length: 4", Some(LONG)).await;
        assert_eq!(content.size_hint().exact(), Some(4));
        content.state().abandon();
        assert_eq!(content.frame().await.unwrap().err(), Some(ContentError::Over));
    });
}

/// A dial that everybody had left stayed half done, and the next request was sent on what had become of it.
#[test]
fn a_dial_that_nobody_waits_for_any_more_is_not_taken_up_again() {
    on_one_thread(async {
        let (listener, address) = listen().await;
        let upstream = h2c(address);
        assert!(upstream.send(get(), &PATIENT, &Nobody).now_or_never().is_none());
        drop(listener.accept().await.unwrap());
        let server = async move {
            let (socket, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(socket).await.unwrap();
            while let Some(Ok((_, respond))) = connection.accept().await {
                answer_h2(respond);
            }
        };
        tokio::task::spawn_local(server);
        let answer = upstream.send(get(), &PATIENT, &Nobody).await.unwrap();
        assert_eq!(body(answer).await.unwrap(), "ok");
    });
}
