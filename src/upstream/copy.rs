//! What was taken of a request's content, so that it can be sent again.
//!
//! ```text
//!   taken ─▶ pieces, in memory ──beyond replay.memory──▶ waiting ─written, off this thread─▶ a file without a name
//! ```
//! Promises: what is handed out again is what was taken, to the byte, whatever has been written by then; no data thread
//! waits for a disk: while more than [`AHEAD`] bytes wait for it, nothing more is taken from the client. Within
//! `replay.memory` and `replay.file` for one request, and `limits.replay` for all files together; what is beyond is not
//! kept.
//! The file is in the state directory (systemd.exec(5)), can be opened by nobody, and is gone with the copy, also when
//! this process is killed.
//! Must not know: whose content it is, when it is sent again.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use rustix::fs::{Mode, OFlags};
use tokio::task::JoinHandle;

use crate::config::settings::Replay;

/// The longest piece that is put together with others: each costs some hundred bytes.
const SHORT: usize = 1024;
/// Bytes of one copy that may wait for the disk.
const AHEAD: u64 = 256 * 1024;
/// Bytes that are read back at a time.
const READ: usize = 64 * 1024;
/// Between two lines about copies that could not be kept, on one thread.
const LINES: Duration = Duration::from_secs(1);

/// Bytes in all files of this process.
static SPILLED: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
pub(super) struct Copy {
    pieces: Vec<Piece>,
    bytes: u64,
    spilled: Option<Box<Spilled>>,
    trailers: Option<HeaderMap>,
}

enum Piece {
    Data(Bytes),
    /// More than one short piece.
    Together(BytesMut),
}

/// How far a handle has handed it out.
#[derive(Default)]
pub(super) struct Place {
    piece: usize,
    /// In the file.
    offset: u64,
    trailers: bool,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

/// Two are the same when the same is still to come.
impl PartialEq for Place {
    fn eq(&self, other: &Place) -> bool {
        (self.piece, self.offset, self.trailers) == (other.piece, other.offset, other.trailers)
    }
}

/// The part that is not in memory.
#[derive(Default)]
struct Spilled {
    file: Option<Arc<File>>,
    /// What is in the file.
    written: u64,
    /// What comes behind it, and how much that is.
    waiting: VecDeque<Bytes>,
    ahead: u64,
    writing: Option<Writing>,
    /// What this one has of [`SPILLED`].
    taken: u64,
}

type Writing = JoinHandle<io::Result<(Arc<File>, u64)>>;

impl Copy {
    /// Whether this frame is kept as well; if not, the copy is of no use any more.
    pub fn add(&mut self, frame: &Frame<Bytes>, limits: &Replay) -> bool {
        let Some(data) = frame.data_ref() else {
            self.trailers = frame.trailers_ref().cloned();
            return true;
        };
        let length = data.len() as u64;
        if self.spilled.is_none() && self.bytes + length <= limits.memory {
            self.bytes += length;
            keep(&mut self.pieces, data);
            return true;
        }
        let Some(most) = limits.file else { return false };
        let spilled = self.spilled.get_or_insert_default();
        if spilled.length() + length > most {
            return false;
        }
        let kept = spilled.add(data.clone(), limits.together);
        if !kept {
            tell(&io::Error::other("limits.replay is reached"));
        }
        kept
    }

    /// Ready when there is room for more, with an error when there never will be.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.spilled {
            Some(spilled) if spilled.ahead > AHEAD => spilled.poll_written(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Where everything has been handed out.
    pub fn end(&self) -> Place {
        Place {
            piece: self.pieces.len(),
            offset: self.spilled.as_ref().map_or(0, |spilled| spilled.length()),
            trailers: self.trailers.is_some(),
            reading: None,
        }
    }

    /// The next frame from `place`, which is moved behind it.
    pub fn poll_from(
        &mut self,
        place: &mut Place,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(piece) = self.pieces.get(place.piece) {
            place.piece += 1;
            return Poll::Ready(Some(Ok(Frame::data(match piece {
                Piece::Data(bytes) => bytes.clone(),
                Piece::Together(bytes) => Bytes::copy_from_slice(bytes),
            }))));
        }
        if let Some(spilled) = &mut self.spilled
            && place.offset < spilled.length()
        {
            let read = ready!(spilled.poll_read(place, cx));
            return Poll::Ready(Some(read.map(|bytes| {
                place.offset += bytes.len() as u64;
                Frame::data(bytes)
            })));
        }
        match &self.trailers {
            Some(trailers) if !place.trailers => {
                place.trailers = true;
                Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))))
            }
            _ => Poll::Ready(None),
        }
    }

    /// Bytes that are not in the file.
    pub fn memory(&self) -> u64 {
        self.bytes + self.spilled.as_ref().map_or(0, |spilled| spilled.ahead)
    }

    #[cfg(test)]
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }
}

/// A client may send its content byte by byte.
fn keep(pieces: &mut Vec<Piece>, data: &Bytes) {
    match pieces.last_mut() {
        Some(Piece::Together(last)) if data.len() < SHORT => last.extend_from_slice(data),
        Some(last @ Piece::Data(_)) if data.len() < SHORT => {
            if let Piece::Data(first) = last
                && first.len() < SHORT
            {
                *last = Piece::Together([&first[..], &data[..]].concat().as_slice().into());
            } else {
                pieces.push(Piece::Data(data.clone()));
            }
        }
        _ => pieces.push(Piece::Data(data.clone())),
    }
}

impl Spilled {
    fn length(&self) -> u64 {
        self.written + self.ahead
    }

    /// False when all files together are too long by now.
    fn add(&mut self, data: Bytes, together: Option<u64>) -> bool {
        let length = data.len() as u64;
        let room = |all: u64| Some(all + length).filter(|sum| together.is_none_or(|most| *sum <= most));
        if SPILLED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return false;
        }
        self.taken += length;
        self.ahead += length;
        self.waiting.push_back(data);
        if self.writing.is_none() {
            self.write();
        }
        true
    }

    /// Hands over to a thread that may wait for the disk what waits by now. It stays here, too, until it is written.
    fn write(&mut self) {
        let (file, at) = (self.file.clone(), self.written);
        let batch: Vec<Bytes> = self.waiting.iter().cloned().collect();
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(nameless(folder())?),
            };
            let mut end = at;
            for piece in &batch {
                file.write_all_at(piece, end)?;
                end += piece.len() as u64;
            }
            Ok((file, end))
        }));
    }

    /// Ready when some of what waited is in the file.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writing.is_none() {
            self.write();
        }
        let Some(writing) = &mut self.writing else { return Poll::Ready(Ok(())) };
        let written = ready!(Pin::new(writing).poll(cx));
        self.writing = None;
        let (file, end) = written.map_err(io::Error::other)??;
        self.file = Some(file);
        while self.written < end {
            // INVARIANT: what was written is the front of what waits.
            let Some(piece) = self.waiting.pop_front() else { break };
            self.written += piece.len() as u64;
            self.ahead -= piece.len() as u64;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, place: &mut Place, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            if let Some(reading) = &mut place.reading {
                let read = ready!(Pin::new(reading).poll(cx));
                place.reading = None;
                return Poll::Ready(read.map_err(io::Error::other)?);
            }
            match &self.file {
                Some(file) if place.offset < self.written => {
                    let (file, at) = (Arc::clone(file), place.offset);
                    let length = usize::try_from(self.written - at).map_or(READ, |left| left.min(READ));
                    place.reading = Some(tokio::task::spawn_blocking(move || {
                        let mut bytes = vec![0; length];
                        file.read_exact_at(&mut bytes, at)?;
                        Ok(Bytes::from(bytes))
                    }));
                }
                _ => ready!(self.poll_written(cx))?,
            }
        }
    }
}

impl Drop for Spilled {
    fn drop(&mut self) {
        SPILLED.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// The unit's state directory; without systemd that of all temporary files.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let state = std::env::var("STATE_DIRECTORY").ok();
        let first = state.as_deref().and_then(|all| all.split(':').find(|path| !path.is_empty()));
        first.map_or_else(std::env::temp_dir, PathBuf::from)
    })
}

/// Nobody else can open it, and it ends with its last descriptor (open(2), O_TMPFILE).
fn nameless(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::EXCL;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => Ok(File::from(fd)),
        // A file system that does not know it.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => named(folder),
        Err(error) => Err(error.into()),
    }
}

/// Made, opened, and its name removed.
fn named(folder: &Path) -> io::Result<File> {
    let path = folder.join(format!(".upload-{:016x}", fastrand::u64(..)));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?);
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// At most one line a second and thread.
pub(super) fn tell(error: &io::Error) {
    thread_local! {
        static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    let now = Instant::now();
    if LAST.get().is_some_and(|last| now.saturating_duration_since(last) < LINES) {
        return;
    }
    LAST.set(Some(now));
    tracing::warn!(
        "cannot keep an upload in {}, so it goes on without surviving its endpoint: {error}",
        folder().display()
    );
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;

    use super::*;

    fn on_one_thread<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    async fn whole(copy: &mut Copy) -> Vec<u8> {
        let (mut place, mut whole) = (Place::default(), vec![]);
        while let Some(frame) = poll_fn(|cx| copy.poll_from(&mut place, cx)).await {
            whole.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        assert!(place == copy.end());
        whole
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_back_to_the_byte(
            sizes in prop::collection::vec(0..3000usize, 0..60),
            memory in 0..20_000u64,
        ) {
            on_one_thread(async {
                let limits = Replay { memory, file: Some(1 << 20), together: None };
                let (mut copy, mut all) = (Copy::default(), vec![]);
                for (number, size) in sizes.iter().enumerate() {
                    let data = Bytes::from(vec![number as u8; *size]);
                    all.extend_from_slice(&data);
                    assert!(copy.add(&Frame::data(data), &limits));
                    // Also in the middle, while the rest is still being written.
                    if number % 16 == 0 {
                        assert_eq!(whole(&mut copy).await, all);
                    }
                    poll_fn(|cx| copy.poll_room(cx)).await.unwrap();
                }
                assert_eq!(whole(&mut copy).await, all);
                assert_eq!(whole(&mut copy).await, all);
            });
        }
    }

    #[test]
    fn beyond_the_limits_nothing_is_kept() {
        on_one_thread(async {
            let piece = || Frame::data(Bytes::from_static(&[1; 10]));
            let mut copy = Copy::default();
            let memory_only = Replay { memory: 20, file: None, together: None };
            assert!(copy.add(&piece(), &memory_only) && copy.add(&piece(), &memory_only));
            assert!(!copy.add(&piece(), &memory_only));
            let mut copy = Copy::default();
            let both = Replay { memory: 10, file: Some(20), together: None };
            assert!((0..3).all(|_| copy.add(&piece(), &both)) && !copy.add(&piece(), &both));
            // Other tests have files of their own at the same time, so that only what is too much for one is certain.
            let mut copy = Copy::default();
            let all = Replay { together: Some(5), ..both };
            assert!(copy.add(&piece(), &all) && !copy.add(&piece(), &all));
        });
    }

    #[test]
    fn no_more_is_taken_while_much_waits_for_the_disk() {
        on_one_thread(async {
            let limits = Replay { memory: 0, file: Some(1 << 30), together: None };
            let mut copy = Copy::default();
            let most = AHEAD + READ as u64;
            for _ in 0..100 {
                poll_fn(|cx| copy.poll_room(cx)).await.unwrap();
                assert!(copy.add(&Frame::data(Bytes::from(vec![7; READ])), &limits));
                assert!(copy.spilled.as_ref().unwrap().ahead <= most);
            }
            assert_eq!(whole(&mut copy).await.len(), 100 * READ);
        });
    }

    #[test]
    fn a_file_has_no_name_either_way() {
        let folder = tempfile::tempdir().unwrap();
        for file in [nameless(folder.path()).unwrap(), named(folder.path()).unwrap()] {
            file.write_all_at(b"x", 0).unwrap();
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        assert!(nameless(&folder.path().join("none")).is_err());
    }
}
