//! HTTP/1 to the letter: tables of what a client or an endpoint may say, and what must come of it.
//!
//! Each row cites where it is written, and runs through the real binary between a raw client and a raw
//! endpoint that records every byte. The verdict is always the same first: nothing arrived that the
//! client did not mean. Then come the status, the content and what becomes of the connection.
//! Promises: rows are independent of each other; nothing waits for a time, only for events.
//! Must not know: how hitless reads HTTP ([`oracle`] is a reader of its own).

mod answers;
#[allow(dead_code, reason = "the tests of TLS use more of it")]
#[path = "../tls/client.rs"]
mod client;
#[allow(dead_code, reason = "the tests of the gateway use more of it")]
#[path = "../gateway/daemon.rs"]
mod daemon;
mod endpoint;
mod exchanges;
mod fields;
mod framing;
mod hosts;
mod limits;
mod oracle;
mod peer;
#[allow(dead_code, reason = "the tests of TLS use more of it")]
#[path = "../tls/pki.rs"]
mod pki;
mod requests;
mod row;
mod run;

/// Acceptance asks for this many, each with a citation and a name of its own.
#[test]
fn the_tables_have_at_least_three_hundred_rows() {
    let tables = [
        requests::rows(),
        fields::rows(),
        hosts::rows(),
        framing::rows(),
        framing::smuggling(),
        exchanges::rows(),
        answers::rows(),
        limits::rows(),
    ];
    let secure: usize = tables.iter().map(|table| run::secure(table)).sum();
    assert!(secure >= 60, "{secure} over TLS");
    let rows: Vec<_> = tables.into_iter().flatten().collect();
    let names: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.name).collect();
    assert_eq!(names.len(), rows.len(), "two rows have the same name");
    assert!(rows.iter().all(|row| !row.citation.is_empty()));
    println!("{} rows, {secure} of them over TLS as well", rows.len());
    assert!(rows.len() >= 300, "{}", rows.len());
}
