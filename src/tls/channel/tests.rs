//! Two channels with the same secrets, over a pipe of any width.

use std::future::poll_fn;

use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::handover::record;
use crate::handover::secret::Secret;

fn half(byte: u8, length: usize, iv: usize) -> record::Half {
    record::Half {
        secret: Secret::from(&vec![byte; length][..]),
        iv: Secret::from(&vec![7; iv][..]),
        number: 0,
    }
}

/// The client's and the server's end of a connection of this suite.
fn pair(suite: u16) -> (Channel, Channel) {
    let (length, iv) = match suite {
        0x1301 | 0x1303 => (32, 0),
        0x1302 => (48, 0),
        0xc02b => (16, 12),
        _ => (32, 12),
    };
    let (up, down) = (half(1, length, iv), half(2, length, iv));
    let server = Seal { suite, read: up.clone(), write: down.clone(), ..Seal::default() };
    let client = Seal { suite, read: down, write: up, ..Seal::default() };
    (Channel::adopt(Role::Client, &client).unwrap(), Channel::adopt(Role::Server, &server).unwrap())
}

async fn write(channel: &mut Channel, io: &mut DuplexStream, mut bytes: &[u8]) {
    let mut space = vec![0; SPACE];
    while !bytes.is_empty() {
        let written =
            poll_fn(|cx| channel.poll_write(io, &[IoSlice::new(bytes)], &mut space, cx)).await.unwrap();
        bytes = &bytes[written..];
    }
}

async fn read(channel: &mut Channel, io: &mut DuplexStream, length: usize) -> BytesMut {
    let (mut space, mut plain) = (vec![0; SPACE], BytesMut::new());
    while plain.len() < length {
        let read = poll_fn(|cx| channel.poll_fill(io, &mut plain, &mut space, cx)).await.unwrap();
        assert!(read > 0, "the end, after {} bytes", plain.len());
    }
    plain
}

const SUITES: [u16; 6] = [0x1301, 0x1302, 0x1303, 0xc02b, 0xc030, 0xcca8];

#[tokio::test]
async fn what_is_written_is_read_whatever_the_suite_and_the_width() {
    let content: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    for suite in SUITES {
        for width in [1, 7, 1000, 1 << 20] {
            let (mut client, mut server) = pair(suite);
            let (mut near, mut far) = duplex(width);
            let content = if width < 1000 { &content[..2000] } else { &content[..] };
            let (_, got) = tokio::join!(
                write(&mut client, &mut near, content),
                read(&mut server, &mut far, content.len())
            );
            assert!(got == content, "{suite:x} {width}");
        }
    }
}
