//! Compressed fields (RFC 7541).
//!
//! ```text
//!   block ─▶ decode ─▶ Sink ─▶ head           fixed: the static table
//!              │  └─ huffman                  table: the dynamic one, of the decoder only
//!              └─ table
//!   status, fields ─▶ encode ─▶ block
//! ```
//! A name and a value are checked when they are read from the block; the table keeps them as what they are by
//! then, so a field that is indexed is checked and copied once. A field that cannot be used is kept too, as a
//! `Field::Malformed`: the client's table has it.
//!
//! Promises: a block is decoded to its end whatever its fields are worth, and only an error of the compression
//! stops it; the tables of both sides stay the same.
//! Must not know: which fields a message needs.

mod decode;
mod encode;
mod field;
mod fixed;
mod huffman;
mod table;

pub use decode::{Broken, Decoded, Decoder};
pub use encode::Encoder;
pub use field::{Protocol, Pseudo, Sink};

/// What a table may have unless something else was agreed upon (RFC 9113, section 6.5.2).
pub const TABLE: usize = 4096;

/// What each field counts for beside its name and value (section 4.1; RFC 9113, section 6.5.2).
pub const OVERHEAD: usize = 32;

#[cfg(test)]
mod tests;
