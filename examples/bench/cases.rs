//! The rows of the table: what is asked, over how many connections, and how each is judged.

/// One row.
pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    pub path: &'static str,
    /// Bytes of content; 0 is a GET.
    pub content: usize,
    pub connections: usize,
    pub log: bool,
    pub over: Over,
    /// How many requests the system calls are counted over.
    pub traced: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Plain,
    /// A connection for each request.
    New,
    Tls,
    /// HTTP/2, by h2load.
    TlsHttp2,
    TlsNew,
    /// As before, with a ticket.
    TlsResumed,
}

impl Over {
    pub fn is_tls(self) -> bool {
        !matches!(self, Over::Plain | Over::New)
    }

    pub fn is_fresh(self) -> bool {
        matches!(self, Over::New | Over::TlsNew | Over::TlsResumed)
    }
}

const BASE: Case = Case {
    name: "",
    about: "",
    path: "/1k",
    content: 0,
    connections: 64,
    log: false,
    over: Over::Plain,
    traced: 2000,
};

pub const CASES: [Case; 11] = [
    Case { name: "get-1k-64", about: "GET 1 KiB, 64 connections", ..BASE },
    Case { name: "get-1k-512", about: "GET 1 KiB, 512 connections", connections: 512, ..BASE },
    Case { name: "get-1k-log", about: "GET 1 KiB, access log on", log: true, ..BASE },
    Case { name: "plain-new", about: "GET 1 KiB, a new connection each", over: Over::New, ..BASE },
    Case { name: "get-100k", about: "GET 100 KiB", path: "/100k", connections: 32, traced: 500, ..BASE },
    Case { name: "get-1m", about: "GET 1 MiB", path: "/1m", connections: 16, traced: 100, ..BASE },
    Case {
        name: "post-64k",
        about: "POST 64 KiB",
        path: "/post",
        content: 64 << 10,
        connections: 32,
        traced: 500,
        ..BASE
    },
    Case { name: "tls-h1", about: "TLS, GET 1 KiB over HTTP/1.1", over: Over::Tls, ..BASE },
    Case {
        name: "tls-h2",
        about: "TLS, GET 1 KiB over HTTP/2",
        connections: 16,
        over: Over::TlsHttp2,
        ..BASE
    },
    Case { name: "tls-new", about: "TLS, a new connection each", over: Over::TlsNew, ..BASE },
    Case { name: "tls-resumed", about: "TLS, a resumed connection each", over: Over::TlsResumed, ..BASE },
];
