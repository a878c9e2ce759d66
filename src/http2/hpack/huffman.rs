//! The code of texts (RFC 7541, section 5.2 and appendix B).
//!
//! The code is canonical: the lengths of its words are all that there is to know, and everything else is made
//! of them at compile time. Words of up to ten bits, which is nearly all of what is sent, are looked up; longer
//! ones are found by their length.
//!
//! Promises: what is no text is refused: EOS, and an end that is not up to seven ones.
//! Must not know: fields.

/// Why a text cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// The bytes, and EOS, which must not be sent.
const SYMBOLS: usize = 257;
const LONGEST: usize = 30;
const SHORT: u32 = 10;
/// No text has more bytes for each five bits.
const SHORTEST: usize = 5;
/// Short words that the least number of bits that are held has for certain.
const RUN: usize = 5;

/// Bits of each byte's word, and of EOS.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,  5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,  6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The symbols in the order of their words.
static SORTED: [u16; SYMBOLS] = CODE.sorted;
/// The words of each length: the first one, and where its symbol is in [`SORTED`].
static FIRST: [(u32, u16); LONGEST + 1] = CODE.first;
/// What the words that begin with these ten bits are, as `length << 8 | byte`; 0 for longer ones.
static LOOKUP: [u16; 1 << SHORT] = CODE.lookup;

struct Code {
    sorted: [u16; SYMBOLS],
    first: [(u32, u16); LONGEST + 1],
    lookup: [u16; 1 << SHORT],
}

const CODE: Code = code();

const fn code() -> Code {
    let mut code = Code { sorted: [0; SYMBOLS], first: [(0, 0); LONGEST + 1], lookup: [0; 1 << SHORT] };
    let (mut word, mut place, mut length) = (0u32, 0usize, 1usize);
    while length <= LONGEST {
        code.first[length] = (word, place as u16);
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                code.sorted[place] = symbol as u16;
                if length <= SHORT as usize {
                    let free = SHORT as usize - length;
                    let mut rest = 0;
                    while rest < 1 << free {
                        code.lookup[((word as usize) << free) + rest] = ((length << 8) | symbol) as u16;
                        rest += 1;
                    }
                }
                word += 1;
                place += 1;
            }
            symbol += 1;
        }
        word <<= 1;
        length += 1;
    }
    code
}

/// The room that the text of so many bytes of code needs.
pub(super) const fn longest(length: usize) -> usize {
    length * 8 / SHORTEST + RUN
}

/// Bits that have been read and not been used: the first one is the highest.
struct Bits<'a> {
    held: u64,
    count: u32,
    rest: &'a [u8],
}

impl Bits<'_> {
    /// At least 56, unless there are no more.
    #[inline]
    fn fill(&mut self) {
        if let Some(next) = self.rest.first_chunk::<8>() {
            let taken = (63 - self.count) / 8;
            self.held |= u64::from_be_bytes(*next) >> self.count;
            self.count += taken * 8;
            // Bits beyond the count are read again; those that are held already are the same.
            self.rest = &self.rest[taken as usize..];
        } else {
            self.fill_by_byte();
        }
    }

    fn fill_by_byte(&mut self) {
        // What is beyond the count was read ahead.
        self.held &= !(u64::MAX.checked_shr(self.count).unwrap_or(0));
        while self.count <= 56 {
            let Some((byte, rest)) = self.rest.split_first() else { return };
            self.held |= u64::from(*byte) << (56 - self.count);
            self.count += 8;
            self.rest = rest;
        }
    }

    #[inline]
    fn short(&self) -> u16 {
        LOOKUP[(self.held >> (64 - SHORT)) as usize]
    }

    #[inline]
    fn skip(&mut self, length: u32) {
        self.held <<= length;
        self.count -= length;
    }

    /// The byte of the next word and its length, which may be more than there is.
    fn next(&self) -> Result<(u8, u32), Invalid> {
        let short = self.short();
        if short != 0 {
            return Ok((short as u8, u32::from(short >> 8)));
        }
        let top = (self.held >> 32) as u32;
        for length in SHORT as usize + 1..=LONGEST {
            let (first, place) = FIRST[length];
            let word = top >> (32 - length);
            let next = FIRST.get(length + 1).map_or(SYMBOLS as u16, |(_, place)| *place);
            let symbol = usize::from(place) + (word - first) as usize;
            if symbol < usize::from(next) {
                return u8::try_from(SORTED[symbol]).map(|byte| (byte, length as u32)).map_err(|_| Invalid);
            }
        }
        Err(Invalid)
    }

    /// All that is left is the beginning of EOS, and less than a byte (section 5.2).
    fn is_padding(&self) -> bool {
        self.count < 8 && (self.held >> 56) as u8 | (0xff >> self.count) == 0xff
    }
}

/// The text of `code`, written to the front of `out`, which must have room for [`longest`].
pub(super) fn decode(code: &[u8], out: &mut [u8]) -> Result<usize, Invalid> {
    let mut bits = Bits { held: 0, count: 0, rest: code };
    let mut length = 0;
    loop {
        bits.fill();
        if bits.count < 56 {
            break;
        }
        let Some(slots) = out.get_mut(length..).and_then(<[u8]>::first_chunk_mut::<RUN>) else {
            return Err(Invalid);
        };
        for slot in slots {
            let short = bits.short();
            if short == 0 {
                break;
            }
            *slot = short as u8;
            length += 1;
            bits.skip(u32::from(short >> 8));
        }
        if bits.short() == 0 && bits.count >= LONGEST as u32 {
            let (byte, word) = bits.next()?;
            *out.get_mut(length).ok_or(Invalid)? = byte;
            length += 1;
            bits.skip(word);
        }
    }
    while bits.count > 0 {
        match bits.next() {
            Ok((byte, word)) if word <= bits.count => {
                *out.get_mut(length).ok_or(Invalid)? = byte;
                length += 1;
                bits.skip(word);
            }
            _ if bits.is_padding() => break,
            _ => return Err(Invalid),
        }
    }
    Ok(length)
}

/// What [`decode`] reads, for tests.
#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let word_of = |symbol: usize| {
        let length = usize::from(LENGTHS[symbol]);
        let (first, place) = FIRST[length];
        let at = SORTED.iter().position(|sorted| usize::from(*sorted) == symbol).unwrap();
        (u64::from(first) + at as u64 - u64::from(place), length)
    };
    let (mut out, mut held, mut count) = (Vec::new(), 0u64, 0);
    for byte in text {
        let (word, length) = word_of(usize::from(*byte));
        held = held << length | word;
        count += length;
        while count >= 8 {
            count -= 8;
            out.push((held >> count) as u8);
        }
    }
    if count > 0 {
        out.push((held << (8 - count)) as u8 | (0xff >> count));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(code: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut out = vec![0; longest(code.len())];
        let length = decode(code, &mut out)?;
        out.truncate(length);
        Ok(out)
    }

    #[test]
    fn every_byte_is_read_wherever_it_stands() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decoded(&encode(&all)).unwrap(), all);
        for byte in 0..=255 {
            for before in 0..12 {
                for behind in 0..12 {
                    let text = [vec![b'0'; before], vec![byte], vec![b'X'; behind]].concat();
                    assert_eq!(decoded(&encode(&text)).as_deref(), Ok(&text[..]));
                }
            }
        }
        for length in 0..100 {
            let shortest = vec![b'0'; length];
            assert_eq!(decoded(&encode(&shortest)), Ok(shortest));
            let longest = vec![b'\n'; length];
            assert_eq!(decoded(&encode(&longest)), Ok(longest));
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let table: &[(&[u8], bool)] = &[
            // `0` and three, then `00` and six ones.
            (&[0b0000_0111], true),
            (&[0b0000_0000, 0b0011_1111], true),
            // Padding of a whole byte, and of zeros, or with a zero in it.
            (&[0b0000_0111, 0xff], false),
            (&[0xff], false),
            (&[0b0000_0000], false),
            (&[0b0000_0110], false),
            (&[0b0000_0011], false),
            // EOS, alone, behind a text and before one; and almost all of it.
            (&[0xff, 0xff, 0xff, 0xff], false),
            (&[0xff, 0xff, 0xff, 0xfc], false),
            (&[0x07, 0xff, 0xff, 0xff, 0xff], false),
            (&[0xff, 0xff, 0xff, 0xfc, 0, 0, 0, 0, 0, 0, 0, 0], false),
            (&[0xff, 0xff, 0xff], false),
            (&[0xff, 0xff, 0xff, 0xf3], true),
        ];
        for (code, is_text) in table {
            assert_eq!(decoded(code).is_ok(), *is_text, "{code:x?}");
        }
    }
}
