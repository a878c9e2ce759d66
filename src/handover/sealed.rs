//! A sealed memory file (memfd_create(2)): bytes that go along with descriptors, however many they are.
//!
//! Promises: what was sealed can be neither changed nor cut short by anybody who holds it; a file that is not
//! sealed, or longer than its reader expects, is not read at all.
//! Must not know: what the bytes mean.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

fn seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// A memory file that contains `content` for good; /proc shows its name.
pub fn seal(name: &CStr, content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(content)?;
    fcntl_add_seals(&file, seals())?;
    Ok(file.into())
}

/// The content of a memory file that was sealed, if that is at most so many bytes: an unsealed one could change
/// under us. `what` is its word in errors.
pub fn open(fd: OwnedFd, what: &str, most_bytes: u64) -> io::Result<Vec<u8>> {
    let invalid = |fault: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the {what} is {fault}"));
    if !fcntl_get_seals(&fd).is_ok_and(|found| found.contains(seals())) {
        return Err(invalid("not sealed"));
    }
    let file = File::from(fd);
    let length = file.metadata()?.len();
    if length > most_bytes {
        return Err(invalid("too large"));
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
    fn what_is_sealed_is_read_by_everyone_and_changed_by_nobody() {
        let fd = seal(c"x", b"[service.blog]").unwrap();
        let read = || open(fd.try_clone().unwrap(), "file", 14);
        let copy = File::from(fd.try_clone().unwrap());
        assert_eq!(read().unwrap(), b"[service.blog]");
        assert!(copy.write_all_at(b"x", 0).is_err());
        assert!(copy.set_len(0).is_err());
        assert_eq!(read().unwrap(), b"[service.blog]");
    }

    #[test]
    fn what_is_not_sealed_or_too_large_is_refused_by_its_name() {
        let unsealed = memfd_create(c"x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        for fd in [unsealed, tempfile::tempfile().unwrap().into()] {
            let error = open(fd, "letter", 100).unwrap_err();
            assert_eq!(
                (error.kind(), error.to_string()),
                (io::ErrorKind::InvalidData, "the letter is not sealed".into())
            );
        }
        let error = open(seal(c"x", b"12345").unwrap(), "letter", 4).unwrap_err();
        assert_eq!(error.to_string(), "the letter is too large");
    }
}
