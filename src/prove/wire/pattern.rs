//! The bytes of every download: the same at every offset, for whoever asks, so that a client can tell a wrong one.
//!
//! Promises: the sequence repeats only after a prime number of bytes, so that two swapped, repeated
//! or missing chunks of any usual buffer size are noticed.

use std::sync::OnceLock;

/// The period in bytes: the largest prime below 65,536.
const PERIOD: usize = 65_521;

fn table() -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = || {
            // xorshift64: Marsaglia, Journal of Statistical Software 8 (2003), issue 14.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        std::iter::repeat_with(next).take(PERIOD).collect()
    })
}

/// As many bytes of the sequence from `offset` on as lie in one piece, at least one, at most `most`.
pub fn from(offset: u64, most: u64) -> &'static [u8] {
    let start = (offset % PERIOD as u64) as usize;
    let rest = &table()[start..];
    &rest[..rest.len().min(usize::try_from(most).unwrap_or(usize::MAX))]
}

/// Whether `bytes` are what the sequence has from `offset` on.
pub fn matches(mut offset: u64, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let expected = from(offset, bytes.len() as u64);
        let (now, later) = bytes.split_at(expected.len());
        if now != expected {
            return false;
        }
        offset += now.len() as u64;
        bytes = later;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(offset: u64, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend_from_slice(from(offset + all.len() as u64, (count - all.len()) as u64));
        }
        all
    }

    #[test]
    fn the_sequence_matches_itself_at_any_offset() {
        let all = bytes(0, 200_000);
        assert!(matches(0, &all));
        assert!(matches(65_000, &all[65_000..140_000]));
    }

    #[test]
    fn a_missing_a_repeated_and_a_changed_byte_are_noticed() {
        let mut all = bytes(0, 100_000);
        assert!(!matches(1, &all[..50_000]));
        assert!(!matches(65_536, &all[..16_384]));
        all[70_000] ^= 1;
        assert!(!matches(0, &all));
    }
}
