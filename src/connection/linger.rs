//! Closing a connection so that the last answer arrives (RFC 9112, section 9.6).
//!
//! A socket that is closed with bytes unread is reset, and a reset may overtake the answer. So the
//! writing side is closed first, and what still comes is read and thrown away until the client
//! closes, at most for a second or 64 KiB.
//! Promises: bounded in time and memory whatever the client does.
//! Must not know: why the connection is closed.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use super::scratch;
use super::seat::Seat;
use super::wire::Wire;

const TIME: Duration = Duration::from_secs(1);
const BYTES: usize = 64 * 1024;

pub(super) async fn close(mut wire: Wire, seat: &Rc<Seat>) {
    if seat.has_ended() || wire.shutdown().await.is_err() {
        return;
    }
    // Too slow is as good as closed.
    let _ = tokio::time::timeout(TIME, discard(&mut wire)).await;
}

/// Sends these last words first, as far as the client takes them.
pub(super) async fn say(mut wire: Wire, seat: &Rc<Seat>, words: &[u8]) {
    if let Ok(Ok(())) = tokio::time::timeout(TIME, wire.write_all(words)).await {
        close(wire, seat).await;
    }
}

async fn discard(wire: &mut Wire) {
    let mut left = BYTES;
    while left > 0 {
        let read = std::future::poll_fn(|cx| {
            scratch::with(|space| {
                let mut buffer = ReadBuf::new(space);
                ready!(Pin::new(&mut *wire).poll_read(cx, &mut buffer))?;
                Poll::Ready(std::io::Result::Ok(buffer.filled().len()))
            })
        });
        match read.await {
            Ok(0) | Err(_) => return,
            Ok(read) => left = left.saturating_sub(read),
        }
    }
}
