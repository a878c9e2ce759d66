//! Clients with HTTP/2: some connections, with so many requests on each at any time.
//!
//! The h2 crate over rustls or a socket. It does what a good client does with GOAWAY (RFC 9113, section 6.8): streams up
//! to the last one finish where they are, new ones go to a new connection, and what was not processed is asked again.
//! Promises: that is all that is forgiven. A stream that was to be finished and was not is a loss; a connection that
//! ends without GOAWAY is counted, with or without streams on it.
//! Must not know: how losses are counted.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Error, Reason};
use http::Request;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::Run;
use super::clients::{download, get, slow};
use super::connection::{Kind, Loss};
use super::exchange::{Ask, Evidence};
use super::options::Subject;
use super::stream::Stream;
use super::tally::What;

/// A request that was never processed is asked so often.
const ATTEMPTS: usize = 20;
/// Room for every download that is under way on one connection.
const WINDOW: u32 = 4 << 20;

/// One connection after the other, with as many requests as there are.
struct Line {
    current: Mutex<Option<SendRequest<Bytes>>>,
    /// What drives them, also those that only finish.
    drivers: RefCell<JoinSet<()>>,
}

/// Why there is no answer.
enum Unanswered {
    /// It was not processed, as the protocol says.
    Refused(Loss),
    Lost(Loss),
}

pub fn spawn(run: &Rc<Run>, clients: &mut JoinSet<()>) {
    for _ in 0..run.options.http2_connections {
        clients.spawn_local(hold(run.clone()));
    }
}

/// Asks until the load stops, and lets every request end.
async fn hold(run: Rc<Run>) {
    let line = Rc::new(Line { current: Mutex::new(None), drivers: RefCell::new(JoinSet::new()) });
    let mut streams = JoinSet::new();
    for _ in 0..run.options.http2_streams {
        streams.spawn_local(keep_asking(run.clone(), line.clone()));
    }
    streams.join_all().await;
}

async fn keep_asking(run: Rc<Run>, line: Rc<Line>) {
    let mut pause = run.options.think.mul_f64(fastrand::f64());
    while run.goes_on_after(pause).await {
        // Some are under way for a while, whatever happens.
        let ask = match run.sequence.get() % 16 {
            0 if run.options.subject == Subject::Sample => slow(&run),
            1 if run.options.subject == Subject::Sample => download(&run),
            _ => get(&run, What::Http2, false),
        };
        Box::pin(line.ask(&run, Ask { what: What::Http2, ..ask })).await;
        pause = run.options.think.mul_f64(0.5 + fastrand::f64());
    }
}

impl Line {
    async fn ask(&self, run: &Rc<Run>, ask: Ask) {
        let begun = run.tally.borrow_mut().begin(ask.what, false);
        let began = tokio::time::Instant::now();
        let patience = run.options.patience + ask.allowance;
        let attempts = async {
            let mut refused = Loss::new(Kind::Client, "never asked");
            for _ in 0..ATTEMPTS {
                let request = self.ready(run, &ask.host).await?;
                match exchange(request, run.tls.is_some(), &ask).await {
                    Ok(()) => return Ok(()),
                    Err(Unanswered::Lost(loss)) => return Err(loss),
                    Err(Unanswered::Refused(loss)) => refused = loss,
                }
            }
            Err(refused)
        };
        let outcome = tokio::time::timeout(patience, attempts).await.unwrap_or_else(|_| {
            Err(Loss::new(Kind::Timeout, format!("no whole answer within {} s", patience.as_secs())))
        });
        let mut tally = run.tally.borrow_mut();
        match outcome {
            Ok(()) => tally.answered(begun, began.elapsed().saturating_sub(ask.allowance)),
            Err(loss) => tally.failed(begun, loss),
        }
    }

    /// The connection, when there is room on it; a new one when it takes no more.
    async fn ready(&self, run: &Rc<Run>, host: &str) -> Result<SendRequest<Bytes>, Loss> {
        let mut current = self.current.lock().await;
        if let Some(request) = current.clone()
            && let Ok(ready) = request.ready().await
        {
            return Ok(ready);
        }
        *current = None;
        let tls = run.tls.as_ref().map(|tls| &tls.http2);
        let stream = Stream::open(&run.options.address, tls, host).await?;
        if !stream.speaks(b"h2") {
            return Err(Loss::new(Kind::Malformed, "HTTP/2 was not agreed upon by ALPN"));
        }
        let mut builder = Builder::new();
        builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let opened = builder.handshake(stream).await;
        let (request, connection) = opened.map_err(|error| why(&error, false))?;
        let (run, watched) = (run.clone(), request.clone());
        self.drivers.borrow_mut().spawn_local(async move {
            let ended = connection.await;
            // Whoever was told GOAWAY is refused with that for ever.
            let told = watched.ready().await.err().is_some_and(|error| error.is_go_away());
            if !told {
                let kind = ended.err().map_or(Kind::Eof, |error| why(&error, false).kind);
                run.tally.borrow_mut().idle_closed(kind);
            }
        });
        let ready = request.ready().await.map_err(|error| why(&error, false))?;
        *current = Some(ready.clone());
        Ok(ready)
    }
}

async fn exchange(mut request: SendRequest<Bytes>, secure: bool, ask: &Ask) -> Result<(), Unanswered> {
    let uri = format!("http{}://{}{}", if secure { "s" } else { "" }, ask.host, ask.path());
    let head = Request::get(uri).header("user-agent", "hitless-load").body(());
    let head = head.map_err(|error| Unanswered::Lost(Loss::new(Kind::Client, error.to_string())))?;
    // Nothing has been sent of what is refused here.
    let sent = request.send_request(head, true).map_err(|error| Unanswered::Refused(why(&error, false)))?;
    let response = sent.0.await.map_err(|error| unanswered(&error))?;
    let status = response.status().as_u16();
    let mut content = response.into_body();
    let mut evidence = Evidence::default();
    while let Some(piece) = content.data().await {
        let piece = piece.map_err(|error| Unanswered::Lost(why(&error, true)))?;
        evidence.take(&ask.proof, &piece);
        // A stream that has ended needs no more room.
        let _ = content.flow_control().release_capacity(piece.len());
    }
    let trailers = content.trailers().await;
    trailers.map_err(|error| Unanswered::Lost(why(&error, true)))?;
    evidence.judge(ask, status, None).map_err(Unanswered::Lost)
}

/// RFC 9113, section 8.7: only streams above the last one of a GOAWAY, and those that were reset with REFUSED_STREAM,
/// are known not to have been processed. The h2 crate tells the former by the GOAWAY; a stream up to the last one that
/// does not finish fails otherwise.
fn unanswered(error: &Error) -> Unanswered {
    let loss = why(error, false);
    let refused = error.is_go_away() || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if refused && error.is_remote() { Unanswered::Refused(loss) } else { Unanswered::Lost(loss) }
}

/// `begun`: within the answer.
fn why(error: &Error, begun: bool) -> Loss {
    let kind = match error.get_io() {
        // In the words of the h2 crate: the connection has ended below its streams.
        Some(io) if io.kind() == std::io::ErrorKind::BrokenPipe => Kind::Eof,
        Some(io) => Loss::of(io).kind,
        None if error.is_remote() && (error.is_reset() || error.is_go_away()) => Kind::Reset,
        None => Kind::Malformed,
    };
    let kind = match kind {
        Kind::Eof | Kind::Reset if begun => Kind::Truncated,
        other => other,
    };
    Loss::new(kind, error.to_string())
}
