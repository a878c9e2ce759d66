//! Whether trailers have a pseudo-field, which makes a request malformed (RFC 9113, section 8.1).
//!
//! h2 drops such fields without a word, so their block is looked at before h2 has it. Nothing is
//! decompressed: a pseudo-field shows by its place in the static table (RFC 7541, appendix A) or by the
//! colon that its name begins with. One that is named by the dynamic table alone is not seen here, and
//! dropped by h2.
//!
//! Promises: one pass over the bytes of trailers, however they are cut, and no memory.
//! Must not know: what the fields mean.

/// The first entries of the static table, all of which are pseudo-fields.
const PSEUDO_FIELDS: std::ops::RangeInclusive<u8> = 1..=14;

const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// One block, of one HEADERS frame and its CONTINUATION frames.
#[derive(Debug)]
pub(super) struct Trailers {
    /// Bytes of the frame still to come, of which the last ones are padding.
    left: u32,
    padding: u32,
    padded: bool,
    /// Bytes of the frame before the block.
    skip: u32,
    state: State,
    has_pseudo: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Field,
    /// The rest of an index; then what follows it.
    Index(After),
    Length(Text),
    /// The rest of a length: what is known of it, and how far the next byte is shifted.
    LongLength(Text, bool, u32, u32),
    /// Bytes of a text still to come; `true` before the first one.
    Text(Text, bool, u32, bool),
}

#[derive(Clone, Copy, Debug)]
enum After {
    Field,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Name,
    Value,
}

impl Trailers {
    /// Begins with this HEADERS frame.
    pub(super) fn new(length: u32, flags: u8) -> Trailers {
        Trailers {
            left: length,
            padding: 0,
            padded: flags & PADDED != 0,
            skip: if flags & PRIORITY == 0 { 0 } else { 5 },
            state: State::Field,
            has_pseudo: false,
        }
    }

    /// Goes on with a CONTINUATION frame, which has no padding (RFC 9113, section 6.10).
    pub(super) fn go_on(&mut self, length: u32) {
        self.left = length;
        self.padding = 0;
    }

    pub(super) fn has_pseudo(&self) -> bool {
        self.has_pseudo
    }

    /// The next bytes of the frame's payload.
    pub(super) fn follow(&mut self, payload: &[u8]) {
        for byte in payload {
            self.left = self.left.saturating_sub(1);
            if self.padded {
                self.padded = false;
                self.padding = u32::from(*byte);
            } else if self.skip > 0 {
                self.skip -= 1;
            } else if self.left >= self.padding {
                self.state = self.next(*byte);
            }
        }
    }

    fn next(&mut self, byte: u8) -> State {
        match self.state {
            State::Field => self.field(byte),
            State::Index(after) if byte & 0x80 != 0 => State::Index(after),
            State::Index(after) => after.state(),
            State::Length(text) => match byte & 0x7f {
                0x7f => State::LongLength(text, byte & 0x80 != 0, 0x7f, 0),
                length => text.begin(byte & 0x80 != 0, u32::from(length)),
            },
            State::LongLength(text, huffman, length, shift) => {
                let more = u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
                let length = length.saturating_add(more);
                if byte & 0x80 == 0 {
                    text.begin(huffman, length)
                } else {
                    State::LongLength(text, huffman, length, shift.saturating_add(7))
                }
            }
            State::Text(text, huffman, left, first) => {
                // RFC 7541, appendix B: the code of a colon is 1011100.
                let colon = if huffman { byte >> 1 == 0b101_1100 } else { byte == b':' };
                self.has_pseudo |= first && text == Text::Name && colon;
                if left > 1 { State::Text(text, huffman, left - 1, false) } else { text.end() }
            }
        }
    }

    /// The first byte of a field (RFC 7541, section 6).
    fn field(&mut self, byte: u8) -> State {
        let (index, most, literal) = match byte {
            0x80.. => (byte & 0x7f, 0x7f, false),
            0x40.. => (byte & 0x3f, 0x3f, true),
            // Not a field, but the size of the dynamic table.
            0x20.. => return if byte & 0x1f == 0x1f { State::Index(After::Field) } else { State::Field },
            _ => (byte & 0x0f, 0x0f, true),
        };
        if index < most && PSEUDO_FIELDS.contains(&index) {
            self.has_pseudo = true;
        }
        let after = if literal { After::Value } else { After::Field };
        match index {
            0 if literal => State::Length(Text::Name),
            _ if index == most => State::Index(after),
            _ => after.state(),
        }
    }
}

impl After {
    fn state(self) -> State {
        match self {
            After::Field => State::Field,
            After::Value => State::Length(Text::Value),
        }
    }
}

impl Text {
    fn begin(self, huffman: bool, length: u32) -> State {
        if length == 0 { self.end() } else { State::Text(self, huffman, length, true) }
    }

    fn end(self) -> State {
        match self {
            Text::Name => State::Length(Text::Value),
            Text::Value => State::Field,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_pseudo(flags: u8, payload: &[u8]) -> bool {
        let mut whole = Trailers::new(payload.len() as u32, flags);
        whole.follow(payload);
        let mut bytewise = Trailers::new(payload.len() as u32, flags);
        payload.iter().for_each(|byte| bytewise.follow(&[*byte]));
        assert_eq!(whole.has_pseudo(), bytewise.has_pseudo());
        let mut continued = Trailers::new(0, 0);
        continued.go_on(payload.len() as u32);
        continued.follow(payload);
        assert!(flags != 0 || continued.has_pseudo() == whole.has_pseudo());
        whole.has_pseudo()
    }

    #[test]
    fn a_pseudo_field_shows_by_its_index_or_its_colon() {
        let table: &[(&[u8], bool)] = &[
            (b"", false),
            (b"\x82", true),
            (b"\x8e", true),
            (b"\x8f", false),
            (b"\xbe", false),
            (b"\xff\x80\x01", false),
            (b"\x41\x01a", true),
            (b"\x04\x01/", true),
            (b"\x18\x03200", true),
            (b"\x0f\x01\x01x", false),
            (b"\x7f\x80\x01\x01x", false),
            (b"\x00\x05:path\x01/", true),
            (b"\x40\x05:path\x01/", true),
            (b"\x10\x05:path\x01/", true),
            (b"\x00\x84\xb9\x58\xd3\x3f\x01/", true),
            (b"\x00\x05x-sum\x05:path", false),
            (b"\x00\x05x-sum\x00\x00\x01x\x01y\x82", true),
            (b"\x3f\x80\x01\x20\x00\x01x\x01y", false),
            (b"\x00\x00\x01\x82", false),
        ];
        for (block, expected) in table {
            assert_eq!(has_pseudo(0, block), *expected, "{block:?}");
        }
        let long = [&b"\x00\x01x\x7f\x81\x01"[..], &[0x82; 256], b"\x00\x01y\x01z"].concat();
        assert!(!has_pseudo(0, &long));
        assert!(has_pseudo(0, &[&long[..], b"\x82"].concat()));
    }

    #[test]
    fn padding_and_priority_are_no_fields() {
        assert!(!has_pseudo(PADDED, b"\x02\x00\x01x\x01y\x82\x82"));
        assert!(has_pseudo(PADDED, b"\x02\x82\x00\x00"));
        assert!(!has_pseudo(PRIORITY, b"\x82\x82\x82\x82\x82\x00\x01x\x01y"));
        assert!(has_pseudo(PADDED | PRIORITY, b"\x01\x00\x00\x00\x00\x00\x82\x00"));
        assert!(!has_pseudo(PADDED, b"\xff\x82"));
    }
}
