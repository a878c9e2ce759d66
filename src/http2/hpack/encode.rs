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
#[inline]
fn put_field(name: &HeaderName, value: &HeaderValue, out: &mut BytesMut) {
    let (name, text) = (name.as_str(), value.as_bytes());
    let kind = if value.is_sensitive() { 0x10 } else { 0x00 };
    match fixed::index(name) {
        // Nearly every field. No name but those of pseudo-fields has an index that needs less.
        Some(index) if text.len() < 0x7f => {
            out.extend_from_slice(&[kind | 0x0f, index - 0x0f, text.len() as u8]);
        }
        Some(index) => {
            out.extend_from_slice(&[kind | 0x0f, index - 0x0f]);
            put_length(text.len(), out);
        }
        None => {
            out.put_u8(kind);
            put_length(name.len(), out);
            out.extend_from_slice(name.as_bytes());
            put_length(text.len(), out);
        }
    }
    out.extend_from_slice(text);
}

/// Of a text that is not in the Huffman code (sections 5.1 and 5.2).
#[inline]
fn put_length(length: usize, out: &mut BytesMut) {
    if length < 0x7f { out.put_u8(length as u8) } else { put_long_length(length, out) }
}

fn put_long_length(length: usize, out: &mut BytesMut) {
    out.put_u8(0x7f);
    let mut rest = length - 0x7f;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}
