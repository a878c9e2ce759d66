//! Promises of connections, kept over real sockets.
pub(super) fn observe<B>(_: &http::Request<B>) {}
