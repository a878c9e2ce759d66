//! The clients that ask: kept-alive, fresh, posting, slow, downloading, uploading, streaming.
//!
//! Kept-alive and posting clients wait for their answer before they ask again; all others come at their
//! own rate, answered or not, as visitors do.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Run;
use super::exchange::{Ask, Content, Proof};
use super::options::Subject;
use super::tally::What;

/// Makes the next request of one kind.
type Make = fn(&Run) -> Ask;

pub fn spawn(run: &Rc<Run>, clients: &mut JoinSet<()>) {
    let options = &run.options;
    for _ in 0..options.kept_alive {
        clients.spawn_local(keep_asking(run.clone()));
    }
    for _ in 0..options.posting {
        clients.spawn_local(keep_posting(run.clone()));
    }
    let kinds: [(u32, Make); 5] = [
        (options.fresh_per_second, fresh),
        (options.slow_per_second, slow),
        (options.downloads_per_second, download),
        (options.uploads_per_second, upload),
        (options.streams_per_second, stream),
    ];
    for (per_second, make) in kinds {
        if per_second > 0 {
            clients.spawn_local(keep_coming(run.clone(), per_second, make));
        }
    }
}

/// Asks, rests a moment, asks again on the same connection.
async fn keep_asking(run: Rc<Run>) {
    let mut held = None;
    let mut pause = run.options.think.mul_f64(fastrand::f64());
    while run.goes_on_after(pause).await {
        let ask = get(&run, What::KeptAlive, false);
        run.ask(&mut held, ask).await;
        pause = run.options.think.mul_f64(0.5 + fastrand::f64());
    }
}

/// POSTs on one connection, each with an id of its own, never twice.
async fn keep_posting(run: Rc<Run>) {
    let mut held = None;
    let mean = Duration::from_secs(run.options.posting as u64) / run.options.posts_per_second.max(1);
    let mut pause = mean.mul_f64(fastrand::f64());
    while run.goes_on_after(pause).await {
        let ask = post(&run);
        run.ask(&mut held, ask).await;
        pause = mean.mul_f64(0.5 + fastrand::f64());
    }
}

/// A new client on a new connection at every tick, until the load stops; then waits for the last of them.
async fn keep_coming(run: Rc<Run>, per_second: u32, make: Make) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    // A client that was held up does not make up for it by a burst.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopping = run.stopping.clone();
    let mut visitors = JoinSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
        visitors.spawn_local(visit(run.clone(), make));
        while visitors.try_join_next().is_some() {}
    }
    visitors.join_all().await;
}

async fn visit(run: Rc<Run>, make: Make) {
    let ask = make(&run);
    run.ask(&mut None, ask).await;
}

fn fresh(run: &Run) -> Ask {
    get(run, What::Fresh, run.sequence.get() % 4 < 2)
}

/// The start page, or in turn an echo whose number proves that the answer belongs to the request.
pub fn get(run: &Run, what: What, close: bool) -> Ask {
    let turn = run.next();
    let fields = if close { "Connection: close\r\n" } else { "" };
    if let Subject::Page { path, status } = &run.options.subject {
        return Ask { status: *status, ..plain(run, what, "GET", path, fields, turn) };
    }
    let (path, proof) = match turn % 2 {
        0 => ("/".to_owned(), Proof::Text("sample application".to_owned())),
        _ => (format!("/echo?turn={turn}x"), Proof::Text(format!("turn={turn}x"))),
    };
    Ask { proof, ..plain(run, what, "GET", &path, fields, turn / 2) }
}

fn post(run: &Run) -> Ask {
    let turn = run.next();
    let id = format!("{}-{turn}", run.name);
    let content = format!("{{\"order\":\"{id}\"}}").into_bytes();
    let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", content.len());
    let ask = plain(run, What::Post, "POST", &format!("/post?id={id}"), &fields, turn);
    Ask { content: Content::Whole(content), proof: Proof::Text(id), ..ask }
}

pub fn slow(run: &Run) -> Ask {
    let path = format!("/slow?ms={}", run.options.slow.as_millis());
    Ask { allowance: run.options.slow, ..plain(run, What::Slow, "GET", &path, "", run.next()) }
}

pub fn download(run: &Run) -> Ask {
    let bytes = run.options.download_bytes;
    let ask = plain(run, What::Download, "GET", &format!("/download?bytes={bytes}"), "", run.next());
    Ask { proof: Proof::Pattern(bytes), ..ask }
}

fn upload(run: &Run) -> Ask {
    let options = &run.options;
    let content = Content::Pieces {
        count: options.upload_pieces,
        length: options.upload_piece,
        pause: options.upload_pause,
    };
    let fields = "Transfer-Encoding: chunked\r\nContent-Type: application/octet-stream\r\n";
    Ask { content, proof: Proof::Digest, ..plain(run, What::Upload, "POST", "/upload", fields, run.next()) }
}

fn stream(run: &Run) -> Ask {
    let (count, pause) = (run.options.stream_events, run.options.stream_pause);
    let path = format!("/events?n={count}&ms={}", pause.as_millis());
    let ask = plain(run, What::Stream, "GET", &path, "Accept: text/event-stream\r\n", run.next());
    Ask { proof: Proof::Events(count), allowance: pause, ..ask }
}

fn plain(run: &Run, what: What, method: &str, path: &str, fields: &str, turn: u64) -> Ask {
    let host = run.host(turn).to_owned();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: hitless-load\r\n{fields}\r\n");
    let (content, proof) = (Content::None, Proof::Status);
    Ask { what, host, head, content, status: 200, proof, allowance: Duration::ZERO }
}
