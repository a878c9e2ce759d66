//! PURE: which route serves a request.
