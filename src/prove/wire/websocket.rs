//! WebSocket frames (RFC 6455) as bytes: encode one, decode the next.
//!
//! Promises: never allocates for more than the longest payload allowed; a partial frame stays in the
//! buffer until the rest has come. Extensions are not spoken, so a reserved bit is malformed.
//! Must not know: sockets, or what the messages mean.

use bytes::{Buf, BytesMut};
use sha1::{Digest, Sha1};

/// Longer payloads are malformed here: both ends send small messages.
pub const LONGEST: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub last: bool,
    pub opcode: Opcode,
    pub payload: Vec<u8>,
}

/// What was wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl Opcode {
    fn number(self) -> u8 {
        match self {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        }
    }

    fn of(number: u8) -> Option<Opcode> {
        use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};
        [Continuation, Text, Binary, Close, Ping, Pong].into_iter().find(|o| o.number() == number)
    }
}

impl Frame {
    pub fn text(payload: impl Into<Vec<u8>>) -> Frame {
        Frame { last: true, opcode: Opcode::Text, payload: payload.into() }
    }

    pub fn pong(payload: Vec<u8>) -> Frame {
        Frame { last: true, opcode: Opcode::Pong, payload }
    }

    /// Codes: RFC 6455, section 7.4.1 (1000 normal, 1001 going away).
    pub fn close(code: u16) -> Frame {
        Frame { last: true, opcode: Opcode::Close, payload: code.to_be_bytes().to_vec() }
    }

    /// The code of a close frame; 1005 when it carries none (RFC 6455, section 7.1.5).
    pub fn close_code(&self) -> u16 {
        match self.payload[..] {
            [high, low, ..] => u16::from_be_bytes([high, low]),
            _ => 1005,
        }
    }

    /// The bytes on the wire; a client masks (RFC 6455, section 5.3), a server does not.
    pub fn encode(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let length = self.payload.len();
        let mut bytes = Vec::with_capacity(length + 14);
        bytes.push(if self.last { 0x80 } else { 0 } | self.opcode.number());
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short), _) if short < 126 => bytes.push(masked | short),
            (_, Ok(medium)) => {
                bytes.push(masked | 126);
                bytes.extend_from_slice(&medium.to_be_bytes());
            }
            _ => {
                bytes.push(masked | 127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        match mask {
            Some(key) => {
                bytes.extend_from_slice(&key);
                bytes.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
            }
            None => bytes.extend_from_slice(&self.payload),
        }
        bytes
    }

    /// Takes the next frame off the front of `buffer`; `None` when its end has not come yet.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
        let [first, second, rest @ ..] = &buffer[..] else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Malformed("a reserved bit is set"));
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(Malformed("unknown opcode"))?;
        let (length, extended) = match (second & 0x7f, rest) {
            (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 2),
            (127, [a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 8),
            (126 | 127, _) => return Ok(None),
            (short, _) => (u64::from(short), 0),
        };
        if length > LONGEST {
            return Err(Malformed("payload longer than 1 MiB"));
        }
        let masked = second & 0x80 != 0;
        let head = 2 + extended + if masked { 4 } else { 0 };
        let whole = head + length as usize;
        if buffer.len() < whole {
            return Ok(None);
        }
        let mut payload = buffer[head..whole].to_vec();
        if masked {
            let key = &buffer[head - 4..head];
            payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
        let last = first & 0x80 != 0;
        buffer.advance(whole);
        Ok(Some(Frame { last, opcode, payload }))
    }
}

/// The `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455, section 4.2.2).
pub fn accept(key: &str) -> String {
    let mut digest = Sha1::new();
    digest.update(key.as_bytes());
    digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(&digest.finalize())
}

/// RFC 4648, section 4.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place) & 0x3f) as usize;
            text.push(if place <= three.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_the_one_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_frame_of_any_length_comes_back_masked_or_not() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let frame = Frame::text(vec![7; length]);
                let bytes = frame.encode(mask);
                let mut buffer = BytesMut::from(&bytes[..]);
                assert_eq!(Frame::decode(&mut buffer), Ok(Some(frame)));
                assert!(buffer.is_empty());
            }
        }
    }

    #[test]
    fn a_partial_frame_waits_for_its_rest() {
        let bytes = Frame::text(vec![7; 300]).encode(Some([9, 8, 7, 6]));
        for cut in 0..bytes.len() {
            let mut buffer = BytesMut::from(&bytes[..cut]);
            assert_eq!(Frame::decode(&mut buffer), Ok(None));
            assert_eq!(buffer.len(), cut);
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_is_malformed() {
        let mut buffer = BytesMut::from(&[0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0][..]);
        assert!(Frame::decode(&mut buffer).is_err());
    }
}
