//! Parse, dispatch, exit code: the only place that prints a fatal error.

fn main() {}
