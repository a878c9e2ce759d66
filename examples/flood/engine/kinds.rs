//! The floods, one row each: what an offender says first, and what again and again.

use super::frames::*;
use super::storm::{Storm, client_hello};

/// A flood.
pub struct Kind {
    pub name: &'static str,
    /// What it is known as.
    pub about: &'static str,
    /// Whether the gateway has to end it; otherwise it is only borne.
    pub must_end: bool,
    plan: fn() -> Plan,
}

/// What each connection of a pack does.
pub struct Plan {
    pub connections: usize,
    /// One unit every tick instead of as fast as they are taken.
    pub paced: bool,
    /// Whether the door is that of TLS, for the calm client too.
    pub secure: bool,
    /// What is said inside of TLS instead of units.
    pub storm: Option<Storm>,
    /// Whether anything is read.
    pub reads: bool,
    pub http2: bool,
    /// Whether SETTINGS are acknowledged.
    pub polite: bool,
    pub hello: Vec<u8>,
    pub unit: fn(u64) -> Vec<u8>,
    /// The client closes after its hello, and comes again.
    pub leaves: bool,
}

impl Kind {
    pub fn plan(&self) -> Plan {
        (self.plan)()
    }
}

const fn kind(name: &'static str, about: &'static str, must_end: bool, plan: fn() -> Plan) -> Kind {
    Kind { name, about, must_end, plan }
}

pub const KINDS: &[Kind] = &[
    kind("slowloris-head", "a field now and then, never the end of the head", true, || Plan {
        paced: true,
        unit: |_| b"X-A: b\r\n".to_vec(),
        ..http1(200, b"GET / HTTP/1.1\r\nHost: calm.test\r\n")
    }),
    kind("slow-body", "a byte of content now and then", true, || Plan {
        paced: true,
        unit: |_| b"x".to_vec(),
        ..http1(200, b"POST / HTTP/1.1\r\nHost: calm.test\r\nContent-Length: 1000000\r\n\r\n")
    }),
    kind("slow-reader", "asks for much and reads nothing", true, || Plan {
        reads: false,
        ..http1(50, b"GET /bytes/67108864 HTTP/1.1\r\nHost: calm.test\r\n\r\n")
    }),
    kind("slow-reader-h2", "asks for much and opens its window by a byte now and then", true, || Plan {
        paced: true,
        unit: |_| (0..100).flat_map(|stream| window_update(2 * stream + 1, 1)).collect(),
        ..http2(
            4,
            &[(4, 0)],
            &(0..100).flat_map(|stream| get(2 * stream + 1, "/bytes/67108864")).collect::<Vec<_>>(),
        )
    }),
    kind("h2-window-stall", "CVE-2019-9517: asks for much and never opens its window", true, || {
        http2(
            4,
            &[(4, 0)],
            &(0..100).flat_map(|stream| get(2 * stream + 1, "/bytes/67108864")).collect::<Vec<_>>(),
        )
    }),
    kind("rapid-reset", "CVE-2023-44487: asks and resets", true, || Plan {
        unit: |number| {
            let stream = id(number);
            [get(stream, "/"), reset(stream, 8)].concat()
        },
        ..http2(4, &[], &[])
    }),
    kind("made-you-reset", "CVE-2025-8671: asks and has the gateway reset", true, || Plan {
        unit: |number| {
            let stream = id(number);
            [get(stream, "/"), window_update(stream, 0)].concat()
        },
        ..http2(4, &[], &[])
    }),
    kind("continuation", "CVE-2024-27316: a field block without end", true, || Plan {
        polite: false,
        unit: |number| {
            let name = format!("x-{number}");
            frame(CONTINUATION, 0, 1, &literal(0, &name, &"v".repeat(1000)))
        },
        ..http2(4, &[], &frame(HEADERS, END_STREAM, 1, &block(&HEAD)))
    }),
    kind("empty-continuation", "a field block without end or content", true, || Plan {
        polite: false,
        unit: |_| frame(CONTINUATION, 0, 1, &[]),
        ..http2(4, &[], &frame(HEADERS, END_STREAM, 1, &block(&HEAD)))
    }),
    kind("empty-data", "CVE-2019-9518: DATA without content or end", true, || Plan {
        unit: |_| data(1, 0, &[]),
        ..http2(4, &[], &headers(1, 0, &POST))
    }),
    kind("empty-headers", "CVE-2019-9518, CVE-2019-9516: HEADERS without fields", true, || Plan {
        unit: |number| frame(HEADERS, END_HEADERS | END_STREAM, id(number), &[]),
        ..http2(4, &[], &[])
    }),
    kind("ping", "CVE-2019-9512: PING, the answers unread", true, || Plan {
        reads: false,
        unit: |number| ping(0, number.to_be_bytes()),
        ..http2(4, &[], &[])
    }),
    kind("settings", "CVE-2019-9515: SETTINGS, the answers unread", true, || Plan {
        reads: false,
        unit: |number| settings(&[(4, 65_535 + (number & 1) as u32)]),
        ..http2(4, &[], &[])
    }),
    kind("priority", "CVE-2019-9513: PRIORITY of ever more streams", true, || Plan {
        unit: |number| frame(PRIORITY, 0, id(number % 1_000_000), &[0, 0, 0, 0, number as u8]),
        ..http2(4, &[], &[])
    }),
    kind("window-update", "WINDOW_UPDATE by one, for ever", true, || Plan {
        unit: |_| window_update(0, 1),
        ..http2(4, &[], &[])
    }),
    kind("hpack-bomb", "one long field of the dynamic table, named thousands of times", true, || Plan {
        unit: |number| {
            let fields = match number {
                0 => [block(&HEAD), literal(0x40, "x-bomb", &"v".repeat(4000))].concat(),
                _ => [block(&HEAD), vec![0x80 | 62; 16_000]].concat(),
            };
            frame(HEADERS, END_HEADERS | END_STREAM, id(number), &fields)
        },
        ..http2(4, &[], &[])
    }),
    kind("hpack-resize", "table size updates, thousands in a block", true, || Plan {
        unit: |number| {
            let fields = [[0x20, 0x3f, 0xe1, 0x1f].repeat(4000), block(&HEAD)].concat();
            frame(HEADERS, END_HEADERS | END_STREAM, id(number), &fields)
        },
        ..http2(4, &[], &[])
    }),
    kind("churn", "connects, asks and closes", false, || Plan {
        leaves: true,
        ..http1(16, b"GET / HTTP/1.1\r\nHost: calm.test\r\n\r\n")
    }),
    kind("pipelining", "requests in a row, the answers unread", false, || Plan {
        reads: false,
        unit: |_| b"GET / HTTP/1.1\r\nHost: calm.test\r\n\r\n".repeat(100),
        ..http1(16, b"")
    }),
    kind("chunk-flood", "chunks of a byte", false, || Plan {
        unit: |_| b"1\r\nx\r\n".repeat(100),
        ..http1(4, b"POST / HTTP/1.1\r\nHost: calm.test\r\nTransfer-Encoding: chunked\r\n\r\n")
    }),
    kind("idle-hold", "connects and says nothing", true, || http1(500, b"")),
    kind("tls-stalled", "begins a handshake and never goes on", true, || tls(500, &client_hello())),
    kind("tls-dribble", "a byte of a ClientHello now and then", true, || Plan {
        paced: true,
        unit: |number| client_hello().get(number as usize..=number as usize).unwrap_or_default().to_vec(),
        ..tls(200, b"")
    }),
    kind("tls-handshake", "begins handshakes, as many as there are answers", false, || Plan {
        leaves: true,
        ..tls(16, &client_hello())
    }),
    kind("tls-renegotiation", "CVE-2011-1473: begins a handshake within TLS, for ever", true, || Plan {
        storm: Some(Storm::Renegotiation),
        ..tls(4, b"")
    }),
    kind("tls-key-update", "asks for new keys, for ever", true, || Plan {
        storm: Some(Storm::KeyUpdates),
        ..tls(4, b"")
    }),
    kind("tls-empty", "records without content, for ever", true, || Plan {
        storm: Some(Storm::Empty),
        ..tls(4, b"")
    }),
];

const HEAD: [Field; 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "calm.test")];
const POST: [Field; 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "calm.test")];

fn http1(connections: usize, hello: &[u8]) -> Plan {
    let hello = hello.to_vec();
    Plan {
        connections,
        paced: false,
        secure: false,
        storm: None,
        reads: true,
        http2: false,
        polite: false,
        hello,
        unit: |_| vec![],
        leaves: false,
    }
}

fn tls(connections: usize, hello: &[u8]) -> Plan {
    Plan { secure: true, ..http1(connections, hello) }
}

fn http2(connections: usize, values: &[(u16, u32)], first: &[u8]) -> Plan {
    let hello = [&hello(values)[..], first].concat();
    Plan { http2: true, polite: true, ..http1(connections, &hello) }
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &[HEAD[0], HEAD[1], (":path", path), HEAD[3]])
}

/// A stream of the client's.
fn id(number: u64) -> u32 {
    (2 * number + 1) as u32 & 0x7fff_ffff
}
