//! How much work a configuration was: a count by which tests see how it grows, instead of a clock.
//!
//! Promises: outside of tests it is nothing. Comparisons, characters and nodes that are looked at count
//! as one each; what the TOML parser does is not seen.
//! Must not know: what was done.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// So many steps more, by this thread.
#[cfg_attr(not(test), expect(unused_variables, reason = "counted by tests only"))]
pub(super) fn did(steps: usize) {
    #[cfg(test)]
    STEPS.set(STEPS.get() + steps);
}

/// The steps since the last time.
#[cfg(test)]
pub(super) fn taken() -> usize {
    STEPS.take()
}
