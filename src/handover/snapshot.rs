//! A sealed memory file (memfd_create(2)): the accepted configuration, as text.
//!
//! Promises: what was sealed can be neither changed nor cut short by anybody who holds it.
//! Must not know: what the bytes mean.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

/// More than any configuration: its files hold 64 MiB at most, and JSON doubles quotes and line breaks.
/// A receiver allocates no more than this.
const MOST_BYTES: u64 = 192 * 1024 * 1024;

fn seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// A memory file that contains `content` for good.
pub fn seal(content: &[u8]) -> io::Result<OwnedFd> {
    let mut file =
        File::from(memfd_create("hitless-configuration", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(content)?;
    fcntl_add_seals(&file, seals())?;
    Ok(file.into())
}

/// The content of a memory file that was sealed; an unsealed one could change under us.
pub fn open(fd: OwnedFd) -> io::Result<Vec<u8>> {
    let invalid = |text: &'static str| io::Error::new(io::ErrorKind::InvalidData, text);
    if !fcntl_get_seals(&fd).is_ok_and(|found| found.contains(seals())) {
        return Err(invalid("the configuration snapshot is not sealed"));
    }
    let file = File::from(fd);
    let length = file.metadata()?.len();
    if length > MOST_BYTES {
        return Err(invalid("the configuration snapshot is too large"));
    }
    // From the start, wherever another holder of the same file has read to.
    let mut content = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read_by_everyone_and_changed_by_nobody() {
        let fd = seal(b"[service.blog]").unwrap();
        let copy = fd.try_clone().unwrap();
        assert_eq!(open(fd.try_clone().unwrap()).unwrap(), b"[service.blog]");
        assert!(File::from(copy).write_all_at(b"x", 0).is_err());
        assert!(File::from(fd.try_clone().unwrap()).set_len(0).is_err());
        assert_eq!(open(fd).unwrap(), b"[service.blog]");
    }

    #[test]
    fn an_unsealed_file_is_refused() {
        let fd = memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        assert_eq!(open(fd).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(open(tempfile::tempfile().unwrap().into()).is_err());
    }
}
