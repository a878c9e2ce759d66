//! A gateway's front with a client on one side and an endpoint on the other.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::config::settings::{
    self, AccessLog, AccessSink, Action, Address, Admin, Daemon, Drain, DrainDeadline, HostPattern, Listener,
    LogLevel, PathPattern, Pool, Protocol, Settings, Timeout,
};
use crate::connection::{Blueprint, DrainOrder};
use crate::handover::record::Parcel;
use crate::listener::{Socket, Threads};
use crate::route::Table;
use crate::telemetry::counters::Totals;
use crate::telemetry::ledger::{Fate, Page};

/// Longer than anything that works takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// One data thread in front of one service, unless told otherwise.
pub(super) struct Gateway {
    pub(super) threads: Threads,
    address: SocketAddr,
    unix: Option<(tempfile::TempDir, PathBuf)>,
    beats: std::cell::Cell<u64>,
    blueprint: std::cell::RefCell<Arc<Blueprint>>,
}

/// A drain whose grace and jitter are over at once.
pub(super) const AT_ONCE: DrainOrder =
    DrainOrder { idle_grace: Duration::ZERO, tunnel_jitter: Duration::ZERO };

/// A drain whose grace no test outlives.
pub(super) const GRACE: DrainOrder =
    DrainOrder { idle_grace: Duration::from_secs(600), tunnel_jitter: Duration::ZERO };

pub(super) fn gateway(settings: Settings) -> Gateway {
    Gateway::start(1, settings, false)
}

impl Gateway {
    pub(super) fn start(threads: usize, settings: Settings, with_unix: bool) -> Gateway {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let mut sockets = vec![Socket { name: "http".into(), fd: tcp.into(), passed: false }];
        let unix = with_unix.then(|| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("http.sock");
            let listener = UnixListener::bind(&path).unwrap();
            sockets.push(Socket { name: "http".into(), fd: listener.into(), passed: false });
            (folder, path)
        });
        let blueprint = blueprint(1, settings);
        let threads = Threads::start(threads, sockets, Arc::clone(&blueprint)).unwrap();
        Gateway { threads, address, unix, beats: std::cell::Cell::new(0), blueprint: blueprint.into() }
    }

    /// A second way to start: on a socket that others hold too.
    pub(super) fn on(listener: TcpListener, settings: Settings) -> Gateway {
        let address = listener.local_addr().unwrap();
        let sockets = vec![Socket { name: "http".into(), fd: listener.into(), passed: false }];
        let blueprint = blueprint(1, settings);
        let threads = Threads::start(1, sockets, Arc::clone(&blueprint)).unwrap();
        Gateway { threads, address, unix: None, beats: std::cell::Cell::new(0), blueprint: blueprint.into() }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn connect(&self) -> Peer {
        Peer::new(Stream::Tcp(TcpStream::connect(self.address).unwrap()))
    }

    pub(super) fn connect_unix(&self) -> Peer {
        Peer::come_by_unix(&self.unix_path()).unwrap()
    }

    pub(super) fn unix_path(&self) -> PathBuf {
        self.unix.as_ref().unwrap().1.clone()
    }

    /// Connects and sends a request.
    pub(super) fn ask(&self, head: &str) -> Peer {
        let mut client = self.connect();
        client.send(head);
        client
    }

    /// The way into the service of this number.
    pub(super) fn turnstile(&self, service: usize) -> Arc<crate::policy::Turnstile> {
        Arc::clone(&self.blueprint.borrow().turnstiles[service])
    }

    /// Waits until every thread has come round, so that what it was told before has happened.
    pub(super) fn settle(&self) {
        let beat = self.beats.get() + 1;
        self.beats.set(beat);
        self.threads.beat(beat);
        while !self.threads.beaten(beat) {
            std::thread::yield_now();
        }
    }

    /// As if so much time had passed.
    pub(super) fn later(&self, time: Duration) {
        self.threads.run(0, move |local| local.sweep(std::time::Instant::now() + time));
        self.settle();
    }

    pub(super) fn drain(&self, order: DrainOrder) {
        self.threads.drain(order);
        self.settle();
    }

    /// From now on whoever can move departs.
    pub(super) fn hand_over(&self) -> Departures {
        let (sender, departures) = unbounded_channel();
        self.threads.hand_over(&sender);
        self.settle();
        Departures(departures)
    }

    pub(super) fn take_back(&self) {
        self.threads.take_back();
        self.settle();
    }

    /// As it comes from another process.
    pub(super) fn adopt(&self, parcel: Parcel) {
        let text = serde_json::to_string(&parcel.record).unwrap();
        let record = serde_json::from_str(&text).unwrap();
        self.threads.adopt(Parcel { record, fds: parcel.fds }).unwrap();
    }

    pub(super) fn cut(&self) {
        self.threads.cut();
        self.settle();
    }

    pub(super) fn install(&self, number: u64, settings: Settings) {
        let next = blueprint_after(number, settings, Some(&self.blueprint.borrow()));
        self.blueprint.replace(Arc::clone(&next));
        block_on(self.threads.install(next));
    }

    /// Waits until no connection is left, and gives what was counted.
    pub(super) fn finish(self) -> Totals {
        block_on(self.threads.finished());
        let totals = self.threads.totals();
        assert_eq!(totals.residue(), 0, "{totals:?}");
        assert_eq!((totals.in_flight, totals.tunnels_open, totals.connections_open), (0, 0, 0), "{totals:?}");
        let page = Page { fate: Fate::Ended, ..self.threads.page() };
        assert!(page.residue().is_zero(), "{page:#?}");
        self.threads.join();
        totals
    }

    /// Waits until the counters say so.
    pub(super) fn until(&self, told: impl Fn(&Totals) -> bool) -> Totals {
        let began = std::time::Instant::now();
        loop {
            self.settle();
            let totals = self.threads.totals();
            if told(&totals) {
                return totals;
            }
            assert!(began.elapsed() < PATIENCE, "{totals:?}");
        }
    }
}

/// What departs from a gateway.
pub(super) struct Departures(pub(super) UnboundedReceiver<Parcel>);

impl Departures {
    /// Waits for the next one; `None` when nobody hands over any more.
    pub(super) fn next(&mut self) -> Option<Parcel> {
        block_on(self.0.recv())
    }

    /// What has departed and was not taken.
    pub(super) fn rest(&mut self) -> Vec<Parcel> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
}

pub(super) fn blueprint(number: u64, settings: Settings) -> Arc<Blueprint> {
    blueprint_after(number, settings, None)
}

fn blueprint_after(number: u64, settings: Settings, before: Option<&Blueprint>) -> Arc<Blueprint> {
    let settings = Arc::new(settings);
    let routes = Arc::new(Table::new(&settings));
    let access = crate::telemetry::access::AccessLog::silent();
    let via = crate::policy::Via::new("test");
    let tls = super::tls::directory(&settings);
    let (outward, wrong) = crate::tls::outward(&settings);
    assert!(wrong.is_empty(), "{wrong:?}");
    let lineups = before.map_or(&[][..], |before| &before.lineups[..]);
    let lineups = crate::upstream::board::Lineup::all(&settings.services, lineups);
    let known = before.map(|before| (&*before.settings, &before.turnstiles[..]));
    let turnstiles = crate::policy::Turnstile::all(&settings, known, std::time::Instant::now());
    Arc::new(Blueprint { number, settings, routes, outward, lineups, turnstiles, access, via, tls })
}

/// These services on one listener.
pub(super) fn settings(services: Vec<settings::Service>) -> Settings {
    Settings {
        daemon: Daemon { threads: 1, reload_on_change: false },
        listeners: vec![Listener {
            name: "http".into(),
            listen: Vec::new(),
            backlog: 64,
            tls: false,
            proxy: Vec::new(),
        }],
        admin: Admin { socket: PathBuf::new(), listen: Vec::new(), faults: false },
        drain: Drain {
            deadline: DrainDeadline::Fixed(PATIENCE),
            idle_grace: Duration::ZERO,
            lame_duck: Duration::ZERO,
            extend: false,
            tunnel_jitter: Duration::ZERO,
        },
        upgrade: Default::default(),
        log: settings::Log {
            level: LogLevel::Info,
            access: AccessLog::Off,
            access_to: AccessSink::Journal { namespace: None },
        },
        limits: crate::config::settings::Limits::default(),
        tls: Default::default(),
        errors: Default::default(),
        trusted_proxies: Vec::new(),
        services: services.into_iter().map(Arc::new).collect(),
    }
}

/// One service for everything at `endpoint`.
pub(super) fn only(endpoint: &Origin) -> Settings {
    settings(vec![service("app", endpoint)])
}

/// One service that needs no endpoint.
pub(super) fn answering(text: &str) -> Settings {
    let mut service = service("app", &Origin::start());
    service.routes[0].action =
        Action::Answer { status: 200, content_type: "text/plain".into(), body: text.into() };
    settings(vec![service])
}

pub(super) fn service(name: &str, endpoint: &Origin) -> settings::Service {
    settings::Service {
        name: name.into(),
        endpoints: vec![Address::Ip(endpoint.address).into()],
        resolve: Duration::from_secs(30),
        balance: Default::default(),
        health: None,
        breaker: Default::default(),
        protocol: Protocol::Http1,
        endpoint_tls: Default::default(),
        pool: Pool { idle: Duration::from_secs(60), max_idle: 8 },
        errors: Default::default(),
        tls: Default::default(),
        https: Default::default(),
        rates: Vec::new(),
        concurrency: Default::default(),
        deadline_field: None,
        routes: vec![route(name)],
    }
}

pub(super) fn route(service: &str) -> settings::Route {
    settings::Route {
        id: format!("{service}[0]"),
        listeners: Vec::new(),
        hosts: vec![HostPattern::Any],
        path: PathPattern("/*".into()),
        methods: Vec::new(),
        fields: Default::default(),
        action: Action::Forward,
        rewrite: None,
        connect: false,
        timeout: Timeout {
            connect: PATIENCE,
            first_byte: None,
            idle: None,
            request: None,
            tunnel_idle: None,
        },
        retry: settings::Retry::NEVER,
        limits: crate::config::settings::ContentLimits::default(),
        rates: Vec::new(),
        fallback: None,
    }
}

/// An endpoint that does what the test says.
pub(super) struct Origin {
    listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl Origin {
    pub(super) fn start() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Origin { listener, address }
    }

    /// The next connection of the gateway.
    pub(super) fn accept(&self) -> Peer {
        Peer::new(Stream::Tcp(self.listener.accept().unwrap().0))
    }

    /// The next connection with the head that came on it.
    pub(super) fn request(&self) -> (Peer, String) {
        let mut peer = self.accept();
        let head = peer.head();
        (peer, head)
    }

    /// Whether the gateway has connected again.
    pub(super) fn was_called(&self) -> bool {
        self.listener.set_nonblocking(true).unwrap();
        let called = self.listener.accept().is_ok();
        self.listener.set_nonblocking(false).unwrap();
        called
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

/// One end of a connection, with what was read too far.
pub(super) struct Peer {
    stream: Stream,
    read: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Reset,
    /// Of TLS: without close_notify.
    Cut,
}

impl Peer {
    fn new(stream: Stream) -> Peer {
        match &stream {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(PATIENCE)).unwrap(),
            Stream::Unix(stream) => stream.set_read_timeout(Some(PATIENCE)).unwrap(),
            Stream::Tls(stream) => stream.sock.set_read_timeout(Some(PATIENCE)).unwrap(),
        }
        Peer { stream, read: Vec::new() }
    }

    /// A client of TLS, before its handshake.
    pub(super) fn tls(address: SocketAddr, connection: rustls::ClientConnection) -> Peer {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        Peer::new(Stream::Tls(Box::new(rustls::StreamOwned::new(connection, socket))))
    }

    /// The TLS of a client, and its socket.
    pub(super) fn within(&mut self) -> &mut rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
        let Stream::Tls(stream) = &mut self.stream else { unreachable!() };
        stream
    }

    pub(super) fn of(stream: UnixStream) -> Peer {
        Peer::new(Stream::Unix(stream))
    }

    pub(super) fn connect(address: SocketAddr) -> Peer {
        Peer::new(Stream::Tcp(TcpStream::connect(address).unwrap()))
    }

    /// As a client that may be refused.
    pub(super) fn come(address: SocketAddr) -> std::io::Result<Peer> {
        TcpStream::connect(address).map(|stream| Peer::new(Stream::Tcp(stream)))
    }

    pub(super) fn come_by_unix(path: &std::path::Path) -> std::io::Result<Peer> {
        UnixStream::connect(path).map(|stream| Peer::new(Stream::Unix(stream)))
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes.as_ref()).unwrap(),
            Stream::Unix(stream) => stream.write_all(bytes.as_ref()).unwrap(),
            Stream::Tls(stream) => stream.write_all(bytes.as_ref()).unwrap(),
        }
    }

    /// No more is sent.
    pub(super) fn end(&mut self) {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        }
    }

    /// Sends until the other side takes no more; returns how much that was.
    pub(super) fn send_until_stuck(&mut self) -> usize {
        let Stream::Tcp(stream) = &mut self.stream else { unreachable!() };
        stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let chunk = [b'x'; 64 * 1024];
        let mut sent = 0;
        loop {
            match stream.write(&chunk) {
                Ok(count) => sent += count,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                    return sent;
                }
            }
        }
    }

    /// Sends until the other side breaks the connection.
    pub(super) fn send_until_refused(&mut self) {
        let Stream::Tcp(stream) = &mut self.stream else { unreachable!() };
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let chunk = [b'x'; 64 * 1024];
        loop {
            if let Err(error) = stream.write_all(&chunk) {
                let expected = matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
                return assert!(expected, "{error}");
            }
        }
    }

    /// Whether something has come, without waiting for it.
    pub(super) fn has_something(&mut self) -> bool {
        let Stream::Tcp(stream) = &self.stream else { unreachable!() };
        stream.set_nonblocking(true).unwrap();
        let came = !self.read.is_empty() || stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).unwrap();
        came
    }

    fn more(&mut self) -> Result<usize, End> {
        let mut space = [0; 4096];
        let read = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut space),
            Stream::Unix(stream) => stream.read(&mut space),
            Stream::Tls(stream) => stream.read(&mut space),
        };
        match read {
            Ok(0) => Err(End::Closed),
            Ok(count) => {
                self.read.extend_from_slice(&space[..count]);
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(End::Reset),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(End::Cut),
            Err(error) => panic!("{error}; read so far: {:?}", String::from_utf8_lossy(&self.read)),
        }
    }

    /// Everything up to and including `mark`.
    pub(super) fn until(&mut self, mark: &str) -> String {
        loop {
            if let Some(at) = find(&self.read, mark.as_bytes()) {
                let rest = self.read.split_off(at + mark.len());
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            if let Err(end) = self.more() {
                panic!("{end:?} before {mark:?}: {:?}", String::from_utf8_lossy(&self.read));
            }
        }
    }

    /// A head, in lower case.
    pub(super) fn head(&mut self) -> String {
        self.until("\r\n\r\n").to_lowercase()
    }

    pub(super) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            self.more().unwrap();
        }
        let rest = self.read.split_off(count);
        std::mem::replace(&mut self.read, rest)
    }

    /// An answer with `content-length`: its head, and its content as text.
    pub(super) fn answer(&mut self) -> (String, String) {
        let head = self.head();
        let length = head
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        (head, String::from_utf8(self.exactly(length)).unwrap())
    }

    /// Chunked content, without trailers.
    pub(super) fn chunked(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        loop {
            let size = usize::from_str_radix(self.until("\r\n").trim_end(), 16).unwrap();
            content.extend(self.exactly(size));
            assert_eq!(self.exactly(2), b"\r\n");
            if size == 0 {
                return content;
            }
        }
    }

    /// What comes until the end, and how it ends.
    pub(super) fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.more() {
                return (std::mem::take(&mut self.read), end);
            }
        }
    }

    /// Waits for the end, before which nothing comes.
    pub(super) fn ended(&mut self) -> End {
        let (rest, end) = self.rest();
        assert_eq!(String::from_utf8_lossy(&rest), "");
        end
    }
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

pub(super) const GET: &str = "GET / HTTP/1.1\r\nHost: app.example\r\n\r\n";
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
