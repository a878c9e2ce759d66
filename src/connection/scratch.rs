//! A piece of memory that each data thread lends to whoever reads right now.
//!
//! Promises: nobody keeps it across a suspension, so idle connections and tunnels hold no buffer.
//! Must not know: what is read.

use std::cell::RefCell;

/// The most that is read at once; also the most a tunnel holds per direction.
pub(super) const SIZE: usize = 16 * 1024;

thread_local! {
    static SPACE: RefCell<Box<[u8; SIZE]>> = RefCell::new(Box::new([0; SIZE]));
}

/// Lends the space to `reader`, which must not ask for it again.
pub(super) fn with<T>(reader: impl FnOnce(&mut [u8]) -> T) -> T {
    SPACE.with_borrow_mut(|space| reader(&mut space[..]))
}
