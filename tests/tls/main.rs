//! TLS as others see it: the real binary in front of clients of rustls and of OpenSSL.
//!
//! Promises: every test has its own folder, ports, authorities and processes, waits for events, and leaves no process
//! behind.

#[allow(dead_code, reason = "other tests use more of it")]
mod pki;
mod shapes;
