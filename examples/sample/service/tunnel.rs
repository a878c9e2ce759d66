//! The WebSocket of `/ws`: every message comes back as it was sent.
//!
//! Promises: pings are answered, a close is answered, and when the application leaves the client is
//! told 1001 and given a second to answer.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{HeaderMap, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Leaving;
use super::answers::{self, Answer};
use crate::wire::websocket::{Frame, Opcode, accept};

/// Agrees to a WebSocket handshake (RFC 6455, section 4.2) and echoes from then on.
pub fn open(mut request: hyper::Request<hyper::body::Incoming>, leaving: Leaving) -> Answer {
    let Some(key) = asked(request.headers()) else {
        return answers::text(StatusCode::UPGRADE_REQUIRED, "this path speaks WebSocket only\n");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            // A client that went away is no error of an echo.
            let _ = echo(TokioIo::new(upgraded), leaving).await;
        }
    });
    let mut answer = Response::new(answers::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = answer.headers_mut();
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    fields.extend(accept(&key).parse().ok().map(|accept| (SEC_WEBSOCKET_ACCEPT, accept)));
    answer
}

fn asked(fields: &HeaderMap) -> Option<String> {
    let upgrade = fields.get(UPGRADE)?.to_str().ok()?;
    let key = fields.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    upgrade.eq_ignore_ascii_case("websocket").then(|| key.to_owned())
}

async fn echo(mut stream: TokioIo<Upgraded>, mut leaving: Leaving) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(frame) = Frame::decode(&mut buffer).map_err(|why| io::Error::other(why.0))? {
            match frame.opcode {
                Opcode::Close => return stream.write_all(&frame.encode(None)).await,
                Opcode::Ping => stream.write_all(&Frame::pong(frame.payload).encode(None)).await?,
                Opcode::Pong => {}
                _ => stream.write_all(&frame.encode(None)).await?,
            }
        }
        tokio::select! {
            read = stream.read_buf(&mut buffer) => if read? == 0 { return Ok(()) },
            _ = leaving.wait_for(|leaving| *leaving) => break,
        }
    }
    stream.write_all(&Frame::close(1001).encode(None)).await?;
    let answered = async { while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), answered).await;
    stream.shutdown().await
}
