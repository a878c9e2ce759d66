//! What the application answers on each path.
//!
//! Promises: bodies stream both ways, never whole in memory; every answer carries `X-Sample-Version`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::switches::Fate;
use super::{App, Leaving, tunnel};
use crate::wire::pattern;

pub type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// The answer to one request; what goes wrong is an answer too.
pub async fn answer(app: Arc<App>, request: Request<Incoming>, leaving: Leaving) -> Answer {
    let mut answer = match (request.method(), request.uri().path()) {
        (_, "/switch") => switch(&app, &request),
        (&Method::DELETE, "/posts") => {
            app.posts.clear();
            text(StatusCode::OK, "forgotten\n")
        }
        (_, "/posts") => json(&app.posts.received(value(&request, "prefix"))),
        (_, "/echo") => echo(&request),
        (_, "/healthz") if !app.switches.healthy() => text(StatusCode::SERVICE_UNAVAILABLE, "unhealthy\n"),
        _ => match app.switches.fate().await {
            Fate::Answered => ordinary(&app, request, leaving).await,
            Fate::Failed => text(StatusCode::INTERNAL_SERVER_ERROR, "switched to failing\n"),
            Fate::Cut => cut(),
        },
    };
    if let Ok(version) = HeaderValue::from_str(&app.identity.version) {
        answer.headers_mut().insert("x-sample-version", version);
    }
    answer
}

async fn ordinary(app: &App, request: Request<Incoming>, leaving: Leaving) -> Answer {
    match (request.method(), request.uri().path()) {
        (_, "/") => text(
            StatusCode::OK,
            format!("sample application {}, version {}\n", app.identity.name, app.identity.version),
        ),
        (_, "/healthz") => text(StatusCode::OK, "healthy\n"),
        (_, "/slow") => slow(&request).await,
        (_, "/download") => download(&request),
        (_, "/events") => events(&request),
        (_, "/ws") => tunnel::open(request, tunnel::Voice::Echo, leaving),
        (_, "/numbered") => {
            let pause = number(&request, "ms").map(Duration::from_millis);
            tunnel::open(request, tunnel::Voice::numbered(pause), leaving)
        }
        (&Method::POST, "/upload") => upload(request).await,
        (&Method::POST, "/post") => post(app, request).await,
        (_, "/upload" | "/post") => text(StatusCode::METHOD_NOT_ALLOWED, "POST only\n"),
        _ => text(StatusCode::NOT_FOUND, "no such path\n"),
    }
}

fn switch(app: &App, request: &Request<Incoming>) -> Answer {
    match app.switches.set(request.uri().query().unwrap_or("")) {
        Ok(state) => json(&state),
        Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}

/// The head as it was received, fields in order.
fn echo(request: &Request<Incoming>) -> Answer {
    let fields = request.headers().iter();
    let fields: Vec<_> = fields.map(|(name, value)| json!([name.as_str(), lossy(value)])).collect();
    json(&json!({
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "version": format!("{:?}", request.version()),
        "fields": fields,
    }))
}

async fn slow(request: &Request<Incoming>) -> Answer {
    let wait = Duration::from_millis(number(request, "ms").unwrap_or(1_000));
    tokio::time::sleep(wait).await;
    text(StatusCode::OK, format!("waited {} ms\n", wait.as_millis()))
}

async fn upload(request: Request<Incoming>) -> Answer {
    let mut digest = Sha256::new();
    let mut length = 0_u64;
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                digest.update(&data);
                length += data.len() as u64;
            }
            Ok(Err(_trailers)) => {}
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("the upload ended early: {error}\n")),
        }
    }
    json(&json!({ "sha256": hex(&digest.finalize()), "bytes": length }))
}

fn download(request: &Request<Incoming>) -> Answer {
    let bytes = number(request, "bytes").unwrap_or(65_536);
    let pieces = stream::unfold(0_u64, move |offset| async move {
        let piece = (offset < bytes).then(|| pattern::from(offset, (bytes - offset).min(16_384)))?;
        Some((Ok(Frame::data(Bytes::from_static(piece))), offset + piece.len() as u64))
    });
    let mut answer = streamed(pieces, "application/octet-stream");
    answer.headers_mut().insert(CONTENT_LENGTH, bytes.into());
    answer
}

fn events(request: &Request<Incoming>) -> Answer {
    let count = number(request, "n").unwrap_or(10);
    let pause = Duration::from_millis(number(request, "ms").unwrap_or(100));
    let events = stream::unfold(0_u64, move |sent| async move {
        if sent == count {
            return None;
        }
        if sent > 0 {
            tokio::time::sleep(pause).await;
        }
        let event = format!("id: {sent}\ndata: event {sent} of {count}\n\n");
        Some((Ok(Frame::data(Bytes::from(event))), sent + 1))
    });
    let mut answer = streamed(events, "text/event-stream");
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

async fn post(app: &App, request: Request<Incoming>) -> Answer {
    let Some(id) = value(&request, "id") else {
        return text(StatusCode::BAD_REQUEST, "the query must name an id\n");
    };
    let times = app.posts.count(id);
    let answer = json(&json!({ "id": id, "times": times }));
    match request.into_body().collect().await {
        Ok(_content) => answer,
        Err(error) => text(StatusCode::BAD_REQUEST, format!("the content ended early: {error}\n")),
    }
}

/// Promises a thousand bytes and breaks off after a few, once those have had time to leave.
fn cut() -> Answer {
    let pieces = stream::unfold(false, |begun| async move {
        if begun {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Some((Err(io::Error::other("cut")), true));
        }
        Some((Ok(Frame::data(Bytes::from_static(b"this answer will be c"))), true))
    });
    let mut answer = streamed(pieces, "text/plain");
    answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("1000"));
    answer
}

pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    whole(status, "text/plain; charset=utf-8", text.into())
}

pub fn empty() -> UnsyncBoxBody<Bytes, io::Error> {
    UnsyncBoxBody::new(Full::default().map_err(|never| match never {}))
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_string(value) {
        Ok(text) => whole(StatusCode::OK, "application/json", Bytes::from(text + "\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn whole(status: StatusCode, kind: &'static str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(UnsyncBoxBody::new(Full::new(bytes).map_err(|never| match never {})));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn streamed(
    pieces: impl Stream<Item = Result<Frame<Bytes>, io::Error>> + Send + 'static,
    kind: &'static str,
) -> Answer {
    let mut answer = Response::new(UnsyncBoxBody::new(StreamBody::new(pieces)));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// `a=1&b=2` in pairs; ids and numbers need no percent-decoding.
pub fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn value<'a>(request: &'a Request<Incoming>, key: &str) -> Option<&'a str> {
    pairs(request.uri().query().unwrap_or("")).find(|(name, _)| *name == key).map(|(_, value)| value)
}

fn number(request: &Request<Incoming>, key: &str) -> Option<u64> {
    value(request, key)?.parse().ok()
}

fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
