//! The load-and-loss client: a steady mixed load over HTTP/1.1 and HTTP/2, and a report of everything that was lost.
//!
//! For `hitless prove`, for the demonstration (`examples/demo`), and by itself (`examples/load`). It reads answers
//! with httparse, not with our own `http1`, and records with rustls, not with our own `tls`: an instrument is not
//! made of what it measures.
//! Promises: it never retries and never forgives. Only what any client must do is silent: a new connection
//! waits in the kernel, a connection whose end was announced by `Connection: close` or GOAWAY is opened anew, and what
//! HTTP/2 says was not processed is asked again.
//! Everything is bounded: each request by its patience, the run by `finish`.
//! Must not know: hitless, systemd, or what event the load is to survive.

mod clients;
mod connection;
mod exchange;
mod http2;
mod idle;
mod lasting;
mod options;
mod page;
mod posts;
mod socket;
mod stream;
mod tally;
mod tls;
mod trial;
mod tunnels;
mod verdict;
pub mod wire;

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use connection::{Kind, Loss};
pub use options::{Address, Options, Subject, Tls, Trust};
pub use page::Page;
pub use tally::{Details, Ended, Ending, Failure, Handshake, Lasting, Report, Share, SoFar, What};
pub use trial::{Trial, try_out};
pub use verdict::{Row, Verdict, table};

use connection::Connection;
use exchange::{Ask, exchange};
use tally::{Live, Tally};
use tls::Handshakes;

/// A load that is running, on a thread of its own.
pub struct Load {
    start: Instant,
    live: Arc<Live>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<io::Result<Report>>,
}

/// What all clients of one load share.
struct Run {
    options: Options,
    tls: Option<Protocols>,
    /// Distinguishes the POST ids of this run from those of every other.
    name: String,
    tally: RefCell<Tally>,
    sequence: Cell<u64>,
    stopping: watch::Receiver<bool>,
}

/// Sessions of one protocol are not resumed with another one.
struct Protocols {
    http1: Handshakes,
    http2: Handshakes,
}

impl Protocols {
    fn ready(tls: &Tls) -> io::Result<Protocols> {
        Ok(Protocols { http1: Handshakes::ready(tls, b"http/1.1")?, http2: Handshakes::ready(tls, b"h2")? })
    }
}

impl Load {
    /// Starts the load; `enter` runs first on its thread, to go into another network namespace for example.
    pub fn start(
        options: Options,
        enter: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Load> {
        raise_open_files()?;
        let tls = match &options.tls {
            Some(tls) => Some(Protocols::ready(tls)?),
            None => None,
        };
        let start = Instant::now();
        let live = Arc::new(Live::default());
        let (stop, stopping) = watch::channel(false);
        let watched = live.clone();
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            enter()?;
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
            Ok(runtime.block_on(run(options, tls, start, watched, stopping)))
        })?;
        Ok(Load { start, live, stop, thread })
    }

    /// Since the load began: the clock of [`Failure`]'s times.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn so_far(&self) -> SoFar {
        self.live.read()
    }

    /// Lets it run for so long, and on until answers come again; `each_second` is called while it does.
    ///
    /// # Errors
    /// When no request was answered within `bound`.
    pub fn offer(
        &self,
        period: Duration,
        bound: Duration,
        mut each_second: impl FnMut(),
    ) -> Result<(), String> {
        let began = Instant::now();
        let answered = self.so_far().answered;
        let mut seconds = 0;
        while began.elapsed() < period || self.so_far().answered == answered {
            if began.elapsed() >= bound.max(period) {
                return Err(format!("no request was answered within {} s", bound.as_secs()));
            }
            // Why it ended is told when it is finished.
            if self.ended() {
                return Ok(());
            }
            // The passing of time is what is waited for.
            std::thread::park_timeout(Duration::from_millis(50));
            if began.elapsed().as_secs() > seconds {
                seconds += 1;
                each_second();
            }
        }
        Ok(())
    }

    /// Whether it ended before it was finished, which only an error does.
    pub fn ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Offers nothing more, lets every request end, asks each silent connection once more, and reports.
    pub fn finish(self) -> io::Result<Report> {
        self.stop.send_replace(true);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the load client panicked")))
    }
}

/// Thousands of connections may wait at once; the usual soft limit is 1,024 (getrlimit(2)).
fn raise_open_files() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

async fn run(
    options: Options,
    tls: Option<Protocols>,
    start: Instant,
    live: Arc<Live>,
    stopping: watch::Receiver<bool>,
) -> Report {
    let name = format!("{:08x}", fastrand::u32(..));
    let tally = RefCell::new(Tally::new(start, live));
    let tunnels = options.tunnels;
    let mut stopped = stopping.clone();
    let run = Rc::new(Run { options, tls, name, tally, sequence: Cell::new(0), stopping });
    let mut clients = JoinSet::new();
    clients::spawn(&run, &mut clients);
    tunnels::spawn(&run, &mut clients);
    idle::spawn(&run, &mut clients);
    lasting::spawn(&run, &mut clients);
    http2::spawn(&run, &mut clients);
    // A sender that is gone asks for the end too.
    let _ = stopped.wait_for(|stopping| *stopping).await;
    run.tally.borrow_mut().stop();
    while let Some(ended) = clients.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    let posts = posts::received(&run).await;
    run.tally.borrow_mut().report(tunnels, posts)
}

impl Run {
    /// Waits; false when the load stops meanwhile.
    async fn goes_on_after(&self, pause: Duration) -> bool {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            _ = stopping.wait_for(|stopping| *stopping) => false,
        }
    }

    /// How long the client at this place of so many waits before it comes, so that all have come, one after the other,
    /// within a moment.
    fn arrival(place: usize, of: usize, apart: Duration) -> Duration {
        const MOMENT: Duration = Duration::from_secs(4);
        apart.min(MOMENT / u32::try_from(of.max(1)).unwrap_or(u32::MAX))
            * u32::try_from(place).unwrap_or(u32::MAX)
    }

    fn next(&self) -> u64 {
        self.sequence.replace(self.sequence.get() + 1)
    }

    /// The hosts in turn.
    fn host(&self, turn: u64) -> &str {
        let hosts = &self.options.hosts;
        &hosts[(turn % hosts.len() as u64) as usize]
    }

    /// A new connection, of a client that asks for `host` first.
    async fn open(&self, what: What, host: &str) -> Result<Connection, Loss> {
        let began = Instant::now();
        let connection =
            Connection::open(&self.options.address, self.tls.as_ref().map(|tls| &tls.http1), host).await?;
        if let Some(secured) = connection.secured() {
            self.tally.borrow_mut().secured(what, began, secured);
        }
        Ok(connection)
    }

    /// One request, on the connection `held` when there is one, else on a new one; whether it was answered.
    ///
    /// `held` is left with the connection when it may be used again. One that ended while it rested was closed
    /// unannounced, which is counted, and replaced like every client must.
    ///
    /// Boxed, so that a client that rests is not as large as one that asks.
    fn ask<'a>(
        &'a self,
        held: &'a mut Option<Connection>,
        ask: Ask,
    ) -> Pin<Box<dyn Future<Output = bool> + 'a>> {
        Box::pin(self.ask_now(held, ask))
    }

    async fn ask_now(&self, held: &mut Option<Connection>, ask: Ask) -> bool {
        if let Some(kind) = held.as_mut().and_then(Connection::ended) {
            self.tally.borrow_mut().idle_closed(kind);
            *held = None;
        }
        let begun = self.tally.borrow_mut().begin(ask.what, held.is_some());
        let attempt = async {
            let mut connection = match held.take() {
                Some(mut connection) => {
                    connection.take_longest_wait();
                    connection
                }
                None => self.open(ask.what, &ask.host).await?,
            };
            let outcome = exchange(&mut connection, &ask).await;
            let waited = connection.take_longest_wait();
            *held = Some(connection).filter(Connection::reusable);
            outcome.map(|()| waited)
        };
        let patience = self.options.patience + ask.allowance;
        let outcome = tokio::time::timeout(patience, attempt).await.unwrap_or_else(|_| {
            Err(Loss::new(Kind::Timeout, format!("no whole answer within {} s", patience.as_secs())))
        });
        let mut tally = self.tally.borrow_mut();
        match outcome {
            Ok(waited) => tally.answered(begun, waited.saturating_sub(ask.allowance)),
            Err(loss) => {
                tally.failed(begun, loss);
                return false;
            }
        }
        true
    }
}
