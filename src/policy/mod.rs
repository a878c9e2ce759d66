//! PURE: what to do to a request on its way.
