//! Where the frames of a WebSocket begin and end (RFC 6455, section 5.2), and its close frame.
//!
//! Promises: follows one direction however its bytes are cut into pieces, holds none of them, and
//! knows when another frame may be put between: only between two frames. Close frames are seen.
//! Must not know: sockets, tunnels, why somebody wants to close.

/// Status code 1001, "going away" (RFC 6455, section 7.4.1).
const GOING_AWAY: [u8; 2] = 1001u16.to_be_bytes();
const OPCODE_CLOSE: u8 = 0x8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// The close frame that a server sends.
pub(super) fn close_from_server() -> [u8; 4] {
    [FINAL | OPCODE_CLOSE, 2, GOING_AWAY[0], GOING_AWAY[1]]
}

/// The close frame that a client sends; its frames are masked (RFC 6455, section 5.3).
pub(super) fn close_from_client(mask: [u8; 4]) -> [u8; 8] {
    let code = [GOING_AWAY[0] ^ mask[0], GOING_AWAY[1] ^ mask[1]];
    [FINAL | OPCODE_CLOSE, MASKED | 2, mask[0], mask[1], mask[2], mask[3], code[0], code[1]]
}

/// One direction of a WebSocket.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The header read so far; at most 14 bytes, of which only the first ten say a length.
    header: [u8; 14],
    header_read: u8,
    /// Payload of the current frame still to come.
    left: u64,
    closed: bool,
}

impl Frames {
    /// Follows on where another process stopped; see [`Frames::header`] and [`Frames::left`].
    pub(super) fn resume(header: &[u8], left: u64, closed: bool) -> Frames {
        let mut frames = Frames::default();
        frames.follow_header(header);
        if left > 0 {
            frames.header_read = 0;
        }
        Frames { left, closed, ..frames }
    }

    /// What has been read of the current header; in the middle of a payload, the first byte of its frame's
    /// header, which says what it is.
    pub(super) fn header(&self) -> &[u8] {
        let length = if self.left > 0 { 1 } else { usize::from(self.header_read) };
        &self.header[..length]
    }

    /// Payload of the current frame still to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Whether the last byte followed was the last one of a frame, or none has come yet.
    pub(super) fn at_boundary(&self) -> bool {
        self.header_read == 0 && self.left == 0
    }

    /// Whether a close frame has come as a whole: nothing but the end follows it.
    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    /// Follows all of `bytes`.
    pub(super) fn follow(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[self.follow_frame(rest)..];
        }
    }

    /// Follows `bytes` up to the end of the current frame, or of the next one when this is a
    /// boundary; returns how many that were.
    pub(super) fn follow_frame(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        if self.left == 0 {
            used += self.follow_header(bytes);
            if self.header_read > 0 {
                return used;
            }
        }
        let payload = (bytes.len() - used).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= payload as u64;
        used += payload;
        if self.left == 0 && self.header[0] & 0x0f == OPCODE_CLOSE {
            self.closed = true;
        }
        used
    }

    /// Collects the header; when it is complete, `header_read` is 0 again and `left` is known.
    fn follow_header(&mut self, bytes: &[u8]) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            self.header[usize::from(self.header_read)] = *byte;
            self.header_read += 1;
            if self.header_read == self.header_length() {
                self.left = self.payload_length();
                self.header_read = 0;
                return index + 1;
            }
        }
        bytes.len()
    }

    /// As far as it is known from the bytes read: never less than one more than those.
    fn header_length(&self) -> u8 {
        if self.header_read < 2 {
            return 2;
        }
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & MASKED != 0 { 4 } else { 0 };
        2 + extended + mask
    }

    fn payload_length(&self) -> u64 {
        let header = &self.header;
        match header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
            127 => u64::from_be_bytes([
                header[2], header[3], header[4], header[5], header[6], header[7], header[8], header[9],
            ]),
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        let flag = if mask.is_some() { MASKED } else { 0 };
        match payload.len() {
            short @ 0..=125 => bytes.push(flag | u8::try_from(short).unwrap()),
            medium @ 126..=65535 => {
                bytes.push(flag | 126);
                bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
            }
            long => {
                bytes.push(flag | 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.unwrap_or_default().iter().take(if mask.is_some() { 4 } else { 0 }));
        bytes.extend(payload);
        bytes
    }

    /// Text, a masked binary fragment with an extended length, a masked ping, an empty frame, a
    /// frame with the longest length form.
    fn conversation() -> Vec<Vec<u8>> {
        vec![
            frame(0x81, None, b"hello"),
            frame(0x02, Some([1, 2, 3, 4]), &[7; 300]),
            frame(0x89, Some([9, 9, 9, 9]), b"ping"),
            frame(0x80, None, b""),
            frame(0x82, None, &vec![5; 70_000]),
            frame(0x82, Some([0; 4]), b""),
        ]
    }

    #[test]
    fn a_boundary_is_seen_exactly_at_the_end_of_each_frame() {
        let mut frames = Frames::default();
        assert!(frames.at_boundary());
        for frame in conversation() {
            let (last, before) = frame.split_last().unwrap();
            for byte in before {
                frames.follow(&[*byte]);
                assert!(!frames.at_boundary());
            }
            frames.follow(&[*last]);
            assert!(frames.at_boundary());
        }
        assert!(!frames.closed());
    }

    #[test]
    fn the_boundaries_are_the_same_however_the_bytes_are_cut() {
        let bytes: Vec<u8> = conversation().concat();
        for piece in [1, 2, 3, 7, 13, 64, 1000, 16384, bytes.len()] {
            let mut frames = Frames::default();
            for chunk in bytes.chunks(piece) {
                frames.follow(chunk);
            }
            assert!(frames.at_boundary(), "pieces of {piece}");
        }
    }

    #[test]
    fn it_is_followed_elsewhere_from_any_byte_on_as_if_nothing_had_been() {
        let close = close_from_client([1, 2, 3, 4]);
        let mut frames = conversation();
        frames.insert(2, frame(0x88, None, b"\x03\xe9 and why"));
        let bytes = [frames.concat(), close.to_vec()].concat();
        let (mut here, mut elsewhere) = (Frames::default(), Frames::default());
        for byte in bytes {
            let known = |frames: &Frames| (frames.at_boundary(), frames.closed(), frames.left());
            elsewhere = Frames::resume(elsewhere.header(), elsewhere.left(), elsewhere.closed());
            assert_eq!(known(&here), known(&elsewhere));
            here.follow(&[byte]);
            elsewhere.follow(&[byte]);
            assert_eq!(known(&here), known(&elsewhere));
        }
        assert!(elsewhere.closed());
    }

    #[test]
    fn no_record_however_wrong_brings_it_down() {
        for length in [1, 2, 13, 14, 15, 100] {
            for left in [0, 1, u64::MAX] {
                let mut frames = Frames::resume(&vec![0xff; length], left, false);
                frames.follow(&[0xff; 1000]);
            }
        }
    }

    #[test]
    fn following_one_frame_stops_at_its_end() {
        let first = frame(0x81, None, b"first");
        let bytes = [first.clone(), frame(0x81, None, b"second")].concat();
        let mut frames = Frames::default();
        frames.follow(&bytes[..3]);
        assert_eq!(frames.follow_frame(&bytes[3..]), first.len() - 3);
        assert!(frames.at_boundary());
        assert_eq!(frames.follow_frame(&bytes[first.len()..]), bytes.len() - first.len());
    }

    #[test]
    fn a_close_frame_is_seen_when_it_is_complete() {
        for close in [close_from_server().to_vec(), close_from_client([1, 2, 3, 4]).to_vec(), vec![0x88, 0]] {
            let mut frames = Frames::default();
            frames.follow(&frame(0x81, None, b"last words"));
            frames.follow(&close[..1]);
            assert!(!frames.closed());
            frames.follow(&close[1..]);
            assert!(frames.closed() && frames.at_boundary());
        }
    }

    #[test]
    fn our_close_frames_say_going_away() {
        assert_eq!(close_from_server(), [0x88, 2, 0x03, 0xe9]);
        let masked = close_from_client([0xa, 0xb, 0xc, 0xd]);
        assert_eq!(masked[..2], [0x88, 0x82]);
        assert_eq!([masked[6] ^ 0xa, masked[7] ^ 0xb], [0x03, 0xe9]);
    }
}
