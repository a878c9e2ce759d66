//! HTTP/1 on one connection: what is refused, what comes before an answer, and what may follow it.

use super::world::*;
use crate::config::settings::Action;

#[test]
fn what_is_refused_has_an_id_is_counted_and_ends_the_connection() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let long = |bytes: usize| "a".repeat(bytes);
    let fields = |count: usize| "a: b\r\n".repeat(count);
    let table = [
        ("GET / HTTP/1.1\r\nHost : a.example\r\n\r\n".to_owned(), 400, "bad-request"),
        ("GET / HTTP/1.1\nHost: a.example\n\n".to_owned(), 400, "bad-request"),
        ("\u{16}\u{3}\u{1}".to_owned(), 400, "bad-request"),
        ("GET / HTTP/2.0\r\n\r\n".to_owned(), 505, "unsupported-version"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".to_owned(),
            501,
            "unknown-coding",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_owned(),
            400,
            "bad-request",
        ),
        (format!("GET /{} HTTP/1.1\r\n", long(8192)), 414, "long-request-line"),
        (format!("GET / HTTP/1.1\r\na: {}\r\n", long(32 * 1024)), 431, "long-fields"),
        (format!("GET / HTTP/1.1\r\n{}\r\n", fields(101)), 431, "many-fields"),
    ];
    for (index, (sent, status, code)) in table.iter().enumerate() {
        let mut client = gateway.ask(sent);
        let (head, content) = client.answer();
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{sent:.60}: {head}");
        assert!(head.contains("connection: close\r\n"), "{head}");
        let id = head.split("x-request-id: ").nth(1).unwrap().split("\r\n").next().unwrap();
        assert!(content.contains(id), "{content}");
        assert_eq!(client.ended(), End::Closed, "{sent:.60}");
        let totals = gateway.until(|totals| totals.refused == index as u64 + 1);
        assert!(totals.failures.contains_key(*code), "{sent:.60}: {totals:?}");
    }
    assert!(!origin.was_called());
    gateway.drain(AT_ONCE);
    gateway.finish();
}

#[test]
fn a_head_that_breaks_off_is_refused_after_the_answers_before_it() {
    let gateway = gateway(answering("hello"));
    let mut client = gateway.ask(&[GET, "GET /half HTTP/1.1\r\nHo"].concat());
    client.end();
    assert_eq!(client.until("hello").matches("HTTP/1.1 200").count(), 1);
    assert!(client.answer().0.starts_with("http/1.1 400 "));
    client.ended();
    let totals = gateway.until(|totals| totals.connections_open == 0);
    assert_eq!((totals.answered, totals.refused, totals.residue()), (1, 1, 0));
}

const EXPECTING: &str =
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[test]
fn a_client_that_expects_it_is_told_to_continue_once_and_before_the_answer() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(EXPECTING);
    let (mut endpoint, _) = origin.request();
    assert_eq!(client.head(), "http/1.1 100 continue\r\n\r\n");
    client.send("hello");
    endpoint.until("hello");
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    let (head, content) = client.answer();
    assert!(head.starts_with("http/1.1 200 ") && !head.contains("connection: close"), "{head}");
    assert_eq!(content, "ok");
    // It is not said to who did not wait for it.
    client.send(format!("{EXPECTING}hello"));
    let mut endpoint = origin.accept();
    endpoint.until("hello");
    endpoint.send(OK);
    assert!(client.answer().0.starts_with("http/1.1 200 "));
}

#[test]
fn a_client_of_http_1_0_is_not_told_to_continue() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(&EXPECTING.replace("HTTP/1.1", "HTTP/1.0"));
    let (mut endpoint, _) = origin.request();
    client.send("hello");
    endpoint.until("hello");
    endpoint.send(OK);
    assert!(client.head().starts_with("http/1.1 200 "));
}

#[test]
fn an_answer_instead_of_continue_is_the_last_of_its_connection() {
    let gateway = gateway(answering("no"));
    let mut client = gateway.ask(EXPECTING);
    let (head, content) = client.answer();
    assert!(head.starts_with("http/1.1 200 ") && head.contains("connection: close\r\n"), "{head}");
    assert_eq!(content, "no");
    client.send(GET);
    assert_eq!(client.ended(), End::Closed);
    assert_eq!(gateway.until(|totals| totals.connections_open == 0).admitted, 1);
}

#[test]
fn interim_answers_come_before_the_answer_and_only_to_who_knows_them() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let get = |version: &str, interim: &str| {
        format!("GET / HTTP/{version}\r\nHost: a.example\r\nX-Test-Interim: {interim}\r\n\r\n")
    };
    let mut endpoint = None;
    for (version, interim, told) in
        [("1.1", "103", true), ("1.1", "100", false), ("1.1", "101", false), ("1.0", "103", false)]
    {
        let mut client = gateway.ask(&get(version, interim));
        if told {
            let head = client.head();
            assert!(head.starts_with("http/1.1 103 early hints\r\n"), "{head}");
            assert!(head.contains("link: </style.css>\r\n") && !head.contains("keep-alive"), "{head}");
            assert!(!head.contains("content-length"), "{head}");
        }
        let endpoint = endpoint.get_or_insert_with(|| origin.accept());
        endpoint.head();
        endpoint.send(OK);
        assert!(client.head().starts_with("http/1.1 200 "), "{version} {interim}");
    }
}

#[test]
fn a_request_behind_content_is_found_and_answered_in_order() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let lengthy = "POST /one HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nGET /";
    let chunked = "POST /two HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nGET /\r\n0\r\n\r\n";
    let mut client = gateway.ask(&[lengthy, chunked, GET].concat());
    let (mut endpoint, head) = origin.request();
    assert!(head.starts_with("post /one "), "{head}");
    endpoint.until("GET /");
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
    assert_eq!(client.answer().1, "one");
    let (mut endpoint, head) = origin.request();
    assert!(head.starts_with("post /two "), "{head}");
    endpoint.until("0\r\n\r\n");
    endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo");
    assert_eq!(client.answer().1, "two");
    gateway.until(|totals| totals.attempts == 3);
}

#[test]
fn a_short_rest_of_unread_content_is_thrown_away_and_the_next_request_is_served() {
    let gateway = gateway(answering("hello"));
    let mut client = gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 38\r\n\r\n");
    for _ in 0..2 {
        let (head, content) = client.answer();
        assert!(!head.contains("connection: close"), "{head}");
        assert_eq!(content, "hello");
        // The content looks like a request, and is none.
        client.send(GET);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 38\r\n\r\n");
    }
    client.answer();
    drop(client);
    assert_eq!(gateway.until(|totals| totals.connections_open == 0).admitted, 3);
}

#[test]
fn content_that_nobody_reads_to_its_end_is_the_last_of_its_connection() {
    let gateway = gateway(answering("hello"));
    for head in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let mut client = gateway.ask(&format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n"));
        let (head, content) = client.answer();
        assert!(head.contains("connection: close\r\n"), "{head}");
        assert_eq!(content, "hello");
        client.send(GET.repeat(1000));
        assert_eq!(client.ended(), End::Closed);
    }
    // Content that is here to its end is no hindrance.
    let whole = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let mut client = gateway.ask(&[whole, GET].concat());
    client.answer();
    let totals = gateway.until(|totals| totals.in_flight == 0);
    assert_eq!((totals.residue(), totals.client_gone), (0, 0));
}

#[test]
fn a_rest_of_content_that_does_not_come_is_not_waited_for_for_ever() {
    let gateway = gateway(answering("hello"));
    let mut client = gateway.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 38\r\n\r\nhalf");
    client.answer();
    gateway.until(|totals| totals.in_flight == 0);
    gateway.later(std::time::Duration::from_secs(11));
    assert_eq!(client.ended(), End::Closed);
}

#[test]
fn trailers_go_both_ways_without_what_must_not_be_one() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client = gateway.ask(
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         3\r\nabc\r\n0\r\nHost: b.example\r\nX-Sum: 6\r\n\r\n",
    );
    let (mut endpoint, _) = origin.request();
    assert!(endpoint.until("\r\n\r\n").to_lowercase().ends_with("\r\n0\r\nx-sum: 6\r\n\r\n"));
    endpoint.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    endpoint.send("0\r\nContent-Length: 1\r\nX-Sum: 1\r\n\r\n");
    client.head();
    assert_eq!(client.until("\r\n\r\n"), "1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n");
}

#[test]
fn content_with_broken_framing_is_a_400_and_never_whole() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let mut client =
        gateway.ask("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let (mut endpoint, _) = origin.request();
    endpoint.until("abc\r\n");
    client.send("x\r\n\r\n");
    let (head, _) = client.answer();
    assert!(head.starts_with("http/1.1 400 ") && head.contains("connection: close\r\n"), "{head}");
    assert_eq!(client.ended(), End::Closed);
    assert_eq!(endpoint.rest().0, b"");
}

#[test]
fn large_content_goes_both_ways_unchanged() {
    let origin = Origin::start();
    let gateway = gateway(only(&origin));
    let pattern: Vec<u8> = (0..1_000_003_u32).map(|at| (at % 251) as u8).collect();
    for framing in ["chunked", "length"] {
        let mut client = gateway.connect();
        let sent = match framing {
            "length" => {
                [&b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000003\r\n\r\n"[..], &pattern]
                    .concat()
            }
            _ => {
                let head = b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
                let chunks = pattern.chunks(70_001);
                let chunks = chunks
                    .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
                head.iter().copied().chain(chunks).chain(*b"0\r\n\r\n").collect()
            }
        };
        std::thread::scope(|scope| {
            let echo = scope.spawn(|| {
                let (mut endpoint, head) = origin.request();
                let content = if head.contains("content-length") {
                    endpoint.exactly(pattern.len())
                } else {
                    endpoint.chunked()
                };
                endpoint.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                for chunk in content.chunks(33_333) {
                    endpoint.send(format!("{:x}\r\n", chunk.len()));
                    endpoint.send(chunk);
                    endpoint.send("\r\n");
                }
                endpoint.send("0\r\n\r\n");
                content
            });
            client.send(&sent);
            client.head();
            let came = client.chunked();
            assert!(echo.join().unwrap() == pattern && came == pattern, "{framing}");
        });
    }
}

#[test]
fn a_refused_head_has_no_content_for_who_asked_for_a_head() {
    let gateway = gateway(answering("hello"));
    let mut client = gateway.ask("HEAD / HTTP/1.1\r\nHost : a\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("http/1.1 400 ") && !head.contains("content-length: 0"), "{head}");
    assert_eq!(client.ended(), End::Closed);
}

#[test]
fn statuses_without_content_are_framed_so() {
    let origin = Origin::start();
    let mut app = service("app", &origin);
    app.routes[0].action =
        Action::Answer { status: 205, content_type: "text/plain".into(), body: "x".into() };
    let gateway = gateway(settings(vec![app]));
    let mut client = gateway.ask(GET);
    let (head, content) = client.answer();
    assert!(head.contains("content-length: 0\r\n"), "{head}");
    assert_eq!(content, "");
}
