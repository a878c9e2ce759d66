//! Blocks to fields (RFC 7541, sections 3, 5 and 6).
//!
//! Promises: a value that the table does not keep is a slice of one buffer with the others of its block; a
//! field that the table has costs a clone; beyond the caller's bound fields are dropped and the table is
//! kept in step; what the table keeps shares memory with nothing larger.
//! Must not know: which fields a message needs.

use std::fmt;

use bytes::BytesMut;

use super::field::{Field, Name, Sink, Value};
use super::table::Table;
use super::{OVERHEAD, TABLE, fixed, huffman};

/// No number of a block needs more; what is more is an attack on somebody's integers (section 5.1).
const MOST: usize = 1 << 28;

/// What values share is taken in pieces of so much, or of what a block may need.
const PIECE: usize = 512;
/// What is kept of it between two blocks.
const KEPT: usize = 1024;

/// What decodes the blocks of one connection, in their order.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// What the client may make of the table.
    most: usize,
    text: BytesMut,
}

/// How a block was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Of all its fields, the dropped ones among them (RFC 9113, section 6.5.2).
    pub size: usize,
    /// More than the bound: fields were dropped.
    pub long: bool,
    /// How often it changed the size of the table; there is no reason for more than two (section 4.2).
    pub resizes: u32,
}

/// Why a block cannot be decoded, after which no block can: COMPRESSION_ERROR (RFC 9113, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A block ends within a field.
    Truncated,
    LongInteger,
    /// There is no entry with such an index.
    Index,
    Huffman,
    /// The table's size is changed to more than it may have.
    TableSize,
    /// The table's size is changed after a field.
    LateTableSize,
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Broken::Truncated => "a block of fields ends within a field",
            Broken::LongInteger => "a number in a block of fields is too large",
            Broken::Index => "a field has an index that is not in the table",
            Broken::Huffman => "a field is not in the Huffman code",
            Broken::TableSize => "the table of fields is made larger than it may be",
            Broken::LateTableSize => "the size of the table of fields is changed after a field",
        })
    }
}

impl Decoder {
    /// `most` is the SETTINGS_HEADER_TABLE_SIZE that was announced, not less than the initial one: a client
    /// may use that until it has seen another.
    pub fn new(most: usize) -> Decoder {
        Decoder { table: Table::new(TABLE), most: most.max(TABLE), text: BytesMut::new() }
    }

    /// The fields of one whole block, one after the other, as long as they are not more than `bound` in all by
    /// the count of [`Decoded::size`].
    pub fn decode(&mut self, block: &[u8], bound: usize, sink: &mut impl Sink) -> Result<Decoded, Broken> {
        let result = self.fields(block, bound, sink);
        if self.text.capacity() > KEPT {
            self.text = BytesMut::new();
        }
        result
    }

    #[inline]
    fn fields(&mut self, block: &[u8], bound: usize, sink: &mut impl Sink) -> Result<Decoded, Broken> {
        let mut decoded = Decoded::default();
        let mut input = Input { rest: block };
        let mut begun = false;
        while let Some(first) = input.next() {
            if first & 0xe0 == 0x20 {
                decoded.resizes += 1;
                self.resize(first, &mut input, begun)?;
                continue;
            }
            begun = true;
            if first & 0x80 == 0 {
                if let Some(field) = self.literal(first, &mut input, &mut decoded, bound)? {
                    field.give(sink);
                }
                continue;
            }
            // Section 6.1.
            let index = input.integer(first, 0x7f)?;
            match index.checked_sub(fixed::COUNT + 1) {
                Some(index) => {
                    let (field, size) = self.table.get(index).ok_or(Broken::Index)?;
                    if decoded.counts(size, bound) {
                        field.lend(sink);
                    }
                }
                None => {
                    let size = fixed::size(index).ok_or(Broken::Index)?;
                    if decoded.counts(size, bound) {
                        fixed::give(index, sink);
                    }
                }
            }
        }
        Ok(decoded)
    }

    /// Section 6.3.
    fn resize(&mut self, first: u8, input: &mut Input<'_>, begun: bool) -> Result<(), Broken> {
        let size = input.integer(first, 0x1f)?;
        if begun {
            return Err(Broken::LateTableSize);
        }
        if size > self.most {
            return Err(Broken::TableSize);
        }
        self.table.resize(size);
        Ok(())
    }

    /// Section 6.2.
    #[inline(never)]
    fn literal(
        &mut self,
        first: u8,
        input: &mut Input<'_>,
        decoded: &mut Decoded,
        bound: usize,
    ) -> Result<Option<Field>, Broken> {
        let kept = first & 0x40 != 0;
        let index = input.integer(first, if kept { 0x3f } else { 0x0f })?;
        let name = match index.checked_sub(fixed::COUNT + 1) {
            _ if index == 0 => {
                self.read(input)?;
                let name = Name::of(&self.text);
                self.text.clear();
                name
            }
            Some(index) => self.table.get(index).ok_or(Broken::Index)?.0.name(),
            None => fixed::name(index).ok_or(Broken::Index)?,
        };
        self.read(input)?;
        let size = name.len() + self.text.len() + OVERHEAD;
        let counts = decoded.counts(size, bound);
        if kept {
            let field = Field::new(name, Value::Own(&self.text));
            self.text.clear();
            let given = counts.then(|| field.clone());
            self.table.insert(field, size);
            return Ok(given);
        }
        let field = counts.then(|| Field::new(name, Value::Shared(&mut self.text)));
        self.text.clear();
        Ok(field)
    }

    /// A text (section 5.2), to [`Self::text`], which is empty.
    fn read(&mut self, input: &mut Input<'_>) -> Result<(), Broken> {
        let first = input.next().ok_or(Broken::Truncated)?;
        let length = input.integer(first, 0x7f)?;
        let behind = input.rest.len();
        let text = input.take(length)?;
        let huffman = first & 0x80 != 0;
        let room = if huffman { huffman::longest(length) } else { length };
        if self.text.capacity() < room {
            self.text.reserve(room.max(PIECE.min(huffman::longest(behind))));
        }
        if !huffman {
            self.text.extend_from_slice(text);
            return Ok(());
        }
        self.text.resize(room, 0);
        let length = huffman::decode(text, &mut self.text).map_err(|_| Broken::Huffman)?;
        self.text.truncate(length);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn table(&self) -> (usize, usize) {
        self.table.contents()
    }

    #[cfg(test)]
    pub(super) fn table_mut(&mut self) -> &mut Table {
        &mut self.table
    }
}

impl Decoded {
    /// One more field. Whether it is still within the bound.
    fn counts(&mut self, size: usize, bound: usize) -> bool {
        self.size += size;
        self.long |= self.size > bound;
        !self.long
    }
}

/// What is left of a block.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    #[inline]
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Broken::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Section 5.1; `mask` is the prefix.
    #[inline]
    fn integer(&mut self, first: u8, mask: u8) -> Result<usize, Broken> {
        let value = first & mask;
        if value < mask { Ok(usize::from(value)) } else { self.long_integer(usize::from(value)) }
    }

    fn long_integer(&mut self, mut value: usize) -> Result<usize, Broken> {
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.next().ok_or(Broken::Truncated)?;
            value += usize::from(byte & 0x7f) << shift;
            if value > MOST {
                return Err(Broken::LongInteger);
            }
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Broken::LongInteger)
    }
}
