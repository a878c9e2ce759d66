//! Which version this program is.
//!
//! Promises: the same word everywhere, in `--version`, in the journal and in `hitless status`. It stands in a section of
//! the file of its own, so that `packaging/deb +SUFFIX` can make a package of a newer version out of a program that is
//! built already: that file differs from the first one in this word, in its build id, and in nothing else that runs.
//! Must not know: who asks.

use std::hint::black_box;

/// The longest version, in bytes.
const LONGEST: usize = 64;

#[used]
#[unsafe(link_section = ".hitless.version")]
static MARK: [u8; LONGEST] = padded(env!("CARGO_PKG_VERSION"));

/// Such as `0.1.0`, or `0.1.0+demo2`.
pub fn text() -> &'static str {
    // Not what the compiler knows it to be, but what the file has.
    let mark = black_box(&MARK);
    let end = mark.iter().position(|byte| *byte == 0).unwrap_or(LONGEST);
    std::str::from_utf8(&mark[..end]).unwrap_or("unknown")
}

const fn padded(version: &str) -> [u8; LONGEST] {
    let (mut padded, mut at) = ([0; LONGEST], 0);
    while at < version.len() {
        padded[at] = version.as_bytes()[at];
        at += 1;
    }
    padded
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_program_that_nobody_marked_is_the_version_of_the_sources() {
        assert_eq!(super::text(), env!("CARGO_PKG_VERSION"));
    }
}
