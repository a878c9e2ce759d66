//! Flow control (RFC 9113, sections 5.2 and 6.9): what may be sent, and what may be received.
//!
//! Promises: no window ever exceeds 2^31-1; one that we have opened is never exceeded without that being told.
//! Must not know: frames, streams.

/// RFC 9113, section 6.9.1.
const MOST: i64 = (1 << 31) - 1;

/// What a stream and a connection begin with (RFC 9113, section 6.9.2).
pub(super) const INITIAL: u32 = 65_535;

/// It would exceed what a window may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

/// How much the client takes. Below zero after SETTINGS that shrink it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlet(i64);

impl Outlet {
    pub(super) fn new(size: u32) -> Outlet {
        Outlet(i64::from(size))
    }

    /// How much of `wanted` may be sent.
    pub(super) fn room(self, wanted: usize) -> usize {
        usize::try_from(self.0).map_or(0, |room| room.min(wanted))
    }

    pub(super) fn is_open(self) -> bool {
        self.0 > 0
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.0 -= bytes as i64;
    }

    /// By WINDOW_UPDATE, or by the difference of two SETTINGS.
    pub(super) fn shift(&mut self, by: i64) -> Result<(), Overflow> {
        if self.0 + by > MOST {
            return Err(Overflow);
        }
        self.0 += by;
        Ok(())
    }
}

/// How much the client may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intake {
    window: i64,
    /// What the client takes for the whole window.
    size: i64,
    /// Taken, and not yet given back.
    taken: i64,
}

impl Intake {
    pub(super) fn new(size: u32) -> Intake {
        Intake { window: i64::from(size), size: i64::from(size), taken: 0 }
    }

    /// So much has come.
    pub(super) fn arrive(&mut self, bytes: u32) -> Result<(), Overflow> {
        if i64::from(bytes) > self.window {
            return Err(Overflow);
        }
        self.window -= i64::from(bytes);
        Ok(())
    }

    /// The client knows of a window of so much, and no more, as long as it has not acknowledged our SETTINGS.
    pub(super) fn is_known_as(&mut self, size: u32) {
        self.size = i64::from(size);
    }

    /// So much has been used, and is to be given back later.
    pub(super) fn keep(&mut self, bytes: usize) {
        self.taken += bytes as i64;
    }

    /// So much of what came has been used, or thrown away. What is to be given back now: half of the window at once.
    pub(super) fn take(&mut self, bytes: usize) -> Option<u32> {
        self.keep(bytes);
        if self.taken * 2 < self.size {
            return None;
        }
        let back = std::mem::take(&mut self.taken);
        self.window += back;
        u32::try_from(back).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_be_below_zero_and_not_above_its_most() {
        let mut outlet = Outlet::new(10);
        outlet.spend(10);
        assert!(!outlet.is_open() && outlet.shift(-5) == Ok(()));
        assert_eq!((outlet.room(7), outlet.shift(9)), (0, Ok(())));
        assert_eq!(outlet.room(7), 4);
        assert_eq!(outlet.shift(MOST - 3), Err(Overflow));
        assert_eq!((outlet.shift(MOST - 4), outlet.shift(1)), (Ok(()), Err(Overflow)));
    }

    #[test]
    fn what_was_taken_is_given_back_in_halves() {
        let mut intake = Intake::new(100);
        assert_eq!((intake.arrive(100), intake.arrive(1)), (Ok(()), Err(Overflow)));
        assert_eq!((intake.take(49), intake.take(1)), (None, Some(50)));
        assert_eq!((intake.arrive(51), intake.arrive(50)), (Err(Overflow), Ok(())));
        intake.is_known_as(10);
        assert_eq!((intake.take(4), intake.take(1)), (None, Some(5)));
    }
}
