//! A file as a destination, for an access log that logrotate(8) takes away.
//!
//! Promises: lines are appended, those that wait in one write. When the path has another file than the one that is open, or none,
//! the path is opened anew ([`Sink::refresh`]), so rotating needs no signal. A line that a full disk
//! tore apart does not swallow the next one.
//! Must not know: the form of the lines.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use super::queue::Sink;

#[derive(Debug)]
pub(super) struct Appended {
    path: PathBuf,
    open: Option<Open>,
    /// The last line in the file has no end.
    torn: bool,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
}

impl Appended {
    /// The file is opened, and created, when there is something to write.
    pub fn to(path: PathBuf) -> Appended {
        Appended { path, open: None, torn: false }
    }

    fn file(&mut self) -> io::Result<&mut File> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path)?;
                let stat = file.metadata()?;
                self.torn = false;
                Open { file, identity: (stat.dev(), stat.ino()) }
            }
        };
        Ok(&mut self.open.insert(open).file)
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut left = line;
        while !left.is_empty() {
            match self.file()?.write(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    left = &left[written..];
                    self.torn = !left.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Sink for Appended {
    fn refresh(&mut self) {
        let there = std::fs::metadata(&self.path).map(|stat| (stat.dev(), stat.ino())).ok();
        if self.open.as_ref().is_some_and(|open| Some(open.identity) != there) {
            self.open = None;
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.file()?;
        if self.torn {
            self.append(b"\n")?;
        }
        self.append(line)
    }

    fn write_some(&mut self, lines: &[Vec<u8>]) -> io::Result<usize> {
        self.file()?;
        if self.torn {
            self.append(b"\n")?;
        }
        let slices: Vec<IoSlice<'_>> = lines.iter().map(|line| IoSlice::new(line)).collect();
        let mut left = match self.file()?.write_vectored(&slices) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::Interrupted => return self.write(&lines[0]).map(|()| 1),
            Err(error) => return Err(error),
        };
        let mut whole = 0;
        for line in lines {
            match left.checked_sub(line.len()) {
                Some(rest) => left = rest,
                None => break,
            }
            whole += 1;
        }
        if left == 0 {
            return Ok(whole);
        }
        self.torn = true;
        match self.append(&lines[whole][left..]) {
            Ok(()) => Ok(whole + 1),
            // The next call begins with what is torn.
            Err(_) if whole > 0 => Ok(whole),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_are_appended_to_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        fs::write(&path, "0\n").unwrap();
        let mut file = Appended::to(path.clone());
        file.write(b"1\n").unwrap();
        file.write(b"2\n").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "0\n1\n2\n");
    }

    #[test]
    fn lines_that_wait_are_written_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut file = Appended::to(path.clone());
        file.write(b"{\"half").unwrap();
        file.torn = true;
        let lines: Vec<Vec<u8>> = (0..256).map(|line| format!("{line}\n").into_bytes()).collect();
        assert_eq!(file.write_some(&lines).unwrap(), 256);
        assert_eq!(fs::read(path).unwrap(), [b"{\"half\n".to_vec(), lines.concat()].concat());
        let mut full = Appended::to("/dev/full".into());
        assert_eq!(full.write_some(&lines).unwrap_err().kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn a_rotated_file_is_left_and_the_path_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let mut file = Appended::to(path.clone());
        file.write(b"1\n").unwrap();
        file.refresh();
        file.write(b"2\n").unwrap();
        fs::rename(&path, &rotated).unwrap();
        file.write(b"3\n").unwrap();
        file.refresh();
        file.write(b"4\n").unwrap();
        assert_eq!(fs::read_to_string(rotated).unwrap(), "1\n2\n3\n", "until it is looked at");
        assert_eq!(fs::read_to_string(path).unwrap(), "4\n");
    }

    #[test]
    fn a_torn_line_does_not_swallow_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut file = Appended::to(path.clone());
        file.write(b"{\"half").unwrap();
        file.torn = true;
        file.write(b"{}\n").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "{\"half\n{}\n");
    }

    #[test]
    fn a_full_disk_is_an_error_for_each_line() {
        let mut file = Appended::to("/dev/full".into());
        assert_eq!(file.write(b"1\n").unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(file.write(b"2\n").unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
