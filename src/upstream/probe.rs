//! One question to an endpoint: whether it is well.
//!
//! Promises: over a connection of its own, in the protocol of the service, TLS included; of an answer no more than
//! [`LOOKED_AT`] bytes are read. A request for it is never counted as one of a client. Whoever asks gives it its time.
//! Must not know: when to ask, what an answer means for the endpoint's state.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;

use super::Asker;
use super::attempt::attempt;
use super::board::{Lineup, Row};
use super::content::Content;
use super::endpoint::{Endpoint, Wish};
use super::incoming::Incoming;
use super::{shape_http1, shape_http2};
use crate::config::settings::{Address, Health, HealthKind, Pool, Protocol, Timeout};
use crate::tls::Outward;

/// How much of an answer is looked at.
const LOOKED_AT: usize = 64 * 1024;
/// A HealthCheckRequest for the server as a whole: nothing, in a frame of gRPC.
const CHECK: &[u8] = &[0; 5];
/// `ServingStatus.SERVING` of grpc.health.v1.
const SERVING: u64 = 1;
/// Its caller gives it its time.
const UNHURRIED: Duration = Duration::from_secs(24 * 3600);

struct Nobody;

impl Asker for Nobody {
    fn asks(&self, _: &Rc<str>) {}

    fn interim(&self, _: Response<()>) {}
}

/// What it says in words, and whether that is good.
pub(super) async fn probe(
    row: &Arc<Row>,
    lineup: &Lineup,
    health: &Health,
    outward: Option<&Arc<Outward>>,
) -> Result<String, String> {
    let own = lineup.settings().protocol;
    let protocol = match (health.kind, own) {
        (HealthKind::Grpc, Protocol::Http1) => Protocol::H2c,
        _ => own,
    };
    let secure = outward.map(|outward| (outward.config(), Arc::clone(outward)));
    let pool = Pool { idle: Duration::ZERO, max_idle: 0 };
    let endpoint = Endpoint::speaking(protocol, pool, row, lineup, secure.as_ref());
    if health.kind == HealthKind::Tcp {
        return endpoint
            .knock()
            .await
            .map(|()| "it takes connections".into())
            .map_err(|failure| failure.to_string());
    }
    let answer = ask(&endpoint, protocol, row, health).await?;
    match health.kind {
        HealthKind::Grpc => serving(answer).await,
        _ => as_wanted(answer, health).await,
    }
}

async fn ask(
    endpoint: &Rc<Endpoint>,
    protocol: Protocol,
    row: &Row,
    health: &Health,
) -> Result<Response<Incoming>, String> {
    let host = health.host.clone().unwrap_or_else(|| host_of(row.written()));
    let request = Request::builder().header(HOST, host).header(USER_AGENT, "hitless-health");
    let (request, content) = match health.kind {
        HealthKind::Grpc => {
            let request = request.method(Method::POST).uri("/grpc.health.v1.Health/Check");
            let request = request.header(TE, "trailers").header(CONTENT_TYPE, "application/grpc");
            (request, Content::whole(Bytes::from_static(CHECK)))
        }
        _ => (request.method(Method::GET).uri(&health.path), Content::empty()),
    };
    let (head, ()) = request.body(()).map_err(|error| error.to_string())?.into_parts();
    let wish = Wish { repeatable: true, with_content: false, fresh: true, upgrades: false };
    let connection = endpoint.connect(wish, UNHURRIED).await.map_err(|failure| failure.to_string())?;
    let (mut head, state) = (head, content.state());
    let shaped = match (protocol, &connection) {
        (Protocol::H2c, _) => shape_http2(&mut head, &state, http::uri::Scheme::HTTP),
        (_, super::endpoint::Connection::Http2(..)) => {
            shape_http2(&mut head, &state, http::uri::Scheme::HTTPS)
        }
        _ => shape_http1(&mut head),
    };
    shaped.map_err(|failure| failure.to_string())?;
    let timeout =
        Timeout { connect: UNHURRIED, first_byte: None, idle: None, request: None, tunnel_idle: None };
    let reply = attempt(&connection, &head, content, &timeout, &Nobody).await;
    reply.map(|reply| reply.response).map_err(|lost| lost.failure.to_string())
}

/// `Host` of an endpoint that the operator has given none.
fn host_of(written: &Address) -> String {
    match written {
        Address::Unix(_) => "localhost".into(),
        other => other.to_string(),
    }
}

async fn as_wanted(answer: Response<Incoming>, health: &Health) -> Result<String, String> {
    let status = answer.status().as_u16();
    let (from, to) = health.status;
    if !(from..=to).contains(&status) {
        return Err(format!("it answers {status}"));
    }
    let Some(wanted) = &health.body else { return Ok(format!("it answers {status}")) };
    let (read, _) = looked_at(answer.into_body(), |read| contains(read, wanted.as_bytes())).await?;
    match contains(&read, wanted.as_bytes()) {
        true => Ok(format!("it answers {status}, with what it has to contain")),
        false => Err(format!("it answers {status}, without '{}' in it", wanted.escape_debug())),
    }
}

async fn serving(answer: Response<Incoming>) -> Result<String, String> {
    if answer.status() != StatusCode::OK {
        return Err(format!("it answers {}, not gRPC", answer.status().as_u16()));
    }
    let refused = |fields: &HeaderMap| {
        let status = fields.get("grpc-status").filter(|status| *status != "0");
        status
            .map(|status| format!("it answers grpc-status {}", status.to_str().unwrap_or("?").escape_debug()))
    };
    if let Some(told) = refused(answer.headers()) {
        return Err(told);
    }
    let (read, trailers) = looked_at(answer.into_body(), |_| false).await?;
    if let Some(told) = trailers.as_ref().and_then(refused) {
        return Err(told);
    }
    match status_in(&read) {
        Some(SERVING) => Ok("it is serving".into()),
        Some(other) => Err(format!("its serving status is {other}")),
        None => Err("its answer is not one of grpc.health.v1".into()),
    }
}

/// The beginning of an answer, up to where `enough` is.
async fn looked_at(
    content: Incoming,
    enough: impl Fn(&[u8]) -> bool,
) -> Result<(Bytes, Option<HeaderMap>), String> {
    let (mut content, mut read, mut trailers) = (pin!(content), BytesMut::new(), None);
    while read.len() < LOOKED_AT && !enough(&read) {
        match content.frame().await {
            None => break,
            Some(Err(failure)) => return Err(failure.to_string()),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => read.extend_from_slice(&data[..data.len().min(LOOKED_AT - read.len())]),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
    Ok((read.freeze(), trailers))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// The field 1 of the first message (a HealthCheckResponse), whose default is 0.
fn status_in(frame: &[u8]) -> Option<u64> {
    let (head, rest) = frame.split_at_checked(5)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    // Compressed it was not asked for.
    let mut message = rest.get(..length).filter(|_| head[0] == 0)?;
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = varint(&mut message)?,
            (_, 0) => drop(varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_serving_status_is_read_out_of_its_message() {
        assert_eq!(status_in(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!(status_in(&[0, 0, 0, 0, 2, 8, 2]), Some(2));
        assert_eq!(status_in(&[0, 0, 0, 0, 0]), Some(0), "what is not written is 0");
        assert_eq!(
            status_in(&[0, 0, 0, 0, 5, 0x12, 1, 7, 8, 1]),
            Some(SERVING),
            "with a field that is not known"
        );
        for broken in [&[][..], &[0; 4], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 3, 8, 1], &[0, 0, 0, 0, 1, 8]]
        {
            assert_eq!(status_in(broken), None, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let length = bytes.len().saturating_sub(5) as u8;
            let _ = status_in(&bytes);
            if bytes.len() > 5 {
                let framed = [&[0, 0, 0, 0, length], &bytes[5..]].concat();
                let _ = status_in(&framed);
            }
        }
    }
}
