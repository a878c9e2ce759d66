//! The test host: a throw-away Debian, booted with its own systemd in a systemd-nspawn container.
//!
//! ```ignore
//! let host = Host::boot(Release::Trixie);
//! host.install(&lab::package());
//! host.run(["systemctl", "reload", "hitless"]).ok();
//! assert_eq!(host.get("shop.example", "/").status, 200);
//! ```
//!
//! Promises: a host boots in about a second, is alone (own network, own cgroup, own copy of the
//! root file system in memory) and is gone with its [`Host`], also after a panic, also when the
//! test process is killed. Hosts can live side by side. Every wait has a bound and fails loudly.
//! Must not know: hitless. It knows packages, units, the journal and HTTP clients.
//!
//! The machine itself need not run systemd. It must be root's, with systemd-nspawn, overlayfs and
//! a cgroup2 hierarchy; [`unavailable`] says what is missing.

// Every test crate that includes this uses a part of it.
#![allow(dead_code, unused_imports, reason = "the demo and the systemd tier each use a part of it")]

mod availability;
mod boot;
mod client;
mod host;
mod journal;
pub mod leftovers;
mod process;

pub use availability::{run, unavailable};
pub use client::{Answer, Steady, Tally, read_answer};
pub use host::Host;
pub use journal::{Cursor, Entry};
pub use process::{Output, Running};

use std::path::PathBuf;
use std::time::Duration;

/// Nothing that a test waits for takes longer; what does, has failed. Generous, because the
/// machine may be busy.
pub const BOUND: Duration = Duration::from_secs(120);

/// A Debian release to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian 12, systemd 252.
    Bookworm,
    /// Debian 13, systemd 257.
    Trixie,
}

impl Release {
    pub fn name(self) -> &'static str {
        match self {
            Release::Bookworm => "bookworm",
            Release::Trixie => "trixie",
        }
    }
}

/// The newest package that `make deb` left in `target/deb`; `HITLESS_DEB` names another one.
pub fn package() -> PathBuf {
    if let Some(path) = std::env::var_os("HITLESS_DEB") {
        return path.into();
    }
    let folder = tree().join("target/deb");
    let packages = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    packages
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("hitless_") && name.ends_with(".deb")
        })
        .max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok())
        .unwrap_or_else(|| panic!("no package in {}; run `make deb`", folder.display()))
}

/// The binary of a cargo example, as `cargo build --example NAME` left it beside this test.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/PROFILE/deps/TEST and target/PROFILE/examples/DEMO both lie two below PROFILE.
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "no {}; run `cargo build --example {name}`", path.display());
    path
}

/// The root of the source tree.
pub fn tree() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Makes of each `fn promise(host: Host) { … }` two tests, `promise::debian_12` and
/// `promise::debian_13`. `with PREPARE` is called with the booted host first.
#[macro_export]
macro_rules! on_both_releases {
    (with $prepare:path; $($(#[$attribute:meta])* fn $name:ident($host:ident: Host) $body:block)*) => {$(
        $(#[$attribute])*
        fn $name($host: $crate::lab::Host) $body

        mod $name {
            #[allow(unused_imports)] // whatever PREPARE is written with
            use super::*;
            use $crate::lab::{Release, run};

            #[test]
            fn debian_12() {
                run(Release::Bookworm, |host| { $prepare(&host); super::$name(host) });
            }

            #[test]
            fn debian_13() {
                run(Release::Trixie, |host| { $prepare(&host); super::$name(host) });
            }
        }
    )*};
}
