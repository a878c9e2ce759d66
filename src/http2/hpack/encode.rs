//! Fields to blocks (RFC 7541, section 6.2.2).
//!
//! Nothing is indexed but what the static table has, and nothing is put into the Huffman code: a table of what was
//! said costs more instructions than its bytes are worth, and the next process would have to have it.
//!
//! Promises: a block depends on the fields and on nothing that was encoded before.
//! Must not know: what fields mean.

use bytes::{BufMut, BytesMut};
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{TABLE, fixed};

/// The sizes of names and values are known before; what stands before them is never more.
const LONGEST_PREFIX: usize = 16;

/// What encodes the blocks of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoder {
    /// The client wants the table to be smaller than it is, and has to be told that it is (section 4.2).
    owes: bool,
    /// It has been told that there is none.
    empty: bool,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    pub const fn new() -> Encoder {
        Encoder { owes: false, empty: false }
    }

    /// The client's SETTINGS_HEADER_TABLE_SIZE, before they are acknowledged.
    pub fn resize(&mut self, size: u32) {
        self.owes |= !self.empty && (size as usize) < TABLE;
    }

    /// The head of an answer.
    pub fn head(&mut self, status: StatusCode, fields: &HeaderMap, out: &mut BytesMut) {
        self.begin(out);
        match fixed::status(status) {
            Some(index) => out.put_u8(0x80 | index),
            None => {
                out.extend_from_slice(&[fixed::STATUS_INDEX, 3]);
                out.extend_from_slice(status.as_str().as_bytes());
            }
        }
        put_fields(fields, out);
    }

    pub fn trailers(&mut self, fields: &HeaderMap, out: &mut BytesMut) {
        self.begin(out);
        put_fields(fields, out);
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if self.owes {
            out.put_u8(0x20);
            (self.owes, self.empty) = (false, true);
        }
    }
}

fn put_fields(fields: &HeaderMap, out: &mut BytesMut) {
    for (name, value) in fields {
        put_field(name, value, out);
    }
}

/// Without indexing; one that is sensitive says so to those behind (section 7.1.3).
fn put_field(name: &HeaderName, value: &HeaderValue, out: &mut BytesMut) {
    let (text, value_text) = (name.as_str(), value.as_bytes());
    out.reserve(text.len() + value_text.len() + LONGEST_PREFIX);
    let kind = if value.is_sensitive() { 0x10 } else { 0x00 };
    match fixed::index(text) {
        Some(index) => put_integer(kind, 0x0f, index.into(), out),
        None => {
            out.put_u8(kind);
            put_integer(0, 0x7f, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
    }
    put_integer(0, 0x7f, value_text.len(), out);
    out.extend_from_slice(value_text);
}

/// Section 5.1.
fn put_integer(kind: u8, most: u8, value: usize, out: &mut BytesMut) {
    if value < usize::from(most) {
        return out.put_u8(kind | value as u8);
    }
    out.put_u8(kind | most);
    let mut rest = value - usize::from(most);
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}
