//! The WebSockets: of `/ws` every message comes back as it was sent; of `/numbered` it is answered with a number,
//! and with what was missing, doubled or reordered of those before. `ms` there lets it speak of its own accord.
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
use tokio::time::{Instant, Interval};

use super::Leaving;
use super::answers::{self, Answer};
use crate::wire::numbered::{self, Order};
use crate::wire::websocket::{Frame, Opcode, accept};

/// What is said to whom.
pub enum Voice {
    Echo,
    Numbered {
        order: Order,
        /// The number of the next message.
        next: u64,
        /// When it speaks of its own accord.
        moments: Option<Interval>,
    },
}

/// Agrees to a WebSocket handshake (RFC 6455, section 4.2) and echoes from then on.
pub fn open(mut request: hyper::Request<hyper::body::Incoming>, voice: Voice, leaving: Leaving) -> Answer {
    let Some(key) = asked(request.headers()) else {
        return answers::text(StatusCode::UPGRADE_REQUIRED, "this path speaks WebSocket only\n");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            // A client that went away is no error of an echo.
            let _ = converse(TokioIo::new(upgraded), voice, leaving).await;
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

impl Voice {
    pub fn numbered(pause: Option<Duration>) -> Voice {
        let pause = pause.filter(|pause| !pause.is_zero());
        let moments = pause.map(|pause| tokio::time::interval_at(Instant::now() + pause, pause));
        Voice::Numbered { order: Order::default(), next: 0, moments }
    }

    /// What is said to a message.
    fn answer(&mut self, frame: Frame) -> Frame {
        let Voice::Numbered { order, .. } = self else { return frame };
        match numbered::number(&frame.payload) {
            Some(number) => order.came(number),
            None => order.faults.changed += 1,
        }
        let answered = String::from_utf8_lossy(&frame.payload).into_owned();
        self.say(&answered)
    }

    fn say(&mut self, answered: &str) -> Frame {
        let Voice::Numbered { order, next, .. } = self else { return Frame::text(answered) };
        let number = *next;
        *next += 1;
        Frame::text(numbered::Answer { number, noticed: order.faults, answered }.text())
    }

    /// Ends when it is time to speak of one's own accord.
    async fn is_moved(&mut self) {
        match self {
            Voice::Numbered { moments: Some(moments), .. } => drop(moments.tick().await),
            _ => std::future::pending().await,
        }
    }
}

async fn converse(mut stream: TokioIo<Upgraded>, mut voice: Voice, mut leaving: Leaving) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(frame) = Frame::decode(&mut buffer).map_err(|why| io::Error::other(why.0))? {
            match frame.opcode {
                Opcode::Close => return stream.write_all(&frame.encode(None)).await,
                Opcode::Ping => stream.write_all(&Frame::pong(frame.payload).encode(None)).await?,
                Opcode::Pong => {}
                _ => stream.write_all(&voice.answer(frame).encode(None)).await?,
            }
        }
        let speaks = tokio::select! {
            read = stream.read_buf(&mut buffer) => if read? == 0 { return Ok(()) } else { false },
            () = voice.is_moved() => true,
            _ = leaving.wait_for(|leaving| *leaving) => break,
        };
        if speaks {
            stream.write_all(&voice.say("").encode(None)).await?;
        }
    }
    stream.write_all(&Frame::close(1001).encode(None)).await?;
    let answered = async { while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), answered).await;
    stream.shutdown().await
}
