//! What generator and origin read of a message: where its head ends, and how long its content is.
//!
//! Promises: nothing is allocated once a connection is warm. Must not know: sockets, time.

/// Reads one message after the other, in whatever pieces it comes.
#[derive(Default)]
pub struct Reading {
    head: Vec<u8>,
    left: Option<u64>,
}

/// A message that has come as a whole: its first line.
pub enum Progress {
    More,
    Whole,
}

impl Reading {
    /// Takes these bytes; a message is never followed by another before it is answered.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<Progress, &'static str> {
        if self.left.is_none() {
            let seen = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") else {
                return if seen > 16_384 { Err("a head without an end") } else { Ok(Progress::More) };
            };
            bytes = &bytes[end + 4 - seen..];
            self.head.truncate(end + 4);
            self.left = Some(length(&self.head)?);
        }
        let left = self.left.unwrap_or_default();
        self.left = Some(left.checked_sub(bytes.len() as u64).ok_or("more than was announced")?);
        Ok(if self.left == Some(0) { Progress::Whole } else { Progress::More })
    }

    /// Of the message that has come as a whole.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    pub fn next(&mut self) {
        self.head.clear();
        self.left = None;
    }
}

fn length(head: &[u8]) -> Result<u64, &'static str> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    for line in lines {
        let Some(name) = line.get(..15) else { continue };
        if name.eq_ignore_ascii_case(b"content-length:") {
            let digits = line[15..].trim_ascii();
            return std::str::from_utf8(digits)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or("a length that is no number");
        }
    }
    if first.starts_with(b"GET ") { Ok(0) } else { Err("no Content-Length") }
}
