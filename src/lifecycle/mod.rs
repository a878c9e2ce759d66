//! PURE: which phase a gateway is in, and what to do next.
