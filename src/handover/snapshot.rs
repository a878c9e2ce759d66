//! The accepted configuration, as text in a sealed memory file.
//!
//! Promises: those of [`super::sealed`].
//! Must not know: what the text means.

use std::io;
use std::os::fd::OwnedFd;

use super::sealed;

/// More than any configuration: its files hold 64 MiB at most, and JSON doubles quotes and line breaks.
/// A receiver allocates no more than this.
const MOST_BYTES: u64 = 192 * 1024 * 1024;

/// A memory file that contains `content` for good.
pub fn seal(content: &[u8]) -> io::Result<OwnedFd> {
    sealed::seal(c"hitless-configuration", content)
}

/// The content of a memory file that was sealed.
pub fn open(fd: OwnedFd) -> io::Result<Vec<u8>> {
    sealed::open(fd, "configuration snapshot", MOST_BYTES)
}
