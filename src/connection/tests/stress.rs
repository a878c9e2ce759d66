//! Every answer is the answer to its request, whatever clients and endpoints do.
//!
//! Each request has a number, in its path and all over its content; an endpoint answers with that number
//! and otherwise as it likes: early, in pieces, with bytes too many, not to the end, not at all. Clients
//! send many requests at once and leave when they like, and connections move from gateway to gateway.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use super::moving::move_all;
use super::world::*;
use crate::config::settings::{Address, Settings};

const CLIENTS: u64 = 6;
const CONNECTIONS: u64 = 20;

/// What endpoints and clients have seen.
struct Seen {
    settings: Settings,
    posts: Mutex<HashMap<u64, u32>>,
    wrong: Mutex<Vec<String>>,
    right: AtomicU64,
    /// Clients that have come to their end.
    over: AtomicU64,
    /// From here on a connection may end without a word.
    cut: AtomicBool,
}

impl Seen {
    fn of(settings: Settings) -> Seen {
        let (posts, wrong) = (Mutex::default(), Mutex::default());
        let (right, over, cut) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Seen { settings, posts, wrong, right, over, cut }
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }
}

#[test]
fn every_answer_is_the_answer_to_its_request() {
    let seen = storm(|gateway, _| vec![gateway]);
    assert!(seen.right.load(Relaxed) > CLIENTS * CONNECTIONS / 2, "nothing was tested");
}

/// Also when some of those who have departed come back.
#[test]
fn every_answer_is_the_answer_to_its_request_wherever_its_connection_has_moved() {
    let mut random = fastrand::Rng::with_seed(seed() ^ 0x6d6f_7665);
    let seen = storm(|gateway, seen| {
        let gateways = vec![gateway, Gateway::start(2, seen.settings.clone(), false)];
        let (mut from, mut to, mut moves) = (0, 1, 0);
        while seen.over.load(SeqCst) < CLIENTS {
            let until = seen.right.load(Relaxed) + random.u64(..30);
            while seen.right.load(Relaxed) < until && seen.over.load(SeqCst) < CLIENTS {
                gateways[from].settle();
            }
            move_all(&gateways[from], &gateways[to], || random.u8(..8) == 0);
            (from, to, moves) = (to, from, moves + 1);
        }
        println!("{moves} moves");
        gateways
    });
    assert!(seen.right.load(Relaxed) > CLIENTS * CONNECTIONS / 2, "nothing was tested");
}

#[test]
fn a_cut_in_the_middle_of_everything_leaves_nothing_behind() {
    for answers in [1, 20, 100] {
        storm(|gateway, seen| {
            // Who waits in the queue is refused when the gateway has gone.
            gateway.until(|totals| totals.answered >= answers);
            seen.cut.store(true, SeqCst);
            gateway.drain(GRACE);
            gateway.cut();
            gateway.finish();
            Vec::new()
        });
    }
}

fn seed() -> u64 {
    std::env::var("HITLESS_SEED").map_or(7, |seed| seed.parse().unwrap())
}

/// What happens to the gateway meanwhile is up to `event`; which gateways are left when the clients have gone.
fn storm(event: impl FnOnce(Gateway, &Seen) -> Vec<Gateway>) -> Arc<Seen> {
    let seed = seed();
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut service = service("app", &Origin::start());
    service.endpoints = vec![Address::Ip(endpoint.local_addr().unwrap()).into()];
    let mut settings = settings(vec![service]);
    // Whoever comes back from a move may have sent a part of its requests.
    settings.drain.idle_grace = GRACE.idle_grace;
    let seen = Arc::new(Seen::of(settings.clone()));
    serve(endpoint, seed, &seen);
    let gateway = Gateway::start(2, settings, false);
    let address = gateway.address();
    let left = std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let seen = &seen;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed ^ (number << 32));
                for connection in 0..CONNECTIONS {
                    let first = (number * CONNECTIONS + connection) * 16 + 1_000_000;
                    visit(address, first, &mut random, seen);
                }
                seen.over.fetch_add(1, SeqCst);
            });
        }
        event(gateway, &seen)
    });
    for gateway in left {
        gateway.drain(AT_ONCE);
        gateway.finish();
    }
    let posts = seen.posts.lock().unwrap();
    let twice: Vec<_> = posts.iter().filter(|post| *post.1 > 1).map(|post| *post.0).collect();
    assert_eq!(twice, [0; 0], "sent twice; seed {seed}");
    assert_eq!(*seen.wrong.lock().unwrap(), [""; 0], "seed {seed}");
    drop(posts);
    seen
}

/// One connection of a client.
fn visit(address: SocketAddr, first: u64, random: &mut fastrand::Rng, seen: &Seen) {
    let stream = match TcpStream::connect(address) {
        Ok(stream) => stream,
        Err(_) if seen.cut.load(SeqCst) => return,
        Err(error) => panic!("{error}"),
    };
    stream.set_read_timeout(Some(std::time::Duration::from_secs(120))).unwrap();
    let methods: Vec<&str> = (0..random.u64(1..7))
        .map(|_| *random.choice(&["GET", "GET", "HEAD", "POST", "PUT"]).unwrap())
        .collect();
    let mut requests = Vec::new();
    for (id, method) in (first..).zip(&methods) {
        requests.extend(request(id, method, random));
    }
    let leaves = random.u8(..5) == 0;
    if leaves {
        requests.truncate(random.usize(..requests.len()));
    }
    let ends = random.u8(..4) == 0;
    let mut writer = stream.try_clone().unwrap();
    let mut random = random.fork();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut rest = &requests[..];
            while !rest.is_empty() {
                let most = if random.bool() { 100 } else { 100_000 };
                let (piece, after) = rest.split_at(random.usize(1..=most).min(rest.len()));
                if writer.write_all(piece).is_err() {
                    return;
                }
                rest = after;
            }
            if leaves {
                let _ = writer.shutdown(Shutdown::Both);
            } else if ends {
                let _ = writer.shutdown(Shutdown::Write);
            }
        });
        let mut reader = BufReader::new(&stream);
        let mut announced = false;
        for (id, method) in (first..).zip(&methods) {
            match answer(&mut reader, id, method) {
                Ok(closes) => announced = closes,
                Err(Fault::Ended) if leaves || announced || seen.cut.load(SeqCst) => break,
                Err(Fault::Ended) => {
                    seen.wrong(format!("the connection ended unannounced before {id}"));
                    break;
                }
                Err(Fault::Broken) => break,
                Err(Fault::Wrong(what)) => {
                    seen.wrong(format!("{id}: {what}"));
                    break;
                }
            }
            seen.right.fetch_add(1, Relaxed);
        }
        let _ = stream.shutdown(Shutdown::Both);
    });
}

fn request(id: u64, method: &str, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut head = format!("{method} /{id} HTTP/1.1\r\nHost: app.example\r\n");
    if !matches!(method, "POST" | "PUT") {
        return (head + "\r\n").into_bytes();
    }
    if random.u8(..4) == 0 {
        head += "Expect: 100-continue\r\n";
    }
    let most = *random.choice(&[1, 10, 1000, 20_000]).unwrap();
    let content = format!("{id} ").repeat(random.usize(1..=most)).into_bytes();
    if random.bool() {
        head += &format!("Content-Length: {}\r\n\r\n", content.len());
        return [head.into_bytes(), content].concat();
    }
    head += "Transfer-Encoding: chunked\r\n\r\n";
    [head.into_bytes(), chunked(&content, random)].concat()
}

fn chunked(content: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut text = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(random.usize(1..=50_000).min(rest.len()));
        text.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        text.extend(chunk);
        text.extend(b"\r\n");
        rest = after;
    }
    text.extend(b"0\r\n\r\n");
    text
}

enum Fault {
    /// Between two answers.
    Ended,
    /// In the middle of one, so that it is seen.
    Broken,
    Wrong(String),
}

/// A head, in lower case; `None` at the end.
fn head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        let read = reader.read_until(b'\n', &mut head).ok()?;
        if read == 0 {
            return None;
        }
        if head[before..] == *b"\r\n" {
            return Some(String::from_utf8_lossy(&head).to_lowercase());
        }
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Reads one answer; whether it says that it is the last.
fn answer(reader: &mut impl BufRead, id: u64, method: &str) -> Result<bool, Fault> {
    let head = loop {
        let head = head(reader).ok_or(Fault::Ended)?;
        if !head.starts_with("http/1.1 ") {
            return Err(Fault::Wrong(format!("not an answer: {head:?}")));
        }
        if !head.starts_with("http/1.1 1") {
            break head;
        }
        if field(&head, "x-id").is_some_and(|told| told != id.to_string()) {
            return Err(Fault::Wrong(head));
        }
    };
    let status: u16 = head[9..12].parse().map_err(|_| Fault::Wrong(head.clone()))?;
    let content = match (field(&head, "content-length"), field(&head, "transfer-encoding")) {
        _ if method == "HEAD" || matches!(status, 204 | 304) => Vec::new(),
        (Some(length), None) => {
            let mut content = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut content).map_err(|_| Fault::Broken)?;
            content
        }
        (None, Some("chunked")) => dechunked(reader).ok_or(Fault::Broken)?,
        _ => return Err(Fault::Wrong(format!("no framing: {head}"))),
    };
    match field(&head, "x-id") {
        Some(told) if told != id.to_string() => return Err(Fault::Wrong(head)),
        None if !matches!(status, 400 | 502 | 503) => return Err(Fault::Wrong(head)),
        Some(_) if !is_of(&content, id) => {
            return Err(Fault::Wrong(format!("{head}{}", String::from_utf8_lossy(&content))));
        }
        _ => {}
    }
    Ok(field(&head, "connection") == Some("close"))
}

fn is_of(content: &[u8], id: u64) -> bool {
    let id = format!("{id} ");
    content.chunks(id.len()).all(|part| part == id.as_bytes())
}

fn dechunked(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let size = u64::from_str_radix(line.strip_suffix("\r\n")?, 16).ok()?;
        let mut chunk = vec![0; usize::try_from(size).ok()? + 2];
        reader.read_exact(&mut chunk).ok()?;
        if size == 0 {
            return Some(content);
        }
        content.extend(&chunk[..chunk.len() - 2]);
    }
}

fn serve(listener: TcpListener, seed: u64, seen: &Arc<Seen>) {
    let seen = Arc::clone(seen);
    std::thread::spawn(move || {
        for (number, stream) in (0..).zip(listener.incoming()) {
            let (seen, stream) = (Arc::clone(&seen), stream.unwrap());
            std::thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed ^ number);
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while turn(&mut reader, &stream, &mut random, &seen).is_some() {}
            });
        }
    });
}

/// One request and what an endpoint does with it; `None`: that is all on this connection.
fn turn(
    reader: &mut BufReader<TcpStream>,
    mut stream: &TcpStream,
    random: &mut fastrand::Rng,
    seen: &Seen,
) -> Option<()> {
    let asked = head(reader)?;
    let (method, id) = (asked.split(' ').next()?.to_owned(), asked.split(['/', ' ']).nth(2)?.to_owned());
    let Ok(id) = id.parse::<u64>() else {
        seen.wrong(format!("an endpoint was asked {asked:?}"));
        return None;
    };
    if method == "post" {
        *seen.posts.lock().unwrap().entry(id).or_default() += 1;
    }
    let read = |reader: &mut BufReader<TcpStream>| {
        let content = match field(&asked, "content-length") {
            Some(length) => {
                let mut content = vec![0; length.parse().unwrap()];
                reader.read_exact(&mut content).ok()?;
                content
            }
            None if field(&asked, "transfer-encoding").is_some() => dechunked(reader)?,
            None => Vec::new(),
        };
        if !is_of(&content, id) {
            seen.wrong(format!("an endpoint got content of others for {id}"));
        }
        Some(())
    };
    let kind = random.u8(..24);
    let early = random.u8(..4) == 0;
    if !early {
        if field(&asked, "expect").is_some() && random.bool() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
        }
        read(reader)?;
    }
    let most = *random.choice(&[1, 10, 1000, 20_000]).unwrap();
    let content = format!("{id} ").repeat(random.usize(0..=most)).into_bytes();
    let content = if method == "head" { Vec::new() } else { content };
    let length = content.len();
    let ok = |fields: &str| format!("HTTP/1.1 200 OK\r\nX-Id: {id}\r\n{fields}\r\n").into_bytes();
    let whole = [ok(&format!("Content-Length: {length}\r\n")), content.clone()].concat();
    let small = ok(&format!("Content-Length: {}\r\n", if method == "head" { 4 } else { 0 }));
    const POISON: &[u8] = b"HTTP/1.1 200 OK\r\nX-Id: 666\r\nContent-Length: 0\r\n\r\n";
    let mut goes_on = true;
    let text = match kind {
        0 => return None,
        1 => {
            goes_on = false;
            let more = format!("Content-Length: {}\r\n", length + 5);
            [ok(&more), content].concat()
        }
        2 => [small, POISON.to_vec()].concat(),
        3 => [small, b"HTTP/1.1 103 Early Hints\r\nX-Id: 666\r\n\r\n".to_vec()].concat(),
        4 => {
            goes_on = false;
            [ok("Connection: close\r\n"), content].concat()
        }
        5 => {
            goes_on = false;
            whole
        }
        6 => b"nonsense\r\n\r\n".to_vec(),
        7 => format!("HTTP/1.1 204 No Content\r\nX-Id: {id}\r\n\r\n").into_bytes(),
        8 => format!("HTTP/1.1 304 Not Modified\r\nX-Id: {id}\r\nContent-Length: 9\r\n\r\n").into_bytes(),
        9 => [format!("HTTP/1.1 103 Early Hints\r\nX-Id: {id}\r\n\r\n").into_bytes(), whole].concat(),
        10 if method != "head" => {
            // Broken off within its chunks.
            goes_on = false;
            [ok("Transfer-Encoding: chunked\r\n"), b"5\r\n".to_vec()].concat()
        }
        11 => format!("HTTP/1.1 101 Switching Protocols\r\nX-Id: {id}\r\n\r\n").into_bytes(),
        12..=16 if method != "head" => {
            [ok("Transfer-Encoding: chunked\r\n"), chunked(&content, random)].concat()
        }
        _ => whole,
    };
    let mut rest = &text[..];
    // What comes behind an answer comes with it: later, nobody could tell it from an answer.
    let at_once = matches!(kind, 2 | 3);
    while !rest.is_empty() {
        let most = if at_once { rest.len() } else { random.usize(1..=100_000).min(rest.len()) };
        let (piece, after) = rest.split_at(most);
        stream.write_all(piece).ok()?;
        rest = after;
    }
    if early && goes_on {
        read(reader)?;
    }
    goes_on.then_some(())
}
