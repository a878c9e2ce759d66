//! The sockets of the admin API, and who may ask what there.
//!
//! Promises: see [`super`]. An accept error (no descriptors left) closes nothing and is retried
//! with the next connection or after a moment, never in a busy loop.
//! Must not know: the gateway.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Desk, Drill, Hand, Wish};

/// Connections at the same time; others wait in the kernel.
const MOST_CONNECTIONS: usize = 64;
/// For the head of the request.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// For everything but a reload.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A reload reads files, on a machine that may be busy.
const RELOAD_LIMIT: Duration = Duration::from_secs(120);
const MOST_HEAD_BYTES: usize = 16 * 1024;
/// After an accept error.
const PAUSE: Duration = Duration::from_millis(100);

/// What may be asked at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Everything,
    ReadOnly,
}

/// The open doors. Dropped: closed, with whatever was being answered.
pub struct Doors {
    sockets: Vec<(OwnedFd, Access)>,
    desk: Rc<dyn Desk>,
    head_limit: Duration,
    accepting: JoinSet<()>,
    talking: Arc<Semaphore>,
}

impl Doors {
    /// Answers on these listening sockets. Needs a local tokio runtime.
    pub fn open(sockets: Vec<(OwnedFd, Access)>, desk: Rc<dyn Desk>) -> io::Result<Doors> {
        Doors::open_within(sockets, desk, HEAD_LIMIT)
    }

    fn open_within(
        sockets: Vec<(OwnedFd, Access)>,
        desk: Rc<dyn Desk>,
        head_limit: Duration,
    ) -> io::Result<Doors> {
        let (accepting, talking) = (JoinSet::new(), Arc::new(Semaphore::new(MOST_CONNECTIONS)));
        let mut doors = Doors { sockets, desk, head_limit, accepting, talking };
        doors.open_again()?;
        Ok(doors)
    }

    /// Accepts no more for now; who is in is answered. Others can accept from the same sockets.
    pub fn shut(&mut self) {
        self.accepting.abort_all();
    }

    /// The same for good. Nothing of the sockets is left here when the answer has ended.
    pub fn leave(&mut self) -> impl Future<Output = ()> + use<> {
        let mut accepting = std::mem::take(&mut self.accepting);
        self.sockets.clear();
        async move { accepting.shutdown().await }
    }

    /// After [`Doors::shut`].
    pub fn open_again(&mut self) -> io::Result<()> {
        let mut accepting = JoinSet::new();
        for (fd, access) in &self.sockets {
            let visitor = Visitor {
                desk: Rc::clone(&self.desk),
                access: *access,
                head_limit: self.head_limit,
                connection: None,
            };
            let talking = Arc::clone(&self.talking);
            let socket = socket2::Socket::from(fd.try_clone()?);
            socket.set_nonblocking(true)?;
            if socket.local_addr()?.is_unix() {
                let listener = UnixListener::from_std(OwnedFd::from(socket).into())?;
                let accept = async move || Ok(listener.accept().await?.0);
                accepting.spawn_local(answer_all(accept, visitor, talking));
            } else {
                let listener = TcpListener::from_std(OwnedFd::from(socket).into())?;
                let accept = async move || Ok(listener.accept().await?.0);
                // Whoever reaches a TCP port has shown nothing about who they are.
                let visitor = Visitor { access: Access::ReadOnly, ..visitor };
                accepting.spawn_local(answer_all(accept, visitor, talking));
            }
        }
        self.accepting = accepting;
        Ok(())
    }

    /// Accepts no more, and waits until what was asked is answered.
    pub async fn close(mut self) {
        self.accepting.abort_all();
        while self.accepting.join_next().await.is_some() {}
        // INVARIANT: the number fits, and the semaphore is never closed.
        let _ = self.talking.acquire_many(MOST_CONNECTIONS as u32).await;
    }
}

#[derive(Clone)]
struct Visitor {
    desk: Rc<dyn Desk>,
    access: Access,
    head_limit: Duration,
    /// A copy of it, for somebody else to answer on; only from a Unix socket for everything.
    connection: Option<Rc<OwnedFd>>,
}

/// The answer comes from somebody else.
#[derive(Debug, thiserror::Error)]
#[error("answered by the keeper")]
struct PassedOn;

async fn answer_all<S>(accept: impl AsyncFn() -> io::Result<S>, visitor: Visitor, talking: Arc<Semaphore>)
where
    S: AsyncRead + AsyncWrite + AsFd + Unpin + 'static,
{
    loop {
        // Never closed; without a place, visitors wait in the kernel.
        let Ok(place) = Arc::clone(&talking).acquire_owned().await else { return };
        match accept().await {
            Ok(stream) => {
                let mut visitor = visitor.clone();
                let copy =
                    (visitor.access == Access::Everything).then(|| stream.as_fd().try_clone_to_owned());
                visitor.connection = copy.and_then(Result::ok).map(Rc::new);
                tokio::task::spawn_local(async move {
                    serve(stream, visitor).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept on an admin socket: {error}, retrying in {PAUSE:?}");
                // Out of descriptors, most likely: the kernel tells nobody when there are some again.
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve<S>(stream: S, visitor: Visitor)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let head_limit = visitor.head_limit;
    let answer = service_fn(move |request| {
        let visitor = visitor.clone();
        async move {
            if request.uri().path() == "/upgrade" && request.method() == Method::POST {
                return visitor.upgrade();
            }
            Ok(visitor.answer(&request).await)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_limit)
        .max_buf_size(MOST_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    // A client that does not read its answer, or leaves, is its own business.
    let _ = tokio::time::timeout(RELOAD_LIMIT + ANSWER_LIMIT, connection).await;
}

impl Visitor {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let head = request.method() == Method::HEAD;
        match (request.uri().path(), request.method()) {
            ("/healthz", &Method::GET | &Method::HEAD) => text(StatusCode::OK, "ok\n".into()),
            ("/readyz", &Method::GET | &Method::HEAD) => match self.desk.readiness() {
                Ok(()) => text(StatusCode::OK, "ready\n".into()),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why.join("\n") + "\n"),
            },
            ("/status", &Method::GET | &Method::HEAD) => json(StatusCode::OK, &self.desk.status()),
            ("/ledger", &Method::GET | &Method::HEAD) => json(StatusCode::OK, &self.desk.ledger().told()),
            ("/reload", &Method::POST) => self.reload().await,
            (path, method) if path.starts_with("/breaker/") => match *method {
                Method::POST => self.breaker(path),
                _ => not_allowed("POST"),
            },
            ("/gate", &Method::POST) => self.gate(request.uri().query().unwrap_or("")).await,
            ("/fault", &Method::POST) => self.fault(request.uri().query().unwrap_or_default()),
            ("/reload" | "/upgrade" | "/gate" | "/fault", _) => not_allowed("POST"),
            ("/healthz" | "/readyz" | "/status" | "/ledger", _) => not_allowed("GET, HEAD"),
            _ if head => text(StatusCode::NOT_FOUND, String::new()),
            _ => text(
                StatusCode::NOT_FOUND,
                "here are: /healthz, /readyz, /status, /ledger, /breaker, /gate, /fault, /reload, /upgrade\n"
                    .into(),
            ),
        }
    }

    /// The head of an answer without a length, whose content is up to the keeper: it ends when the connection does.
    fn upgrade(&self) -> Result<Response<Full<Bytes>>, PassedOn> {
        let Some(connection) = &self.connection else {
            let why = "cannot upgrade through this socket: it is read-only; use the Unix socket (hitless upgrade)\n";
            return Ok(text(StatusCode::FORBIDDEN, why.into()));
        };
        let failed = |error: io::Error| text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"));
        let copy = match connection.try_clone() {
            Ok(copy) => copy,
            Err(error) => return Ok(failed(error)),
        };
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";
        // It fits: nothing was written yet.
        match rustix::io::write(&copy, head) {
            Ok(length) if length == head.len() => self.desk.upgrade(copy),
            _ => {}
        }
        // hyper closes its copy of the connection without a word.
        Err(PassedOn)
    }

    fn breaker(&self, path: &str) -> Response<Full<Bytes>> {
        if self.access == Access::ReadOnly {
            let why = "cannot set a breaker through this socket: it is read-only; use the Unix socket (hitless breaker)\n";
            return text(StatusCode::FORBIDDEN, why.into());
        }
        let mut parts = path.trim_start_matches("/breaker/").splitn(3, '/');
        let hand = match parts.next() {
            Some("open") => Hand::Open,
            Some("close") => Hand::Close,
            Some("auto") => Hand::Auto,
            _ => {
                return text(
                    StatusCode::NOT_FOUND,
                    "allowed: /breaker/open, close or auto/SERVICE[/ENDPOINT]\n".into(),
                );
            }
        };
        let (service, endpoint) = (parts.next().map(decoded), parts.next().map(decoded));
        match self.desk.breaker(hand, &service.unwrap_or_default(), endpoint.as_deref()) {
            Ok(told) => text(StatusCode::OK, told + "\n"),
            Err(why) => text(StatusCode::NOT_FOUND, why + "\n"),
        }
    }

    async fn gate(&self, query: &str) -> Response<Full<Bytes>> {
        if self.access == Access::ReadOnly {
            let why = "cannot hold or release through this socket: it is read-only; use the Unix socket\n";
            return text(StatusCode::FORBIDDEN, why.into());
        }
        let Some(wish) = Wish::read(query) else {
            return text(
                StatusCode::BAD_REQUEST,
                "there are gate=hold, release, drain and started, with service=NAME\n".into(),
            );
        };
        match tokio::time::timeout(RELOAD_LIMIT, self.desk.gate(wish)).await {
            Ok(gated) if gated.refused.is_none() => json(StatusCode::OK, &gated),
            Ok(gated) => json(StatusCode::UNPROCESSABLE_ENTITY, &gated),
            Err(_) => text(StatusCode::GATEWAY_TIMEOUT, "no answer yet\n".into()),
        }
    }

    fn fault(&self, query: &str) -> Response<Full<Bytes>> {
        if self.access == Access::ReadOnly {
            let why = "cannot set a fault through this socket: it is read-only; use the Unix socket (hitless fault)\n";
            return text(StatusCode::FORBIDDEN, why.into());
        }
        match Drill::read(query).map_err(str::to_owned).and_then(|drill| self.desk.fault(drill)) {
            Ok(said) => text(StatusCode::OK, said + "\n"),
            Err(why) => text(StatusCode::UNPROCESSABLE_ENTITY, format!("cannot set a fault: {why}\n")),
        }
    }

    async fn reload(&self) -> Response<Full<Bytes>> {
        if self.access == Access::ReadOnly {
            let why =
                "cannot reload through this socket: it is read-only; use the Unix socket (hitless reload)\n";
            return text(StatusCode::FORBIDDEN, why.into());
        }
        match tokio::time::timeout(RELOAD_LIMIT, self.desk.reload()).await {
            Ok(verdict) if verdict.accepted => json(StatusCode::OK, &verdict),
            Ok(verdict) => json(StatusCode::UNPROCESSABLE_ENTITY, &verdict),
            Err(_) => text(StatusCode::GATEWAY_TIMEOUT, "no verdict yet\n".into()),
        }
    }
}

/// RFC 3986, section 2.1; what is broken stays as it is.
fn decoded(part: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(part.len()), part.as_bytes());
    while let [first, tail @ ..] = rest {
        let pair = tail.get(..2).filter(|_| *first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", body.into())
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => response(status, "application/json", body.into()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("allowed: {allowed}\n"));
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    response
}

fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::super::{Gated, Status, Verdict};
    use super::*;
    use crate::telemetry::ledger::{Ledger, Page};
    use futures_util::future::LocalBoxFuture;
    use std::cell::RefCell;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixStream};

    struct Fixed {
        readiness: Result<(), Vec<String>>,
        verdicts: RefCell<Vec<Verdict>>,
    }

    impl Desk for Fixed {
        fn readiness(&self) -> Result<(), Vec<String>> {
            self.readiness.clone()
        }

        fn status(&self) -> Status {
            Status { generation: 7, ..Status::default() }
        }

        fn upgrade(&self, asker: OwnedFd) {
            use std::io::Write;
            std::fs::File::from(asker).write_all(b"later").unwrap();
        }

        fn breaker(&self, hand: Hand, service: &str, endpoint: Option<&str>) -> Result<String, String> {
            match service {
                "shop" => Ok(format!("{hand:?} {service} {endpoint:?}")),
                other => Err(format!("no service is called '{other}'")),
            }
        }

        fn ledger(&self) -> Ledger {
            let page = Page { gateway: 3, ..Page::default() };
            Ledger { gateways: vec![page] }
        }

        fn gate(&self, wish: Wish) -> LocalBoxFuture<'static, Gated> {
            Box::pin(async move { Gated { done: wish.service == "shop", ..Gated::default() } })
        }

        fn fault(&self, drill: Drill) -> Result<String, String> {
            if drill.service == "shop" { Ok("set".into()) } else { Err("there is no such service".into()) }
        }

        fn reload(&self) -> LocalBoxFuture<'static, Verdict> {
            let verdict = self.verdicts.borrow_mut().pop().expect("a verdict");
            Box::pin(async move { verdict })
        }
    }

    fn fixed(readiness: Result<(), Vec<String>>, verdicts: Vec<Verdict>) -> Rc<Fixed> {
        Rc::new(Fixed { readiness, verdicts: RefCell::new(verdicts) })
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .unwrap()
            .block_on(test);
    }

    async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
        let request = format!("{request} HTTP/1.1\r\nHost: admin\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[test]
    fn the_unix_socket_answers_everything() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("admin.sock");
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let messages = vec!["a.toml:1:1: x".into()];
            let refused = Verdict { generation: 7, messages, ..Verdict::default() };
            let accepted = Verdict { accepted: true, generation: 8, ..Verdict::default() };
            let desk = fixed(Err(vec!["draining".into()]), vec![accepted, refused.clone()]);
            let doors = Doors::open(vec![(listener.into(), Access::Everything)], desk).unwrap();
            let get = async |request: &str| ask(UnixStream::connect(&path).await.unwrap(), request).await;
            assert!(get("GET /healthz").await.starts_with("HTTP/1.1 200 OK\r\n"));
            let readiness = get("GET /readyz").await;
            assert!(readiness.starts_with("HTTP/1.1 503 ") && readiness.ends_with("\r\n\r\ndraining\n"));
            assert!(get("GET /status").await.contains("\"generation\":7"));
            let ledger = get("GET /ledger").await;
            assert!(ledger.contains("\"gateway\":3") && ledger.contains("\"residue\":{"), "{ledger}");
            assert!(get("POST /ledger").await.starts_with("HTTP/1.1 405 "));
            let set = get("POST /breaker/open/shop/unix:/run/a%20b.sock").await;
            assert!(
                set.starts_with("HTTP/1.1 200 ") && set.ends_with("Open shop Some(\"unix:/run/a b.sock\")\n"),
                "{set}"
            );
            assert!(get("POST /breaker/auto/shop").await.ends_with("Auto shop None\n"));
            assert!(get("POST /breaker/auto/%zz%").await.starts_with("HTTP/1.1 404 "));
            assert!(get("POST /breaker/ajar/shop").await.starts_with("HTTP/1.1 404 "));
            assert!(get("GET /breaker/open/shop").await.starts_with("HTTP/1.1 405 "));
            let verdict = get("POST /reload").await;
            assert!(verdict.starts_with("HTTP/1.1 422 "), "{verdict}");
            let body = verdict.split("\r\n\r\n").nth(1).unwrap();
            assert_eq!(serde_json::from_str::<Verdict>(body).unwrap(), refused);
            assert!(get("POST /reload").await.starts_with("HTTP/1.1 200 OK\r\n"));
            assert!(get("GET /reload").await.starts_with("HTTP/1.1 405 "));
            assert!(get("POST /fault?service=shop&abort=503").await.starts_with("HTTP/1.1 200 OK\r\n"));
            assert!(get("POST /fault?service=blog&abort=503").await.starts_with("HTTP/1.1 422 "));
            assert!(get("POST /fault?service=shop&abort=200").await.starts_with("HTTP/1.1 422 "));
            let upgrade = get("POST /upgrade").await;
            assert!(
                upgrade.starts_with("HTTP/1.1 200 OK\r\n") && upgrade.ends_with("\r\n\r\nlater"),
                "{upgrade}"
            );
            assert!(get("GET /").await.starts_with("HTTP/1.1 404 "));
            doors.close().await;
            assert!(UnixStream::connect(&path).await.is_err());
        });
    }

    #[test]
    fn shut_doors_leave_their_sockets_to_others_and_open_again() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("admin.sock");
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let other = listener.try_clone().unwrap();
            let desk = || fixed(Ok(()), vec![]);
            let mut doors = Doors::open(vec![(listener.into(), Access::Everything)], desk()).unwrap();
            doors.shut();
            let waiting = UnixStream::connect(&path).await.unwrap();
            let others = Doors::open(vec![(other.into(), Access::ReadOnly)], desk()).unwrap();
            assert!(ask(waiting, "POST /reload").await.starts_with("HTTP/1.1 403 "));
            others.close().await;
            let waiting = UnixStream::connect(&path).await.unwrap();
            doors.open_again().unwrap();
            assert!(ask(waiting, "GET /healthz").await.starts_with("HTTP/1.1 200 "));
        });
    }

    #[test]
    fn a_tcp_socket_never_reloads_even_if_it_was_said_to() {
        run(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let desk = fixed(Ok(()), vec![]);
            let _doors = Doors::open(vec![(listener.into(), Access::Everything)], desk).unwrap();
            let get = async |request: &str| ask(TcpStream::connect(address).await.unwrap(), request).await;
            assert!(get("POST /reload").await.starts_with("HTTP/1.1 403 "));
            assert!(get("POST /upgrade").await.starts_with("HTTP/1.1 403 "));
            assert!(get("POST /breaker/open/shop").await.starts_with("HTTP/1.1 403 "));
            assert!(get("GET /readyz").await.ends_with("\r\n\r\nready\n"));
        });
    }

    #[test]
    fn silent_connections_do_not_keep_others_from_an_answer_for_ever() {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("admin.sock");
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let sockets = vec![(listener.into(), Access::Everything)];
            let limit = Duration::from_millis(50);
            let _doors = Doors::open_within(sockets, fixed(Ok(()), vec![]), limit).unwrap();
            let mut silent = vec![];
            for _ in 0..MOST_CONNECTIONS {
                silent.push(UnixStream::connect(&path).await.unwrap());
            }
            let answer = ask(UnixStream::connect(&path).await.unwrap(), "GET /healthz").await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
        });
    }
}
