//! Whether a host can be booted here, and what happens to a test when it cannot.
//!
//! Promises: a test that could not run never looks as if it had passed where that matters: with
//! `CI` or `HITLESS_REQUIRE_LAB` set it fails, elsewhere it says `skipped:` and leaves a line in
//! the file that `HITLESS_SKIPPED` names, which `make test` prints at its end.

use super::{Host, Release};
use std::ffi::CStr;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Boots a host and hands it to the test, or skips the test.
pub fn run(release: Release, test: impl FnOnce(Host)) {
    match unavailable(release) {
        None => test(Host::boot(release)),
        Some(reason) => skip(&reason),
    }
}

/// Why no host of this release can be booted here.
pub fn unavailable(release: Release) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root, and systemd-nspawn needs root".into());
    }
    for tool in ["systemd-nspawn", "nsenter", "unshare"] {
        if !has(tool) {
            return Some(format!("no {tool} (Debian: systemd-container, util-linux)"));
        }
    }
    if super::boot::cgroups().is_empty() {
        return Some("no writable cgroup2 hierarchy under /sys/fs/cgroup".into());
    }
    too_old_for_our_binaries(release)
}

/// What is compiled here asks for the C library found here, and that of Debian 12 is 2.36.
fn too_old_for_our_binaries(release: Release) -> Option<String> {
    // SAFETY: returns a pointer to a string that lives as long as the process.
    let ours = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_str().ok()?;
    let minor: u32 = ours.split('.').nth(1)?.parse().ok()?;
    let theirs = match release {
        Release::Bookworm => 36,
        Release::Trixie => 41,
    };
    (minor > theirs)
        .then(|| format!("built with glibc {ours}, which is newer than 2.{theirs} of {}", release.name()))
}

fn has(tool: &str) -> bool {
    Command::new("sh")
        .args(["-c", "command -v \"$1\" >/dev/null", "sh", tool])
        .status()
        .is_ok_and(|s| s.success())
}

fn skip(reason: &str) {
    let required = ["CI", "HITLESS_REQUIRE_LAB"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(!required, "cannot boot a test host, and CI or HITLESS_REQUIRE_LAB asks for it: {reason}");
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    println!("skipped: {name}: {reason}");
    if let Some(path) = std::env::var_os("HITLESS_SKIPPED") {
        let file = std::fs::File::options().create(true).append(true).open(Path::new(&path));
        // One write, so that parallel tests do not mix their lines.
        file.and_then(|mut file| file.write_all(format!("{name}: {reason}\n").as_bytes())).unwrap();
    }
}
