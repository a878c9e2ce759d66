//! The systemd tier: promises that only the built package on a booted systemd can prove.
#[path = "../lab/mod.rs"]
mod lab;
