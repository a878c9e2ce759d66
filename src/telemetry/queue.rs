//! The queue between those who log and the one thread that writes to a destination.
//!
//! Promises: [`Queue::push`] never waits: a queue that is full, in lines or in bytes, drops the line
//! and counts it. Lines are written in the order of the queue. Losses are told once the destination
//! takes lines again. [`Queue::flush`] waits no longer than it is told to. Who pushes wakes a writer that sleeps, which
//! it does only after a moment without lines; lines that come in that moment are written together and wake nobody.
//! Must not know: what a line says, or what the destination is.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that may wait.
const LINES: usize = 8192;
/// Bytes that may wait.
const BYTES: usize = 8 << 20;
/// Lines written before the destination is looked at again and losses are told.
const BATCH: usize = 256;
/// How long the writer waits for more lines before it sleeps; a line is late by no more.
const REST: Duration = Duration::from_millis(10);
/// A destination that fails again within this time of having been told about is not told about again.
const QUIET: Duration = Duration::from_secs(60);
/// While more lines wait, losses are told this often; in an overload each telling is one more line.
const OFTEN: Duration = Duration::from_secs(1);

/// Where lines end. Its methods may block: only its writer thread calls them.
pub(super) trait Sink: Send + 'static {
    /// Called before each batch of lines.
    fn refresh(&mut self) {}

    /// Writes one whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<()>;

    /// Writes the first of these lines, and those behind it that go along; how many. An error is the first one's.
    fn write_some(&mut self, lines: &[Vec<u8>]) -> io::Result<usize> {
        lines.first().map_or(Ok(0), |line| self.write(line).map(|()| 1))
    }
}

/// What a writer has to tell about its destination.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It does not take lines; told when that begins, and while it lasts once in a while.
    Failing(io::Error),
    /// It takes lines, and this many before were dropped.
    Lost(u64),
}

/// Tells of trouble, in the log itself; returns whether it was told.
pub(super) type Tell = dyn FnMut(Trouble, &mut dyn Sink) -> bool + Send;

/// The near end of a queue. When the last one is dropped, the writer ends after the last line.
#[derive(Debug)]
pub(super) struct Queue {
    lines: SyncSender<Vec<u8>>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: AtomicUsize,
    pushed: AtomicU64,
    written: AtomicU64,
    /// Not taken by the queue, or not by the destination.
    lost: AtomicU64,
    /// The losses of this and all other queues of the process.
    lost_anywhere: Arc<AtomicU64>,
    flushers: AtomicUsize,
    /// Guards nothing but the moment between a flusher's look and its wait.
    progress: Mutex<()>,
    progressed: Condvar,
    /// Ends a rest.
    hurried: Condvar,
}

impl Queue {
    /// Starts the writer thread. Without one (no thread could be started) every line is lost.
    pub fn start(name: &str, sink: Box<dyn Sink>, tell: Box<Tell>, lost_anywhere: Arc<AtomicU64>) -> Queue {
        let (lines, queued) = sync_channel(LINES);
        let state = Arc::new(State { lost_anywhere, ..State::default() });
        let writer = Writer {
            sink,
            tell,
            state: Arc::clone(&state),
            told: 0,
            losses_told: None,
            failing: false,
            failure_told: None,
        };
        if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(move || writer.run(&queued)) {
            // Not eprintln!, which panics when stderr is gone as well.
            let _ = writeln!(io::stderr(), "cannot start the thread '{name}', dropping its lines: {error}");
        }
        Queue { lines, state }
    }

    /// Hands a line over, or drops it; whether it was taken.
    pub fn push(&self, line: Vec<u8>) -> bool {
        let length = line.len();
        let waiting = self.state.bytes.fetch_add(length, SeqCst);
        if waiting.saturating_add(length) > BYTES || self.lines.try_send(line).is_err() {
            self.state.bytes.fetch_sub(length, SeqCst);
            self.state.lose();
            return false;
        }
        let pushed = self.state.pushed.fetch_add(1, SeqCst);
        let lines = pushed.saturating_sub(self.state.written.load(SeqCst));
        if lines == LINES as u64 / 2 || (waiting < BYTES / 2 && waiting + length >= BYTES / 2) {
            // Without the lock: one that comes to nothing costs the rest of a rest.
            self.state.hurried.notify_one();
        }
        true
    }

    /// Waits until the lines pushed so far were written, at the longest until `limit`; whether they were.
    pub fn flush(&self, limit: Instant) -> bool {
        let wanted = self.state.pushed.load(SeqCst);
        self.state.flushers.fetch_add(1, SeqCst);
        let written = self.state.wait_for(wanted, limit);
        self.state.flushers.fetch_sub(1, SeqCst);
        written
    }
}

impl State {
    fn lose(&self) {
        self.lost.fetch_add(1, SeqCst);
        self.lost_anywhere.fetch_add(1, SeqCst);
    }

    fn wait_for(&self, wanted: u64, limit: Instant) -> bool {
        let mut guard = self.lock();
        self.hurried.notify_one();
        while self.written.load(SeqCst) < wanted {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            guard = self.progressed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lets lines come, unless somebody waits for those that are there.
    fn rest(&self) {
        let guard = self.lock();
        if self.flushers.load(SeqCst) == 0 {
            drop(self.hurried.wait_timeout(guard, REST));
        }
    }

    /// The fate of this many more lines is known, and told. Taking the lock puts the waking after
    /// the look of a flusher that is about to wait.
    fn passed(&self, lines: u64) {
        self.written.fetch_add(lines, SeqCst);
        if self.flushers.load(SeqCst) > 0 {
            drop(self.lock());
            self.progressed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The far end.
struct Writer {
    sink: Box<dyn Sink>,
    tell: Box<Tell>,
    state: Arc<State>,
    /// How many of the lost lines were told about.
    told: u64,
    losses_told: Option<Instant>,
    /// Whether the destination refused the last line.
    failing: bool,
    failure_told: Option<Instant>,
}

impl Writer {
    fn run(mut self, queued: &Receiver<Vec<u8>>) {
        let mut lines = Vec::with_capacity(BATCH);
        while let Ok(first) = queued.recv() {
            lines.push(first);
            while !lines.is_empty() {
                lines.extend(queued.try_iter().take(BATCH - lines.len()));
                self.sink.refresh();
                self.write(&lines);
                let count = lines.len() as u64;
                lines.clear();
                lines.extend(queued.try_recv());
                self.tell_losses(lines.is_empty());
                self.state.passed(count);
                if lines.is_empty() {
                    self.state.rest();
                    lines.extend(queued.try_recv());
                }
            }
        }
    }

    fn write(&mut self, mut lines: &[Vec<u8>]) {
        while !lines.is_empty() {
            let count = match self.sink.write_some(lines) {
                Ok(count) => {
                    self.failing = false;
                    count.clamp(1, lines.len())
                }
                Err(error) => {
                    self.state.lose();
                    self.failing = true;
                    self.tell_failure(error);
                    1
                }
            };
            let (passed, rest) = lines.split_at(count);
            self.state.bytes.fetch_sub(passed.iter().map(Vec::len).sum(), SeqCst);
            lines = rest;
        }
    }

    fn tell_failure(&mut self, error: io::Error) {
        let lately = self.failure_told.is_some_and(|at| at.elapsed() < QUIET);
        if !lately && (self.tell)(Trouble::Failing(error), &mut *self.sink) {
            self.failure_told = Some(Instant::now());
        }
    }

    /// `idle`: no more lines wait.
    fn tell_losses(&mut self, idle: bool) {
        let lost = self.state.lost.load(SeqCst);
        let lately = self.losses_told.is_some_and(|at| at.elapsed() < OFTEN);
        if lost == self.told || self.failing || (lately && !idle) {
            return;
        }
        if (self.tell)(Trouble::Lost(lost - self.told), &mut *self.sink) {
            self.told = lost;
            self.losses_told = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// Takes what it is given at once, when it is let.
    struct Gate {
        let_go: Receiver<()>,
        taken: Sender<usize>,
    }

    impl Sink for Gate {
        fn write(&mut self, _: &[u8]) -> io::Result<()> {
            unreachable!("lines come together")
        }

        fn write_some(&mut self, lines: &[Vec<u8>]) -> io::Result<usize> {
            self.taken.send(lines.len()).unwrap();
            self.let_go.recv().map_err(io::Error::other)?;
            Ok(lines.len())
        }
    }

    #[test]
    fn what_has_come_meanwhile_is_written_together() {
        let ((go, let_go), (taken, counts)) = (channel(), channel());
        let gate = Box::new(Gate { let_go, taken });
        let queue = Queue::start("test", gate, Box::new(|_, _| true), Arc::default());
        assert!(queue.push(b"first".to_vec()));
        assert_eq!(counts.recv_timeout(LIMIT), Ok(1));
        for _ in 0..300 {
            assert!(queue.push(b"line".to_vec()));
        }
        (0..3).for_each(|_| go.send(()).unwrap());
        assert!(queue.flush(Instant::now() + LIMIT));
        assert_eq!(counts.try_iter().collect::<Vec<_>>(), [BATCH, 300 - BATCH]);
        assert_eq!(queue.state.bytes.load(SeqCst), 0);
    }
}
